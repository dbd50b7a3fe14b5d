//! Decides which contents have expired.
//!
//! Invariants:
//! - An expiry applies only to files that were finished before the LSN that it names, and that LSN is never after its
//!   own record. It does not affect files ingested later, however wrong the clock was.
//! - An expired content stays expired: cutoffs only grow.
//! - Index, compaction, repair and audit all decide by this code.

use super::format::EXPIRED_STEPS_MAX;
use crate::types::{Lsn, UnixMillis};

/// An instant for each LSN: a file that was finished at that LSN, before that instant, has expired.
///
/// A step function: a step begins at the end of the previous step and ends before its own end. After the last step
/// nothing has expired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cutoffs(Vec<(Lsn, UnixMillis)>);

impl Cutoffs {
    /// Makes it from steps. None if their ends do not ascend, or if a record cannot hold that many.
    pub fn new(steps: Vec<(Lsn, UnixMillis)>) -> Option<Cutoffs> {
        let ascend = steps.windows(2).all(|pair| pair[0].0 < pair[1].0);
        (ascend && steps.len() <= EXPIRED_STEPS_MAX).then_some(Cutoffs(steps))
    }

    /// The end of each step, and its instant.
    pub fn steps(&self) -> &[(Lsn, UnixMillis)] {
        &self.0
    }

    /// The instant at an LSN.
    fn at(&self, lsn: Lsn) -> UnixMillis {
        let step = self.0.partition_point(|(end, _)| *end <= lsn);
        self.0.get(step).map_or(UnixMillis(0), |(_, before)| *before)
    }

    /// The same cutoffs before `lsn`, and none from `lsn` on.
    fn up_to(&self, lsn: Lsn) -> Cutoffs {
        let mut steps: Vec<(Lsn, UnixMillis)> = self.0.iter().copied().take_while(|(end, _)| *end <= lsn).collect();
        let rest = self.0.get(steps.len()).map(|(_, before)| (lsn, *before));
        steps.extend(rest.filter(|_| steps.last().is_none_or(|(end, _)| *end < lsn)));
        Cutoffs(steps)
    }

    /// At each LSN the later instant of the two, in as few steps as possible.
    fn union(&self, other: &Cutoffs) -> Cutoffs {
        let mut ends: Vec<Lsn> = self.0.iter().chain(&other.0).map(|(end, _)| *end).collect();
        ends.sort_unstable();
        ends.dedup();
        let mut steps: Vec<(Lsn, UnixMillis)> = Vec::with_capacity(ends.len());
        for end in ends {
            let last_lsn = Lsn(end.0.saturating_sub(1));
            let before = self.at(last_lsn).max(other.at(last_lsn));
            match steps.last_mut() {
                Some(last) if last.1 == before => last.0 = end,
                _ => steps.push((end, before)),
            }
        }
        while steps.pop_if(|(_, before)| before.0 == 0).is_some() {}
        Cutoffs(steps)
    }
}

/// The fields of an EXPIRED_RANGES record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// Cutoffs for the time when a file's MANIFESTED was written.
    pub listed: Cutoffs,
    /// Cutoffs for the time when a file was found complete: from EXPIRED records, which had no end.
    pub found: Cutoffs,
    /// The LSN of the EXPIRED record with the latest instant; 0 if there was none.
    pub old_lsn: Lsn,
}

/// All expiries so far, according to the records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    ranges: Ranges,
    /// From an EXPIRED record after the last EXPIRED_RANGES: files found complete before this instant have expired,
    /// whenever they were or will be finished.
    open: UnixMillis,
    has_ranges: bool,
}

impl Expired {
    /// Takes an EXPIRED record. Returns true if its instant is later than all before it.
    pub fn take_open(&mut self, lsn: Lsn, before: UnixMillis) -> bool {
        let says_more = before > self.open;
        if says_more {
            self.open = before;
            self.ranges.old_lsn = lsn;
        }
        says_more
    }

