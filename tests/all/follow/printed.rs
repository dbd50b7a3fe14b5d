//! Lines on standard output.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use csv_ingestor::follow::print::{Printing, print};
use csv_ingestor::follow::{Error, Stream};
use rustix::process::{Pid, Signal, kill_process};

use super::memory::MemorySource;
use super::{OwnManifests, cursor, line, numbers};
use crate::harness::{PATIENCE, err, out, wait_until};

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn printing() -> Printing {
    Printing { lines: 3, once: true, stop: Arc::new(AtomicBool::new(false)) }
}

#[test]
fn lines_come_as_they_are_with_their_cursors() {
    let manifests = OwnManifests::with(3);
    let output = manifests.run(&["--once"]);
    let with = |number: u64| {
        format!("{},\"cursor\":\"{}\"}}\n", line(number).trim_end().strip_suffix('}').unwrap(), cursor(number))
    };
    assert_eq!(out(&output), (1..=3).map(with).collect::<String>());
    assert!(err(&output).is_empty() && output.status.success());
    assert_eq!(numbers(&manifests.ok(&["--once", "--from", &cursor(2), "--format", "json"])), [3]);
    assert_eq!(numbers(&manifests.ok(&["--once", "--from", "beginning", "--batch", "1"])), [1, 2, 3]);
    assert!(manifests.ok(&["--once", "--from", "now"]).is_empty());
}

#[test]
fn a_consumer_goes_on_after_its_position_and_goes_back() {
    let manifests = OwnManifests::with(4);
    let seen = |words: &[&str]| numbers(&manifests.ok(&[&["--once", "--consumer", "a"], words].concat()));
    assert_eq!(seen(&[]), [1, 2, 3, 4]);
    assert_eq!(seen(&[]), [1, 2, 3, 4], "nothing was acknowledged");
    assert_eq!(manifests.cursor("a").as_deref(), Some("beginning"));
    manifests.ok(&["--consumer", "a", "--ack", &cursor(3)]);
    assert_eq!(seen(&[]), [4]);
    assert_eq!(seen(&["--from", &cursor(1)]), [2, 3, 4]);
    assert_eq!(seen(&[]), [2, 3, 4], "the position is set");
    assert_eq!(seen(&["--from", "now"]), Vec::<u64>::new());
    assert_eq!(manifests.cursor("a"), Some(cursor(4)));
    assert_eq!(seen(&["--from", "beginning"]), [1, 2, 3, 4]);
    assert_eq!(manifests.cursor("a").as_deref(), Some("beginning"));
}

#[test]
fn new_lines_come_while_it_waits_and_a_signal_ends_it() {
    for end in [Signal::TERM, Signal::INT] {
        let manifests = OwnManifests::with(1);
        let mut child = manifests.command(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for number in 1..=3 {
            let text = lines.next().unwrap().unwrap();
            assert_eq!(numbers(&super::json_lines(&text)), [number]);
            manifests.append([number + 1]);
        }
        signal(&child, end);
        assert!(lines.all(|line| line.is_ok()));
        assert_eq!(child.wait().unwrap().code(), Some(0));
        let mut errors = String::new();
        child.stderr.unwrap().read_to_string(&mut errors).unwrap();
        assert_eq!(errors, "");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let manifests = OwnManifests::with(3000);
    let mut child = manifests.command(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), err(&output)), (Some(0), String::new()));
}

/// A pipe that nobody reads holds a process in a write.
#[test]
fn a_reader_that_takes_nothing_does_not_keep_it() {
    let manifests = OwnManifests::with(3000);
    let child = manifests.command(&[]).stdout(Stdio::piped()).spawn().unwrap();
    let stdout = child.stdout.as_ref().unwrap();
    // 64 KiB, unless the system limits the user's pipes.
    wait_until("a full pipe", || {
        let before = rustix::io::ioctl_fionread(stdout).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(100));
        before > 0 && rustix::io::ioctl_fionread(stdout).unwrap() == before
    });
    let began = std::time::Instant::now();
    signal(&child, Signal::TERM);
    let mut child = child;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(began.elapsed() < PATIENCE, "it hangs");
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert_eq!((status.code(), status.signal()), (Some(0), None));
}

/// What was read before an error is printed, and nothing in part.
#[test]
fn an_error_comes_after_whole_lines() {
    let mut source = MemorySource::with_lines(Stream::of_journal([1; 16]), 1, 7);
    source.fails_at_end = Some(Error::Consumer("gone".to_owned()));
    let mut printed = Vec::new();
    let error = print(&mut source, &mut printed, &printing()).unwrap_err();
    assert_eq!(error.to_string(), "gone");
    assert_eq!(super::json_lines(&String::from_utf8(printed).unwrap()).len(), 7);
}

#[test]
fn wrong_use_is_refused() {
    let manifests = OwnManifests::with(1);
    for (words, why) in [
        (&["--from", "somewhere"][..], "STREAM:NUMBER"),
        (&["--consumer", "../a"], "consumer's name"),
        (&["--batch", "0"], "expected a number"),
        (&["--format", "csv"], "json"),
        (&["--ack", &cursor(1)], "--consumer"),
        (&["--consumer", "a", "--ack", "1"], "STREAM:NUMBER"),
        (&["--consumer", "a", "--ack", &cursor(1), "--from", "now"], "cannot be used with"),
        (&["--exec", "--", "true"], "--consumer"),
        (&["--consumer", "a", "--exec"], "<COMMAND>"),
        (&["--consumer", "a", "--", "true"], "--exec"),
        (&["--consumer", "a", "--exec", "--webhook", "https://localhost", "--", "true"], "cannot be used with"),
        (&["--consumer", "a", "--exec", "--max-attempts", "1", "--", "true"], "--dead-letter"),
        (&["--consumer", "a", "--max-attempts", "1", "--dead-letter", "/x"], "need --exec or --webhook"),
        (&["--positions", "/no/such/directory/x", "--consumer", "a"], "/no/such/directory"),
    ] {
        let output = manifests.run(words);
        assert!(!output.status.success() && err(&output).contains(why), "{words:?}: {}", err(&output));
    }
    let lake = std::process::Command::new(crate::harness::BINARY).args(["follow", "--manifests", "s3://b/m"]).output();
    let lake = lake.unwrap();
    assert!(lake.status.code() == Some(2) && err(&lake).contains("is a lake"), "{}", err(&lake));
}
