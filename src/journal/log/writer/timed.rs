//! Follows the times of the frames that a start reads.
//!
//! Invariant: everything reaches the inner visitor unchanged.

use std::sync::Arc;

use crate::journal::disk::error::{Error, Rejected};
use crate::journal::disk::format::FrameKind;
use crate::journal::disk::frame::FrameHeader;
use crate::journal::disk::record::Record;
use crate::journal::disk::segment::SegmentHeader;
use crate::journal::disk::snapshot::Snapshot;
use crate::journal::log::clock::Follow;
use crate::journal::log::replay::{Replayed, Visitor};
use crate::types::{Lsn, UnixMillis};

/// Passes everything to the inner visitor, and follows the frames' times.
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
        // A seal is written into the previous segment with the raw wall clock.
        if header.kind != FrameKind::Seal {
            self.follow.frame(header.first_lsn, header.written_at);
        }
        self.visitor.frame(offset, header);
    }

    fn record(&mut self, lsn: Lsn, written_at: UnixMillis, record: Record) -> Result<(), Rejected> {
        self.visitor.record(lsn, written_at, record)
    }
}

/// The time of the newest surviving record in the snapshot.
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
