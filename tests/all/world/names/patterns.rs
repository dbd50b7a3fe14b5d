//! `--include` and `--exclude`.

use crate::harness::{Place, csv, err, json_lines, out};

/// Why: with such a pattern nothing was ingested, and nothing reported why. It is also refused in a variable, by `explain`
/// and by a dry run.
#[test]
fn a_pattern_that_can_match_nothing_is_refused_with_the_right_form() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    for (pattern, right) in [
        ("", "*.csv"),
        ("/data/staging/*.csv", "\"*.csv\""),
        ("sub/*.csv", "\"*.csv\""),
        ("*.csv,*.tsv", "{*.csv,*.tsv}"),
        ("*.csv, *.tsv", "{*.csv,*.tsv}"),
        ("*.csv;*.tsv", "{*.csv,*.tsv}"),
        ("*.csv *.tsv", "{*.csv,*.tsv}"),
        ("'*.csv'", "*.csv"),
        ("[a", "--"),
    ] {
        for option in ["--include", "--exclude"] {
            for more in [&[][..], &["--dry-run"]] {
                let output = place.once(&[&[option, pattern], more].concat());
                let said = err(&output);
                assert_eq!(output.status.code(), Some(2), "{option} {pattern:?}: {said}");
                assert!(
                    said.contains(option) && said.contains(&right.replace('"', "\\\"")) || said.contains(right),
                    "{said}"
                );
            }
            let variable = format!("CSV_INGESTOR_{}", option.trim_start_matches('-').to_uppercase());
            let output = place.command().arg("--once").env(variable, pattern).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{option} {pattern:?} from the environment");
            let output = place.subcommand(&["explain", option, pattern, "/x"]);
            assert_eq!(output.status.code(), Some(2), "explain {option} {pattern:?}: {}", err(&output));
        }
    }
    for pattern in [".csv", "*.part", "Thumbs.db"] {
        assert_eq!(place.once(&["--include", pattern]).status.code(), Some(2), "{pattern}");
    }
    assert!(!place.state.exists() && place.staged_names() == ["a.csv"]);
}

/// Why: the other files that an upstream sends beside its data have no common suffix; a list of all wanted names would keep
/// growing.
#[test]
fn exclude_takes_names_away_from_what_is_included() {
    let place = Place::new();
    for (seed, name) in (1..).zip(["a.csv", "_SUCCESS", "_b.csv", "c.csv.md5", "d,e.csv", "f.CSV"]) {
        place.stage(name, csv(seed, 100));
    }
    let said = out(&place.once_ok(&["--exclude", "_*", "--exclude", "{*.md5,*.sha256}"]));
    assert_eq!(place.staged_names(), ["_SUCCESS", "_b.csv", "c.csv.md5"]);
    assert_eq!(said.matches(" (matches --exclude)").count(), 3, "{said}");
    assert_eq!(place.check_consistent(), 3);
    place.once_ok(&["--include", "*.csv", "--exclude", "x*"]);
    assert_eq!(place.staged_names(), ["_SUCCESS", "c.csv.md5"]);
}

/// Why: a wrong pattern is noticed by its effect: no file is ingested. One line reports that, and not each scan.
#[test]
fn a_pattern_that_matches_nothing_that_is_there_is_warned_of_once() {
    let place = Place::new();
    place.stage("a.txt", csv(1, 100));
    let events = |output: &std::process::Output, name: &str| {
        json_lines(&err(output)).into_iter().filter(|line| line["event"] == name).count()
    };
    let output = place.once_ok(&["--include", "*.csv"]);
    assert_eq!(events(&output, "include_matches_nothing"), 1, "{}", err(&output));
    let daemon = place.start(&["--include", "*.csv", "--scan-interval", "20ms", "--stability-seconds", "0"]);
    daemon.wait_for("include_matches_nothing", 1);
    place.stage("b.csv", csv(2, 100));
    daemon.wait_for("file_ingested", 1);
    std::thread::sleep(std::time::Duration::from_millis(200));
    let said = daemon.events("include_matches_nothing");
    assert!(said.len() == 1 && said[0]["level"] == "warn", "{said:?}");
    assert!(daemon.stop().success());
    // Another file matches, or there is no file to match.
    place.stage("c.csv", csv(3, 100));
    assert_eq!(events(&place.once_ok(&["--include", "*.csv"]), "include_matches_nothing"), 0);
    std::fs::remove_file(place.staging.join("a.txt")).unwrap();
    place.stage("d.csv.part", csv(4, 100));
    assert_eq!(events(&place.once_ok(&["--include", "*.csv"]), "include_matches_nothing"), 0);
}

/// Why: a Windows upstream sends `ORDERS.CSV`, which `*.csv` does not match, though the pattern looks right.
#[test]
fn where_only_the_case_differs_it_is_said() {
    let place = Place::new();
    place.stage("ORDERS.CSV", csv(1, 100));
    place.stage("b.csv", csv(2, 100));
    let output = place.once_ok(&["--include", "*.csv"]);
    assert!(out(&output).contains("ORDERS.CSV (does not match --include; only the case differs)"), "{}", out(&output));
    let log = json_lines(&err(&output));
    let warned: Vec<_> = log.iter().filter(|line| line["event"] == "pattern_case_differs").collect();
    assert_eq!(warned.len(), 1, "{log:?}");
    assert_eq!((&warned[0]["level"], &warned[0]["option"]), (&"warn".into(), &"--include".into()));
    // The other way round, the file is ingested, which was not intended.
    let output = place.once_ok(&["--exclude", "orders*"]);
    let log = json_lines(&err(&output));
    let warned: Vec<_> = log.iter().filter(|line| line["event"] == "pattern_case_differs").collect();
    assert_eq!(warned.len(), 1, "{log:?}");
    assert_eq!(warned[0]["option"], "--exclude");
    assert_eq!(place.check_consistent(), 2);
}
