//! Manifests with many lines, and how fast they are read.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use csv_ingestor::fs::real::RealFs;
use csv_ingestor::pipeline::manifest::numbers::{Entry, Numbers};
use csv_ingestor::pipeline::manifest::{MANIFEST_NAME, hour_dir};
use csv_ingestor::types::UnixMillis;

use crate::Scale;
use crate::disk::Scratch;
use crate::follower;
use crate::rounds::median;
use crate::table::{Line, Table, count, per_second, progress};

const JOURNAL: [u8; 16] = [0xab; 16];
/// Lines that are written together, as a busy ingestor does, and of one hour.
const BATCH: u64 = 256;
const HOUR_LINES: u64 = 250_000;
const FIRST_HOUR: u64 = 495_000;
const HOUR_MS: u64 = 3_600_000;

const LINES_A_SECOND_MIN: f64 = 1_000_000.0;
const START_MS_MAX: f64 = 50.0;
/// Starts in a round.
const STARTS: usize = 11;

/// Writes lines from 1 on, with the index that an ingestor writes.
fn write(root: &Path, lines: u64) {
    let (fs, journal) = (RealFs::default(), csv_ingestor::journal::hex(&JOURNAL));
    let mut numbers = Numbers::new(fs);
    for (place, first) in (1..=lines).step_by(HOUR_LINES as usize).enumerate() {
        let hour = FIRST_HOUR + place as u64;
        let dir = hour_dir(root, UnixMillis(hour * HOUR_MS));
        fs::create_dir_all(&dir).unwrap();
        let mut text = String::new();
        let mut entries = Vec::new();
        let last = (first + HOUR_LINES - 1).min(lines);
        for seq in first..=last {
            if (seq - first).is_multiple_of(BATCH) {
                entries.push((seq, text.len() as u64));
            }
            let sha256 = format!("{seq:064x}");
            writeln!(
                text,
                r#"{{"path":"/data/staging/part-{seq:09}.csv","sha256":"{sha256}","device":65024,"inode":{seq},"size":1024,"mtime":1795464161,"warehouse_path":"/data/warehouse/ingest_date=2026-11-23/part-{seq:09}.csv","ingest_id":{},"journal":"{journal}","seq":{seq},"ingested_at":"2026-11-23T20:02:42.965Z"}}"#,
                seq * 4
            )
            .unwrap();
        }
        fs::write(dir.join(MANIFEST_NAME), text).unwrap();
        for (seq, offset) in entries {
            let lines = (last - seq + 1).min(BATCH) as u32;
            let entry = Entry { first: seq, lines, hour: hour as u32, offset, written_at: 1_795_464_161 };
            assert!(numbers.add(root, &JOURNAL, &entry).is_none());
        }
    }
    progress(&format!("{} lines were written", count(lines)));
}

/// All lines, from the beginning.
pub fn measure_whole(scale: &Scale, scratch: &Scratch, table: &mut Table) {
    let root = scratch.path("whole");
    write(&root, scale.lines);
    let rates: Vec<f64> = (0..scale.rounds)
        .map(|_| {
            let (lines, ended) = follower::run(&root, &["--once", "--batch", "1000"]);
            assert_eq!(lines, scale.lines);
            lines as f64 / ended.seconds
        })
        .collect();
    fs::remove_dir_all(&root).unwrap();
    let rate = median(&rates);
    let line = Line::new(format!("{} lines from the beginning", count(scale.lines)), per_second(rate));
    let target = format!(">= {}", per_second(LINES_A_SECOND_MIN));
    table.add(line.target(target, rate >= LINES_A_SECOND_MIN));
}

/// A start behind many old lines, until it has found that there is nothing new.
pub fn measure_start(scale: &Scale, scratch: &Scratch, table: &mut Table) {
    let root = scratch.path("start");
    write(&root, scale.old_lines);
    let cursor = format!("{}:{}", csv_ingestor::journal::hex(&JOURNAL), scale.old_lines - 1);
    for from in ["now", &cursor] {
        let times: Vec<f64> = (0..((scale.rounds * STARTS) | 1))
            .map(|_| {
                let (lines, ended) = follower::run(&root, &["--once", "--from", from]);
                assert_eq!(lines, u64::from(from != "now"));
                ended.seconds * 1000.0
            })
            .collect();
        let (ms, most) = (median(&times), times.iter().copied().fold(0.0, f64::max));
        let what = if from == "now" { "at the end" } else { "before the last one" };
        let line = Line::new(format!("start {what} of {} lines", count(scale.old_lines)), format!("{ms:.1} ms"));
        let line = line.other(format!("longest {most:.1} ms"));
        table.add(line.target(format!("<= {START_MS_MAX:.0} ms"), ms <= START_MS_MAX));
    }
    fs::remove_dir_all(&root).unwrap();
}
