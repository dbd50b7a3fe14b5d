//! Labels, and metrics that have one.
//!
//! Invariant: a label's values are those of an enum, never a name or a path from outside, so the number of series is
//! fixed. All of them exist from the start, at zero, so that a rate includes the first event. (The only other label is the
//! name of a consumer, in `consumers`.)

use std::fmt;
use std::marker::PhantomData;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::{MetricType, TypedMetric};

use crate::fs::SyncCall;
use crate::journal::record::{AbandonReason, DuplicateAction, QuarantineCause};

/// A label with a fixed set of values.
pub trait Label: Copy + Send + Sync + 'static {
    /// The label's name.
    const NAME: &'static str;
    /// Every value.
    const ALL: &'static [Self];
    /// The value, as it is exposed.
    fn text(self) -> &'static str;
    /// Its position in [`Label::ALL`].
    fn index(self) -> usize;
}

/// An enum that is a label: one line per value.
macro_rules! label {
    ($(#[$about:meta])* $name:ident, $label:literal, { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl Label for $name {
            const NAME: &'static str = $label;
            const ALL: &'static [Self] = &[$($name::$variant,)*];

            fn text(self) -> &'static str {
                match self {
                    $($name::$variant => $text,)*
                }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}
pub(super) use label;

label!(
    /// Why something failed.
    FailureReason, "reason", {
        /// A staged file could not be opened or read.
        Unreadable = "unreadable",
        /// The sidecar has another checksum.
        Checksum = "checksum",
        /// It is not a valid CSV file.
        Malformed = "malformed",
        /// Its name does not fit --layout and --name-pattern.
        NoMatch = "no_match",
        /// It has no bytes (--empty quarantine).
        Empty = "empty",
        /// It is larger than --max-size.
        TooLarge = "too_large",
        /// It is a group file that cannot be used.
        Group = "group",
        /// It could not be copied or moved into the warehouse.
        NotMoved = "not_moved",
        /// A source or sidecar could not be removed afterwards.
        NotRemoved = "not_removed",
        /// A file that does not belong to the ingestor was moved to the warehouse by mistake, and could not be put
        /// back.
        NotPutBack = "not_put_back",
        /// There was no room. Counted once each time that the disk becomes full.
        DiskFull = "disk_full",
    }
);

label!(
    /// The stage of a file that is not done yet.
    Stage, "stage", {
        /// Not complete yet.
        Waiting = "waiting",
        /// Refused: a writer has it open, its checksum differs, or it could not be read. Checked again later.
        Held = "held",
        /// Complete, and waiting for its turn.
        Ready = "ready",
        /// Handed to the hashing threads.
        Hashing = "hashing",
        /// In the batch that is being committed.
        Committing = "committing",
    }
);

label!(
    /// Why an entry in staging is never taken.
    IgnoredReason, "reason", {
        /// A directory.
        Directory = "directory",
        /// A symbolic link.
        Link = "link",
        /// A FIFO, socket or device.
        Special = "special",
        /// The name begins with a dot.
        Hidden = "hidden",
        /// The name of an unfinished transfer.
        Temporary = "temporary",
        /// A file that desktops or editors create.
        NotData = "not_data",
        /// The sidecar of a name that is ignored.
        Sidecar = "sidecar",
        /// `--include` does not match.
        NotIncluded = "not_included",
        /// `--exclude` matches.
        Excluded = "excluded",
    }
);

label!(
    /// The result of a compaction.
    SnapshotResult, "result", {
        /// A snapshot was written.
        Written = "written",
        /// It failed, and the journal is as it was.
        Failed = "failed",
    }
);

impl Label for SyncCall {
    const NAME: &'static str = "call";
    const ALL: &'static [Self] = &[SyncCall::Fsync, SyncCall::Fdatasync, SyncCall::Syncfs];

    fn text(self) -> &'static str {
        SyncCall::text(self)
    }

    fn index(self) -> usize {
        self as usize
    }
}

impl Label for DuplicateAction {
    const NAME: &'static str = "action";
    const ALL: &'static [Self] = &[DuplicateAction::Keep, DuplicateAction::Remove, DuplicateAction::Move];

    fn text(self) -> &'static str {
        DuplicateAction::text(self)
    }

    fn index(self) -> usize {
        Self::ALL.iter().position(|known| *known == self).unwrap_or(0)
    }
}

