//! How fast staged files get into a lake, compared with the floor; and how many requests that takes.

use object_store::PutMode;

use crate::bench::Bench;
use crate::files::Set;
use crate::floor::{Floor, IN_FLIGHT};
use crate::lake::{Lake, empty, prefix};
use crate::relay::Relay;
use crate::rounds::{median, ratios, turns};
use crate::table::{Line, count, per_second};

const REQUESTS_A_FILE_MAX: f64 = 1.05;
const SMALL_MIN: f64 = 0.85;
const LARGE_MIN: f64 = 0.9;

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Contender {
    Ours,
    Floor,
    /// The floor, if each object may only be created: this is what the store takes for the condition.
    Condition,
}

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

/// Seconds of each contender in each round.
fn rounds<const N: usize>(bench: &mut Bench<'_>, set: Set, contenders: [Contender; N]) -> [Vec<f64>; N] {
    let mut seconds = [const { Vec::new() }; N];
    for round in 0..bench.scale.rounds {
        for turn in turns(round, N) {
            let lake = Lake::make(bench.server, &bench.server.reach, bench.scratch, "throughput");
            first_start(&lake);
            let staging = lake.host(0).staging();
            empty(&staging);
            set.make(&staging);
            let took = match contenders[turn] {
                Contender::Ours => {
                    let took = lake.host(0).once().seconds;
                    lake.check(set.count);
                    took
                }
                contender => {
                    let floor = Floor::open(&bench.server.reach, &prefix(bench.server, "floor"));
                    match contender {
                        Contender::Condition => floor.put_files(&staging, &PutMode::Create),
                        _ if set.bytes > 1 << 20 => floor.put_parts(&staging),
                        _ => floor.put_files(&staging, &PutMode::Overwrite),
                    }
                }
            };
            crate::table::progress(&format!("round {round}: {} files in {took:.2} s", set.count));
            lake.remove();
            seconds[turn].push(took);
        }
    }
    seconds
}

fn spread(ratios: &[f64]) -> String {
    let (least, most) =
        ratios.iter().fold((f64::INFINITY, 0.0_f64), |(least, most), it| (least.min(*it), most.max(*it)));
    format!("{least:.2}-{most:.2}x")
}

/// Small files.
pub fn measure_small(bench: &mut Bench<'_>) {
    let set = bench.scale.small;
    let [ours, floor, condition] = rounds(bench, set, [Contender::Ours, Contender::Floor, Contender::Condition]);
    let speed = |seconds: &[f64]| per_second(set.count as f64 / median(seconds));
    let ratios = ratios(&floor, &ours);
    let ratio = median(&ratios);
    let what = bench.what(&format!("{} x 1 KiB, {IN_FLIGHT} in flight", count(set.count)));
    let other = format!("floor {}, create-only {} ({})", speed(&floor), speed(&condition), spread(&ratios));
    let line = Line::new(what, speed(&ours)).other(other).ratio(ratio);
    bench.table.add(line.target(format!(">= {SMALL_MIN:.2}x"), ratio >= SMALL_MIN));
}

/// Files that go in parts.
pub fn measure_large(bench: &mut Bench<'_>) {
    let set = bench.scale.large;
    let [ours, floor] = rounds(bench, set, [Contender::Ours, Contender::Floor]);
    let speed = |seconds: &[f64]| format!("{:.0} MB/s", set.total_bytes() as f64 / median(seconds) / 1e6);
    let ratios = ratios(&floor, &ours);
    let ratio = median(&ratios);
    let what = bench.what(&format!("{} x {} MiB in parts", set.count, set.bytes >> 20));
    let other = format!("floor {} ({})", speed(&floor), spread(&ratios));
    let line = Line::new(what, speed(&ours)).other(other).ratio(ratio);
    bench.table.add(line.target(format!(">= {LARGE_MIN:.2}x"), ratio >= LARGE_MIN));
}
