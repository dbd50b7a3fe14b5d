//! Bits of a journal of two generations are flipped, one at a time (each bit if the sweeps leave nothing out, otherwise one of
//! every second byte); and every sector and block is zeroed. Each case ends
//! with the same state, with a torn tail where one is possible, or with corruption that names the position; damage to the
//! generation before is reported by `verify` and has no other effect. Never another state, never a panic, never a write.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use csv_ingestor::fs::sim::SimFs;
use csv_ingestor::journal::format::FrameKind;
use csv_ingestor::journal::index::Index;
use csv_ingestor::journal::replay::Ending;
use csv_ingestor::journal::verify::{SpareVerdict, Verified, verify};
use csv_ingestor::journal::{self, Corrupt, Error};
use csv_ingestor::types::{Lsn, Sha256};

use super::generations::{
    Generations, JournalFile, Part, Role, STATE, Told, contents, modifications, on_all_processors,
};
use super::util;
use crate::crash::sweeps::is_thorough;

/// The position at which damage must be reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: String,
    pub(super) offset: u64,
    pub(super) lsn: Lsn,
}

impl Place {
    pub(super) fn header(file: &JournalFile) -> Place {
        Place { file: file.name.clone(), offset: 0, lsn: file.lsn }
    }

    fn is_told_by(&self, damage: &Corrupt) -> bool {
        damage.file == Path::new(STATE).join(&self.file) && (damage.offset, damage.lsn) == (self.offset, self.lsn)
    }
}

/// The required result of damage.
#[derive(Clone, Debug)]
pub(super) enum Expected {
    /// Nothing: the damaged bytes have no meaning.
    Same,
    /// The generation before is damaged; a start does not read it.
    Spare(Place),
    /// As above, reported for another file than the damaged one.
    SpareAnywhere,
    /// A block of rows is damaged: it is found when one of its rows is needed.
    Rows(Place, Vec<Sha256>),
    Corrupt(Place),
    /// Corrupt, in one of the journal's files.
    CorruptAnywhere,
    /// The last segment ends after this many frames.
    Ends {
        frames: usize,
        torn: bool,
    },
    /// The newest snapshot is missing; the generation before replaces it.
    Before {
        spare_is_intact: bool,
    },
}

/// The specified result if the bytes from `at` on (in one page, up to the end of their part) are damaged.
fn expected(file: &JournalFile, at: usize, zeroed_to: Option<usize>) -> Expected {
    let (part, offset) = file.part_at(at);
    let lsn = match part {
        Part::Frame(index) => file.frames[index].first_lsn,
        _ => file.lsn,
    };
    let place = Place { file: file.name.clone(), offset: offset as u64, lsn };
    let is_seal = matches!(part, Part::Frame(index) if file.frames[index].kind == FrameKind::Seal);
    match (file.role, part) {
        (Role::Lock | Role::Older, _) => Expected::Same,
        (Role::LastSegment, Part::Frame(index)) if index + 1 == file.frames.len() => {
            let torn = zeroed_to.is_none_or(|to| at > offset || to < file.frames[index].covered_end());
            Expected::Ends { frames: index, torn }
        }
        (Role::LastSegment, Part::Free) if at >= file.end() => match file.frames.last() {
            Some(frame) if frame.kind == FrameKind::Shutdown => {
                Expected::Corrupt(Place { offset: file.end() as u64, lsn: frame.next_lsn(), ..place })
            }
            _ => Expected::Ends { frames: file.frames.len(), torn: true },
        },
        (_, Part::Free) => Expected::Same,
        _ if is_seal => Expected::Same,
        (Role::SpareSnapshot | Role::SpareSegment, _) => Expected::Spare(place),
        (Role::Newest, Part::Rows) => Expected::Rows(place, file.rows(offset)),
        _ => Expected::Corrupt(place),
    }
}

/// A sweep over one journal.
pub(super) struct Sweep {
    pub(super) generations: Generations,
    /// The state and the ending when only this many frames are in the last segment.
    prefixes: Vec<(Told, Ending)>,
    refused: AtomicUsize,
    accepted: AtomicUsize,
}

