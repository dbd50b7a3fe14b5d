//! Tries out what the file systems of staging and warehouse do with a rename, before the first file is moved there.
//!
//! Invariant: a file system that lacks a needed operation is refused before anything is ingested.

use crate::Error;
use crate::fs::Fs;
use crate::journal::index::Index;
use crate::journal::record::Settings;
use crate::pipeline::places::probe::{Suitability, probe};

/// How files in staging and warehouse are handled.
#[derive(Debug, Default)]
pub(super) struct Handling {
    /// The link count of a renamed file cannot be trusted: files are copied, since no other program has a link to a
    /// copy.
    pub(super) copies_all: bool,
    /// Devices on which a renamed file gets another inode number.
    pub(super) renumbering: Vec<u64>,
}

/// Probes each directory, staging and copies, once; and again at each start if its kind of file system is not well known.
pub(super) fn probe_each<F: Fs>(
    fs: &F,
    index: &Index,
    settings: &Settings,
    store: &[u8; 16],
    dirs: &[&F::Dir],
) -> Result<Handling, Error> {
    let is_first =
        index.settings().is_none_or(|known| known.input != settings.input || known.warehouse != settings.warehouse);
    let mut handling = Handling::default();
    for dir in dirs.iter().filter(|dir| is_first || !fs.is_well_known(dir)) {
        let path = fs.dir_path(dir);
        let verdict = probe(fs, dir, store)?;
        tracing::debug!(event = "file_system_probed", path = crate::log::path(path), verdict = ?verdict);
        match verdict {
            Suitability::Unsuited(why) => return Err(Error::Unsuited { path: path.to_path_buf(), why }),
            Suitability::Suited { counts_links, keeps_inodes } => {
                handling.copies_all |= !counts_links;
                if !keeps_inodes {
                    handling.renumbering.push(fs.stat_dir(dir)?.identity.device);
                }
            }
            Suitability::Unknown => {}
        }
    }
    Ok(handling)
}
