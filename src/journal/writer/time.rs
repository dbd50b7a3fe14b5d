//! What the writer makes of the clock: the records that say that it has jumped, and what is forgotten by it.

use std::sync::Arc;
use std::time::Duration;

use super::Journal;
use crate::fs::Fs;
use crate::journal::clock::{Follow, Jumped, Sight};
use crate::journal::error::{Error, Refused};
use crate::journal::expired::Ranges;
use crate::journal::format::FrameKind;
use crate::journal::frame::FrameHeader;
use crate::journal::record::{ClockJumped, Record};
use crate::journal::replay::{Replayed, Visitor};
use crate::journal::segment::SegmentHeader;
use crate::journal::snapshot::Snapshot;
use crate::journal::state::State;
use crate::types::{Lsn, UnixMillis};

impl<F: Fs> Journal<F> {
    /// When the last frame was written, as it says.
    pub fn written_at(&self) -> UnixMillis {
        self.written_at
    }

    /// The record by which what is older is forgotten, by the clock as far as it is believed. None if that is too much for one
    /// record: then it is remembered for longer.
    pub fn expiry(&self, state: &State, remember: Duration) -> Option<Record> {
        let (wall, steady) = (self.fs.now(), self.fs.steady());
        let now = self.sight.map_or(wall, |sight| sight.believed(wall, steady));
        state.clock().expiry(state.expired(), now, remember, self.next_lsn())
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
    pub fn opening(&mut self, state: &State) -> (Vec<Record>, Option<Jumped>) {
        let mut records = Vec::new();
        let mut shift_ms = state.clock().shift_ms();
        if state.clock().is_empty() && !state.expired().has_ranges() {
            records.extend(self.old_jumps.records().map(|(.., jumped)| Record::ClockJumped(jumped)));
            shift_ms = self.old_jumps.shift_ms();
        }
        let jumped = self.look_at_clock();
        if let Some(jumped) = jumped {
            let from = self.next_lsn().plus(records.len() as u64);
            records.push(Record::ClockJumped(ClockJumped { from, shift_ms: shift_ms.saturating_add(jumped.by_ms) }));
        }
        if state.expired().is_open() {
            records.push(Record::ExpiredRanges(Ranges::default()));
        }
        (records, jumped)
    }

    /// Appends records and adds them to the state.
    ///
    /// # Errors
    /// As [`Journal::append`]; what was appended so far is in the state.
    pub fn append_all(&mut self, state: &mut State, records: &[Record]) -> Result<(), Error> {
        let mut rest = records;
        while !rest.is_empty() {
            let first = self.next_lsn();
            let written = self.append(rest)?;
            for (index, record) in rest[..written].iter().enumerate() {
                let lsn = first.plus(index as u64);
                state.apply_at(lsn, self.written_at, record).map_err(|refused| match refused {
                    Refused::Contradiction(why) => Error::Poisoned { cause: why.to_owned() },
                    Refused::Unknown(error) => *error,
                })?;
            }
            rest = &rest[written..];
        }
        Ok(())
    }
}

/// Hands on what is read, and follows its times.
pub(super) struct Timed<'a> {
    pub(super) visitor: &'a mut dyn Visitor,
    pub(super) follow: Follow,
}

impl Visitor for Timed<'_> {
    fn restart(&mut self) {
        self.follow = Follow::default();
        self.visitor.restart();
    }

    fn snapshot(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), Error> {
        self.visitor.snapshot(snapshot)
    }

    fn segment(&mut self, header: &SegmentHeader) {
        self.visitor.segment(header);
    }

    fn frame(&mut self, offset: u64, header: &FrameHeader) {
        // A seal is written into the segment before, by whatever the clock says.
        if header.kind != FrameKind::Seal {
            self.follow.frame(header.first_lsn, header.written_at);
        }
        self.visitor.frame(offset, header);
    }

    fn record(&mut self, lsn: Lsn, written_at: UnixMillis, record: Record) -> Result<(), Refused> {
        self.visitor.record(lsn, written_at, record)
    }
}

/// When the newest record in the snapshot was written.
pub(super) fn newest_survivor(replayed: &Replayed) -> Result<Option<UnixMillis>, Error> {
    let mut newest = None;
    if let Some(snapshot) = &replayed.snapshot {
        snapshot.survivors(&mut |_, at, _| {
            newest = Some(at);
            Ok(())
        })?;
    }
    Ok(newest)
}
