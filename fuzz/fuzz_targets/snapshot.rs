//! A damaged snapshot, on a simulated disk: the reader must return what the oracle returns, row by row, and modify
//! nothing; and if a journal that begins with it can be folded, folding it once more must change nothing.

#![no_main]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use csv_ingestor::fs::Fs;
use csv_ingestor::fs::sim::SimFs;
use csv_ingestor::journal::compact::compact;
use csv_ingestor::journal::index::Index;
use csv_ingestor::journal::ingest::{Ingest, Kept, Original};
use csv_ingestor::journal::lifecycle::{FileState, StateCounts};
use csv_ingestor::journal::record::Record;
use csv_ingestor::journal::replay::Visitor;
use csv_ingestor::journal::snapshot::{Row, Snapshot};
use csv_ingestor::journal::{self, Error, Rejected, names};
use csv_ingestor::types::{FileTime, Lsn, Sha256, UnixMillis};
use csv_ingestor_fuzz::bounded::Bounded;
use csv_ingestor_fuzz::oracle::number;
use csv_ingestor_fuzz::snapshot::mutate::{self, Case};
use csv_ingestor_fuzz::snapshot::oracle::{self, Refusal, Whole};
use csv_ingestor_fuzz::snapshot::{self, DIR, known_contents};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

/// One of this many inputs is also folded once more.
const FOLDS_EVERY: u32 = 4;

fuzz_target!(|input: &[u8]| {
    let case = mutate::snapshot(input);
    let expected = oracle::read(&case.bytes, case.name);
    let fs = case.base.machine.fork();
    let path = snapshot::path(&names::snapshot(Lsn(case.name)));
    fs.upstream().write(&path, &case.bytes).unwrap();

    let opened = Snapshot::open(&fs, &fs.open_dir(Path::new(DIR)).unwrap(), Lsn(case.name));
    match (&opened, &expected) {
        (Ok(snapshot), Ok(whole)) => says(snapshot, whole),
        (Ok(snapshot), Err(refused)) => {
            assert_eq!(snapshot.verify().map_err(|error| refusal(&error)), Err(*refused));
            does_not_panic(snapshot);
        }
        (Err(_), Ok(_)) => panic!("{opened:?}: and it is whole"),
        (Err(error), Err(refused)) => assert_eq!(refusal(error), *refused),
    }
    let folded = fold(&fs);
    assert!(fs.upstream().read(&path).unwrap() == case.bytes, "reading modified the snapshot");
    match &folded {
        Ok(_) => assert!(opened.is_ok() && is_continued(&case), "a journal that cannot be"),
        Err(_) => {
            let survivors_are_whole = expected.as_ref().is_ok_and(|whole| whole.survivors == undamaged(&case));
            assert!(!survivors_are_whole || !is_continued(&case), "{folded:?}: and it is whole");
        }
    }
    if crc32c::crc32c(input).is_multiple_of(FOLDS_EVERY)
        && let Ok(folded) = folded
    {
        fold_once_more(&fs, &case, &folded, expected.is_ok());
    }
});

fn undamaged(case: &Case) -> Vec<(u64, u64, Vec<u8>)> {
    oracle::read(&case.base.bytes, case.base.lsn).unwrap().survivors
}

fn refusal(error: &Error) -> Refusal {
    match error {
        Error::Corrupt(_) | Error::NotAsWritten(_) => Refusal::Corrupt,
        Error::Newer { .. } => Refusal::Newer,
        other => panic!("{other}"),
    }
}

/// An intact snapshot: every way to read it gives the same result as the oracle.
fn says(snapshot: &Snapshot, whole: &Whole) {
    snapshot.verify().unwrap();
    let mut rows = snapshot.rows();
    for (index, expected) in whole.rows.iter().enumerate() {
        let row = rows.next_row().unwrap().expect("there is one more");
        assert_eq!(plain(&row), *expected);
        // Reading a single row costs a whole block.
        if whole.rows.len() < 16 || index % 8 == 3 {
            assert_eq!(snapshot.row(index as u32).unwrap().as_ref(), Some(&row));
            assert_eq!(snapshot.find(&row.key).unwrap().as_ref(), Some(&row));
        }
    }
    assert_eq!(rows.next_row().unwrap(), None);
    assert_eq!(snapshot.row(whole.rows.len() as u32).unwrap(), None);
    for sha256 in known_contents() {
        let is_there = whole.rows.binary_search_by(|row| row.key.cmp(&sha256.0)).is_ok();
        assert_eq!(snapshot.find(&sha256.into()).unwrap().is_some(), is_there);
    }
    let mut survivors = Vec::new();
    snapshot
        .survivors(&mut |lsn, at, record| {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            survivors.push((lsn.0, at.0, bytes));
            Ok(())
        })
        .unwrap();
    assert_eq!(survivors, whole.survivors);
}

