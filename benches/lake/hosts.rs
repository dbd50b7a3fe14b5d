//! How often hosts that write to one shard lose a slot to each other.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::bench::Bench;
use crate::daemon::Daemon;
use crate::files;
use crate::lake::{Host, Lake};
use crate::relay::{Relay, Seen};
use crate::table::{Line, count};

const HOSTS: usize = 4;
const LOST_PERCENT_MAX: f64 = 10.0;
const FILE_BYTES: u64 = 1 << 10;
const INGESTED: &str = r#""event":"file_ingested""#;
/// Numbers of one host's files begin so far behind those of the one before.
const APART: u64 = 1 << 20;

/// True for a create of an entry, whoever won.
fn is_entry(seen: &Seen) -> bool {
    let name = seen.target.split('?').next().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    let is_slot = name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit());
    seen.method == "PUT" && seen.target.contains("/.csv-ingestor/log/") && is_slot
}

/// Drops files at a steady rate; returns how many.
fn send(host: &Host<'_>, first: u64, rate: u32, time: Duration) -> u64 {
    let (begun, mut number) = (Instant::now(), 0);
    while begun.elapsed() < time {
        let name = files::name(first + number);
        files::write(&host.incoming().join(&name), first + number, FILE_BYTES);
        fs::rename(host.incoming().join(&name), host.staging().join(&name)).unwrap();
        number += 1;
        let due = Duration::from_secs(1) * u32::try_from(number).unwrap() / rate;
        thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    number
}

pub fn measure(bench: &mut Bench<'_>) {
    let (rate, time) = (bench.scale.files_a_second, bench.scale.busy);
    let relay = Relay::start(&bench.server.reach.endpoint());
    let lake = Lake::make(bench.server, &bench.server.reach.by_way_of(&relay.endpoint), bench.scratch, "hosts");
    let hosts: Vec<Host<'_>> = (0..HOSTS).map(|number| lake.host(number)).collect();
    let daemons: Vec<_> = hosts.iter().map(|host| host.start(&["--stability-seconds", "0"])).collect();
    let before = relay.count();
    let sent: Vec<u64> = thread::scope(|scope| {
        let senders = hosts.iter().enumerate();
        let senders = senders.map(|(number, host)| scope.spawn(move || send(host, number as u64 * APART, rate, time)));
        senders.collect::<Vec<_>>().into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    for (daemon, sent) in daemons.iter().zip(&sent) {
        daemon.await_lines(*sent, INGESTED);
    }
    let seen = relay.since(before);
    daemons.into_iter().for_each(Daemon::stop);
    lake.check(sent.iter().sum());
    drop(hosts);
    lake.remove();
    let tried = seen.iter().filter(|seen| is_entry(seen)).count();
    let won = seen.iter().filter(|seen| is_entry(seen) && seen.status == 200).count();
    let lost = (tried - won) as f64 / tried.max(1) as f64 * 100.0;
    let what = bench.what(&format!("{HOSTS} hosts on one shard, {rate} files/s each: entries that lost their slot"));
    let line = Line::new(what, format!("{lost:.1} %"));
    let other = format!("{} of {}, {:.0} s", count((tried - won) as u64), count(tried as u64), time.as_secs_f64());
    bench.table.add(line.other(other).target(format!("<= {LOST_PERCENT_MAX:.0} %"), lost <= LOST_PERCENT_MAX));
}
