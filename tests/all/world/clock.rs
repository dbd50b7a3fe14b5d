//! Clocks that are wrong for a while, and the contents that are remembered; kept duplicates that are deleted; a warehouse
//! that is moved to another path.

mod gone;
mod moved;
mod wrong;

use std::process::Output;

use serde_json::Value;

use crate::harness::{Place, err, json_lines, out};

/// The number of manifest lines of files that were staged under this name.
fn lines_of(place: &Place, name: &str) -> usize {
    let is_it = |line: &&Value| line["path"].as_str().is_some_and(|path| path.ends_with(&format!("/{name}")));
    place.manifest_lines().iter().filter(is_it).count()
}

/// The events with that name in a command's JSON log.
fn events(output: &Output, name: &str) -> Vec<Value> {
    json_lines(&err(output)).into_iter().filter(|line| line["event"] == name).collect()
}

/// The last line of `audit`, and its exit code.
fn audit(place: &Place) -> (Value, Option<i32>) {
    let output = place.subcommand(&["audit"]);
    let summary = json_lines(&out(&output)).pop().unwrap()["summary"].clone();
    (summary, output.status.code())
}

fn status(place: &Place) -> Value {
    serde_json::from_str(&out(&place.subcommand(&["status", "--json"]))).unwrap()
}

/// Forgets the contents that are older than a second; returns the output.
fn forget_older(place: &Place) -> String {
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    let output = place.subcommand(&["journal", "compact", "--remember", "1s"]);
    assert!(output.status.success(), "{}", err(&output));
    out(&output)
}
