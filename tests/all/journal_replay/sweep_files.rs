//! Whole files of a journal of two generations: truncated, extended, removed, exchanged, replaced by an older version or by
//! another journal's file. For the required result of each case see [`super::sweep`].

use std::fmt;
use std::path::Path;

use csv_ingestor::fs::sim::SimFs;
use csv_ingestor::journal::format::FrameKind;
use csv_ingestor::types::Lsn;

use super::generations::{Generations, JournalFile, Part, Role, STATE, on_all_processors};
use super::sweep::{Expected, Place, Sweep};

/// The damage to the files, by their numbers.
enum Damage {
    Length(usize, usize),
    Remove(Vec<usize>),
    /// This one gets these bytes.
    Put(usize, Vec<u8>),
    Swap(usize, usize),
    /// The first gets the second's bytes, and with `true` the second is removed.
    Instead(usize, usize, bool),
}

struct Case {
    damage: Damage,
    expected: Expected,
    what: String,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

fn path(file: &JournalFile) -> std::path::PathBuf {
    Path::new(STATE).join(&file.name)
}

impl Case {
    fn apply(&self, fs: &SimFs, files: &[JournalFile]) {
        let mut upstream = fs.upstream();
        match &self.damage {
            Damage::Length(file, length) => upstream.truncate(path(&files[*file]), *length as u64).unwrap(),
            Damage::Remove(gone) => gone.iter().for_each(|file| upstream.remove(path(&files[*file])).unwrap()),
            Damage::Put(file, bytes) => upstream.write(path(&files[*file]), bytes).unwrap(),
            Damage::Swap(one, other) => {
                upstream.write(path(&files[*one]), &files[*other].bytes).unwrap();
                upstream.write(path(&files[*other]), &files[*one].bytes).unwrap();
            }
            Damage::Instead(one, other, is_moved) => {
                upstream.write(path(&files[*one]), &files[*other].bytes).unwrap();
                if *is_moved {
                    upstream.remove(path(&files[*other])).unwrap();
                }
            }
        }
    }
}

/// The required result if this file is replaced from its first byte on.
fn replaced(file: &JournalFile) -> Expected {
    match file.role {
        Role::Lock | Role::Older => Expected::Same,
        role if role.is_spare() => Expected::Spare(Place::header(file)),
        _ => Expected::Corrupt(Place::header(file)),
    }
}

fn sweep(generations: Generations, cases: impl Fn(&[JournalFile]) -> Vec<Case>) -> usize {
    let sweep = Sweep::new(generations);
    let files = &sweep.generations.files;
    let cases = cases(files);
    on_all_processors(&sweep.generations, &cases, |fs, _, case| {
        case.apply(fs, files);
        sweep.check(fs, &case.expected, case);
    });
    cases.len()
}

/// The lengths to truncate or extend a file to: all of them, but only a sample in long runs of zeros.
fn lengths(file: &JournalFile) -> Vec<usize> {
    const ZEROS: usize = 64;
    let size = file.bytes.len();
    let is_sampled = |at: usize| {
        let around = &file.bytes[at.saturating_sub(ZEROS)..(at + ZEROS).min(size)];
        at.is_multiple_of(211) || file.part_at(at).0 != Part::Free && around.iter().any(|byte| *byte != 0)
    };
    let shorter = (0..size).filter(|at| is_sampled(*at) || size < 4096 || at % 4096 < 2 || at % 4096 == 4095);
    shorter.chain([size + 1, size + 4095, size + 4096, size * 2]).collect()
}

/// A file system check after a crash, or a careless copy, may truncate files. No file of a journal ever changes its length.
#[test]
fn a_file_of_another_length_is_seen_in_either_generation() {
    let cases = sweep(Generations::new(7, FrameKind::Idle), |files| {
        let of_file = |(index, file): (usize, &JournalFile)| {
            let case = |length| Case {
                damage: Damage::Length(index, length),
                expected: replaced(file),
                what: format!("{} of {length} bytes", file.name),
            };
            lengths(file).into_iter().map(case).collect::<Vec<_>>()
        };
        files.iter().enumerate().flat_map(of_file).collect()
    });
    eprintln!("{cases} lengths");
}

/// The required result of removing one file.
fn removed(files: &[JournalFile], index: usize) -> Expected {
    let file = &files[index];
    let neighbour = |step: isize| &files[index.checked_add_signed(step).unwrap()];
    let newest = files.iter().find(|file| file.role == Role::Newest).unwrap();
    match file.role {
        Role::Lock | Role::Older => Expected::Same,
        Role::SpareSnapshot => Expected::Spare(Place::header(newest)),
        // A file missing after a snapshot is reported for the snapshot; between two segments, for the later one.
        Role::SpareSegment | Role::Segment if neighbour(-1).is_snapshot() => {
            let place = Place { lsn: file.lsn, ..Place::header(neighbour(-1)) };
            if file.role.is_spare() { Expected::Spare(place) } else { Expected::Corrupt(place) }
        }
        Role::SpareSegment => {
            let next = if neighbour(1).is_snapshot() { neighbour(2) } else { neighbour(1) };
            Expected::Spare(Place::header(next))
        }
        Role::Segment => Expected::Corrupt(Place::header(neighbour(1))),
        Role::LastSegment => {
            // The seal before it names it.
            let before = neighbour(-1);
            let seal = before.frames.last().unwrap();
            assert_eq!(seal.kind, FrameKind::Seal);
            let (offset, lsn) = (seal.offset as u64 + 4096, seal.first_lsn);
            Expected::Corrupt(Place { file: before.name.clone(), offset, lsn })
        }
        Role::Newest => Expected::Before { spare_is_intact: files.iter().any(|file| file.role == Role::Older) },
    }
}

/// A file is missing. If it is the newest snapshot, the generation before has the same content.
#[test]
fn a_file_that_is_removed_is_missed() {
    let mut cases = 0;
    let whole = Generations::new(7, FrameKind::Data);
    for generations in [whole.clone(), whole.without_older()] {
        cases += sweep(generations, |files| {
            let one = |index: usize| Case {
                damage: Damage::Remove(vec![index]),
                expected: removed(files, index),
                what: format!("without {}", files[index].name),
            };
            let each = (0..files.len()).map(one);
            // All segments after the newest snapshot; both snapshots; the whole newest generation.
            let of = |roles: &[Role]| (0..files.len()).filter(|index| roles.contains(&files[*index].role)).collect();
            let newest = files.iter().find(|file| file.role == Role::Newest).unwrap();
            let behind = Place { lsn: newest.lsn.plus(1), ..Place::header(newest) };
            let more = [
                (of(&[Role::Segment, Role::LastSegment]), Expected::Corrupt(behind)),
                (of(&[Role::Newest, Role::SpareSnapshot, Role::Older]), Expected::CorruptAnywhere),
                (of(&[Role::Newest, Role::Segment, Role::LastSegment]), Expected::CorruptAnywhere),
            ];
            let more = more.map(|(gone, expected)| Case {
                what: format!("without the files {gone:?}"),
                damage: Damage::Remove(gone),
                expected,
            });
            each.chain(more).collect()
        });
    }
    eprintln!("{cases} files removed");
}

/// Files restored under each other's names, copied over each other, or renamed: all of their checksums are right.
#[test]
fn files_that_were_exchanged_are_seen() {
    let cases = sweep(Generations::new(7, FrameKind::Shutdown), |files| {
        // In the order in which a reader reads them.
        let first_of = |one: usize, other: usize| {
            let order = |file: &JournalFile| (!file.role.is_newest(), !file.is_snapshot(), file.lsn);
            let (one, other) = (&files[one], &files[other]);
            let is_of_no_account = |file: &JournalFile| matches!(file.role, Role::Lock | Role::Older);
            match (is_of_no_account(one), is_of_no_account(other)) {
                (true, true) => Expected::Same,
                (true, false) => replaced(other),
                (false, true) => replaced(one),
                (false, false) => replaced(if order(one) < order(other) { one } else { other }),
            }
        };
        let mut cases = Vec::new();
        for one in 0..files.len() {
            for other in (0..files.len()).filter(|other| *other != one) {
                let (name, other_name) = (&files[one].name, &files[other].name);
                if one < other {
                    let (damage, expected) = (Damage::Swap(one, other), first_of(one, other));
                    cases.push(Case { damage, expected, what: format!("{name} and {other_name} exchanged") });
                }
                let (damage, expected) = (Damage::Instead(one, other, false), replaced(&files[one]));
                cases.push(Case { damage, expected, what: format!("{name} is a copy of {other_name}") });
                let (damage, what) = (Damage::Instead(one, other, true), format!("{other_name} became {name}"));
                cases.push(Case { damage, expected: renamed(files, one, other), what });
            }
        }
        cases
    });
    eprintln!("{cases} files exchanged");
}

/// `other` was renamed to `one`'s name.
fn renamed(files: &[JournalFile], one: usize, other: usize) -> Expected {
    let (one, other_role) = (&files[one], files[other].role);
    if other_role == Role::Newest && !one.role.is_newest() {
        // The generation before replaces it, if that is whole.
        return match one.role {
            Role::Lock => Expected::Before { spare_is_intact: true },
            Role::Older => Expected::Before { spare_is_intact: false },
            _ => Expected::CorruptAnywhere,
        };
    }
    match (one.role.is_newest() || other_role.is_newest(), one.role.is_spare() || other_role.is_spare()) {
        (true, _) => Expected::CorruptAnywhere,
        (_, true) => Expected::SpareAnywhere,
        _ => Expected::Same,
    }
}

/// A file returns to an older state: a write was lost, or a backup of one file was restored. Only the loss of the last
/// segment's last frames cannot be detected; the format's document says so among its downsides.
#[test]
fn an_older_state_of_a_file_is_seen_unless_it_is_the_journals_end() {
    let mut cases = 0;
    for last in [FrameKind::Data, FrameKind::Idle, FrameKind::Shutdown] {
        cases += sweep(Generations::new(7, last), |files| {
            let mut cases = Vec::new();
            for (index, file) in files.iter().enumerate().filter(|(_, file)| file.is_segment()) {
                for frames in 0..file.frames.len() {
                    let next = &file.frames[frames];
                    let place = Place { file: file.name.clone(), offset: next.offset as u64, lsn: next.first_lsn };
                    let expected = match file.role {
                        Role::LastSegment => Expected::Ends { frames, torn: false },
                        _ if next.kind == FrameKind::Seal => Expected::Same,
                        Role::SpareSegment => Expected::Spare(place),
                        _ => Expected::Corrupt(place),
                    };
                    let what = format!("{} with its first {frames} frames", file.name);
                    cases.push(Case { damage: Damage::Put(index, file.with_frames(frames)), expected, what });
                }
            }
            // A snapshot with the content of an older one.
            let snapshots: Vec<usize> =
                (0..files.len()).filter(|index| files[*index].name.ends_with(".snap")).collect();
            for pair in snapshots.windows(2) {
                let (older, newer) = (&files[pair[0]], &files[pair[1]]);
                let what = format!("{} is {}", newer.name, older.name);
                cases.push(Case { damage: Damage::Put(pair[1], older.bytes.clone()), expected: replaced(newer), what });
            }
            cases
        });
    }
    eprintln!("{cases} older states");
}

/// Files of another journal with the same names, LSNs and lengths, as after a mixed-up backup.
#[test]
fn files_of_another_journal_are_seen() {
    let other = Generations::new(9, FrameKind::Data);
    let cases = sweep(Generations::new(7, FrameKind::Data), |files| {
        let case = |(index, file): (usize, &JournalFile)| {
            let bytes = other.files[other.index_of(&file.name)].bytes.clone();
            let expected = match file.role {
                Role::Lock | Role::Older => Expected::Same,
                role if role.is_spare() => Expected::SpareAnywhere,
                _ => Expected::CorruptAnywhere,
            };
            Case { damage: Damage::Put(index, bytes), expected, what: format!("another journal's {}", file.name) }
        };
        files.iter().enumerate().map(case).collect()
    });
    assert!(cases > 10, "{cases}");
    assert_ne!(other.only(Role::Newest).lsn, Lsn(0));
}
