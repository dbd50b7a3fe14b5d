//! A journal that is older than the manifests, or a new one beside older manifests.

use std::path::PathBuf;

use super::copy;
use crate::harness::{Place, csv, err, out};

/// A place with a state directory from before its last two files.
fn restored() -> Place {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    place.once_ok(&[]);
    let backup = place.root.path().join("backup");
    copy(&place.state, &backup);
    // One after the other: two files that are hashed in parallel may be listed in either order.
    for (name, seed) in [("b.csv", 2), ("c.csv", 3)] {
        place.stage(name, csv(seed, 100));
        place.once_ok(&[]);
    }
    std::fs::remove_dir_all(&place.state).unwrap();
    copy(&backup, &place.state);
    place
}

/// The newest manifest.
fn manifest(place: &Place) -> PathBuf {
    let find = format!("find {} -name manifest.jsonl | sort", place.manifests.display());
    let output = std::process::Command::new("sh").args(["-c", &find]).output().unwrap();
    PathBuf::from(out(&output).lines().last().unwrap())
}

/// Changes the lines to the form of versions without the key.
fn without_key(place: &Place) {
    let manifest = manifest(place);
    let text = std::fs::read_to_string(&manifest).unwrap();
    let strip = |line: &str| {
        let at = line.find(r#""journal":""#).unwrap();
        format!("{}{}\n", &line[..at], &line[at + r#""journal":"","#.len() + 32..])
    };
    std::fs::write(&manifest, text.lines().map(strip).collect::<String>()).unwrap();
}

/// Why: the state directory was restored from last night's backup; the same content was ingested and listed a second time,
/// an ingest id was assigned twice, and nothing reported it.
#[test]
fn a_state_directory_from_a_backup_is_refused() {
    let place = restored();
    place.stage("b.csv", csv(2, 100));
    place.stage("d.csv", csv(4, 100));
    for more in [&[][..], &["--dry-run"]] {
        let output = place.once(more);
        assert_eq!(output.status.code(), Some(3), "{more:?}: {}", err(&output));
        for named in ["manifest.jsonl, line ", "c.csv", "csv-ingestor journal rebuild", "--new-journal"] {
            assert!(err(&output).contains(named), "{named}: {}", err(&output));
        }
    }
    for words in [&["replay"][..], &["replay", "--dry-run"]] {
        let output = place.subcommand(words);
        assert_eq!(output.status.code(), Some(3), "{words:?}: {}", err(&output));
    }
    assert_eq!((place.staged_names().len(), place.manifest_lines().len()), (2, 3));

    // As the message advises: it is moved away, and rebuilt.
    std::fs::rename(&place.state, place.root.path().join("away")).unwrap();
    let (warehouse, manifests) = (place.warehouse.to_str().unwrap(), place.manifests.to_str().unwrap());
    let rebuilt = place.subcommand(&["journal", "rebuild", "--warehouse", warehouse, "--manifests", manifests]);
    assert!(rebuilt.status.success(), "{}", err(&rebuilt));
    place.once_ok(&["--duplicates", "remove"]);
    assert_eq!(place.check_consistent(), 4);
}

/// Why: an operator who has lost the journal for good must be able to continue without confirming it at each start. But if
/// an older backup is restored later, that is a second accident.
#[test]
fn a_journal_that_is_accepted_once_is_accepted() {
    let place = restored();
    place.stage("d.csv", csv(4, 100));
    place.once_ok(&["--new-journal"]);
    place.once_ok(&[]);
    place.stage("e.csv", csv(5, 100));
    place.once_ok(&[]);
    assert_eq!(place.manifest_lines().len(), 5);
    assert!(place.subcommand(&["replay"]).status.success());

    let backup = place.root.path().join("second backup");
    copy(&place.state, &backup);
    place.stage("f.csv", csv(6, 100));
    place.once_ok(&[]);
    std::fs::remove_dir_all(&place.state).unwrap();
    copy(&backup, &place.state);
    let output = place.once(&[]);
    assert_eq!(output.status.code(), Some(3), "{}", err(&output));
    assert!(err(&output).contains("f.csv"), "{}", err(&output));
    assert!(place.subcommand(&["replay", "--new-journal"]).status.success());
    place.once_ok(&[]);
}

/// Why: a volume with the state directory was lost, and to a new journal beside the old manifests every file that was sent
/// again was new. The refused start must leave nothing that prevents a rebuild.
#[test]
fn a_journal_that_is_begun_anew_beside_its_manifests_is_refused() {
    for are_old_lines in [false, true] {
        let place = Place::new();
        place.stage("a.csv", csv(1, 100));
        place.once_ok(&[]);
        if are_old_lines {
            without_key(&place);
        }
        std::fs::remove_dir_all(&place.state).unwrap();
        place.stage("a.csv", csv(1, 100));
        for more in [&["--dry-run"][..], &[], &["--duplicates", "remove"]] {
            let output = place.once(more);
            assert_eq!(output.status.code(), Some(3), "{}", err(&output));
            assert!(err(&output).contains("Run: csv-ingestor journal rebuild"), "{}", err(&output));
        }
        let (warehouse, manifests) = (place.warehouse.to_str().unwrap(), place.manifests.to_str().unwrap());
        let rebuilt = place.subcommand(&["journal", "rebuild", "--warehouse", warehouse, "--manifests", manifests]);
        assert!(rebuilt.status.success(), "{}", err(&rebuilt));
        place.once_ok(&["--duplicates", "remove"]);
        assert_eq!(place.check_consistent(), 1);
        assert!(place.staged_names().is_empty());
    }
}

/// Why: another ingestor that shares the manifests writes thousands of lines an hour, which hid the few lines of an ingestor
/// whose journal was lost or restored from a backup.
#[test]
fn a_neighbours_many_lines_hide_nothing() {
    let lost = Place::new();
    lost.stage("a.csv", csv(1, 100));
    lost.once_ok(&[]);
    std::fs::remove_dir_all(&lost.state).unwrap();
    for place in [lost, restored()] {
        let manifest = manifest(&place);
        let text = std::fs::read_to_string(&manifest).unwrap();
        let at = text.find(r#""journal":""#).unwrap() + r#""journal":""#.len();
        let input = place.staging.to_str().unwrap();
        let own = &text[at..at + 32];
        let neighbours = text.lines().next().unwrap().replace(own, &"0".repeat(32)).replace(input, "/elsewhere") + "\n";
        let many = neighbours.repeat((4 << 20) / neighbours.len());
        std::fs::write(&manifest, text + &many).unwrap();
        let output = place.once(&[]);
        assert_eq!(output.status.code(), Some(3), "{}", err(&output));
    }
}

/// Why: the effect of `--new-journal` after a loss must be permanent; and by another path the staging directory is the same.
#[test]
fn a_new_journal_is_remembered_and_a_link_does_not_hide_it() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    place.once_ok(&[]);
    std::fs::remove_dir_all(&place.state).unwrap();
    let link = place.root.path().join("link");
    std::os::unix::fs::symlink(&place.staging, &link).unwrap();
    let linked = Place { staging: link, ..place };
    let output = linked.once(&[]);
    assert_eq!(output.status.code(), Some(3), "{}", err(&output));
    linked.once_ok(&["--new-journal"]);
    linked.once_ok(&[]);
    linked.stage("b.csv", csv(2, 100));
    linked.once_ok(&[]);
    linked.once_ok(&[]);
    assert_eq!(linked.manifest_lines().len(), 2);
}

/// Why: lines of versions without the key must neither stop an upgrade nor hide an old journal.
#[test]
fn lines_without_the_key_are_judged_by_their_staging_directory() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    place.once_ok(&[]);
    without_key(&place);
    let backup = place.root.path().join("backup");
    copy(&place.state, &backup);
    place.stage("b.csv", csv(2, 100));
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 2);
    let text = std::fs::read_to_string(manifest(&place)).unwrap();
    let first = text.lines().next().unwrap().to_owned() + "\n";
    std::fs::write(manifest(&place), &text[first.len()..]).unwrap();
    without_key(&place);
    let second = std::fs::read_to_string(manifest(&place)).unwrap();
    std::fs::write(manifest(&place), first + &second).unwrap();
    place.once_ok(&[]);
    std::fs::remove_dir_all(&place.state).unwrap();
    copy(&backup, &place.state);
    let output = place.once(&[]);
    assert_eq!(output.status.code(), Some(3), "{}", err(&output));
}

/// Why: several ingestors may share manifests; lines of the others do not concern an ingestor.
#[test]
fn a_second_ingestor_with_a_staging_directory_of_its_own_starts() {
    for are_old_lines in [false, true] {
        let place = Place::new();
        place.stage("a.csv", csv(1, 100));
        place.once_ok(&[]);
        if are_old_lines {
            without_key(&place);
        }
        let at = |name: &str| place.root.path().join(name);
        std::fs::create_dir(at("staging2")).unwrap();
        let second = Place {
            staging: at("staging2"),
            state: at("state2"),
            warehouse: at("warehouse2"),
            manifests: place.manifests.clone(),
            root: tempfile::tempdir().unwrap(),
        };
        second.stage("b.csv", csv(2, 100));
        second.once_ok(&[]);
        second.once_ok(&[]);
        place.once_ok(&[]);
        assert_eq!(place.manifest_lines().len(), 2);
        let ids: Vec<_> = place.manifest_lines().iter().map(|line| line["journal"].clone()).collect();
        assert!(ids.iter().any(|id| id.as_str().is_some_and(|id| id.len() == 32)), "{ids:?}");
        assert_ne!(ids[0], ids[1]);
    }
}

/// Why: a content that was forgotten on purpose is listed and unknown, which is correct.
#[test]
fn what_was_forgotten_need_not_be_known() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    place.stage("b.csv", csv(2, 100));
    place.once_ok(&[]);
    let sha256 = crate::harness::sha256_hex(&csv(1, 100));
    let forgotten = place.subcommand(&["forget", &sha256]);
    assert!(forgotten.status.success(), "{}", err(&forgotten));
    place.once_ok(&[]);
    assert!(place.subcommand(&["journal", "compact", "--remember", "1s"]).status.success());
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    let compacted = place.subcommand(&["journal", "compact", "--remember", "1s"]);
    assert!(compacted.status.success(), "{}", err(&compacted));
    place.once_ok(&[]);
    place.stage("a.csv", csv(1, 100));
    place.once_ok(&[]);
    assert_eq!(place.manifest_lines().len(), 3);
}

