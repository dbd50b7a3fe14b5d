//! Where a staged file is below the staging directory: its name is a relative path, `sub/dir/a.csv`, or without a
//! directory, `a.csv`.
//!
//! Invariant: everything here follows from the path alone.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::journal::ingest::Ingest;

/// The directory of a staged file, relative to the staging directory; empty for a file directly in it.
pub fn dir_of(name: &OsStr) -> &Path {
    Path::new(name).parent().unwrap_or(Path::new(""))
}

/// A staged file's own name.
pub fn file_name(name: &OsStr) -> &OsStr {
    Path::new(name).file_name().unwrap_or(name)
}

/// The name of another file in the same directory.
pub fn beside(name: &OsStr, other: &OsStr) -> OsString {
    dir_of(name).join(other).into_os_string()
}

/// The name of the staged file at `source`. Without a staging directory above it: its own name.
pub fn name_in<'a>(input: &Path, source: &'a Path) -> &'a OsStr {
    let below = source.strip_prefix(input).ok().filter(|below| !below.as_os_str().is_empty());
    below.map_or_else(|| file_name(source.as_os_str()), Path::as_os_str)
}

/// The directory in which a file was found, relative to the staging directory.
pub fn subdir(ingest: &Ingest) -> &Path {
    dir_of(name_in(&ingest.settings.input, &ingest.source_path))
}

/// The directory above the one that files of `target`'s kind go to, which is the root below which a file's directory
/// is made, with the subdirectory that the file keeps.
pub fn above<'a>(ingest: &Ingest, target: &'a Path) -> &'a Path {
    let levels = subdir(ingest).iter().count() + 2;
    target.ancestors().nth(levels).unwrap_or(Path::new("/"))
}
