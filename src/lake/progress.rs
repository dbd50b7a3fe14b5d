//! What a host's own journal says about its way through the lake: so little that losing it costs time and nothing else.
//!
//! Invariants:
//! - A step is noted before its effect (HASHED with the pack, before the pack is created), or once it is known (the rest:
//!   UPLOADING when the store has given the upload its id). No part is put before the UPLOADING of its upload is durable.
//! - Steps only go forward: HASHED or UPLOADING → CLAIMED → MOVED → MANIFESTED. A step may be noted again, and left out: another host
//!   may have done it. A content that was forgotten begins again, as another generation.
//! - Nothing that safety rests on is read from here. A host without its journal reads the log.

use super::error::Error;
use crate::types::{Sha256, UnixMillis};

/// How far a content has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is in this pack, or will be: the pack is this host's to delete.
    Hashed {
        /// The pack's key.
        pack: String,
    },
    /// Its parts are put into this upload, which is this host's to abort.
    Uploading {
        /// The upload's id.
        upload: String,
        /// The key for which it was begun.
        key: String,
        /// When the content for which it was begun was found: the upload is not older.
        since: UnixMillis,
    },
    /// This entry claims it.
    Claimed {
        /// The entry, in the content's shard.
        entry: u64,
    },
    /// All data objects of its entry are there.
    Moved,
    /// Its line is there: its source may be removed.
    Manifested,
}

impl Step {
    fn rank(&self) -> u8 {
        match self {
            Step::Hashed { .. } | Step::Uploading { .. } => 0,
            Step::Claimed { .. } => 1,
            Step::Moved => 2,
            Step::Manifested => 3,
        }
    }

    /// True if this step may be noted after `before`. After an error a content gets into another pack or upload.
    pub fn may_follow(&self, before: Option<&Step>) -> bool {
        match (before, self) {
            (None | Some(Step::Hashed { .. } | Step::Uploading { .. }), _) => true,
            (Some(before), _) => before == self || self.rank() > before.rank(),
        }
    }
}

/// One note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The content.
    pub content: Sha256,
    /// How often it was forgotten before.
    pub generation: u32,
    /// Where it is now.
    pub step: Step,
}

/// Where a host keeps its notes.
pub trait Journal: Send {
    /// Makes the notes durable before it returns, unless [`Journal::is_durable`] says that it does so later.
    fn note(&mut self, notes: &[Progress]) -> Result<(), Error>;

    /// True if all notes so far are durable. Whoever keeps them in a journal of its own makes them durable together with
    /// other records, after the host has returned, and calls it again.
    fn is_durable(&self) -> bool {
        true
    }
}

/// Keeps nothing: for a host that is never started again, or whose steps are recorded elsewhere.
pub struct NoJournal;

impl Journal for NoJournal {
    fn note(&mut self, _: &[Progress]) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_go_forward() {
        let hashed = |pack: &str| Step::Hashed { pack: pack.to_owned() };
        let steps = [hashed("p"), Step::Claimed { entry: 1 }, Step::Moved, Step::Manifested];
        assert!(steps.iter().all(|step| step.may_follow(None) && step.may_follow(Some(step))));
        assert!(hashed("q").may_follow(Some(&hashed("p"))));
        let uploading = Step::Uploading { upload: "u".to_owned(), key: "k".to_owned(), since: UnixMillis(1) };
        assert!(uploading.may_follow(Some(&uploading)) && steps[1].may_follow(Some(&uploading)));
        assert!(!uploading.may_follow(Some(&steps[1])));
        assert!(!Step::Claimed { entry: 2 }.may_follow(Some(&Step::Claimed { entry: 1 })));
        for (at, before) in steps[..3].iter().enumerate() {
            assert!(steps[..at].iter().all(|step| !step.may_follow(Some(before))));
            assert!(steps[at + 1..].iter().all(|step| step.may_follow(Some(before))));
        }
    }
}
