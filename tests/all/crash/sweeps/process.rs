//! Other processes lock everything that they can open, and another ingestor writes to the same manifests.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use csv_ingestor::fs::Fs as _;
use csv_ingestor::fs::sim::{Fault, Op, Upstream};
use csv_ingestor::pipeline::manifest::{AppendProgress, Manifests};

use super::{operations, sweep};
use crate::crash::act::Act;
use crate::crash::play::Play;
use crate::crash::scenario::{MANIFESTS, Phase, STAGING, Scenario, WAREHOUSE};
use crate::crash::view::{FOREIGN, files};

/// The file that ingestors lock before they write to a manifest.
const LOCK: &str = "/manifests/.csv-ingestor/lock";

fn scenarios() -> Vec<Scenario> {
    let later = vec![((1, Phase::Scan), Act::Write(3, 4)), ((2, Phase::Scan), Act::Write(4, 5))];
    vec![
        Scenario::plain("locks"),
        Scenario { cross: true, ..Scenario::plain("locks across file systems") },
        Scenario { acts: later, ..Scenario::plain("locks, several batches") },
    ]
}

/// The existing manifests.
fn manifests(upstream: &mut Upstream<'_>) -> Vec<PathBuf> {
    files(upstream, Path::new(MANIFESTS)).into_keys().filter(|path| path.ends_with("manifest.jsonl")).collect()
}

fn foreign_line(number: u64) -> Vec<u8> {
    format!("{FOREIGN}{number}}}\n").into_bytes()
}

/// Number of other programs' lines that are in the manifests as they were written.
fn foreign_lines(play: &Play<'_>) -> usize {
    let found = files(&mut play.fs.upstream(), Path::new(MANIFESTS));
    let lines = found.values().flat_map(|content| content.split_inclusive(|byte| *byte == b'\n'));
    lines.filter(|line| line.starts_with(FOREIGN.as_bytes()) && line.ends_with(b"}\n")).count()
}

/// A reader locks a manifest with `flock`, and a script locks staging: the ingestor waits for neither.
#[test]
fn a_stranger_locks_what_it_can_open() {
    sweep("strangers' locks", operations(scenarios()), 770, |scenario, operation, _| {
        let mut play = Play::new(scenario);
        play.story.push(format!("a stranger locks before operation {operation}"));
        play.fs.set_hook(Box::new(move |call, upstream| {
            assert!(call.op != Op::Pause, "it waits for a stranger");
            if call.number >= operation {
                let mut open_to_all = manifests(upstream);
                open_to_all.extend([STAGING, WAREHOUSE, MANIFESTS].map(PathBuf::from));
                // Not all of them have been made yet.
                open_to_all.iter().for_each(|path| drop(upstream.lock(path)));
            }
        }));
        play.end();
        1
    });
}

/// Another ingestor holds the lock for a while, at any time.
#[test]
fn a_neighbour_has_the_lock_for_a_while() {
    sweep("a neighbour's lock", operations(scenarios()), 770, |scenario, operation, _| {
        let mut play = Play::new(scenario);
        play.story.push(format!("a neighbour locks before operation {operation}"));
        let mut pauses = 0;
        play.fs.set_hook(Box::new(move |call, upstream| {
            if call.number == operation && upstream.exists(LOCK) && !upstream.is_locked(LOCK) {
                upstream.lock(LOCK).unwrap();
            }
            pauses += u32::from(call.op == Op::Pause);
            if pauses == 3 {
                upstream.unlock_all();
            }
        }));
        play.end();
        1
    });
}

/// Another ingestor appends as soon as the lock is free, even in the middle of a batch, and once after the lock file was
/// removed. No line overwrites another one.
#[test]
fn a_neighbour_appends_when_the_lock_is_free() {
    sweep("a neighbour appends", operations(scenarios()), 1_500, |scenario, operation, _| {
        for is_removed in [false, true] {
            let mut play = Play::new(scenario);
            play.story.push(format!("a neighbour appends from operation {operation} on, lock removed: {is_removed}"));
            let appended = Arc::new(Mutex::new(0));
            let count = appended.clone();
            let mut is_over = false;
            play.fs.set_hook(Box::new(move |call, upstream| {
                if call.number < operation || is_over || upstream.is_locked(LOCK) {
                    return;
                }
                if call.number == operation && is_removed && upstream.exists(LOCK) {
                    upstream.remove(LOCK).unwrap();
                }
                let mut count = count.lock().unwrap_or_else(PoisonError::into_inner);
                // If the ingestor wrote without the lock, this would append between any two of its operations.
                for path in manifests(upstream) {
                    *count += 1;
                    upstream.append(&path, &foreign_line(*count)).unwrap();
                }
                is_over = *count >= 20;
            }));
            play.end();
            play.fs.clear_hook();
            let appended = *appended.lock().unwrap();
            assert_eq!(foreign_lines(&play) as u64, appended, "{}", play.told());
        }
        2
    });
}

/// The disk is full in the middle of a batch's lines. The lock is free meanwhile: another ingestor cuts off the half line
/// and appends its own. Afterwards each line is there once, and none was withdrawn.
#[test]
fn a_neighbour_appends_while_the_disk_is_full() {
    let mut states = 0;
    for scenario in &scenarios() {
        for (nth, seed) in (1..=3).flat_map(|nth| (0..24).map(move |seed| (nth, seed))) {
            for has_neighbour in [false, true] {
                let mut play = Play::new(scenario);
                play.story
                    .push(format!("full at write {nth} to the manifests, seed {seed}, neighbour: {has_neighbour}"));
                // Each seed tears the write at another place.
                for _ in 0..seed {
                    let _ = play.fs.random();
                }
                let of_lines = || Fault::short().only(&[Op::WriteAt]).under(MANIFESTS);
                play.fs.inject(of_lines().nth(nth));
                play.fs.inject(Fault::errno(libc::ENOSPC).only(&[Op::WriteAt]).under(MANIFESTS).nth(nth + 1));
                let (fs, mut waits) = (play.fs.clone(), 0);
                let on_full = Box::new(move || {
                    waits += 1;
                    if has_neighbour && waits == 1 {
                        let paths = manifests(&mut fs.upstream());
                        let hour = paths[0].parent().unwrap();
                        // It gives up if the lock is not free.
                        let mut neighbour = Manifests::stopped_by(fs.clone(), Arc::new(AtomicBool::new(true)));
                        let line = foreign_line(waits);
                        let appended =
                            neighbour.append(Path::new(MANIFESTS), hour, &line, &mut AppendProgress::default());
                        appended.unwrap_or_else(|error| panic!("the lock was not free: {error}"));
                    }
                    waits < 100
                });
                let was_full = Arc::new(AtomicBool::new(false));
                let seen = was_full.clone();
                let mut on_full: Box<dyn FnMut() -> bool + Send> = on_full;
                let ended = play.run_waiting(Box::new(move || {
                    seen.store(true, Ordering::Relaxed);
                    on_full()
                }));
                play.check_ended(ended);
                let expected = usize::from(has_neighbour && was_full.load(Ordering::Relaxed));
                assert_eq!(foreign_lines(&play), expected, "{}", play.told());
                states += usize::from(was_full.load(Ordering::Relaxed));
            }
        }
    }
    assert!(states > 100, "{states}");
}
