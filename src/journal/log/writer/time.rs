//! The writer's use of the clock: records of its jumps, and expiry by its time.

use std::time::Duration;

use super::Journal;
use crate::fs::Fs;
use crate::journal::disk::error::{Error, Rejected};
use crate::journal::disk::expired::{Expired, Ranges};
use crate::journal::disk::record::{ClockJumped, Record};
use crate::journal::log::clock::{Clock, Jumped, Sight};
use crate::journal::log::replay::Visitor;
use crate::types::UnixMillis;

impl<F: Fs> Journal<F> {
    /// The time in the last frame.
    pub fn written_at(&self) -> UnixMillis {
        self.written_at
    }

    /// The record that forgets contents older than `remember`, by the time that the writer believes. None if one record
    /// cannot hold it; the contents are then remembered for longer.
    pub fn expiry(&self, clock: &Clock, expired: &Expired, remember: Duration) -> Option<Record> {
        let (wall, steady) = (self.fs.now(), self.fs.steady());
        let now = self.sight.map_or(wall, |sight| sight.believed(wall, steady));
        clock.expiry(expired, now, remember, self.next_lsn())
    }

    /// Checks whether the clock has jumped. If so, the caller must append a CLOCK_JUMPED next.
    pub fn look_at_clock(&mut self) -> Option<Jumped> {
        let (now, steady) = (self.fs.now(), self.fs.steady());
        let by_ms = self.sight?.jumped_ms(now, steady)?;
        self.looked = Some(Sight { wall: now, steady: Some(steady) });
        Some(Jumped { by_ms, newest: self.written_at, now })
    }

    /// The records that must come first after a start: jumps that earlier writers did not record; the jump since the
    /// newest record, which is also returned; the end of an expiry that has none.
    pub fn opening(&mut self, clock: &Clock, expired: &Expired) -> (Vec<Record>, Option<Jumped>) {
        let mut records = Vec::new();
        let mut shift_ms = clock.shift_ms();
        if clock.is_empty() && !expired.has_ranges() {
            records.extend(self.old_jumps.records().map(|(.., jumped)| Record::ClockJumped(jumped)));
            shift_ms = self.old_jumps.shift_ms();
        }
        let jumped = self.look_at_clock();
        if let Some(jumped) = jumped {
            let from = self.next_lsn().plus(records.len() as u64);
            records.push(Record::ClockJumped(ClockJumped { from, shift_ms: shift_ms.saturating_add(jumped.by_ms) }));
        }
        if expired.is_open() {
            records.push(Record::ExpiredRanges(Ranges::default()));
        }
        (records, jumped)
    }

    /// Appends records and passes each to `visitor`, which must have received all before them.
    ///
    /// # Errors
    /// As [`Journal::append`]; the visitor has received the records appended so far.
    pub fn append_all(&mut self, visitor: &mut dyn Visitor, records: &[Record]) -> Result<(), Error> {
        let mut rest = records;
        while !rest.is_empty() {
            let first = self.next_lsn();
            let written = self.append(rest)?;
            for (index, record) in rest[..written].iter().enumerate() {
                let lsn = first.plus(index as u64);
                visitor.record(lsn, self.written_at, record.clone()).map_err(|refused| match refused {
                    Rejected::Contradiction(why) => Error::Poisoned { cause: why.to_owned() },
                    Rejected::Unknown(error) => *error,
                })?;
            }
            rest = &rest[written..];
        }
        Ok(())
    }
}
