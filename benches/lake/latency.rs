//! The time from a file's drop into an idle lake until its line is there, compared with one PUT.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::bench::Bench;
use crate::files;
use crate::floor::Floor;
use crate::lake::{Host, Lake, prefix};
use crate::relay::{Relay, Seen};
use crate::rounds::median;
use crate::table::Line;

const P50_MAX: f64 = 5.0;
const P99_MAX: f64 = 10.0;
const FILE_BYTES: u64 = 1 << 10;
/// Longer than the time between two entries of a host.
const PAUSE: Duration = Duration::from_millis(1300);
/// A line that has not come after this time will not come at all.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_PAUSE: Duration = Duration::from_millis(1);

/// True for a manifest object that was created.
fn is_line(seen: &Seen) -> bool {
    seen.method == "PUT" && seen.status == 200 && seen.target.contains("/manifests/") && seen.target.contains(".jsonl")
}

/// Drops a file; returns the milliseconds until the store has confirmed its line, and the requests that took.
fn drop_ms(host: &Host<'_>, relay: &Relay, number: u64) -> f64 {
    let name = files::name(number);
    let (written, target) = (host.incoming().join(&name), host.staging().join(&name));
    files::write(&written, number, FILE_BYTES);
    let (before, begun) = (relay.count(), Instant::now());
    fs::rename(&written, target).unwrap();
    loop {
        assert!(begun.elapsed() < PATIENCE, "the line of {name} does not come");
        thread::sleep(LOOK_PAUSE);
        if let Some(line) = relay.since(before).iter().find(|seen| is_line(seen)) {
            return (line.answered - begun).as_secs_f64() * 1000.0;
        }
    }
}

fn percentile(times: &[f64], percent: usize) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1]
}

/// The PUTs of the floor are made in between, by way of the same relay.
pub fn measure(bench: &mut Bench<'_>) {
    let relay = Relay::start(&bench.server.reach.endpoint());
    let reach = bench.server.reach.by_way_of(&relay.endpoint);
    let lake = Lake::make(bench.server, &reach, bench.scratch, "latency");
    let host = lake.host(0);
    let daemon = host.start(&["--stability-seconds", "0"]);
    let floor = Floor::open(&reach, &prefix(bench.server, "floor"));
    let (mut ours, mut puts) = (Vec::new(), Vec::new());
    for number in 0..bench.scale.drops as u64 {
        thread::sleep(PAUSE / 2);
        puts.push(floor.put_ms(&files::name(number), vec![b'x'; FILE_BYTES as usize]));
        thread::sleep(PAUSE / 2);
        ours.push(drop_ms(&host, &relay, number));
    }
    daemon.stop();
    lake.check(bench.scale.drops as u64);
    lake.remove();
    let put = median(&puts);
    for (percent, max) in [(50, P50_MAX), (99, P99_MAX)] {
        let ms = percentile(&ours, percent);
        let what = bench.what(&format!("drop to line, idle lake, p{percent} of {}", ours.len()));
        let other = format!("a PUT: {put:.1} ms, p99 {:.1} ms", percentile(&puts, 99));
        let line = Line::new(what, format!("{ms:.1} ms")).other(other).ratio(ms / put);
        bench.table.add(line.target(format!("<= {max:.0}x"), ms / put <= max));
    }
}
