//! Journals to measure.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use csv_ingestor::fs::Fs as _;
use csv_ingestor::fs::real::RealFs;
use csv_ingestor::journal::Journal;
use csv_ingestor::journal::compact::{Compacted, compact};
use csv_ingestor::journal::format::{BLOCK_BYTES, SEGMENT_BYTES};
use csv_ingestor::journal::index::Index;
use csv_ingestor::journal::record::Record;
use csv_ingestor::journal::segment::{self, Predecessor, SegmentHeader};
use csv_ingestor::journal::snapshot::{Contents, Directories, Spare, Survivor, Writer};
use csv_ingestor::limits::BATCH_FILES_MAX;
use csv_ingestor::types::{IngestId, Lsn};

use crate::data::{self, File, STEPS, Step};
use crate::side::Side;

/// An open journal, and its index.
pub struct Ours {
    pub journal: Journal<RealFs>,
    pub state: Index,
    /// The id of the file that `transition` is about.
    id: IngestId,
}

impl Ours {
    /// Opens the journal in a directory, like the ingestor; creates it if there is none.
    pub fn open(path: &Path) -> Ours {
        let mut state = Index::default();
        let (journal, _) = Journal::open(&RealFs::default(), path, &mut state).unwrap();
        let mut ours = Ours { journal, state, id: IngestId(0) };
        if ours.state.settings().is_none() {
            ours.commit(&[data::settings()]);
        }
        ours
    }

    /// Makes records durable, in as few frames as possible, and applies them; returns the first one's LSN.
    pub fn commit(&mut self, records: &[Record]) -> Lsn {
        let first_lsn = self.journal.next_lsn();
        let mut done = 0;
        while done < records.len() {
            done += self.journal.append(&records[done..]).unwrap();
        }
        for (index, record) in records.iter().enumerate() {
            self.state.apply(first_lsn.plus(index as u64), record).unwrap();
        }
        first_lsn
    }

    /// Ingests files in batches, with the frames that the ingestor would write: intent, MOVED, and MANIFESTED together
    /// with the next batch's intent.
    pub fn add(&mut self, numbers: Range<u64>) {
        let mut manifested: Vec<Record> = Vec::new();
        for begin in numbers.clone().step_by(BATCH_FILES_MAX) {
            let files: Vec<File> = (begin..numbers.end.min(begin + BATCH_FILES_MAX as u64)).map(data::file).collect();
            let first_id = self.journal.next_lsn().plus(manifested.len() as u64);
            let ids = || (0..files.len() as u64).map(|index| IngestId(first_id.plus(index).0));
            let records = |step| files.iter().zip(ids()).map(move |(file, id)| file.record(id, step));
            let intents = manifested.into_iter().chain(records(Step::Discovered)).chain(records(Step::Hashed));
            self.commit(&intents.collect::<Vec<_>>());
            self.commit(&records(Step::Moved).collect::<Vec<_>>());
            manifested = records(Step::Manifested).collect();
        }
        self.commit(&manifested);
    }

    /// Closes the journal.
    pub fn shut_down(self) {
        self.journal.shut_down().unwrap();
    }
}

impl Side for Ours {
    fn transition(&mut self, file: &File, step: Step) {
        let lsn = self.commit(&[file.record(self.id, step)]);
        if step == Step::Discovered {
            self.id = IngestId(lsn.0);
        }
    }
}

/// Makes a journal in which the files from 0 to `rows` are remembered: a snapshot and an empty segment.
pub fn create(path: &Path, rows: u64) {
    std::fs::create_dir_all(path).unwrap();
    let fs = RealFs::default();
    let dir = fs.open_dir(path).unwrap();
    let last_lsn = Lsn(1 + rows * STEPS.len() as u64);
    let last = Predecessor { first_lsn: Lsn(1), end: BLOCK_BYTES as u64, last_lsn, chain: 0 };
    let mut order: Vec<(u64, u64)> = (0..rows).map(|number| (data::prefix(number), number)).collect();
    order.sort_unstable();
    let mut directories = Directories::default();
    let mut writer = Writer::create(&fs, &dir, last_lsn, 0x5eed_f00d, rows).unwrap();
    let mut row = Vec::new();
    for (_, number) in &order {
        row.clear();
        data::file(*number).row(IngestId(2 + number * STEPS.len() as u64)).encode(&mut directories, &mut row);
        writer.push(&row).unwrap();
    }
    let mut survivors = Vec::new();
    Survivor::encode(Lsn(1), fs.now(), &data::settings(), &mut survivors);
    let store = fs.random();
    let finished = [0, 0, 0, rows, 0, 0, 0];
    let (segment_number, forgotten, spare) = (1, 0, Spare::None);
    let (segment, last_seq) = (last, 0);
    let contents =
        Contents { store, segment_number, segment, spare, forgotten, finished, last_seq, directories, survivors };
    writer.finish(&contents).unwrap();
    let header = SegmentHeader {
        salt: 1,
        store,
        number: segment_number + 1,
        first_lsn: last.successor_first_lsn(),
        capacity: SEGMENT_BYTES[0],
        created_at: fs.now(),
        predecessor: Some(last),
    };
    segment::create(&fs, &dir, &header, None).unwrap();
}

/// Folds everything before `until` into a snapshot; returns it, and the time.
pub fn compact_until(path: &Path, until: Lsn) -> (Compacted, Duration) {
    let begun = Instant::now();
    let compacted = compact(&RealFs::default(), path, until, &AtomicBool::new(false)).unwrap();
    (compacted.expect("there is something to fold"), begun.elapsed())
}
