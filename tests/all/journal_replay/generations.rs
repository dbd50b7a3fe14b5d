//! A journal of two generations, made by hand so that its segments are small: everything that a journal can contain, before
//! and after its newest snapshot. And the layout of each of its files, parsed from the format's document alone.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use csv_ingestor::fs::sim::{Op, SimFs};
use csv_ingestor::journal::compact::compact;
use csv_ingestor::journal::format::{BLOCK_BYTES, FRAME_HEADER_BYTES, FrameKind};
use csv_ingestor::journal::index::Index;
use csv_ingestor::journal::ingest::{Ingest, Kept, Original};
use csv_ingestor::journal::lifecycle::{FileState, StateCounts};
use csv_ingestor::journal::record::Record;
use csv_ingestor::journal::replay::{Ending, Replayed};
use csv_ingestor::journal::{self, Corrupt, Error, names};
use csv_ingestor::types::{Lsn, Sha256};

use super::script::{Frame, Segment, script};

pub(super) const STATE: &str = "/state";

/// A file's role in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Lock,
    /// Older than the spare generation: left by an interrupted compaction.
    Older,
    SpareSnapshot,
    SpareSegment,
    Newest,
    Segment,
    LastSegment,
}

impl Role {
    pub(super) fn is_spare(self) -> bool {
        matches!(self, Role::SpareSnapshot | Role::SpareSegment)
    }

    pub(super) fn is_newest(self) -> bool {
        matches!(self, Role::Newest | Role::Segment | Role::LastSegment)
    }
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Header,
    /// A segment's n-th frame.
    Frame(usize),
    /// A block of rows.
    Rows,
    /// One of a snapshot's lists.
    List(usize),
    /// Padding, or after the end: no checksum covers it.
    Free,
}

/// One file of the journal.
#[derive(Clone)]
pub(super) struct JournalFile {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) lsn: Lsn,
    pub(super) bytes: Vec<u8>,
    pub(super) frames: Vec<Frame>,
    pub(super) parts: Vec<(Range<usize>, Part)>,
}

impl JournalFile {
    fn segment(segment: &Segment, role: Role) -> JournalFile {
        let mut parts = vec![(0..BLOCK_BYTES, Part::Header)];
        let frames = segment.frames.iter().enumerate();
        parts.extend(frames.map(|(index, frame)| (frame.offset..frame.covered_end(), Part::Frame(index))));
        let (lsn, bytes, frames) = (segment.lsn, segment.bytes.clone(), segment.frames.clone());
        JournalFile { name: names::segment(lsn), role, lsn, bytes, frames, parts }
    }

    fn snapshot(lsn: Lsn, bytes: Vec<u8>, role: Role) -> JournalFile {
        let mut parts = vec![(0..BLOCK_BYTES, Part::Header)];
        let lists: Vec<Range<usize>> = (0..5).map(|list| list_extent(&bytes, list)).collect();
        let pages = bytes[lists[0].clone()].chunks_exact(8).map(|entry| u32_at(entry, 4) * BLOCK_BYTES);
        let mut pages: Vec<usize> = pages.collect();
        pages.push(lists[0].start);
        parts.extend(pages.windows(2).map(|pair| (pair[0]..pair[1], Part::Rows)));
        parts.extend(lists.into_iter().enumerate().map(|(list, extent)| (extent, Part::List(list))));
        JournalFile { name: names::snapshot(lsn), role, lsn, bytes, frames: Vec::new(), parts }
    }

    fn other(name: &str, role: Role, bytes: Vec<u8>) -> JournalFile {
        JournalFile { name: name.to_owned(), role, lsn: Lsn(0), bytes, frames: Vec::new(), parts: Vec::new() }
    }

    pub(super) fn is_segment(&self) -> bool {
        matches!(self.role, Role::SpareSegment | Role::Segment | Role::LastSegment)
    }

