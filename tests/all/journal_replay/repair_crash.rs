//! Power is cut at every operation of a repair: either the journal is as damaged as before, and a second repair saves the
//! same; or it is repaired. The copy is complete before anything is changed.

use std::path::Path;

use csv_ingestor::fs::sim::{Fault, SimFs};
use csv_ingestor::journal::format::FrameKind;
use csv_ingestor::journal::repair::repair;
use csv_ingestor::journal::salvage::Lost;
use csv_ingestor::journal::verify::verify;
use csv_ingestor::journal::{Error, names};

use super::generations::{Generations, Part, Role, STATE, Told, contents, on_all_processors, read};
use super::harm::{Harm, How, normal};
use super::util;
use crate::crash::sweeps::is_thorough;

const COPY: &str = "/copy";

/// What a power cut keeps is drawn so often.
fn seeds() -> u64 {
    if is_thorough() { 3 } else { 1 }
}

/// The result of a repair.
#[derive(Debug, PartialEq)]
struct Outcome {
    told: Told,
    lost: Vec<Lost>,
    lost_contents: u64,
    forgotten: u64,
}

fn outcome(fs: &SimFs, journal: &Generations, copy: &str) -> Outcome {
    let repaired = repair(fs, Path::new(STATE), Path::new(copy)).unwrap().expect("something is wrong");
    let told = Told::of(&read(fs).unwrap().1, &journal.contents);
    let (lost, lost_contents) = (normal(&repaired.salvage.lost), repaired.lost_contents);
    Outcome { told, lost, lost_contents, forgotten: repaired.snapshot.header().forgotten }
}

/// One of each kind of damage.
fn cases(journal: &Generations) -> Vec<Harm> {
    let hit = |role: Role, wanted: Part| {
        let index = journal.files.iter().position(|file| file.role == role).unwrap();
        let part = journal.files[index].parts.iter().position(|(_, part)| *part == wanted).unwrap();
        (index, part, How::Bit(77))
    };
    let last = journal.files.len() - 1;
    let harm = |hits: &[(usize, usize, How)], gone: &[usize]| Harm {
        hits: hits.to_vec(),
        gone: gone.to_vec(),
        ..Harm::default()
    };
    vec![
        harm(&[hit(Role::Segment, Part::Frame(1))], &[]),
        harm(&[hit(Role::Segment, Part::Header)], &[]),
        harm(&[hit(Role::Newest, Part::Header)], &[]),
        harm(&[hit(Role::Newest, Part::Rows), hit(Role::SpareSnapshot, Part::Header)], &[]),
        harm(&[hit(Role::Newest, Part::List(4)), hit(Role::SpareSegment, Part::Frame(2))], &[]),
        harm(&[], &[last]),
        harm(&[], &[last - 1]),
        harm(&[hit(Role::LastSegment, Part::Header)], &[]),
    ]
}

#[test]
fn a_repair_that_is_cut_off_anywhere_loses_nothing() {
    let journal = Generations::new(7, FrameKind::Data).without_older();
    let mut points = Vec::new();
    let mut expected = Vec::new();
    for (number, harm) in cases(&journal).into_iter().enumerate() {
        let fs = journal.machine();
        harm.apply(&fs, &journal.files);
        let damaged = contents(&fs, Path::new(STATE));
        let before = fs.operations();
        let whole = fs.fork();
        let outcome = outcome(&whole, &journal, COPY);
        points.extend((before + 1..=whole.operations()).map(|operation| (number, operation)));
        expected.push((harm, damaged, outcome));
    }
    on_all_processors(&journal, &points, |fs, _, (number, operation)| {
        let (harm, damaged, outcome) = &expected[*number];
        harm.apply(fs, &journal.files);
        fs.inject(Fault::crash().at(*operation));
        let _ = repair(fs, Path::new(STATE), Path::new(COPY));
        for seed in 0..seeds() {
            let cut = fs.fork();
            cut.clear_faults();
            cut.crash(seed);
            check(&cut, &journal, damaged, outcome, &format!("{harm:?}, operation {operation}, seed {seed}"));
        }
    });
    eprintln!("{} crash states of {} repairs", points.len() as u64 * seeds(), expected.len());
}

fn check(
    fs: &SimFs,
    journal: &Generations,
    damaged: &std::collections::BTreeMap<String, Vec<u8>>,
    expected: &Outcome,
    what: &str,
) {
    let now = contents(fs, Path::new(STATE));
    let is_changed = |(name, bytes): (&String, &Vec<u8>)| now.get(name) != Some(bytes);
    let is_ours = |name: &String| name.ends_with(".tmp");
    if damaged.iter().any(is_changed) || now.keys().any(|name| !damaged.contains_key(name) && !is_ours(name)) {
        assert!(contents(fs, Path::new(COPY)) == *damaged, "{what}: something was changed before the copy was whole");
    }
    match verify(fs, Path::new(STATE)) {
        Err(Error::Corrupt(_)) => {
            let again = outcome(fs, journal, "/second");
            assert_eq!(again.lost, expected.lost, "{what}: LSNs lost by the second repair");
            assert_eq!(&again, expected, "{what}: the second repair");
            // The first copy still has everything.
            let kept = contents(fs, Path::new("/second"));
            let is_old = |(name, bytes): (&String, &Vec<u8>)| *name == names::LOCK || kept.get(name) == Some(bytes);
            assert!(damaged.iter().all(is_old), "{what}: the second copy");
        }
        verified => {
            verified.unwrap_or_else(|error| panic!("{what}: {error}")).unwrap();
            let (_, state) = read(fs).unwrap();
            assert_eq!(Told::of(&state, &journal.contents), expected.told, "{what}");
        }
    }
    util::open_on(fs, Path::new(STATE)).unwrap_or_else(|error| panic!("{what}: {error}"));
}