/// One case in this many is also opened for writing: opening does more than reading, so it may modify more.
const REFUSED_A_START: usize = 97;
const ACCEPTED_A_START: usize = 499;

impl Sweep {
    pub(super) fn new(generations: Generations) -> Sweep {
        let frames = generations.only(Role::LastSegment).frames.len();
        let prefixes = (0..=frames).map(|frames| generations.ended_after(frames)).collect();
        Sweep { generations, prefixes, refused: AtomicUsize::new(0), accepted: AtomicUsize::new(0) }
    }

    /// Reads and verifies a damaged journal, and compares.
    pub(super) fn check(&self, fs: &SimFs, expected: &Expected, case: &dyn fmt::Debug) {
        let written = modifications(fs);
        let mut state = Index::default();
        let read = journal::read(fs, Path::new(STATE), &mut state);
        let verified = verify(fs, Path::new(STATE));
        assert_eq!(modifications(fs), written, "{case:?}: reading modified something");
        let read = match read {
            Ok(read) => Ok((read.expect("there is a journal").ending, state)),
            Err(Error::Corrupt(damage)) => Err(damage),
            Err(error) => panic!("{case:?}: {error}"),
        };
        let verified = match verified {
            Ok(verified) => Ok(verified.expect("there is a journal")),
            Err(Error::Corrupt(damage)) => Err(damage),
            Err(error) => panic!("{case:?}: {error}"),
        };
        self.start_too(fs, read.as_ref().err().map(|damage| &**damage), case);
        match (expected, &read, &verified) {
            (Expected::Rows(place, rows), read, Err(damage)) if place.is_told_by(damage) => match read {
                Err(damage) => assert!(place.is_told_by(damage), "{case:?}: {place:?}, but {damage}"),
                Ok((_, state)) => self.rows_are_refused(state, place, rows, case),
            },
            (Expected::Corrupt(place), Err(read), Err(verified)) => {
                assert_eq!(read, verified, "{case:?}");
                assert!(place.is_told_by(read), "{case:?}: {place:?}, but {read}");
            }
            (Expected::CorruptAnywhere, Err(read), Err(verified)) => {
                self.is_a_place(read, case);
                self.is_a_place(verified, case);
            }
            (Expected::CorruptAnywhere | Expected::Corrupt(_) | Expected::Rows(..), ..) | (_, Err(_), _) => {
                panic!("{case:?}: expected {expected:?}, but {read:?} and {verified:?}")
            }
            (expected, Ok((ending, state)), Ok(verified)) => self.is_read(expected, *ending, state, verified, case),
            (expected, Ok(_), Err(damage)) => panic!("{case:?}: expected {expected:?}, but {damage}"),
        }
    }

    /// Checks a journal that is accepted, with or without its end or its spare generation.
    fn is_read(&self, expected: &Expected, ending: Ending, state: &Index, verified: &Verified, case: &dyn fmt::Debug) {
        let told = Told::of(state, &self.generations.contents);
        let whole = (&self.generations.told, self.generations.ending);
        let (wanted, wanted_ending) = match expected {
            Expected::Ends { frames, .. } => (&self.prefixes[*frames].0, self.prefixes[*frames].1),
            _ => whole,
        };
        assert_eq!(&told, wanted, "{case:?}");
        assert_eq!(verified.replayed.ending, ending, "{case:?}");
        match expected {
            Expected::Ends { torn: true, .. } => assert!(matches!(ending, Ending::Torn { .. }), "{case:?}: {ending:?}"),
            _ => assert_eq!(ending, wanted_ending, "{case:?}"),
        }
        match (expected, &verified.spare) {
            (Expected::Spare(place), Some(SpareVerdict::Damaged(damage))) => {
                assert!(place.is_told_by(damage), "{case:?}: {place:?}, but {damage}");
            }
            (
                Expected::SpareAnywhere | Expected::Before { spare_is_intact: false },
                Some(SpareVerdict::Damaged(damage)),
            ) => {
                self.is_a_place(damage, case);
            }
            (Expected::Same | Expected::Ends { .. }, Some(SpareVerdict::Intact(_)))
            | (Expected::Before { spare_is_intact: true }, Some(SpareVerdict::Intact(_))) => {}
            (expected, spare) => panic!("{case:?}: expected {expected:?}, but the spare generation is {spare:?}"),
        }
    }

