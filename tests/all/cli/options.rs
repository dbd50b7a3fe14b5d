//! Options, their environment variables, and help.

use std::process::Output;

use crate::harness::{Place, bare, csv, err, json_lines, out};

const RUN_OPTIONS: [&str; 21] = [
    "--config",
    "--input",
    "--warehouse",
    "--manifests",
    "--state-path",
    "--mode",
    "--stability-seconds",
    "--sidecar-suffix",
    "--scan-interval",
    "--concurrency",
    "--include",
    "--exclude",
    "--duplicates",
    "--duplicates-dir",
    "--once",
    "--dry-run",
    "--log-level",
    "--log-format",
    "--metrics-interval",
    "--metrics-listen",
    "--metrics-textfile",
];

fn variable(option: &str) -> String {
    format!("CSV_INGESTOR_{}", option.trim_start_matches('-').replace('-', "_").to_uppercase())
}

/// Runs with settings from the environment only.
fn run_by_environment(place: &Place, more: &[(&str, &str)]) -> Output {
    let mut command = bare(&[]);
    for (option, path) in [
        ("--input", &place.staging),
        ("--warehouse", &place.warehouse),
        ("--manifests", &place.manifests),
        ("--state-path", &place.state),
    ] {
        command.env(variable(option), path);
    }
    command.env("CSV_INGESTOR_ONCE", "true").env("CSV_INGESTOR_STABILITY_SECONDS", "0");
    more.iter().for_each(|(option, value)| {
        command.env(variable(option), value);
    });
    command.output().unwrap()
}

#[track_caller]
fn started(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", err(output));
    json_lines(&err(output)).into_iter().find(|line| line["event"] == "started").unwrap()
}

/// Why: an operator who is new to the program has only its help; scripts check `--version`.
#[test]
fn help_and_version_go_to_stdout_and_exit_0() {
    for words in
        [&["--help"][..], &["-h"], &["help"], &["run", "--help"], &["replay", "--help"], &["journal", "--help"]]
    {
        let output = bare(words).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", err(&output));
        assert!(!out(&output).is_empty() && output.stderr.is_empty(), "{words:?}");
    }
    for word in ["--version", "-V"] {
        let output = bare(&[word]).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(out(&output), format!("csv-ingestor {}\n", env!("CARGO_PKG_VERSION")));
    }
}

/// Why: users cannot find an option that is not in the help.
#[test]
fn help_names_every_option_and_its_variable() {
    let help = out(&bare(&["run", "--help"]).output().unwrap());
    for option in RUN_OPTIONS {
        assert!(help.contains(&format!("{option} ")) || help.contains(&format!("{option}\n")), "{option}:\n{help}");
        assert!(help.contains(&variable(option)), "{}:\n{help}", variable(option));
    }
    let replay = out(&bare(&["replay", "--help"]).output().unwrap());
    let inspect = out(&bare(&["journal", "inspect", "--help"]).output().unwrap());
    for option in ["--state-path", "--dry-run", "--json"] {
        assert!(replay.contains(option), "{option}:\n{replay}");
    }
    for option in ["--state-path", "--json", "--state", "--sha256", "--path", "--limit", "--frames"] {
        assert!(inspect.contains(option), "{option}:\n{inspect}");
    }
}

/// Why: the main help must list the commands, and the exit codes that scripts depend on.
#[test]
fn help_names_the_commands_and_the_exit_codes() {
    let help = out(&bare(&["--help"]).output().unwrap());
    for word in
        ["run", "replay", "journal", "0 done", "1 failed", "2 usage", "3 the journal", "4 another", "6 `run --once`"]
    {
        // Help is wrapped to the terminal.
        assert!(help.split_whitespace().collect::<Vec<_>>().join(" ").contains(word), "{word}:\n{help}");
    }
}

