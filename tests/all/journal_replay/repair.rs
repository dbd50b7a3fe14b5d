//! Repair: it keeps a copy of every damaged journal, saves everything that the intact records show, reports the lost LSNs,
//! and invents nothing.

use std::path::Path;

use csv_ingestor::fs::sim::SimFs;
use csv_ingestor::journal::format::FrameKind;
use csv_ingestor::journal::index::Index;
use csv_ingestor::journal::ingest::{Ingest, Original};
use csv_ingestor::journal::repair::{Repaired, repair};
use csv_ingestor::journal::verify::verify;
use csv_ingestor::journal::{self, Error};
use csv_ingestor::types::{Lsn, Sha256};

use super::generations::{Generations, Part, Role, STATE, Told, contents, modifications, on_all_processors, read};
use super::harm::{Harm, How, Left, Truth, normal, records_of};
use super::util;

pub(super) const COPY: &str = "/copy";

/// Repairs, and checks everything that must hold for any damage. False if there was nothing to repair.
fn check(truth: &Truth, fs: &SimFs, harm: &Harm) -> bool {
    harm.apply(fs, &truth.generations.files);
    let damaged = contents(fs, Path::new(STATE));
    let is_corrupt = match verify(fs, Path::new(STATE)) {
        Err(Error::Corrupt(_)) => true,
        verified => verified.map(|_| false).unwrap(),
    };
    let repaired = repair(fs, Path::new(STATE), Path::new(COPY)).unwrap_or_else(|error| panic!("{harm:?}: {error}"));
    let Some(repaired) = repaired else {
        assert!(!is_corrupt, "{harm:?}: nothing was repaired");
        assert!(contents(fs, Path::new(STATE)) == damaged && !fs.upstream().exists(COPY), "{harm:?}");
        return false;
    };
    assert!(is_corrupt, "{harm:?}: an intact journal was repaired");
    assert!(contents(fs, Path::new(COPY)) == damaged, "{harm:?}: the copy is not equal to the original");
    let left = truth.left(harm);
    let state = accepted(fs, &format!("{harm:?}"));
    let records = truth.generations.files.iter().flat_map(records_of);
    let numbered = records.filter_map(|(_, record)| record.seq()).max();
    assert!(state.last_seq() >= numbered.unwrap_or(0), "{harm:?}: a number would be given again");
    let told = Told::of(&state, &truth.generations.contents);
    check_contents(truth, &left, &told, &format!("{harm:?}"));
    check_files(truth, &left, &state, &format!("{harm:?}"));
    check_rows(truth, &left, &repaired, harm);
    check_lost(truth, &left, &repaired, harm);
    let written = modifications(fs);
    let again = repair(fs, Path::new(STATE), Path::new("/second")).unwrap();
    assert!(again.is_none() && modifications(fs) == written, "{harm:?}: a second repair");
    true
}

/// Checks that readers, `verify` and writers accept the repaired journal, and that new LSNs follow all others.
fn accepted(fs: &SimFs, what: &str) -> Index {
    let (_, state) = read(fs).unwrap_or_else(|error| panic!("{what}: the repaired journal is refused: {error}"));
    let verified = verify(fs, Path::new(STATE)).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(verified.unwrap().spare.is_none(), "{what}");
    let writer = fs.fork();
    util::open_on(&writer, Path::new(STATE)).unwrap_or_else(|error| panic!("{what}: {error}"));
    state
}

