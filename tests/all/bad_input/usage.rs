//! Mistakes on the command line: exit code 2, the option's name in the message, and nothing done.

use super::assert_refused;
use crate::harness::{Place, bare, csv, snapshot};

/// Why: a value that is silently changed into another one is worse than a refusal.
#[test]
fn bad_values_are_refused_by_name() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    let before = snapshot(place.root.path());
    for (option, value) in [
        ("--stability-seconds", "-1"),
        ("--stability-seconds", "abc"),
        ("--stability-seconds", "NaN"),
        ("--stability-seconds", "-NaN"),
        ("--stability-seconds", "inf"),
        ("--stability-seconds", "1e99"),
        ("--stability-seconds", "10s"),
        ("--stability-seconds", ""),
        ("--scan-interval", "abc"),
        ("--scan-interval", "5"),
        ("--scan-interval", "0s"),
        ("--scan-interval", "-5s"),
        ("--scan-interval", "1000years"),
        ("--metrics-interval", "soon"),
        ("--metrics-interval", "0s"),
        ("--mode", "magic"),
        ("--mode", ""),
        ("--concurrency", "0"),
        ("--concurrency", "-1"),
        ("--concurrency", "many"),
        ("--concurrency", "1000000"),
        ("--include", "["),
        ("--include", "{a,b"),
        ("--sidecar-suffix", ""),
        ("--sidecar-suffix", "/ok"),
        ("--duplicates", "burn"),
        ("--log-level", "loud"),
        ("--log-format", "xml"),
    ] {
        let output = place.command().arg("--once").arg(format!("{option}={value}")).output().unwrap();
        assert_refused(&output, 2, &[option]);
    }
    assert_eq!(snapshot(place.root.path()), before);
}

/// Why: `--stability-seconds -1` with a space must be refused for its value, not as an unknown option `-1`.
#[test]
fn a_negative_value_after_a_space_is_refused_for_its_value() {
    let place = Place::new();
    for option in ["--stability-seconds", "--concurrency", "--scan-interval"] {
        let output = place.command().args(["--once", option, "-1"]).output().unwrap();
        assert_refused(&output, 2, &["-1"]);
    }
    let output = place.command().args(["--once", "--stability-seconds", "-1"]).output().unwrap();
    assert_refused(&output, 2, &["--stability-seconds", "negative"]);
}

/// Why: with only one option of this pair, duplicates would be kept where the operator does not expect them.
#[test]
fn duplicates_move_and_its_directory_go_together() {
    let place = Place::new();
    let directory = place.root.path().join("duplicates");
    let directory = directory.to_str().unwrap();
    for words in [
        &["--duplicates", "move"][..],
        &["--duplicates-dir", directory],
        &["--duplicates", "keep", "--duplicates-dir", directory],
        &["--duplicates", "remove", "--duplicates-dir", directory],
    ] {
        let output = place.command().arg("--once").args(words).output().unwrap();
        assert_refused(&output, 2, &["--duplicates", "--duplicates-dir"]);
    }
    assert!(!place.state.exists());
}

/// Why: each of these is required; the message must say which one is missing.
#[test]
fn missing_options_are_named() {
    let required = ["--input", "--warehouse", "--manifests", "--state-path"];
    for missing in required {
        let mut command = bare(&["--once"]);
        required.iter().filter(|option| **option != missing).for_each(|option| {
            command.args([option, "/nonexistent"]);
        });
        assert_refused(&command.output().unwrap(), 2, &[missing]);
        command.arg(missing);
        assert_refused(&command.output().unwrap(), 2, &[missing]);
    }
    assert_refused(&bare(&[]).output().unwrap(), 2, &required);
    assert_refused(&bare(&["run"]).output().unwrap(), 2, &required);
    assert_refused(&bare(&["replay"]).output().unwrap(), 2, &["--state-path"]);
    assert_refused(&bare(&["journal", "inspect"]).output().unwrap(), 2, &["--state-path"]);
}

/// Why: a mistyped word must not start an ingestor, nor end in silence.
#[test]
fn unknown_words_are_refused_and_named() {
    let place = Place::new();
    assert_refused(&bare(&["frobnicate"]).output().unwrap(), 2, &["frobnicate"]);
    assert_refused(&bare(&["journal", "frobnicate"]).output().unwrap(), 2, &["frobnicate"]);
    assert_refused(&bare(&["journal"]).output().unwrap(), 2, &["inspect"]);
    assert_refused(&place.command().arg("--frobnicate").output().unwrap(), 2, &["--frobnicate"]);
    assert_refused(&place.command().arg("stray").output().unwrap(), 2, &["stray"]);
    assert_refused(&place.command().args(["--once", "--once"]).output().unwrap(), 2, &["--once"]);
    assert!(!place.state.exists() && !place.warehouse.exists());
}
