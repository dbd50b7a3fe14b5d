//! Views of real directories.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::common::view::{Files, Places, View};

impl View {
    pub fn of_dirs(places: Places<'_>) -> View {
        View::taken(places, |dir| {
            paths_below(dir).into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect::<Files>()
        })
    }
}

/// Every regular file below `dir`, which need not exist; in no particular order.
pub fn paths_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        let Ok(entries) = std::fs::read_dir(dir) else { continue };
        for entry in entries {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                pending.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found
}

/// Inode, size and times of each file. If two results are equal, no file was written, created or removed in between.
pub fn photograph(dirs: &[&Path]) -> BTreeMap<PathBuf, String> {
    let photograph = |path: PathBuf| {
        let stat = std::fs::symlink_metadata(&path).unwrap();
        let (mtime, ctime) = ((stat.mtime(), stat.mtime_nsec()), (stat.ctime(), stat.ctime_nsec()));
        (path, format!("{} {} {mtime:?} {ctime:?}", stat.ino(), stat.len()))
    };
    dirs.iter().flat_map(|dir| paths_below(dir)).map(photograph).collect()
}
