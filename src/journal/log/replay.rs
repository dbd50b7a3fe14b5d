//! Reading a whole journal, from its newest snapshot (or first segment) to its end.
//!
//! Invariants:
//! - It never writes: recovery, `inspect` and `verify` all use it.
//! - Records reach the visitor in LSN order, each once, and only from frames whose whole prefix is valid.
//! - The result depends only on the files.

use std::sync::Arc;

use super::files::Files;
use super::verdict::{Behind, Evidence, Verdict, judge};
use crate::fs::Fs;
use crate::journal::disk::error::{Corrupt, Damage, Error, NotTorn, Rejected};
use crate::journal::disk::format::{BLOCK_BYTES, FrameKind};
use crate::journal::disk::frame::{FrameFault, FrameHeader, Position};
use crate::journal::disk::record::Record;
use crate::journal::disk::segment::{
    FrameRead, Predecessor, SegmentHeader, SegmentReader, frame_reach, is_made_by_repair,
};
use crate::journal::disk::snapshot::{Snapshot, Spare};
use crate::types::{Lsn, UnixMillis};

/// Receives the content of a journal.
pub trait Visitor {
    /// Discards everything so far: the journal is read once more from its beginning.
    fn restart(&mut self) {}
    /// The journal begins with this snapshot, which replaces its first records.
    fn snapshot(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), Error>;
    /// A segment begins.
    fn segment(&mut self, _header: &SegmentHeader) {}
    /// A valid frame, before its records.
    fn frame(&mut self, _offset: u64, _header: &FrameHeader) {}
    /// A record and the time at which it was written. An error says why the record is refused.
    fn record(&mut self, lsn: Lsn, written_at: UnixMillis, record: Record) -> Result<(), Rejected>;
}

/// How the journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// There is no journal yet.
    Empty,
    /// After a whole frame, but without a clean shutdown: the process was killed.
    Killed,
    /// After a clean shutdown.
    Shutdown,
    /// In a write that was cut off: this many bytes are dropped.
    Torn {
        /// Bytes from the end of the last good frame to the last that is not zero.
        bytes: u64,
    },
}

/// The result of reading a journal.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The snapshot with which it begins.
    pub snapshot: Option<Arc<Snapshot>>,
    /// The last segment, and where it ends.
    pub last: Option<(SegmentHeader, Predecessor)>,
    /// How it ends.
    pub ending: Ending,
    /// Segments read.
    pub segments: u64,
    /// Bytes of frames read.
    pub bytes: u64,
    /// The segments read: first LSN, and bytes of the file.
    pub files: Vec<(Lsn, u64)>,
}

impl Replayed {
    /// The journal's UUID; None if there is no journal yet.
    pub fn store(&self) -> Option<[u8; 16]> {
        self.last.as_ref().map(|(header, _)| header.store)
    }

    /// True if a repair or a rebuild made it, and no compaction has run since: it may then lack contents that manifests
    /// list.
    pub fn is_mended(&self) -> bool {
        self.snapshot.as_ref().is_some_and(|snapshot| snapshot.header().spare == Spare::None)
    }

    /// The LSN that the next record will get.
    pub fn next_lsn(&self) -> Lsn {
        self.last.as_ref().map_or(Lsn(1), |(_, end)| end.successor_first_lsn())
    }
}

/// Reads the journal that [`Files::list`] found: the newest snapshot, and the segments after it.
///
/// With `until`, reads as if the segment with that first LSN did not exist yet: the newest snapshot before it, and the
/// segments between the two, which do not change any more.
pub fn replay<F: Fs>(
    fs: &F,
    dir: &F::Dir,
    files: &Files,
    until: Option<Lsn>,
    visitor: &mut dyn Visitor,
) -> Result<Replayed, Error> {
    let (snapshot, segments) = files.generation(until);
    let snapshot = snapshot.map(|lsn| Snapshot::open(fs, dir, lsn).map(Arc::new)).transpose()?;
    let mut replayed =
        Replayed { snapshot, last: None, ending: Ending::Empty, segments: 0, bytes: 0, files: Vec::new() };
    let readers = segments.iter().filter(|lsn| until.is_none_or(|until| **lsn <= until));
    let mut readers = readers.map(|lsn| SegmentReader::open(fs, dir, *lsn));
    let mut next = readers.next().transpose()?;
    check_beginning(replayed.snapshot.as_deref(), next.as_ref())?;
    if let Some(snapshot) = &replayed.snapshot {
        visitor.snapshot(snapshot)?;
    }
    while let Some(mut reader) = next {
        next = readers.next().transpose()?;
        if until == Some(reader.header().first_lsn) {
            break;
        }
        visitor.segment(reader.header());
        let walked = match &next {
            Some(successor) => {
                check_neighbours(&reader, successor)?;
                walk_followed(&mut reader, successor, visitor)?
            }
            None => {
                let (walked, ending) = walk_last(&mut reader, visitor)?;
                replayed.ending = ending;
                walked
            }
        };
        replayed.segments += 1;
        replayed.bytes += walked.end - BLOCK_BYTES as u64;
        replayed.files.push((reader.header().first_lsn, reader.header().capacity));
        replayed.last = Some((reader.header().clone(), walked));
    }
    Ok(replayed)
}

