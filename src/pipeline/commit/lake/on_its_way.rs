//! What is remembered of a group while it is on its way to a lake.
//!
//! Invariant: no file is open because of it.

use std::ffi::OsStr;
use std::sync::Arc;

use crate::journal::groups::OpenGroup;
use crate::types::{FileIdentity, IngestId, Lsn, Sha256, UnixMillis};

/// A group that is on its way, or whose files wait for their lines.
pub(in crate::pipeline) struct OnItsWay {
    pub(in crate::pipeline::commit) lsn: Lsn,
    /// The group file's name in staging.
    pub(in crate::pipeline::commit) name: Arc<OsStr>,
    /// Its files in staging whose content is in the lake, or will be; None in a life that did not plan it.
    pub(in crate::pipeline::commit) duplicates: Option<Vec<Duplicate>>,
}

/// A file in staging that brings nothing new.
pub(in crate::pipeline::commit) struct Duplicate {
    /// Its name in staging.
    pub(in crate::pipeline::commit) name: Arc<OsStr>,
    pub(in crate::pipeline::commit) identity: FileIdentity,
    pub(in crate::pipeline::commit) found_at: UnixMillis,
    pub(in crate::pipeline::commit) sha256: Sha256,
    /// The file that brought its content, or [`IngestId::OF_ANOTHER_HOST`].
    pub(in crate::pipeline::commit) of: IngestId,
}

impl OnItsWay {
    /// One that an earlier life has recorded.
    pub(in crate::pipeline) fn again(group: &OpenGroup, name: &OsStr) -> OnItsWay {
        OnItsWay { lsn: group.lsn, name: Arc::from(name), duplicates: None }
    }
}
