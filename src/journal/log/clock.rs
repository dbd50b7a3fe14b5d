//! The journal's own time: the age of records, independent of jumps of the wall clock.
//!
//! Invariants:
//! - Between two records a step of the wall clock counts as passed time if it is no longer than [`CLOCK_STEP_MAX`] in
//!   either direction, or if the process's steady clock confirms it. Any other step counts as no time. So a wrong clock
//!   makes contents look younger, never older.
//! - A frame's time never differs from the previous frame's by more than that without such a confirmation or a
//!   CLOCK_JUMPED in it.
//! - Jumps that are merged to stay within a limit make contents look younger, never older.

use std::time::Duration;

use crate::journal::disk::expired::{Cutoffs, Expired, Ranges};
use crate::journal::disk::format::EXPIRED_STEPS_MAX;
use crate::journal::disk::record::{ClockJumped, Record};
use crate::types::{IngestId, Lsn, UnixMillis};

/// The longest step of the wall clock between two records that is believed without confirmation.
pub const CLOCK_STEP_MAX: Duration = Duration::from_secs(24 * 3600);
/// The most jumps that are remembered. Beyond it, two neighbours are merged.
pub const CLOCK_JUMPS_MAX: usize = 128;

const STEP_MAX_MS: i64 = CLOCK_STEP_MAX.as_millis() as i64;

/// A jump of the wall clock, in force from an LSN on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Jump {
    from: Lsn,
    /// The wall clock's time minus the journal's own.
    shift_ms: i64,
    /// The LSN of its record.
    lsn: Lsn,
    at: UnixMillis,
}

/// The wall clock's jumps, according to the records so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    jumps: Vec<Jump>,
}

impl Clock {
    /// Takes a CLOCK_JUMPED record.
    pub fn take(&mut self, lsn: Lsn, at: UnixMillis, jumped: &ClockJumped) {
        let from = jumped.from.min(lsn);
        self.jumps.retain(|jump| jump.from < from);
        self.jumps.push(Jump { from, shift_ms: jumped.shift_ms, lsn, at });
        while self.jumps.len() > CLOCK_JUMPS_MAX {
            self.merge();
        }
    }

    /// Merges the two neighbours that differ least. Records written under either of them then look as young as
    /// possible. The last jump is left unchanged: every age is computed from it.
    fn merge(&mut self) {
        let shift = |index: usize| if index == 0 { 0 } else { self.jumps[index - 1].shift_ms };
        let differ = |index: &usize| shift(*index).abs_diff(shift(index + 1));
        // No record was written before a jump that begins at LSN 0.
        let begins = self.jumps.first().is_some_and(|jump| jump.from == Lsn(0));
        let Some(first) = (usize::from(begins)..self.jumps.len().saturating_sub(1)).min_by_key(differ) else { return };
        let least = shift(first).min(shift(first + 1));
        let from = if first == 0 { Lsn(0) } else { self.jumps[first - 1].from };
        self.jumps[first] = Jump { from, shift_ms: least, ..self.jumps[first] };
        if first > 0 {
            self.jumps.remove(first - 1);
        } else if least == 0 {
            self.jumps.remove(0);
        }
    }

    /// The wall clock's time minus the journal's own, for records from now on.
    pub fn shift_ms(&self) -> i64 {
        self.jumps.last().map_or(0, |jump| jump.shift_ms)
    }

    /// True if a jump backwards is known that came after this file was found.
    pub fn is_set_back_after(&self, id: IngestId) -> bool {
        let shifts = std::iter::once(0).chain(self.jumps.iter().map(|jump| jump.shift_ms));
        self.jumps.iter().zip(shifts).any(|(jump, before)| jump.from.0 > id.0 && jump.shift_ms < before)
    }

    /// True if no jump is known.
    pub fn is_empty(&self) -> bool {
        self.jumps.is_empty()
    }

    /// The CLOCK_JUMPED records: LSN, time of writing, and fields.
    pub fn records(&self) -> impl Iterator<Item = (Lsn, UnixMillis, ClockJumped)> {
        self.jumps.iter().map(|jump| (jump.lsn, jump.at, ClockJumped { from: jump.from, shift_ms: jump.shift_ms }))
    }

    /// The cutoffs for files that were finished before `lsn`, at the wall clock's time `now`: a content expires if it
    /// was listed longer than `remember` ago by the journal's own time.
    fn cutoffs(&self, now: UnixMillis, remember: Duration, lsn: Lsn) -> Option<Cutoffs> {
        let remember = i64::try_from(remember.as_millis()).unwrap_or(i64::MAX);
        let own = millis(now).saturating_sub(self.shift_ms()).saturating_sub(remember);
        let shifts = std::iter::once(0).chain(self.jumps.iter().map(|jump| jump.shift_ms));
        let ends = self.jumps.iter().map(|jump| jump.from).chain([lsn]);
        let steps = ends.zip(shifts).filter(|(end, _)| end.0 > 0);
        Cutoffs::new(steps.map(|(end, shift)| (end, instant(own.saturating_add(shift)))).collect())
    }

