//! Warehouse, manifests and staging are moved to other paths.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::{audit, events, lines_of, status};
use crate::harness::{BINARY, Place, csv, err, has, out, snapshot};

/// Moves the directories with these names below `new`, and uses them there.
fn move_to(place: &mut Place, names: &[&str]) -> PathBuf {
    let new = place.root.path().join("new");
    std::fs::create_dir_all(&new).unwrap();
    for name in names {
        let directory = match *name {
            "staging" => &mut place.staging,
            "warehouse" => &mut place.warehouse,
            "manifests" => &mut place.manifests,
            _ => &mut place.state,
        };
        let to = new.join(name);
        std::fs::rename(&*directory, &to).unwrap();
        *directory = to;
    }
    new
}

fn relocate(place: &Place, arguments: &[(&str, &Path)]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(["relocate", "--state-path"]).arg(&place.state);
    for (option, path) in arguments {
        command.arg(option).arg(path);
    }
    command.output().unwrap()
}

fn with_files() -> Place {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    place.stage("b.csv", csv(2, 100));
    place.once_ok(&[]);
    place
}

fn in_warehouse(place: &Place, name: &str) -> PathBuf {
    place.warehouse_files().into_keys().find(|path| path.ends_with(name)).unwrap()
}

/// Checks that all commands and the second reader work with the new paths.
#[track_caller]
fn check(place: &Place, files: u64) {
    let (summary, code) = audit(place);
    assert_eq!((summary["lines"].as_u64(), code), (Some(files), Some(0)), "{summary}");
    let path = in_warehouse(place, "a.csv");
    let told = out(&place.subcommand(&["explain", "--json", path.to_str().unwrap()]));
    assert!(told.contains("INGESTED"), "{told}");
    let known = place.inspect();
    let paths: Vec<&str> = known.iter().filter_map(|file| file["warehouse_path"].as_str()).collect();
    assert!(paths.iter().all(|path| path.starts_with(place.warehouse.to_str().unwrap())), "{paths:?}");
    assert_eq!(status(place)["warehouse"].as_str(), place.warehouse.to_str());
    if has("python3") {
        let reader = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/read_journal");
        let second = Command::new("python3").arg(reader).arg(&place.state).output().unwrap();
        assert!(second.status.success(), "{}", err(&second));
        let first = place.subcommand(&["journal", "inspect", "--json"]);
        assert_eq!(out(&second), out(&first), "the second reader");
    }
}

/// Why: after a move, duplicates stayed in spite of `--duplicates remove`, every line's path was outside of the warehouse,
/// and neither `explain` nor `forget` knew any path.
#[test]
fn a_start_notices_that_all_of_it_was_moved() {
    let mut place = with_files();
    move_to(&mut place, &["warehouse", "manifests", "state"]);
    place.stage("a.csv", csv(1, 100));
    place.stage("n.csv", csv(3, 100));
    let of_old =
        |text: &str| text.lines().any(|line| line.starts_with("DUPLICATE") && !line.contains("/new/warehouse/"));
    let foreseen = place.once_ok(&["--dry-run"]);
    assert!(out(&foreseen).contains(place.warehouse.join("ingest_date=").to_str().unwrap()), "{}", out(&foreseen));
    assert!(out(&foreseen).contains("DUPLICATE: ") && !of_old(&out(&foreseen)), "{}", out(&foreseen));
    let output = place.once_ok(&["--duplicates", "remove"]);
    assert_eq!(events(&output, "relocated").len(), 2, "{}", err(&output));
    assert!(place.staged_names().is_empty(), "{:?}", place.staged_names());
    check(&place, 3);
    let again = place.once_ok(&[]);
    assert!(events(&again, "relocated").is_empty());
    // A snapshot with the records after it has the same result as the records alone.
    for _ in 0..2 {
        assert!(place.subcommand(&["journal", "compact"]).status.success());
        check(&place, 3);
    }
    let path = in_warehouse(&place, "a.csv");
    let forgotten = place.subcommand(&["forget", path.to_str().unwrap()]);
    assert!(forgotten.status.success(), "{}", err(&forgotten));
    place.stage("a2.csv", csv(1, 100));
    place.once_ok(&[]);
    assert_eq!(lines_of(&place, "a2.csv"), 1);
    check(&place, 4);
}

