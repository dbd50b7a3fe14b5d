//! Signals from other processes, and limits that the process was started with.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use rustix::process::Signal;

use crate::harness::{Daemon, Place, csv, err, json_lines, wait_until};

const QUICK: [&str; 4] = ["--stability-seconds", "0", "--scan-interval", "50ms"];

/// The place's command in a shell, after the command `first`.
fn behind(place: &Place, first: &str, more: &[&str]) -> Command {
    let mut plain = place.command();
    plain.args(more);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{first}; exec \"$@\""), "sh"]).arg(plain.get_program()).args(plain.get_args());
    plain.get_envs().filter(|(_, value)| value.is_none()).for_each(|(name, _)| {
        command.env_remove(name);
    });
    command
}

#[track_caller]
fn goes_on(place: &Place, daemon: &Daemon, seed: u64) {
    let before = daemon.events("file_ingested").len();
    place.stage(format!("{seed}.csv"), csv(seed, 100));
    daemon.wait_for("file_ingested", before + 1);
}

/// Why: logrotate, a closing terminal and `systemctl kill` send SIGHUP. It ended the process without a message, and systemd
/// counts that as a clean end and does not restart it.
#[test]
fn sighup_ends_it_in_order() {
    for count in [1, 2] {
        let place = Place::new();
        let mut daemon = place.start(&QUICK);
        daemon.wait_started();
        goes_on(&place, &daemon, 1);
        // When a terminal is closed, both the kernel and the shell send it.
        (0..count).for_each(|_| daemon.signal(Signal::HUP));
        assert_eq!(daemon.child.wait().unwrap().code(), Some(0), "{count}");
        assert_eq!(daemon.events("stopped").len(), 1);
        assert_eq!(place.check_consistent(), 1);
    }
}

/// Why: with `nohup` the process must outlive the terminal; a handler would prevent that.
#[test]
fn a_sighup_that_was_ignored_stays_ignored() {
    let place = Place::new();
    let mut daemon = place.spawn(behind(&place, "trap '' HUP", &QUICK));
    daemon.wait_started();
    daemon.signal(Signal::HUP);
    goes_on(&place, &daemon, 1);
    assert!(daemon.child.try_wait().unwrap().is_none());
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.child.wait().unwrap().code(), Some(0));
}

/// Why: by default these signals end a process, but senders do not intend that: other programs reopen their logs at SIGUSR1.
#[test]
fn signals_that_ask_for_nothing_are_survived() {
    let place = Place::new();
    let daemon = place.start(&QUICK);
    daemon.wait_started();
    for (seed, signal) in (1..).zip([Signal::USR1, Signal::USR2, Signal::IO, Signal::XFSZ, Signal::PIPE]) {
        daemon.signal(signal);
        goes_on(&place, &daemon, seed);
    }
    assert!(daemon.stop().success());
}

/// Why: with a limit on the size of files (`ulimit -f`, `LimitFSIZE=`) SIGXFSZ killed it without a message. The error names
/// the file, and unfinished files are recovered as after every other error.
#[test]
fn a_limit_on_the_size_of_files_is_an_error_that_is_told() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    let output = behind(&place, "ulimit -f 8", &["--once", "--stability-seconds", "0"]).output().unwrap();
    assert_eq!((output.status.code(), output.status.signal()), (Some(1), None), "{}", err(&output));
    let failed = json_lines(&err(&output)).pop().unwrap();
    assert_eq!(failed["event"], "failed");
    assert!(failed["error"].as_str().unwrap().contains("File too large"), "{failed}");
    // All other commands that write to the journal.
    place.once_ok(&[]);
    for words in [&["replay"][..], &["journal", "compact"], &["forget", &crate::harness::sha256_hex(&csv(1, 100))]] {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -f 8; exec \"$@\"", "sh", crate::harness::BINARY]).args(words);
        let output = command.arg("--state-path").arg(&place.state).output().unwrap();
        assert_eq!((output.status.code(), output.status.signal()), (Some(1), None), "{words:?}: {}", err(&output));
        assert!(err(&output).contains("File too large"), "{words:?}: {}", err(&output));
    }
    place.stage("b.csv", csv(2, 100));
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 2);
}

/// Why: a log that has reached the limit is no reason to stop or to crash.
#[test]
fn a_limit_on_the_size_of_the_log_stops_nothing() {
    let place = Place::new();
    let log = place.root.path().join("full.log");
    let file = std::fs::File::options().create(true).append(true).open(&log).unwrap();
    file.set_len(1 << 40).unwrap();
    place.stage("a.csv", csv(1, 100));
    let mut command = behind(&place, "ulimit -f 2147483648", &QUICK);
    let mut child = command.stderr(file).spawn().unwrap();
    wait_until("it is ingested", || place.staged_names().is_empty());
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(place.check_consistent(), 1);
}