    /// Takes an EXPIRED_RANGES record. An expiry without an end ends at this record.
    ///
    /// # Errors
    /// The result has more steps than a record can hold; then nothing has changed.
    pub fn take(&mut self, lsn: Lsn, ranges: &Ranges) -> Result<(), &'static str> {
        let closed = Cutoffs(if self.open.0 > 0 { vec![(lsn, self.open)] } else { Vec::new() });
        let listed = self.ranges.listed.union(&ranges.listed.up_to(lsn));
        let found = self.ranges.found.union(&ranges.found.up_to(lsn)).union(&closed);
        if listed.0.len().max(found.0.len()) > EXPIRED_STEPS_MAX {
            return Err("EXPIRED_RANGES in too many steps");
        }
        let old_lsn = self.ranges.old_lsn.max(ranges.old_lsn.min(lsn));
        *self = Expired { ranges: Ranges { listed, found, old_lsn }, open: UnixMillis(0), has_ranges: true };
        Ok(())
    }

    /// True if a content has expired, unless a duplicate refers to it. `lsn` and `listed_at` are those of its file's
    /// MANIFESTED; at `found_at` the file was found complete.
    pub fn covers(&self, lsn: Lsn, listed_at: UnixMillis, found_at: UnixMillis) -> bool {
        found_at < self.open || found_at < self.ranges.found.at(lsn) || listed_at < self.ranges.listed.at(lsn)
    }

    /// True if an expiry may explain that a content is in a manifest line but not in the journal, or that it is listed
    /// again. It explains neither if the line's file came after the record that was meant for older files.
    pub fn excuses(&self, ingest_id: Lsn, found_at: UnixMillis) -> bool {
        let found = self.open.max(self.ranges.found.at(ingest_id));
        ingest_id < self.ranges.old_lsn && found_at < found || found_at < self.ranges.listed.at(ingest_id)
    }

    /// True if an EXPIRED record without an end is in force.
    pub fn is_open(&self) -> bool {
        self.open.0 > 0
    }

    /// The instant of that record.
    pub fn open(&self) -> UnixMillis {
        self.open
    }

    /// True if there was an EXPIRED_RANGES record.
    pub fn has_ranges(&self) -> bool {
        self.has_ranges
    }

    /// The sum of the EXPIRED_RANGES records.
    pub fn ranges(&self) -> &Ranges {
        &self.ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cutoffs(steps: &[(u64, u64)]) -> Cutoffs {
        Cutoffs::new(steps.iter().map(|(end, before)| (Lsn(*end), UnixMillis(*before))).collect()).unwrap()
    }

    /// Why: the index holds the union of all such records, so at each LSN the strongest of them must hold.
    #[test]
    fn a_union_is_the_later_instant_at_each_lsn() {
        let sets = [
            cutoffs(&[]),
            cutoffs(&[(10, 5)]),
            cutoffs(&[(4, 0), (9, 7)]),
            cutoffs(&[(3, 9), (5, 2), (20, 5)]),
            cutoffs(&[(10, 5), (11, 5)]),
        ];
        for one in &sets {
            for other in &sets {
                let both = one.union(other);
                assert_eq!(both, other.union(one));
                for lsn in (0..25).map(Lsn) {
                    assert_eq!(both.at(lsn), one.at(lsn).max(other.at(lsn)), "{one:?} {other:?} {lsn}");
                    assert_eq!(both.up_to(Lsn(8)).at(lsn), if lsn < Lsn(8) { both.at(lsn) } else { UnixMillis(0) });
                }
                let steps = both.steps();
                assert!(steps.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 != pair[1].1), "{both:?}");
                assert!(steps.last().is_none_or(|(_, before)| before.0 > 0));
            }
        }
    }

    /// Why: one compaction with the clock years ahead disabled the recognition of duplicates for years.
    #[test]
    fn an_expiry_is_for_what_was_finished_before_it() {
        let mut expired = Expired::default();
        let ranges = Ranges { listed: cutoffs(&[(1_000, 500)]), ..Ranges::default() };
        expired.take(Lsn(20), &ranges).unwrap();
        let covers = |lsn, at| expired.covers(Lsn(lsn), UnixMillis(at), UnixMillis(at));
        assert!(covers(19, 499) && !covers(19, 500) && !covers(20, 1));
        assert!(expired.excuses(Lsn(19), UnixMillis(499)) && !expired.excuses(Lsn(20), UnixMillis(1)));
    }

    #[test]
    fn an_old_expiry_ends_at_the_first_new_one() {
        let mut expired = Expired::default();
        assert!(expired.take_open(Lsn(5), UnixMillis(500)));
        assert!(expired.covers(Lsn(100), UnixMillis(900), UnixMillis(1)), "as it was before");
        assert!(!expired.excuses(Lsn(100), UnixMillis(1)) && expired.excuses(Lsn(4), UnixMillis(1)));
        expired.take(Lsn(30), &Ranges::default()).unwrap();
        assert!(!expired.is_open());
        assert!(expired.covers(Lsn(29), UnixMillis(900), UnixMillis(1)));
        assert!(!expired.covers(Lsn(30), UnixMillis(0), UnixMillis(0)));
        assert!(!expired.excuses(Lsn(29), UnixMillis(1)) && expired.excuses(Lsn(4), UnixMillis(1)));
    }
}
