//! Places in the warehouse, as numbers.
//!
//! Invariant: a place is identified by its directory (the same by whatever path; by its path if it must not be opened)
//! and its name, as a keyed hash of 64 bits.

use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher as _, RandomState};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use hashbrown::{HashMap, HashSet};

use super::warehouse::WarehouseView;
use crate::fs::Fs;

/// A path's directory and name.
pub(super) fn split(path: &Path) -> (&Path, &OsStr) {
    (path.parent().unwrap_or(path), path.file_name().unwrap_or_default())
}

/// Numbers of directories: the same directory has the same number by whatever path.
pub(super) struct KnownDirectories {
    numbers: HashMap<Box<[u8]>, u64>,
    by_identity: HashMap<(u64, u64), u64>,
    hasher: RandomState,
}

impl KnownDirectories {
    pub(super) fn new() -> KnownDirectories {
        KnownDirectories { numbers: HashMap::new(), by_identity: HashMap::new(), hasher: RandomState::new() }
    }

    /// The number of a directory; a new one is assigned at the first call for it.
    pub(super) fn number<F: Fs>(&mut self, warehouse: &WarehouseView<F>, dir: &Path) -> u64 {
        if let Some(number) = self.numbers.get(dir.as_os_str().as_bytes()) {
            return *number;
        }
        let new = self.numbers.len() as u64;
        let number = match warehouse.identity(dir) {
            Some(identity) => *self.by_identity.entry(identity).or_insert(new),
            None => new,
        };
        self.numbers.insert(dir.as_os_str().as_bytes().into(), number);
        number
    }

    /// The names at the top of the warehouse below which lines list files.
    pub(super) fn tops<F: Fs>(&self, warehouse: &WarehouseView<F>) -> HashSet<OsString> {
        let dirs = self.numbers.keys().map(|dir| Path::new(OsStr::from_bytes(dir)));
        dirs.filter_map(|dir| warehouse.top_of(dir).map(OsStr::to_owned)).collect()
    }

    /// The number of a directory that may be in no line.
    fn known_number<F: Fs>(&self, warehouse: &WarehouseView<F>, dir: &Path) -> u64 {
        let known = self.numbers.get(dir.as_os_str().as_bytes()).copied();
        known.unwrap_or_else(|| self.number_of(warehouse.identity(dir), dir))
    }

    /// The number of an open directory.
    pub(super) fn number_of(&self, identity: Option<(u64, u64)>, dir: &Path) -> u64 {
        let known = identity.and_then(|identity| self.by_identity.get(&identity)).copied();
        known.unwrap_or_else(|| self.hasher.hash_one(dir) | 1 << 63)
    }

    /// The place of a name in the directory with this number.
    pub(super) fn place_in(&self, number: u64, name: &OsStr) -> u64 {
        self.hasher.hash_one((number, name.as_bytes()))
    }
}

/// Finds the places of paths; each directory is looked up once, since there are few.
pub(super) struct PlaceFinder<'a, F: Fs> {
    warehouse: &'a WarehouseView<F>,
    directories: &'a KnownDirectories,
    numbers: HashMap<PathBuf, u64>,
}

impl<'a, F: Fs> PlaceFinder<'a, F> {
    pub(super) fn new(warehouse: &'a WarehouseView<F>, directories: &'a KnownDirectories) -> PlaceFinder<'a, F> {
        PlaceFinder { warehouse, directories, numbers: HashMap::new() }
    }

    /// The place of a path.
    pub(super) fn of(&mut self, path: &Path) -> u64 {
        let (dir, name) = split(path);
        let number = match self.numbers.get(dir) {
            Some(number) => *number,
            None => {
                let number = self.directories.known_number(self.warehouse, dir);
                self.numbers.insert(dir.to_path_buf(), number);
                number
            }
        };
        self.directories.place_in(number, name)
    }
}
