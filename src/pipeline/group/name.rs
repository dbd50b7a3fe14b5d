//! The names of group files.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

/// The suffix of group files.
const GROUP_SUFFIX: &str = ".group";

/// True for the name of a group file.
pub fn is_group_file(name: &OsStr) -> bool {
    name.as_bytes().ends_with(GROUP_SUFFIX.as_bytes())
}
