//! Lists the manifests, hour by hour.
//!
//! Invariant: it only reads; a directory that cannot be listed does not hide the others, and is reported.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::line::{MANIFEST_NAME, hour_dir};
use super::read::Error;
use crate::fs::{self, FileKind, Fs};
use crate::types::UnixMillis;

/// Milliseconds of an hour.
const HOUR_MS: u64 = 3_600_000;
/// The digits of a year, the level below the manifests' root.
const YEAR_DIGITS: usize = 4;
/// The digits of each level below a year: month, day, hour.
const LEVEL_DIGITS: [usize; 3] = [2, 2, 2];

/// A manifest, or a directory of manifests, that cannot be read.
#[derive(Debug)]
pub struct Unread {
    /// Its path.
    pub path: PathBuf,
    /// Why.
    pub why: Error,
}

/// The manifests that were found.
#[derive(Debug, Default)]
pub struct Hours {
    /// Their paths, oldest first. Opening one shows whether it can be read.
    pub manifests: Vec<PathBuf>,
    /// Directories that cannot be listed.
    pub unread: Vec<Unread>,
}

/// The manifests of all hours from `since` on.
///
/// # Errors
/// `root` cannot be listed.
pub fn manifests<F: Fs>(fs: &F, root: &Path, since: Option<UnixMillis>) -> fs::Result<Hours> {
    let first = since.map(|since| hour_dir(root, UnixMillis(since.0 / HOUR_MS * HOUR_MS)));
    // An ancestor of the first hour is not before it.
    let is_wanted = |dir: &PathBuf| first.as_ref().is_none_or(|first| dir >= first || first.starts_with(dir));
    let mut hours = Hours::default();
    let mut dirs = levels(fs, root, YEAR_DIGITS)?;
    for digits in LEVEL_DIGITS {
        dirs.retain(is_wanted);
        let mut below = Vec::new();
        for dir in dirs {
            let found = levels(fs, &dir, digits);
            below.extend(hours.unless_unread(fs, &dir, found).into_iter().flatten());
        }
        dirs = below;
    }
    dirs.retain(is_wanted);
    dirs.sort_unstable();
    for dir in dirs {
        let stat = fs.open_dir(&dir).and_then(|handle| fs.stat(&handle, OsStr::new(MANIFEST_NAME)));
        let is_there = hours.unless_unread(fs, &dir, stat).flatten().is_some();
        hours.manifests.extend(is_there.then(|| dir.join(MANIFEST_NAME)));
    }
    Ok(hours)
}

/// The newest manifests, at most `count_max`, newest first: those of the hour of `until` and before, or of all hours.
/// Only the directories on the way to them are listed; one that cannot be listed is skipped.
pub fn newest<F: Fs>(fs: &F, root: &Path, until: Option<UnixMillis>, count_max: usize) -> Vec<PathBuf> {
    let until = until.map(|until| hour_dir(root, until));
    let mut found = Vec::new();
    let digits = [&[YEAR_DIGITS], &LEVEL_DIGITS[..]].concat();
    descend(fs, root, &digits, until.as_deref(), count_max, &mut found);
    found
}

fn descend<F: Fs>(
    fs: &F,
    dir: &Path,
    digits: &[usize],
    until: Option<&Path>,
    count_max: usize,
    found: &mut Vec<PathBuf>,
) {
    let [digits, below @ ..] = digits else {
        let stat = fs.open_dir(dir).and_then(|handle| fs.stat(&handle, OsStr::new(MANIFEST_NAME)));
        found.extend(stat.ok().flatten().map(|_| dir.join(MANIFEST_NAME)));
        return;
    };
    let mut dirs = levels(fs, dir, *digits).unwrap_or_default();
    dirs.retain(|dir| until.is_none_or(|until| *dir <= *until || until.starts_with(dir)));
    dirs.sort_unstable();
    for dir in dirs.iter().rev() {
        if found.len() < count_max {
            descend(fs, dir, below, until, count_max, found);
        }
    }
}