    /// The record with which a compaction forgets contents older than `remember`. None if one record cannot hold all
    /// steps; the contents are then remembered for longer.
    pub fn expiry(&self, expired: &Expired, now: UnixMillis, remember: Duration, lsn: Lsn) -> Option<Record> {
        let ranges = Ranges { listed: self.cutoffs(now, remember, lsn)?, ..Ranges::default() };
        let mut after = expired.clone();
        after.take(lsn, &ranges).ok()?;
        // Leaves room for further steps that a repair may find.
        (after.ranges().listed.steps().len() <= EXPIRED_STEPS_MAX / 2).then_some(Record::ExpiredRanges(ranges))
    }
}

fn millis(instant: UnixMillis) -> i64 {
    i64::try_from(instant.0).unwrap_or(i64::MAX)
}

fn instant(millis: i64) -> UnixMillis {
    UnixMillis(u64::try_from(millis).unwrap_or(0))
}

/// A jump that was just noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jumped {
    /// The size of the jump in milliseconds; negative if backwards.
    pub by_ms: i64,
    /// The time of the journal's newest record.
    pub newest: UnixMillis,
    /// The wall clock's time.
    pub now: UnixMillis,
}

/// The writer's reference point: a wall clock time that it believed, and the steady clock's time at the same moment, if
/// that was in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::journal) struct Sight {
    pub(in crate::journal) wall: UnixMillis,
    pub(in crate::journal) steady: Option<Duration>,
}

impl Sight {
    /// The reference point at a start: from here on the steady clock counts, unless the wall clock has jumped since the
    /// newest record, which a record must say first.
    pub(in crate::journal) fn begin(newest: UnixMillis, wall: UnixMillis, steady: Duration) -> Sight {
        let before = Sight { wall: newest, steady: None };
        match before.jumped_ms(wall, steady) {
            Some(_) => before,
            None => Sight { wall, steady: Some(steady) },
        }
    }

    /// The wall clock's time at the steady clock's time `steady`, if it has not jumped. Without a reference for the
    /// steady clock, no time has passed.
    fn expected_ms(&self, steady: Duration) -> i64 {
        let passed = self.steady.map_or(Duration::ZERO, |then| steady.saturating_sub(then));
        millis(self.wall).saturating_add(i64::try_from(passed.as_millis()).unwrap_or(i64::MAX))
    }

    /// The size of the jump of the wall clock in milliseconds, if it has jumped.
    pub(in crate::journal) fn jumped_ms(&self, wall: UnixMillis, steady: Duration) -> Option<i64> {
        let by = millis(wall).saturating_sub(self.expected_ms(steady));
        (by.abs() > STEP_MAX_MS).then_some(by)
    }

    /// The time of a frame that holds no CLOCK_JUMPED.
    pub(in crate::journal) fn believed(&self, wall: UnixMillis, steady: Duration) -> UnixMillis {
        self.jumped_ms(wall, steady).map_or(wall, |_| instant(self.expected_ms(steady)))
    }
}

/// Follows the times of the frames read, and collects the jumps between them.
#[derive(Default)]
pub(in crate::journal) struct Follow {
    pub(in crate::journal) newest: Option<UnixMillis>,
    /// Jumps without a CLOCK_JUMPED, from journals whose writers did not record them.
    pub(in crate::journal) jumps: Clock,
}

impl Follow {
    /// After lost frames: the shift from here on, if the clock has jumped since the last known frame.
    pub(in crate::journal) fn jump_to(&self, shift_ms: i64, written_at: UnixMillis) -> Option<i64> {
        let by = millis(written_at).saturating_sub(millis(self.newest?));
        (by.abs() > STEP_MAX_MS).then(|| shift_ms.saturating_add(by))
    }

    pub(in crate::journal) fn frame(&mut self, first_lsn: Lsn, written_at: UnixMillis) {
        if let Some(newest) = self.newest.replace(written_at) {
            let by = millis(written_at).saturating_sub(millis(newest));
            if by.abs() > STEP_MAX_MS {
                let shift_ms = self.jumps.shift_ms().saturating_add(by);
                self.jumps.take(first_lsn, written_at, &ClockJumped { from: first_lsn, shift_ms });
            }
        }
    }
}

