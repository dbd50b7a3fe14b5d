//! The one writer of a journal: opening, group commits, rotation, marks.
//!
//! Invariants:
//! - One process writes; it holds `LOCK`.
//! - A frame is one group commit: one write, one fdatasync. The next is never written before this one is durable.
//! - After a failed write or fsync nothing more is written (P5). A full disk is not such a failure: nothing was
//!   acknowledged.
//! - A frame's time never differs much from the previous frame's, unless time has passed or the frame says that the
//!   clock has jumped ([`super::clock`]).
//! - Opening reads the old segments, then starts a new one; it never continues an old one, so a crash while opening
//!   leaves the old ones unchanged.

mod time;
mod timed;

use std::ffi::OsStr;
use std::path::Path;

use super::clock::{Clock, Follow, Sight};
use super::files::{Files, remove_temporaries};
use super::lock::{lock, refuse_missing, write_lock};
use super::replay::{self, Ending, Replayed, Visitor};
use crate::fs::Syscall;
use crate::fs::{self, Fs, Open, PRIVATE_MODE};
use crate::journal::disk::blank::Blank;
use crate::journal::disk::error::Error;
use crate::journal::disk::format::{BLOCK_BYTES, FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FrameKind, SEGMENT_BYTES};
use crate::journal::disk::frame::{self, Position};
use crate::journal::disk::ids::random_u32;
use crate::journal::disk::names;
use crate::journal::disk::record::Record;
use crate::journal::disk::segment::{self, Predecessor, SegmentHeader};
use crate::types::{Lsn, UnixMillis};
use timed::{Timed, newest_survivor};

/// Segments of a killed process whose bytes may be only in the page cache: the last, and the one before it, whose seal
/// may not have been synced.
const UNSYNCED_SEGMENTS: usize = 2;

/// A journal open for writing.
pub struct Journal<F: Fs> {
    fs: F,
    dir: F::Dir,
    /// Held while the journal is open.
    lock: F::File,
    active: Active<F>,
    /// The zeros of the next segment, if they are written already.
    blank: Option<Blank<F>>,
    /// The full segments that are in no snapshot yet: first LSN, and bytes of the file.
    sealed: Vec<(Lsn, u64)>,
    poison: Option<String>,
    buffer: Vec<u8>,
    /// The reference point of the clock; None in a journal without records.
    sight: Option<Sight>,
    /// The clocks when a jump was last noticed.
    looked: Option<Sight>,
    /// The time in the last frame.
    written_at: UnixMillis,
    /// The jumps between the frames that the start read.
    old_jumps: Clock,
}

/// The segment that is being written.
struct Active<F: Fs> {
    file: F::File,
    header: SegmentHeader,
    offset: u64,
    place: Position,
    last_frame: Option<FrameKind>,
    /// Up to here there may be remains of a frame that a full disk cut short.
    remains_end: u64,
    /// Index into `SEGMENT_BYTES` of the segment after this one.
    next_size: usize,
}

impl<F: Fs> Active<F> {
    fn end(&self) -> Predecessor {
        Predecessor {
            first_lsn: self.header.first_lsn,
            end: self.offset,
            last_lsn: Lsn(self.place.next_lsn.0 - 1),
            chain: self.place.chain,
        }
    }

    /// Bytes left before the block that is kept for the seal.
    fn room(&self) -> usize {
        (self.header.capacity - BLOCK_BYTES as u64).saturating_sub(self.offset) as usize
    }
}

/// A journal that is locked and was read, but not written to yet.
pub struct Opening<F: Fs> {
    fs: F,
    dir: F::Dir,
    lock: F::File,
    lock_is_new: bool,
    /// The times of the frames that were read.
    follow: Follow,
    /// The result of reading it.
    pub replayed: Replayed,
}