/// Why: after corruption, the message refers the operator to these commands; they must exist.
#[test]
fn the_journal_has_its_commands() {
    for command in ["inspect", "verify"] {
        let output = bare(&["journal", command, "--help"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "journal {command}: {}", err(&output));
    }
}

/// Why: containers and units are configured by environment variables; one that is not read silently leaves the default.
#[test]
fn every_required_option_can_come_from_the_environment() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    let event = started(&run_by_environment(&place, &[]));
    assert_eq!(event["input"], place.staging.to_str().unwrap());
    assert_eq!(event["warehouse"], place.warehouse.to_str().unwrap());
    assert_eq!(event["manifests"], place.manifests.to_str().unwrap());
    assert_eq!(event["state_path"], place.state.to_str().unwrap());
    assert_eq!(event["once"], true);
    assert_eq!(event["stability_seconds"], 0.0);
    assert_eq!(place.check_consistent(), 1);
}

/// Why: as above, for the settings that determine which files are ingested, and how.
#[test]
fn optional_settings_can_come_from_the_environment() {
    let place = Place::new();
    for name in ["a.csv", "b.txt", "c.csv", "d.tsv"] {
        place.stage(name, csv(name.len() as u64 + u64::from(name.as_bytes()[0]), 100));
    }
    for name in ["a.csv.done", "b.txt.done", "c.csv.ok", "d.tsv.done"] {
        place.stage(name, "");
    }
    let settings = [
        ("--mode", "sidecar"),
        ("--sidecar-suffix", ".done"),
        ("--include", "{*.csv,*.tsv}"),
        ("--scan-interval", "1m"),
        ("--concurrency", "3"),
        ("--metrics-interval", "1h"),
        ("--log-level", "debug"),
        ("--log-format", "json"),
    ];
    let output = run_by_environment(&place, &settings);
    let event = started(&output);
    assert_eq!(
        (&event["mode"], &event["scan_interval"], &event["concurrency"]),
        (&"sidecar".into(), &"1m".into(), &3.into())
    );
    assert!(err(&output).contains("\"level\":\"debug\""), "{}", err(&output));
    assert_eq!(place.staged_names(), ["b.txt", "b.txt.done", "c.csv", "c.csv.ok"]);
    assert_eq!(place.check_consistent(), 2);

    // And the settings for duplicates.
    let duplicates = place.root.path().join("duplicates");
    let content = place.warehouse_files().into_values().next().unwrap();
    place.stage("again.csv", &content);
    let settings = [
        ("--duplicates", "move"),
        ("--duplicates-dir", duplicates.to_str().unwrap()),
        ("--include", "again*"),
        ("--log-format", "text"),
    ];
    let output = run_by_environment(&place, &settings);
    assert!(output.status.success() && !err(&output).contains('{'), "{}", err(&output));
    assert_eq!(std::fs::read(duplicates.join("again.csv")).unwrap(), content);
}

/// Why: a variable with an invalid value must be refused like the option, not ignored.
#[test]
fn a_bad_value_in_a_variable_is_refused_by_the_options_name() {
    let place = Place::new();
    let bad = [
        ("--config", "/nonexistent/config.toml"),
        ("--input", "/nonexistent/input"),
        ("--warehouse", "/proc/version"),
        ("--manifests", "/proc/version"),
        ("--state-path", "/proc/version"),
        ("--mode", "magic"),
        ("--stability-seconds", "soon"),
        ("--sidecar-suffix", "a/b"),
        ("--scan-interval", "often"),
        ("--concurrency", "0"),
        ("--include", "[a"),
        ("--exclude", ""),
        ("--duplicates", "burn"),
        ("--duplicates-dir", "/nonexistent/duplicates"),
        ("--once", "perhaps"),
        ("--dry-run", "perhaps"),
        ("--log-level", "loud"),
        ("--log-format", "xml"),
        ("--metrics-interval", "never"),
        ("--metrics-listen", "everywhere"),
        ("--metrics-textfile", "/nonexistent/x.prom"),
    ];
    assert_eq!(bad.map(|(option, _)| option), RUN_OPTIONS);
    for (option, value) in bad {
        let output = run_by_environment(&place, &[(option, value)]);
        assert_eq!(output.status.code(), Some(2), "{option}={value}: {}", err(&output));
        assert!(err(&output).contains(option), "{option}={value}: {}", err(&output));
    }
    assert!(!place.warehouse.exists() && !place.manifests.exists() && !place.state.exists());
}

