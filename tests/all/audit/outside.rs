//! Paths that lead out of the warehouse: they are reported, and no file there is examined.

use std::ffi::OsStr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use csv_ingestor::fs::Fs;
use csv_ingestor::fs::real::RealFs;
use csv_ingestor::fs::sim::SimFs;

use super::lines::{edit, one_manifest};
use super::{AT_ONCE, Audited, at, audit, audit_without_journal, ingested, path};
use crate::harness::{Place, bare, csv, out};

/// Sets the path of `2.csv` in its line.
fn place_line(place: &Place, manifest: &PathBuf, there: &Path) {
    edit(manifest, "2.csv", |line| line["warehouse_path"] = there.to_str().unwrap().into());
    assert!(there.starts_with(place.root.path()) || there.starts_with("/proc"));
}

/// Why: a user who can write to a manifest must not be able to make an audit, which may run as root, read a file that the
/// user cannot read, reveal its hash, or accept a file that is not in the warehouse.
#[test]
fn a_line_that_leads_elsewhere_is_told_and_not_followed() {
    let content = csv(2, 300);
    let elsewhere: [fn(&Place) -> PathBuf; 4] = [
        |place| place.root.path().join("elsewhere/ingest_date=2026-01-01/2.csv"),
        |place| place.warehouse.join("../elsewhere/ingest_date=2026-01-01/2.csv"),
        |place| at(place, "1.csv").parent().unwrap().join("../../elsewhere/ingest_date=2026-01-01/2.csv"),
        |_| "/proc/self/environ".into(),
    ];
    for path_of in elsewhere {
        let (place, manifest) = one_manifest(3);
        let partition = place.root.path().join("elsewhere/ingest_date=2026-01-01");
        std::fs::create_dir_all(&partition).unwrap();
        // The file that the line describes is at that path.
        std::fs::rename(at(&place, "2.csv"), partition.join("2.csv")).unwrap();
        let there = path_of(&place);
        place_line(&place, &manifest, &there);
        let without = audit_without_journal(&place, &[]);
        let finding = without.found(&["outside"]);
        assert_eq!(path(finding), there);
        assert_eq!(finding["expected_size"], content.len());
        assert!(finding["actual_sha256"].is_null() && finding["lines"][0]["line"].is_u64(), "{finding}");
        let bytes: usize = place.warehouse_files().values().map(Vec::len).sum();
        assert_eq!(without.summary["bytes_hashed"], bytes);
        // The journal knows the real path.
        let audited = audit(&place, &[]);
        audited.found(&["contradiction", "outside"]);
        // In the sample or not: the path is checked without hashing.
        audit_without_journal(&place, &["--sample", "1"]).found(&["outside"]);
    }
}

/// Why: the same with a link in the warehouse, where every line looks normal.
#[test]
fn a_partition_that_is_a_link_is_told_and_not_followed() {
    let place = ingested(3);
    let partition = at(&place, "1.csv").parent().unwrap().to_owned();
    let away = place.root.path().join("away");
    std::fs::rename(&partition, &away).unwrap();
    std::fs::write(away.join("extra.csv"), "x").unwrap();
    symlink(&away, &partition).unwrap();
    for audited in [audit(&place, &[]), audit_without_journal(&place, &[])] {
        // The link, and each file below it.
        audited.found(&["outside"; 4]);
        assert_eq!(path(&audited.findings[0]), partition);
        for finding in &audited.findings {
            assert!(finding["detail"].as_str().unwrap().contains("symbolic link"), "{finding}");
        }
        assert_eq!((&audited.summary["lines"], &audited.summary["bytes_hashed"]), (&3.into(), &0.into()));
    }
    audit(&place, &["--since", "9999-01-01"]).clean();
    // A link to nothing, or back into the warehouse, is reported as well.
    for target in ["nowhere", "."] {
        std::fs::remove_file(&partition).unwrap();
        symlink(target, &partition).unwrap();
        audit(&place, &[]).found(&["outside"; 4]);
    }
    std::fs::remove_file(&partition).unwrap();
    std::fs::rename(&away, &partition).unwrap();
    audit(&place, &AT_ONCE).found(&["extra"]);
}

