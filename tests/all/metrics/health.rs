//! `/healthz` and `/readyz`: the answers to a probe at each stage of a process's life.

use super::{Client, LISTENING, listening, traced};
use crate::harness::{Place, csv, wait_until};
use rustix::process::Signal;

/// Why: a probe decides by these two answers.
#[test]
fn an_ingestor_that_works_is_healthy_and_ready() {
    let place = Place::new();
    let (daemon, client) = listening(&place, &[]);
    for path in ["/healthz", "/readyz"] {
        let response = client.get(path);
        assert_eq!((response.code, &*response.body), (200, "ok\n"), "{path}");
    }
    assert_eq!(client.metrics().of("state{state=\"running\"}"), 1.0);
    assert!(daemon.stop().success());
}

/// Why: recovery may take a while. If the port did not answer, a failed probe would kill the process in the middle of
/// recovery, again and again.
#[test]
fn while_it_recovers_it_is_healthy_and_not_ready() {
    let place = Place::new();
    let mut command = place.command();
    command.args(LISTENING);
    // Each fsync takes a quarter of a second, and opening a new journal takes a dozen.
    let Some(slow) = traced(&command, &["-e", "trace=fsync", "-e", "inject=fsync:delay_enter=250000"]) else { return };
    let daemon = place.spawn(slow);
    let client = Client::of(&daemon);
    let ready = client.get("/readyz");
    assert!(daemon.events("started").is_empty(), "the start was too quick");
    assert_eq!((ready.code, ready.body.lines().count()), (503, 1));
    assert!(ready.body.starts_with("recovering"), "{}", ready.body);
    assert_eq!(client.get("/healthz").code, 200);
    assert_eq!(client.metrics().of("state{state=\"recovering\"}"), 1.0);
    let status = client.get("/api/v1/status");
    assert!(status.code == 200 && status.body.contains("\"state\":\"recovering\""), "{}", status.body);
    let waiting = client.get("/api/v1/waiting");
    assert!(waiting.code == 503 && waiting.body.starts_with("{\"error\":\"recovering"), "{}", waiting.body);
    wait_until("ready", || client.get("/readyz").code == 200);
    daemon.wait_started();
    assert!(daemon.stop().success());
}

/// Why: an upstream that uses /readyz to send files elsewhere must learn at once that this process is stopping, not when it
/// has ended.
#[test]
fn while_it_stops_it_is_not_ready() {
    let place = Place::new();
    let mut command = place.command();
    command.args(LISTENING);
    let options = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=700000"];
    let Some(slow) = traced(&command, &options) else { return };
    let mut daemon = place.spawn(slow);
    daemon.wait_started();
    let client = Client::of(&daemon);
    place.stage("a.csv", csv(1, 100));
    client.wait_for("queue_depth{stage=\"committing\"}", 1.0);
    daemon.signal(Signal::TERM);
    wait_until("not ready", || client.get("/readyz").body.starts_with("stopping"));
    assert_eq!(client.get("/healthz").code, 200);
    assert_eq!(client.metrics().of("state{state=\"stopping\"}"), 1.0);
    // A second signal would end it at once.
    assert!(daemon.child.wait().unwrap().success());
    assert_eq!(place.check_consistent(), 1);
}

/// Why: after a failed fsync nothing more is guaranteed. The process ends at once; if that takes a moment, it must not be
/// reported as ready meanwhile.
#[test]
fn after_the_journal_was_poisoned_it_is_not_ready() {
    let place = Place::new();
    let textfile = place.root.path().join("poisoned.prom");
    let mut command = place.command();
    command.args(LISTENING).args(["--metrics-interval", "1h", "--metrics-textfile", textfile.to_str().unwrap()]);
    // The committer's second sync fails (the worker has synced the file itself). The last write of the textfile delays the
    // end of the process.
    let faults = ["-e", "inject=fdatasync:error=EIO:when=2+", "-e", "inject=rename:delay_enter=1500000"];
    let Some(faulty) = traced(&command, &[&["-e", "trace=fdatasync,rename"], &faults[..]].concat()) else { return };
    let mut daemon = place.spawn(faulty);
    daemon.wait_started();
    let client = Client::of(&daemon);
    wait_until("ready", || client.get("/readyz").code == 200);
    (0..4).for_each(|seed| drop(place.stage(format!("{seed}.csv"), csv(seed, 100))));
    let mut reasons = Vec::new();
    wait_until("not ready", || {
        reasons.push(client.get("/readyz").body);
        reasons.last().unwrap().starts_with("failed")
    });
    assert_eq!(client.metrics().of("state{state=\"failed\"}"), 1.0);
    wait_until("its end", || daemon.child.try_wait().unwrap().is_some());
    assert_eq!(daemon.child.wait().unwrap().code(), Some(1));
    let text = std::fs::read_to_string(&textfile).unwrap();
    assert!(text.contains("csv_ingestor_state{ingestor=\"poisoned\",state=\"failed\"} 1\n"), "{text}");
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 4);
}
