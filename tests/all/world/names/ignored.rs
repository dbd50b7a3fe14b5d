//! Files in staging that are never ingested.

use std::os::unix::fs::symlink;

use crate::harness::{Place, csv, err, json_lines, out, sh};

/// Names of unfinished transfers, and of files that desktops and editors leave, as other projects list them.
const NO_DATA: &[&str] = &[
    "report.csv.filepart",
    "report.csv.FILEPART",
    "orders.csv.1a2b3c4d.partial",
    "big.csv.crdownload",
    "dl.csv.opdownload",
    "a.csv.download",
    "a.csv.inprogress",
    "x.csv.aria2",
    "y.csv._COPYING_",
    "up.csv.TMP",
    "up.csv.PART",
    "up.csv.Swp",
    "ok.csv.tmp",
    "Thumbs.db",
    "desktop.ini",
    "DESKTOP.INI",
    "~$book.xlsx",
    "a.csv~",
    "#a.csv#",
    ".DS_Store",
    "._a.csv",
];

/// Why: an interrupted transfer leaves a file with a temporary name that is no longer written to: in the warehouse it would
/// be half a file under a name that no reader expects. Each file that is ignored for its name is reported, so that nobody
/// waits for it.
#[test]
fn names_that_are_no_data_are_left_and_named() {
    let place = Place::new();
    for (seed, name) in (1..).zip(NO_DATA) {
        place.stage(name, csv(seed, 100));
    }
    place.stage("a.csv", csv(100, 100));
    let said = out(&place.once_ok(&[]));
    assert_eq!(place.check_consistent(), 1);
    for name in NO_DATA {
        let line = format!("IGNORED: {} (", place.staging.join(name).display());
        assert!(said.lines().any(|it| it.starts_with(&line)), "{name}:\n{said}");
        assert!(place.staging.join(name).exists(), "{name}");
    }
    assert_eq!(said.lines().count(), NO_DATA.len(), "{said}");
    let forecast = out(&place.once_ok(&["--dry-run"]));
    assert_eq!(forecast, said, "the dry run says the same");
    let json = json_lines(&out(&place.once_ok(&["--dry-run", "--log-format", "json"])));
    assert!(json.iter().all(|line| line["status"] == "IGNORED" && line["reason"].is_string()), "{json:?}");
}

/// Why: an upstream sends files into a directory below staging, or creates links, and waits: nothing reported that they are
/// never ingested.
#[test]
fn what_is_no_regular_file_is_named_once() {
    let place = Place::new();
    std::fs::create_dir_all(place.staging.join("2026/01")).unwrap();
    std::fs::write(place.staging.join("2026/a.csv"), csv(1, 100)).unwrap();
    symlink("/etc/hostname", place.staging.join("link.csv")).unwrap();
    sh("mkfifo", &[place.staging.join("pipe.csv").as_os_str()]);
    place.stage("a.csv", csv(2, 100));
    let said = out(&place.once_ok(&[]));
    let at = |name: &str| place.staging.join(name).display().to_string();
    let expected = [
        format!("IGNORED: {} (directory; not entered)", at("2026")),
        format!("IGNORED: {} (symbolic link; never followed)", at("link.csv")),
        format!("IGNORED: {} (pipe, socket or device; only regular files are taken)", at("pipe.csv")),
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);

    // The daemon reports each once, however often it scans; and again when it reappears.
    let daemon = place.start(&["--stability-seconds", "0", "--scan-interval", "20ms", "--log-level", "debug"]);
    daemon.wait_for("file_ignored", 3);
    std::thread::sleep(std::time::Duration::from_millis(200));
    let named = daemon.events("file_ignored");
    assert_eq!(named.len(), 3, "{named:?}");
    assert!(named.iter().all(|event| event["level"] == "debug" && event["message"].is_string()), "{named:?}");
    assert_eq!(daemon.events("files_ignored").len(), 1, "one line for those who do not look at debug");
    std::fs::remove_file(place.staging.join("link.csv")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    symlink("/etc/hostname", place.staging.join("link.csv")).unwrap();
    daemon.wait_for("file_ignored", 4);
    assert!(daemon.stop().success());
}

/// Why: in sidecar mode each file has a second one that is no data; that must not be reported each time. But a sidecar that
/// can release nothing, since its file's name is ignored, is reported.
#[test]
fn sidecars_are_only_named_where_their_file_is_ignored() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    place.stage("a.csv.ok", "");
    place.stage("b.csv", csv(1, 100));
    place.stage("b.csv.ok", "");
    place.stage("c.csv.part.ok", "");
    place.stage("old-d.csv.ok", "");
    let said = out(&place.once_ok(&["--mode", "sidecar", "--exclude", "old-*"]));
    assert_eq!(place.check_consistent(), 1);
    let ignored: Vec<_> = said.lines().filter(|line| line.starts_with("IGNORED: ")).collect();
    assert_eq!(ignored.len(), 2, "{said}");
    assert!(ignored[0].contains("c.csv.part.ok (sidecar of a name that is ignored)"), "{said}");
    assert!(ignored[1].contains("old-d.csv.ok (sidecar"), "{said}");
}