impl<F: Fs> Opening<F> {
    /// Locks the journal in `path`, creating its directory if it does not exist, and passes all its records to
    /// `visitor`.
    ///
    /// # Errors
    /// Nothing is modified if the journal is corrupt, newer, locked or not a journal at all.
    pub fn begin(fs: &F, path: &Path, visitor: &mut dyn Visitor) -> Result<Opening<F>, Error> {
        let dir = fs::open_dir_durable(fs, Path::new("/"), path, PRIVATE_MODE)?;
        fs.act_for(&dir);
        let files = Files::list(fs, &dir)?;
        if let (Some(name), true) = (&files.foreign, files.is_empty()) {
            return Err(Error::Foreign { dir: path.to_path_buf(), name: name.into() });
        }
        let (lock, lock_is_new) = lock(fs, &dir)?;
        let mut timed = Timed { visitor, follow: Follow::default() };
        let replayed = Journal::recover(fs, &dir, &lock, &mut timed).inspect_err(|_| {
            if lock_is_new {
                let _ = fs.unlink(&dir, OsStr::new(names::LOCK));
            }
        })?;
        let follow = timed.follow;
        Ok(Opening { fs: fs.clone(), dir, lock, lock_is_new, follow, replayed })
    }

    /// Gives up. If there was no journal, only the directory is left, so that a journal can be rebuilt in it.
    pub fn abandon(self) {
        if self.lock_is_new {
            let _ = self.fs.unlink(&self.dir, OsStr::new(names::LOCK));
        }
    }

    /// Prepares for writing.
    pub fn start(self) -> Result<(Journal<F>, Replayed), Error> {
        let Opening { fs, dir, lock, follow, replayed, .. } = self;
        Journal::start(&fs, dir, lock, follow, replayed)
    }
}

impl<F: Fs> Journal<F> {
    /// Locks the journal in `path`, creating it if it does not exist, passes all its records to `visitor`, and prepares
    /// for writing.
    ///
    /// # Errors
    /// As for [`Opening::begin`].
    pub fn open(fs: &F, path: &Path, visitor: &mut dyn Visitor) -> Result<(Journal<F>, Replayed), Error> {
        Opening::begin(fs, path, visitor)?.start()
    }

    fn start(
        fs: &F,
        dir: F::Dir,
        lock: F::File,
        follow: Follow,
        replayed: Replayed,
    ) -> Result<(Journal<F>, Replayed), Error> {
        remove_temporaries(fs, &dir)?;
        let active = start_segment(fs, &dir, replayed.last.as_ref())?;
        write_lock(fs, &dir, &lock, &active.header)?;
        let sealed = replayed.files.clone();
        let (wall, steady) = (fs.now(), fs.steady());
        let newest = follow.newest.map_or_else(|| newest_survivor(&replayed), |newest| Ok(Some(newest)))?;
        let journal = Journal {
            fs: fs.clone(),
            dir,
            lock,
            active,
            blank: None,
            sealed,
            poison: None,
            buffer: Vec::new(),
            sight: newest.map(|newest| Sight::begin(newest, wall, steady)),
            looked: None,
            written_at: newest.unwrap_or_default(),
            old_jumps: follow.jumps,
        };
        if let Some((header, end)) = &replayed.last
            && replayed.ending != Ending::Empty
        {
            journal.seal_old(header, end)?;
        }
        Ok((journal, replayed))
    }

    /// Reads the journal under its lock.
    fn recover(fs: &F, dir: &F::Dir, lock: &F::File, visitor: &mut dyn Visitor) -> Result<Replayed, Error> {
        // List again under the lock: another process may have written since.
        let files = Files::list(fs, dir)?;
        if files.is_empty() {
            refuse_missing(fs, dir, lock)?;
        }
        sync_and_drop_cache(fs, dir, &files.segments)?;
        replay::replay(fs, dir, &files, None, visitor)
    }

    /// (device, inode) of the open directory and of the open lock file.
    pub fn keys(&self) -> fs::Result<((u64, u64), (u64, u64))> {
        Ok((self.fs.stat_dir(&self.dir)?.identity.key(), self.fs.stat_file(&self.lock)?.identity.key()))
    }

