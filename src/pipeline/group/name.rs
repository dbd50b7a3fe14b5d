//! The names of group files.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The suffix of group files.
const GROUP_SUFFIX: &str = ".group";
/// The group file of a bag (BagIt, RFC 8493): it names the files below `data` beside it.
const BAG_MANIFEST: &str = "manifest-sha256.txt";

/// True for the name of a group file, with or without its directory.
pub fn is_group_file(name: &OsStr) -> bool {
    name.as_bytes().ends_with(GROUP_SUFFIX.as_bytes()) || is_bag_manifest(name)
}

/// True for that of a bag.
pub(super) fn is_bag_manifest(name: &OsStr) -> bool {
    Path::new(name).file_name() == Some(OsStr::new(BAG_MANIFEST))
}

/// The bags that may name a file: a manifest in a directory names files below `data` in it.
pub fn bags_above(name: &OsStr) -> impl Iterator<Item = PathBuf> {
    let data = Path::new(name).ancestors().skip(1).filter(|dir| dir.file_name() == Some(OsStr::new(BAG_DATA)));
    data.filter_map(|dir| Some(dir.parent()?.join(BAG_MANIFEST)))
}

/// The directory of a bag's files.
pub(super) const BAG_DATA: &str = "data";
