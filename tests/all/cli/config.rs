//! The configuration file: `--config`, and `config check`.

mod problems;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use clap::{Arg, ArgAction, CommandFactory};
use csv_ingestor::cli::Cli;

use crate::harness::{Place, bare, csv, err, json_lines, out, sh, snapshot};

/// Options of `run` that belong to one start, not to a source.
const NOT_IN_A_FILE: [&str; 7] = ["config", "dry-run", "help", "new-identity", "new-journal", "new-warehouse", "once"];

/// A file in `place` with this content.
fn file(place: &Place, content: impl AsRef<[u8]>) -> PathBuf {
    let path = place.root.path().join("orders.toml");
    fs::write(&path, content).unwrap();
    path
}

/// The required options.
fn directories(place: &Place) -> String {
    let of = |key: &str, path: &PathBuf| format!("{key} = '{}'\n", path.display());
    let required = [("input", &place.staging), ("warehouse", &place.warehouse), ("manifests", &place.manifests)];
    required.map(|(key, path)| of(key, path)).concat() + &of("state-path", &place.state)
}

/// `config check`, in the file's directory, so that its messages begin with its name alone.
fn check(content: impl AsRef<[u8]>) -> Output {
    let place = Place::new();
    file(&place, content);
    bare(&["config", "check", "orders.toml"]).current_dir(place.root.path()).output().unwrap()
}

/// The lines that `config check` prints for a file with problems, without the name of the file.
#[track_caller]
fn problems(content: impl AsRef<[u8]>) -> Vec<String> {
    let output = check(content);
    assert_eq!(output.status.code(), Some(2), "{}{}", out(&output), err(&output));
    assert_eq!(err(&output), "csv-ingestor: orders.toml has problems, as listed\n");
    out(&output).lines().map(|line| line.strip_prefix("orders.toml:").unwrap().to_owned()).collect()
}

/// `run --once` with this file and nothing else.
fn run(path: &PathBuf) -> Command {
    let mut command = bare(&["run", "--once", "--config"]);
    command.arg(path);
    command
}

#[track_caller]
fn started(command: &mut Command) -> serde_json::Value {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
    json_lines(&err(&output)).into_iter().find(|line| line["event"] == "started").unwrap()
}

/// The options of `run` that a file can give, as clap knows them.
fn options() -> Vec<Arg> {
    let program = Cli::command();
    let run = program.find_subcommand("run").unwrap();
    let options = run.get_arguments().filter(|option| !NOT_IN_A_FILE.contains(&option.get_long().unwrap()));
    options.cloned().collect()
}

/// A value that the option accepts. A new option that takes something else needs a line here.
fn good_value(option: &Arg) -> String {
    if matches!(option.get_action(), ArgAction::SetTrue) {
        return "true".to_owned();
    }
    if let Some(value) = option.get_possible_values().first() {
        return format!("\"{}\"", value.get_name());
    }
    if let Some(value) = option.get_default_values().first() {
        return format!("'{}'", value.to_str().unwrap());
    }
    let name = option.get_value_names().unwrap()[0].as_str();
    let samples = [
        ("ADDR", "\"127.0.0.1:0\""),
        ("BYTES", "\"2GiB\""),
        ("C", "\"#\""),
        ("DIR", "\"/data/x\""),
        ("DIR|URL", "\"/data/x\""),
        ("DURATION", "\"90d\""),
        ("GLOB", "[\"*.csv\", \"*.tsv\"]"),
        ("KEY=VALUE", "[\"aws_region=eu-central-1\"]"),
        ("N", "4"),
        ("PATH", "\"/data/x.prom\""),
        ("S", "\".done\""),
        ("TEMPLATE", "\"{stem}.done\""),
        ("REGEX", "'^(?<source>[a-z]+)_'"),
    ];
    let found = samples.iter().find(|(sample, _)| *sample == name);
    found.unwrap_or_else(|| panic!("no sample for --{} {name}", option.get_long().unwrap())).1.to_owned()
}

/// Why: an option that a file cannot give has to be given twice, here and there; a new one must not be forgotten.
#[test]
fn a_file_can_give_every_option() {
    let options = options();
    assert!(options.len() > 20, "only {} options: the search is broken", options.len());
    for option in &options {
        let key = option.get_long().unwrap();
        // What another option needs beside it.
        let beside = match key {
            "duplicates-dir" => "duplicates = \"move\"\n",
            "malformed" | "csv-comment" | "csv-skip-rows" => "validate = \"csv\"\n",
            "require-checksum" => "mode = \"sidecar\"\n",
            "group-timeout" => "mode = \"group\"\n",
            "max-depth" | "cross-mounts" => "recursive = true\n",
            _ => "",
        };
        let output = check(format!("{key} = {}\n{beside}", good_value(option)));
        assert_eq!(out(&output), "orders.toml: no problems\n", "{key}: {}", err(&output));
        assert!(output.status.success());

        // A value that no option takes, at its place and by its name.
        let found = problems(format!("\n  {key} = 1979-05-27"));
        assert!(
            found.len() == 1 && found[0].starts_with(&format!("2:{}: `{key}` must be ", key.len() + 6)),
            "{found:?}"
        );
    }
    for key in NOT_IN_A_FILE {
        let found = problems(format!("{key} = true"));
        assert!(found[0].starts_with(&format!("1:1: `{key}` cannot be in a file: ")), "{found:?}");
    }
}

