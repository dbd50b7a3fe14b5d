//! `--dry-run`: reports what would happen, and changes nothing.

use std::time::SystemTime;

use crate::harness::{Place, csv, err, json_lines, out, snapshot};

fn today() -> String {
    humantime::format_rfc3339(SystemTime::now()).to_string()[..10].to_owned()
}

/// Runs a test again if it ran over midnight (UTC): a forecast is for the day on which it was made.
fn within_one_day(test: impl Fn()) {
    loop {
        let before = today();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&test));
        match result {
            _ if today() != before => {}
            Ok(()) => return,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Why: operators try it on production directories, so it must write nothing there, not even a lock.
#[test]
fn a_dry_run_writes_nothing_anywhere() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 5000));
    place.stage("b.csv", csv(1, 5000));
    place.stage("empty.csv", "");
    let before = snapshot(place.root.path());
    let output = place.once_ok(&["--dry-run"]);
    assert_eq!(snapshot(place.root.path()), before);
    assert!(!place.warehouse.exists() && !place.manifests.exists() && !place.state.exists());
    assert_eq!(out(&output).lines().count(), 3, "{}", out(&output));

    // The same when all directories and a journal exist.
    place.once_ok(&[]);
    place.stage("c.csv", csv(3, 5000));
    place.stage("d.csv", csv(1, 5000));
    let duplicates = place.root.path().join("duplicates");
    let before = snapshot(place.root.path());
    place.once_ok(&["--dry-run"]);
    place.once_ok(&["--dry-run", "--duplicates", "remove"]);
    place.once_ok(&["--dry-run", "--duplicates", "move", "--duplicates-dir", duplicates.to_str().unwrap()]);
    place.once_ok(&["--dry-run", "--mode", "sidecar"]);
    assert_eq!(snapshot(place.root.path()), before);
}

/// Why: the forecast is useful only if it comes true to the letter.
#[test]
fn the_forecast_comes_true() {
    within_one_day(|| {
        let place = Place::new();
        let (new, same, taken) = (csv(1, 5000), csv(2, 5000), csv(3, 5000));
        place.stage("old.csv", &same);
        place.once_ok(&[]);
        place.occupy(&["taken.csv".to_owned()]);
        place.stage("new.csv", &new);
        place.stage("same.csv", &same);
        place.stage("taken.csv", &taken);
        let forecast = out(&place.once_ok(&["--dry-run"]));
        let before = place.warehouse_files();
        place.once_ok(&[]);
        let after = place.warehouse_files();
        let new_path = |content: &[u8]| after.iter().find(|(_, there)| *there == content).unwrap().0.display();
        let old = before.iter().find(|(_, there)| **there == same).unwrap().0.display();
        let staged = |name: &str| place.staging.join(name).display().to_string();
        let expected = [
            format!("READY: {} -> {}", staged("new.csv"), new_path(&new)),
            format!("DUPLICATE: {} = {old}", staged("same.csv")),
            format!("READY: {} -> {}", staged("taken.csv"), new_path(&taken)),
        ];
        assert_eq!(forecast.lines().collect::<Vec<_>>(), expected);
    });
}

/// Why: only one of two equal files will be ingested; a forecast with READY twice would be wrong for one of them.
#[test]
fn two_equal_files_are_one_ready_and_one_duplicate() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 5000));
    place.stage("b.csv", csv(1, 5000));
    let forecast = out(&place.once_ok(&["--dry-run"]));
    let ready = forecast.lines().find(|line| line.starts_with("READY: ")).unwrap();
    let duplicate = forecast.lines().find(|line| line.starts_with("DUPLICATE: ")).unwrap();
    assert_eq!(ready.rsplit(" -> ").next(), duplicate.rsplit(" = ").next(), "{forecast}");
}

/// Why: incomplete files must be distinguished from complete ones, with the reason.
#[test]
fn what_waits_is_said_with_the_reason() {
    let place = Place::new();
    let path = place.stage("a.csv", csv(1, 100));
    let open = std::fs::File::options().append(true).open(place.stage("open.csv", csv(2, 100))).unwrap();
    place.stage("open.csv.ok", "");
    let forecast = out(&place.once_ok(&["--dry-run", "--mode", "sidecar"]));
    let lines: Vec<_> = forecast.lines().collect();
    assert_eq!(lines[0], format!("WAITING: {} (no sidecar)", path.display()));
    // A lease needs a local file system; elsewhere the writer is not detected.
    let prefix = format!("WAITING: {} (open for writing)", place.staging.join("open.csv").display());
    assert!(lines[1] == prefix || lines[1].starts_with("READY: "), "{forecast}");
    drop(open);
}

/// Why: the forecast is also for scripts, but it is JSON only if that is requested: the log's default is JSON.
#[test]
fn json_is_given_to_who_asks_for_it() {
    let place = Place::new();
    let path = place.stage("a.csv", csv(1, 5000));
    place.once_ok(&[]);
    let [first] = &place.warehouse_files().into_keys().collect::<Vec<_>>()[..] else { panic!("not one file") };
    place.stage("b.csv", csv(1, 5000));
    place.stage("c.csv", csv(2, 5000));
    assert!(out(&place.once_ok(&["--dry-run"])).starts_with("DUPLICATE: "));
    assert!(out(&place.once_ok(&["--dry-run", "--log-format", "text"])).starts_with("DUPLICATE: "));
    let output = place.once_ok(&["--dry-run", "--log-format", "json"]);
    let lines = json_lines(&out(&output));
    assert_eq!(lines.len(), 2, "{}", err(&output));
    assert_eq!(lines[0]["status"], "DUPLICATE");
    assert_eq!(lines[0]["path"], place.staging.join("b.csv").to_str().unwrap());
    assert_eq!(lines[0]["original"], first.to_str().unwrap());
    assert_eq!(lines[1]["status"], "READY");
    assert!(lines[1]["warehouse_path"].as_str().unwrap().ends_with("/c.csv"));
    let lines = json_lines(&out(&place.once_ok(&["--dry-run", "--log-format", "json", "--mode", "sidecar"])));
    let waiting = lines.iter().find(|line| line["status"] == "WAITING").unwrap();
    assert_eq!(waiting["reason"], "no sidecar");
    assert!(!path.exists());
}

/// Why: it is used mostly while the daemon runs; it must neither wait for the daemon's locks nor disturb it.
#[test]
fn it_works_beside_a_running_daemon() {
    let place = Place::new();
    let daemon = place.start(&["--mode", "sidecar", "--scan-interval", "100ms"]);
    daemon.wait_started();
    place.stage("a.csv", csv(1, 5000));
    let output = place.once_ok(&["--dry-run"]);
    assert!(out(&output).starts_with("READY: "), "{}", out(&output));
    place.stage("a.csv.ok", "");
    daemon.wait_for("file_ingested", 1);
    assert!(daemon.stop().success());
    assert_eq!(place.check_consistent(), 1);
}

/// Why: the window is part of the forecast: a file that is growing would not be ingested either.
#[test]
fn it_waits_out_the_window() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    let mut command = place.command();
    command.args(["--dry-run", "--stability-seconds", "1.5"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut size = 100;
    // The file grows as long as the dry run takes.
    while child.try_wait().unwrap().is_none() {
        size += 100;
        std::fs::write(place.staging.join("a.csv"), csv(1, size)).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let forecast = out(&child.wait_with_output().unwrap());
    assert!(forecast.starts_with("WAITING: "), "{forecast}");
}
