//! A damaged journal, on a simulated disk: the reader must return what the oracle returns, record by record, and modify
//! nothing; and a start on a readable journal must leave the same records readable.

#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use csv_ingestor::fs::sim::SimFs;
use csv_ingestor::journal::history::History;
use csv_ingestor::journal::index::Index;
use csv_ingestor::journal::record::Record;
use csv_ingestor::journal::replay::{Ending, Visitor};
use csv_ingestor::journal::snapshot::Snapshot;
use csv_ingestor::journal::{self, Error, Journal, Rejected, names};
use csv_ingestor::types::{Lsn, UnixMillis};
use csv_ingestor_fuzz::journal::Segment;
use csv_ingestor_fuzz::mutate;
use csv_ingestor_fuzz::oracle::{self, Outcome};
use libfuzzer_sys::fuzz_target;

const DIR: &str = "/state";
/// One of this many inputs is also used for a start.
const STARTS_EVERY: u32 = 16;

static EMPTY: LazyLock<SimFs> = LazyLock::new(|| {
    let fs = SimFs::new(1);
    fs.upstream().mkdir_all(DIR).unwrap();
    fs
});

/// Collects the records as bytes.
#[derive(Default)]
struct Records {
    bytes: Vec<(u64, Vec<u8>)>,
    state: Index,
    history: History,
}

impl Visitor for Records {
    fn snapshot(&mut self, _: &std::sync::Arc<Snapshot>) -> Result<(), Error> {
        unreachable!("there is none")
    }

    fn record(&mut self, lsn: Lsn, written_at: UnixMillis, record: Record) -> Result<(), Rejected> {
        // The folds may refuse any record, but must not panic.
        let _ = self.state.apply_at(lsn, written_at, &record);
        let _ = self.history.record(lsn, written_at, record.clone());
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        self.bytes.push((lsn.0, bytes));
        Ok(())
    }
}

fn read(fs: &SimFs) -> (Outcome, Vec<(u64, Vec<u8>)>) {
    let mut seen = Records::default();
    let outcome = match journal::read(fs, Path::new(DIR), &mut seen) {
        Ok(replayed) => {
            let replayed = replayed.expect("there is a segment");
            let ending = match replayed.ending {
                Ending::Killed => oracle::Ending::Killed,
                Ending::Shutdown => oracle::Ending::Shutdown,
                Ending::Torn { bytes } => oracle::Ending::Torn(bytes),
                Ending::Empty => panic!("there is a segment"),
            };
            let end = replayed.last.expect("there is a segment").1.end;
            Outcome::Journal { records: seen.bytes.clone(), ending, end }
        }
        Err(error) => refusal(error),
    };
    (outcome, seen.bytes)
}

fn refusal(error: Error) -> Outcome {
    match error {
        Error::Corrupt(_) => Outcome::Corrupt,
        Error::Newer { .. } => Outcome::Newer,
        other => panic!("{other}"),
    }
}

fn path(segment: &Segment) -> String {
    format!("{DIR}/{}", names::segment(Lsn(segment.name)))
}

fn is_untouched(fs: &SimFs, segments: &[Segment]) -> bool {
    let mut files = fs.upstream();
    segments.iter().all(|segment| files.read(path(segment)).is_ok_and(|bytes| bytes == segment.bytes))
}

fuzz_target!(|input: &[u8]| {
    let segments = mutate::journal(input);
    let (expected, before_damage) = oracle::read(&segments);
    let fs = EMPTY.fork();
    for segment in &segments {
        fs.upstream().write(path(segment), &segment.bytes).unwrap();
    }
    let (outcome, seen) = read(&fs);
    assert_eq!(outcome, expected);
    assert_eq!(seen, before_damage, "a record from after the damage, or too few");
    assert!(is_untouched(&fs, &segments), "reading modified a segment");

    // A start creates a segment, which takes longer than everything else together.
    if !crc32c::crc32c(input).is_multiple_of(STARTS_EVERY) {
        return;
    }
    match (Journal::open(&fs, Path::new(DIR), &mut Records::default()), outcome) {
        (Ok((journal, _)), Outcome::Journal { records, ending, .. }) => {
            drop(journal);
            let (Outcome::Journal { records: after, ending: ended, .. }, _) = read(&fs) else {
                panic!("a start made a readable journal ({ending:?}) unreadable");
            };
            assert_eq!((after, ended), (records, oracle::Ending::Killed));
        }
        (Ok(_), refused) => panic!("a start accepted what is {refused:?}"),
        (Err(error), outcome) => {
            assert_eq!(refusal(error), outcome);
            assert!(is_untouched(&fs, &segments), "a refused start modified a segment");
        }
    }
});
