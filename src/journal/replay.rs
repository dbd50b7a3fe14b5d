//! Reading a whole journal, from its first segment to its end.
//!
//! Invariants:
//! - It never writes: recovery, `inspect` and `verify` share it.
//! - Records are handed on in LSN order, each once, and only from frames whose whole prefix is valid.
//! - What it returns depends on the files alone.

use std::path::PathBuf;

use super::error::{Corrupt, Damage, Error, NotTorn};
use super::format::{BLOCK_BYTES, FrameKind};
use super::frame::{FrameFault, FrameHeader, Place};
use super::names::{self, FileName};
use super::record::Record;
use super::segment::{Found, Predecessor, SegmentHeader, SegmentReader, frame_reach};
use super::verdict::{Behind, Evidence, Verdict, judge};
use crate::fs::Fs;
use crate::types::{Lsn, UnixMillis};

/// Is told what a journal holds.
pub trait Visitor {
    /// What was told so far does not count: the journal is read once more from its beginning.
    fn restart(&mut self) {}
    /// A segment begins.
    fn segment(&mut self, _header: &SegmentHeader) {}
    /// A valid frame, before its records.
    fn frame(&mut self, _offset: u64, _header: &FrameHeader) {}
    /// A record and when it was written. An error says why it cannot be.
    fn record(&mut self, lsn: Lsn, written_at: UnixMillis, record: Record) -> Result<(), &'static str>;
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

/// What reading a journal found out.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The last segment, and where it ends.
    pub last: Option<(SegmentHeader, Predecessor)>,
    /// How it ends.
    pub ending: Ending,
    /// Segments read.
    pub segments: u64,
    /// Bytes of frames read.
    pub bytes: u64,
}

/// The first LSNs of all segments in the directory, ascending, and the first foreign name, if there is one.
pub fn list_segments<F: Fs>(fs: &F, dir: &F::Dir) -> Result<(Vec<Lsn>, Option<PathBuf>), Error> {
    let mut segments = Vec::new();
    let mut foreign = None;
    for entry in fs.list(dir)? {
        let entry = entry?;
        match names::parse(&entry.name) {
            FileName::Segment(lsn) => segments.push(lsn),
            // The root of a file system of its own has this one.
            FileName::Foreign if entry.name != "lost+found" => foreign = Some(PathBuf::from(entry.name)),
            FileName::Foreign | FileName::Lock | FileName::Temporary => {}
        }
    }
    segments.sort_unstable();
    Ok((segments, foreign))
}

/// Reads the journal whose segments are `segments`, as [`list_segments`] found them.
pub fn replay<F: Fs>(fs: &F, dir: &F::Dir, segments: &[Lsn], visitor: &mut dyn Visitor) -> Result<Replayed, Error> {
    let mut replayed = Replayed { last: None, ending: Ending::Empty, segments: 0, bytes: 0 };
    let mut readers = segments.iter().map(|lsn| SegmentReader::open(fs, dir, *lsn));
    let mut next = readers.next().transpose()?;
    if let Some(first) = &next
        && let Some(predecessor) = first.header().predecessor
    {
        return Err(corrupt(first, 0, first.start(), Damage::MissingPredecessor(predecessor.first_lsn)));
    }
    while let Some(mut reader) = next {
        next = readers.next().transpose()?;
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
        replayed.last = Some((reader.header().clone(), walked));
    }
    Ok(replayed)
}

fn corrupt<F: Fs>(reader: &SegmentReader<F>, offset: u64, place: Place, damage: Damage) -> Error {
    Corrupt { file: reader.path().to_path_buf(), offset, lsn: place.next_lsn, damage }.into()
}

/// The headers of two segments, one after the other, agree with each other.
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

/// Where a walk through a segment is.
struct Cursor {
    offset: u64,
    place: Place,
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

/// Takes the frame at the cursor, if there is one that continues the journal.
fn step<F: Fs>(
    reader: &mut SegmentReader<F>,
    cursor: &mut Cursor,
    visitor: &mut dyn Visitor,
) -> Result<Result<(), FrameFault>, Error> {
    let path = reader.path().to_path_buf();
    let (header, payload) = match reader.frame(cursor.offset)? {
        Found::Frame(header, _) if !header.follows(&cursor.place) => return Ok(Err(FrameFault::Chain)),
        Found::Frame(header, payload) => (header, payload),
        Found::Fault(fault) => return Ok(Err(fault)),
    };
    visitor.frame(cursor.offset, &header);
    let mut rest = payload;
    for index in 0..u64::from(header.record_count) {
        let lsn = header.first_lsn.plus(index);
        let damage = |damage| Corrupt { file: path.clone(), offset: cursor.offset, lsn, damage };
        let (record, length) = Record::decode(rest).ok_or_else(|| damage(Damage::Record))?;
        visitor.record(lsn, header.written_at, record).map_err(|why| damage(Damage::Transition(why)))?;
        rest = &rest[length..];
    }
    if header.kind == FrameKind::Data && !rest.is_empty() {
        let damage = Damage::Record;
        return Err(Corrupt { file: path, offset: cursor.offset, lsn: cursor.place.next_lsn, damage }.into());
    }
    cursor.offset += header.frame_bytes() as u64;
    cursor.place = Place::after(&header);
    cursor.last_frame = Some(header.kind);
    Ok(Ok(()))
}

/// Reads a segment that has a successor, whose header says where this one ended.
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
        let damage = Damage::Successor("the one before ends elsewhere than it says");
        return Err(corrupt(successor, 0, successor.start(), damage));
    }
    // Only the seal may follow; what a crash left behind is no valid frame.
    if let Found::Frame(header, payload) = reader.frame(cursor.offset)? {
        let names_successor = payload == successor.header().first_lsn.0.to_le_bytes();
        if header.kind != FrameKind::Seal || !names_successor || !header.follows(&cursor.place) {
            let damage = Damage::Successor("the one before goes on where it says that it ends");
            return Err(corrupt(successor, 0, successor.start(), damage));
        }
        visitor.frame(cursor.offset, &header);
    }
    Ok(found)
}

/// The next start has written a seal behind a clean shutdown, and nothing else may stand there.
fn is_seal<F: Fs>(reader: &mut SegmentReader<F>, cursor: &Cursor) -> Result<bool, Error> {
    Ok(match reader.frame(cursor.offset)? {
        Found::Frame(header, _) => header.kind == FrameKind::Seal && header.follows(&cursor.place),
        Found::Fault(_) => false,
    })
}

/// Reads the last segment, and judges what stands behind its last good frame.
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
