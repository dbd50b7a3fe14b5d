//! Deliveries to commands, with the real program.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};

use super::{OwnManifests, cursor, events, json_lines, numbers, output_in_time, text};
use crate::harness::{err, wait_until};

/// `follow --exec` for the consumer `a`, with a script as the command. `$OUT` in it is a file that the test reads.
struct Delivery {
    manifests: OwnManifests,
    script: PathBuf,
    out: PathBuf,
}

impl Delivery {
    fn new(lines: u64, script: &str) -> Delivery {
        let manifests = OwnManifests::with(lines);
        let (path, out) = (manifests.path("deliver"), manifests.path("out"));
        std::fs::write(&path, format!("#!/bin/sh\nOUT={}\n{script}\n", out.display())).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        Delivery { manifests, script: path, out }
    }

    fn words<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let script = self.script.to_str().unwrap();
        [&["--consumer", "a", "--exec"], more, &["--", script, "one word", "$2;x"]].concat()
    }

    fn run(&self, more: &[&str]) -> Output {
        output_in_time(&mut self.manifests.command(&self.words(&[&["--once"], more].concat())))
    }

    fn spawn(&self, more: &[&str]) -> Child {
        let log = std::fs::File::create(self.manifests.path("log")).unwrap();
        self.manifests.command(&self.words(more)).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    fn log(&self) -> String {
        text(&self.manifests.path("log"))
    }

    /// The number of the last acknowledged line.
    fn acknowledged(&self) -> Option<String> {
        self.manifests.cursor("a")
    }
}

/// The process with the id in the file is gone: reaped by whoever is its parent.
fn is_gone(file: &std::path::Path) -> bool {
    let pid = text(file).trim().parse().ok().and_then(Pid::from_raw).expect("a pid");
    let is_zombie = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
    };
    test_kill_process(pid).is_err() || is_zombie()
}

#[test]
fn a_command_gets_lines_words_and_environment() {
    let delivery = Delivery::new(
        5,
        "cat >>$OUT; echo \"$1|$2|$CSV_INGESTOR_CONSUMER|$CSV_INGESTOR_CURSOR|$CSV_INGESTOR_ATTEMPT|$CSV_INGESTOR_LINES\" >>$OUT.env; echo said",
    );
    let output = delivery.run(&["--batch", "2"]);
    assert!(output.status.success(), "{}", err(&output));
    let lines = json_lines(&text(&delivery.out));
    assert_eq!(numbers(&lines), [1, 2, 3, 4, 5]);
    assert_eq!(lines[2]["cursor"], cursor(3));
    let environment = text(&delivery.manifests.path("out.env"));
    let expected = |last: u64, count: u64| format!("one word|$2;x|a|{}|1|{count}\n", cursor(last));
    assert_eq!(environment, expected(2, 2) + &expected(4, 2) + &expected(5, 1), "the words are not a shell's");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "said\nsaid\nsaid\n");
    assert_eq!(delivery.acknowledged(), Some(cursor(5)));
    let delivered = events(&err(&output), "lines_delivered");
    assert_eq!(delivered.len(), 3);
    assert!(delivered[1]["lines"] == 2 && delivered[1]["consumer"] == "a" && delivered[1]["to"] == "exec");
    assert_eq!(delivered[1]["cursor"], cursor(4));
    assert_eq!(events(&err(&output), "follow_started").len() + events(&err(&output), "follow_stopped").len(), 2);
    assert_eq!(delivery.run(&[]).status.code(), Some(0));
    assert_eq!(json_lines(&text(&delivery.out)).len(), 5, "what is acknowledged does not come again");
}

