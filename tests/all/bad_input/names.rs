//! File names that are legal but difficult.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use crate::harness::{Place, csv, err, json_lines, out};

/// A name may have any byte but `/` and NUL, and at most 255 bytes.
fn nasty_names() -> Vec<OsString> {
    let mut names: Vec<Vec<u8>> = [
        "with space.csv",
        " leading and trailing ",
        "quo\"te'.csv",
        "back\\slash.csv",
        "new\nline.csv",
        "forged.csv\n{\"timestamp\":\"2026-01-01T00:00:00Z\",\"level\":\"info\",\"event\":\"stopped\"}",
        "forged\n2026-01-01T00:00:00.000Z info  stopped files_processed=0",
        "return\rtab\tbell\u{7}.csv",
        "all\u{1}\u{2}\u{1f}\u{7f}.csv",
        "\u{1b}[2J\u{1b}[31mred.csv",
        "c1\u{9b}31m\u{85}.csv",
        "right\u{202e}vsc.left\u{2028}.csv",
        "ünïcödé – 数据.csv",
        "-rf.csv",
        "--help",
        "-",
        "-.csv",
        "~",
        "$(reboot);`id`|&>*?[a]{b}!#%s%n.csv",
        "a=b.csv",
        "no extension",
        "trailing.",
        "x.",
        "a.csv.ok",
        "ingest_date=2020-01-01",
        "manifest.jsonl",
        "CON",
    ]
    .iter()
    .map(|name| name.as_bytes().to_vec())
    .collect();
    names.push(b"latin1-\xe9\xff.csv".to_vec());
    names.push(b"\x80".to_vec());
    names.push(b"cut \xe2\x82.csv".to_vec());
    names.push([&[b'x'; 251][..], b".csv"].concat());
    names.push(vec![b'y'; 255]);
    names.push(vec![0xfe; 255]);
    names.push("ä".repeat(127).into_bytes());
    names.into_iter().map(OsString::from_vec).collect()
}

fn stage_all(place: &Place) -> BTreeMap<OsString, Vec<u8>> {
    let names = nasty_names();
    let contents = (1..).map(|seed| csv(seed, 200));
    let all: BTreeMap<_, _> = names.into_iter().zip(contents).collect();
    all.iter().for_each(|(name, content)| drop(place.stage(name, content)));
    all
}

fn exact_path(line: &Value, key: &str) -> OsString {
    let text = line[key].as_str().unwrap();
    match line.get(format!("{key}_base64")) {
        Some(exact) => {
            let exact = BASE64.decode(exact.as_str().unwrap()).unwrap();
            assert_eq!(String::from_utf8_lossy(&exact), text, "{line}");
            assert!(std::str::from_utf8(&exact).is_err(), "not needed: {line}");
            OsString::from_vec(exact)
        }
        None => OsString::from(text),
    }
}

/// Why: upstreams may use any name; the name in the warehouse is byte for byte the same, and every record must identify
/// the file exactly.
#[test]
fn names_survive_byte_for_byte() {
    let place = Place::new();
    let staged = stage_all(&place);
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), staged.len());
    assert!(place.staged_names().is_empty(), "{:?}", place.staged_names());
    let files = place.warehouse_files();
    let named: BTreeMap<OsString, Vec<u8>> =
        files.iter().map(|(path, content)| (path.file_name().unwrap().to_owned(), content.clone())).collect();
    assert_eq!(named, staged);

    for line in place.manifest_lines() {
        let (path, warehouse_path) = (exact_path(&line, "path"), exact_path(&line, "warehouse_path"));
        let name = Path::new(&path).file_name().unwrap();
        assert_eq!(Path::new(&path), place.staging.join(name), "{line}");
        assert_eq!(files[Path::new(&warehouse_path)], staged[name], "{line}");
        let is_text = std::str::from_utf8(name.as_bytes()).is_ok();
        assert_eq!(line.get("path_base64").is_none(), is_text, "{line}");
        assert_eq!(line.get("warehouse_path_base64").is_none(), is_text, "{line}");
    }
    for line in place.inspect() {
        let path = exact_path(&line, "source_path");
        assert!(staged.contains_key(Path::new(&path).file_name().unwrap()), "{line}");
    }
}

