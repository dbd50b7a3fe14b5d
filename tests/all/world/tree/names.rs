//! Which directories are entered, and names of every kind.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use serde_json::Value;

use super::{WATCHING, put, staged, subdirs};
use crate::harness::{Place, csv, err, json_lines, out};

#[test]
fn without_recursive_no_directory_is_entered() {
    let place = Place::new();
    put(&place.staging, "d/a.csv", 1);
    let said = out(&place.once_ok(&[]));
    assert!(said.contains("(directory; not entered)"), "{said}");
    assert_eq!(staged(&place), ["d/a.csv"]);
}

#[test]
fn hidden_excluded_and_deep_directories_are_not_entered() {
    let place = Place::new();
    for (seed, name) in
        (1..).zip(["a.csv", "d/b.csv", "d/e/c.csv", "d/e/f/d.csv", ".h/e.csv", "d/.rsync/f.csv", "old/g.csv"])
    {
        put(&place.staging, name, seed);
    }
    symlink(place.staging.join("d"), place.staging.join("link")).unwrap();
    let options = ["--recursive", "--max-depth", "2", "--exclude", "old"];
    let forecast = out(&place.once_ok(&[&options[..], &["--dry-run"]].concat()));
    let said = out(&place.once_ok(&options));
    let ignored =
        |text: &str| text.lines().filter(|line| line.starts_with("IGNORED")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(ignored(&forecast), ignored(&said));
    for (dir, why) in [
        ("d/e/f", "deeper than --max-depth"),
        (".h", "hidden"),
        ("d/.rsync", "hidden"),
        ("old", "--exclude"),
        ("link", "symbolic link"),
    ] {
        let line = format!("IGNORED: {} (", place.staging.join(dir).display());
        assert!(said.lines().any(|it| it.starts_with(&line) && it.contains(why)), "{dir}: {said}");
    }
    assert_eq!(ignored(&said).len(), 5, "{said}");
    assert_eq!(staged(&place), [".h/e.csv", "d/.rsync/f.csv", "d/e/f/d.csv", "old/g.csv"]);
    assert_eq!(subdirs(&place), ["", "d", "d/e"]);
    assert!(place.staging.join("d/e").is_dir());
}

/// Why: a directory's name may be anything, and files of several directories have one name.
#[test]
fn names_of_every_kind_in_directories() {
    let place = Place::new();
    let names: [&[u8]; 8] = [
        b"with space",
        b"two\nlines",
        "ünïcödé".as_bytes(),
        b"not utf-8 \xff\xfe",
        b"-rf",
        b"a.csv",
        b"$(x) 'y' \"z\" \\",
        &[b'x'; 255],
    ];
    for (seed, name) in (0..).zip(names) {
        let dir = place.staging.join(OsStr::from_bytes(name)).join("below");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("same.csv"), csv(seed, 100)).unwrap();
        std::fs::write(dir.join("same.csv.ok"), "").unwrap();
    }
    place.once_ok(&["--recursive", "--mode", "sidecar"]);
    assert_eq!(staged(&place), Vec::<String>::new(), "the sidecars beside their files are used");
    assert_eq!(place.check_consistent(), names.len());
    let lines = place.manifest_lines();
    for name in names {
        let below = [name, b"/below"].concat();
        let is_it = |line: &&Value| match std::str::from_utf8(&below) {
            Ok(text) => line["subdir"] == *text && line["subdir_base64"].is_null(),
            Err(_) => line["subdir_base64"] == "bm90IHV0Zi04IP/+L2JlbG93",
        };
        assert_eq!(lines.iter().filter(is_it).count(), 1, "{:?}: {lines:?}", OsStr::from_bytes(name));
    }
    let audit = place.subcommand(&["audit"]);
    assert!(audit.status.success(), "{}{}", out(&audit), err(&audit));
}