/// Why: a link that only a line names, so that no listing of the partitions shows it.
#[test]
fn a_line_through_a_link_is_told_and_not_followed() {
    let (place, manifest) = one_manifest(2);
    let partition = at(&place, "1.csv").parent().unwrap().to_owned();
    let linked = place.warehouse.join("linked");
    symlink(&partition, &linked).unwrap();
    place_line(&place, &manifest, &linked.join("2.csv"));
    let audited = audit_without_journal(&place, &AT_ONCE);
    // No line lists the file's real path now.
    audited.found(&["extra", "outside"]);
    let finding = audited.findings.iter().find(|finding| finding["finding"] == "outside").unwrap();
    assert_eq!(path(finding), linked.join("2.csv"));
    // A real directory in the warehouse is no partition, but not outside.
    std::fs::remove_file(&linked).unwrap();
    std::fs::create_dir(&linked).unwrap();
    std::fs::rename(at(&place, "2.csv"), linked.join("2.csv")).unwrap();
    audit_without_journal(&place, &[]).clean();
}

/// Why: the operator chooses the two directories: a link or `..` in the path to one of them puts nothing outside.
#[test]
fn the_way_to_the_warehouse_may_be_any() {
    let place = ingested(3);
    let (away, link) = (place.root.path().join("away"), &place.warehouse);
    std::fs::rename(link, &away).unwrap();
    symlink(&away, link).unwrap();
    audit(&place, &[]).clean();
    for path in [&away, &away.join("../warehouse"), &place.root.path().join("staging/../away/.")] {
        audit(&place, &["--warehouse", path.to_str().unwrap()]).clean();
    }
}

/// Why: a rebuilt journal remembers each ingested content, whatever path its line has; but it does not open that path.
#[test]
fn a_rebuild_with_verify_tells_it_too() {
    let (place, manifest) = one_manifest(2);
    place_line(&place, &manifest, &place.root.path().join("elsewhere/2.csv"));
    std::fs::remove_file(at(&place, "2.csv")).unwrap();
    std::fs::remove_dir_all(&place.state).unwrap();
    let mut command = bare(&["journal", "rebuild", "--verify", "--state-path", place.state.to_str().unwrap()]);
    command.arg("--manifests").arg(&place.manifests).arg("--warehouse").arg(&place.warehouse);
    let output = command.output().unwrap();
    let text = out(&output);
    assert_eq!(output.status.code(), Some(5), "{text}");
    assert!(text.contains("2 contents are remembered") && text.contains("OUTSIDE: "), "{text}");
    assert!(text.ends_with("1 finding: 1 outside\n"), "{text}");
    // Nor does an audit with that journal, which has the path from the line.
    let words = ["--warehouse", place.warehouse.to_str().unwrap(), "--manifests", place.manifests.to_str().unwrap()];
    audit(&place, &words).found(&["outside"]);
    // The same without the line.
    std::fs::write(&manifest, std::fs::read_to_string(&manifest).unwrap().lines().next().unwrap().to_owned() + "\n")
        .unwrap();
    let audited: Audited = audit(&place, &words);
    assert!(audited.kinds().contains(&"not_listed"), "{:?}", audited.findings);
}

/// Why: one call keeps the audit inside the warehouse, so the simulated disk must be as strict as the real one.
fn subdirectories<F: Fs>(fs: &F, top: &Path) {
    let top = fs.open_dir(top).unwrap();
    let dir = fs.open_subdir(&top, OsStr::new("dir")).unwrap();
    assert_eq!(fs.dir_path(&dir), fs.dir_path(&top).join("dir"));
    assert!(fs.stat(&dir, OsStr::new("in-dir")).unwrap().is_some());
    for (name, is_missing) in [("link", false), ("file", false), ("nothing", true)] {
        let error = fs.open_subdir(&top, OsStr::new(name)).err().unwrap_or_else(|| panic!("{name} was opened"));
        assert_eq!(error.is_not_found(), is_missing, "{name}: {error}");
        assert_eq!(error.path, fs.dir_path(&top).join(name));
    }
}

#[test]
fn a_directory_is_opened_by_its_name_and_never_through_a_link() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("dir")).unwrap();
    std::fs::write(root.path().join("dir/in-dir"), "").unwrap();
    std::fs::write(root.path().join("file"), "").unwrap();
    symlink("dir", root.path().join("link")).unwrap();
    subdirectories(&RealFs::default(), root.path());
    let fs = SimFs::new(1);
    let mut upstream = fs.upstream();
    upstream.mkdir_all("/top/dir").unwrap();
    upstream.write("/top/dir/in-dir", b"").unwrap();
    upstream.write("/top/file", b"").unwrap();
    upstream.symlink("dir", "/top/link").unwrap();
    subdirectories(&fs, Path::new("/top"));
}
