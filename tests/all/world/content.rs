//! The content of files and sidecars as other programs write them.

mod bounds;
mod orphans;
mod packed;
mod sidecars;
mod validate;

use std::process::Output;

use serde_json::Value;

use crate::harness::{Place, err, json_lines, out};

const SIDECAR: &[&str] = &["--mode", "sidecar"];

fn events(output: &Output, name: &str) -> Vec<Value> {
    json_lines(&err(output)).into_iter().filter(|line| line["event"] == name).collect()
}

/// Runs `run --once` in sidecar mode with these options; returns its WAITING lines, without the directories.
fn waiting(place: &Place, more: &[&str]) -> (Vec<String>, Output) {
    let output = place.once(&[SIDECAR, more].concat());
    let prefix = format!("WAITING: {}/", place.staging.display());
    let lines = out(&output).lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect();
    (lines, output)
}

/// The manifest line of the file that was staged under this name.
fn line_of(place: &Place, name: &str) -> Option<Value> {
    let ends = |line: &Value| line["path"].as_str().is_some_and(|path| path.ends_with(&format!("/{name}")));
    place.manifest_lines().into_iter().find(ends)
}
