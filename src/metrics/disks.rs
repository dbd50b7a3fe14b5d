//! Measures how much room there is.

use std::path::PathBuf;

use super::health::Disk;
use crate::fs::Fs;

/// The free bytes of the file systems that these directories are on, each once. A directory that is not there is left out.
/// It may wait for a disk.
pub fn measure<F: Fs>(fs: &F, places: &[(String, PathBuf)]) -> Vec<Disk> {
    let mut disks: Vec<Disk> = Vec::new();
    for (place, path) in places {
        let Ok(dir) = fs.open_dir(path) else { continue };
        let (Ok(stat), Ok(free_bytes)) = (fs.stat_dir(&dir), fs.free_bytes(&dir)) else { continue };
        let device = stat.identity.key().0;
        match disks.iter_mut().find(|disk| disk.device == device) {
            Some(disk) => disk.places.push(place.clone()),
            None => disks.push(Disk { device, places: vec![place.clone()], free_bytes }),
        }
    }
    disks
}
