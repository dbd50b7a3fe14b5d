//! kill -9 at any moment, under load, again and again: each content is ingested once, and nothing is lost (P1, P2).
//!
//! The seed is printed; `CSV_TEST_SEED` sets it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::harness::{BINARY, Daemon, PATIENCE, Place, csv, has, sha256_hex, wait_until};
use super::scenarios::{leftover_copies, traced};

/// A linear congruential generator (Knuth's MMIX).
struct Random(u64);

impl Random {
    fn new(stream: u64) -> Random {
        let seed = match std::env::var("CSV_TEST_SEED") {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos()),
        };
        eprintln!("CSV_TEST_SEED={seed}");
        Random(seed.wrapping_mul(1000).wrapping_add(stream))
    }

    /// A number less than `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Limit of files waiting in staging: a producer that runs ahead of a killed ingestor would fill the disk.
const WAITING_FILES_MAX: usize = 300;

/// Content of this seed: mostly small, sometimes so large that DISCOVERED is recorded before the file is hashed.
fn content(seed: u64) -> Vec<u8> {
    let mut content = csv(seed, usize::try_from(seed % 7).unwrap() * 900);
    match seed % 400 {
        399 => content.resize(17 << 20, b'\n'),
        at if at % 50 == 49 => content.resize(600 << 10, b'\n'),
        _ => {}
    }
    content
}

/// An upstream that never stops: it sends new contents, and old ones again under new names. Returns the number of contents.
fn produce(place: &Place, mut random: Random, stop: &AtomicBool, sent: &AtomicUsize) -> u64 {
    let (mut contents, mut waiting_at_rest) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let waiting = place.staged_names().len();
        if waiting >= WAITING_FILES_MAX + waiting_at_rest {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        let files = 1 + random.below(12);
        for _ in 0..files {
            let again = contents > 0 && random.below(5) == 0;
            let seed = if again { random.below(contents) } else { contents };
            contents += u64::from(!again);
            waiting_at_rest += usize::from(again);
            let number = sent.fetch_add(1, Ordering::Relaxed);
            let hidden = place.stage(format!(".{number}"), content(seed));
            std::fs::rename(hidden, place.staging.join(format!("{number}-{seed}.csv"))).unwrap();
        }
        std::thread::sleep(Duration::from_millis(4 + random.below(12)));
    }
    contents
}