    /// Looking up a content whose row is lost is refused; every other content is unchanged.
    fn rows_are_refused(&self, state: &Index, place: &Place, rows: &[Sha256], case: &dyn fmt::Debug) {
        let good = &self.generations.told;
        let told = Told::of(state, &self.generations.contents);
        let mut refused = 0;
        for ((sha256, found), (_, whole)) in told.originals.iter().zip(&good.originals) {
            match found {
                Err(damage) => {
                    assert!(place.is_told_by(damage) && rows.contains(sha256), "{case:?}: {sha256}: {damage}");
                    refused += 1;
                }
                // A content that was ingested again since is not looked up in the snapshot.
                found => assert!(found == whole && !rows.contains(sha256), "{case:?}: {sha256} is {found:?}"),
            }
        }
        assert_eq!(refused, rows.len(), "{case:?}");
        assert_eq!(Told { originals: good.originals.clone(), ..told }, *good, "{case:?}");
    }

    /// Checks that the damage names one of the journal's files, a position in it, and an LSN.
    fn is_a_place(&self, damage: &Corrupt, case: &dyn fmt::Debug) {
        let name = damage.file.strip_prefix(STATE).unwrap().to_str().unwrap();
        let file = self.generations.files.iter().find(|file| file.name == name);
        let file = file.unwrap_or_else(|| panic!("{case:?}: {damage}"));
        assert!(damage.offset < file.bytes.len() as u64 && damage.lsn > Lsn(0), "{case:?}: {damage}");
    }

    /// For some of the cases: a start refuses what a reader refuses, and modifies nothing; it accepts what a reader accepts.
    fn start_too(&self, fs: &SimFs, refused: Option<&Corrupt>, case: &dyn fmt::Debug) {
        let (count, every) = match refused {
            Some(_) => (&self.refused, REFUSED_A_START),
            None => (&self.accepted, ACCEPTED_A_START),
        };
        if !count.fetch_add(1, Ordering::Relaxed).is_multiple_of(every) {
            return;
        }
        let before = contents(fs, Path::new(STATE));
        let fs = fs.fork();
        let opened = util::open_on(&fs, Path::new(STATE));
        match (refused, opened) {
            (Some(damage), Err(error)) => {
                assert_eq!(Error::from(damage.clone()).to_string(), error.to_string(), "{case:?}");
                assert!(contents(&fs, Path::new(STATE)) == before, "{case:?}: a refused start modified something");
            }
            (None, Ok(_)) => {}
            (refused, opened) => panic!("{case:?}: reading: {refused:?}, opening: {:?}", opened.err()),
        }
    }
}

/// The damage to a file.
#[derive(Clone, Copy)]
struct Damage<'a> {
    file: &'a JournalFile,
    from: usize,
    /// The bytes up to this offset become zeros; if None, a bit is flipped.
    to: Option<usize>,
    bit: u8,
}

impl fmt::Debug for Damage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { file, from, to, bit } = self;
        match to {
            Some(to) => write!(f, "{} zeroed from {from} to {to}", file.name),
            None => write!(f, "{}: bit {bit} of byte {from} flipped", file.name),
        }
    }
}

impl Damage<'_> {
    fn expected(&self) -> Expected {
        expected(self.file, self.from, self.to)
    }

    fn apply(&self, fs: &SimFs) {
        let bytes = match self.to {
            Some(to) => vec![0; to - self.from],
            None => vec![self.file.bytes[self.from] ^ 1 << self.bit],
        };
        fs.upstream().write_at(Path::new(STATE).join(&self.file.name), self.from as u64, &bytes).unwrap();
    }
}

