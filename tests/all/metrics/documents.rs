//! The documents, alerts and dashboards use exactly the metrics that the binary exposes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::listening;
use crate::harness::{Place, csv};

/// Metrics that other programs expose.
const FOREIGN: [&str; 3] = ["up", "node_textfile_mtime_seconds", "process_start_time_seconds"];

/// Absent until the first compaction: `the_journal_is_compacted_while_files_come_in` checks it.
const ABSENT: [&str; 1] = ["csv_ingestor_last_snapshot_timestamp_seconds"];

fn document(name: &str) -> String {
    std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The metrics of a running ingestor: names with their types.
fn exposed() -> BTreeMap<String, String> {
    let place = Place::new();
    let (daemon, client) = listening(&place, &[]);
    place.stage("a.csv", csv(1, 100));
    daemon.wait_for("file_ingested", 1);
    client.wait_until("all of them", |samples| {
        samples.get("journal_bytes").is_some() && samples.get("last_scan_timestamp_seconds").is_some()
    });
    let text = client.get("/metrics").body;
    assert!(daemon.stop().success());
    let of_line = |line: &str| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        Some((name.to_owned(), kind.to_owned()))
    };
    let mut exposed: BTreeMap<_, _> = text.lines().filter_map(of_line).collect();
    for name in ABSENT {
        assert!(exposed.insert(name.to_owned(), "gauge".to_owned()).is_none(), "{name} is not absent");
    }
    assert!(exposed.len() > 20, "{exposed:?}");
    exposed
}

/// Every name of a metric in an expression or a text, for a histogram without its suffix.
fn names_in(text: &str, exposed: &BTreeMap<String, String>) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| word.starts_with("csv_ingestor_"));
    let base = |word: &str| {
        let suffixes = ["_bucket", "_sum", "_count"];
        let base = suffixes.iter().find_map(|suffix| word.strip_suffix(suffix));
        base.filter(|base| exposed.get(*base).is_some_and(|kind| kind == "histogram")).unwrap_or(word).to_owned()
    };
    ours.map(base).collect()
}

#[track_caller]
fn assert_exposed(what: &str, text: &str, exposed: &BTreeMap<String, String>) {
    let names = names_in(text, exposed);
    assert!(!names.is_empty(), "{what} names no metric");
    let unknown: Vec<_> = names.iter().filter(|name| !exposed.contains_key(*name)).collect();
    assert!(unknown.is_empty(), "{what} names unknown metrics: {unknown:?}");
}

/// Why: an alert on a name that does not exist never fires, and nobody notices.
#[test]
fn alerts_dashboard_and_monitoring_page_name_what_is_exposed() {
    let exposed = exposed();
    assert_exposed("alerts.yml", &document("monitoring/alerts.yml"), &exposed);
    assert_exposed("alerts_test.yml", &document("monitoring/alerts_test.yml"), &exposed);
    let dashboard: Value = serde_json::from_str(&document("monitoring/grafana-dashboard.json")).unwrap();
    let mut expressions = Vec::new();
    gather(&dashboard, "expr", &mut expressions);
    assert!(expressions.len() > 10, "{expressions:?}");
    for expression in &expressions {
        assert_exposed(expression, expression, &exposed);
    }
    let page = document("docs/monitoring.md");
    let rows: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name))
        .filter(|name| name.starts_with("csv_ingestor_") || FOREIGN.contains(name))
        .map(|name| name.split('{').next().unwrap().to_owned())
        .collect();
    let names: BTreeSet<String> = exposed.into_keys().collect();
    assert_eq!(rows, names, "the table of docs/monitoring.md on the left, the exposed ones on the right");
}

/// Every string under that key.
fn gather(value: &Value, key: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                match value.as_str() {
                    Some(text) if name == key => found.push(text.to_owned()),
                    _ => gather(value, key, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| gather(value, key, found)),
        _ => {}
    }
}

/// Why: two panels with one id hide each other, and a data source of one installation does not exist in another.
#[test]
fn the_dashboard_can_be_imported() {
    let dashboard: Value = serde_json::from_str(&document("monitoring/grafana-dashboard.json")).unwrap();
    assert_eq!(dashboard["id"], Value::Null, "the id is the installation's");
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{}", panel["title"]);
        let place = &panel["gridPos"];
        assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24, "{}", panel["title"]);
    }
}

/// Why: an operator who is woken by an alert must know what to do; and an alert without a test may never fire.
#[test]
fn every_alert_says_what_to_do_and_is_tested() {
    let (alerts, tests) = (document("monitoring/alerts.yml"), document("monitoring/alerts_test.yml"));
    let names: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() >= 10, "{names:?}");
    for (name, rule) in names.iter().zip(alerts.split("- alert: ").skip(1)) {
        for part in ["expr:", "severity:", "summary:", "description:", "page:", "runbook:"] {
            assert!(rule.contains(part), "{name} has no {part}");
        }
        let cases: Vec<&str> =
            tests.split("alertname: ").skip(1).filter(|case| case.starts_with(&format!("{name}\n"))).collect();
        assert!(cases.iter().any(|case| case.contains("exp_labels")), "{name} is never seen firing");
        assert!(cases.iter().any(|case| case.contains("exp_alerts: []")), "{name} is never seen silent");
    }
}
