//! `csv-ingestor journal rebuild`: a lost state directory is rebuilt from the manifests.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Output;
use std::time::Instant;

use serde_json::Value;

use crate::audit::{Audited, at, audit_without_journal, ingest, ingested};
use crate::harness::{BINARY, Place, bare, csv, err, out, sha256_hex, snapshot};

fn rebuild(place: &Place, more: &[&str]) -> Output {
    let mut command = bare(&["journal", "rebuild", "--grace", "0s"]);
    command.arg("--state-path").arg(&place.state).arg("--manifests").arg(&place.manifests);
    command.arg("--warehouse").arg(&place.warehouse).args(more).output().unwrap()
}

#[track_caller]
fn rebuilt(place: &Place, more: &[&str]) -> String {
    let output = rebuild(place, more);
    assert_eq!(output.status.code(), Some(0), "{}{}", out(&output), err(&output));
    out(&output)
}

#[track_caller]
fn verified(place: &Place) -> String {
    let output = place.subcommand(&["journal", "verify"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    out(&output)
}

/// The journal's entry for each file, without the fields that a manifest does not have.
fn told(place: &Place) -> BTreeMap<String, Value> {
    let mut files = place.inspect();
    for file in &mut files {
        let fields = file.as_object_mut().unwrap();
        fields.remove("lsn");
        fields.remove("updated_at");
    }
    files.into_iter().map(|file| (file["sha256"].as_str().unwrap().to_owned(), file)).collect()
}

fn audit(place: &Place) -> Audited {
    crate::audit::audit(place, &[])
}

/// Why: this is its purpose. The same contents are known as before, and no id is assigned twice.
#[test]
fn a_lost_state_directory_is_made_good() {
    let place = ingested(6);
    let before = told(&place);
    let highest = before.values().map(|file| file["ingest_id"].as_u64().unwrap()).max().unwrap();
    std::fs::remove_dir_all(&place.state).unwrap();
    let others = [snapshot(&place.warehouse), snapshot(&place.manifests)];
    let text = rebuilt(&place, &[]);
    assert!(text.starts_with("6 lines: 6 contents are remembered\nwrote "), "{text}");
    assert!(text.ends_with("\nno findings\n"), "{text}");
    assert_eq!([snapshot(&place.warehouse), snapshot(&place.manifests)], others, "something else was changed");
    assert_eq!(std::fs::metadata(&place.state).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(verified(&place).starts_with("intact; "), "{}", verified(&place));
    assert_eq!(told(&place), before);
    // It names no directories until a run gives some; there is nothing to finish.
    let replay = place.subcommand(&["replay"]);
    assert!(replay.status.success(), "{}", err(&replay));
    // Files that are sent again are duplicates, new contents are not.
    for seed in 4..=9 {
        place.stage(format!("again-{seed}.csv"), csv(seed, 300));
    }
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 9);
    assert_eq!(place.staged_names(), ["again-4.csv", "again-5.csv", "again-6.csv"]);
    let ids = place.inspect().into_iter().filter(|file| file["source_path"].as_str().unwrap().contains("again"));
    assert!(ids.map(|file| file["ingest_id"].as_u64().unwrap()).all(|id| id > highest + 1_000_000));
    audit(&place).clean();
    assert!(place.subcommand(&["journal", "compact"]).status.success());
    verified(&place);
    audit(&place).clean();
}

/// Why: often only the lock file of a lost journal is left, and it identifies the journal's own unfinished copies.
#[test]
fn a_lock_file_that_is_left_says_which_journal_it_was() {
    let place = ingested(3);
    let lock = place.state.join("LOCK");
    let uuid = std::fs::read_to_string(&lock).unwrap().lines().nth(1).unwrap().to_owned();
    for entry in std::fs::read_dir(&place.state).unwrap() {
        let path = entry.unwrap().path();
        if path != lock {
            std::fs::remove_file(path).unwrap();
        }
    }
    let refused = place.once(&[]);
    assert_eq!(refused.status.code(), Some(3), "{}", err(&refused));
    rebuilt(&place, &["--verify", "--concurrency", "2"]);
    verified(&place);
    assert_eq!(std::fs::read_to_string(&lock).unwrap().lines().nth(1), Some(uuid.as_str()));
    let frames = out(&place.subcommand(&["journal", "inspect", "--frames"]));
    assert!(frames.lines().all(|line| !line.contains("store=") || line.contains(&uuid)), "{frames}");
    place.stage("again.csv", csv(1, 300));
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 3);
}

/// Why: a rebuild over an existing journal would lose everything that only the journal knows.
#[test]
fn where_there_is_a_journal_it_is_refused() {
    let place = ingested(2);
    let before = snapshot(place.root.path());
    let output = rebuild(&place, &[]);
    assert_eq!(output.status.code(), Some(2), "{}", err(&output));
    assert!(err(&output).contains("journal already") && err(&output).contains("journal repair"), "{}", err(&output));
    assert_eq!(snapshot(place.root.path()), before);
    let daemon = place.start(&[]);
    daemon.wait_started();
    assert_eq!(rebuild(&place, &[]).status.code(), Some(4));
    assert!(daemon.stop().success());
    // A directory of another program; a missing manifests directory.
    std::fs::remove_dir_all(&place.state).unwrap();
    std::fs::create_dir(&place.state).unwrap();
    std::fs::write(place.state.join("notes.txt"), "x").unwrap();
    assert_eq!(rebuild(&place, &[]).status.code(), Some(2));
    std::fs::remove_dir_all(&place.state).unwrap();
    std::fs::rename(&place.manifests, place.root.path().join("elsewhere")).unwrap();
    let output = rebuild(&place, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(err(&output).contains("manifests") && !place.state.exists(), "{}", err(&output));
}

/// Why: several ingestors assign the same ids; a journal may have each only once. And of one content the newest line counts.
#[test]
fn ids_of_several_ingestors_and_older_lines_are_told_apart() {
    let (one, mut other) = (Place::new(), Place::new());
    (other.warehouse, other.manifests) = (one.warehouse.clone(), one.manifests.clone());
    // Each in a run of its own: the ids of several in one run depend on how they fall into batches.
    (1..=4).for_each(|seed| ingest(&one, seed..=seed));
    (3..=6).for_each(|seed| ingest(&other, seed..=seed));
    let newest: BTreeMap<String, String> = other
        .inspect()
        .into_iter()
        .map(|file| (file["sha256"].as_str().unwrap().to_owned(), file["warehouse_path"].as_str().unwrap().to_owned()))
        .collect();
    std::fs::remove_dir_all(&one.state).unwrap();
    let text = rebuilt(&one, &["--verify"]);
    assert!(text.contains("8 lines: 6 contents are remembered\n2 lines are older ones"), "{text}");
    assert!(text.contains(" contents got a new ingest id"), "{text}");
    verified(&one);
    let files = one.inspect();
    let ids: std::collections::BTreeSet<u64> = files.iter().map(|file| file["ingest_id"].as_u64().unwrap()).collect();
    assert_eq!((files.len(), ids.len()), (6, 6));
    for file in files {
        let expected = newest.get(file["sha256"].as_str().unwrap());
        assert!(expected.is_none_or(|path| file["warehouse_path"] == path.as_str()), "{file}");
    }
    // Lines whose ids the journal has for other files do not contradict it.
    one.once_ok(&[]);
    audit(&one).clean();
}

fn manifest(place: &Place) -> PathBuf {
    let mut path = place.manifests.clone();
    while path.is_dir() {
        path = std::fs::read_dir(&path).unwrap().next().unwrap().unwrap().path();
    }
    path
}

/// Why: a file that was MOVED without a line is in the warehouse, but unknown: each such file must be reported.
#[test]
fn what_cannot_be_read_or_is_not_listed_is_told() {
    let (place, manifest, text) = loop {
        let place = ingested(4);
        let manifest = manifest(&place);
        let text = std::fs::read_to_string(&manifest).unwrap();
        // Otherwise the hour ended meanwhile.
        if text.lines().count() == 4 {
            break (place, manifest, text);
        }
    };
    let (last, kept): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.contains("/4.csv\""));
    let torn = &last[0][..last[0].len() / 2];
    std::fs::write(&manifest, format!("{}\n\n{torn}", kept.join("\n"))).unwrap();
    std::fs::remove_dir_all(&place.state).unwrap();
    let output = rebuild(&place, &[]);
    assert_eq!(output.status.code(), Some(5), "{}", err(&output));
    let text = out(&output);
    let manifest = manifest.display();
    assert!(
        text.contains(&format!("MALFORMED LINE: {manifest}: ")) && text.contains(&format!("[{manifest}:4]")),
        "{text}"
    );
    assert!(text.contains(&format!("TORN LINE: {manifest}: ")) && text.contains(&format!("[{manifest}:5]")), "{text}");
    assert!(text.contains(&format!("EXTRA: {}: no manifest lists it", at(&place, "4.csv").display())), "{text}");
    assert!(text.contains("3 lines: 3 contents are remembered"), "{text}");
    verified(&place);
    assert_eq!(place.inspect().len(), 3);
    // As reported: if it is sent again, it is ingested again. The torn line is removed then.
    place.stage("again.csv", csv(4, 300));
    place.stage("known.csv", csv(3, 300));
    place.once_ok(&[]);
    assert_eq!(place.staged_names(), ["known.csv"]);
    assert_eq!(place.inspect().iter().filter(|file| file["state"] == "MANIFESTED").count(), 4);
}

/// Why: with a journal that lacks one hour, that hour's files would be ingested again if sent again, and it could not be
/// rebuilt once more.
#[test]
fn a_manifest_that_cannot_be_read_ends_it_without_a_journal() {
    let place = ingested(3);
    std::fs::remove_dir_all(&place.state).unwrap();
    let manifest = manifest(&place);
    let aside = manifest.with_extension("aside");
    std::fs::rename(&manifest, &aside).unwrap();
    std::os::unix::fs::symlink(&aside, &manifest).unwrap();
    let before = [snapshot(&place.warehouse), snapshot(&place.manifests)];
    let output = rebuild(&place, &[]);
    assert_eq!(output.status.code(), Some(1), "{}{}", out(&output), err(&output));
    let said = err(&output);
    assert!(
        said.contains(&format!("{} is a symbolic link", manifest.display())) && said.contains("try again"),
        "{said}"
    );
    assert_eq!([snapshot(&place.warehouse), snapshot(&place.manifests)], before, "something was changed");
    assert!(std::fs::read_dir(&place.state).unwrap().next().is_none(), "something of a journal is left");
    std::fs::rename(&aside, &manifest).unwrap();
    rebuilt(&place, &[]);
    assert_eq!(place.inspect().len(), 3);
}

/// Why: an operator who rebuilds a hundred state directories reads the results with a script, and expects an audit's keys.
#[test]
fn json_says_the_same_to_scripts() {
    let place = ingested(4);
    std::fs::remove_file(at(&place, "1.csv")).unwrap();
    std::fs::remove_dir_all(&place.state).unwrap();
    let output = rebuild(&place, &["--json"]);
    let clean = Audited::of(&output);
    assert_eq!((clean.code, clean.findings.len(), err(&output)), (Some(0), 0, String::new()));
    let summary = clean.summary.as_object().unwrap();
    let snapshot = PathBuf::from(summary["snapshot"].as_str().unwrap());
    assert!(snapshot.is_file() && snapshot.starts_with(&place.state), "{}", snapshot.display());
    let lsn = summary["next_lsn"].as_u64().unwrap() - 1;
    assert!(verified(&place).contains(&format!("up to LSN {lsn}")), "{}", verified(&place));
    assert!(summary["seconds"].is_number());
    for (key, expected) in [
        ("verdict", Value::from("clean")),
        ("lines", 4.into()),
        ("contents", 4.into()),
        ("older_lines", 0.into()),
        ("renumbered", 0.into()),
        ("state_path", place.state.to_str().unwrap().into()),
        ("verified", false.into()),
        ("files", 0.into()),
        ("bytes_hashed", 0.into()),
    ] {
        assert_eq!(summary[key], expected, "{key}");
    }
    let audited = crate::audit::audit_without_journal(&place, &[]);
    assert_eq!(summary["findings"].as_object().unwrap().len(), audited.summary["findings"].as_object().unwrap().len());
    // With a finding, which is reported as by an audit.
    std::fs::remove_dir_all(&place.state).unwrap();
    let found = Audited::of(&rebuild(&place, &["--verify", "--json"]));
    assert_eq!(found.found(&["missing"]), &audited.findings[0]);
    let bytes: usize = place.warehouse_files().values().map(Vec::len).sum();
    assert_eq!((&found.summary["verified"], &found.summary["bytes_hashed"]), (&true.into(), &bytes.into()));
    assert_eq!(found.summary["findings"]["missing"], 1);
    // If refused, it prints nothing that a script could take for a summary.
    let refused = rebuild(&place, &["--json"]);
    assert_eq!((refused.status.code(), out(&refused)), (Some(2), String::new()));
}

/// Why: the summary must be valid JSON, whatever the directory's name is.
#[test]
fn json_holds_paths_that_are_not_utf8() {
    use base64::Engine as _;
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    let mut place = ingested(1);
    place.state = place.root.path().join(std::ffi::OsString::from_vec(b"state-\xff".to_vec()));
    let summary = Audited::of(&rebuild(&place, &["--json"])).summary;
    let exact =
        base64::engine::general_purpose::STANDARD.decode(summary["state_path_base64"].as_str().unwrap()).unwrap();
    assert_eq!(exact, place.state.as_os_str().as_bytes());
    assert!(
        summary["state_path"].as_str().unwrap().ends_with("state-\u{fffd}") && summary["snapshot_base64"].is_string()
    );
}

/// Why: a content whose file was removed from the warehouse, or is damaged there, stays known, as in the lost journal.
#[test]
fn verify_tells_what_is_missing_or_altered_and_remembers_it_all_the_same() {
    let place = ingested(4);
    std::fs::remove_file(at(&place, "1.csv")).unwrap();
    std::fs::write(at(&place, "2.csv"), csv(77, 300)).unwrap();
    std::fs::remove_dir_all(&place.state).unwrap();
    let output = rebuild(&place, &["--verify"]);
    assert_eq!(output.status.code(), Some(5), "{}", err(&output));
    let text = out(&output);
    assert!(text.contains("MISSING: ") && text.contains("/1.csv: ") && text.contains("ALTERED: "), "{text}");
    assert!(text.contains(&sha256_hex(&csv(77, 300))) && text.contains(&sha256_hex(&csv(2, 300))), "{text}");
    assert!(text.ends_with("2 findings: 1 missing, 1 altered\n"), "{text}");
    verified(&place);
    for seed in 1..=4 {
        place.stage(format!("again-{seed}.csv"), csv(seed, 300));
    }
    place.once_ok(&[]);
    assert_eq!((place.staged_names().len(), place.manifest_lines().len()), (4, 4));
    // Without --verify, files are not examined.
    std::fs::remove_dir_all(&place.state).unwrap();
    rebuilt(&place, &[]);
}

/// Why: if it is interrupted between its two files, the result is no journal: no ingestor starts, the message says what to
/// do, and that works.
#[test]
fn a_rebuild_that_was_cut_off_is_refused_and_begun_again() {
    let place = ingested(3);
    std::fs::remove_dir_all(&place.state).unwrap();
    rebuilt(&place, &[]);
    let named = |extension: &str| {
        let entries = std::fs::read_dir(&place.state).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|it| it == extension)).collect::<Vec<_>>()
    };
    // As after a crash: the segment, and the snapshot under its temporary name.
    let whole = named("snap").remove(0);
    std::fs::rename(&whole, whole.with_extension("tmp")).unwrap();
    std::fs::remove_file(place.state.join("LOCK")).unwrap();
    let refused = place.once(&[]);
    assert_eq!(refused.status.code(), Some(3), "{}", err(&refused));
    assert!(err(&refused).contains("journal rebuild"), "{}", err(&refused));
    for words in [["journal", "verify"], ["journal", "repair"]] {
        let refused = place.subcommand(&words);
        assert_eq!(refused.status.code(), Some(3), "{}", err(&refused));
        assert!(err(&refused).contains("Run: csv-ingestor journal rebuild"), "{}", err(&refused));
    }
    rebuilt(&place, &[]);
    verified(&place);
    assert_eq!((named("snap").len(), named("log").len(), named("tmp").len()), (1, 1, 0));
    assert!(named("snap")[0] > whole, "an LSN was assigned twice");
    place.stage("again.csv", csv(2, 300));
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 3);
    audit(&place).clean();
}

