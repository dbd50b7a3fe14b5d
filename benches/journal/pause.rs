//! Whether a compaction delays commits.

use std::thread;
use std::time::{Duration, Instant};

use csv_ingestor::journal::record::Record;
use csv_ingestor::types::IngestId;

use crate::data::{self, File, STEPS, UNKNOWN_FROM};
use crate::disk::Scratch;
use crate::ours::{self, Ours, compact_until};
use crate::rounds::median;
use crate::scale::Scale;
use crate::table::{Line, Table, count};

const LONGER_MS_MAX: f64 = 100.0;
/// Files in one group commit: about as many as arrive together under load.
const GROUP_FILES: u64 = 64;

/// Commits group after group until `is_over`; returns the longest time from one commit to the next, in milliseconds.
fn longest_gap_ms(ours: &mut Ours, next: &mut u64, mut is_over: impl FnMut() -> bool) -> f64 {
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    while !is_over() {
        let files: Vec<File> = (*next..*next + GROUP_FILES).map(data::file).collect();
        *next += GROUP_FILES;
        let first_lsn = ours.journal.next_lsn();
        for step in STEPS {
            let ids = (0..).map(|index| IngestId(first_lsn.plus(index).0));
            let records: Vec<Record> = files.iter().zip(ids).map(|(file, id)| file.record(id, step)).collect();
            ours.commit(&records);
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
    }
    longest.as_secs_f64() * 1000.0
}

pub fn measure(scale: &Scale, scratch: &Scratch, table: &mut Table) {
    let path = scratch.path("pause");
    ours::create(&path, scale.rows);
    let mut ours = Ours::open(&path);
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let (mut next, mut time) = (UNKNOWN_FROM, scale.round);
    for _ in 0..scale.runs {
        let end = Instant::now() + time;
        alone.push(longest_gap_ms(&mut ours, &mut next, || Instant::now() >= end));
        ours.journal.seal().unwrap();
        let until = ours.journal.active_first_lsn();
        let compaction = thread::scope(|scope| {
            let compaction = scope.spawn(|| compact_until(&path, until));
            beside.push(longest_gap_ms(&mut ours, &mut next, || compaction.is_finished()));
            compaction.join().unwrap()
        });
        // The next run without a compaction takes as long.
        time = compaction.1;
        ours.journal.folded_in(compaction.0.snapshot.header().lsn);
        ours.state.adopt(compaction.0.snapshot);
    }
    ours.shut_down();
    let longest = |gaps: &[f64]| gaps.iter().copied().fold(0.0, f64::max);
    // The maximum of all runs, not the median: an occasional pause counts as well.
    let longer = longest(&beside) - longest(&alone);
    let what = format!("longest gap between commits while {} rows are compacted", count(scale.rows));
    let cell = |gaps: &[f64]| format!("{:.0} ms (median {:.0})", longest(gaps), median(gaps));
    let line = Line::new(what, cell(&beside)).other(format!("without {}", cell(&alone)));
    table.add(line.target(format!("< {LONGER_MS_MAX:.0} ms longer"), longer < LONGER_MS_MAX));
}
