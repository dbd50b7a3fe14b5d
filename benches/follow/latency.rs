//! The time from a line in its manifest until the consumer has it.
//!
//! A line is seen in its manifest before it is durable, so what is measured includes the sync.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Scale;
use crate::disk::Scratch;
use crate::place::Place;
use crate::process::Process;
use crate::table::{Line, Table, count};
use crate::{files, follower, ours};

const P50_MS_MAX: f64 = 5.0;
const P99_MS_MAX: f64 = 20.0;
/// The pause between two files: 200 a second.
const PAUSE: Duration = Duration::from_millis(5);
const FILE_BYTES: u64 = 1 << 10;
/// The pause between two looks at the manifests.
const LOOK_PAUSE: Duration = Duration::from_micros(100);

/// The manifests below a directory.
fn manifests(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name == "manifest.jsonl" {
            found.push(entry.path());
        } else if !name.as_encoded_bytes().starts_with(b".") && entry.path().is_dir() {
            manifests(&entry.path(), found);
        }
    }
}

/// Notes when each line is in a manifest.
fn watch(root: &Path, is_over: &AtomicBool) -> Vec<Instant> {
    let (mut known, mut seen): (Vec<(PathBuf, u64, usize)>, Vec<Instant>) = (Vec::new(), Vec::new());
    let mut looked = Instant::now() - Duration::from_secs(1);
    while !is_over.load(Ordering::Relaxed) {
        thread::sleep(LOOK_PAUSE);
        if looked.elapsed() > Duration::from_millis(100) {
            let mut found = Vec::new();
            manifests(root, &mut found);
            found.retain(|path| known.iter().all(|(other, ..)| other != path));
            known.extend(found.into_iter().map(|path| (path, 0, 0)));
            looked = Instant::now();
        }
        for (path, size, lines) in &mut known {
            let now = Instant::now();
            let length = fs::metadata(&*path).map_or(0, |metadata| metadata.size());
            if length > *size {
                let text = fs::read(&*path).unwrap();
                let count = text.iter().filter(|byte| **byte == b'\n').count();
                seen.extend(std::iter::repeat_n(now, count - *lines));
                (*size, *lines) = (length, count);
            }
        }
    }
    seen
}

pub fn measure(scale: &Scale, scratch: &Scratch, table: &mut Table) {
    let place = Place::within(scratch.path("latency"));
    let daemon = ours::start(&place, &["--stability-seconds", "0"]);
    let mut process = Process::start(follower::command(&place.manifests(), &[]).stdout(Stdio::piped())).unwrap();
    let output = BufReader::new(process.stdout.take().unwrap());
    let is_over = AtomicBool::new(false);
    let (files, root) =
        (scale.seconds * (Duration::from_secs(1).as_millis() / PAUSE.as_millis()) as u64, place.manifests());
    let (seen, came) = thread::scope(|scope| {
        let watched = scope.spawn(|| watch(&root, &is_over));
        let read = scope.spawn(move || {
            output.lines().take(files as usize).map(|line| line.map(|_| Instant::now()).unwrap()).collect::<Vec<_>>()
        });
        let begun = Instant::now();
        for number in 0..files {
            let due = PAUSE * u32::try_from(number).unwrap();
            thread::sleep(due.saturating_sub(begun.elapsed()));
            let name = files::name(number);
            files::write(&place.incoming().join(&name), number, FILE_BYTES);
            fs::rename(place.incoming().join(&name), place.staging.join(&name)).unwrap();
        }
        let came = read.join().unwrap();
        is_over.store(true, Ordering::Relaxed);
        (watched.join().unwrap(), came)
    });
    process.stop();
    daemon.stop();
    place.remove();
    assert_eq!((seen.len(), came.len()), (files as usize, files as usize));
    let mut times: Vec<f64> =
        came.iter().zip(&seen).map(|(came, seen)| came.saturating_duration_since(*seen).as_secs_f64() * 1e3).collect();
    times.sort_by(f64::total_cmp);
    for (percent, max) in [(50, P50_MS_MAX), (99, P99_MS_MAX)] {
        let ms = times[(times.len() * percent).div_ceil(100).max(1) - 1];
        let what = format!("from line to consumer, p{percent} of {}, 200 files/s", count(files));
        let line = Line::new(what, format!("{ms:.2} ms")).other(format!("longest {:.1} ms", times[times.len() - 1]));
        table.add(line.target(format!("<= {max:.0} ms"), ms <= max));
    }
}
