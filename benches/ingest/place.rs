//! The directories of one ingestor, and their content.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::disk::Mount;

const READ_BYTES: usize = 1 << 20;

/// A staging directory, and a directory for everything else.
pub struct Place {
    pub staging: PathBuf,
    root: PathBuf,
}

impl Place {
    /// Creates both; staging may be on another file system.
    pub fn new(staging: PathBuf, root: PathBuf) -> Place {
        let place = Place { staging, root };
        fs::create_dir_all(&place.staging).unwrap();
        fs::create_dir_all(&place.root).unwrap();
        place.renew();
        place
    }

    /// Everything within one directory.
    pub fn within(root: PathBuf) -> Place {
        Place::new(root.join("staging"), root)
    }

    pub fn warehouse(&self) -> PathBuf {
        self.root.join("warehouse")
    }

    pub fn manifests(&self) -> PathBuf {
        self.root.join("manifests")
    }

    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// The directory where files are written before they are dropped into staging, on the same file system.
    pub fn incoming(&self) -> PathBuf {
        self.root.join("incoming")
    }

    /// Empties all directories except staging; afterwards nothing waits to be written to either disk.
    pub fn renew(&self) {
        for dir in [self.warehouse(), self.manifests(), self.state(), self.incoming()] {
            remove(&dir);
        }
        for dir in [self.warehouse(), self.manifests(), self.state(), self.incoming()] {
            fs::create_dir(dir).unwrap();
        }
        self.settle();
    }

    /// Waits until everything is written to the disks.
    pub fn settle(&self) {
        for dir in [&self.staging, &self.root] {
            rustix::fs::syncfs(File::open(dir).unwrap()).unwrap();
        }
    }

    /// Fails unless this many files are in the warehouse, and as many lines in the manifests.
    pub fn check(&self, count: u64) {
        let mut files = 0;
        for_each_file(&self.warehouse(), &mut |_| files += 1);
        assert_eq!(files, count, "files in the warehouse");
        let mut lines = 0;
        for_each_file(&self.manifests(), &mut |path| lines += lines_of(path));
        assert_eq!(lines, count, "lines in the manifests");
    }

    /// Moves the files of the warehouse back into staging.
    pub fn move_back(&self) {
        let staging = &self.staging;
        for_each_file(&self.warehouse(), &mut |path| {
            fs::rename(path, staging.join(path.file_name().unwrap())).unwrap()
        });
    }

    /// Removes everything.
    pub fn remove(self) {
        remove(&self.staging);
        remove(&self.root);
    }
}

fn remove(dir: &Path) {
    if dir.exists() {
        fs::remove_dir_all(dir).unwrap();
    }
}

/// Skips hidden directories, which contain no ingested files. There may be millions of files: no list of them is made.
fn for_each_file(dir: &Path, act: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        match entry.file_type().unwrap().is_dir() {
            true => for_each_file(&entry.path(), act),
            false => act(&entry.path()),
        }
    }
}

fn lines_of(path: &Path) -> u64 {
    let mut file = File::open(path).unwrap();
    let (mut buffer, mut lines) = (vec![0; READ_BYTES], 0);
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return lines,
            read => lines += buffer[..read].iter().filter(|byte| **byte == b'\n').count() as u64,
        }
    }
}

/// Describes the lack if a directory's file system has less room than this.
pub fn lacks(dir: &Path, bytes: u64) -> Option<String> {
    let room = rustix::fs::statvfs(dir).unwrap();
    let free = room.f_bavail * room.f_frsize;
    (free < bytes).then(|| {
        let [needed, free] = [bytes, free].map(|bytes| bytes.div_ceil(1 << 20));
        format!("{free} MiB are free, not {needed}, on {}", Mount::of(dir).kind)
    })
}