    /// True unless the active segment has lost its name or another file has taken it: records written then could never
    /// be found. The inode number alone is no proof: some file systems derive it from the path, and the segment was
    /// renamed.
    pub fn is_in_place(&self) -> bool {
        let name = names::segment(self.active.header.first_lsn);
        let (Ok(there), Ok(ours)) = (self.fs.stat(&self.dir, OsStr::new(&name)), self.fs.stat_file(&self.active.file))
        else {
            return true;
        };
        there.is_some_and(|there| there.identity.key() == ours.identity.key() || ours.links > 0)
    }

    /// The LSN that the next record will get.
    pub fn next_lsn(&self) -> Lsn {
        self.active.place.next_lsn
    }

    /// Bytes written to the active segment so far.
    pub fn active_bytes(&self) -> u64 {
        self.active.offset
    }

    /// Bytes of full segments that no compaction has folded in.
    pub fn sealed_bytes(&self) -> u64 {
        self.sealed.iter().map(|(_, bytes)| bytes).sum()
    }

    /// The first LSN of the active segment: everything before it does not change any more.
    pub fn active_first_lsn(&self) -> Lsn {
        self.active.header.first_lsn
    }

    /// The size of the segment after this one, if this one is half full and the next one's zeros are not written yet.
    pub fn wants_blank(&self) -> Option<u64> {
        let is_due = self.blank.is_none() && self.active.offset >= self.active.header.capacity / 2;
        is_due.then(|| SEGMENT_BYTES[self.active.next_size])
    }

    /// Takes over the zeros of the next segment.
    pub fn take_blank(&mut self, blank: Blank<F>) {
        self.blank = Some(blank);
    }

    /// Notes that a snapshot now holds everything up to this LSN.
    pub fn folded_in(&mut self, lsn: Lsn) {
        self.sealed.retain(|(first_lsn, _)| *first_lsn > lsn);
    }

    /// Begins a new segment, unless this one has no records: a compaction can then fold in everything appended so far.
    pub fn seal(&mut self) -> Result<(), Error> {
        self.check()?;
        if self.active.place.next_lsn == self.active.header.first_lsn { Ok(()) } else { self.rotate() }
    }

    /// The journal's UUID.
    pub fn store(&self) -> [u8; 16] {
        self.active.header.store
    }

    /// Makes as many of the records durable as fit into one frame; returns how many. They get the LSNs from
    /// [`Journal::next_lsn`] on.
    ///
    /// # Errors
    /// On a full disk ([`Error::is_no_space`]) the journal is unchanged and the call may be repeated. After any other
    /// error it is poisoned.
    pub fn append(&mut self, records: &[Record]) -> Result<usize, Error> {
        self.check()?;
        let mut count = self.fill(records, FRAME_BYTES_MAX);
        if count < records.len().min(1) || frame::padded(self.buffer.len()) > self.active.room() {
            if self.active.last_frame.is_some() {
                self.rotate()?;
            }
            count = self.fill(records, FRAME_BYTES_MAX.min(self.active.room()));
        }
        if count > 0 {
            let says_jumped = records[..count].iter().any(|record| matches!(record, Record::ClockJumped(_)));
            let before = self.sight;
            if says_jumped && self.looked.is_some() {
                self.sight = self.looked;
            }
            self.write_frame(FrameKind::Data, count as u32).inspect_err(|_| self.sight = before)?;
        }
        Ok(count)
    }

    /// Encodes as many records into the buffer as a frame of `frame_bytes_max` holds; returns how many.
    fn fill(&mut self, records: &[Record], frame_bytes_max: usize) -> usize {
        self.buffer.clear();
        self.buffer.resize(FRAME_HEADER_BYTES, 0);
        for (index, record) in records.iter().enumerate() {
            let before = self.buffer.len();
            record.encode(&mut self.buffer);
            if self.buffer.len() > frame_bytes_max {
                self.buffer.truncate(before);
                return index;
            }
        }
        records.len()
    }