/// Runs a command, which must succeed in time.
#[track_caller]
fn finish(command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_child(&child);
    let (sender, output) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = output.recv_timeout(PATIENCE) else {
        kill_process(pid, Signal::KILL).unwrap();
        panic!("it hangs: {command:?}");
    };
    let output = output.unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn once(place: &Place, options: &[&str]) -> Output {
    finish(place.command().args(["--once", "--stability-seconds", "0"]).args(options))
}

/// `journal inspect`; empty if there is no journal yet.
fn inspected(place: &Place) -> Vec<Value> {
    let output = place.subcommand(&["journal", "inspect", "--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Starts the daemon, lets it run for a moment, and kills it.
fn run_and_kill(place: &Place, random: &mut Random, options: &[&str]) {
    let options = [&["--stability-seconds", "0", "--scan-interval", "30ms"], options].concat();
    let mut daemon = place.start(&options);
    std::thread::sleep(Duration::from_millis(1 + random.below(120)));
    daemon.child.kill().unwrap();
    let status = daemon.child.wait().unwrap();
    let log = || daemon.log().into_iter().rev().take(5).collect::<Vec<_>>();
    assert_eq!(status.signal(), Some(9), "it ended by itself: {status}, {:?}", log());
}

/// Kills the daemon again and again under load, and runs `between` after each kill. Then it runs once without a kill, and
/// everything must be right.
fn kill_again_and_again(place: &Place, kills: u32, stream: u64, duplicates: &str, mut between: impl FnMut(&Place)) {
    let mut random = Random::new(stream);
    let producer_random = Random(random.below(u64::MAX >> 33) + stream);
    let options = ["--duplicates", duplicates];
    let (done, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let contents = std::thread::scope(|scope| {
        let producer = scope.spawn(|| produce(place, producer_random, &done, &sent));
        let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..kills {
                run_and_kill(place, &mut random, &options);
                between(place);
            }
        }));
        done.store(true, Ordering::Relaxed);
        let contents = producer.join().unwrap();
        killed.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        contents
    });
    let sent = sent.into_inner();
    // The second run finds nothing to do.
    once(place, &options);
    let again = once(place, &options);
    let log = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(!log.contains("\"file_ingested\""), "{log}");

    let files = place.check_consistent();
    let ingested: BTreeSet<String> = place.warehouse_files().values().map(|content| sha256_hex(content)).collect();
    let produced: BTreeSet<String> = (0..contents).map(|seed| sha256_hex(&content(seed))).collect();
    let lost: Vec<_> = produced.difference(&ingested).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert_eq!((files, ingested.len()), (produced.len(), produced.len()), "more than was sent");
    let left = place.staged_names();
    if duplicates == "keep" {
        assert_eq!(left.len() + files, sent, "each file is in the warehouse, or a duplicate that was kept");
        for name in &left {
            let content = std::fs::read(place.staging.join(name)).unwrap();
            assert!(ingested.contains(&sha256_hex(&content)), "{name} is not a duplicate");
        }
    } else {
        assert!(left.is_empty(), "{left:?}");
    }
    assert!(leftover_copies(&place.warehouse).is_empty());
    let states = |state: &str| place.inspect().iter().filter(|file| file["state"] == state).count();
    eprintln!("{kills} kills, {sent} files sent, {files} contents, {} duplicates", states("SKIPPED_DUPLICATE"));
    // No file was changed or removed, so none was abandoned.
    for state in ["DISCOVERED", "HASHED", "MOVED", "ABANDONED"] {
        assert_eq!(states(state), 0, "{state}");
    }
}

/// The plain case, with the riskiest option: duplicates are removed.
#[test]
fn killed_100_times_on_one_file_system() {
    kill_again_and_again(&Place::new(), 100, 1, "remove", |_| {});
}

/// With copies: unfinished ones, finished ones without a name, and sources that still exist.
#[test]
fn killed_60_times_across_file_systems() {
    if let Some((place, _other)) = Place::across_file_systems() {
        kill_again_and_again(&place, 60, 2, "keep", |_| {});
    }
}

/// Everything that `replay` could change.
fn snapshot(place: &Place) -> (Vec<Value>, Vec<PathBuf>, Vec<Value>) {
    (place.inspect(), place.warehouse_files().into_keys().collect(), place.manifest_lines())
}

/// Runs `replay` and returns its summary; `None` if the daemon was killed before there was anything to replay.
fn replay(place: &Place) -> Option<Value> {
    if inspected(place).is_empty() {
        return None;
    }
    let output = finish(Command::new(BINARY).args(["replay", "--json", "--state-path"]).arg(&place.state));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// Replays twice: after the first time nothing may be half done, and the second may change nothing.
fn replay_twice_equals_once(place: &Place) {
    if replay(place).is_none() {
        return;
    }
    place.check_consistent();
    let once = snapshot(place);
    let open =
        |file: &&Value| !["MANIFESTED", "SKIPPED_DUPLICATE", "ABANDONED"].contains(&file["state"].as_str().unwrap());
    assert_eq!(once.0.iter().find(open), None);
    let summary = replay(place).unwrap();
    for key in ["completed", "abandoned", "cleared", "resumed", "torn_bytes"] {
        assert_eq!(summary[key], 0, "{key}: {summary}");
    }
    assert!(snapshot(place) == once, "the second replay changed something");
}

/// An operator may run `replay` after a crash, without the daemon: it finishes what was half done, and a second run changes
/// nothing more.
#[test]
fn killed_25_times_with_replays_between() {
    kill_again_and_again(&Place::new(), 25, 3, "keep", replay_twice_equals_once);
}

/// The same with copies.
#[test]
fn killed_15_times_across_file_systems_with_replays_between() {
    if let Some((place, _other)) = Place::across_file_systems() {
        kill_again_and_again(&place, 15, 4, "remove", replay_twice_equals_once);
    }
}

/// A large file takes longer to hash than the time between two crashes. Each start resumes it, with the id and the time that
/// it has; a second record of it would remain for ever, and the next crash would make four of the two.
#[test]
fn a_large_file_keeps_its_id_over_many_kills() {
    let place = Place::new();
    let hidden = place.stage(".large", csv(1, 1000));
    std::fs::File::options().write(true).open(&hidden).unwrap().set_len(256 << 20).unwrap();
    std::fs::rename(hidden, place.staging.join("large.csv")).unwrap();
    let mut found = Vec::new();
    for start in 1..=5 {
        let daemon = place.start(&["--stability-seconds", "0"]);
        daemon.wait_for("started", start);
        wait_until("the file to be discovered", || !inspected(&place).is_empty());
        // Time enough for a second record, if one were written, but not to hash the whole file.
        std::thread::sleep(Duration::from_millis(20));
        daemon.kill();
        found.extend(inspected(&place).into_iter().map(|file| (file["ingest_id"].clone(), file["created_at"].clone())));
    }
    once(&place, &[]);
    found.dedup();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(place.inspect().len(), 1);
    assert_eq!(place.check_consistent(), 1);
}

/// Files that the tests below ingest: enough that they are synced together, not one by one.
const FILES: u64 = 6;

/// strace's options to kill on entering the n-th of these calls.
fn killer(call: &str, number: u32) -> [String; 7] {
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=SIGKILL:when={number}"));
    ["-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject].map(str::to_owned)
}

fn stage_some(place: &Place) {
    for seed in 0..FILES {
        place.stage(format!("{seed}.csv"), csv(seed, 2_000));
    }
    place.stage("again.csv", csv(0, 2_000));
}

/// Ingests some files and a duplicate in a first run, which is killed when any thread makes its n-th call of `call`. False
/// if no thread does.
fn first_run_killed(place: &Place, call: &str, number: u32) -> bool {
    stage_some(place);
    let mut command = place.command();
    command.args(["--once", "--stability-seconds", "0", "--duplicates", "remove", "--concurrency", "1"]);
    let options = killer(call, number);
    let output = traced(&command, &options.each_ref().map(String::as_str)).output().unwrap();
    let killed = output.status.signal() == Some(9);
    assert!(killed || output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    killed
}

/// The id of the committer's thread.
fn committer(daemon: &Daemon) -> Option<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.child.id())).unwrap();
    let mut tasks = tasks.map(|task| task.unwrap().path());
    let task = tasks.find(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name == "commit\n"))?;
    Some(task.file_name().unwrap().to_str().unwrap().to_owned())
}

/// The same in a running daemon, counting only its committer's calls: most calls of a first run belong to the start.
fn committer_killed(place: &Place, call: &str, number: u32) -> bool {
    let mut daemon = place.start(&["--stability-seconds", "0.1", "--duplicates", "remove"]);
    wait_until("the committer to start", || committer(&daemon).is_some());
    daemon.wait_started();
    let thread = committer(&daemon).unwrap();
    let mut strace = Command::new("strace").args(killer(call, number)).args(["-p", &thread]).spawn().unwrap();
    let status = format!("/proc/{}/task/{thread}/status", daemon.child.id());
    wait_until("strace to attach", || !std::fs::read_to_string(&status).unwrap().contains("TracerPid:\t0\n"));
    stage_some(place);
    wait_until("the files to be taken, or the process killed", || {
        place.staged_names().is_empty() || daemon.child.try_wait().unwrap().is_some()
    });
    if daemon.child.try_wait().unwrap().is_none() {
        daemon.signal(Signal::TERM);
    }
    let status = daemon.child.wait().unwrap();
    strace.wait().unwrap();
    assert!(status.success() || status.signal() == Some(9), "{status}");
    !status.success()
}

/// Cuts off half of the manifest's last line, as a power cut does before the line is durable, unless the journal says that
/// it is.
fn tear_manifest(place: &Place) -> bool {
    let lines = place.manifest_lines();
    let Some(last) = lines.last() else { return false };
    let records = place.inspect();
    let record = records.iter().find(|record| record["ingest_id"] == last["ingest_id"]).unwrap();
    if record["state"] != "MOVED" {
        return false;
    }
    let at = last["ingested_at"].as_str().unwrap();
    let path = place.manifests.join(at[..10].replace('-', "/")).join(&at[11..13]).join("manifest.jsonl");
    let bytes = std::fs::metadata(&path).unwrap().len();
    std::fs::File::options().write(true).open(path).unwrap().set_len(bytes - 40).unwrap();
    true
}

/// One ingestion after another, each killed one call later, until that call is not reached; the next start, or `replay`,
/// finishes each of them. Returns in how many of them a manifest line was torn.
fn killed_at_each(call: &str, killed_at: fn(&Place, &str, u32) -> bool) -> u32 {
    let (mut torn, mut number) = (0, 1);
    loop {
        let place = Place::new();
        let killed = killed_at(&place, call, number);
        if killed && !inspected(&place).is_empty() {
            torn += u32::from(tear_manifest(&place));
            if number % 2 == 0 {
                replay_twice_equals_once(&place);
            }
        }
        once(&place, &["--duplicates", "remove"]);
        assert_eq!(place.check_consistent() as u64, FILES, "{call} {number}");
        assert!(place.staged_names().is_empty(), "{call} {number}: {:?}", place.staged_names());
        if !killed {
            eprintln!("{call}: {} moments, {torn} torn lines", number - 1);
            return torn;
        }
        number += 1;
    }
}

/// System calls that change something durable, or make it so.
const DURABLE_CALLS: [&str; 7] = ["fdatasync", "fsync", "syncfs", "renameat2", "pwrite64", "unlinkat", "mkdirat"];

/// Random moments seldom hit narrow windows, so this test kills at each durable step. A first start also creates directories
/// and the journal.
#[test]
fn killed_at_each_durable_step_of_a_first_run() {
    if has("strace") {
        for call in DURABLE_CALLS {
            killed_at_each(call, first_run_killed);
        }
    }
}

/// Each durable step of the committer. A manifest line that was written but is not durable is torn, too.
#[test]
fn killed_at_each_durable_step_of_the_committer() {
    if has("strace") {
        let torn = DURABLE_CALLS.map(|call| killed_at_each(call, committer_killed));
        assert!(torn.iter().sum::<u32>() > 0, "no line was ever torn");
    }
}
