//! The ingestor, as users run it: with a log in a file on the same disk.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::lines::Lines;
use crate::place::Place;
use crate::process::{Ended, Process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_csv-ingestor");

/// A part of the log line of a finished start.
pub const STARTED: &str = r#""event":"started""#;

/// The interval at which a log is read.
const LOG_PAUSE: Duration = Duration::from_millis(20);
/// A log line that has not come after this time will not come at all.
const PATIENCE: Duration = Duration::from_secs(600);

/// `USER_HZ`, the unit of times in proc(5): the same on all systems that this runs on.
const TICKS_A_SECOND: f64 = 100.0;
/// Fields of /proc/PID/stat, counted from 0 after the name: `utime` and `stime`.
const STAT_TIMES: [usize; 2] = [11, 12];

/// The command with the options that all uses have in common. The log is not redirected yet.
pub fn command(place: &Place) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("--input").arg(&place.staging).arg("--warehouse").arg(place.warehouse());
    command.arg("--manifests").arg(place.manifests()).arg("--state-path").arg(place.state());
    command.args(["--log-level", "info"]).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Ingests the files that are complete at first sight, and ends.
pub fn once(place: &Place) -> Command {
    let mut command = command(place);
    command.args(["--once", "--stability-seconds", "0"]).stderr(File::create(place.log()).unwrap());
    command
}

/// Runs a command to its end, and fails unless the exit code is 0.
pub fn run(command: &mut Command, place: &Place) -> Ended {
    let ended = Process::start(command).unwrap().wait();
    assert_eq!(ended.code, Some(0), "{command:?}: {}", last_words(place));
    ended
}

/// The last line of the log: the log itself is removed after a failure.
fn last_words(place: &Place) -> String {
    let log = fs::read_to_string(place.log()).unwrap_or_default();
    log.lines().next_back().unwrap_or("nothing in the log").to_owned()
}

/// A running ingestor.
pub struct Daemon {
    process: Process,
    log: PathBuf,
}

impl Daemon {
    /// Starts it with additional options, and waits until it is ready.
    pub fn start(place: &Place, options: &[&str]) -> Daemon {
        Daemon::spawn(command(place).args(options), place)
    }

    /// Starts it by this command, and waits until it is ready.
    pub fn spawn(command: &mut Command, place: &Place) -> Daemon {
        let log = File::create(place.log()).unwrap();
        let process = Process::start(command.stderr(log)).unwrap();
        let daemon = Daemon { process, log: place.log() };
        daemon.await_lines(1, STARTED);
        daemon
    }

    /// True if the log has a line with this text.
    pub fn has_logged(&self, text: &str) -> bool {
        fs::read_to_string(&self.log).unwrap().contains(text)
    }

    /// The largest amount of memory that it has had.
    pub fn peak_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        line.unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Waits until the whole log contains this many lines with this text.
    pub fn await_lines(&self, count: u64, text: &str) {
        let mut log = Lines::open(&self.log).unwrap();
        let (begun, mut found) = (Instant::now(), 0);
        while found < count {
            assert!(begun.elapsed() < PATIENCE, "{found} of {count} log lines with {text}");
            thread::sleep(LOG_PAUSE);
            log.for_each(|line| found += u64::from(line.contains(text)));
        }
    }

    /// The processor time that it has used.
    pub fn processor_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let fields: Vec<&str> = fields.split(' ').collect();
        STAT_TIMES.map(|field| fields[field].parse::<f64>().unwrap()).iter().sum::<f64>() / TICKS_A_SECOND
    }

    /// Bytes that it has read, from the disk or from memory.
    pub fn read_bytes(&self) -> u64 {
        let io = fs::read_to_string(format!("/proc/{}/io", self.process.id())).unwrap();
        io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
    }

    /// Ends it, and fails unless the exit code is 0.
    pub fn stop(self, place: &Place) {
        assert_eq!(self.process.stop().code, Some(0), "{}", last_words(place));
    }
}