#[test]
fn a_command_that_fails_gets_the_same_lines_again() {
    let delivery = Delivery::new(3, "cat >>$OUT; test $CSV_INGESTOR_ATTEMPT -ge 2 || exit 3");
    let output = delivery.run(&[]);
    assert!(output.status.success(), "{}", err(&output));
    assert_eq!(numbers(&json_lines(&text(&delivery.out))), [1, 2, 3, 1, 2, 3]);
    let failed = events(&err(&output), "delivery_failed");
    assert_eq!((failed.len(), &failed[0]["error"]), (1, &"the command ended with exit code 3".into()));
    assert!(failed[0]["retry_in"].is_string() && failed[0]["attempt"] == 1);
    let missing = OwnManifests::with(1);
    let letters = missing.path("dead");
    let words =
        ["--consumer", "a", "--exec", "--once", "--max-attempts", "1", "--dead-letter", letters.to_str().unwrap()];
    let output = missing.run(&[&words[..], &["--", "/no/such/program"]].concat());
    assert!(output.status.success(), "{}", err(&output));
    assert!(err(&output).contains("the command cannot be started"), "{}", err(&output));
    assert_eq!(events(&err(&output), "lines_dead").len(), 1);
    let letter = json_lines(&text(&letters)).remove(0);
    assert!(letter["line"]["seq"] == 1 && letter["attempts"] == 1 && letter["consumer"] == "a", "{letter}");
    assert_eq!(missing.cursor("a"), Some(cursor(1)));
}

/// More than a pipe holds. The exit code decides, not the pipe.
#[test]
fn a_command_that_does_not_read_is_no_failure() {
    for (script, code) in [("exit 0", 0), ("exec <&-; sleep 0.1; exit 0", 0), ("head -n 1 >/dev/null; exit 0", 0)] {
        let delivery = Delivery::new(2000, script);
        let letters = delivery.manifests.path("dead");
        let limit = ["--max-attempts", "1", "--dead-letter", letters.to_str().unwrap()];
        let output = delivery.run(&[&["--batch", "2000"][..], &limit].concat());
        assert_eq!(output.status.code(), Some(code), "{script}: {}", err(&output));
        assert!(events(&err(&output), "delivery_failed").is_empty(), "{script}: {}", err(&output));
        assert_eq!(delivery.acknowledged(), Some(cursor(2000)));
    }
}

#[test]
fn a_large_batch_arrives_whole() {
    let delivery = Delivery::new(3000, "sleep 0.1; cat >$OUT");
    assert!(delivery.run(&["--batch", "3000"]).status.success());
    assert_eq!(numbers(&json_lines(&text(&delivery.out))), (1..=3000).collect::<Vec<_>>());
}

/// A command that takes too long is ended with all that it has started.
#[test]
fn a_timeout_ends_the_whole_group() {
    // The grandchild ignores SIGTERM, and so does the second command.
    let grandchild = "(trap '' TERM; exec sleep 300 >/dev/null 2>&1) & echo $! >$OUT.pid; cat >/dev/null; sleep 300";
    let delivery = Delivery::new(1, grandchild);
    let letters = delivery.manifests.path("dead");
    let more = ["--timeout", "500ms", "--max-attempts", "1", "--dead-letter", letters.to_str().unwrap()];
    let began = Instant::now();
    let output = delivery.run(&more);
    assert!(output.status.success(), "{}", err(&output));
    let failed = events(&err(&output), "delivery_failed");
    assert_eq!(failed[0]["error"], "the command took longer than 500ms");
    assert!(began.elapsed() < Duration::from_secs(8), "SIGTERM was not enough: {:?}", began.elapsed());
    wait_until("the end of the grandchild", || is_gone(&delivery.manifests.path("out.pid")));
    assert_eq!(delivery.acknowledged(), Some(cursor(1)));
}

#[test]
fn a_command_that_ignores_sigterm_is_killed() {
    let delivery = Delivery::new(1, "trap '' TERM; echo $$ >$OUT.pid; while :; do sleep 1; done");
    let letters = delivery.manifests.path("dead");
    let more = ["--timeout", "200ms", "--max-attempts", "1", "--dead-letter", letters.to_str().unwrap()];
    let began = Instant::now();
    let output = delivery.run(&more);
    assert!(output.status.success(), "{}", err(&output));
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(10) && took < Duration::from_secs(30), "{took:?}");
    assert!(is_gone(&delivery.manifests.path("out.pid")));
}

