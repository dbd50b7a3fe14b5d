//! File systems that are odd, as some in user space are: what they do not know, count wrongly, or refuse by name.
//!
//! Invariant: without [`Odd`] everything is as on a disk file system of the kernel's.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::faults::Op;
use super::units::errno;

/// In what way a machine's file systems are odd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Odd {
    /// They know no rename without replacing: it is made of a link, a sync of that name, and an unlink.
    pub links: bool,
    /// So many looks at a file behind its rename show one name too many.
    pub stale_links: u64,
    /// Even those that ask the file system itself.
    pub always_stale: bool,
    /// A file that is renamed gets another inode number.
    pub renumbers: bool,
    /// What is refused by name.
    pub refusals: Vec<RefusedName>,
}

/// A name that is refused below a directory, by some operations, in whichever directory it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedName {
    /// Below this directory.
    pub under: PathBuf,
    /// The name.
    pub name: OsString,
    /// Which operations refuse it; of renames, those to it as well as those from it.
    pub ops: Vec<Op>,
    /// With this error.
    pub errno: i32,
}

impl Odd {
    /// EINVAL and the like, for a name that is refused.
    pub(super) fn check(&self, op: Op, path: &Path) -> io::Result<()> {
        let is_it = |refusal: &&RefusedName| {
            refusal.ops.contains(&op)
                && path.starts_with(&refusal.under)
                && path.file_name() == Some(OsStr::new(&refusal.name))
        };
        self.refusals.iter().find(is_it).map_or(Ok(()), |refusal| Err(errno(refusal.errno)))
    }
}