    pub(super) fn is_snapshot(&self) -> bool {
        matches!(self.role, Role::SpareSnapshot | Role::Newest)
    }

    /// The part that a byte belongs to, and the offset at which that begins.
    pub(super) fn part_at(&self, at: usize) -> (Part, usize) {
        let found = self.parts.iter().find(|(range, _)| range.contains(&at));
        found.map_or((Part::Free, at), |(range, part)| (*part, range.start))
    }

    /// The end of the last frame and its padding.
    pub(super) fn end(&self) -> usize {
        self.frames.last().map_or(BLOCK_BYTES, Frame::padded_end)
    }

    /// The bytes as they were when only this many frames were written.
    pub(super) fn with_frames(&self, count: usize) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let end = self.frames.get(count).map_or(self.end(), |frame| frame.offset);
        bytes[end..].fill(0);
        bytes
    }

    /// The contents of the rows in the block at that offset.
    pub(super) fn rows(&self, offset: usize) -> Vec<Sha256> {
        let count = u16::from_le_bytes([self.bytes[offset + 4], self.bytes[offset + 5]]);
        let mut at = offset + 8;
        (0..count)
            .map(|_| {
                let length = usize::from(u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]));
                let digest = self.bytes[at + 2..at + 34].try_into().unwrap();
                at += 2 + length;
                Sha256(digest)
            })
            .collect()
    }
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// The extent of one of a snapshot's lists.
fn list_extent(bytes: &[u8], list: usize) -> Range<usize> {
    let entry = &bytes[168 + 24 * list..][..16];
    let offset = u32_at(entry, 0);
    offset..offset + u32_at(entry, 8)
}

/// The original of a content, or the damage that prevents the answer.
pub(super) type Found = Result<Option<Original>, Box<Corrupt>>;

/// Everything that can be read from an index, so that two can be compared.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    pub(super) settings: Option<csv_ingestor::journal::record::Settings>,
    pub(super) open: Vec<Ingest>,
    pub(super) kept: Vec<Kept>,
    pub(super) originals: Vec<(Sha256, Found)>,
    pub(super) counts: StateCounts,
}

impl Told {
    pub(super) fn of(state: &Index, contents: &[Sha256]) -> Told {
        let mut kept: Vec<Kept> = state.kept().copied().collect();
        kept.sort_by_key(|kept| kept.identity.key());
        let original = |sha256: &Sha256| match state.original(&(*sha256).into()) {
            Err(Error::Corrupt(damage)) => Err(damage),
            found => Ok(found.unwrap()),
        };
        Told {
            settings: state.settings().map(|settings| (**settings).clone()),
            open: state.open().cloned().collect(),
            kept,
            originals: contents.iter().map(|sha256| (*sha256, original(sha256))).collect(),
            counts: FileState::ALL.map(|file_state| state.count(file_state)),
        }
    }
}

/// The journal.
#[derive(Clone)]
pub(super) struct Generations {
    /// LOCK, files older than the spare generation, the spare generation, the newest one; each in order.
    pub(super) files: Vec<JournalFile>,
    /// Every content that any record names, and some that no record names.
    pub(super) contents: Vec<Sha256>,
    pub(super) told: Told,
    pub(super) ending: Ending,
}

/// Returns the only file with that role.
pub(super) fn only(files: &[JournalFile], role: Role) -> &JournalFile {
    let mut found = files.iter().filter(|file| file.role == role);
    let only = found.next().unwrap();
    assert!(found.next().is_none());
    only
}