/// Every content is known that any intact data shows as ingested, and no other.
fn check_contents(truth: &Truth, left: &Left, told: &Told, what: &str) {
    let originals = told.originals.iter().zip(&truth.generations.told.originals);
    for ((sha256, found), (_, good)) in originals {
        let found: &Option<Original> = found.as_ref().unwrap();
        if let Some(found) = found {
            let ids = truth.moved.get(sha256);
            assert!(ids.is_some_and(|ids| ids.contains(&found.ingest_id)), "{what}: {sha256} is invented: {found:?}");
        }
        let Some(good) = good.as_ref().unwrap() else { continue };
        let places = left.contents.get(sha256).into_iter().flatten();
        let mut places = places.filter(|(id, _)| *id == good.ingest_id).peekable();
        if places.peek().is_none() {
            continue;
        }
        // A duplicate that kept a content from expiring may be lost.
        let may_expire = good.discovered_at < left.expired_before() && is_referred_to(truth, sha256);
        let Some(found) = found else {
            assert!(may_expire, "{what}: content {sha256} is lost: {good:?}");
            continue;
        };
        assert_eq!(found.ingest_id, good.ingest_id, "{what}: {sha256} has another ingest");
        if found.warehouse_path != good.warehouse_path {
            let (name, good_name) = (found.warehouse_path.file_name(), good.warehouse_path.file_name());
            assert!(left.directories_lost && name == good_name, "{what}: {sha256} is at {found:?}, not {good:?}");
        }
    }
}

fn is_referred_to(truth: &Truth, sha256: &Sha256) -> bool {
    let told = &truth.generations.told;
    told.kept.iter().any(|kept| kept.sha256 == *sha256)
        || told.open.iter().any(|file| file.duplicate.as_ref().is_some_and(|it| it.sha256 == *sha256))
}

/// Files without lost records are unchanged; the others are at least not invented.
fn check_files(truth: &Truth, left: &Left, state: &Index, what: &str) {
    let good = &truth.generations.told;
    let settings = left.settings();
    if !left.is_unsure {
        assert_eq!(state.settings().map(|it| &**it), settings.last().copied(), "{what}");
    }
    let forget_settings =
        |file: &Ingest| Ingest { settings: std::sync::Arc::new(good.settings.clone().unwrap()), ..file.clone() };
    for file in good.open.iter().filter(|file| left.is_untouched(file.id) && !settings.is_empty()) {
        let found = state.ingest(file.id).unwrap_or_else(|| panic!("{what}: file {} is lost", file.id));
        assert_eq!(forget_settings(found), forget_settings(file), "{what}");
        if !left.settings_lost() {
            assert_eq!(found.settings, file.settings, "{what}");
        }
    }
    for file in state.open() {
        assert_eq!(truth.found.get(&file.id), Some(&file.identity), "{what}: file {} is invented", file.id);
        let was_open = good.open.iter().any(|it| it.id == file.id);
        assert!(was_open || !left.is_untouched(file.id), "{what}: file {} was finished", file.id);
    }
    let id_of = |identity| truth.found.iter().filter(move |(_, known)| **known == identity).map(|(id, _)| *id).max();
    for kept in good.kept.iter().filter(|kept| id_of(kept.identity).is_some_and(|id| left.is_untouched(id))) {
        assert!(settings.is_empty() || state.kept().any(|it| it == kept), "{what}: {kept:?} is lost");
    }
    for kept in state.kept() {
        assert!(id_of(kept.identity).is_some(), "{what}: {kept:?} is invented");
    }
}

/// An intact row is kept as it is, and not made again from fewer records.
fn check_rows(truth: &Truth, left: &Left, repaired: &Repaired, harm: &Harm) {
    for (sha256, row) in &left.rows {
        let newest = truth.moved[sha256].iter().max();
        if let Some(found) = repaired.snapshot.find(&(*sha256).into()).unwrap()
            && newest == Some(&row.ingest_id)
        {
            assert_eq!(&found, row, "{harm:?}");
        }
    }
}

/// Exactly the lost LSNs are reported, and none is assigned again.
fn check_lost(truth: &Truth, left: &Left, repaired: &Repaired, harm: &Harm) {
    let found = normal(&repaired.salvage.lost);
    if !left.is_unsure {
        assert_eq!(found, left.lost, "{harm:?}: lost LSNs");
    }
    assert!(repaired.snapshot.header().lsn > truth.last_lsn, "{harm:?}");
    // The contents that no longer exist are counted, except those that were about to be forgotten.
    if left.begun == Some(truth.generations.only(Role::Newest).lsn) && found.is_empty() {
        let good = &truth.generations.told.originals;
        let (mut lost, mut old) = (0, 0);
        for (sha256, good) in good {
            let row = repaired.snapshot.find(&(*sha256).into()).unwrap();
            match good {
                Ok(Some(_)) => lost += u64::from(row.is_none() && !is_open(truth, sha256)),
                _ => old += 1,
            }
        }
        assert!((lost..=lost + old).contains(&repaired.lost_contents), "{harm:?}: {lost}, {}", repaired.lost_contents);
    }
}

