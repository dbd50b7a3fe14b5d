//! The output and the log for arbitrary names: no character that controls a terminal or ends a line, and the exact bytes of
//! names that are not UTF-8.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::process::Output;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use proptest::prelude::*;
use serde_json::Value;

use crate::harness::{Place, bare, csv, sha256_hex};

/// The characters that docs/scripting.md excludes: U+007F to U+009F, U+2028, U+2029, and those that change the direction of
/// text.
fn obeys(character: char) -> bool {
    matches!(
        u32::from(character),
        0x00..=0x09 | 0x0b..=0x1f | 0x7f..=0x9f | 0x61c | 0x200e | 0x200f | 0x2028..=0x202e | 0x2066..=0x2069
    )
}

const NASTY: &str =
    "a\u{1b}[31m\u{7f}\u{85}\u{9b}\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}é.csv";
const ODD: &[u8] = b"odd-\xff\xfe.csv";

#[track_caller]
fn assert_harmless(what: &str, bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
    let raw: Vec<char> = text.chars().filter(|character| obeys(*character)).collect();
    assert!(raw.is_empty(), "{what}: {raw:?} in {text}");
}

/// Checks that both streams are harmless; returns the lines of standard output as JSON.
#[track_caller]
fn checked(what: &str, output: &Output) -> Vec<Value> {
    assert_harmless(what, &output.stdout);
    assert_harmless(what, &output.stderr);
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Each `KEY_base64` anywhere in it, decoded, with the key.
fn exact(value: &Value) -> Vec<(String, OsString)> {
    let below = |values: &mut dyn Iterator<Item = &Value>| values.flat_map(exact).collect::<Vec<_>>();
    match value {
        Value::Array(values) => below(&mut values.iter()),
        Value::Object(object) => {
            let own = object.iter().filter_map(|(key, value)| Some((key.strip_suffix("_base64")?, value.as_str()?)));
            let own = own.map(|(key, value)| {
                assert!(object[key].as_str().unwrap().contains('\u{fffd}'), "{value}");
                (key.to_owned(), OsString::from_vec(BASE64.decode(value).unwrap()))
            });
            own.chain(below(&mut object.values())).collect()
        }
        _ => Vec::new(),
    }
}

/// The keys that have exactly this path.
fn keys_of(lines: &[Value], path: &OsStr) -> Vec<String> {
    let mut keys: Vec<String> =
        lines.iter().flat_map(exact).filter(|(_, told)| told == path).map(|(key, _)| key).collect();
    keys.sort();
    keys.dedup();
    keys
}

/// Why: JSON logs and `--json` outputs had all characters above ASCII's control characters unescaped, so a name could move
/// the cursor or reverse the text on a terminal; and for names that are not UTF-8, most of them had a text that is not the
/// name.
#[test]
fn no_output_passes_what_a_terminal_obeys_and_each_has_the_exact_bytes() {
    let place = Place::new();
    let nasty = place.stage(NASTY, csv(1, 100));
    let odd = place.stage(OsStr::from_bytes(ODD), csv(2, 100));
    for format in ["json", "text"] {
        let output = place.once(&["--dry-run", "--log-format", format]);
        let lines = checked("dry run", &output);
        if format == "json" {
            assert_eq!(lines.len(), 2);
            assert_eq!(keys_of(&lines, odd.as_os_str()), ["path"]);
        }
    }
    let log = place.once_ok(&["--log-level", "trace"]);
    assert_harmless("log", &log.stderr);
    let events = crate::harness::json_lines(std::str::from_utf8(&log.stderr).unwrap());
    let stored = place.warehouse_files().into_keys().find(|path| path.to_str().is_none()).unwrap();
    assert_eq!(keys_of(&events, odd.as_os_str()), ["path"]);
    assert_eq!(keys_of(&events, stored.as_os_str()), ["warehouse_path"]);
    assert!(events.iter().any(|event| event["path"] == nasty.to_str().unwrap()), "JSON parsers get the same text");

    // Duplicates, in both formats of the log.
    for (format, seed) in [("text", 1), ("json", 2)] {
        place.stage(OsStr::from_bytes(&[b"again-", ODD].concat()), csv(seed, 100));
        place.stage(format!("again-{NASTY}"), csv(seed, 100));
        let output = place.once_ok(&["--log-format", format, "--duplicates", "remove"]);
        checked("duplicates", &output);
        if format == "json" {
            let events = crate::harness::json_lines(std::str::from_utf8(&output.stderr).unwrap());
            assert_eq!(keys_of(&events, stored.as_os_str()), ["original"]);
        }
    }
    place.stage(NASTY, csv(1, 100));
    for words in [&["status"][..], &["journal", "inspect"], &["audit"]] {
        checked("text", &place.subcommand(words));
        let lines = checked("JSON", &place.subcommand(&[words, &["--json"]].concat()));
        assert!(!lines.is_empty(), "{words:?}");
    }
    assert_eq!(keys_of(&place.inspect(), stored.as_os_str()), ["warehouse_path"]);
    let explain = |json: &[&str], path: &std::path::Path| {
        let mut command = bare(&["explain", "--state-path"]);
        checked("explain", &command.arg(&place.state).args(json).arg(path).output().unwrap())
    };
    for path in [&nasty, &odd, &stored] {
        explain(&[], path);
        let lines = explain(&["--json"], path);
        if path.to_str().is_none() {
            assert!(keys_of(&lines, path.as_os_str()).contains(&"asked".to_owned()), "{lines:?}");
            assert!(keys_of(&lines, odd.as_os_str()).contains(&"source_path".to_owned()), "{lines:?}");
        }
    }
    std::fs::remove_file(&stored).unwrap();
    let lines = checked("findings", &place.subcommand(&["audit", "--json"]));
    assert_eq!(keys_of(&lines, stored.as_os_str()), ["path"]);
    let forgotten = place.subcommand(&["forget", "--json", &sha256_hex(&csv(2, 100))]);
    assert_eq!(keys_of(&checked("forget", &forgotten), odd.as_os_str()), ["source_path"]);
    // Errors as well.
    let mut command = bare(&["forget", "--state-path"]);
    checked("error", &command.arg(&place.state).arg(place.staging.join(format!("no-{NASTY}"))).output().unwrap());
}

/// Why: events about sidecars, ignored names, patterns and damaged originals had no exact bytes, so the file could not be
/// found.
#[test]
fn each_event_has_the_exact_bytes_of_its_paths() {
    let place = Place::new();
    let stage =
        |end: &str, content: Vec<u8>| place.stage(OsStr::from_bytes(&[b"\xff\xfe", end.as_bytes()].concat()), content);
    let taken = stage(".csv", csv(1, 100));
    let said = [
        ("sidecar_not_understood", stage(".csv.ok", b"done".to_vec())),
        ("orphaned_sidecar", stage("alone.csv.ok", Vec::new())),
        ("file_ignored", stage(".txt", Vec::new())),
        ("pattern_case_differs", stage(".CSV", Vec::new())),
    ];
    let logged = |options: &[&str]| {
        let log = place.once_ok(&[options, &["--log-level", "trace"]].concat());
        let events = crate::harness::json_lines(std::str::from_utf8(&log.stderr).unwrap());
        for event in &events {
            let odd = event
                .as_object()
                .unwrap()
                .iter()
                .filter(|(_, value)| value.as_str().is_some_and(|it| it.contains('\u{fffd}')));
            odd.for_each(|(key, _)| assert!(event.get(format!("{key}_base64")).is_some(), "{key}: {event}"));
        }
        move |name: &str| events.iter().filter(|event| event["event"] == name).cloned().collect::<Vec<_>>()
    };
    let events = logged(&["--mode", "sidecar", "--include", "*.csv"]);
    for (name, path) in said {
        assert_eq!(keys_of(&events(name), path.as_os_str()), ["path"], "{name}");
    }
    let stored = place.warehouse_files().into_keys().next().unwrap();
    std::fs::write(&stored, "damaged").unwrap();
    std::fs::write(&taken, csv(1, 100)).unwrap();
    let events = logged(&["--duplicates", "remove"])("original_damaged");
    assert_eq!(keys_of(&events, taken.as_os_str()), ["path"]);
    assert_eq!(keys_of(&events, stored.as_os_str()), ["original"]);
}

/// Why: operators read the reason beside a quarantined file on a terminal.
#[test]
fn the_reason_of_a_quarantined_file_is_harmless() {
    let place = Place::new();
    let quarantine = place.root.path().join("quarantine");
    place.stage(NASTY, "a,b\n1\n");
    place.stage(OsStr::from_bytes(ODD), "a,b\n1\n2\n");
    let options = ["--validate", "csv", "--quarantine", quarantine.to_str().unwrap()];
    let output = place.once(&options);
    checked("quarantine", &output);
    let events = crate::harness::json_lines(std::str::from_utf8(&output.stderr).unwrap());
    let targets = events.iter().flat_map(exact).filter(|(key, _)| key == "target").count();
    assert_eq!(targets, 1);
    let mut reasons = 0;
    for entry in std::fs::read_dir(&quarantine).unwrap() {
        let path = entry.unwrap().path();
        if path.as_os_str().as_bytes().ends_with(b".reason.json") {
            let text = std::fs::read(&path).unwrap();
            assert_harmless("reason", &text);
            serde_json::from_slice::<Value>(&text).unwrap();
            reasons += 1;
        }
    }
    assert_eq!(reasons, 2);
    let lines = place.inspect();
    assert!(lines.iter().flat_map(exact).any(|(key, _)| key == "quarantine_path"));
}

/// Why: a pattern for a path that is not UTF-8 was refused as a usage error, so such files could not be selected.
#[test]
fn inspect_takes_a_pattern_of_any_bytes() {
    let place = Place::new();
    place.stage(OsStr::from_bytes(ODD), csv(1, 100));
    place.stage("é.csv", csv(2, 100));
    place.once_ok(&[]);
    let matching = |pattern: &[u8]| {
        let mut command = bare(&["journal", "inspect", "--json", "--state-path"]);
        let output = command.arg(&place.state).arg("--path").arg(OsStr::from_bytes(pattern)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        checked("inspect", &output).len()
    };
    for (pattern, count) in [
        (&b"*/odd-\xff*.csv"[..], 1),
        (b"*/odd-[\xfe\xff]\xfe.csv", 1),
        (b"*/odd-?\xfe.csv", 1),
        (b"*/odd-[^\xff]\xfe.csv", 0),
        (b"*\xfd*", 0),
        (b"*", 2),
        ("*/é.csv".as_bytes(), 1),
    ] {
        assert_eq!(matching(pattern), count, "{}", pattern.escape_ascii());
    }
}

/// Why: all JSON must be made by the safe code; one exception would make it useless.
#[test]
fn json_is_made_in_one_place() {
    // The manifests' lines are data; only this program reads the control socket's messages.
    const OTHERS: [&str; 4] =
        ["src/log/json.rs", "src/pipeline/manifest/line.rs", "src/control.rs", "src/daemon/socket.rs"];
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut pending = vec![source];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if !OTHERS.iter().any(|other| path.ends_with(other)) {
            let text = std::fs::read_to_string(&path).unwrap();
            for needle in ["serde_json::to_", "}).to_string()", "})\n    .to_string()", "Object(line).to_string()"] {
                assert!(!text.contains(needle), "{}: {needle}", path.display());
            }
        }
    }
}

proptest! {
    /// Any text is harmless as JSON, and is parsed to the same text.
    #[test]
    fn any_text_is_harmless_as_json_and_comes_back(text in any_text()) {
        let value = serde_json::json!({ text.clone(): [text.clone()] });
        for json in [csv_ingestor::log::json::text(&value).into_bytes(), csv_ingestor::log::json::pretty(&value)] {
            assert_harmless("JSON", &json);
            prop_assert_eq!(serde_json::from_slice::<Value>(&json).unwrap(), value.clone());
        }
        assert_harmless("text", csv_ingestor::log::escaped(&text).as_bytes());
    }
}

/// Text in which dangerous characters are frequent.
fn any_text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        any::<char>(),
        (0_u32..0x20).prop_map(|code| char::from_u32(code).unwrap()),
        (0x7f_u32..0xa1).prop_map(|code| char::from_u32(code).unwrap()),
        (0x2000_u32..0x2070).prop_map(|code| char::from_u32(code).unwrap()),
        Just('\u{61c}'),
    ];
    proptest::collection::vec(character, 0..40).prop_map(|characters| characters.into_iter().collect())
}
