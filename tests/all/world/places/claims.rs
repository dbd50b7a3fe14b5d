//! Which journal works with a staging directory, when the manifest lines do not show it.

use crate::harness::{Place, csv, err};

/// The manifests' lines name another device, as after a reboot or a restore.
fn on_another_device(place: &Place) {
    let find = format!("find {} -name manifest.jsonl", place.manifests.display());
    let found = std::process::Command::new("sh").args(["-c", &find]).output().unwrap();
    for manifest in String::from_utf8(found.stdout).unwrap().lines() {
        let text = std::fs::read_to_string(manifest).unwrap();
        let lines = text.lines().map(|line| {
            let (before, rest) = line.split_once(r#""device":"#).unwrap();
            let digits = rest.find(|digit: char| !digit.is_ascii_digit()).unwrap();
            format!("{before}\"device\":{}{}\n", 1 + rest[..digits].parse::<u64>().unwrap(), &rest[digits..])
        });
        std::fs::write(manifest, lines.collect::<String>()).unwrap();
    }
}

#[track_caller]
fn is_refused(place: &Place, more: &[&str]) {
    let before = place.manifest_lines().len();
    let output = place.once(more);
    assert_eq!(output.status.code(), Some(3), "{}", err(&output));
    for named in ["journal rebuild", "--new-journal", "has worked with it"] {
        assert!(err(&output).contains(named), "{named}: {}", err(&output));
    }
    assert_eq!(place.manifest_lines().len(), before);
}

/// Why: the volume with the state was lost in a reboot that also changed the device numbers. No line seemed to come from
/// this staging directory any more, and every file that was sent again was listed again.
#[test]
fn a_journal_that_is_lost_while_devices_are_renumbered_is_missed() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    place.once_ok(&[]);
    on_another_device(&place);
    std::fs::remove_dir_all(&place.state).unwrap();
    place.stage("a.csv", csv(1, 100));
    for more in [&["--dry-run"][..], &[]] {
        is_refused(&place, more);
    }
    let (warehouse, manifests) = (place.warehouse.to_str().unwrap(), place.manifests.to_str().unwrap());
    let rebuilt = place.subcommand(&["journal", "rebuild", "--warehouse", warehouse, "--manifests", manifests]);
    assert!(rebuilt.status.success(), "{}", err(&rebuilt));
    place.once_ok(&["--duplicates", "remove"]);
    place.once_ok(&[]);
    assert_eq!(place.manifest_lines().len(), 1);
    assert!(place.staged_names().is_empty());
}

/// Why: a journal was given up for lost and a new one begun; a week later the old volume was found and mounted again, and
/// every file of that week that was sent again was ingested and listed again.
#[test]
fn a_journal_that_comes_back_after_it_was_replaced_is_refused() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    place.once_ok(&[]);
    let old = place.root.path().join("old");
    std::fs::rename(&place.state, &old).unwrap();
    place.once_ok(&["--new-journal"]);
    place.stage("b.csv", csv(2, 100));
    place.once_ok(&[]);

    let new = place.root.path().join("new");
    std::fs::rename(&place.state, &new).unwrap();
    std::fs::rename(&old, &place.state).unwrap();
    place.stage("b.csv", csv(2, 100));
    is_refused(&place, &[]);
    std::fs::rename(&place.state, &old).unwrap();
    std::fs::rename(&new, &place.state).unwrap();
    place.once_ok(&["--duplicates", "remove"]);
    assert_eq!(place.manifest_lines().len(), 2);

    // With the option, an operator can still use it.
    std::fs::rename(&place.state, &new).unwrap();
    std::fs::rename(&old, &place.state).unwrap();
    place.once_ok(&["--new-journal"]);
    place.once_ok(&[]);
}

/// Why: two ingestors share a warehouse, and a restore exchanged their state directories: all files were new to each of
/// them.
#[test]
fn journals_that_were_exchanged_are_told_apart() {
    let one = Place::new();
    let at = |name: &str| one.root.path().join(name);
    std::fs::create_dir(at("staging2")).unwrap();
    let other = Place {
        staging: at("staging2"),
        state: at("state2"),
        warehouse: one.warehouse.clone(),
        manifests: one.manifests.clone(),
        root: tempfile::tempdir().unwrap(),
    };
    for (place, seed) in [(&one, 1), (&other, 2)] {
        place.stage("a.csv", csv(seed, 100));
        place.once_ok(&[]);
    }
    let exchange = || {
        std::fs::rename(&one.state, at("state3")).unwrap();
        std::fs::rename(&other.state, &one.state).unwrap();
        std::fs::rename(at("state3"), &other.state).unwrap();
    };
    exchange();
    for (place, seed) in [(&one, 1), (&other, 2)] {
        place.stage("a.csv", csv(seed, 100));
        is_refused(place, &[]);
    }
    exchange();
    for place in [&one, &other] {
        place.once_ok(&["--duplicates", "remove"]);
    }
    assert_eq!(one.manifest_lines().len(), 2);
}