/// Why: after the clock was ahead, the newest hours by name are years in the future, and hide today's.
#[test]
fn hours_ahead_of_the_clock_hide_nothing() {
    let place = restored();
    let known = std::fs::read_to_string(manifest(&place)).unwrap();
    let known = known.lines().next().unwrap().to_owned() + "\n";
    for day in 1..=28 {
        for hour in [0, 12] {
            let dir = place.manifests.join(format!("2031/02/{day:02}/{hour:02}"));
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join("manifest.jsonl"), &known).unwrap();
        }
    }
    let output = place.once(&[]);
    assert_eq!(output.status.code(), Some(3), "{}", err(&output));
    // And the other way round: only the lines in the future are unknown.
    let place = restored();
    let today = manifest(&place);
    let dir = place.manifests.join("2031/02/03/04");
    std::fs::create_dir_all(&dir).unwrap();
    let last = std::fs::read_to_string(&today).unwrap().lines().count();
    std::fs::rename(today, dir.join("manifest.jsonl")).unwrap();
    let output = place.once(&[]);
    assert_eq!(output.status.code(), Some(3), "{}", err(&output));
    let named = format!("2031/02/03/04/manifest.jsonl, line {last}");
    assert!(err(&output).contains(&named), "{named}: {}", err(&output));
}

/// Why: a manifest that cannot be read, or has invalid lines, proves nothing, and must not stop the ingestor.
#[test]
fn what_is_no_manifest_says_nothing() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    place.once_ok(&[]);
    let dir = place.manifests.join("2026/11/01/01");
    std::fs::create_dir_all(dir.join("manifest.jsonl")).unwrap();
    std::fs::create_dir_all(place.manifests.join("2026/11/01/02")).unwrap();
    std::fs::write(place.manifests.join("2026/11/01/02/manifest.jsonl"), "{\"a\":1}\n\0\0\0\n{\"path\":\"/in").unwrap();
    std::os::unix::fs::symlink("/nowhere", place.manifests.join("2027")).unwrap();
    place.once_ok(&[]);
}
