//! File systems that deviate, as some in user space do: they lack a call, count links wrongly, or refuse names.
//!
//! Invariant: without [`Odd`] everything behaves as on a disk file system of the kernel.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::faults::Op;
use super::units::errno;

/// How a machine's file systems deviate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Odd {
    /// There is no rename without replacing: it consists of a link, a sync of that name, and an unlink.
    pub links: bool,
    /// This many stats of a file after its rename report one link too many.
    pub stale_links: u64,
    /// Even [`crate::fs::Fs::stat_fresh`] reports it.
    pub always_stale: bool,
    /// A renamed file gets another inode number.
    pub renumbers: bool,
    /// Refused names.
    pub refusals: Vec<RefusedName>,
}

/// A name that some operations refuse in every directory below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedName {
    /// The directory.
    pub under: PathBuf,
    /// The name.
    pub name: OsString,
    /// The operations that refuse it; a rename refuses it as old and as new name.
    pub ops: Vec<Op>,
    /// The error number.
    pub errno: i32,
}

impl Odd {
    /// Returns the error for a refused name.
    pub(super) fn check(&self, op: Op, path: &Path) -> io::Result<()> {
        let is_it = |refusal: &&RefusedName| {
            refusal.ops.contains(&op)
                && path.starts_with(&refusal.under)
                && path.file_name() == Some(OsStr::new(&refusal.name))
        };
        self.refusals.iter().find(is_it).map_or(Ok(()), |refusal| Err(errno(refusal.errno)))
    }
}