/// Why: a file that is accepted but not followed is worse than one that is refused.
#[test]
fn a_file_alone_is_enough() {
    let place = Place::new();
    for (seed, name) in ["a.csv", "b.tsv", "c.txt", "_d.csv"].iter().enumerate() {
        place.stage(name, csv(seed as u64, 100));
    }
    for name in ["a.csv.done", "b.tsv.done", "c.txt.done", "_d.csv.done"] {
        place.stage(name, "");
    }
    let text = directories(&place)
        + r#"
        # Comments, numbers and strings as TOML has them.
        mode = "sidecar"
        sidecar-suffix = '.done'
        stability-seconds = 0.5
        scan-interval = "1m"
        concurrency = 0x3
        include = ["*.csv", "*.tsv"]
        exclude = "_*"
        duplicates = "remove"
        require-checksum = false
        validate = "csv"
        csv-delimiter = "\t"
        log-level = "debug"
        "#;
    let path = file(&place, text);
    let output = run(&path).output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
    let log = json_lines(&err(&output));
    let event = log.iter().find(|line| line["event"] == "started").unwrap();
    assert_eq!(
        (&event["mode"], &event["scan_interval"], &event["concurrency"]),
        (&"sidecar".into(), &"1m".into(), &3.into())
    );
    assert!(log.iter().any(|line| line["level"] == "debug"));
    assert_eq!(place.staged_names(), ["_d.csv", "_d.csv.done", "c.txt", "c.txt.done"]);
    assert_eq!(place.check_consistent(), 2);
}

/// Why: a unit has its file, a container its variables, an operator the command line: whoever is nearer must win.
#[test]
fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
    let place = Place::new();
    let other = place.root.path().join("other");
    let text = directories(&place).replace(&*place.warehouse.to_string_lossy(), "/proc/version")
        + "mode = \"sidecar\"\nconcurrency = 2\nstability-seconds = 0\nscan-interval = \"2s\"\ninclude = [\"of-the-file\"]\n\
           require-checksum = true\nmetrics-interval = \"20s\"\n";
    let path = file(&place, text);
    let mut command = run(&path);
    command.env("CSV_INGESTOR_WAREHOUSE", &place.warehouse).env("CSV_INGESTOR_MODE", "stability");
    command.env("CSV_INGESTOR_CONCURRENCY", "3").env("CSV_INGESTOR_SCAN_INTERVAL", "3s");
    command.env("CSV_INGESTOR_INCLUDE", "of-the-environment").env("CSV_INGESTOR_REQUIRE_CHECKSUM", "false");
    for name in ["of-the-file", "of-the-environment", "of-the-command-line"] {
        place.stage(name, csv(name.len() as u64, 100));
    }
    let event = started(&mut command);
    let settings = |event: &serde_json::Value| {
        ["warehouse", "mode", "concurrency", "scan_interval", "state_path"].map(|key| event[key].clone())
    };
    let path_of = |path: &PathBuf| serde_json::Value::from(path.to_str().unwrap());
    let (warehouse, state) = (path_of(&place.warehouse), path_of(&place.state));
    assert_eq!(settings(&event), [warehouse, "stability".into(), 3.into(), "3s".into(), state]);
    // Lists are not joined: the nearer one replaces the other.
    assert_eq!(place.staged_names(), ["of-the-command-line", "of-the-file"]);

    command.args(["--concurrency", "4", "--scan-interval=4s", "--include", "of-the-command-line"]);
    command.arg("--state-path").arg(&other);
    command.args(["--new-journal"]);
    let event = started(&mut command);
    assert_eq!(event["concurrency"], 4);
    assert_eq!(event["scan_interval"], "4s");
    assert_eq!(event["state_path"], path_of(&other));
    assert_eq!(place.staged_names(), ["of-the-file"]);
}

/// Why: units and containers name the file by the variable, and an operator tries another one.
#[test]
fn the_environment_can_name_the_file_and_the_command_line_another_one() {
    let place = Place::new();
    let path = file(&place, directories(&place) + "stability-seconds = 0\nconcurrency = 2\n");
    let mut command = bare(&["--once"]);
    command.env("CSV_INGESTOR_CONFIG", &path);
    assert_eq!(started(&mut command)["concurrency"], 2);
    let other = place.root.path().join("other.toml");
    fs::write(&other, directories(&place) + "stability-seconds = 0\nconcurrency = 5\n").unwrap();
    assert_eq!(started(command.arg("--config").arg(other))["concurrency"], 5);
}