/// True if it is the content of a file that is not finished.
fn is_open(truth: &Truth, sha256: &Sha256) -> bool {
    truth.generations.told.open.iter().any(|file| file.target.as_ref().is_some_and(|target| target.sha256 == *sha256))
}

/// Checks all cases; prints how many needed a repair.
fn sweep(name: &str, cases: &[Harm]) {
    let truth = Truth::new(Generations::new(7, FrameKind::Idle).without_older());
    let repaired = std::sync::atomic::AtomicUsize::new(0);
    on_all_processors(&truth.generations, cases, |fs, _, harm| {
        if check(&truth, fs, harm) {
            repaired.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    });
    eprintln!("{name}: {} cases, of which {} were repaired", cases.len(), repaired.into_inner());
}

/// Every part of every file, as (file, part).
fn parts(truth: &Generations, wanted: impl Fn(Role, Part) -> bool) -> Vec<(usize, usize)> {
    let files = truth.files.iter().enumerate();
    let of_file = |(index, file): (usize, &super::generations::JournalFile)| {
        let role = file.role;
        let parts = file.parts.iter().enumerate().filter(|(_, (_, part))| wanted(role, *part));
        parts.map(|(part, _)| (index, part)).collect::<Vec<_>>()
    };
    files.flat_map(of_file).collect()
}

fn journal() -> Generations {
    Generations::new(7, FrameKind::Idle).without_older()
}

fn hit(parts: &[(usize, usize)], how: How) -> Harm {
    Harm { hits: parts.iter().map(|(file, part)| (*file, *part, how)).collect(), ..Harm::default() }
}

/// One fault at a time: each part of each file, each file truncated, each file removed.
#[test]
fn one_part_is_lost() {
    let journal = journal();
    let mut cases = Vec::new();
    for part in parts(&journal, |role, _| role != Role::Lock) {
        cases.extend([3, 77, 411, 1_000].map(|bit| hit(&[part], How::Bit(bit))));
        cases.push(hit(&[part], How::Zeroed));
    }
    for (index, file) in journal.files.iter().enumerate() {
        let end = file.parts.last().map_or(0, |(range, _)| range.end);
        let lengths = [0, 1, 4_096, 8_192, 12_288, 13_000, 20_480, 30_000, end, file.bytes.len() - 1];
        let lengths = lengths.into_iter().filter(|length| *length < file.bytes.len());
        cases.extend(lengths.map(|length| Harm { cut: vec![(index, length)], ..Harm::default() }));
        cases.push(Harm { gone: vec![index], ..Harm::default() });
    }
    sweep("one part", &cases);
}

/// Two frames, headers or files after the newest snapshot.
#[test]
fn two_parts_of_the_newest_segments_are_lost() {
    let journal = journal();
    let all = parts(&journal, |role, _| matches!(role, Role::Segment | Role::LastSegment));
    let mut cases = Vec::new();
    for (number, one) in all.iter().enumerate() {
        for other in &all[number + 1..] {
            cases.push(hit(&[*one, *other], How::Bit(600 + number)));
        }
        for (gone, _) in journal.files.iter().enumerate().filter(|(_, file)| file.is_segment() && file.role.is_newest())
        {
            let harm = hit(&[*one], How::Bit(40));
            cases.push(Harm {
                gone: vec![gone],
                hits: harm.hits.into_iter().filter(|hit| hit.0 != gone).collect(),
                ..harm
            });
        }
    }
    sweep("two parts behind the newest snapshot", &cases);
}

/// Both snapshots' generations are damaged: each part of the newest snapshot with each part of the generation before.
#[test]
fn both_generations_are_damaged() {
    let journal = journal();
    let newest = parts(&journal, |role, _| role == Role::Newest);
    let spare = parts(&journal, |role, _| role.is_spare());
    let mut cases = Vec::new();
    for one in &newest {
        for other in &spare {
            let how = if (one.1 + other.1) % 2 == 0 { How::Zeroed } else { How::Bit(other.1 * 31) };
            cases.push(hit(&[*one, *other], how));
        }
        for (gone, _) in journal.files.iter().enumerate().filter(|(_, file)| file.role.is_spare()) {
            cases.push(Harm { gone: vec![gone], ..hit(&[*one], How::Zeroed) });
        }
    }
    for gone in [Role::Newest, Role::SpareSnapshot] {
        let gone = journal.files.iter().position(|file| file.role == gone).unwrap();
        for other in parts(&journal, |_, _| true).into_iter().filter(|(file, _)| *file != gone) {
            cases.push(Harm { gone: vec![gone], ..hit(&[other], How::Bit(99)) });
        }
    }
    sweep("both generations", &cases);
}

/// Many faults at once, chosen at random.
#[test]
fn many_parts_are_lost() {
    let journal = journal();
    let all = parts(&journal, |_, _| true);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    let mut cases = Vec::new();
    for _ in 0..1_500 {
        let mut harm = Harm::default();
        for _ in 0..2 + draw(6) {
            let (file, part) = all[draw(all.len())];
            let how = if draw(3) == 0 { How::Zeroed } else { How::Bit(draw(100_000)) };
            if !harm.hits.iter().any(|hit| (hit.0, hit.1) == (file, part)) {
                harm.hits.push((file, part, how));
            }
        }
        if draw(4) == 0 {
            let gone = 1 + draw(journal.files.len() - 1);
            harm.hits.retain(|hit| hit.0 != gone);
            harm.gone.push(gone);
        }
        cases.push(harm);
    }
    sweep("many parts", &cases);
}

/// As long as the generation before is intact, damage to the newest snapshot alone loses nothing at all.
#[test]
fn with_the_generation_before_the_newest_snapshot_is_restored() {
    let truth = Truth::new(journal());
    let newest = truth.generations.index_of(&truth.generations.only(Role::Newest).name);
    for (_, part) in parts(&truth.generations, |role, _| role == Role::Newest) {
        for how in [How::Zeroed, How::Bit(50), How::Bit(801)] {
            let fs = truth.generations.machine();
            hit(&[(newest, part)], how).apply(&fs, &truth.generations.files);
            let repaired = repair(&fs, Path::new(STATE), Path::new(COPY)).unwrap().unwrap();
            assert_eq!(repaired.salvage.lost, [], "part {part}, {how:?}");
            assert_eq!(repaired.lost_contents, 0, "part {part}, {how:?}");
            let told = Told::of(&read(&fs).unwrap().1, &truth.generations.contents);
            assert_eq!(told, truth.generations.told, "part {part}, {how:?}");
            let forgotten = journal::snapshot::SnapshotHeader::clone(repaired.snapshot.header()).forgotten;
            assert_eq!(forgotten, forgotten_in_all(&truth), "part {part}, {how:?}");
            assert!(repaired.snapshot.header().lsn > Lsn(0));
        }
    }
}

/// The number of contents that are forgotten once the whole journal is folded into a snapshot.
fn forgotten_in_all(truth: &Truth) -> u64 {
    use std::sync::atomic::AtomicBool;
    let fs = truth.generations.machine();
    let (journal, ..) = util::open_on(&fs, Path::new(STATE)).unwrap();
    let until = journal.active_first_lsn();
    let compacted = journal::compact::compact(&fs, Path::new(STATE), until, &AtomicBool::new(false)).unwrap().unwrap();
    compacted.snapshot.header().forgotten
}
