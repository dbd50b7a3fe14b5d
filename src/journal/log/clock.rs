//! The journal's own time: how long ago something was, whatever the wall clock said meanwhile.
//!
//! Invariants:
//! - Between two records the wall clock's step counts as time that has passed if it is no longer than [`CLOCK_STEP_MAX`] either
//!   way, or if the process's own steady clock confirms it. Any other step counts as nothing. So a clock that is wrong makes
//!   things look younger, never older.
//! - A frame's time never differs from the one before by more than that without such a confirmation or a CLOCK_JUMPED in it.
//! - What is forgotten to stay within a limit makes things look younger, never older.

use std::time::Duration;

use crate::journal::disk::expired::{Cutoffs, Expired, Ranges};
use crate::journal::disk::format::EXPIRED_STEPS_MAX;
use crate::journal::disk::record::{ClockJumped, Record};
use crate::types::{Lsn, UnixMillis};

/// The longest step of the wall clock from one record to the next that is believed by itself.
pub const CLOCK_STEP_MAX: Duration = Duration::from_secs(24 * 3600);
/// Jumps that are remembered. With more, two neighbours become one.
pub const CLOCK_JUMPS_MAX: usize = 128;

const STEP_MAX_MS: i64 = CLOCK_STEP_MAX.as_millis() as i64;

/// A jump that holds from an LSN on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Jump {
    from: Lsn,
    /// The wall clock's time, less the journal's own.
    shift_ms: i64,
    /// Of its record.
    lsn: Lsn,
    at: UnixMillis,
}

/// The wall clock's jumps, as the records so far say.
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

    /// Makes one of the two neighbours that differ least. What was written under either looks as young as it can. The last is
    /// left as it is: by it the age of everything is told.
    fn merge(&mut self) {
        let shift = |index: usize| if index == 0 { 0 } else { self.jumps[index - 1].shift_ms };
        let differ = |index: &usize| shift(*index).abs_diff(shift(index + 1));
        // Nothing was written before a jump that holds from the very beginning.
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

    /// The wall clock's time, less the journal's own, for records from now on.
    pub fn shift_ms(&self) -> i64 {
        self.jumps.last().map_or(0, |jump| jump.shift_ms)
    }

    /// True if no jump is known.
    pub fn is_empty(&self) -> bool {
        self.jumps.is_empty()
    }

    /// The records that say all this: LSN, when written, and fields.
    pub fn records(&self) -> impl Iterator<Item = (Lsn, UnixMillis, ClockJumped)> {
        self.jumps.iter().map(|jump| (jump.lsn, jump.at, ClockJumped { from: jump.from, shift_ms: jump.shift_ms }))
    }

    /// What is to expire of the files that are finished before `lsn`, if contents are remembered for so long and it is `now` by
    /// the wall clock: what was listed longer ago than that by the journal's own time.
    fn cutoffs(&self, now: UnixMillis, remember: Duration, lsn: Lsn) -> Option<Cutoffs> {
        let remember = i64::try_from(remember.as_millis()).unwrap_or(i64::MAX);
        let own = millis(now).saturating_sub(self.shift_ms()).saturating_sub(remember);
        let shifts = std::iter::once(0).chain(self.jumps.iter().map(|jump| jump.shift_ms));
        let ends = self.jumps.iter().map(|jump| jump.from).chain([lsn]);
        let steps = ends.zip(shifts).filter(|(end, _)| end.0 > 0);
        Cutoffs::new(steps.map(|(end, shift)| (end, instant(own.saturating_add(shift)))).collect())
    }

    /// The record by which a compaction forgets what is older than `remember`. None if there were too many changes to tell them
    /// all in one record: then it is remembered for longer.
    pub fn expiry(&self, expired: &Expired, now: UnixMillis, remember: Duration, lsn: Lsn) -> Option<Record> {
        let ranges = Ranges { listed: self.cutoffs(now, remember, lsn)?, ..Ranges::default() };
        let mut after = expired.clone();
        after.take(lsn, &ranges).ok()?;
        // Room is left for what a repair may find besides.
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
    /// By how much the wall clock is off, backwards if it is negative.
    pub by_ms: i64,
    /// The time of the journal's newest record.
    pub newest: UnixMillis,
    /// What the wall clock says.
    pub now: UnixMillis,
}

/// What the writer knows of the time: the wall clock's at some moment that it believed in, and the steady clock's at the same
/// moment, if that was in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::journal) struct Sight {
    pub(in crate::journal) wall: UnixMillis,
    pub(in crate::journal) steady: Option<Duration>,
}

impl Sight {
    /// What is known at a start: from here on the steady clock counts, unless a record has to say first that the wall clock has
    /// jumped since the newest record.
    pub(in crate::journal) fn begin(newest: UnixMillis, wall: UnixMillis, steady: Duration) -> Sight {
        let before = Sight { wall: newest, steady: None };
        match before.jumped_ms(wall, steady) {
            Some(_) => before,
            None => Sight { wall, steady: Some(steady) },
        }
    }

    /// What the wall clock should say when the steady one says `steady`, if it has not jumped. Without a steady clock to go by,
    /// no time has passed.
    fn expected_ms(&self, steady: Duration) -> i64 {
        let passed = self.steady.map_or(Duration::ZERO, |then| steady.saturating_sub(then));
        millis(self.wall).saturating_add(i64::try_from(passed.as_millis()).unwrap_or(i64::MAX))
    }

    /// By how much the wall clock has jumped, if it has.
    pub(in crate::journal) fn jumped_ms(&self, wall: UnixMillis, steady: Duration) -> Option<i64> {
        let by = millis(wall).saturating_sub(self.expected_ms(steady));
        (by.abs() > STEP_MAX_MS).then_some(by)
    }

    /// The time by which a frame is written that does not say that the clock has jumped.
    pub(in crate::journal) fn believed(&self, wall: UnixMillis, steady: Duration) -> UnixMillis {
        self.jumped_ms(wall, steady).map_or(wall, |_| instant(self.expected_ms(steady)))
    }
}

/// Follows the times of frames that are read, and notes the jumps between them.
#[derive(Default)]
pub(in crate::journal) struct Follow {
    pub(in crate::journal) newest: Option<UnixMillis>,
    /// Of a journal whose writers did not note them.
    pub(in crate::journal) jumps: Clock,
}

impl Follow {
    /// Behind frames that are lost: the shift from here on, if the clock has jumped since the last that is known.
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

/// When each of these was, if it is `now` and nothing is known of them but their order and what the wall clock said: a step from one
/// to the next of more than [`CLOCK_STEP_MAX`] counts as nothing, and so does the time since the last.
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

    /// Why: what a wrong clock said of a record is read by the clock of that time.
    #[test]
    fn ages_are_told_by_the_journals_own_time() {
        let mut clock = Clock::default();
        clock.take(Lsn(10), UnixMillis(0), &jumped(10, 7_300));
        clock.take(Lsn(20), UnixMillis(0), &jumped(20, 0));
        let cutoffs = clock.cutoffs(UnixMillis(20_000 * DAY), Duration::from_secs(90 * 24 * 3600), Lsn(30)).unwrap();
        let days: Vec<(u64, u64)> = cutoffs.steps().iter().map(|(end, before)| (end.0, before.0 / DAY)).collect();
        assert_eq!(days, [(10, 19_910), (20, 27_210), (30, 19_910)]);
    }

    /// Why: memory is bounded, and to stay so must never let anything look older.
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

    /// Why: neighbours at the very beginning became one for ever, so that a start never came to its end.
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

    /// Why: a rebuilt journal knows no more of the clock than what the lines say.
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
