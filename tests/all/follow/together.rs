//! A running ingestor and its consumers.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use super::{json_lines, numbers, text};
use crate::harness::{BINARY, Place, csv, err, out, wait_until};

fn follow(place: &Place, words: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.arg("follow").arg("--manifests").arg(&place.manifests).args(words).stdin(Stdio::null());
    command
}

#[track_caller]
fn good(output: Output) -> String {
    assert!(output.status.success(), "{}", err(&output));
    out(&output)
}

fn stage(place: &Place, seeds: std::ops::Range<u64>) {
    seeds.for_each(|seed| drop(place.stage_whole(format!("{seed}.csv"), csv(seed, 50))));
}

fn status(place: &Place) -> Value {
    serde_json::from_str(&good(place.subcommand(&["status", "--json"]))).unwrap()
}

/// The samples of a consumer's metrics.
fn samples(place: &Place) -> BTreeMap<String, f64> {
    let textfile = place.root.path().join("x.prom");
    place.once_ok(&["--metrics-textfile", textfile.to_str().unwrap()]);
    let text = text(&textfile);
    let ours =
        text.lines().filter(|line| line.starts_with("csv_ingestor_consumer_") && line.contains("consumer=\"a\""));
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        (series.split('{').next().unwrap()["csv_ingestor_consumer_".len()..].to_owned(), value.parse().unwrap())
    };
    ours.map(sample).collect()
}

#[test]
fn status_and_metrics_say_how_far_consumers_are_behind() {
    let place = Place::new();
    stage(&place, 0..5);
    place.once_ok(&[]);
    assert_eq!(status(&place)["consumers"], serde_json::json!([]));
    assert!(samples(&place).is_empty());
    let lines = json_lines(&good(follow(&place, &["--once"]).output().unwrap()));
    let cursor = |line: usize| lines[line]["cursor"].as_str().unwrap().to_owned();
    good(follow(&place, &["--consumer", "a", "--ack", &cursor(1)]).output().unwrap());
    let told = status(&place)["consumers"][0].clone();
    assert_eq!((&told["consumer"], &told["lag_lines"], &told["cursor"]), (&"a".into(), &3.into(), &cursor(1).into()));
    assert!(told["oldest_listed_at"].is_string() && told["acknowledged_at"].is_string() && told["error"].is_null());
    let text = good(place.subcommand(&["status"]));
    assert!(text.contains("consumer:    a 3 lines behind, since 20"), "{text}");
    let found = samples(&place);
    assert_eq!(found["lag_lines"], 3.0);
    assert!((0.0..3600.0).contains(&found["lag_seconds"]) && found["last_ack_timestamp_seconds"] > 1e9, "{found:?}");
    good(follow(&place, &["--consumer", "a", "--ack", &cursor(4)]).output().unwrap());
    let found = samples(&place);
    assert_eq!((found["lag_lines"], found["lag_seconds"], found["position_readable"]), (0.0, 0.0, 1.0));
    // A position that cannot be read hides nothing else.
    std::fs::write(place.manifests.join(".csv-ingestor/consumers/a.json"), "torn").unwrap();
    good(follow(&place, &["--consumer", "b", "--ack", &cursor(0)]).output().unwrap());
    let told = status(&place)["consumers"].clone();
    assert!(told[0]["error"].is_string() && told[0]["lag_lines"].is_null() && told[1]["lag_lines"] == 4, "{told}");
    assert_eq!(samples(&place), BTreeMap::from([("position_readable".to_owned(), 0.0)]));
}

/// Why: a consumer whose first delivery failed, and each one after it, had no position, so that no metric knew it and no alert
/// could fire.
#[test]
fn a_consumer_that_never_took_anything_is_behind() {
    let place = Place::new();
    stage(&place, 0..3);
    place.once_ok(&[]);
    let mut failing = follow(&place, &["--consumer", "a", "--exec", "--", "/bin/false"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let position = place.manifests.join(".csv-ingestor/consumers/a.json");
    wait_until("its position", || position.exists());
    failing.kill().unwrap();
    failing.wait().unwrap();
    let told = status(&place)["consumers"][0].clone();
    assert_eq!((&told["lag_lines"], &told["cursor"]), (&3.into(), &"beginning".into()));
    assert_eq!(samples(&place)["lag_lines"], 3.0);
}

/// Killed again and again while lines arrive, it delivers each line, in order within each process, and acknowledges nothing
/// that was not taken.
#[test]
fn a_follower_that_is_killed_again_and_again_loses_nothing() {
    let place = Place::new();
    let (script, taken) = (place.root.path().join("take"), place.root.path().join("taken"));
    // Each batch is whole in the file, or not there.
    let text_of = format!("#!/bin/sh\nT={}.$$\ncat >$T && cat $T >>{}\nrm $T\n", taken.display(), taken.display());
    std::fs::write(&script, text_of).unwrap();
    std::fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    let daemon = place.start(&["--stability-seconds", "0", "--scan-interval", "50ms"]);
    let words = ["--consumer", "a", "--batch", "3", "--exec"];
    let command = ["--", script.to_str().unwrap()];
    for round in 0..8_u64 {
        stage(&place, round * 10..round * 10 + 10);
        let mut command = follow(&place, &[&words[..], &command].concat());
        let mut child = std::os::unix::process::CommandExt::process_group(&mut command, 0)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        std::thread::sleep(Duration::from_millis(150 + 37 * round));
        kill_process_group(pid, Signal::KILL).unwrap();
        child.wait().unwrap();
    }
    daemon.wait_for("file_ingested", 80);
    assert!(daemon.stop().success());
    // A command of a follower that was killed may still be at work.
    wait_until("the end of all commands", || {
        let names = std::fs::read_dir(place.root.path()).unwrap().map(|entry| entry.unwrap().file_name());
        !names.into_iter().any(|name| name.to_string_lossy().starts_with("taken."))
    });
    good(follow(&place, &[&words[..], &["--once"], &command].concat()).output().unwrap());
    let mut taken = numbers(&json_lines(&text(&taken)));
    assert!(taken.len() >= 80);
    taken.sort_unstable();
    taken.dedup();
    assert_eq!(taken, (1..=80).collect::<Vec<_>>());
    assert_eq!(status(&place)["consumers"][0]["lag_lines"], 0);
}
