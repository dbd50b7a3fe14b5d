//! What a host's own journal says about its way through the lake: so little that losing it costs time and nothing else.
//!
//! Invariants:
//! - A step is noted before its effect (HASHED with the pack, before the pack is created), or once it is known (the rest).
//! - Steps only go forward: HASHED → CLAIMED → MOVED → MANIFESTED; a content that somebody else claimed ends as
//!   MANIFESTED with that entry.
//! - Nothing that safety rests on is read from here. A host without its journal reads the log.

use super::error::Error;
use crate::types::Sha256;

/// How far a content has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is in this pack, or will be: the pack is this host's to delete.
    Hashed {
        /// The pack's key.
        pack: String,
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
            Step::Hashed { .. } => 0,
            Step::Claimed { .. } => 1,
            Step::Moved => 2,
            Step::Manifested => 3,
        }
    }

    /// True if this step may be noted after `before`. A content whose pack lost the race against a restart is hashed
    /// into another pack.
    pub fn may_follow(&self, before: Option<&Step>) -> bool {
        match before {
            None | Some(Step::Hashed { .. }) => true,
            Some(before) => self.rank() > before.rank(),
        }
    }
}

/// One note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The content.
    pub content: Sha256,
    /// Where it is now.
    pub step: Step,
}

/// Where a host keeps its notes.
pub trait Journal: Send {
    /// Makes the notes durable before it returns.
    fn note(&mut self, notes: &[Progress]) -> Result<(), Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_go_forward() {
        let hashed = Step::Hashed { pack: "p".to_owned() };
        let steps = [hashed.clone(), Step::Claimed { entry: 1 }, Step::Moved, Step::Manifested];
        assert!(steps.iter().all(|step| step.may_follow(None)));
        assert!(hashed.may_follow(Some(&hashed)));
        for (at, before) in steps.iter().enumerate().skip(1) {
            assert!(steps[..=at].iter().all(|step| !step.may_follow(Some(before))));
            assert!(steps[at + 1..].iter().all(|step| step.may_follow(Some(before))));
        }
    }
}
