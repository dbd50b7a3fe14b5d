//! Files on the disk: the speed of reading, and their size.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Instant;

use csv_ingestor::fs::real::RealFs;
use csv_ingestor::fs::{Fs as _, Open};

const READ_BYTES: usize = 1 << 20;

/// Drops the caches of a directory's files, so that the next reads come from the disk.
pub fn drop_caches(dir: &Path) {
    let real = RealFs::default();
    let opened = real.open_dir(dir).unwrap();
    rustix::fs::sync();
    for entry in real.list(&opened).unwrap() {
        let file = real.open(&opened, &entry.unwrap().name, Open::Read).unwrap();
        real.drop_cache(&file).unwrap();
    }
}

/// Bytes per second at which the largest file in a directory is read from beginning to end.
pub fn read_rate(dir: &Path) -> f64 {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let largest = files.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    drop_caches(dir);
    let mut file = File::open(largest).unwrap();
    let (mut buffer, mut bytes) = (vec![0; READ_BYTES], 0);
    let begun = Instant::now();
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => break bytes as f64 / begun.elapsed().as_secs_f64(),
            read => bytes += read,
        }
    }
}

/// Bytes that a file, or the files of a directory, use on the disk.
pub fn allocated_bytes(path: &Path) -> u64 {
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap();
        return entries.map(|entry| allocated_bytes(&entry.unwrap().path())).sum();
    }
    path.metadata().unwrap().blocks() * 512
}
