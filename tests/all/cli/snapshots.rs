//! Helpers for the tests of the journal's commands: places with snapshots, and damage.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::harness::{Place, csv, err, out};

/// Three runs of two files each, with a compaction between them: two snapshots, and segments after each.
pub(super) fn two_generations() -> Place {
    let place = Place::new();
    for run in 0..3_u64 {
        for seed in [2 * run + 1, 2 * run + 2] {
            place.stage(format!("{seed}.csv"), csv(seed, 100));
        }
        place.once_ok(&[]);
        if run < 2 {
            ok(&place.subcommand(&["journal", "compact"]));
        }
    }
    assert_eq!(files(&place, "snap").len(), 2);
    place
}

/// The journal's files of a kind, in order.
pub(super) fn files(place: &Place, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(&place.state).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|it| it == extension)).collect();
    files.sort();
    files
}

pub(super) fn newest_snapshot(place: &Place) -> PathBuf {
    files(place, "snap").pop().unwrap()
}

/// The segments after the newest snapshot.
pub(super) fn newest_segments(place: &Place) -> Vec<PathBuf> {
    let digits = |path: &Path| path.file_stem().unwrap().to_str().unwrap().split('-').nth(1).unwrap().to_owned();
    let snapshot = digits(&newest_snapshot(place));
    let mut segments = files(place, "log");
    segments.retain(|path| digits(path) > snapshot);
    segments
}

pub(super) fn flip(path: &Path, offset: u64) {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
}

/// The offset of the first block of rows.
pub(super) const ROWS: u64 = 4096;

/// The output of a command that must succeed.
#[track_caller]
pub(super) fn ok(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", out(output), err(output));
    out(output)
}

/// Checks that a command was refused with this exit code and with these words; returns its standard output.
#[track_caller]
pub(super) fn refused(output: &Output, code: i32, words: &[&str]) -> String {
    assert_eq!(output.status.code(), Some(code), "{}{}", out(output), err(output));
    for word in words {
        assert!(err(output).contains(word), "no {word:?} in: {}", err(output));
    }
    out(output)
}
