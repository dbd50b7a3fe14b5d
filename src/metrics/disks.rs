//! Measures how much room there is.
//!
//! Invariant: the thread that measures does nothing else, so a disk that hangs stops only that.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::Metrics;
use super::health::Disk;
use crate::fs::Fs;

/// Measures at once, and then after each `interval`, as long as the process runs.
pub fn watch<F: Fs>(
    fs: &F,
    metrics: &Arc<Metrics>,
    places: Vec<(String, PathBuf)>,
    interval: Duration,
) -> std::io::Result<()> {
    let (fs, metrics) = (fs.clone(), metrics.clone());
    let work = move || {
        loop {
            metrics.disks_measured(measure(&fs, &places));
            thread::sleep(interval);
        }
    };
    thread::Builder::new().name("disks".to_owned()).spawn(work).map(drop)
}

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