/// Why: the same with a command, before an ingestor starts at the new paths.
#[test]
fn relocate_tells_the_journal() {
    let mut place = with_files();
    place.stage("kept.csv", csv(1, 100));
    place.once_ok(&[]);
    assert!(place.subcommand(&["journal", "compact"]).status.success());
    let new = move_to(&mut place, &["staging", "warehouse", "manifests", "state"]);
    let (input, warehouse, manifests) = (new.join("staging"), new.join("warehouse"), new.join("manifests"));
    let arguments = [("--warehouse", &*warehouse), ("--manifests", &*manifests), ("--input", &*input)];
    let told = relocate(&place, &arguments);
    assert!(told.status.success() && out(&told).lines().count() == 3, "{}{}", out(&told), err(&told));
    check(&place, 2);
    let told = relocate(&place, &arguments);
    assert!(told.status.success() && out(&told).starts_with("nothing to do"), "{}", out(&told));
    // The start finds nothing new: the journal knows these directories.
    let output = place.once_ok(&["--duplicates", "remove"]);
    assert!(events(&output, "relocated").is_empty());
    assert!(place.staged_names().is_empty(), "the kept duplicate's original was found");
    check(&place, 2);
    let history = out(&place.subcommand(&["explain", input.join("b.csv").to_str().unwrap()]));
    assert!(
        history.contains("INGESTED") || history.contains("moved_to") || history.contains("MANIFESTED"),
        "{history}"
    );
}

/// Why: with a wrong argument, every path of the journal would be read wrongly.
#[test]
fn it_refuses_what_cannot_be_and_changes_nothing() {
    let place = with_files();
    let before = out(&place.subcommand(&["journal", "inspect", "--json"]));
    let missing = place.root.path().join("missing");
    for arguments in [
        vec![("--warehouse", &*missing)],
        vec![("--warehouse", &*place.warehouse), ("--manifests", &*missing)],
        vec![("--warehouse", &*place.warehouse), ("--input", &*missing)],
    ] {
        let refused = relocate(&place, &arguments);
        assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
        assert!(err(&refused).contains(missing.to_str().unwrap()), "{}", err(&refused));
    }
    let daemon = place.start(&[]);
    daemon.wait_started();
    let refused = relocate(&place, &[("--warehouse", &*place.staging)]);
    assert_eq!(refused.status.code(), Some(4), "{}", err(&refused));
    drop(daemon);
    assert_eq!(out(&place.subcommand(&["journal", "inspect", "--json"])), before);
    let nowhere = Place::new();
    let refused = relocate(&nowhere, &[("--warehouse", &*place.warehouse)]);
    assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
    assert!(!nowhere.state.exists());
}