impl Hours {
    /// The result of an operation on a directory. A failure is recorded, unless the directory was removed meanwhile.
    fn unless_unread<F: Fs, T>(&mut self, fs: &F, dir: &Path, asked: fs::Result<T>) -> Option<T> {
        match asked {
            Ok(told) => Some(told),
            Err(error) if error.is_not_found() && !is_there(fs, dir) => None,
            Err(error) => {
                self.unread.push(Unread { path: dir.to_path_buf(), why: error.into() });
                None
            }
        }
    }
}

/// True if the name exists, even as a link that leads nowhere.
fn is_there<F: Fs>(fs: &F, path: &Path) -> bool {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return false };
    fs.open_dir(parent).and_then(|parent| fs.stat(&parent, name)).is_ok_and(|stat| stat.is_some())
}

/// The directories in `dir` whose names have this many digits.
fn levels<F: Fs>(fs: &F, dir: &Path, digits: usize) -> fs::Result<Vec<PathBuf>> {
    let handle = fs.open_dir(dir)?;
    let mut found = Vec::new();
    for entry in fs.list(&handle)? {
        let entry = entry?;
        let name = entry.name.as_encoded_bytes();
        if name.len() != digits || !name.iter().all(u8::is_ascii_digit) {
            continue;
        }
        let kind = match entry.kind {
            None => fs.stat(&handle, &entry.name)?.map(|stat| stat.kind),
            told => told,
        };
        let is_level = matches!(kind, Some(FileKind::Directory | FileKind::Symlink));
        found.extend(is_level.then(|| dir.join(&entry.name)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::sim::SimFs;

    #[test]
    fn only_hours_from_since_on_are_listed() {
        let fs = SimFs::new(1);
        for hour in
            ["/mf/2026/11/23/20", "/mf/2026/11/23/21", "/mf/2026/11/24/00", "/mf/2025/12/31/23", "/mf/notes/11/23/20"]
        {
            fs.upstream().mkdir_all(hour).unwrap();
            fs.upstream().write(format!("{hour}/manifest.jsonl"), b"").unwrap();
        }
        fs.upstream().mkdir_all("/mf/2027").unwrap();
        let since = |since: Option<u64>| {
            let found = manifests(&fs, Path::new("/mf"), since.map(UnixMillis)).unwrap();
            assert!(found.unread.is_empty(), "{:?}", found.unread);
            found.manifests.iter().map(|path| path.to_str().unwrap()[4..17].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(since(None), ["2025/12/31/23", "2026/11/23/20", "2026/11/23/21", "2026/11/24/00"]);
        assert_eq!(since(Some(1_795_466_162_965)), ["2026/11/23/20", "2026/11/23/21", "2026/11/24/00"]);
        assert_eq!(since(Some(1_795_466_162_965 + 1_800_000)), ["2026/11/23/21", "2026/11/24/00"]);
        assert_eq!(since(Some(1_795_466_162_965 + 86_400_000)), Vec::<String>::new());
    }

    /// Why: a year that cannot be listed must neither hide the others nor count as one without manifests; a directory
    /// that is gone when it is listed was removed.
    #[test]
    fn what_cannot_be_looked_into_is_told() {
        let fs = SimFs::new(1);
        for hour in ["/mf/2024/01/01/00", "/mf/2025/01/01/00", "/mf/2026/01/01/00"] {
            fs.upstream().mkdir_all(hour).unwrap();
            fs.upstream().write(format!("{hour}/manifest.jsonl"), b"").unwrap();
        }
        fs.upstream().set_unreadable("/mf/2025", true).unwrap();
        fs.upstream().symlink("/nowhere", "/mf/2027").unwrap();
        fs.upstream().write("/mf/2028", b"a file").unwrap();
        for kinds_are_told in [true, false] {
            fs.set_list_kinds(kinds_are_told);
            let found = manifests(&fs, Path::new("/mf"), None).unwrap();
            assert_eq!(found.manifests.len(), 2, "{:?}", found.manifests);
            let mut unread: Vec<&Path> = found.unread.iter().map(|unread| unread.path.as_path()).collect();
            unread.sort_unstable();
            assert_eq!(unread, [Path::new("/mf/2025"), Path::new("/mf/2027")]);
        }
    }
}
