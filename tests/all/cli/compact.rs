//! `csv-ingestor journal compact`.

use super::snapshots::{files, newest_snapshot, ok, refused, two_generations};
use crate::harness::{Place, bare, csv, snapshot};

/// Why: with it, an operator makes the journal small; the journal's content must not change.
#[test]
fn it_writes_a_snapshot_and_changes_nothing_that_is_told() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    place.stage("b.csv", csv(2, 100));
    place.once_ok(&[]);
    let before = place.inspect();
    let text = ok(&place.subcommand(&["journal", "compact"]));
    let written = newest_snapshot(&place);
    assert!(text.contains(&format!("wrote {}\n", written.display())), "{text}");
    assert!(text.contains("2 contents in ") && text.contains("forgotten: 0 now, 0 in all\n"), "{text}");
    assert_eq!(place.inspect(), before);
    // The content is still remembered.
    place.stage("again.csv", csv(1, 100));
    place.once_ok(&[]);
    assert_eq!(place.inspect().last().unwrap()["state"], "SKIPPED_DUPLICATE");
    assert_eq!(place.check_consistent(), 2);
}

/// Why: one earlier generation is kept for a repair; more would be a leak.
#[test]
fn it_keeps_the_generation_before_and_drops_what_is_older() {
    let place = two_generations();
    let (before, told) = (files(&place, "log"), place.inspect());
    let text = ok(&place.subcommand(&["journal", "compact"]));
    assert_eq!(files(&place, "snap").len(), 2);
    let dropped: Vec<_> = before.iter().filter(|path| !path.exists()).collect();
    assert!(!dropped.is_empty());
    assert!(text.contains(&format!("files removed: {}\n", dropped.len() + 1)), "{text}");
    assert_eq!(place.inspect(), told);
    assert_eq!(place.check_consistent(), 6);
}

/// Why: a forgotten content is ingested again if it is sent again, so the output must say how many were forgotten.
#[test]
fn with_remember_it_forgets_and_says_so() {
    let place = two_generations();
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    let text = ok(&place.subcommand(&["journal", "compact", "--remember", "1s"]));
    assert!(text.contains("forgotten: 6 now, 6 in all\n") && text.contains("\n0 contents in "), "{text}");
    assert!(place.inspect().is_empty());
    let text = ok(&place.subcommand(&["journal", "inspect"]));
    assert!(text.contains("and 6 older files whose content is forgotten"), "{text}");
    ok(&place.subcommand(&["journal", "verify"]));
    place.stage("1.csv", csv(1, 100));
    place.once_ok(&[]);
    assert_eq!(place.inspect()[0]["state"], "MANIFESTED");
    let output = place.subcommand(&["journal", "compact", "--remember", "0s"]);
    refused(&output, 2, &["--remember"]);
}

/// Why: the daemon compacts its journal itself; two concurrent compactions would remove each other's files.
#[test]
fn beside_a_daemon_it_refuses_and_names_it() {
    let place = two_generations();
    let daemon = place.start(&["--stability-seconds", "0", "--scan-interval", "100ms"]);
    daemon.wait_started();
    let before = files(&place, "snap");
    let output = place.subcommand(&["journal", "compact"]);
    refused(&output, 4, &[&format!("pid {}", daemon.child.id())]);
    assert_eq!(files(&place, "snap"), before);
    assert!(daemon.stop().success());
    assert_eq!(place.check_consistent(), 6);
}

/// Why: a mistyped path must not create a journal.
#[test]
fn without_a_journal_they_all_refuse() {
    let place = Place::new();
    let empty = place.root.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let before = snapshot(place.root.path());
    for path in [&place.state, &empty] {
        for command in ["compact", "verify", "repair"] {
            let output = bare(&["journal", command, "--state-path"]).arg(path).output().unwrap();
            refused(&output, 2, &["--state-path", "there is no journal"]);
        }
    }
    assert_eq!(snapshot(place.root.path()), before);
}
