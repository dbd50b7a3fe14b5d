//! Manifests that cannot be read: each is a finding, and everything that does not depend on it is still audited.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use super::lines::one_manifest;
use super::{AT_ONCE, at, audit, audit_as_nobody, audit_without_journal, path};
use crate::harness::{Place, csv};

/// Replaces a manifest, which is renamed to `.aside`; returns the word that the finding must have for the new file.
type Replace = fn(&Path) -> &'static str;

fn aside(manifest: &Path) -> PathBuf {
    manifest.with_extension("aside")
}

fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

const REPLACEMENTS: [Replace; 4] = [
    |manifest| {
        symlink(aside(manifest), manifest).unwrap();
        "symbolic link"
    },
    |manifest| {
        make_fifo(manifest);
        "pipe"
    },
    |manifest| {
        std::fs::create_dir(manifest).unwrap();
        "directory"
    },
    |manifest| {
        drop(UnixListener::bind(manifest).unwrap());
        "socket"
    },
];

/// The path of a manifest of an hour long ago, beside the one manifest of the place.
fn another_hour(place: &Place) -> PathBuf {
    let hour = place.manifests.join("2020/02/03/04");
    std::fs::create_dir_all(&hour).unwrap();
    hour.join("manifest.jsonl")
}

/// Why: one wrong file among years of manifests must not keep an operator from auditing the rest.
#[test]
fn what_is_no_regular_file_is_a_finding_and_the_rest_is_audited() {
    for replace in REPLACEMENTS {
        let (place, manifest) = one_manifest(3);
        let other = another_hour(&place);
        std::fs::copy(&manifest, aside(&other)).unwrap();
        let called = replace(&other);
        std::fs::write(at(&place, "2.csv"), csv(9, 300)).unwrap();
        let audited = audit(&place, &[]);
        let finding = audited.found(&["altered", "irregular_manifest"]);
        // It is reported first, and a link is not followed: the lines in its target would be listed twice.
        assert_eq!((path(finding), &finding["finding"]), (other.as_path(), &"irregular_manifest".into()));
        assert!(finding["detail"].as_str().unwrap().contains(called), "{finding}");
        assert_eq!((&audited.summary["lines"], &audited.summary["files"]), (&3.into(), &3.into()));
        assert_eq!(audited.summary["undecided"], 0);
        // With a later `--since`, it is not read.
        audit(&place, &["--since", "2020-02-04"]).found(&["altered"]);
    }
}

/// Why: a file cannot be reported as unlisted if a manifest that may list it was not read. But the journal knows what the
/// file must be.
#[test]
fn what_its_lines_would_say_is_not_guessed() {
    for replace in REPLACEMENTS {
        let (place, manifest) = one_manifest(3);
        std::fs::rename(&manifest, aside(&manifest)).unwrap();
        replace(&manifest);
        let audited = audit(&place, &[]);
        audited.found(&["irregular_manifest"]);
        assert_eq!((&audited.summary["undecided"], &audited.summary["files"]), (&3.into(), &3.into()));
        let without = audit_without_journal(&place, &[]);
        without.found(&["irregular_manifest"]);
        assert_eq!((&without.summary["undecided"], &without.summary["files"]), (&3.into(), &0.into()));
        std::fs::write(at(&place, "2.csv"), csv(9, 300)).unwrap();
        let other_day = place.warehouse.join("ingest_date=2020-02-03");
        std::fs::create_dir(&other_day).unwrap();
        std::fs::write(other_day.join("x.csv"), "x").unwrap();
        audit(&place, &AT_ONCE).found(&["altered", "extra", "irregular_manifest"]);
    }
}

/// A process that writes into a pipe: it waits until another process opens the pipe for reading.
struct Writer(Child);

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Why: opening a pipe affects the process at its other end; an audit must have no effects.
#[test]
fn a_pipe_is_not_opened() {
    let (place, _) = one_manifest(1);
    let pipe = another_hour(&place);
    make_fifo(&pipe);
    let mut writer = Writer(Command::new("sh").args(["-c", "echo {} >\"$0\""]).arg(&pipe).spawn().unwrap());
    // It waits in open(2).
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(writer.0.try_wait().unwrap().is_none(), "the writer does not wait at the pipe");
    audit(&place, &[]).found(&["irregular_manifest"]);
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(writer.0.try_wait().unwrap().is_none(), "the pipe was opened");
}

/// Only root has access meanwhile. Afterwards the clean-up needs access.
fn while_closed<T>(paths: &[PathBuf], work: impl FnOnce() -> T) -> T {
    let set = |mode: u32| {
        paths.iter().for_each(|path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap());
    };
    set(0o000);
    let done = work();
    set(0o755);
    done
}

/// Why: a missing permission is no damage, but without the lines the files that they list cannot be checked: that must not
/// count as a clean warehouse, nor end the audit of the rest.
#[test]
fn one_without_permission_is_unreadable_and_the_rest_is_audited() {
    let (place, manifest) = one_manifest(2);
    let mut hour: Vec<PathBuf> = ["2020/02/03/04", "2021"].iter().map(|dir| place.manifests.join(dir)).collect();
    std::fs::create_dir_all(&hour[0]).unwrap();
    std::fs::create_dir_all(hour[1].join("01/01/00")).unwrap();
    hour[0].push("manifest.jsonl");
    std::fs::copy(&manifest, &hour[0]).unwrap();
    std::fs::write(at(&place, "1.csv"), csv(9, 300)).unwrap();
    let Some(audited) = while_closed(&hour, || audit_as_nobody(&place)) else { return };
    audited.found(&["altered", "unreadable", "unreadable"]);
    let told = |closed: &Path| audited.findings.iter().find(|finding| path(finding) == closed).unwrap();
    for closed in &hour {
        assert!(told(closed)["detail"].as_str().unwrap().contains("denied"), "{}", told(closed));
    }
    assert_eq!((&audited.summary["lines"], &audited.summary["undecided"]), (&2.into(), &0.into()));
}
