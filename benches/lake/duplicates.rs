//! What a content costs that the host knows already.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::bench::Bench;
use crate::files::name;
use crate::lake::Lake;
use crate::relay::Relay;
use crate::table::{Line, count};

const SKIPPED: &str = r#""event":"duplicate_skipped""#;
const INGESTED: &str = r#""event":"file_ingested""#;
/// An idle host that has read the log so often does not read it again for half a minute.
const IDLE_READS: usize = 4;
/// The longest wait for these.
const PATIENCE: Duration = Duration::from_secs(300);

/// The files are sent once more under other names, between two looks of the host at the log: there must be no request.
pub fn measure(bench: &mut Bench<'_>) {
    let set = bench.scale.duplicates;
    let relay = Relay::start(&bench.server.reach.endpoint());
    let lake = Lake::make(bench.server, &bench.server.reach.by_way_of(&relay.endpoint), bench.scratch, "duplicates");
    let host = lake.host(0);
    set.make(&host.incoming());
    let daemon = host.start(&["--stability-seconds", "0", "--duplicates", "remove"]);
    // Each name is a file of its own: an upstream that sends it again writes it again.
    let copy_in = |prefix: &str| {
        for number in 0..set.count {
            let written = host.incoming().join("copy");
            fs::copy(host.incoming().join(name(number)), &written).unwrap();
            fs::rename(&written, host.staging().join(format!("{prefix}-{number}.csv"))).unwrap();
        }
    };
    copy_in("first");
    daemon.await_lines(set.count, INGESTED);
    await_rest(&relay);
    let before = relay.count();
    copy_in("again");
    daemon.await_lines(set.count, SKIPPED);
    let seen = relay.since(before);
    daemon.stop();
    lake.check(set.count);
    lake.remove();
    let line =
        Line::new(bench.what(&format!("requests for {} known duplicates", count(set.count))), count(seen.len() as u64));
    bench.table.add(line.target("0", seen.is_empty()));
}

/// Waits until the host has just looked at the log, for the last time in a while.
fn await_rest(relay: &Relay) {
    let (begun, before) = (Instant::now(), relay.count());
    while relay.count() < before + IDLE_READS {
        assert!(begun.elapsed() < PATIENCE, "the host does not read the log");
        thread::sleep(Duration::from_millis(50));
    }
}
