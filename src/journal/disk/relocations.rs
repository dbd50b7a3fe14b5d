//! Directories that were moved to other paths, and the present meaning of the paths in earlier records.
//!
//! Invariants: the moves after a record apply to its paths, in LSN order, and no other moves do; a move renames a whole
//! directory, never a part of a name.

use std::path::{Path, PathBuf};

use super::format::PATH_BYTES_MAX;
use super::record::Relocated;
use crate::types::{Lsn, UnixMillis};

/// The most moves that a journal remembers.
pub const RELOCATIONS_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Move {
    lsn: Lsn,
    at: UnixMillis,
    roots: Relocated,
}

/// All moves, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relocations(Vec<Move>);

impl Relocations {
    /// Takes a RELOCATED record.
    ///
    /// # Errors
    /// There are too many moves; then nothing has changed.
    pub fn take(&mut self, lsn: Lsn, at: UnixMillis, roots: &Relocated) -> Result<(), &'static str> {
        if self.0.len() >= RELOCATIONS_MAX {
            return Err("too many RELOCATED");
        }
        self.0.push(Move { lsn, at, roots: roots.clone() });
        Ok(())
    }

    /// Adds a move without a record; it applies to every path under the old root.
    pub fn assume(&mut self, old: PathBuf, new: PathBuf) {
        let roots = Relocated { old, new };
        self.0.push(Move { lsn: Lsn(u64::MAX), at: UnixMillis(0), roots });
    }

    /// How many more fit.
    pub fn room(&self) -> usize {
        RELOCATIONS_MAX.saturating_sub(self.0.len())
    }

    /// True if nothing was moved.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The RELOCATED records.
    pub fn records(&self) -> impl Iterator<Item = (Lsn, UnixMillis, &Relocated)> {
        self.0.iter().map(|it| (it.lsn, it.at, &it.roots))
    }

    /// The present form of a path that the record with this LSN holds.
    pub fn now(&self, lsn: Lsn, path: &Path) -> PathBuf {
        let moves = self.0.iter().filter(|it| it.lsn > lsn);
        moves.fold(path.to_path_buf(), |path, it| it.roots.of(&path).unwrap_or(path))
    }

    /// Like `now`, but changes the path in place.
    pub fn renew(&self, lsn: Lsn, path: &mut PathBuf) {
        if !self.0.is_empty() {
            *path = self.now(lsn, path);
        }
    }
}

impl Relocated {
    /// The new path, if `path` is the old root or below it.
    pub fn of(&self, path: &Path) -> Option<PathBuf> {
        let rest = path.strip_prefix(&self.old).ok()?;
        let new = if rest.as_os_str().is_empty() { self.new.clone() } else { self.new.join(rest) };
        (new.as_os_str().len() <= PATH_BYTES_MAX).then_some(new)
    }

    /// Changes a path in place.
    pub fn renew(&self, path: &mut PathBuf) {
        if let Some(new) = self.of(path) {
            *path = new;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Why: the old path may be used again, by other files.
    #[test]
    fn a_move_is_for_the_paths_before_it() {
        let mut relocations = Relocations::default();
        let roots = |old: &str, new: &str| Relocated { old: old.into(), new: new.into() };
        relocations.take(Lsn(10), UnixMillis(1), &roots("/a", "/b")).unwrap();
        relocations.take(Lsn(20), UnixMillis(2), &roots("/b", "/c/d")).unwrap();
        let now = |lsn, path: &str| relocations.now(Lsn(lsn), Path::new(path));
        assert_eq!(now(5, "/a/x"), Path::new("/c/d/x"));
        assert_eq!(now(5, "/a"), Path::new("/c/d"));
        assert_eq!(now(15, "/a/x"), Path::new("/a/x"));
        assert_eq!(now(15, "/b/x"), Path::new("/c/d/x"));
        assert_eq!(now(25, "/b/x"), Path::new("/b/x"));
        assert_eq!(now(5, "/ab/x"), Path::new("/ab/x"));
    }
}
