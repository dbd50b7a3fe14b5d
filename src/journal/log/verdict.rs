//! The decision table: the meaning of bad bytes after the last good frame of the last segment.
//!
//! | last good frame | non-zero bytes after it | valid frame among them | verdict |
//! |---|---|---|---|
//! | seal | any | any | corrupt: the successor it names is missing |
//! | any other | none | - | end of the journal |
//! | shutdown | some | any | corrupt: nothing is written after it |
//! | data, idle or none | some | yes | corrupt: frames are written one at a time, each after the one before is durable |
//! | data, idle or none | further than one frame reaches | no | corrupt: one write cannot reach that far |
//! | data, idle or none | within one frame | no | torn tail: the result of a crash |
//!
//! A segment with a successor needs no table: the successor's header says where it ended, and anything bad before that
//! is corruption.
//!
//! A last frame that was torn cannot be distinguished from one that was whole and has rotted since (Alagappan et al.,
//! "Protocol-Aware Recovery for Consensus-Based Storage", FAST'18). Because of idle and shutdown frames, the last frame
//! seldom holds records.

use crate::journal::disk::error::NotTorn;
use crate::journal::disk::format::FrameKind;

/// The bytes after the last good frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// Zeros to the end of the segment.
    Zeros,
    /// Non-zero bytes, all within the reach of one frame.
    WithinOneFrame,
    /// Non-zero bytes beyond the reach of one frame.
    Further,
}

/// The input of the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The kind of the last good frame; None if the segment has none.
    pub last_frame: Option<FrameKind>,
    /// The bytes after it.
    pub behind: Behind,
    /// True if those bytes hold a frame that is valid on its own, with this segment's salt and no earlier LSN.
    pub valid_frame_beyond: bool,
}

/// The result of the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The journal ends here.
    End,
    /// A write was cut off here: its records were never acknowledged, and are dropped.
    TornTail,
    /// A seal without its successor.
    MissingSuccessor,
    /// Damage.
    Corrupt(NotTorn),
}

/// Decides by the table above.
pub fn judge(evidence: &Evidence) -> Verdict {
    match (evidence.last_frame, evidence.behind, evidence.valid_frame_beyond) {
        (Some(FrameKind::Seal), _, _) => Verdict::MissingSuccessor,
        (_, Behind::Zeros, _) => Verdict::End,
        (Some(FrameKind::Shutdown), _, _) => Verdict::Corrupt(NotTorn::AfterShutdown),
        (_, _, true) => Verdict::Corrupt(NotTorn::ValidFrameBeyond),
        (_, Behind::Further, false) => Verdict::Corrupt(NotTorn::BytesBeyondOneFrame),
        (_, Behind::WithinOneFrame, false) => Verdict::TornTail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks every combination against a second statement of the rules.
    #[test]
    fn every_row_of_the_table() {
        let frames =
            [None, Some(FrameKind::Data), Some(FrameKind::Idle), Some(FrameKind::Seal), Some(FrameKind::Shutdown)];
        for last_frame in frames {
            for behind in [Behind::Zeros, Behind::WithinOneFrame, Behind::Further] {
                for valid_frame_beyond in [false, true] {
                    let verdict = judge(&Evidence { last_frame, behind, valid_frame_beyond });
                    let torn_is_possible =
                        !matches!(last_frame, Some(FrameKind::Seal | FrameKind::Shutdown)) && !valid_frame_beyond;
                    assert_eq!(
                        verdict == Verdict::TornTail,
                        torn_is_possible && behind == Behind::WithinOneFrame,
                        "{last_frame:?} {behind:?} {valid_frame_beyond}"
                    );
                    assert_eq!(
                        verdict == Verdict::End,
                        last_frame != Some(FrameKind::Seal) && behind == Behind::Zeros,
                        "{last_frame:?} {behind:?} {valid_frame_beyond}"
                    );
                    assert_eq!(verdict == Verdict::MissingSuccessor, last_frame == Some(FrameKind::Seal));
                }
            }
        }
    }
}