/// Why: a unit's environment gives defaults; an operator's command line must win.
#[test]
fn an_option_wins_over_its_variable() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    let mut command = place.command();
    command.args(["--once", "--stability-seconds", "0", "--concurrency", "2", "--log-format", "json"]);
    command.args(["--mode", "stability", "--include", "*.csv", "--log-level", "info"]);
    for (option, value) in [
        ("--input", "/nonexistent"),
        ("--warehouse", "/proc/version"),
        ("--manifests", "/proc/version"),
        ("--state-path", "/proc/version"),
        ("--stability-seconds", "3600"),
        ("--concurrency", "0"),
        ("--log-format", "text"),
        ("--mode", "sidecar"),
        ("--include", "nothing"),
        ("--log-level", "error"),
    ] {
        command.env(variable(option), value);
    }
    let event = started(&command.output().unwrap());
    assert_eq!((&event["concurrency"], &event["mode"]), (&2.into(), &"stability".into()));
    assert_eq!(place.check_consistent(), 1);
}

/// Why: `CSV_INGESTOR_DRY_RUN=false` in a unit file must not cause a dry run, and `true` must.
#[test]
fn flags_read_true_and_false() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    let output = run_by_environment(&place, &[("--dry-run", "true")]);
    assert!(output.status.success() && out(&output).starts_with("READY: "), "{}{}", out(&output), err(&output));
    assert!(!place.state.exists());
    let output = run_by_environment(&place, &[("--dry-run", "false")]);
    assert!(output.status.success(), "{}", err(&output));
    assert_eq!(place.check_consistent(), 1);

    let mut command = place.command();
    command.args(["--stability-seconds", "0"]).env("CSV_INGESTOR_ONCE", "false");
    let daemon = place.spawn(command);
    daemon.wait_started();
    assert_eq!(daemon.events("started")[0]["once"], false);
    assert!(daemon.stop().success());
}

/// Why: the specification's example has no subcommand; unit files written from docs/options.md have one.
#[test]
fn run_may_be_left_out() {
    for word in [None, Some("run")] {
        let place = Place::new();
        place.stage("a.csv", csv(1, 100));
        let mut command = bare(&[]);
        command.args(word).arg("--input").arg(&place.staging).arg("--warehouse").arg(&place.warehouse);
        command.arg("--manifests").arg(&place.manifests).arg("--state-path").arg(&place.state);
        let output = command.args(["--once", "--stability-seconds", "0"]).output().unwrap();
        assert!(output.status.success(), "{word:?}: {}", err(&output));
        assert_eq!(place.check_consistent(), 1, "{word:?}");
    }
}

/// Why: one worker must not block, and eight must not ingest anything twice or out of the journal's order.
#[test]
fn one_worker_and_eight_do_the_same() {
    for concurrency in ["1", "8"] {
        let place = Place::new();
        (0..60).for_each(|seed| drop(place.stage(format!("{seed}.csv"), csv(seed % 50, 1000))));
        place.once_ok(&["--concurrency", concurrency]);
        assert_eq!(place.check_consistent(), 50, "--concurrency {concurrency}");
        assert_eq!(place.staged_names().len(), 10, "--concurrency {concurrency}");
    }
}

/// Why: people type relative paths; the records must be absolute, or a start from another directory does not find the files.
#[test]
fn relative_paths_become_absolute() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    let mut command = bare(&["--input", "staging", "--warehouse", "./warehouse", "--manifests", "manifests"]);
    command.args(["--state-path", "state.db", "--once", "--stability-seconds", "0"]).current_dir(place.root.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
    let line = &place.manifest_lines()[0];
    assert_eq!(line["path"], place.staging.join("a.csv").to_str().unwrap());
    assert!(std::fs::metadata(line["warehouse_path"].as_str().unwrap()).unwrap().is_file());
    assert!(place.root.path().join("state.db").is_dir());
}

/// Why: the journal has the name of every ingested file; other users of the machine must not read it.
#[test]
fn the_state_directory_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let mut place = Place::new();
    place.state = place.root.path().join("deep/er/state");
    place.once_ok(&[]);
    assert_eq!(std::fs::metadata(&place.state).unwrap().permissions().mode() & 0o777, 0o700);
}
