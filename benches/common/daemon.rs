//! The program that is measured, as a process with its log in a file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::lines::Lines;
use crate::process::{Ended, Process};

/// The program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_csv-ingestor");

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

/// Runs a command that writes this log to its end, and fails unless the exit code is 0.
pub fn run(command: &mut Command, log: &Path) -> Ended {
    let ended = Process::start(command).unwrap().wait();
    assert_eq!(ended.code, Some(0), "{command:?}: {}", last_words(log));
    ended
}

/// The last line of the log: the log itself is removed after a failure.
fn last_words(log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    log.lines().next_back().unwrap_or("nothing in the log").to_owned()
}

/// A running ingestor.
pub struct Daemon {
    process: Process,
    log: PathBuf,
}

impl Daemon {
    /// Starts it by this command with a log, and waits until it is ready.
    pub fn spawn(command: &mut Command, log: &Path) -> Daemon {
        let process = Process::start(command.stderr(File::create(log).unwrap())).unwrap();
        let daemon = Daemon { process, log: log.to_owned() };
        daemon.await_lines(1, STARTED);
        daemon
    }

    /// True if the log has a line with this text.
    pub fn has_logged(&self, text: &str) -> bool {
        fs::read_to_string(&self.log).unwrap().contains(text)
    }

    /// The memory that it has now, and the most that it has had.
    pub fn memory_bytes(&self) -> [u64; 2] {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        ["VmRSS:", "VmHWM:"].map(|field| {
            let line = status.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB"));
            line.unwrap().parse::<u64>().unwrap() * 1024
        })
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
    pub fn stop(self) {
        assert_eq!(self.process.stop().code, Some(0), "{}", last_words(&self.log));
    }
}
