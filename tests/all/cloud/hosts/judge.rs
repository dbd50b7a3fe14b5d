//! What must hold in the end, when nothing is under way any more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Output;

use csv_ingestor::types::Sha256;
use serde_json::Value;

use super::machine::Machine;
use super::plan::Plan;
use super::watch::{Watch, keys};
use crate::harness::{bare, err, json_lines, out};
use crate::lake::second_reader::READER;

const OWN: &str = ".csv-ingestor/";

/// A command on the lake.
pub fn lake(plan: &Plan, port: u16, verb: &str, more: &[&str]) -> Output {
    let endpoint = format!("endpoint={}", plan.endpoint(port));
    let mut command = bare(&["lake", verb]);
    command.arg(plan.warehouse.to_string()).args(["--store-option", &endpoint]).args(more);
    command.output().unwrap()
}

/// Everything that is wrong in the store, in the sight of a watch that has seen it to its end.
pub fn judge(plan: &Plan, port: u16, watch: &mut Watch, sent: &BTreeSet<Sha256>) -> Vec<String> {
    let mut wrong = std::mem::take(&mut watch.wrong);
    let all: Vec<String> = watch.data.keys().cloned().collect();
    watch.compare_data(&all).unwrap();
    wrong.append(&mut watch.wrong);
    let there: BTreeSet<Sha256> = watch.data.values().map(|seen| seen.sha256).collect();
    let listed: BTreeSet<Sha256> = watch.lines.keys().copied().collect();
    let mut differ = |what: &str, one: &BTreeSet<Sha256>, other: &BTreeSet<Sha256>| {
        wrong.extend(one.difference(other).map(|content| format!("{content} {what}")));
    };
    differ("was sent, and has no data object", sent, &there);
    differ("was sent, and has no line", sent, &listed);
    differ("has a data object, and was never sent", &there, sent);
    differ("has a line, and was never sent", &listed, sent);
    for (store, known) in [(&watch.warehouse, all), (&watch.manifests, watch.objects.keys().cloned().collect())] {
        let others = keys(store.as_ref(), "").unwrap().into_iter();
        let others = others.filter(|key| !key.starts_with(OWN) && !known.contains(key));
        wrong.extend(others.map(|key| format!("{key} belongs to nothing")));
    }
    wrong.extend(audited(plan, port));
    wrong.extend(status(plan, port));
    wrong.extend(second_reader(plan, watch, sent));
    wrong
}

/// `lake audit`.
fn audited(plan: &Plan, port: u16) -> Option<String> {
    let output = lake(plan, port, "audit", &["--json", "--sample", "100%"]);
    (!output.status.success()).then(|| format!("lake audit: {}: {} {}", output.status, out(&output), err(&output)))
}

/// `lake status`.
fn status(plan: &Plan, port: u16) -> Option<String> {
    let output = lake(plan, port, "status", &["--json"]);
    let status: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    let logs = status["logs"].as_array().cloned().unwrap_or_default();
    let is_fine = |log: &Value| log["problem"].is_null() && log["unfinished"].as_array().is_some_and(Vec::is_empty);
    let is_wrong = !output.status.success() || logs.is_empty() || !logs.iter().all(is_fine);
    is_wrong.then(|| format!("lake status: {}: {status} {}", output.status, err(&output)))
}

/// The second reader, on a copy of the lake.
fn second_reader(plan: &Plan, watch: &Watch, sent: &BTreeSet<Sha256>) -> Vec<String> {
    let copy = tempfile::tempdir_in(&plan.dir).unwrap();
    for (place, store) in [("warehouse", &watch.warehouse), ("manifests", &watch.manifests)] {
        for key in keys(store.as_ref(), "").unwrap() {
            let path = copy.path().join(place).join(&key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, store.get(&key).unwrap()).unwrap();
        }
    }
    let path = |place: &str| copy.path().join(place);
    let mut reader = std::process::Command::new("python3");
    let output = reader.arg("-B").arg(READER).arg(path("warehouse")).arg(path("manifests")).output().unwrap();
    let mut wrong = Vec::new();
    if !output.status.success() {
        wrong.push(format!("{}: {}", Path::new(READER).display(), err(&output)));
    }
    let mut keys_of: BTreeMap<String, String> = BTreeMap::new();
    for line in json_lines(&out(&output)) {
        if let Some(content) = line["sha256"].as_str() {
            keys_of.insert(content.to_owned(), line["key"].as_str().unwrap_or_default().to_owned());
        } else if line["shard"].is_u64() && (!line["stopped"].is_null() || line["unfinished"] != Value::Array(vec![])) {
            wrong.push(format!("the second reader: {line}"));
        }
    }
    let expected: BTreeMap<String, String> =
        sent.iter().filter_map(|content| Some((content.hex(), watch.lines.get(content)?.clone()))).collect();
    if keys_of != expected {
        wrong.push(format!("the second reader reads {} contents, not {}", keys_of.len(), expected.len()));
    }
    wrong
}

/// What is wrong on a living host that has been stopped.
pub fn on_host(machine: &Machine) -> Vec<String> {
    let mut wrong: Vec<String> =
        machine.staged().iter().map(|name| format!("{}: {name} is still in staging", machine.name)).collect();
    let verified = machine.verify();
    if !verified.status.success() {
        wrong.push(format!("{}: journal verify: {} {}", machine.name, out(&verified), err(&verified)));
    }
    wrong
}