/// Longer runs of equal bytes are sampled: one bit of a byte is flipped, or one in [`ZEROS_A_BIT`] zeros.
const RUN_BYTES: usize = 48;
const ZEROS_A_BIT: usize = 61;
/// No checksum covers the bytes after the end of a segment or list, so one bit in this many bytes suffices.
const FREE_BYTES_A_BIT: usize = 509;

/// The bits to flip in a file: one of every second byte, or all of them; only a sample in long runs of equal bytes.
fn flips(file: &JournalFile) -> Vec<Damage<'_>> {
    let mut found = Vec::new();
    let mut run = 0;
    for (at, byte) in file.bytes.iter().enumerate() {
        run = if at > 0 && file.bytes[at - 1] == *byte { run + 1 } else { 0 };
        let is_free = file.part_at(at).0 == Part::Free && !file.parts.is_empty();
        let bits: &[u8] = match () {
            () if is_free || (run >= RUN_BYTES && *byte == 0) => {
                let every = if is_free { FREE_BYTES_A_BIT } else { ZEROS_A_BIT };
                if at.is_multiple_of(every) { &[(at % 8) as u8] } else { &[] }
            }
            // A byte that is passed over here has its turn in the other generation, or in a thorough sweep.
            () if !is_thorough() && (at + at / 8).is_multiple_of(2) => &[],
            () if run >= RUN_BYTES || !is_thorough() => &[(at % 8) as u8],
            () => &[0, 1, 2, 3, 4, 5, 6, 7],
        };
        found.extend(bits.iter().map(|bit| Damage { file, from: at, to: None, bit: *bit }));
    }
    found
}

/// Each aligned piece of that size, unless it has only zeros; the damage begins at the first other byte.
fn zeroed(file: &JournalFile, size: usize) -> Vec<Damage<'_>> {
    let pieces = (0..file.bytes.len()).step_by(size).map(|from| (from, (from + size).min(file.bytes.len())));
    pieces
        .filter_map(|(from, to)| {
            let first = file.bytes[from..to].iter().position(|byte| *byte != 0)?;
            Some(Damage { file, from: from + first, to: Some(to), bit: 0 })
        })
        .collect()
}

fn sweep(generations: Generations, damages: impl Fn(&JournalFile) -> Vec<Damage<'_>>, files: &[Role]) -> usize {
    let sweep = Sweep::new(generations);
    let chosen = sweep.generations.files.iter().filter(|file| files.is_empty() || files.contains(&file.role));
    let cases: Vec<Damage<'_>> = chosen.flat_map(damages).collect();
    on_all_processors(&sweep.generations, &cases, |fs, index, case| {
        case.apply(fs);
        let before = (index % 1_009 == 0).then(|| contents(fs, Path::new(STATE)));
        sweep.check(fs, &case.expected(), case);
        if let Some(before) = before {
            assert!(contents(fs, Path::new(STATE)) == before, "{case:?}: a file was modified");
        }
    });
    cases.len()
}

/// A disk that returns other bytes than were written, anywhere.
#[test]
fn no_flipped_bit_goes_unseen_in_two_generations() {
    let cases = sweep(Generations::new(7, FrameKind::Data), flips, &[]);
    eprintln!("{cases} flipped bits");
}

/// The same for last segments with other endings.
#[test]
fn no_flipped_bit_goes_unseen_at_the_end_of_two_generations() {
    let mut cases = 0;
    for last in [FrameKind::Idle, FrameKind::Shutdown] {
        cases += sweep(Generations::new(7, last), flips, &[Role::LastSegment]);
    }
    eprintln!("{cases} flipped bits in last segments");
}

/// Blocks that were never written, or were written elsewhere, read as zeros.
#[test]
fn no_zeroed_block_goes_unseen_in_two_generations() {
    let mut cases = 0;
    for last in [FrameKind::Data, FrameKind::Idle, FrameKind::Shutdown] {
        for size in [512, 4096] {
            cases += sweep(Generations::new(7, last), |file| zeroed(file, size), &[]);
        }
    }
    eprintln!("{cases} zeroed sectors and blocks");
}