/// Why: rules between options must hold whichever way each of them is given.
#[test]
fn options_that_need_each_other_may_come_from_different_places() {
    let place = Place::new();
    let text = directories(&place) + "stability-seconds = 0\nmalformed = \"mark\"\n";
    let path = file(&place, text);
    let output = run(&path).output().unwrap();
    assert_eq!((output.status.code(), err(&output).contains("--malformed needs --validate csv")), (Some(2), true));
    assert!(!place.state.exists());
    started(run(&path).args(["--validate", "csv"]));
    started(run(&path).env("CSV_INGESTOR_VALIDATE", "csv"));
    // And what the file needs is refused if something nearer contradicts it.
    let path = file(&place, directories(&place) + "mode = \"sidecar\"\nrequire-checksum = true\n");
    let output = run(&path).args(["--mode", "stability"]).output().unwrap();
    assert_eq!((output.status.code(), err(&output).contains("--require-checksum")), (Some(2), true));
    // What is required must come from one of them.
    let path = file(&place, "log-level = \"info\"\n");
    let output = run(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("--state-path <DIR>"), "{}", err(&output));
}

/// Why: the same file must not mean one thing to the check and another to the service.
#[test]
fn run_refuses_a_bad_file_with_the_same_messages() {
    let place = Place::new();
    let path = file(&place, directories(&place) + "mode = \"magic\"\nincldue = \"*\"\n");
    place.stage("a.csv", csv(1, 100));
    let before = snapshot(place.root.path());
    let checked = bare(&["config", "check"]).arg(&path).output().unwrap();
    let listed: String = out(&checked).lines().map(|line| format!("csv-ingestor: {line}\n")).collect();
    for words in [&["run"][..], &[], &["run", "--mode", "sidecar"], &["run", "--dry-run"]] {
        let output = bare(words).arg("--config").arg(&path).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(err(&output).starts_with(&listed) && listed.lines().count() == 2, "{listed}{}", err(&output));
        assert!(out(&output).is_empty());
    }
    assert_eq!(snapshot(place.root.path()), before);
}

/// Why: a wrong path must be called wrong at once: a FIFO would be waited for, and an empty file would mean defaults.
#[test]
fn what_is_no_file_is_refused() {
    let place = Place::new();
    let at = |name: &str| place.root.path().join(name);
    sh("mkfifo", &[at("fifo").as_os_str()]);
    fs::create_dir(at("directory")).unwrap();
    fs::write(at("large"), "#".repeat((64 << 10) + 1)).unwrap();
    fs::write(at("allowed"), "#".repeat(64 << 10)).unwrap();
    std::os::unix::fs::symlink("allowed", at("link")).unwrap();
    for (name, why) in [
        ("missing", "No such file"),
        ("directory", "not a regular file"),
        ("fifo", "not a regular file"),
        ("/dev/zero", "not a regular file"),
        ("large", "more than 65536 bytes"),
    ] {
        for words in [&["config", "check"][..], &["run", "--once", "--config"]] {
            let output = bare(words).arg(at(name)).output().unwrap();
            assert_eq!((output.status.code(), out(&output).as_str()), (Some(2), ""), "{name}");
            assert!(err(&output).contains(why) && err(&output).contains(name), "{name}: {}", err(&output));
        }
    }
    for name in ["allowed", "link"] {
        assert!(bare(&["config", "check"]).arg(at(name)).output().unwrap().status.success(), "{name}");
    }
}

/// Why: a path in a file means what it means on the command line.
#[test]
fn relative_paths_begin_at_the_current_directory() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    fs::create_dir(place.root.path().join("etc")).unwrap();
    let text = "input = 'staging'\nwarehouse = 'warehouse'\nmanifests = 'manifests'\nstate-path = 'state'\nstability-seconds = 0\n";
    fs::write(place.root.path().join("etc/orders.toml"), text).unwrap();
    let event = started(bare(&["--once", "--config", "etc/orders.toml"]).current_dir(place.root.path()));
    assert_eq!(event["input"], place.staging.to_str().unwrap());
    assert_eq!(place.check_consistent(), 1);
}

/// Why: one file describes a source, so the other commands that need its directories can read them there.
#[test]
fn other_commands_take_from_the_file_what_they_know() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    place.once_ok(&[]);
    place.stage("b.txt", csv(2, 100));
    let path = file(&place, directories(&place) + "include = ['*.csv']\nlog-level = 'info'\n");
    for (words, expected) in [(&["replay"][..], "completed: 0"), (&["audit", "--json"], "\"verdict\":\"clean\"")] {
        let output = bare(words).arg("--config").arg(&path).output().unwrap();
        assert!(
            output.status.success() && out(&output).contains(expected),
            "{words:?}: {}{}",
            out(&output),
            err(&output)
        );
    }
    let output = bare(&["explain", "--config"]).arg(&path).arg(place.staging.join("b.txt")).output().unwrap();
    assert!(out(&output).contains("--include"), "{}{}", out(&output), err(&output));
    let path = file(&place, "nonsense = 1\n");
    let output = bare(&["replay", "--config"]).arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains(":1:1: unknown key"), "{}", err(&output));
}