/// Why: there may be years of manifests, and ingestion stops until the rebuild is finished.
#[test]
fn a_hundred_thousand_lines_are_a_matter_of_seconds() {
    const LINES: u64 = 100_000;
    let place = Place::new();
    for dir in [&place.warehouse, &place.manifests] {
        std::fs::create_dir(dir).unwrap();
    }
    let known = csv(1, 300);
    for hour in 0..20 {
        let dir = place.manifests.join(format!("2026/03/04/{hour:02}"));
        std::fs::create_dir_all(&dir).unwrap();
        let lines = (hour * LINES / 20..(hour + 1) * LINES / 20).map(|n| {
            let sha256 = if n == 77 { sha256_hex(&known) } else { sha256_hex(&n.to_le_bytes()) };
            format!(
                "{{\"path\":\"/in/{n}.csv\",\"sha256\":\"{sha256}\",\"device\":1,\"inode\":{n},\"size\":9,\"mtime\":5,\
                 \"warehouse_path\":\"/wh/ingest_date=2026-03-04/{n}.csv\",\"ingest_id\":{},\
                 \"ingested_at\":\"2026-03-04T{hour:02}:00:00.000Z\"}}\n",
                3 * n + 1
            )
        });
        std::fs::write(dir.join("manifest.jsonl"), lines.collect::<String>()).unwrap();
    }
    let begun = Instant::now();
    let text = rebuilt(&place, &[]);
    eprintln!("rebuilt from {LINES} lines in {:.2} s", begun.elapsed().as_secs_f64());
    assert!(text.starts_with("100000 lines: 100000 contents are remembered\n"), "{text}");
    assert!(verified(&place).contains("a snapshot of 100000 contents"), "{}", verified(&place));
    assert_eq!(out(&place.subcommand(&["journal", "inspect", "--limit", "3"])).lines().count(), 3);
    place.stage("known.csv", &known);
    place.stage("new.csv", csv(2, 300));
    place.once_ok(&[]);
    assert_eq!(place.staged_names(), ["known.csv"]);
}

#[test]
fn the_help_names_every_option() {
    let help = out(&bare(&["journal", "rebuild", "--help"]).output().unwrap());
    for option in ["--state-path", "--warehouse", "--manifests", "--verify", "--concurrency", "--json"] {
        assert!(help.contains(option), "{option} is not in {help}");
    }
    let missing = bare(&["journal", "rebuild", "--state-path", "x"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
    let output = std::process::Command::new(BINARY)
        .args(["journal", "rebuild", "--concurrency", "0", "--state-path", "x", "--manifests", "x", "--warehouse", "x"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", err(&output));
}

/// Why: an audit without a journal has the same result after a rebuild.
#[test]
fn the_rebuilt_journal_knows_what_the_manifests_list() {
    let place = ingested(5);
    std::fs::remove_dir_all(&place.state).unwrap();
    rebuilt(&place, &[]);
    audit_without_journal(&place, &[]).clean();
    let words = ["--warehouse", place.warehouse.to_str().unwrap(), "--manifests", place.manifests.to_str().unwrap()];
    crate::audit::audit(&place, &words).clean();
    let output = bare(&["audit", "--state-path", place.state.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", err(&output));
    assert!(err(&output).contains("names no directories yet"), "{}", err(&output));
}
