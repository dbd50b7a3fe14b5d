//! The messages to a service manager, received on a real socket; `scripts/check_service` tests the same with a real systemd.

use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{BINARY, Daemon, PATIENCE, Place, csv, has, skip, wait_until};

const QUICK: [&str; 4] = ["--stability-seconds", "0", "--scan-interval", "50ms"];
/// The watchdog's limit in these tests, well above the time that a thread may have to wait on a busy machine.
const LIMIT: Duration = Duration::from_secs(4);

/// The service manager's end.
struct Manager {
    socket: UnixDatagram,
    /// Every line received so far.
    heard: Vec<String>,
}

impl Manager {
    /// Listens, and makes the command send its messages here.
    fn listen(place: &Place, command: &mut Command) -> Manager {
        let path = place.root.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        command.env("NOTIFY_SOCKET", path).env_remove("WATCHDOG_USEC").env_remove("WATCHDOG_PID");
        Manager { socket, heard: Vec::new() }
    }

    /// Starts the daemon; with a watchdog if there is a `limit`.
    fn start(place: &Place, limit: Option<Duration>) -> (Manager, Daemon) {
        let mut command = place.command();
        command.args(QUICK);
        let mut manager = Manager::listen(place, &mut command);
        if let Some(limit) = limit {
            command.env("WATCHDOG_USEC", limit.as_micros().to_string());
        }
        let daemon = place.spawn(command);
        assert!(manager.hears("READY=1", PATIENCE));
        (manager, daemon)
    }

    /// The next message's lines; `None` if no message arrives before `until`.
    fn next(&mut self, until: Instant) -> Option<Vec<String>> {
        let wait = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(wait)).unwrap();
        let mut buffer = [0; 4096];
        let bytes = self.socket.recv(&mut buffer).ok()?;
        let text = String::from_utf8(buffer[..bytes].to_vec()).unwrap();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        self.heard.extend(lines.iter().cloned());
        Some(lines)
    }

    /// True as soon as a line with this beginning arrives.
    fn hears(&mut self, line: &str, within: Duration) -> bool {
        let until = Instant::now() + within;
        while Instant::now() < until {
            if self.next(until).is_some_and(|lines| lines.iter().any(|each| each.starts_with(line))) {
                return true;
            }
        }
        false
    }

    /// Reads the messages that have arrived.
    fn drain(&mut self) {
        while self.next(Instant::now()).is_some() {}
    }
}

/// strace on one thread of a running process, which is released when this is dropped.
struct Held(Child);