    /// Writes an idle frame if one is due, so that the last records are no longer in the last frame.
    pub fn mark_idle(&mut self) -> Result<(), Error> {
        // A segment without records must stay without frames: otherwise its successor would skip an LSN, and the ids
        // that callers have predicted would be wrong.
        if self.wants_idle_mark() { self.mark(FrameKind::Idle) } else { self.check() }
    }

    /// Writes a shutdown frame: nothing will follow.
    pub fn shut_down(mut self) -> Result<(), Error> {
        if self.blank.take().is_some() {
            // What stays is removed at the next start.
            let _ = self.fs.unlink(&self.dir, OsStr::new(&names::blank()));
        }
        self.mark(FrameKind::Shutdown)
    }

    /// True if the last frame holds records, so that an idle frame after it is due.
    pub fn wants_idle_mark(&self) -> bool {
        self.active.last_frame == Some(FrameKind::Data) && self.active.room() >= BLOCK_BYTES
    }

    fn mark(&mut self, kind: FrameKind) -> Result<(), Error> {
        self.check()?;
        // A mark alone does not justify a new segment: only records follow a full one.
        if self.active.room() < BLOCK_BYTES {
            return Ok(());
        }
        self.buffer.clear();
        self.buffer.resize(FRAME_HEADER_BYTES, 0);
        self.write_frame(kind, 0)
    }

