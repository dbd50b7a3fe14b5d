//! Standard error and the service manager's socket, while no process reads them.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{PATIENCE, Place, csv, json_lines, wait_until};

const QUICK: [&str; 4] = ["--stability-seconds", "0", "--scan-interval", "50ms"];

/// A daemon whose log is written to a file of the test's choice.
struct Mute {
    child: Child,
    textfile: PathBuf,
}

impl Mute {
    fn start(place: &Place, stderr: impl Into<Stdio>) -> Mute {
        let mut command = place.command();
        command.args(QUICK);
        Mute::start_by(place, command, stderr)
    }

    fn start_by(place: &Place, mut command: Command, stderr: impl Into<Stdio>) -> Mute {
        let textfile = place.root.path().join("it.prom");
        command.arg("--metrics-textfile").arg(&textfile).args(["--metrics-interval", "100ms"]);
        Mute { child: command.stdout(Stdio::null()).stderr(stderr).spawn().unwrap(), textfile }
    }

    fn dropped(&self) -> u64 {
        let text = std::fs::read_to_string(&self.textfile).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("csv_ingestor_log_lines_dropped_total"));
        line.map_or(0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
    }

    /// Checks that the first SIGTERM ends it soon.
    #[track_caller]
    fn stop(&mut self) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), Signal::TERM).unwrap();
        let began = Instant::now();
        wait_until("it ends", || self.child.try_wait().unwrap().is_some());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Stages many files whose lines in the log are long.
fn stage_many(place: &Place, count: u64) {
    for seed in 0..count {
        place.stage(format!("{seed:05}-{}.csv", "n".repeat(200)), csv(seed, 0));
    }
}

#[track_caller]
fn wait_ingested(place: &Place) {
    wait_until("all are ingested", || place.staged_names().is_empty());
}

/// The paths of the files that the log reports as ingested; each must occur once.
fn ingested(log: &[Value]) -> BTreeSet<&str> {
    let lines = log.iter().filter(|line| line["event"] == "file_ingested");
    let paths: Vec<&str> = lines.map(|line| line["path"].as_str().unwrap()).collect();
    let distinct: BTreeSet<&str> = paths.iter().copied().collect();
    assert_eq!(paths.len(), distinct.len(), "a line is repeated");
    distinct
}

/// Why: a log shipper that hangs, or Ctrl-S in a terminal, stopped the ingestion for ever, and SIGTERM, while the probes
/// succeeded. Lines that do not fit into the buffer are dropped and counted, and the log reports their number when it is
/// read again.
#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    const FILES: u64 = 9_000;
    let place = Place::new();
    stage_many(&place, FILES);
    let mut daemon = Mute::start(&place, Stdio::piped());
    wait_ingested(&place);
    wait_until("lines are dropped", || daemon.dropped() > 0);
    let mut reader = BufReader::new(daemon.child.stderr.take().unwrap());
    let mut log = Vec::new();
    let is_told = |log: &[String]| log.last().is_some_and(|line: &String| line.contains("log_lines_dropped"));
    while !is_told(&log) {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0);
        log.push(line);
    }
    let told: Value = serde_json::from_str(log.last().unwrap()).unwrap();
    assert_eq!(told["level"], "warn");
    let told = told["lines"].as_u64().unwrap();
    let rest = std::thread::spawn(move || {
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        rest
    });
    daemon.stop();
    let log = json_lines(&[log.concat(), rest.join().unwrap()].concat());
    assert_eq!(log.last().unwrap()["event"], "stopped");
    let ingested = ingested(&log).len() as u64;
    assert!(ingested > 1000 && ingested < FILES, "{ingested} of {FILES}");
    assert!(told >= FILES - ingested && told <= daemon.dropped(), "{told}, {ingested}, {}", daemon.dropped());
    assert_eq!(place.check_consistent() as u64, FILES);
}

/// Why: as above, if the log is never read again: the process must still end within the time that a service manager waits.
#[test]
fn it_ends_although_nobody_reads_its_log() {
    let place = Place::new();
    stage_many(&place, 1_000);
    let mut daemon = Mute::start(&place, Stdio::piped());
    wait_ingested(&place);
    place.stage("late.csv", csv(1_000_000, 10));
    wait_ingested(&place);
    daemon.stop();
    assert_eq!(place.check_consistent(), 1_001);
}

