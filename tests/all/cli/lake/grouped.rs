//! Groups in a lake in a directory, and the real program.

use super::done;
use crate::harness::{Place, json_lines, out, sha256_hex, wait_until};

fn url(path: &std::path::Path) -> String {
    format!("file://{}", path.display())
}

/// A place whose warehouse is an empty lake, of which another host has just written an entry: hosts leave slots to each other.
fn lake_of_two() -> Place {
    let mut place = Place::new();
    let (warehouse, manifests) = (url(&place.warehouse), url(&place.manifests));
    done(&["init", &warehouse, "--manifests", &manifests]);
    let mut another = Place::new();
    (another.warehouse, another.manifests) = (warehouse.clone().into(), manifests.clone().into());
    another.stage("another.csv", "another");
    another.once_ok(&[]);
    (place.warehouse, place.manifests) = (warehouse.into(), manifests.into());
    place
}

fn entries(place: &Place) -> usize {
    let warehouse = place.warehouse.to_str().and_then(|url| url.strip_prefix("file://")).unwrap();
    std::fs::read_dir(format!("{warehouse}/.csv-ingestor/log/0")).map_or(0, |log| log.count())
}

/// Why: a pace wait that was cut short ended the process as if the store were away (exit code 7).
#[test]
fn a_signal_among_groups_ends_in_order() {
    const GROUPS: usize = 20;
    let place = lake_of_two();
    for number in 0..GROUPS {
        let (name, text) = (format!("{number}.csv"), format!("text {number}"));
        place.stage(&name, &text);
        place.stage(format!("{number}.group"), format!("{}  {name}\n", sha256_hex(text.as_bytes())));
    }
    let options = ["--mode", "group", "--stability-seconds", "0", "--scan-interval", "100ms"];
    let daemon = place.start(&options);
    wait_until("a group is claimed", || entries(&place) > 1);
    let ended = daemon.stop();
    assert_eq!(ended.code(), Some(0));
    place.once_ok(&["--mode", "group"]);
    assert_eq!((entries(&place), place.staged_names()), (GROUPS + 1, Vec::new()));
    done(&["audit", place.warehouse.to_str().unwrap(), "--sample", "100%"]);
}

/// `explain` of a group that lacks something says that it has not asked the lake.
#[test]
fn explain_says_that_other_hosts_may_have_what_a_group_lacks() {
    let place = lake_of_two();
    let sum = sha256_hex(b"another");
    place.stage("here.csv", "here");
    let group = place.stage("g.group", format!("{}  here.csv\n{sum}  elsewhere.csv\n", sha256_hex(b"here")));
    place.stage("h.group", format!("{}  nowhere.csv\n", sha256_hex(b"nowhere")));
    place.once_failing(&["--mode", "group"]);
    assert!(!group.exists(), "what another host has brought counts as there");
    let waiting = place.staging.join("h.group").display().to_string();
    let output = place.subcommand(&["explain", "--json", "--mode", "group", &waiting]);
    let told = json_lines(&out(&output)).remove(0);
    assert_eq!(
        (&told["status"], &told["missing"][0]),
        (&"WAITING".into(), &"nowhere.csv (not there)".into()),
        "{told}"
    );
    assert!(told["lake"].as_str().is_some_and(|text| text.contains("run --dry-run")), "{told}");
}
