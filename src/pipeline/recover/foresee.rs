//! Tells what a recovery would do.
//!
//! Invariant: it changes nothing.

use std::path::Path;

use super::{Observed, Whereabouts, judge};
use crate::fs::{self, Fs};
use crate::journal::ingest::Ingest;
use crate::journal::lifecycle::FileState;
use crate::pipeline::commit::lake::is_for_lake;
use crate::pipeline::dirs::split;
use crate::types::FileIdentity;

const CONFIRM: &str = "confirm that it is in the warehouse, and list it";
const MOVE: &str = "move it to the warehouse, and list it";

/// What recovery would do with a file, for `replay --dry-run`. Changes nothing.
pub fn foresee<F: Fs>(fs: &F, ingest: &Ingest) -> fs::Result<&'static str> {
    match try_foresee(fs, ingest) {
        // A group is recorded before its files are found, and goes on only if all of them are HASHED.
        Ok(_) if ingest.group.is_some() && ingest.state == FileState::Discovered => {
            Ok("abandon it: its group was not recorded as a whole")
        }
        Ok(foreseen) if is_for_lake(ingest) => Ok(foreseen),
        Ok(foreseen) if ingest.group.is_some() && ingest.state == FileState::Hashed => Ok(match foreseen {
            CONFIRM | MOVE => "finish it with its group; or put all of that back, if one file is not as it was",
            _ => "put its group back, and abandon it",
        }),
        Err(error) if error.spares_others() => Ok("check it again, and abandon it if the check still fails"),
        foreseen => foreseen,
    }
}

fn try_foresee<F: Fs>(fs: &F, ingest: &Ingest) -> fs::Result<&'static str> {
    let look = |path: &Path| -> fs::Result<Option<FileIdentity>> {
        let (dir, name) = split(path)?;
        match fs.open_dir(dir) {
            Err(error) if error.is_not_found() => Ok(None),
            dir => Ok(fs.stat(&dir?, name)?.map(|stat| stat.identity)),
        }
    };
    let source = look(&ingest.source_path)?;
    let Some(target) = &ingest.target else {
        let unchanged = source == Some(ingest.identity);
        return Ok(match ingest.state {
            FileState::SkippedDuplicate => "finish with the duplicate as recorded",
            FileState::Quarantined => "move it to quarantine",
            _ if unchanged => "hash it and ingest it",
            _ => "abandon it: it vanished or changed",
        });
    };
    if is_for_lake(ingest) {
        return Ok(in_lake(ingest, source == Some(ingest.identity)));
    }
    if ingest.state == FileState::Moved {
        return Ok("complete its manifest line");
    }
    let copy = target.copy.as_ref().map(|copy| look(&copy.path)).transpose()?.flatten();
    Ok(
        match judge(
            ingest,
            target,
            &Observed { arrived: look(&target.warehouse_path)?, source, copy, ..Observed::default() },
        ) {
            Whereabouts::Arrived => CONFIRM,
            Whereabouts::Ready => MOVE,
            Whereabouts::Again => "hash it again and ingest it",
            Whereabouts::Spoilt(_) => "put it back: it was written to",
            Whereabouts::Lost(_) | Whereabouts::Refused(_) | Whereabouts::Unseen(_) => {
                "abandon it: it vanished or changed"
            }
        },
    )
}

/// The store is not asked.
fn in_lake(ingest: &Ingest, is_unchanged: bool) -> &'static str {
    if ingest.state == FileState::Moved {
        return "remove it from staging: its line is in the lake";
    }
    match (ingest.claimed, is_unchanged) {
        (Some(_), _) => "list it: an entry of the lake claims it",
        (None, true) if ingest.group.is_some() => {
            "list it if an entry of the lake claims its group, or can be made for it now; otherwise abandon it with its group"
        }
        (None, false) if ingest.group.is_some() => {
            "list it if an entry of the lake claims its group; otherwise abandon it with its group: it vanished or changed"
        }
        (None, true) => "list it if an entry of the lake claims it; otherwise hash it again and ingest it",
        (None, false) => "list it if an entry of the lake claims it; otherwise abandon it: it vanished or changed",
    }
}
