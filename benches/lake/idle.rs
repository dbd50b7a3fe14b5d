//! What a host costs that has nothing to do.

use std::thread;
use std::time::Duration;

use csv_ingestor::lake::pace::Pace;

use crate::bench::Bench;
use crate::lake::Lake;
use crate::relay::Relay;
use crate::table::Line;

const GETS_AN_HOUR_MAX: usize = 30;
const HOUR: Duration = Duration::from_secs(3600);
/// The shortest pauses: what jitter can make of them.
const SHORTEST: u8 = u8::MAX;

/// Reads of the log in so much time after the first one, by the program's own intervals.
fn reads(time: Duration, random: u8) -> usize {
    let (mut pace, mut now, mut reads) = (Pace::default(), Duration::ZERO, 0);
    loop {
        pace.has_read(now, false);
        now += pace.idle_wait(random);
        if now > time {
            return reads;
        }
        reads += 1;
    }
}

/// Watches a host for a while, and computes the hour.
pub fn measure(bench: &mut Bench<'_>) {
    let (time, relay) = (bench.scale.idle, Relay::start(&bench.server.reach.endpoint()));
    let lake = Lake::make(bench.server, &bench.server.reach.by_way_of(&relay.endpoint), bench.scratch, "idle");
    let daemon = lake.host(0).start(&[]);
    let before = relay.count();
    thread::sleep(time);
    let seen = relay.since(before);
    daemon.stop();
    lake.remove();
    let others = seen.iter().filter(|seen| seen.method != "GET").count();
    let (least, most, hour) = (reads(time, 0), reads(time, SHORTEST), reads(HOUR, SHORTEST));
    let what = bench.what("GETs an hour of an idle host, one shard");
    let minutes = time.as_secs_f64() / 60.0;
    let other = format!(
        "seen in {minutes:.0} min: {} GETs, {others} others; computed for these: {least} to {most}",
        seen.len() - others
    );
    let line = Line::new(what, format!("{hour}, computed")).other(other);
    let holds = hour <= GETS_AN_HOUR_MAX && others == 0 && seen.len() <= most + 1;
    bench.table.add(line.target(format!("<= {GETS_AN_HOUR_MAX}"), holds));
}
