//! Journals that begin with a snapshot: both readers agree on them, and both detect damage.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::super::harness::{Place, csv, err, has, sha256_hex};
use super::super::journal_format;
use super::{BLOCK_BYTES, assert_corrupt, assert_same, eventful, files_of_kind, kill_while_hashing, once_and_compare};
use super::{segments, tear_the_tail};

fn snapshots(state: &Path) -> Vec<PathBuf> {
    files_of_kind(state, "snap")
}

/// Compacts the journal; then both readers must agree.
#[track_caller]
fn compact(place: &Place, options: &[&str]) -> Vec<Value> {
    let before = snapshots(&place.state).pop();
    let output = place.subcommand(&[&["journal", "compact"], options].concat());
    assert!(output.status.success(), "{}", err(&output));
    assert!(snapshots(&place.state).pop() > before, "a new snapshot");
    assert_same(place, &format!("after a compaction with {options:?}"))
}

fn of_state(files: &[Value], state: &str) -> Vec<Value> {
    files.iter().filter(|file| file["state"] == state).cloned().collect()
}

/// The files with that content.
fn of_content(files: &[Value], content: &[u8]) -> Vec<Value> {
    let sha256 = sha256_hex(content);
    files.iter().filter(|file| file["sha256"] == sha256.as_str()).cloned().collect()
}

/// Checks that all ingested files are still listed, whatever else a compaction drops.
#[track_caller]
fn assert_nothing_is_forgotten(before: &[Value], after: &[Value]) {
    assert_eq!(of_state(before, "MANIFESTED"), of_state(after, "MANIFESTED"));
}

/// A compaction of every kind of record, more records after it, and a second compaction.
fn snapshots_with_records_behind_them(place: &Place) {
    let before = assert_same(place, "before the first compaction");
    let after = compact(place, &[]);
    assert_nothing_is_forgotten(&before, &after);
    assert!(of_state(&after, "ABANDONED").is_empty(), "abandoned files leave no record");

    // Duplicates of contents that only the snapshot has, one with a name that is not UTF-8; and new files.
    place.stage("again.csv", csv(100, 200));
    place.stage(OsStr::from_bytes(b"again \xff.csv"), csv(1, 100));
    place.stage(OsStr::from_bytes(b"new \xfe.csv"), csv(301, 200));
    let files = once_and_compare(place, &["--duplicates", "keep"]);
    let kept = of_state(&files, "SKIPPED_DUPLICATE");
    assert!(kept.len() >= 2 && kept.iter().any(|file| file.get("source_path_base64").is_some()), "{kept:?}");

    // The kept duplicates survive, and a spare generation exists now.
    let after = compact(place, &[]);
    assert_nothing_is_forgotten(&files, &after);
    assert_eq!(of_state(&after, "SKIPPED_DUPLICATE"), kept);
    assert_eq!(snapshots(&place.state).len(), 2, "the newest and the spare");
    assert!(segments(&place.state).len() >= 2, "the segments of both");
    // They are discovered and kept again: other records about the same files.
    once_and_compare(place, &["--duplicates", "keep"]);
    assert_eq!(of_state(&compact(place, &[]), "SKIPPED_DUPLICATE").len(), kept.len());
}

/// A snapshot of a journal that ends in the middle of an ingest, with a torn tail; the unfinished file continues after it.
fn unfinished_files_survive(place: &Place) {
    let large = kill_while_hashing(place);
    tear_the_tail(&place.state);
    let of_large = |files: &[Value]| -> Vec<Value> {
        files.iter().filter(|file| file["source_path"] == large.to_str().unwrap()).cloned().collect()
    };
    for _ in 0..2 {
        let files = of_large(&compact(place, &[]));
        assert_eq!(files.len(), 1);
        assert_eq!(files[0]["state"], "DISCOVERED");
    }
    std::fs::remove_file(&large).unwrap();
    let files = of_large(&once_and_compare(place, &[]));
    assert_eq!(files[0]["state"], "ABANDONED", "a record after the snapshot about a file in it");
    assert!(of_large(&compact(place, &[])).is_empty());
}

/// Forgotten contents are sent and ingested again; those of kept duplicates are not forgotten.
fn contents_expire(place: &Place) {
    let (forgotten, kept) = (csv(150, 200), csv(1, 100));
    std::thread::sleep(Duration::from_millis(1100));
    let before = assert_same(place, "before anything expires");
    assert_eq!(of_content(&before, &forgotten).len(), 1);
    let after = compact(place, &["--remember", "1s"]);
    assert!(of_content(&after, &forgotten).is_empty());
    assert_eq!(of_content(&of_state(&after, "MANIFESTED"), &kept).len(), 1, "a duplicate refers to it");

    place.stage("ingested again.csv", &forgotten);
    place.stage("a duplicate again.csv", &kept);
    let files = once_and_compare(place, &["--duplicates", "remove"]);
    let again = of_content(&files, &forgotten);
    assert_eq!(again.len(), 1);
    assert_eq!(again[0]["state"], "MANIFESTED");
    assert_eq!(of_content(&of_state(&compact(place, &[]), "MANIFESTED"), &forgotten), again);
}