/// A path that is too long to be recorded is not entered, and that is reported.
#[test]
fn a_path_that_is_too_long_is_reported() {
    let place = Place::new();
    let mut dir = std::fs::File::open(&place.staging).unwrap();
    let name = "n".repeat(250);
    for _ in 0..20 {
        rustix::fs::mkdirat(&dir, name.as_str(), rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
        dir = rustix::fs::openat(&dir, name.as_str(), flags, rustix::fs::Mode::empty()).unwrap().into();
    }
    place.stage("a.csv", csv(1, 100));
    let said = out(&place.once_ok(&["--recursive", "--max-depth", "64"]));
    assert!(said.contains("its path is too long"), "{said}");
    assert_eq!(place.check_consistent(), 1);
}

/// A directory that cannot be read is reported once; its files are not taken as gone, and are ingested when it can be read.
#[test]
fn a_directory_that_cannot_be_read() {
    if rustix::process::geteuid().is_root() {
        // Root reads everything: the simulated disk shows it, see `crash::sweeps::tree`.
        return;
    }
    let place = Place::new();
    put(&place.staging, "d/a.csv", 1);
    let mode = |mode| std::fs::set_permissions(place.staging.join("d"), std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o000);
    let daemon = place.start(&["--recursive", "--stability-seconds", "0", "--scan-interval", "50ms"]);
    daemon.wait_for("directory_unreadable", 1);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(daemon.events("directory_unreadable").len(), 1);
    mode(0o755);
    daemon.wait_for("file_ingested", 1);
    assert!(daemon.stop().success());
}

/// Quarantine and duplicates keep the subdirectory; so does the reason.
#[test]
fn what_is_moved_away_keeps_its_directory() {
    let place = Place::new();
    let [quarantine, duplicates] = ["quarantine", "duplicates"].map(|name| place.root.path().join(name));
    put(&place.staging, "a/b/first.csv", 1);
    let options = [
        "--recursive",
        "--validate",
        "csv",
        "--quarantine",
        quarantine.to_str().unwrap(),
        "--duplicates",
        "move",
        "--duplicates-dir",
        duplicates.to_str().unwrap(),
    ];
    place.once_ok(&options);
    put(&place.staging, "a/c/second.csv", 1);
    let bad = place.staging.join("a/d e/bad.csv");
    std::fs::create_dir_all(bad.parent().unwrap()).unwrap();
    std::fs::write(&bad, "id,name\n1\n").unwrap();
    place.once_failing(&options);
    assert_eq!(staged(&place), Vec::<String>::new());
    assert!(duplicates.join("a/c/second.csv").exists());
    let names: Vec<_> =
        std::fs::read_dir(quarantine.join("a/d e")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    let file = names.iter().find(|path| path.extension().unwrap() == "csv").unwrap();
    let explained = place.subcommand(&["explain", file.to_str().unwrap(), "--json"]);
    let answer = &json_lines(&out(&explained))[0];
    assert_eq!((answer["status"].as_str(), answer["path"].as_str()), (Some("QUARANTINED"), bad.to_str()), "{answer}");
    assert!(place.staging.join("a/d e").is_dir());
}

/// `explain` applies the same rules, and asks the running ingestor by the relative path.
#[test]
fn explain_knows_directories() {
    let place = Place::new();
    let status = |path: &str, more: &[&str]| {
        let path = place.staging.join(path);
        let output = place.subcommand(&[&["explain", "--json", path.to_str().unwrap()], more].concat());
        let answer = json_lines(&out(&output)).pop().unwrap_or_else(|| panic!("{}", err(&output)));
        (answer["status"].as_str().unwrap().to_owned(), answer["summary"].as_str().unwrap().to_owned())
    };
    put(&place.staging, "d/done.csv", 1);
    let daemon = place.start(&[WATCHING, &["--exclude", "old", "--min-age", "1h"]].concat());
    daemon.wait_started();
    put(&place.staging, "d/e/young.csv", 2);
    put(&place.staging, "old/a.csv", 3);
    put(&place.staging, "d/.h/a.csv", 4);
    std::fs::create_dir(place.root.path().join("out")).unwrap();
    symlink(place.root.path().join("out"), place.staging.join("link")).unwrap();
    let waits = || status("d/e/young.csv", &[]);
    crate::harness::wait_until("it is seen", || waits().1.contains("old enough") || waits().1.contains("--min-age"));
    assert_eq!(waits().0, "WAITING");
    assert_eq!(status("old/a.csv", &[]).0, "IGNORED");
    assert!(status("d/.h/a.csv", &[]).1.contains("hidden"));
    assert!(status("link/a.csv", &[]).1.contains("symbolic link"));
    assert_eq!(status("d", &[]).0, "UNKNOWN");
    assert_eq!(status("d/nothing.csv", &[]).0, "GONE");
    assert!(daemon.stop().success());
    assert!(status("d/done.csv", &[]).1.contains("without --recursive"));
    assert_eq!(status("d/done.csv", &["--recursive"]).0, "READY");
    assert!(status("d/e/young.csv", &["--recursive", "--max-depth", "1"]).1.contains("--max-depth"));
}
