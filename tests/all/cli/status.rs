//! `csv-ingestor status`.

use serde_json::Value;

use super::killed_while_hashing;
use crate::harness::{Place, csv, err, out, snapshot};

fn status(place: &Place) -> Value {
    let output = place.subcommand(&["status", "--json"]);
    assert!(output.status.success(), "{}", err(&output));
    serde_json::from_str(&out(&output)).unwrap()
}

/// The first questions of an operator: does it run, what has it done, what is it doing?
#[test]
fn it_tells_what_is_there() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 1_000));
    place.once_ok(&[]);
    place.stage("b.csv", csv(2, 2_000));
    place.stage("again.csv", csv(1, 1_000));
    let daemon = place.start(&["--stability-seconds", "0", "--scan-interval", "50ms"]);
    daemon.wait_for("file_ingested", 1);
    daemon.wait_for("duplicate_skipped", 1);
    let told = status(&place);
    assert_eq!((&told["running"], &told["pid"]), (&true.into(), &daemon.child.id().into()));
    assert_eq!((&told["states"]["MANIFESTED"], &told["states"]["SKIPPED_DUPLICATE"]), (&2.into(), &1.into()));
    let bytes = csv(1, 1_000).len() + csv(2, 2_000).len();
    assert_eq!((&told["remembered_files"], &told["remembered_bytes"]), (&2.into(), &bytes.into()));
    assert_eq!((&told["kept_duplicates"], &told["in_flight"]), (&1.into(), &0.into()));
    assert_eq!(told["input"], place.staging.to_str().unwrap());
    let place_of = |which: &str| told[which]["warehouse_path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    assert_eq!((place_of("oldest"), place_of("newest")), ("a.csv".to_owned(), "b.csv".to_owned()));
    assert!(told["segments"].as_u64() > Some(0) && told["segment_bytes"].as_u64() >= Some(262_144), "{told}");
    daemon.stop();
    let text = out(&place.subcommand(&["status"]));
    assert!(text.contains("running:     no") && text.contains("MANIFESTED         2"), "{text}");
    assert!(place.subcommand(&["journal", "compact"]).status.success());
    let told = status(&place);
    assert_eq!((&told["running"], &told["pid"], &told["snapshots"]), (&false.into(), &Value::Null, &1.into()));
    assert_eq!((&told["remembered_files"], &told["states"]["MANIFESTED"]), (&2.into(), &2.into()));
}

/// It reports unfinished files after a crash, and changes nothing.
#[test]
fn it_tells_what_is_half_done_and_only_reads() {
    let place = killed_while_hashing();
    let before = snapshot(place.root.path());
    let told = status(&place);
    assert_eq!(told["in_flight"], 1);
    assert_eq!(told["in_flight_files"][0]["state"], "DISCOVERED");
    assert!(told["in_flight_files"][0]["path"].as_str().unwrap().ends_with("/large.csv"));
    assert_eq!(snapshot(place.root.path()), before);
}

#[test]
fn it_needs_a_journal() {
    let place = Place::new();
    assert_eq!(place.subcommand(&["status"]).status.code(), Some(2));
    place.stage("a.csv", csv(1, 100));
    place.once_ok(&[]);
    let segment = std::fs::read_dir(&place.state).unwrap().map(|entry| entry.unwrap().path());
    let segment = segment.filter(|path| path.extension().is_some_and(|extension| extension == "log")).min().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[4_100] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    assert_eq!(place.subcommand(&["status"]).status.code(), Some(3));
}
