//! The least work that the task needs: list, hash on every processor, rename, one manifest, a sync at the very end.
//!
//! It has no journal and cannot be interrupted: no design with the ingestor's guarantees can do less for a file.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use sha2::{Digest as _, Sha256};

/// This program's argument; the staging directory, the warehouse and the manifest follow it.
pub const CHILD: &str = "floor";
/// The first argument of a child.
pub const CHILD_FLAG: &str = "--child";

const READ_BYTES: usize = 256 << 10;

/// Ingests all files. The warehouse is one existing directory.
pub fn child(staging: &Path, warehouse: &Path, manifest: &Path) {
    let names: Vec<OsString> = fs::read_dir(staging).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let device = |path: &Path| path.metadata().unwrap().dev();
    let copies = device(staging) != device(warehouse);
    let (next, lines) = (AtomicUsize::new(0), Mutex::new(String::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(|| {
                let (mut buffer, mut own_lines) = (vec![0; READ_BYTES], String::new());
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    ingest(&staging.join(name), &warehouse.join(name), copies, &mut buffer, &mut own_lines);
                }
                lines.lock().unwrap().push_str(&own_lines);
            });
        }
    });
    let mut file = File::create(manifest).unwrap();
    file.write_all(lines.into_inner().unwrap().as_bytes()).unwrap();
    file.sync_all().unwrap();
    for directory in [staging, warehouse] {
        File::open(directory).unwrap().sync_all().unwrap();
    }
}

/// Ingests one file; `copies` is true if it cannot be renamed.
fn ingest(source: &Path, target: &Path, copies: bool, buffer: &mut [u8], lines: &mut String) {
    let mut file = File::open(source).unwrap();
    let status = file.metadata().unwrap();
    let mut copy = copies.then(|| File::create(target).unwrap());
    let mut hash = Sha256::new();
    loop {
        let read = file.read(buffer).unwrap();
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        if let Some(copy) = &mut copy {
            copy.write_all(&buffer[..read]).unwrap();
        }
    }
    if let Some(copy) = copy {
        copy.sync_data().unwrap();
        fs::remove_file(source).unwrap();
    } else {
        fs::rename(source, target).unwrap();
    }
    write!(lines, "{{\"path\":{source:?},\"sha256\":\"").unwrap();
    hash.finalize().iter().for_each(|byte| write!(lines, "{byte:02x}").unwrap());
    let (device, inode, size, mtime) = (status.dev(), status.ino(), status.size(), status.mtime());
    writeln!(lines, "\",\"device\":{device},\"inode\":{inode},\"size\":{size},\"mtime\":{mtime}}}").unwrap();
}
