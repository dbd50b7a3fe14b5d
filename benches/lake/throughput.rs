//! How fast staged files get into a lake, compared with the floor; and how many requests that takes.

use std::fs;
use std::path::Path;

use object_store::PutMode;

use crate::bench::Bench;
use crate::files::Set;
use crate::floor::{Floor, IN_FLIGHT};
use crate::lake::{Lake, empty, prefix};
use crate::relay::Relay;
use crate::rounds::{median, ratios, turns};
use crate::table::{Line, count, per_second, progress};

const REQUESTS_A_FILE_MAX: f64 = 1.05;
const SMALL_MIN: f64 = 0.85;
const LARGE_MIN: f64 = 0.9;

/// The ingestor, and the floor.
const CONTENDERS: usize = 2;

/// A start without files: it makes the journal, and tries the store out, once in a journal's life.
fn first_start(lake: &Lake) {
    lake.host(0).once();
}

/// Requests for each small file, seen from outside, from the start of the process to its end.
pub fn measure_requests(bench: &mut Bench<'_>) {
    let set = bench.scale.small;
    let relay = Relay::start(&bench.server.reach.endpoint());
    let lake = Lake::make(bench.server, &bench.server.reach.by_way_of(&relay.endpoint), bench.scratch, "requests");
    first_start(&lake);
    set.make(&lake.host(0).staging());
    let before = relay.count();
    lake.host(0).once();
    let seen = relay.since(before);
    lake.check(set.count);
    lake.remove();
    let of = |method: &str| seen.iter().filter(|seen| seen.method == method).count() as u64;
    let requests = seen.len() as f64 / set.count as f64;
    let line = Line::new(
        bench.what(&format!("requests a file, {} x 1 KiB, one host", count(set.count))),
        format!("{requests:.4}"),
    );
    let kinds = ["PUT", "GET", "HEAD", "DELETE"].map(|method| format!("{method} {}", count(of(method)))).join(", ");
    bench.table.add(line.other(kinds).target(format!("<= {REQUESTS_A_FILE_MAX}"), requests <= REQUESTS_A_FILE_MAX));
}

/// Seconds of the ingestor and of the floor in each round. Each round has files of its own; one host takes all of them.
fn rounds(bench: &Bench<'_>, set: Set, put: &dyn Fn(&Floor, &Path) -> f64) -> [Vec<f64>; CONTENDERS] {
    let lake = Lake::make(bench.server, &bench.server.reach, bench.scratch, "throughput");
    first_start(&lake);
    let (staging, mut seconds) = (lake.host(0).staging(), [const { Vec::new() }; CONTENDERS]);
    for round in 0..bench.scale.rounds {
        for turn in turns(round, CONTENDERS) {
            let first = round as u64 * set.count;
            empty(&staging);
            set.make_from(first, &staging);
            let took = if turn == 0 {
                let took = lake.host(0).once().seconds;
                lake.check(first + set.count);
                took
            } else {
                put(&floor(bench), &staging)
            };
            progress(&format!("round {round}, {}: {took:.2} s", ["ours", "floor"][turn]));
            seconds[turn].push(took);
        }
    }
    lake.remove();
    seconds
}

/// The floor at a prefix of its own.
fn floor(bench: &Bench<'_>) -> Floor {
    Floor::open(&bench.server.reach, &prefix(bench.server, "floor"))
}

fn spread(ratios: &[f64]) -> String {
    let (least, most) =
        ratios.iter().fold((f64::INFINITY, 0.0_f64), |(least, most), it| (least.min(*it), most.max(*it)));
    format!("{least:.2}-{most:.2}x")
}

/// Small files.
pub fn measure_small(bench: &mut Bench<'_>) {
    let set = bench.scale.small;
    let [ours, floor] = rounds(bench, set, &|floor, dir| floor.put_files(dir, &PutMode::Overwrite));
    let speed = |seconds: &[f64]| per_second(set.count as f64 / median(seconds));
    // What the store takes for the condition that there is no object yet: once, for information.
    let dir = bench.scratch.path("condition");
    fs::create_dir(&dir).unwrap();
    set.make(&dir);
    let condition = speed(&[self::floor(bench).put_files(&dir, &PutMode::Create)]);
    fs::remove_dir_all(&dir).unwrap();
    let ratios = ratios(&floor, &ours);
    let ratio = median(&ratios);
    let what = bench.what(&format!("{} x 1 KiB, {IN_FLIGHT} in flight", count(set.count)));
    let other = format!("floor {}, create-only {condition} ({})", speed(&floor), spread(&ratios));
    let line = Line::new(what, speed(&ours)).other(other).ratio(ratio);
    bench.table.add(line.target(format!(">= {SMALL_MIN:.2}x"), ratio >= SMALL_MIN));
}

/// Files that go in parts.
pub fn measure_large(bench: &mut Bench<'_>) {
    let set = bench.scale.large;
    let [ours, floor] = rounds(bench, set, &Floor::put_parts);
    let speed = |seconds: &[f64]| format!("{:.0} MB/s", set.total_bytes() as f64 / median(seconds) / 1e6);
    let ratios = ratios(&floor, &ours);
    let ratio = median(&ratios);
    let what = bench.what(&format!("{} x {} MiB in parts", set.count, set.bytes >> 20));
    let other = format!("floor {} ({})", speed(&floor), spread(&ratios));
    let line = Line::new(what, speed(&ours)).other(other).ratio(ratio);
    bench.table.add(line.target(format!(">= {LARGE_MIN:.2}x"), ratio >= LARGE_MIN));
}