impl Generations {
    /// A journal whose last frame is of the kind `last`. Journals with different seeds have only their LSNs in common.
    pub(super) fn new(seed: u8, last: FrameKind) -> Generations {
        let (segments, contents) = script(seed, last);
        let [z1, z2, a1, a2, a3, a4, b1, b2, b3] = &segments[..] else { panic!("{} segments", segments.len()) };
        let fs = machine(&[]);
        let put = |segment: &Segment| {
            fs.upstream().write(Path::new(STATE).join(names::segment(segment.lsn)), &segment.bytes).unwrap();
        };
        let snapshot_before = |segment: &Segment| {
            let compacted = compact(&fs, Path::new(STATE), segment.lsn, &AtomicBool::new(false)).unwrap().unwrap();
            let lsn = compacted.snapshot.header().lsn;
            (lsn, fs.upstream().read(compacted.snapshot.path()).unwrap())
        };
        [z1, z2].into_iter().for_each(put);
        let (_, oldest) = snapshot_before(z2);
        put(a1);
        let (spare_lsn, spare) = snapshot_before(a1);
        [a2, a3, a4, b1].into_iter().for_each(put);
        let (newest_lsn, newest) = snapshot_before(b1);
        let lock = format!("{:>10}\n{}\n", 1, journal::hex(&[seed; 16]));
        let mut files = vec![
            JournalFile::other(names::LOCK, Role::Lock, lock.into_bytes()),
            JournalFile::other(&names::segment(z2.lsn), Role::Older, z2.bytes.clone()),
            JournalFile::other(&names::snapshot(Lsn(z2.lsn.0 - 1)), Role::Older, oldest),
            JournalFile::snapshot(spare_lsn, spare, Role::SpareSnapshot),
        ];
        files.extend([a1, a2, a3, a4].map(|segment| JournalFile::segment(segment, Role::SpareSegment)));
        files.push(JournalFile::snapshot(newest_lsn, newest, Role::Newest));
        files.extend([b1, b2].map(|segment| JournalFile::segment(segment, Role::Segment)));
        files.push(JournalFile::segment(b3, Role::LastSegment));
        let (replayed, state) = read(&machine(&files)).unwrap();
        let told = Told::of(&state, &contents);
        Generations { files, contents, told, ending: replayed.ending }
    }

    /// The same without the files that are older than the spare generation.
    pub(super) fn without_older(mut self) -> Generations {
        self.files.retain(|file| file.role != Role::Older);
        self
    }

    /// A machine with this journal.
    pub(super) fn machine(&self) -> SimFs {
        machine(&self.files)
    }

    pub(super) fn only(&self, role: Role) -> &JournalFile {
        only(&self.files, role)
    }

    pub(super) fn index_of(&self, name: &str) -> usize {
        self.files.iter().position(|file| file.name == name).unwrap()
    }

    /// The state and the ending when only this many frames are in the last segment.
    pub(super) fn ended_after(&self, frames: usize) -> (Told, Ending) {
        let fs = self.machine();
        let last = self.only(Role::LastSegment);
        put(&fs, &last.name, &last.with_frames(frames));
        let (replayed, state) = read(&fs).unwrap();
        (Told::of(&state, &self.contents), replayed.ending)
    }
}

/// A machine whose state directory has these files, durably.
pub(super) fn machine(files: &[JournalFile]) -> SimFs {
    let fs = SimFs::new(3);
    let mut upstream = fs.upstream();
    upstream.mkdir_all(STATE).unwrap();
    for file in files {
        upstream.write(Path::new(STATE).join(&file.name), &file.bytes).unwrap();
    }
    upstream.sync();
    fs
}

/// Replaces a file's bytes.
pub(super) fn put(fs: &SimFs, name: &str, bytes: &[u8]) {
    fs.upstream().write(Path::new(STATE).join(name), bytes).unwrap();
}

/// Reads the journal as a start does.
pub(super) fn read(fs: &SimFs) -> Result<(Replayed, Index), Error> {
    let mut state = Index::default();
    let replayed = journal::read(fs, Path::new(STATE), &mut state)?;
    Ok((replayed.expect("there is a journal"), state))
}