/// Why: a slow reader must get every line, in order, including those that are written just before the end.
#[test]
fn a_slow_reader_gets_every_line() {
    let place = Place::new();
    stage_many(&place, 1_000);
    let mut command = place.command();
    command.args(["--once", "--stability-seconds", "0"]);
    let mut daemon = Mute::start_by(&place, command, Stdio::piped());
    let mut stderr = daemon.child.stderr.take().unwrap();
    let (mut text, mut piece) = (Vec::new(), vec![0; 32 << 10]);
    loop {
        std::thread::sleep(Duration::from_millis(20));
        match stderr.read(&mut piece).unwrap() {
            0 => break,
            read => text.extend_from_slice(&piece[..read]),
        }
    }
    let log = json_lines(&String::from_utf8(text).unwrap());
    assert_eq!((ingested(&log).len(), daemon.dropped()), (1_000, 0));
    assert_eq!(log.last().unwrap()["event"], "stopped");
    assert_eq!(daemon.child.wait().unwrap().code(), Some(0));
}

/// Why: standard error may be shared, and another process may have made it non-blocking. A write that finds the pipe full is
/// tried again; and the program does not change that flag.
#[test]
fn a_pipe_that_does_not_block_is_waited_for() {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    for flags in [OFlags::empty(), OFlags::NONBLOCK] {
        let place = Place::new();
        stage_many(&place, 500);
        let (reader, writer) = std::io::pipe().unwrap();
        let writer = OwnedFd::from(writer);
        fcntl_setfl(&writer, flags).unwrap();
        let mut daemon = Mute::start(&place, writer.try_clone().unwrap());
        wait_ingested(&place);
        assert_eq!(fcntl_getfl(&writer).unwrap() & OFlags::NONBLOCK, flags);
        drop(writer);
        let mut reader = reader;
        let text = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        daemon.stop();
        let text = text.join().unwrap();
        let log = json_lines(&text);
        assert_eq!((ingested(&log).len(), daemon.dropped()), (500, 0), "{flags:?}");
    }
}

/// Why: a log that is closed, or on a full disk, only loses lines. They are counted.
#[test]
fn a_log_that_cannot_be_written_loses_lines_only() {
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let closed = || std::io::pipe().unwrap().1;
    for stderr in [Stdio::from(full()), Stdio::from(closed())] {
        let place = Place::new();
        (0..10).for_each(|seed| drop(place.stage(format!("{seed}.csv"), csv(seed, 100))));
        let mut daemon = Mute::start(&place, stderr);
        wait_ingested(&place);
        wait_until("lines are counted", || daemon.dropped() >= 10);
        daemon.stop();
        assert_eq!(place.check_consistent(), 10);
    }
}

/// Why: after the reader of a FIFO has closed it and opened it again, the log continues, and reports how many lines are
/// missing.
#[test]
fn a_reader_that_comes_back_hears_how_much_it_missed() {
    let place = Place::new();
    let path = place.root.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let open = |write: bool| std::fs::File::options().read(true).write(write).open(&path).unwrap();
    let both = open(true);
    let mut daemon = Mute::start(&place, std::fs::File::options().write(true).open(&path).unwrap());
    wait_until("it works", || daemon.textfile.exists());
    drop(both);
    place.stage("missed.csv", csv(1, 10));
    wait_ingested(&place);
    wait_until("lines are counted", || daemon.dropped() >= 1);
    // Non-blocking, since the state of its writer is unknown.
    let back = BufReader::new(open(true));
    place.stage("heard.csv", csv(2, 10));
    let told = back.lines().map(|line| line.unwrap()).find(|line| line.contains("log_lines_dropped")).unwrap();
    assert!(serde_json::from_str::<Value>(&told).unwrap()["lines"].as_u64().unwrap() >= 1, "{told}");
    daemon.stop();
}

/// Why: a service manager that hangs does not read its socket. Once the socket's queue was full, a message to it waited for
/// ever: the ingestion did not begin, and SIGTERM did not end the process.
#[test]
fn a_service_manager_that_hangs_holds_nobody_up() {
    let place = Place::new();
    let path = place.root.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let other = UnixDatagram::unbound().unwrap();
    other.set_nonblocking(true).unwrap();
    while other.send_to(b"X=1\n", &path).is_ok() {}
    place.stage("a.csv", csv(1, 100));
    let mut command = place.command();
    command.args(QUICK).env("NOTIFY_SOCKET", &path);
    let mut daemon = Mute::start_by(&place, command, Stdio::null());
    wait_ingested(&place);
    daemon.stop();
    drop(manager);
    assert_eq!(place.check_consistent(), 1);
}