impl Held {
    /// Skips and returns `None` where nothing can be traced.
    fn hold(daemon: &Daemon, thread: &str, call: &str, how: &str) -> Option<Held> {
        if !has("strace") {
            return None;
        }
        let tid = thread_id(daemon, thread);
        let inject = format!("inject={call}:{how}");
        let mut command = Command::new("strace");
        command.args(["-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject, "-p", &tid]);
        let mut held = Held(command.stderr(Stdio::null()).spawn().unwrap());
        let status = format!("/proc/{}/task/{tid}/status", daemon.child.id());
        let is_traced = || {
            let status = std::fs::read_to_string(&status).unwrap();
            status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
        };
        wait_until("strace to attach", || is_traced() || held.0.try_wait().unwrap().is_some());
        if is_traced() {
            return Some(held);
        }
        skip("strace cannot attach here");
        None
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A thread's id. The intake runs on the main thread.
fn thread_id(daemon: &Daemon, thread: &str) -> String {
    let pid = daemon.child.id();
    if thread == "intake" {
        return pid.to_string();
    }
    let is_it = |tid: &String| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/comm")).unwrap_or_default();
        name.trim_end() == thread
    };
    wait_until("the thread", || threads(pid).iter().any(is_it));
    threads(pid).into_iter().find(is_it).unwrap()
}

fn threads(pid: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.map(|task| task.unwrap().file_name().into_string().unwrap()).collect()
}

/// Why: a unit that is ordered after this service must find every half-done file finished. The first syncs take two seconds
/// each, so the recovery takes as long: READY must wait for it.
#[test]
fn it_is_ready_only_when_recovery_is_done() {
    if !has("strace") {
        return;
    }
    let place = Place::new();
    let mut command = place.command();
    command.args(QUICK);
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync"]);
    strace.args(["-e", "inject=fsync,fdatasync:delay_exit=2000000:when=1..2"]);
    strace.arg(command.get_program()).args(command.get_args());
    let mut manager = Manager::listen(&place, &mut strace);
    let daemon = place.spawn(strace);
    assert!(manager.hears("STATUS=recovering", PATIENCE));
    wait_until("the journal to be open", || place.state.join("LOCK").exists());
    assert!(!manager.hears("READY=1", Duration::from_secs(1)), "{:?}", manager.heard);
    assert!(manager.hears("READY=1", PATIENCE));
    daemon.wait_started();
    let log = daemon.log();
    let at = |event: &str| log.iter().position(|line| line["event"] == event).unwrap();
    assert!(at("recovery_finished") < at("started"));
    assert!(daemon.stop().success());
}

/// Why: `systemctl status` is the first thing that an operator looks at.
#[test]
fn the_status_line_tells_how_it_goes_and_stopping_is_told() {
    let place = Place::new();
    let (mut manager, daemon) = Manager::start(&place, None);
    place.stage("a.csv", "a\n1\n");
    place.stage("b.csv", "a\n1\n");
    daemon.wait_for("duplicate_skipped", 1);
    assert!(manager.hears("STATUS=ingested 1 (4 B), waiting 0, duplicates 1, failures 0", PATIENCE));
    assert!(!manager.heard.contains(&"WATCHDOG=1".to_owned()), "it was not requested");
    assert!(daemon.stop().success());
    manager.drain();
    let last = &manager.heard[manager.heard.len() - 2..];
    assert_eq!(last, ["STOPPING=1", "STATUS=stopping: finishing what is under way"]);
}

/// Why: at three in the morning the status line of a dead service should say why it ended. And a directory's name must not
/// add a line of its own: that could make the manager believe anything.
#[test]
fn a_failure_is_the_last_status_and_no_name_adds_a_line() {
    let mut place = Place::new();
    place.staging = place.root.path().join("in\nREADY=0\nMAINPID=1");
    std::fs::create_dir(&place.staging).unwrap();
    let (mut manager, mut daemon) = Manager::start(&place, None);
    std::fs::remove_dir(&place.staging).unwrap();
    assert_eq!(daemon.child.wait().unwrap().code(), Some(1));
    manager.drain();
    let last = manager.heard.last().unwrap();
    assert!(last.starts_with("STATUS=\"failed: --input ") && last.contains("was removed or replaced"), "{last}");
    let known = ["STATUS=", "READY=1", "STOPPING=1"];
    assert!(manager.heard.iter().all(|line| known.iter().any(|it| line.starts_with(it))), "{:?}", manager.heard);
}

/// Why: an ingestor that was started from a shell needs no additional thread.
#[test]
fn without_a_manager_nothing_is_begun() {
    let place = Place::new();
    let mut command = place.command();
    command.args(QUICK).env_remove("NOTIFY_SOCKET").env("WATCHDOG_USEC", "1000000");
    let daemon = place.spawn(command);
    daemon.wait_started();
    place.stage("a.csv", csv(1, 100));
    daemon.wait_for("file_ingested", 1);
    let pid = daemon.child.id();
    let names = threads(pid).into_iter().map(|tid| std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/comm")));
    let names: Vec<String> = names.flatten().collect();
    assert!(names.iter().any(|name| name == "commit\n") && !names.iter().any(|name| name == "service\n"), "{names:?}");
    assert!(daemon.stop().success());
}

/// Why: a manager that receives nothing kills the service, so an idle ingestor must send messages; a stopped one must not.
#[test]
fn it_gives_signs_of_life_while_it_is_idle_and_none_while_it_is_stopped() {
    let place = Place::new();
    let (mut manager, daemon) = Manager::start(&place, Some(LIMIT));
    for _ in 0..3 {
        assert!(manager.hears("WATCHDOG=1", LIMIT));
    }
    daemon.signal(Signal::STOP);
    let stat = format!("/proc/{}/stat", daemon.child.id());
    wait_until("it is stopped", || std::fs::read_to_string(&stat).unwrap().contains(") T "));
    manager.drain();
    assert!(!manager.hears("WATCHDOG=1", LIMIT));
    daemon.signal(Signal::CONT);
    assert!(manager.hears("WATCHDOG=1", PATIENCE));
    assert!(daemon.stop().success());
}

/// Why: a thread that reports only its own life would keep a hung ingestor running for ever.
#[test]
fn one_stuck_thread_is_enough_for_silence() {
    let is_missed = |thread| {
        let place = Place::new();
        let (mut manager, daemon) = Manager::start(&place, Some(LIMIT));
        // It never returns from waiting for the others.
        let Some(held) = Held::hold(&daemon, thread, "futex", "delay_exit=3600s") else { return };
        let withheld = daemon.wait_for("watchdog_withheld", 1);
        assert_eq!(withheld[0]["threads"], thread);
        manager.drain();
        assert!(!manager.hears("WATCHDOG=1", LIMIT), "{thread} is stuck");
        drop(held);
        daemon.kill();
    };
    std::thread::scope(|scope| {
        for thread in ["intake", "commit", "hash-0"] {
            scope.spawn(move || is_missed(thread));
        }
    });
}

/// Why: a slow disk is not a hang. A restart would not make it faster, and the next process would be killed just the same.
#[test]
fn a_slow_disk_is_no_reason_for_silence() {
    let place = Place::new();
    let (mut manager, daemon) = Manager::start(&place, Some(LIMIT));
    let Some(held) = Held::hold(&daemon, "commit", "fdatasync", "delay_enter=3600s") else { return };
    place.stage("a.csv", csv(1, 100));
    let stat = format!("/proc/{}/task/{}/stat", daemon.child.id(), thread_id(&daemon, "commit"));
    wait_until("the sync hangs", || std::fs::read_to_string(&stat).unwrap().contains("(commit) t "));
    manager.drain();
    let until = Instant::now() + 2 * LIMIT;
    while Instant::now() < until {
        assert!(manager.hears("WATCHDOG=1", LIMIT), "{:?}", manager.heard);
    }
    assert_eq!(daemon.events("file_ingested").len(), 0, "it still hangs");
    drop(held);
    daemon.kill();
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 1);
}

/// Why: hashing a file of many gigabytes takes longer than any watchdog waits.
#[test]
fn a_large_file_is_no_reason_for_silence() {
    let place = Place::new();
    let limit = Duration::from_millis(1500);
    let (mut manager, daemon) = Manager::start(&place, Some(limit));
    place.stage_large("large.csv", 1, 1 << 30);
    let began = Instant::now();
    while daemon.events("file_ingested").is_empty() {
        assert!(began.elapsed() < PATIENCE);
        assert!(manager.hears("WATCHDOG=1", limit), "after {:?}", began.elapsed());
    }
    eprintln!("hashed for {:?}", began.elapsed());
    assert!(daemon.stop().success());
}

/// Why: `--once` and the other commands run as services, too, and a command that ends has not failed.
#[test]
fn once_is_ready_and_then_done() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    let mut command = place.command();
    command.args(["--once", "--stability-seconds", "0"]);
    let mut manager = Manager::listen(&place, &mut command);
    assert!(command.output().unwrap().status.success());
    manager.drain();
    let told: Vec<_> = manager.heard.iter().filter(|line| !line.starts_with("STATUS=")).collect();
    assert_eq!(told, ["READY=1", "STOPPING=1"]);
    let mut replay = Command::new(BINARY);
    replay.args(["replay", "--state-path"]).arg(&place.state).env("NOTIFY_SOCKET", place.root.path().join("notify"));
    assert!(replay.output().unwrap().status.success());
    assert!(manager.next(Instant::now()).is_none(), "replay is not a service");
}