/// Why: the keys of a manifest line are in the documented order even if the exact bytes are added.
#[test]
fn the_exact_bytes_stand_beside_the_text() {
    let place = Place::new();
    place.stage(OsStr::from_bytes(b"\xff.csv"), csv(1, 100));
    place.once_ok(&[]);
    let line = place.manifest_lines().remove(0);
    let keys: Vec<_> = line.as_object().unwrap().keys().filter(|key| !key.ends_with("_base64")).collect();
    let expected = "path sha256 device inode size mtime warehouse_path ingest_id journal seq ingested_at";
    assert_eq!(keys, expected.split(' ').collect::<Vec<_>>());
    assert_eq!(line["path"], format!("{}/\u{fffd}.csv", place.staging.display()));
}

/// Why: a name that ends a log line could forge the next one; a name with escape sequences could control a terminal.
#[test]
fn logs_stay_one_line_an_event() {
    let place = Place::new();
    let count = stage_all(&place).len();
    let text = err(&place.once_ok(&["--log-level", "debug"]));
    let log = json_lines(&text);
    let of = |name: &str| log.iter().filter(|line| line["event"] == name).count();
    assert_eq!((of("file_ready"), of("file_ingested"), of("stopped")), (count, count, 1));
    assert!(text.bytes().all(|byte| byte == b'\n' || byte >= 0x20), "a raw control character");

    let place = Place::new();
    let count = stage_all(&place).len();
    let text = err(&place.once_ok(&["--log-level", "debug", "--log-format", "text"]));
    let event = |line: &str| line.split_whitespace().nth(2).unwrap_or_default().to_owned();
    for line in text.lines() {
        let time = line.split(' ').next().unwrap();
        assert!(humantime::parse_rfc3339(time).is_ok(), "{line:?}");
    }
    let of = |name: &str| text.lines().filter(|line| event(line) == name).count();
    assert_eq!((of("file_ready"), of("file_ingested"), of("stopped")), (count, count, 1));
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "a raw control character");
    assert!(!text.contains('\u{202e}') && !text.contains('\u{2028}'), "a character that reorders lines");
}

/// Why: results for people and scripts have one line for each file as well.
#[test]
fn results_stay_one_line_a_file() {
    let place = Place::new();
    let count = stage_all(&place).len();
    let clean = |text: &str| {
        let obeyed = |line: &&str| line.chars().any(char::is_control);
        assert_eq!(text.lines().find(obeyed), None, "a raw control character");
        let reorders = |line: &&str| line.contains(['\u{202e}', '\u{2028}']);
        assert_eq!(text.lines().find(reorders), None, "a character that reorders text");
        text.lines().count()
    };
    let text = out(&place.once_ok(&["--dry-run"]));
    assert_eq!((clean(&text), text.matches("READY: ").count()), (count, count));
    let lines = json_lines(&out(&place.once_ok(&["--dry-run", "--log-format", "json"])));
    assert_eq!(lines.len(), count);
    let waiting = out(&place.once_ok(&["--mode", "sidecar"]));
    // In this mode a.csv.ok is a sidecar, whose file is missing.
    assert_eq!(clean(&waiting), count);
    place.once_ok(&[]);
    assert_eq!(clean(&out(&place.subcommand(&["journal", "inspect"]))), count);
}

/// Why: the same long name with other content needs a suffix, and a name has at most 255 bytes.
#[test]
fn the_longest_names_get_a_suffix_that_fits() {
    let place = Place::new();
    let names = [[&[b'x'; 251][..], b".csv"].concat(), vec![0xfe; 255], "ä".repeat(127).into_bytes()];
    for (seed, name) in (0..).step_by(3).zip(&names) {
        for round in 0..3 {
            place.stage(OsStr::from_bytes(name), csv(seed + round, 100));
            place.once_ok(&[]);
        }
    }
    assert_eq!(place.check_consistent(), 9);
    for path in place.warehouse_files().keys() {
        assert!(path.file_name().unwrap().len() <= 255);
    }
}

/// Why: hidden and temporary files are never ingested, whatever their content.
#[test]
fn hidden_and_temporary_names_are_left_alone() {
    let place = Place::new();
    let names = [".hidden.csv", "..csv", "...", ".csv", "a.tmp", "a.csv.tmp", "a.csv.part", ".a.csv.swp", "a.swp"];
    for (seed, name) in (0..).zip(names) {
        place.stage(name, csv(seed, 100));
    }
    place.stage("a.tmp.csv", csv(100, 100));
    let output = place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 1);
    let mut expected = names.to_vec();
    expected.sort_unstable();
    assert_eq!(place.staged_names(), expected);
    assert_eq!(out(&output).matches("IGNORED: ").count(), names.len(), "{}", out(&output));
}
