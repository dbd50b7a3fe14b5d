//! Whether one very large file delays small ones.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::arrivals::{self, Arrival, percentile};
use crate::disk::Scratch;
use crate::files;
use crate::ours;
use crate::place::{Place, lacks};
use crate::scale::Scale;
use crate::table::{Line, Table, count};
use crate::upstream::{Order, Ready};

const P99_MS_MAX: f64 = 500.0;
const BIG: &str = "big.csv";
/// A number that no small file has.
const BIG_NUMBER: u64 = 1 << 33;
/// The part of the file that is hashed to estimate the time for the whole file.
const TRIAL_SHARE: u64 = 20;

pub fn measure(scale: &Scale, scratch: &Scratch, table: &mut Table) {
    let gigabytes = scale.big_bytes as f64 / 1e9;
    let what = format!("from drop to line, p99 while {gigabytes} GB in one file are taken");
    let small = files::Set { count: scale.beside_big, bytes: 1 << 10 };
    if let Some(why) = lacks(&scratch.path("."), scale.big_bytes + small.disk_bytes()) {
        return table.add(Line::skipped(what, &why));
    }
    let place = Place::within(scratch.path("big"));
    let big = Ready::write(&place, BIG, BIG_NUMBER, scale.big_bytes);
    // Writing 10 GB back to the disk is the kernel's work, and is not measured here.
    place.settle();
    let pause = seconds_to_hash(&place.incoming().join(BIG), scale.big_bytes) / scale.beside_big as f64;
    let daemon = ours::start(&place, &["--mode", "sidecar"]);
    let begun = Instant::now();
    big.drop_in(Order::DataFirst);
    let mut taken = None;
    let all = arrivals::measure(
        &place,
        0..scale.beside_big,
        |_| Duration::from_secs_f64(pause),
        |name| {
            if name == BIG {
                taken = Some(Instant::now());
            }
        },
    );
    let meanwhile: Vec<Arrival> = all.into_iter().filter(|it| taken.is_none_or(|taken| it.dropped < taken)).collect();
    daemon.stop();
    place.remove();
    let until = taken.unwrap_or_else(Instant::now) - begun;
    let took = format!("{}{:.1} s", if taken.is_some() { "" } else { "more than " }, until.as_secs_f64());
    assert!(!meanwhile.is_empty(), "the large file was faster than any small one");
    let [p50, p99, most] = [50, 99, 100].map(|percent| percentile(&meanwhile, percent));
    let other = format!("{} files in {took}; p50 {p50:.1} ms, longest {most:.1} ms", count(meanwhile.len() as u64));
    let line = Line::new(what, format!("{p99:.1} ms")).other(other);
    table.add(line.target(format!("<= {P99_MS_MAX:.0} ms"), p99 <= P99_MS_MAX));
}

/// The time that one thread will need for the whole file.
fn seconds_to_hash(path: &Path, bytes: u64) -> f64 {
    let (mut file, mut buffer) = (File::open(path).unwrap(), vec![0; 1 << 20]);
    let (mut hash, mut done, begun) = (Sha256::new(), 0, Instant::now());
    while done < bytes / TRIAL_SHARE {
        let read = file.read(&mut buffer).unwrap();
        hash.update(&buffer[..read]);
        done += read as u64;
    }
    std::hint::black_box(hash.finalize());
    begun.elapsed().as_secs_f64() * bytes as f64 / done as f64
}
