//! What the writer makes of the clock: the records that say that it has jumped, and what is forgotten by it.

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
    /// When the last frame was written, as it says.
    pub fn written_at(&self) -> UnixMillis {
        self.written_at
    }

    /// The record by which what is older is forgotten, by the clock as far as it is believed. None if that is too much for one
    /// record: then it is remembered for longer.
    pub fn expiry(&self, clock: &Clock, expired: &Expired, remember: Duration) -> Option<Record> {
        let (wall, steady) = (self.fs.now(), self.fs.steady());
        let now = self.sight.map_or(wall, |sight| sight.believed(wall, steady));
        clock.expiry(expired, now, remember, self.next_lsn())
    }

    /// Looks at the clock. A jump must be said by a CLOCK_JUMPED in a frame that is appended after this.
    pub fn look_at_clock(&mut self) -> Option<Jumped> {
        let (now, steady) = (self.fs.now(), self.fs.steady());
        let by_ms = self.sight?.jumped_ms(now, steady)?;
        self.looked = Some(Sight { wall: now, steady: Some(steady) });
        Some(Jumped { by_ms, newest: self.written_at, now })
    }

    /// The records that are due before any other behind a start, and the jump that they tell: jumps that earlier writers did
    /// not note; the one since the newest record; the end of an expiry that has none.
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

    /// Appends records, and hands them to whoever has visited those before.
    ///
    /// # Errors
    /// As [`Journal::append`]; what was appended so far was handed on.
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