/// An empty journal gets a snapshot as well: without rows.
fn nothing_is_compacted() {
    let place = Place::new();
    once_and_compare(&place, &[]);
    assert!(compact(&place, &[]).is_empty());
    place.stage("first.csv", csv(1, 100));
    assert_eq!(once_and_compare(&place, &[]).len(), 1);
    assert_eq!(compact(&place, &[]).len(), 1);
}

#[test]
fn a_second_reader_reads_snapshots() {
    if has("python3") {
        let place = Place::new();
        eventful(&place);
        snapshots_with_records_behind_them(&place);
        flipped_bytes_are_seen(&place);
        unfinished_files_survive(&place);
        contents_expire(&place);
        nothing_is_compacted();
    }
}

/// With copies, whose HASHED records have more fields.
#[test]
fn a_second_reader_reads_snapshots_across_file_systems() {
    if has("python3")
        && let Some((place, _other)) = Place::across_file_systems()
    {
        eventful(&place);
        snapshots_with_records_behind_them(&place);
        unfinished_files_survive(&place);
    }
}

/// The second reader accepts the document's example of a snapshot.
#[test]
fn the_documents_snapshot_is_read() {
    if !has("python3") {
        return;
    }
    let place = Place::new();
    std::fs::create_dir(&place.state).unwrap();
    for (name, bytes) in [journal_format::snapshot::specified(), journal_format::snapshot::behind()] {
        std::fs::write(place.state.join(name), bytes).unwrap();
    }
    let files = assert_same(&place, "the example of a snapshot");
    assert_eq!((files.len(), &files[0]["state"], &files[0]["lsn"]), (1, &"MANIFESTED".into(), &5.into()));
}

/// Offset and length of each list, from the snapshot's header.
fn lists(snapshot: &[u8]) -> [(usize, usize); 5] {
    let number = |at: usize| u64::from_le_bytes(snapshot[at..at + 8].try_into().unwrap()) as usize;
    std::array::from_fn(|list| (number(168 + 24 * list), number(176 + 24 * list)))
}

/// A flipped bit in the header, in each list, in the first and the last block of rows, in a surviving record: both readers
/// refuse and report the position.
fn flipped_bytes_are_seen(place: &Place) {
    let path = snapshots(&place.state).pop().unwrap();
    let whole = std::fs::read(&path).unwrap();
    let lists = lists(&whole);
    let last_block = lists[0].0 - BLOCK_BYTES;
    assert!(last_block > 2 * BLOCK_BYTES, "several blocks of rows");
    // In the header: magic, LSN, a reserved field, checksum.
    let mut flips: Vec<_> = [0, 40, 2000, 4092].map(|at| (0, at)).to_vec();
    // In a block: number of rows, a row, the last byte.
    flips.extend([BLOCK_BYTES, last_block].iter().flat_map(|block| [4, 30, 4095].map(|at| (*block, block + at))));
    flips.extend(lists.iter().flat_map(|(list, bytes)| [bytes / 2, bytes - 1].map(|at| (*list, list + at))));
    let places: BTreeSet<_> = flips.iter().map(|(place, _)| *place).collect();
    assert_eq!(places.len(), 1 + 2 + 5);
    for (offset, at) in flips {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&path, bytes).unwrap();
        assert_corrupt(place, &path, offset);
    }
    damaged_as_a_whole(place, &path, &whole);
    assert_same(place, "mended again");
}

/// A snapshot that is truncated, or too long, or without the segment after it.
fn damaged_as_a_whole(place: &Place, path: &Path, whole: &[u8]) {
    for length in [0, BLOCK_BYTES, whole.len() - 1, whole.len() + BLOCK_BYTES] {
        let mut bytes = whole.to_vec();
        bytes.resize(length, 0);
        std::fs::write(path, bytes).unwrap();
        assert_corrupt(place, path, 0);
    }
    std::fs::write(path, whole).unwrap();
    let behind = segments(&place.state).into_iter().rev().take_while(|segment| number_in(segment) > number_in(path));
    let behind: Vec<PathBuf> = behind.collect();
    for segment in &behind {
        std::fs::rename(segment, segment.with_extension("away")).unwrap();
    }
    for output in [super::second_reader(&place.state), place.subcommand(&["journal", "inspect", "--json"])] {
        assert_eq!(output.status.code(), Some(3), "no segment after the snapshot: {}", err(&output));
    }
    for segment in &behind {
        std::fs::rename(segment.with_extension("away"), segment).unwrap();
    }
}

/// The digits in a segment's or snapshot's name.
fn number_in(path: &Path) -> u64 {
    let stem = path.file_stem().unwrap().to_str().unwrap();
    stem.split_once('-').unwrap().1.parse().unwrap()
}
