//! `csv-ingestor audit`: each kind of finding, made by damaging a real warehouse; and cases that must not be findings.

mod beside;
mod journal;
mod lines;
mod manifests;
mod options;
mod outside;
mod simulated;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::harness::{Place, bare, csv, has, is_root, json_lines, out, sha256_hex, snapshot};

/// The output of an audit.
pub(super) struct Audited {
    pub(super) code: Option<i32>,
    pub(super) findings: Vec<Value>,
    pub(super) summary: Value,
}

impl Audited {
    #[track_caller]
    pub(super) fn of(output: &Output) -> Audited {
        let mut lines = json_lines(&out(output));
        let last = lines.pop().unwrap_or_else(|| panic!("nothing printed: {output:?}"));
        let audited = Audited { code: output.status.code(), findings: lines, summary: last["summary"].clone() };
        let counted: u64 =
            audited.summary["findings"].as_object().unwrap().values().map(|it| it.as_u64().unwrap()).sum();
        assert_eq!(counted, audited.findings.len() as u64, "{:?}", audited.findings);
        audited
    }

    /// The kinds of the findings, in order.
    pub(super) fn kinds(&self) -> Vec<&str> {
        let mut kinds: Vec<&str> = self.findings.iter().map(|finding| finding["finding"].as_str().unwrap()).collect();
        kinds.sort_unstable();
        kinds
    }

    #[track_caller]
    pub(super) fn clean(&self) {
        assert_eq!((self.code, self.kinds()), (Some(0), vec![]), "{:?}", self.findings);
        assert_eq!(self.summary["verdict"], "clean");
    }

    /// Checks that these are the findings, and no others; returns the first.
    #[track_caller]
    pub(super) fn found(&self, kinds: &[&str]) -> &Value {
        assert_eq!((self.code, self.kinds()), (Some(5), kinds.to_vec()), "{:?}", self.findings);
        assert_eq!(self.summary["verdict"], "findings");
        &self.findings[0]
    }
}

/// Without a wait for what could be on its way: for tests in which nothing is.
pub(super) const AT_ONCE: [&str; 2] = ["--grace", "0s"];

#[track_caller]
pub(super) fn audit(place: &Place, more: &[&str]) -> Audited {
    Audited::of(&bare(&[&["audit", "--state-path", place.state.to_str().unwrap()], more].concat()).output().unwrap())
}

/// Audits warehouse and manifests alone.
#[track_caller]
pub(super) fn audit_without_journal(place: &Place, more: &[&str]) -> Audited {
    let (warehouse, manifests) = (place.warehouse.to_str().unwrap(), place.manifests.to_str().unwrap());
    Audited::of(
        &bare(&[&["audit", "--warehouse", warehouse, "--manifests", manifests], more].concat()).output().unwrap(),
    )
}

/// The same as a user who is subject to permissions; None if the tests cannot change the user.
fn audit_as_nobody(place: &Place) -> Option<Audited> {
    let (warehouse, manifests) = (place.warehouse.to_str().unwrap(), place.manifests.to_str().unwrap());
    let words = ["audit", "--warehouse", warehouse, "--manifests", manifests];
    if !rustix::process::geteuid().is_root() {
        return Some(Audited::of(&bare(&words).output().unwrap()));
    }
    if !has("setpriv") {
        return None;
    }
    std::fs::set_permissions(place.root.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    // Another user may not have access to the build directory.
    let program = place.root.path().join("csv-ingestor");
    std::fs::copy(crate::harness::BINARY, &program).unwrap();
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program).args(words);
    Some(Audited::of(&command.output().unwrap()))
}

/// A place with this many ingested files: `1.csv` with `csv(1, 300)`, and so on.
pub(super) fn ingested(files: u64) -> Place {
    let place = Place::new();
    ingest(&place, 1..=files);
    place
}

pub(super) fn ingest(place: &Place, seeds: std::ops::RangeInclusive<u64>) {
    for seed in seeds {
        place.stage(format!("{seed}.csv"), csv(seed, 300));
    }
    place.once_ok(&[]);
}

/// The path of a file in the warehouse.
pub(super) fn at(place: &Place, name: &str) -> PathBuf {
    let found = place.warehouse_files().into_keys().find(|path| path.file_name().unwrap() == name);
    found.unwrap_or_else(|| panic!("{name} is not in the warehouse"))
}

fn path(finding: &Value) -> &Path {
    Path::new(finding["path"].as_str().unwrap())
}

/// Why: an operator runs it on data that must not be lost. It changes nothing, and an intact warehouse has no findings.
#[test]
fn what_is_as_it_should_be_is_clean_and_untouched() {
    let place = ingested(7);
    place.stage("again.csv", csv(3, 300));
    place.once_ok(&[]);
    let before = snapshot(place.root.path());
    let audited = audit(&place, &[]);
    audited.clean();
    assert_eq!((&audited.summary["lines"], &audited.summary["files"]), (&7.into(), &7.into()));
    let bytes: usize = place.warehouse_files().values().map(Vec::len).sum();
    assert_eq!(audited.summary["bytes_hashed"], bytes);
    assert_eq!((&audited.summary["with_journal"], &audited.summary["seed"]), (&true.into(), &Value::Null));
    let without = audit_without_journal(&place, &[]);
    without.clean();
    assert_eq!(without.summary["with_journal"], false);
    assert_eq!(snapshot(place.root.path()), before, "something was changed");
}