    fn check(&self) -> Result<(), Error> {
        match &self.poison {
            Some(cause) => Err(Error::Poisoned { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    /// Writes the buffer as a frame at the end of the active segment and makes it durable.
    fn write_frame(&mut self, kind: FrameKind, count: u32) -> Result<(), Error> {
        let (wall, steady) = (self.fs.now(), self.fs.steady());
        let written_at = self.sight.map_or(wall, |sight| sight.believed(wall, steady));
        let active = &mut self.active;
        let chain = frame::seal_frame(&mut self.buffer, kind, count, &active.place, written_at, active.header.salt);
        let frame_end = active.offset + self.buffer.len() as u64;
        if frame_end < active.remains_end {
            self.buffer.resize((active.remains_end - active.offset) as usize, 0);
        }
        let written = fs::write_all_at(&self.fs, &active.file, &self.buffer, active.offset);
        let durable = written.and_then(|()| self.fs.sync_data(&active.file));
        if let Err(error) = durable {
            // ENOSPC from pwrite (on a copy-on-write file system) left no frame, and the next write goes to the same
            // offset. From fdatasync it is a failure like any other: the pages are lost.
            active.remains_end = active.remains_end.max(frame_end);
            if !leaves_valid(&error) {
                self.poison = Some(error.to_string());
            }
            return Err(error.into());
        }
        active.offset = frame_end;
        active.place = Position { next_lsn: active.place.next_lsn.plus(u64::from(count)), chain };
        active.last_frame = Some(kind);
        self.written_at = written_at;
        self.sight.get_or_insert(Sight { wall, steady: Some(steady) });
        Ok(())
    }

    /// Starts the next segment, then seals the full one: in this order, so that a seal's successor always exists.
    fn rotate(&mut self) -> Result<(), Error> {
        let end = self.active.end();
        let mut header = successor_header(&self.fs, &self.active.header, &end, self.active.next_size);
        let next_size = (self.active.next_size + 1).min(SEGMENT_BYTES.len() - 1);
        // If its name is gone, another one is made.
        let blank =
            self.blank.take().filter(|_| matches!(self.fs.stat(&self.dir, OsStr::new(&names::blank())), Ok(Some(_))));
        header.capacity = blank.as_ref().map_or(header.capacity, Blank::capacity);
        let started = activate(&self.fs, &self.dir, header, next_size, blank);
        let started = started.inspect_err(|error| {
            if !error.is_no_space() {
                self.poison = Some(error.to_string());
            }
        })?;
        let full = std::mem::replace(&mut self.active, started);
        self.sealed.push((full.header.first_lsn, full.header.capacity));
        let sealed = self.write_seal(&full.file, &full.header, &end);
        if let Err(Error::Io(error)) = &sealed
            && !leaves_valid(error)
        {
            self.poison = Some(error.to_string());
        }
        sealed
    }

    fn seal_old(&self, header: &SegmentHeader, end: &Predecessor) -> Result<(), Error> {
        let name = names::segment(header.first_lsn);
        let file = self.fs.open(&self.dir, OsStr::new(&name), Open::Write)?;
        self.write_seal(&file, header, end)
    }

    /// Writes the seal after the last good frame of a segment whose successor is the active one. It overwrites a torn
    /// tail there: the successor's header, which is durable, says where the segment ends.
    fn write_seal(&self, file: &F::File, header: &SegmentHeader, end: &Predecessor) -> Result<(), Error> {
        // This writer keeps a block free for the seal; if another did not, a segment without a seal is better than a
        // longer file.
        if end.end + BLOCK_BYTES as u64 > header.capacity {
            return Ok(());
        }
        let mut frame = vec![0; FRAME_HEADER_BYTES];
        frame.extend_from_slice(&self.active.header.first_lsn.0.to_le_bytes());
        let place = Position { next_lsn: end.last_lsn.plus(1), chain: end.chain };
        frame::seal_frame(&mut frame, FrameKind::Seal, 0, &place, self.fs.now(), header.salt);
        fs::write_all_at(&self.fs, file, &frame, end.end)?;
        self.fs.sync_data(file)?;
        Ok(())
    }
}

/// True if a full disk refused a write, which changes nothing of value; after any other failure the state of the disk
/// is unknown.
fn leaves_valid(error: &fs::Error) -> bool {
    error.is_no_space() && error.op == Syscall::Pwrite
}

/// Makes the following reads return what the disk holds. Frames of a killed process may be only in the page cache, and
/// look durable; and after a failed write-back the cache shows data that never reached the disk.
fn sync_and_drop_cache<F: Fs>(fs: &F, dir: &F::Dir, segments: &[Lsn]) -> Result<(), Error> {
    for lsn in segments.iter().rev().take(UNSYNCED_SEGMENTS) {
        let file = fs.open(dir, OsStr::new(&names::segment(*lsn)), Open::Write)?;
        fs.sync_all(&file)?;
        fs.drop_cache(&file)?;
    }
    if !segments.is_empty() {
        fs.sync_dir(dir)?;
    }
    Ok(())
}

fn successor_header<F: Fs>(fs: &F, before: &SegmentHeader, end: &Predecessor, size: usize) -> SegmentHeader {
    SegmentHeader {
        salt: random_u32(fs),
        store: before.store,
        number: before.number + 1,
        first_lsn: end.successor_first_lsn(),
        capacity: SEGMENT_BYTES[size],
        created_at: fs.now(),
        predecessor: Some(*end),
    }
}

/// Creates the segment for this process's records.
fn start_segment<F: Fs>(fs: &F, dir: &F::Dir, last: Option<&(SegmentHeader, Predecessor)>) -> Result<Active<F>, Error> {
    let header = match last {
        Some((before, end)) => successor_header(fs, before, end, 0),
        None => SegmentHeader {
            salt: random_u32(fs),
            store: fs.random(),
            number: 1,
            first_lsn: Lsn(1),
            capacity: SEGMENT_BYTES[0],
            created_at: fs.now(),
            predecessor: None,
        },
    };
    activate(fs, dir, header, 1, None)
}

fn activate<F: Fs>(
    fs: &F,
    dir: &F::Dir,
    header: SegmentHeader,
    next_size: usize,
    blank: Option<Blank<F>>,
) -> Result<Active<F>, Error> {
    let (file, chain) = segment::create(fs, dir, &header, blank)?;
    let place = Position { next_lsn: header.first_lsn, chain };
    let offset = BLOCK_BYTES as u64;
    Ok(Active { file, header, offset, place, last_frame: None, remains_end: offset, next_size })
}
