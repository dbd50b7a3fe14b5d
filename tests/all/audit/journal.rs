//! What an audit takes from the journal, and what the journal cannot know.

use std::path::Path;

use super::{Audited, audit, ingest, ingested};
use crate::harness::{Place, bare, csv, err, sha256_hex};

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Why: a state directory from a backup is intact, but does not know newer files: they are ingested twice if sent again.
#[test]
fn a_journal_that_is_older_than_the_manifests_is_found_out() {
    let place = ingested(2);
    let backup = place.root.path().join("backup");
    copy_dir(&place.state, &backup);
    ingest(&place, 3..=4);
    audit(&place, &[]).clean();
    std::fs::remove_dir_all(&place.state).unwrap();
    copy_dir(&backup, &place.state);
    let audited = audit(&place, &[]);
    let finding = audited.found(&["not_in_journal", "not_in_journal"]);
    assert!(finding["detail"].as_str().unwrap().contains("older than the manifests"), "{finding}");
}

/// Why: a content that was forgotten on purpose is no finding, neither before it is sent again nor after.
#[test]
fn forgotten_contents_are_no_findings() {
    let place = ingested(3);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let compacted = place.subcommand(&["journal", "compact", "--remember", "1s"]);
    assert!(compacted.status.success(), "{}", err(&compacted));
    let audited = audit(&place, &[]);
    audited.clean();
    assert_eq!(audited.summary["forgotten"], 3);
    place.stage("again.csv", csv(2, 300));
    place.once_ok(&[]);
    assert_eq!(place.manifest_lines().len(), 4);
    let audited = audit(&place, &[]);
    audited.clean();
    // One of the three is remembered again, but the journal does not know its old line.
    assert_eq!(audited.summary["forgotten"], 3);
    // Compacted once more: now the rows are in a snapshot.
    assert!(place.subcommand(&["journal", "compact"]).status.success());
    audit(&place, &[]).clean();
}

/// Why: contents are also forgotten one by one; the journal keeps which ones, for ever.
#[test]
fn a_content_that_was_forgotten_by_itself_is_no_finding() {
    let place = ingested(3);
    let forgotten = place.subcommand(&["forget", &sha256_hex(&csv(2, 300))]);
    assert!(forgotten.status.success(), "{}", err(&forgotten));
    audit(&place, &[]).clean();
    ingest(&place, 2..=2);
    assert_eq!(place.manifest_lines().len(), 4);
    let audited = audit(&place, &[]);
    audited.clean();
    assert_eq!(audited.summary["forgotten"], 1);
    assert!(place.subcommand(&["journal", "compact"]).status.success());
    audit(&place, &[]).clean();
}

/// Why: several ingestors may share warehouse and manifests; each journal knows only its own lines, and ids repeat.
#[test]
fn lines_of_other_ingestors_are_counted_not_reported() {
    let one = ingested(4);
    let mut other = Place::new();
    (other.warehouse, other.manifests) = (one.warehouse.clone(), one.manifests.clone());
    ingest(&other, 3..=9);
    for (place, own, others) in [(&one, 4, 5), (&other, 7, 2)] {
        let audited = audit(place, &[]);
        audited.clean();
        assert_eq!((&audited.summary["lines"], &audited.summary["of_others"]), (&11.into(), &others.into()));
        assert_eq!(place.inspect().len(), own);
        assert_eq!(audited.summary["files"], 11);
    }
}

/// Why: between MOVED and the manifest line some time passes, and a crash can make it long.
#[test]
fn a_file_that_waits_for_its_line_is_no_finding_but_must_be_there() {
    let place = Place::new();
    place.stage("1.csv", csv(1, 300));
    std::fs::create_dir(&place.manifests).unwrap();
    // No manifest directory can be created for this year, nor for the next.
    let years = [0, 24].map(|hours| {
        let time = std::time::SystemTime::now() + std::time::Duration::from_secs(hours * 3600);
        place.manifests.join(&humantime::format_rfc3339(time).to_string()[..4])
    });
    years.iter().for_each(|year| std::fs::write(year, "").unwrap());
    assert_eq!(place.once(&[]).status.code(), Some(1));
    assert_eq!(place.inspect()[0]["state"], "MOVED");
    years.iter().for_each(|year| drop(std::fs::remove_file(year)));
    let audited = audit(&place, &[]);
    audited.clean();
    assert_eq!(audited.summary["on_their_way"], 1);
    let file = place.warehouse_files().into_keys().next().unwrap();
    let content = std::fs::read(&file).unwrap();
    std::fs::write(&file, b"x").unwrap();
    audit(&place, &[]).found(&["altered"]);
    std::fs::remove_file(&file).unwrap();
    audit(&place, &[]).found(&["missing"]);
    std::fs::write(&file, content).unwrap();
    place.once_ok(&[]);
    audit(&place, &[]).clean();
}

/// Why: a journal that cannot be read must not count as one that agrees.
#[test]
fn a_damaged_journal_ends_the_audit() {
    let place = ingested(3);
    let segment = std::fs::read_dir(&place.state).unwrap().map(|entry| entry.unwrap().path());
    let first = segment.filter(|path| path.extension().is_some_and(|it| it == "log")).min().unwrap();
    let mut bytes = std::fs::read(&first).unwrap();
    bytes[4096 + 70] ^= 1;
    std::fs::write(&first, bytes).unwrap();
    let output = bare(&["audit", "--state-path", place.state.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", err(&output));
    assert!(err(&output).contains("corrupt"), "{}", err(&output));
    let nowhere = place.root.path().join("nowhere");
    let output = bare(&["audit", "--state-path", nowhere.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("there is no journal") && !nowhere.exists());
}

/// Why: options win over the journal's settings, for example when a warehouse was moved and linked to its old place.
#[test]
fn options_win_over_the_journals_settings() {
    let place = ingested(2);
    let empty = place.root.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let audited = audit(&place, &["--manifests", empty.to_str().unwrap(), "--grace", "0s"]);
    audited.found(&["not_listed", "not_listed"]);
    let command = bare(&["audit"]).env("CSV_INGESTOR_STATE_PATH", &place.state).output().unwrap();
    Audited::of(&command).clean();
    let command = bare(&["audit"])
        .env("CSV_INGESTOR_WAREHOUSE", &place.warehouse)
        .env("CSV_INGESTOR_MANIFESTS", &place.manifests)
        .output()
        .unwrap();
    Audited::of(&command).clean();
}