/// Why: `explain` must give the same answer as `--once`.
#[test]
fn explain_says_the_same() {
    let place = Place::new();
    place.once_ok(&[]);
    for (name, more, words) in [
        ("report.csv.FilePart", &[][..], "temporary"),
        ("Thumbs.db", &[], "desktop"),
        ("A.CSV", &["--include", "*.csv"], "only the case differs"),
        ("a.txt", &["--include", "*.csv"], "does not match --include"),
        ("_a.csv", &["--exclude", "_*"], "matches --exclude"),
        ("a.csv.part.ok", &["--mode", "sidecar"], "sidecar of a.csv.part, which is ignored"),
    ] {
        let path = place.stage(name, csv(1, 100));
        let words_of = [&["explain", path.to_str().unwrap()], more].concat();
        let said = out(&place.subcommand(&words_of));
        assert!(said.contains(": IGNORED: ") && said.contains(words), "{name}: {said}");
        std::fs::remove_file(path).unwrap();
    }
}

/// Why: an operator looks at a dashboard to find out why files do not arrive.
#[test]
fn they_are_counted_by_reason() {
    let place = Place::new();
    for name in ["a.part", "b.TMP", ".c.csv", "Thumbs.db", "d.txt", "e.csv", "_f.csv"] {
        place.stage(name, csv(name.len() as u64, 100));
    }
    std::fs::create_dir(place.staging.join("dir.csv")).unwrap();
    let textfile = place.root.path().join("x.prom");
    let options = ["--include", "*.csv", "--exclude", "_*", "--metrics-textfile", textfile.to_str().unwrap()];
    place.once_ok(&options);
    let text = std::fs::read_to_string(&textfile).unwrap();
    for (reason, count) in [
        ("temporary", 2),
        ("hidden", 1),
        ("not_data", 1),
        ("not_included", 1),
        ("excluded", 1),
        ("directory", 1),
        ("link", 0),
        ("special", 0),
        ("sidecar", 0),
    ] {
        let line = text.lines().find(|line| {
            line.starts_with("csv_ingestor_ignored_files") && line.contains(&format!("reason=\"{reason}\""))
        });
        let line = line.unwrap_or_else(|| panic!("{reason}:\n{text}"));
        assert!(line.ends_with(&format!(" {count}")), "{line}");
    }
}

/// Why: staging may have a million ignored names; the number of those that are logged and remembered must be limited.
#[test]
fn a_great_many_are_counted_not_named() {
    const FILES: usize = csv_ingestor::limits::IGNORED_NAMES_MAX + 10;
    let place = Place::new();
    (0..FILES).for_each(|n| drop(place.stage(format!("{n}.part"), "")));
    let output = place.once_ok(&["--log-level", "debug"]);
    let said = out(&output);
    assert_eq!(said.lines().count(), csv_ingestor::limits::IGNORED_NAMES_MAX + 1);
    assert_eq!(said.lines().last(), Some("IGNORED: 10 more"));
    let named = json_lines(&err(&output)).into_iter().filter(|line| line["event"] == "file_ignored").count();
    assert_eq!(named, csv_ingestor::limits::IGNORED_NAMES_MAX + 1);
}