/// Checks that the first segment is the journal's first, or continues the snapshot.
fn check_beginning<F: Fs>(snapshot: Option<&Snapshot>, first: Option<&SegmentReader<F>>) -> Result<(), Error> {
    let Some(snapshot) = snapshot else {
        let Some(first) = first else { return Ok(()) };
        let Some(predecessor) = first.header().predecessor else { return Ok(()) };
        let damage = match is_made_by_repair(first.header()) {
            true => Damage::MissingSnapshot(predecessor.last_lsn),
            false => Damage::MissingPredecessor(predecessor.first_lsn),
        };
        return Err(corrupt(first, 0, first.start(), damage));
    };
    let header = snapshot.header();
    let next_lsn = header.lsn.plus(1);
    // A snapshot is made from segments that had a successor, so the successor must exist.
    let Some(first) = first.filter(|first| first.header().first_lsn == next_lsn) else {
        let (file, damage) = (snapshot.path().to_path_buf(), Damage::MissingSuccessor(next_lsn));
        return Err(Corrupt { file, offset: 0, lsn: next_lsn, damage }.into());
    };
    let refuse = |what| Err(corrupt(first, 0, first.start(), Damage::Snapshot(what)));
    if first.header().store != header.store {
        return refuse("it belongs to another journal");
    }
    if first.header().predecessor != Some(header.segment) {
        return refuse("it names another predecessor");
    }
    if header.segment_number.checked_add(1) != Some(first.header().number) {
        return refuse("its number does not follow");
    }
    Ok(())
}

fn corrupt<F: Fs>(reader: &SegmentReader<F>, offset: u64, place: Position, damage: Damage) -> Error {
    Corrupt { file: reader.path().to_path_buf(), offset, lsn: place.next_lsn, damage }.into()
}

/// Checks that the headers of two consecutive segments agree.
fn check_neighbours<F: Fs>(reader: &SegmentReader<F>, successor: &SegmentReader<F>) -> Result<(), Error> {
    let (header, next) = (reader.header(), successor.header());
    let refuse = |damage| Err(corrupt(successor, 0, successor.start(), damage));
    let Some(predecessor) = next.predecessor else {
        return refuse(Damage::Successor("it is the first of a journal, and there is an earlier one"));
    };
    if header.store != next.store {
        return refuse(Damage::Successor("it belongs to another journal"));
    }
    if predecessor.first_lsn != header.first_lsn || header.number.checked_add(1) != Some(next.number) {
        return refuse(Damage::MissingPredecessor(predecessor.first_lsn));
    }
    if next.first_lsn != predecessor.successor_first_lsn() {
        return refuse(Damage::Successor("its first LSN does not follow"));
    }
    Ok(())
}

/// The current position in a segment.
struct Cursor {
    offset: u64,
    place: Position,
    last_frame: Option<FrameKind>,
}

impl Cursor {
    fn predecessor<F: Fs>(&self, reader: &SegmentReader<F>) -> Predecessor {
        Predecessor {
            first_lsn: reader.header().first_lsn,
            end: self.offset,
            last_lsn: Lsn(self.place.next_lsn.0 - 1),
            chain: self.place.chain,
        }
    }
}

/// Reads the frame at the cursor and advances, if it continues the journal. Otherwise returns its fault.
fn step<F: Fs>(
    reader: &mut SegmentReader<F>,
    cursor: &mut Cursor,
    visitor: &mut dyn Visitor,
) -> Result<Result<(), FrameFault>, Error> {
    let path = reader.path().to_path_buf();
    let (header, payload) = match reader.frame(cursor.offset)? {
        FrameRead::Frame(header, _) if !header.follows(&cursor.place) => return Ok(Err(FrameFault::Chain)),
        FrameRead::Frame(header, payload) => (header, payload),
        FrameRead::Fault(fault) => return Ok(Err(fault)),
    };
    visitor.frame(cursor.offset, &header);
    let mut rest = payload;
    for index in 0..u64::from(header.record_count) {
        let lsn = header.first_lsn.plus(index);
        let damage = |damage| Corrupt { file: path.clone(), offset: cursor.offset, lsn, damage };
        let (record, length) = Record::decode(rest).ok_or_else(|| damage(Damage::Record))?;
        visitor.record(lsn, header.written_at, record).map_err(|refused| match refused {
            Rejected::Contradiction(why) => damage(Damage::Transition(why)).into(),
            Rejected::Unknown(error) => *error,
        })?;
        rest = &rest[length..];
    }
    if header.kind == FrameKind::Data && !rest.is_empty() {
        let damage = Damage::Record;
        return Err(Corrupt { file: path, offset: cursor.offset, lsn: cursor.place.next_lsn, damage }.into());
    }
    cursor.offset += header.frame_bytes() as u64;
    cursor.place = Position::after(&header);
    cursor.last_frame = Some(header.kind);
    Ok(Ok(()))
}