/// Converts wall clock times, in the order in which they occurred, to times relative to `now`: a step of more than
/// [`CLOCK_STEP_MAX`] from one to the next counts as no time, and so does the time since the last.
pub fn instants_before(now: UnixMillis, times: &[UnixMillis]) -> Vec<UnixMillis> {
    let mut own = Vec::with_capacity(times.len());
    let (mut before, mut shift_ms) = (None, 0_i64);
    for time in times {
        if let Some(newest) = before.replace(*time) {
            let by = millis(*time).saturating_sub(millis(newest));
            shift_ms = if by.abs() > STEP_MAX_MS { shift_ms.saturating_add(by) } else { shift_ms };
        }
        own.push(millis(*time).saturating_sub(shift_ms));
    }
    let newest = own.iter().copied().max().unwrap_or(0);
    own.into_iter().map(|time| instant(millis(now).saturating_sub(newest.saturating_sub(time)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3_600_000;

    fn jumped(from: u64, shift_days: i64) -> ClockJumped {
        ClockJumped { from: Lsn(from), shift_ms: shift_days * DAY as i64 }
    }

    /// Why: a time that a wrong clock gave to a record must be compared by that same clock.
    #[test]
    fn ages_are_told_by_the_journals_own_time() {
        let mut clock = Clock::default();
        clock.take(Lsn(10), UnixMillis(0), &jumped(10, 7_300));
        clock.take(Lsn(20), UnixMillis(0), &jumped(20, 0));
        let cutoffs = clock.cutoffs(UnixMillis(20_000 * DAY), Duration::from_secs(90 * 24 * 3600), Lsn(30)).unwrap();
        let days: Vec<(u64, u64)> = cutoffs.steps().iter().map(|(end, before)| (end.0, before.0 / DAY)).collect();
        assert_eq!(days, [(10, 19_910), (20, 27_210), (30, 19_910)]);
    }

    #[test]
    fn only_a_later_jump_backwards_counts_as_one() {
        let mut clock = Clock::default();
        clock.take(Lsn(10), UnixMillis(0), &jumped(10, 7_300));
        assert!(!clock.is_set_back_after(IngestId(5)));
        clock.take(Lsn(20), UnixMillis(0), &jumped(20, 0));
        assert!(clock.is_set_back_after(IngestId(5)) && clock.is_set_back_after(IngestId(19)));
        assert!(!clock.is_set_back_after(IngestId(21)));
    }

    /// Why: memory is bounded, and the merging that keeps it so must never make anything look older.
    #[test]
    fn too_many_jumps_make_things_look_younger() {
        let (mut clock, mut all) = (Clock::default(), vec![(0, 0)]);
        for index in 1..=3 * CLOCK_JUMPS_MAX as u64 {
            let shift = (index as i64 * 7_919) % 1_000 - 500;
            clock.take(Lsn(index * 10), UnixMillis(index), &jumped(index * 10, shift));
            all.push((index * 10, shift));
        }
        assert_eq!(clock.jumps.len(), CLOCK_JUMPS_MAX);
        assert_eq!(clock.shift_ms(), all.last().unwrap().1 * DAY as i64);
        let mut again = Clock::default();
        clock.records().for_each(|(lsn, at, fields)| again.take(lsn, at, &fields));
        assert_eq!(again, clock, "a snapshot keeps it as it is");
        for (from, shift) in &all {
            let merged = clock.jumps.iter().rev().find(|jump| jump.from.0 <= *from).map_or(0, |jump| jump.shift_ms);
            assert!(merged <= shift * DAY as i64, "at {from}");
        }
    }

    /// Why: neighbours at the very beginning were merged in an endless loop, so a start never finished.
    #[test]
    fn jumps_at_the_beginning_are_merged_once() {
        for sign in [1, -1] {
            let mut clock = Clock::default();
            for index in 1..=2 * CLOCK_JUMPS_MAX as i64 {
                let lsn = index as u64 * 10;
                clock.take(Lsn(lsn), UnixMillis(lsn), &jumped(lsn, sign * (index - 1) * 10));
            }
            assert_eq!(clock.jumps.len(), CLOCK_JUMPS_MAX);
        }
    }

    /// Why: a rebuilt journal knows only the times in the manifest lines.
    #[test]
    fn what_is_rebuilt_looks_as_young_as_it_can() {
        let hour = DAY / 24;
        let times = [1, 100 * DAY, 100 * DAY + hour, 9_000 * DAY, 100 * DAY + 2 * hour].map(UnixMillis);
        let hours = instants_before(UnixMillis(200 * DAY), &times).into_iter().map(|it| (200 * DAY - it.0) / hour);
        assert_eq!(hours.collect::<Vec<_>>(), [1, 1, 0, 0, 0]);
        assert!(instants_before(UnixMillis(5), &[]).is_empty());
    }

    #[test]
    fn a_long_step_counts_if_the_steady_clock_confirms_it() {
        let (day, hour) = (Duration::from_secs(24 * 3600), Duration::from_secs(3600));
        let here = Sight { wall: UnixMillis(100 * DAY), steady: Some(hour) };
        let other = Sight { steady: None, ..here };
        assert_eq!(here.jumped_ms(UnixMillis(103 * DAY), hour + 3 * day), None, "quiet for a weekend");
        assert_eq!(here.jumped_ms(UnixMillis(103 * DAY), 2 * hour), Some(3 * DAY as i64 - 3_600_000));
        assert_eq!(here.jumped_ms(UnixMillis(1), hour), Some(1 - 100 * DAY as i64));
        assert_eq!(other.jumped_ms(UnixMillis(103 * DAY), 9 * day), Some(3 * DAY as i64), "in another process");
        assert_eq!(other.jumped_ms(UnixMillis(101 * DAY), hour), None);
        assert_eq!(here.believed(UnixMillis(9_000 * DAY), 2 * hour), UnixMillis(100 * DAY + 3_600_000));
    }
}