impl Label for QuarantineCause {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] = &[
        QuarantineCause::Unreadable,
        QuarantineCause::ChecksumDiffers,
        QuarantineCause::Malformed,
        QuarantineCause::NoMatch,
        QuarantineCause::Empty,
    ];

    fn text(self) -> &'static str {
        FailureReason::from(self).text()
    }

    fn index(self) -> usize {
        Self::ALL.iter().position(|known| *known == self).unwrap_or(0)
    }
}

impl From<QuarantineCause> for FailureReason {
    fn from(cause: QuarantineCause) -> FailureReason {
        match cause {
            QuarantineCause::Unreadable => FailureReason::Unreadable,
            QuarantineCause::ChecksumDiffers => FailureReason::Checksum,
            QuarantineCause::Malformed => FailureReason::Malformed,
            QuarantineCause::NoMatch => FailureReason::NoMatch,
            QuarantineCause::Empty => FailureReason::Empty,
        }
    }
}

impl Label for AbandonReason {
    const NAME: &'static str = "reason";
    /// All but `NeedsCopy`: such a file is tried again at once, and does not count as abandoned.
    const ALL: &'static [Self] = &[
        AbandonReason::Vanished,
        AbandonReason::Changed,
        AbandonReason::OpenForWriting,
        AbandonReason::Failed,
        AbandonReason::SettingsChanged,
        AbandonReason::Group,
        AbandonReason::ClaimedElsewhere,
    ];

    fn text(self) -> &'static str {
        match self {
            AbandonReason::Vanished => "vanished",
            AbandonReason::Changed => "changed",
            AbandonReason::OpenForWriting => "open_for_writing",
            AbandonReason::Failed => "failed",
            AbandonReason::SettingsChanged => "settings_changed",
            AbandonReason::NeedsCopy => "must_be_copied",
            AbandonReason::Group => "group",
            AbandonReason::ClaimedElsewhere => "claimed_elsewhere",
        }
    }

    fn index(self) -> usize {
        Self::ALL.iter().position(|known| *known == self).unwrap_or(0)
    }
}

/// One metric per value of a label.
pub struct By<L: Label, M> {
    metrics: Box<[M]>,
    label: PhantomData<L>,
}

impl<L: Label, M> By<L, M> {
    /// One metric per value.
    pub fn new(make: impl Fn() -> M) -> By<L, M> {
        By { metrics: L::ALL.iter().map(|_| make()).collect(), label: PhantomData }
    }

    /// One metric per value, made from it.
    pub fn from(make: impl Fn(L) -> M) -> By<L, M> {
        By { metrics: L::ALL.iter().map(|value| make(*value)).collect(), label: PhantomData }
    }

    /// The metric of this value.
    pub fn of(&self, value: L) -> &M {
        &self.metrics[value.index()]
    }

    /// The metric of this value, mutable.
    pub fn of_mut(&mut self, value: L) -> &mut M {
        &mut self.metrics[value.index()]
    }

    /// All metrics, with their values.
    pub fn iter(&self) -> impl Iterator<Item = (L, &M)> {
        L::ALL.iter().copied().zip(&self.metrics)
    }
}

impl<L: Label, M: Default> Default for By<L, M> {
    fn default() -> By<L, M> {
        By::new(M::default)
    }
}

impl<L: Label, M> fmt::Debug for By<L, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("By").field("label", &L::NAME).finish_non_exhaustive()
    }
}

impl<L: Label, M: EncodeMetric + TypedMetric> EncodeMetric for By<L, M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (value, metric) in self.iter() {
            metric.encode(encoder.encode_family(&[(L::NAME, value.text())])?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<L: Label>() {
        let index_is_place = L::ALL.iter().enumerate().all(|(place, value)| value.index() == place);
        assert!(index_is_place, "{}", L::NAME);
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        assert!(L::ALL.iter().all(|value| is_plain(value.text())), "{}", L::NAME);
    }

    #[test]
    fn every_value_has_its_place_and_a_plain_text() {
        check::<FailureReason>();
        check::<Stage>();
        check::<IgnoredReason>();
        check::<SnapshotResult>();
        check::<SyncCall>();
        check::<DuplicateAction>();
        check::<QuarantineCause>();
        check::<AbandonReason>();
        check::<super::super::health::Phase>();
        check::<super::super::Recovery>();
    }
}