#[test]
fn a_file_that_is_gone_is_missing() {
    let place = ingested(3);
    let gone = at(&place, "2.csv");
    std::fs::remove_file(&gone).unwrap();
    let audited = audit(&place, &[]);
    let finding = audited.found(&["missing"]);
    assert_eq!(path(finding), gone);
    assert_eq!(finding["expected_sha256"], sha256_hex(&csv(2, 300)));
    assert_eq!(finding["expected_size"], csv(2, 300).len());
    let line = &finding["lines"][0];
    let text = std::fs::read_to_string(line["manifest"].as_str().unwrap()).unwrap();
    let number = line["line"].as_u64().unwrap() as usize;
    assert!(text.lines().nth(number - 1).unwrap().contains("/2.csv"), "{line} in {text}");
    audit_without_journal(&place, &[]).found(&["missing"]);
    // The whole partition, as when a disk is not mounted.
    std::fs::remove_dir_all(gone.parent().unwrap()).unwrap();
    audit(&place, &[]).found(&["missing"; 3]);
}

#[test]
fn a_file_with_other_content_is_altered() {
    let place = ingested(4);
    let (other, longer, link) = (at(&place, "1.csv"), at(&place, "2.csv"), at(&place, "3.csv"));
    let mut content = std::fs::read(&other).unwrap();
    *content.last_mut().unwrap() ^= 1;
    std::fs::write(&other, &content).unwrap();
    std::fs::write(&longer, csv(9, 500)).unwrap();
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(at(&place, "4.csv"), &link).unwrap();
    let audited = audit(&place, &["--concurrency", "3"]);
    audited.found(&["altered"; 3]);
    let of = |wanted: &Path| audited.findings.iter().find(|finding| path(finding) == wanted).unwrap();
    assert_eq!(of(&other)["actual_sha256"], sha256_hex(&content));
    assert_eq!(of(&other)["expected_sha256"], sha256_hex(&csv(1, 300)));
    assert_eq!(
        (&of(&other)["actual_size"], &of(&other)["expected_size"]),
        (&content.len().into(), &content.len().into())
    );
    assert_eq!(of(&longer)["actual_size"], csv(9, 500).len());
    assert!(of(&link)["detail"].as_str().unwrap().contains("regular file"));
}

/// Why: every query reads any file in a partition as data, whoever put it there. Hidden names are not read.
#[test]
fn a_file_that_nobody_knows_is_extra() {
    let place = ingested(2);
    let partition = at(&place, "1.csv").parent().unwrap().to_owned();
    std::fs::write(partition.join(".hidden.csv"), "a").unwrap();
    std::fs::write(place.warehouse.join("README"), "a").unwrap();
    std::fs::create_dir(place.warehouse.join("other")).unwrap();
    std::fs::write(place.warehouse.join("other/x.csv"), "a").unwrap();
    audit(&place, &[]).clean();
    let extra = partition.join("extra.csv");
    std::fs::write(&extra, "a").unwrap();
    assert_eq!(path(audit(&place, &AT_ONCE).found(&["extra"])), extra);
    let audited = audit_without_journal(&place, &AT_ONCE);
    assert!(audited.found(&["extra"])["detail"].as_str().unwrap().contains("no manifest"));
}

#[test]
fn what_cannot_be_read_is_a_finding_of_its_own() {
    let place = ingested(3);
    let closed = at(&place, "2.csv");
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
    let Some(audited) = audit_as_nobody(&place) else { return };
    let finding = audited.found(&["unreadable"]);
    assert_eq!(path(finding), closed);
    assert!(finding["detail"].as_str().unwrap().contains("denied"), "{finding}");
}

/// Why: paths are bytes, in manifest lines as in directories.
#[test]
fn names_that_are_not_utf8_are_told_apart() {
    use std::os::unix::ffi::OsStrExt as _;
    let place = Place::new();
    for (name, seed) in [(&b"a\xff.csv"[..], 1), (b"a\xfe.csv", 2), ("ä\n.csv".as_bytes(), 3)] {
        place.stage(std::ffi::OsStr::from_bytes(name), csv(seed, 100));
    }
    place.once_ok(&[]);
    audit(&place, &[]).clean();
    let gone = place.warehouse_files().into_keys().find(|path| path.as_os_str().as_bytes().contains(&0xff)).unwrap();
    std::fs::remove_file(&gone).unwrap();
    let audited = audit(&place, &[]);
    let exact = audited.found(&["missing"])["path_base64"].as_str().unwrap().to_owned();
    use base64::Engine as _;
    assert_eq!(base64::engine::general_purpose::STANDARD.decode(exact).unwrap(), gone.as_os_str().as_bytes());
}

/// Why: if the same directory is given by another path, its files must not become findings.
#[test]
fn a_warehouse_by_another_path_is_the_same() {
    let place = ingested(3);
    let other = place.root.path().join("other");
    std::os::unix::fs::symlink(&place.warehouse, &other).unwrap();
    audit(&place, &["--warehouse", other.to_str().unwrap()]).clean();
    if is_root() {
        std::fs::write(at(&place, "1.csv").with_file_name("x.csv"), "x").unwrap();
        let audited = audit(&place, &[&AT_ONCE[..], &["--warehouse", other.to_str().unwrap()]].concat());
        assert!(path(audited.found(&["extra"])).starts_with(&other));
    }
}