/// Why: directories that `run` would refuse were written to the journal, and a record cannot be removed: a typing error left
/// a journal with ambiguous paths.
#[test]
fn it_refuses_directories_that_lie_in_each_other() {
    let place = with_files();
    let [inner, below, link] = ["warehouse/inner", "manifests/inner", "link"].map(|name| place.root.path().join(name));
    [&inner, &below].iter().for_each(|path| std::fs::create_dir(path).unwrap());
    std::os::unix::fs::symlink(&place.manifests, &link).unwrap();
    let (warehouse, manifests, input, state) = (&*place.warehouse, &*place.manifests, &*place.staging, &*place.state);
    let before = snapshot(place.root.path());
    for arguments in [
        vec![("--warehouse", warehouse), ("--input", warehouse)],
        vec![("--warehouse", warehouse), ("--input", &inner)],
        vec![("--warehouse", warehouse), ("--input", manifests)],
        vec![("--warehouse", warehouse), ("--input", &link)],
        vec![("--warehouse", warehouse), ("--input", &below)],
        vec![("--warehouse", warehouse), ("--input", state)],
        vec![("--warehouse", manifests)],
        vec![("--warehouse", &link)],
        vec![("--warehouse", input)],
        vec![("--warehouse", state)],
        vec![("--warehouse", warehouse), ("--manifests", warehouse)],
        vec![("--warehouse", warehouse), ("--manifests", input)],
        vec![("--warehouse", warehouse), ("--manifests", state)],
        vec![("--warehouse", &below), ("--manifests", &below)],
    ] {
        let refused = relocate(&place, &arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {}{}", out(&refused), err(&refused));
        let words = ["is inside", "would be one directory"];
        assert!(words.iter().any(|word| err(&refused).contains(word)), "{arguments:?}: {}", err(&refused));
        assert_eq!(snapshot(place.root.path()), before, "{arguments:?}");
    }
    check(&place, 2);
}

/// Why: `run` accepts one directory for warehouse and manifests, so it must be possible to move it.
#[test]
fn one_directory_for_both_can_be_moved() {
    let mut place = Place::new();
    place.manifests.clone_from(&place.warehouse);
    place.stage("a.csv", csv(1, 100));
    place.once_ok(&[]);
    let new = move_to(&mut place, &["warehouse"]).join("warehouse");
    place.manifests.clone_from(&new);
    let moved = relocate(&place, &[("--warehouse", &*new), ("--manifests", &*new)]);
    assert!(moved.status.success(), "{}", err(&moved));
    place.stage("a.csv", csv(1, 100));
    place.once_ok(&["--duplicates", "remove"]);
    assert!(place.staged_names().is_empty(), "{:?}", place.staged_names());
}

/// Why: the records of an unfinished file have its paths; with other paths it could not be distinguished from a lost file.
#[test]
fn it_refuses_while_a_file_is_half_done() {
    use csv_ingestor::fs::real::RealFs;
    use csv_ingestor::journal::Journal;
    use csv_ingestor::journal::index::Index;
    use csv_ingestor::journal::record::{Discovered, Hashed, Record};
    use csv_ingestor::types::{FileIdentity, IngestId, Sha256, UnixMillis};
    let mut place = with_files();
    let (mut journal, _) = Journal::open(&RealFs::default(), &place.state, &mut Index::default()).unwrap();
    let ingest_id = IngestId(journal.next_lsn().0);
    let (identity, source_path) = (FileIdentity::default(), place.staging.join("half.csv"));
    let found = Discovered { identity, discovered_at: UnixMillis(1), source_path, sidecar: None };
    let warehouse_path = place.warehouse.join("ingest_date=2026-01-01/half.csv");
    let hashed = Hashed { ingest_id, sha256: Sha256([7; 32]), warehouse_path, copy: None, verified_by: None };
    journal.append(&[Record::Discovered(found), Record::Hashed(hashed)]).unwrap();
    journal.shut_down().unwrap();
    let old = place.warehouse.clone();
    let new = move_to(&mut place, &["warehouse"]).join("warehouse");
    let refused = relocate(&place, &[("--warehouse", &*new)]);
    assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
    assert!(err(&refused).contains("replay"), "{}", err(&refused));
    // The advice in the message works.
    std::fs::rename(&new, &old).unwrap();
    assert!(place.subcommand(&["replay"]).status.success());
    std::fs::rename(&old, &new).unwrap();
    assert!(relocate(&place, &[("--warehouse", &*new)]).status.success());
    check(&place, 2);
}

/// Why: another warehouse is no move while the old one still exists; nor is one without files of this journal.
#[test]
fn another_place_is_no_move() {
    let mut place = with_files();
    let old = place.warehouse.clone();
    place.warehouse = place.root.path().join("other");
    place.stage("c.csv", csv(3, 100));
    let output = place.once_ok(&[]);
    assert!(events(&output, "relocated").is_empty());
    let lines = place.manifest_lines();
    let below = |root: &Path| {
        lines.iter().filter(|line| Path::new(line["warehouse_path"].as_str().unwrap()).starts_with(root)).count()
    };
    assert_eq!((below(&old), below(&place.warehouse)), (2, 1));
    let paths: Vec<_> =
        place.inspect().iter().map(|file| file["warehouse_path"].as_str().unwrap().to_owned()).collect();
    assert_eq!(paths.iter().filter(|path| Path::new(path).starts_with(&old)).count(), 2, "{paths:?}");
}

/// Why: a disk is exchanged, and the files return to their old path; and new files use the old path again.
#[test]
fn there_and_back_and_the_old_path_used_again() {
    let mut place = with_files();
    let (old, new) = (place.warehouse.clone(), move_to(&mut place, &["warehouse"]).join("warehouse"));
    assert!(relocate(&place, &[("--warehouse", &*new)]).status.success());
    place.stage("c.csv", csv(3, 100));
    place.once_ok(&[]);
    check(&place, 3);
    std::fs::rename(&new, &old).unwrap();
    place.warehouse = old;
    assert!(relocate(&place, &[("--warehouse", &*place.warehouse)]).status.success());
    place.stage("d.csv", csv(4, 100));
    place.once_ok(&[]);
    check(&place, 4);
    assert!(place.subcommand(&["journal", "compact"]).status.success());
    check(&place, 4);
}

/// Why: after a move and the loss of the state directory, every line's path was outside of the warehouse.
#[test]
fn a_rebuild_understands_lines_of_the_old_path() {
    let mut place = with_files();
    move_to(&mut place, &["warehouse", "manifests"]);
    std::fs::remove_dir_all(&place.state).unwrap();
    let [manifests, warehouse] = [&place.manifests, &place.warehouse].map(|path| path.to_str().unwrap().to_owned());
    let words = ["journal", "rebuild", "--manifests", &manifests, "--warehouse", &warehouse, "--verify"];
    let rebuilt = place.subcommand(&words);
    assert_eq!(rebuilt.status.code(), Some(0), "{}{}", out(&rebuilt), err(&rebuilt));
    place.stage("a.csv", csv(1, 100));
    place.stage("n.csv", csv(3, 100));
    place.once_ok(&["--duplicates", "remove"]);
    assert!(place.staged_names().is_empty(), "{:?}", place.staged_names());
    let (summary, code) = audit(&place);
    assert_eq!((summary["lines"].as_u64(), code), (Some(3), Some(0)), "{summary}");
    // Without a journal, from the directories alone.
    let alone =
        Command::new(BINARY).args(["audit", "--manifests", &manifests, "--warehouse", &warehouse]).output().unwrap();
    assert_eq!(alone.status.code(), Some(0), "{}", out(&alone));
}