/// Every file in a directory with its bytes.
pub(super) fn contents(fs: &SimFs, dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut upstream = fs.upstream();
    let names = upstream.list(dir).unwrap_or_default();
    names
        .into_iter()
        .map(|name| (name.to_string_lossy().into_owned(), upstream.read(dir.join(name)).unwrap()))
        .collect()
}

/// The number of operations that modify something.
pub(super) fn modifications(fs: &SimFs) -> u64 {
    let ops = [Op::WriteAt, Op::SetLen, Op::SetMeta, Op::Rename, Op::Unlink, Op::CreateDir];
    ops.iter().map(|op| fs.count(*op)).sum()
}

/// Calls `work` for all cases, on as many threads as there are processors, each with a machine of its own.
pub(super) fn on_all_processors<C: Sync>(
    generations: &Generations,
    cases: &[C],
    work: impl Fn(&SimFs, usize, &C) + Sync,
) {
    const CASES_AT_ONCE: usize = 64;
    let next = std::sync::atomic::AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let fs = generations.machine();
                loop {
                    let first = next.fetch_add(CASES_AT_ONCE, std::sync::atomic::Ordering::Relaxed);
                    let Some(left) = cases.get(first..).filter(|left| !left.is_empty()) else { break };
                    for (index, case) in left.iter().take(CASES_AT_ONCE).enumerate() {
                        work(&fs.fork(), first + index, case);
                    }
                }
            });
        }
    });
}

/// The journal has everything that it should have; otherwise the sweeps would prove little.
#[test]
fn there_is_everything_in_both_generations() {
    let generations = Generations::new(7, FrameKind::Data);
    let (replayed, state) = read(&generations.machine()).unwrap();
    let snapshot: Arc<_> = replayed.snapshot.unwrap();
    assert_eq!((replayed.segments, replayed.ending), (3, Ending::Killed));
    assert!(snapshot.header().forgotten > 0 && snapshot.header().rows > 20, "{snapshot:?}");
    for role in [Role::SpareSnapshot, Role::Newest] {
        let file = generations.only(role);
        let blocks: Vec<usize> =
            file.parts.iter().filter(|(_, part)| *part == Part::Rows).map(|(range, _)| range.len()).collect();
        assert!(blocks.len() >= 2, "{role:?}: {blocks:?}");
        assert_eq!(blocks.contains(&(2 * BLOCK_BYTES)), role == Role::Newest, "a row that takes two pages");
        let survivors = |record: &Record| matches!(record, Record::Discovered(_));
        let mut count = 0;
        let told = if role == Role::Newest { snapshot.clone() } else { spare(&generations) };
        told.survivors(&mut |_, _, record| {
            count += u64::from(survivors(&record));
            Ok(())
        })
        .unwrap();
        assert!(count >= 5, "{role:?}: {count} files survive");
    }
    assert!(state.open().count() >= 4 && state.kept().count() >= 2);
    assert!(generations.told.counts.iter().all(|count| *count > 0), "{:?}", generations.told.counts);
    let known = generations.told.originals.iter().filter(|(_, original)| matches!(original, Ok(Some(_)))).count();
    assert!(known > 20 && known < generations.contents.len(), "{known} contents");
    for kind in [FrameKind::Idle, FrameKind::Shutdown] {
        let ending = Generations::new(7, kind).ending;
        assert_eq!(ending == Ending::Shutdown, kind == FrameKind::Shutdown);
    }
    assert!(generations.files.iter().any(|file| file.is_segment() && file.bytes.len() > FRAME_HEADER_BYTES));
}

/// The snapshot of the spare generation.
pub(super) fn spare(generations: &Generations) -> Arc<journal::snapshot::Snapshot> {
    use csv_ingestor::fs::Fs;
    let fs = generations.machine();
    let dir = fs.open_dir(Path::new(STATE)).unwrap();
    let lsn = generations.only(Role::SpareSnapshot).lsn;
    Arc::new(journal::snapshot::Snapshot::open(&fs, &dir, lsn).unwrap())
}