/// Reads a segment that has a successor; the successor's header says where this segment ended.
fn walk_followed<F: Fs>(
    reader: &mut SegmentReader<F>,
    successor: &SegmentReader<F>,
    visitor: &mut dyn Visitor,
) -> Result<Predecessor, Error> {
    let mut cursor = Cursor { offset: BLOCK_BYTES as u64, place: reader.start(), last_frame: None };
    let Some(said) = successor.header().predecessor else {
        return Err(corrupt(successor, 0, successor.start(), Damage::Successor("it names no predecessor")));
    };
    while cursor.offset < said.end {
        if let Err(fault) = step(reader, &mut cursor, visitor)? {
            let damage = Damage::Frame(fault, NotTorn::LaterSegment);
            return Err(corrupt(reader, cursor.offset, cursor.place, damage));
        }
    }
    let found = cursor.predecessor(reader);
    if found != said {
        let damage = Damage::Successor("the segment before does not end where it says");
        return Err(corrupt(successor, 0, successor.start(), damage));
    }
    // Only the seal may follow; the leftovers of a crash are not a valid frame.
    if let FrameRead::Frame(header, payload) = reader.frame(cursor.offset)? {
        let names_successor = payload == successor.header().first_lsn.0.to_le_bytes();
        if header.kind != FrameKind::Seal || !names_successor || !header.follows(&cursor.place) {
            let damage = Damage::Successor("the segment before continues after the end that it names");
            return Err(corrupt(successor, 0, successor.start(), damage));
        }
        visitor.frame(cursor.offset, &header);
    }
    Ok(found)
}

/// True if the seal that the next start writes after a clean shutdown is at the cursor; no other frame may be there.
fn is_seal<F: Fs>(reader: &mut SegmentReader<F>, cursor: &Cursor) -> Result<bool, Error> {
    Ok(match reader.frame(cursor.offset)? {
        FrameRead::Frame(header, _) => header.kind == FrameKind::Seal && header.follows(&cursor.place),
        FrameRead::Fault(_) => false,
    })
}

/// Reads the last segment, and decides what the bytes after its last good frame mean.
fn walk_last<F: Fs>(reader: &mut SegmentReader<F>, visitor: &mut dyn Visitor) -> Result<(Predecessor, Ending), Error> {
    let mut cursor = Cursor { offset: BLOCK_BYTES as u64, place: reader.start(), last_frame: None };
    let fault = loop {
        if cursor.offset >= reader.header().capacity {
            break FrameFault::Magic;
        }
        let goes_on = match cursor.last_frame {
            Some(FrameKind::Seal) => false,
            Some(FrameKind::Shutdown) => is_seal(reader, &cursor)?,
            Some(FrameKind::Data | FrameKind::Idle) | None => true,
        };
        if !goes_on {
            break FrameFault::Magic;
        }
        if let Err(fault) = step(reader, &mut cursor, visitor)? {
            break fault;
        }
    };
    let (nonzero_end, valid_frame_beyond) = reader.examine_rest(cursor.offset, &cursor.place)?;
    let behind = match nonzero_end {
        None => Behind::Zeros,
        Some(end) if end <= frame_reach(cursor.offset) => Behind::WithinOneFrame,
        Some(_) => Behind::Further,
    };
    let ending = match judge(&Evidence { last_frame: cursor.last_frame, behind, valid_frame_beyond }) {
        Verdict::End if cursor.last_frame == Some(FrameKind::Shutdown) => Ending::Shutdown,
        Verdict::End => Ending::Killed,
        Verdict::TornTail => Ending::Torn { bytes: nonzero_end.unwrap_or(cursor.offset) - cursor.offset },
        Verdict::MissingSuccessor => {
            let successor = cursor.predecessor(reader).successor_first_lsn();
            return Err(corrupt(reader, cursor.offset, cursor.place, Damage::MissingSuccessor(successor)));
        }
        Verdict::Corrupt(why) => {
            return Err(corrupt(reader, cursor.offset, cursor.place, Damage::Frame(fault, why)));
        }
    };
    Ok((cursor.predecessor(reader), ending))
}
