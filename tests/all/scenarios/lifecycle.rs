//! The daemon as a process: the specification's run example, signals, and how often it syncs.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::super::harness::{BINARY, Place, csv, has, json_lines, skip, wait_until};
use super::{QUICK, assert_contents, count_syncs, stop, wait_until_taken};

/// Section 7, word for word except for the paths: it is the command that everybody types first.
#[test]
fn the_run_example_of_the_specification() {
    let place = Place::new();
    let root = place.root.path();
    for dir in ["warehouse", "manifests", "state"] {
        std::fs::create_dir(root.join(dir)).unwrap();
    }
    let script = r#"exec "$0" \
  --input /tmp/staging \
  --warehouse /tmp/warehouse \
  --manifests /tmp/manifests \
  --mode stability \
  --stability-seconds 10 \
  --concurrency 4 \
  --state-path /tmp/state/state.db \
  --log-level info"#;
    let script = script.replace("/tmp/", &format!("{}/", root.display()));
    for seed in 0..3 {
        place.stage(format!("{seed}.csv"), csv(seed, 5_000));
    }
    let started = Instant::now();
    let mut command = Command::new("sh");
    let log = root.join("log.jsonl");
    command.args(["-c", &script, BINARY]).stdin(Stdio::null()).stderr(std::fs::File::create(&log).unwrap());
    let mut child = command.spawn().unwrap();
    place.stage("late.csv", csv(3, 5_000));
    wait_until("all to be taken", || place.staged_names().is_empty() || child.try_wait().unwrap().is_some());
    assert!(started.elapsed().as_secs() >= 10, "sooner than the window");
    let ingested = || std::fs::read_to_string(&log).unwrap().matches(r#""event":"file_ingested""#).count();
    wait_until("four files to be reported", || ingested() == 4);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let place = Place { state: root.join("state/state.db"), ..place };
    assert_contents(&place, (0..4).map(|seed| csv(seed, 5_000)));
    assert_eq!(place.check_consistent(), 4);
}

/// The kind of the journal's last frame.
fn last_frame(place: &Place) -> Value {
    let output = place.subcommand(&["journal", "inspect", "--frames", "--json"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let mut frames = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    frames.rfind(|frame| frame.get("kind").is_some()).unwrap()["kind"].clone()
}

/// A clean stop: exit code 0, a shutdown frame at the end of the journal, no unfinished file.
#[test]
fn signals_stop_cleanly() {
    for signal in [Signal::TERM, Signal::INT] {
        let place = Place::new();
        let mut daemon = place.start(QUICK);
        daemon.wait_started();
        place.stage("a.csv", csv(1, 1000));
        daemon.wait_for("file_ingested", 1);
        for seed in 10..200 {
            place.stage(format!("{seed}.csv"), csv(seed, 1000));
        }
        daemon.wait_for("file_ingested", 2);
        daemon.signal(signal);
        assert_eq!(daemon.child.wait().unwrap().code(), Some(0), "{signal:?}");
        assert_eq!(daemon.events("stopped").len(), 1);
        assert_eq!(last_frame(&place).as_str().unwrap().to_lowercase(), "shutdown");
        let left = place.staged_names().len();
        assert_eq!(place.check_consistent() + left, 191, "nothing half done");
        place.once_ok(&[]);
        assert_eq!(place.check_consistent(), 191);
    }
}

/// A large file that is being hashed does not delay the stop until it is done; the next start resumes it.
#[test]
fn a_stop_does_not_wait_for_a_large_file() {
    let place = Place::new();
    let mut large = csv(1, 1000);
    large.resize(300 << 20, b'\n');
    place.stage("large.csv", &large);
    let daemon = place.start(&["--stability-seconds", "0", "--scan-interval", "50ms"]);
    wait_until("the file to be discovered", || !inspected(&place).is_empty());
    let found = inspected(&place).remove(0);
    stop(daemon);
    let records = place.inspect();
    // On a fast machine it may have been ingested already.
    let (ingested, id) = (place.warehouse_files().len(), found["ingest_id"].clone());
    assert_eq!(place.staged_names().len() + ingested, 1);
    assert_eq!(records[0]["state"], if ingested == 1 { "MANIFESTED" } else { "DISCOVERED" });
    place.once_ok(&[]);
    let record = &place.inspect()[0];
    assert_eq!((&record["ingest_id"], &record["created_at"]), (&id, &found["created_at"]), "the instant stays");
    assert_eq!(place.inspect().len(), 1);
    assert_eq!(place.check_consistent(), 1);
}

/// `inspect` beside a daemon that may not have created the journal yet.
fn inspected(place: &Place) -> Vec<Value> {
    let output = place.subcommand(&["journal", "inspect", "--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// strace on a running process; it ends when dropped, which releases the process.
struct Tracer(Child);

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// True if that thread of the process is stopped by a tracer.
fn is_held_by_tracer(pid: u32, thread: &str) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")).ok());
    stats.into_iter().any(|stat| stat.contains(&format!("({thread}) t ")))
}

/// A second signal ends the process at once, even while the disk hangs; the next start resumes.
#[test]
fn a_second_signal_ends_at_once() {
    if !has("strace") {
        return;
    }
    let place = Place::new();
    let mut daemon = place.start(&["--stability-seconds", "0", "--scan-interval", "50ms", "--concurrency", "2"]);
    daemon.wait_started();
    // From here on, every sync of the journal takes an hour.
    let pid = daemon.child.id();
    let trace = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=3600s"];
    let mut tracer = Tracer(Command::new("strace").args(trace).arg("-p").arg(pid.to_string()).spawn().unwrap());
    let is_traced = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
    };
    wait_until("strace to attach", || is_traced() || tracer.0.try_wait().unwrap().is_some());
    if !is_traced() {
        skip("strace cannot attach here");
        return;
    }
    std::thread::sleep(Duration::from_millis(200));
    place.stage("a.csv", csv(1, 1000));
    // A hash worker syncs a single file's data, the committer its journal.
    let hangs = || ["hash-0", "hash-1", "commit"].iter().any(|thread| is_held_by_tracer(pid, thread));
    wait_until("a sync to hang", || {
        let hung = (0..20).take_while(|_| {
            std::thread::sleep(Duration::from_millis(10));
            hangs()
        });
        hung.count() == 20
    });
    daemon.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(300));
    assert!(daemon.child.try_wait().unwrap().is_none(), "the first signal waits for what is in the batch");
    daemon.signal(Signal::TERM);
    // strace may keep the thread that it delays: then the process is a zombie until strace is gone.
    let has_ended = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") Z ");
    wait_until("the second signal to end it", has_ended);
    drop(tracer);
    assert_eq!(daemon.child.wait().unwrap().code(), Some(130));
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 1);
}

/// The number of syncs depends on the number of batches, not of files nor of workers: one for each frame of the journal, and
/// three more for a batch: staging, the warehouse and the manifest. The benchmark shows how few batches there are on a quiet
/// machine; on a busy one they are small.
#[test]
fn syncs_are_shared_by_many_files() {
    const FILES: u64 = 20_000;
    const PER_FRAME: u64 = 4;
    /// Syncs of directories and files that are created at the start.
    const ONCE: u64 = 50;
    if !has("strace") {
        return;
    }
    let place = Place::new();
    for seed in 0..FILES {
        place.stage(format!("{seed}.csv"), csv(seed, 1024));
    }
    let mut command = place.command();
    command.args(["--once", "--stability-seconds", "0", "--log-level", "warn"]);
    let calls = count_syncs(&place, &command);
    wait_until_taken(&place);
    assert_eq!(place.check_consistent() as u64, FILES);
    let output = place.subcommand(&["journal", "inspect", "--frames", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let frames = json_lines(&String::from_utf8(output.stdout).unwrap());
    let frames = frames.iter().filter(|line| line["kind"] == "data").count() as u64;
    eprintln!("{calls} syncs, {frames} frames");
    assert!(frames < FILES / 10, "{frames} frames");
    assert!((frames..PER_FRAME * frames + ONCE).contains(&calls), "{calls} syncs, {frames} frames");
}