fn plain(row: &Row) -> oracle::Row {
    let bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
    let (found, manifested) = (row.discovered_at.0, row.manifested_at.0);
    oracle::Row {
        key: row.key.0,
        sha256: row.sha256.0,
        numbers: [found, row.ingest_id.0, row.lsn.0, row.device, row.inode, row.size, manifested],
        mtime: row.mtime_sec,
        source: bytes(&row.source_path),
        warehouse: bytes(&row.warehouse_path),
        published: row.published.map(|it| {
            let time = |time: FileTime| (time.sec, time.nsec);
            ([it.device, it.inode, it.size], [time(it.mtime), time(it.ctime)])
        }),
    }
}

/// A damaged snapshot whose lists could be read: every call may return an error, but must not panic.
fn does_not_panic(snapshot: &Snapshot) {
    let mut count = 0;
    let mut rows = snapshot.rows();
    while let Ok(Some(_)) = rows.next_row() {
        count += 1;
    }
    assert!(count <= snapshot.header().rows);
    for number in (0..snapshot.header().rows as u32 + 1).step_by(8) {
        let _ = snapshot.row(number);
    }
    let anything = [[0; 32], [0xff; 32]].map(Sha256);
    for sha256 in known_contents().step_by(4).chain(anything) {
        if let Ok(Some(row)) = snapshot.find(&sha256.into()) {
            assert_eq!(row.key.0, sha256.0);
        }
    }
    let _ = snapshot.survivors(&mut |_, _, _| Ok(()));
}

/// The segment after the snapshot exists, and its header agrees.
fn is_continued(case: &Case) -> bool {
    let behind = case.base.segments.iter().find(|segment| segment.name > case.name);
    behind.is_some_and(|segment| {
        segment.name == case.name + 1
            && segment.bytes[24..40] == case.bytes[24..40]
            && segment.bytes[72..100] == case.bytes[72..100]
            && Some(number(&segment.bytes, 40, 8)) == number(&case.bytes, 64, 8).checked_add(1)
    })
}

/// The index, as a start computes it.
#[derive(Debug, Default)]
struct Sum(Index);

impl Visitor for Sum {
    fn snapshot(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), Error> {
        self.0 = Index::from_snapshot(snapshot)?;
        Ok(())
    }

    fn record(&mut self, lsn: Lsn, written_at: UnixMillis, record: Record) -> Result<(), Rejected> {
        self.0.apply_at(lsn, written_at, &record)
    }
}

fn fold(fs: &SimFs) -> Result<Index, Refusal> {
    let mut sum = Sum::default();
    match journal::read(fs, Path::new(DIR), &mut sum) {
        Ok(replayed) => {
            assert!(replayed.expect("there is a journal").snapshot.is_some());
            Ok(sum.0)
        }
        Err(error) => Err(refusal(&error)),
    }
}

/// The answers that the ingestor gets from its index.
#[derive(Debug, PartialEq)]
struct Answers {
    counts: StateCounts,
    open: Vec<Ingest>,
    kept: Vec<Kept>,
    originals: Vec<Option<Original>>,
}

fn answers(state: &Index) -> Result<Answers, Refusal> {
    let mut kept: Vec<Kept> = state.kept().copied().collect();
    kept.sort_by_key(|kept| kept.identity.key());
    Ok(Answers {
        counts: FileState::ALL.map(|file_state| state.count(file_state)),
        open: state.open().cloned().collect(),
        kept,
        originals: known_contents()
            .map(|sha256| state.original(&sha256.into()).map_err(|error| refusal(&error)))
            .collect::<Result<_, _>>()?,
    })
}

/// The journal gives the same answers after a compaction as before. If the snapshot is not intact (its damage has
/// correct checksums, otherwise it would be refused), it is refused or folded as it is.
fn fold_once_more(fs: &SimFs, case: &Case, before: &Index, is_whole: bool) {
    let until = Lsn(case.base.segments[1..].last().unwrap_or(&case.base.segments[0]).name);
    match compact(fs, Path::new(DIR), until, &AtomicBool::new(false)) {
        Ok(compacted) => {
            // If there is nothing to fold, this is the existing snapshot.
            assert!(compacted.is_some());
            let after = fold(fs);
            if is_whole {
                let after = after.unwrap_or_else(|refused| panic!("a compaction made a journal {refused:?}"));
                assert_eq!(answers(&after), answers(before));
            }
        }
        Err(error) => {
            assert_eq!(refusal(&error), Refusal::Corrupt);
            assert!(fold(fs).is_ok(), "a refused compaction made it worse");
        }
    }
}
