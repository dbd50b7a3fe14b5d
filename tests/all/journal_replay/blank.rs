//! The zeros of the next segment, written before that is needed.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use csv_ingestor::fs::Fs;
use csv_ingestor::fs::real::RealFs;
use csv_ingestor::fs::sim::{Fault, SimFs};
use csv_ingestor::journal::format::SEGMENT_BYTES;
use csv_ingestor::journal::record::Record;
use csv_ingestor::journal::{Journal, blank, names};

use super::long_path;
use super::util::{Collected, append_all, batch, open, open_on, read, settings};

/// Has a blank made if one is due. True if there is a new one.
fn provide<F: Fs>(fs: &F, dir: &Path, journal: &mut Journal<F>) -> bool {
    let Some(capacity) = journal.wants_blank() else { return false };
    let made = blank::make(fs, dir, capacity, &AtomicBool::new(false)).unwrap().unwrap();
    journal.take_blank(made);
    assert_eq!(journal.wants_blank(), None, "one at a time");
    true
}

/// Appends batches until the journal has begun so many segments after its first one, providing blanks. Returns the records.
fn fill(dir: &Path, journal: &mut Journal<RealFs>, rotations: usize, mut at_blank: impl FnMut(usize)) -> Vec<Record> {
    let (mut records, mut blanks, mut round, mut begun) = (vec![settings()], 0, 0, 0);
    append_all(journal, &records);
    while begun < rotations {
        let first = journal.active_first_lsn();
        let more = batch(journal.next_lsn(), 5, &long_path(round));
        append_all(journal, &more);
        records.extend(more);
        begun += usize::from(journal.active_first_lsn() != first);
        if provide(&RealFs::default(), dir, journal) {
            blanks += 1;
            at_blank(blanks);
        }
        round += 1;
    }
    assert!(blanks >= rotations, "{blanks} blanks for {rotations} rotations");
    records
}

/// Why: readers must not be able to tell whether a segment was made at once or in two steps.
#[test]
fn a_segment_made_of_a_blank_is_like_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, ..) = open(dir.path()).unwrap();
    let records = fill(dir.path(), &mut journal, 2, |_| {});
    journal.shut_down().unwrap();
    let (_, collected) = read(dir.path()).unwrap();
    let capacities: Vec<u64> = collected.segments.iter().map(|header| header.capacity).collect();
    assert_eq!(capacities, SEGMENT_BYTES[..3]);
    assert!(collected.records.into_iter().map(|(_, record)| record).eq(records));
    assert!(!dir.path().join(names::blank()).exists(), "the last one was not needed, and is removed at the end");
}

/// Why: temporary files look as if anybody could remove them.
#[test]
fn a_blank_that_was_removed_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, ..) = open(dir.path()).unwrap();
    let blank = dir.path().join(names::blank());
    let records = fill(dir.path(), &mut journal, 2, |_| std::fs::remove_file(&blank).unwrap());
    drop(journal);
    let (_, collected) = read(dir.path()).unwrap();
    assert!(collected.records.into_iter().map(|(_, record)| record).eq(records));
}

/// Why: a killed process leaves its blank behind, and nothing else would ever remove it.
#[test]
fn the_next_start_removes_a_blank() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, ..) = open(dir.path()).unwrap();
    fill(dir.path(), &mut journal, 1, |_| {});
    while !provide(&RealFs::default(), dir.path(), &mut journal) {
        let more = batch(journal.next_lsn(), 5, &long_path(99));
        append_all(&mut journal, &more);
    }
    drop(journal);
    assert!(dir.path().join(names::blank()).exists());
    let (journal, ..) = open(dir.path()).unwrap();
    assert!(!dir.path().join(names::blank()).exists());
    drop(journal);
    let stopped = AtomicBool::new(true);
    assert!(blank::make(&RealFs::default(), dir.path(), 1 << 20, &stopped).unwrap().is_none());
    assert!(!dir.path().join(names::blank()).exists(), "one that was stopped leaves nothing");
}

/// What a power cut at this operation leaves: the records whose append had returned, and perhaps the next ones.
fn survives(at: u64, seed: u64) -> bool {
    let (fs, dir) = (SimFs::new(seed), Path::new("/state"));
    let (mut journal, ..) = open_on(&fs, dir).unwrap();
    let mut records = vec![settings()];
    append_all(&mut journal, &records);
    fs.inject(Fault::crash().at(fs.operations() + at));
    let (mut acknowledged, mut is_cut) = (records.len(), false);
    for round in 0..80 {
        let more = batch(journal.next_lsn(), 5, &long_path(round));
        records.extend(more.iter().cloned());
        let mut rest = &more[..];
        while !rest.is_empty() && !is_cut {
            match journal.append(rest) {
                Ok(count) => rest = &rest[count..],
                Err(_) => is_cut = true,
            }
        }
        let due = journal.wants_blank().filter(|_| !is_cut);
        match due.map(|capacity| blank::make(&fs, dir, capacity, &AtomicBool::new(false))) {
            Some(Ok(made)) => journal.take_blank(made.unwrap()),
            Some(Err(_)) => is_cut = true,
            None => {}
        }
        if is_cut {
            break;
        }
        acknowledged = records.len();
    }
    drop(journal);
    fs.crash(seed);
    fs.clear_faults();
    let (_, _, collected): (_, _, Collected) = open_on(&fs, dir).unwrap();
    let found: Vec<Record> = collected.records.into_iter().map(|(_, record)| record).collect();
    assert!(found.len() >= acknowledged, "operation {at}, seed {seed}: {} of {acknowledged} records", found.len());
    assert!(found[..] == records[..found.len()], "operation {at}, seed {seed}: other records");
    is_cut
}

/// Why: a segment that has its name must have its zeros and its header, whatever the disk keeps of the two steps.
#[test]
fn a_power_cut_while_blanks_are_made_and_used() {
    let (mut at, mut cuts) = (1, 0);
    while (0..2).map(|seed| survives(at, at * 10 + seed)).fold(false, |cut, this| cut | this) {
        (at, cuts) = (at + 1, cuts + 1);
    }
    assert!(cuts > 150, "only {cuts} operations");
}