fn stop(child: &mut Child) -> Option<i32> {
    kill_process(Pid::from_child(child), Signal::TERM).unwrap();
    child.wait().unwrap().code()
}

/// SIGTERM of this process: the command gets it too, and its exit code still counts.
#[test]
fn a_stop_waits_for_the_command_and_believes_its_exit_code() {
    for (on_term, is_acknowledged) in [("exit 0", true), ("exit 1", false)] {
        let script = format!(
            "trap 'echo ended >>$OUT; {on_term}' TERM; cat >/dev/null; echo begun >>$OUT; while :; do sleep 0.1; done"
        );
        let delivery = Delivery::new(1, &script);
        let mut child = delivery.spawn(&[]);
        wait_until("the command", || text(&delivery.out).contains("begun"));
        assert_eq!(stop(&mut child), Some(0), "{}", delivery.log());
        assert_eq!(text(&delivery.out), "begun\nended\n");
        let expected = if is_acknowledged { cursor(1) } else { "beginning".to_owned() };
        assert_eq!(delivery.acknowledged(), Some(expected), "{on_term}");
    }
}

/// No zombie is left while it waits for lines, and a pause before the next attempt does not hold up its end.
#[test]
fn no_zombies_and_no_wait_for_a_pause() {
    let delivery = Delivery::new(3, "echo $$ >>$OUT.pids; cat >>$OUT");
    let mut child = delivery.spawn(&["--batch", "1"]);
    wait_until("deliveries", || delivery.log().matches("lines_delivered").count() == 3);
    for pid in text(&delivery.manifests.path("out.pids")).lines() {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "a zombie");
    }
    delivery.manifests.append([4]);
    wait_until("the next line", || json_lines(&text(&delivery.out)).len() == 4);
    assert_eq!(stop(&mut child), Some(0));

    let failing = Delivery::new(1, "exit 1");
    let mut child = failing.spawn(&[]);
    wait_until("three attempts", || failing.log().matches("delivery_failed").count() >= 3);
    let began = Instant::now();
    assert_eq!(stop(&mut child), Some(0));
    assert!(began.elapsed() < Duration::from_secs(2), "it waited for the pause");
    assert_eq!(failing.acknowledged().as_deref(), Some("beginning"));
}

/// Killed without a chance to clean up, it delivers again what it had not acknowledged, and nothing else.
#[test]
fn after_a_kill_it_goes_on_behind_what_was_acknowledged() {
    let delivery = Delivery::new(6, "cat >>$OUT; echo $$ >$OUT.pid; test $CSV_INGESTOR_CURSOR != STOP || sleep 300");
    let script = text(&delivery.script).replace("STOP", &cursor(4));
    std::fs::write(&delivery.script, script).unwrap();
    let mut child = delivery.spawn(&["--batch", "2"]);
    wait_until("the second batch", || json_lines(&text(&delivery.out)).len() == 4);
    child.kill().unwrap();
    child.wait().unwrap();
    let group = text(&delivery.manifests.path("out.pid")).trim().parse().ok().and_then(Pid::from_raw).unwrap();
    kill_process_group(group, Signal::KILL).unwrap();
    assert_eq!(delivery.acknowledged(), Some(cursor(2)));
    std::fs::write(&delivery.script, format!("#!/bin/sh\ncat >>{}\n", delivery.out.display())).unwrap();
    assert!(delivery.run(&["--batch", "2"]).status.success());
    assert_eq!(numbers(&json_lines(&text(&delivery.out))), [1, 2, 3, 4, 3, 4, 5, 6]);
}

#[test]
fn two_deliveries_for_one_consumer_do_not_run() {
    let delivery = Delivery::new(1, "cat >/dev/null; sleep 300");
    let mut child = delivery.spawn(&[]);
    wait_until("it", || delivery.log().contains("follow_started"));
    let second = delivery.run(&[]);
    assert_eq!(second.status.code(), Some(4), "{}", err(&second));
    assert!(err(&second).contains(&format!("(pid {})", child.id())), "{}", err(&second));
    stop(&mut child);
}
