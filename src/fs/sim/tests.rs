//! Each rule of the model has a test here that fails if the model breaks the rule.
//!
//! Most check the exact set of outcomes over many seeds: a power cut that loses too little proves nothing, and one that
//! loses too much finds faults that do not exist.

mod actors;
mod content;
mod failures;
mod limits;
mod names;
mod shuffle;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;

use super::{SimDir, SimFile, SimFs};
use crate::fs::{Error, Fs as _, Open, Result, write_all_at};

/// Enough not to miss an outcome with a probability of one in a hundred.
const SEEDS: u64 = 1_500;

fn name(text: &str) -> &OsStr {
    OsStr::new(text)
}

fn dir(fs: &SimFs, path: &str) -> SimDir {
    fs.open_dir(Path::new(path)).unwrap()
}

/// Creates a file as the ingestor would, unsynced.
fn create(fs: &SimFs, path: &str, bytes: &[u8]) -> SimFile {
    let path = Path::new(path);
    let parent = fs.open_dir(path.parent().unwrap()).unwrap();
    let file = fs.open(&parent, path.file_name().unwrap(), Open::Create { mode: 0o640 }).unwrap();
    write_all_at(fs, &file, bytes, 0).unwrap();
    file
}

fn open(fs: &SimFs, path: &str, how: Open) -> Result<SimFile> {
    let path = Path::new(path);
    let parent = fs.open_dir(path.parent().unwrap()).unwrap();
    fs.open(&parent, path.file_name().unwrap(), how)
}

fn rename(fs: &SimFs, from: &str, to: &str) -> Result<()> {
    let (from, to) = (Path::new(from), Path::new(to));
    let from_dir = fs.open_dir(from.parent().unwrap()).unwrap();
    let to_dir = fs.open_dir(to.parent().unwrap()).unwrap();
    fs.rename(&from_dir, from.file_name().unwrap(), &to_dir, to.file_name().unwrap())
}

fn unlink(fs: &SimFs, path: &str) -> Result<()> {
    let path = Path::new(path);
    fs.unlink(&fs.open_dir(path.parent().unwrap()).unwrap(), path.file_name().unwrap())
}

fn sync_dir(fs: &SimFs, path: &str) {
    fs.sync_dir(&dir(fs, path)).unwrap();
}

fn read(fs: &SimFs, path: &str) -> Option<Vec<u8>> {
    fs.upstream().read(path).ok()
}

fn text(fs: &SimFs, path: &str) -> Option<String> {
    read(fs, path).map(|bytes| String::from_utf8(bytes).unwrap())
}

fn exists(fs: &SimFs, path: &str) -> bool {
    fs.upstream().exists(path)
}

fn code<T>(result: Result<T>) -> Option<i32> {
    result.err().and_then(|error: Error| error.source.raw_os_error())
}

/// All possible outcomes of a power cut now, as `look` sees them.
fn outcomes<T: Ord>(fs: &SimFs, look: impl Fn(&SimFs) -> T) -> BTreeSet<T> {
    let crashed = |seed| {
        let fork = fs.fork();
        fork.crash(seed);
        look(&fork)
    };
    (0..SEEDS).map(crashed).collect()
}

/// A machine with the directories `/in` and `/out`, both durable.
fn machine() -> SimFs {
    let fs = SimFs::new(7);
    fs.upstream().mkdir("/in").unwrap();
    fs.upstream().mkdir("/out").unwrap();
    fs.upstream().sync();
    fs
}
