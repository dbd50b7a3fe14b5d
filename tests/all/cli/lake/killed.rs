//! A host that is killed in the middle of an upload: the real program, on a lake in a directory.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use csv_ingestor::engine;
use csv_ingestor::fs::real::RealFs;
use csv_ingestor::journal::record::Upload;
use csv_ingestor::lake::parts::Cut;

use super::done;
use crate::harness::{Place, err, has, wait_until};
use crate::second_reader::second_reader;

/// The bytes of a file of seven parts.
const BYTES: u64 = 6 * Cut::USUAL.part + 1;
const PARTS: usize = 7;

fn url(path: &Path) -> String {
    format!("file://{}", path.display())
}

/// A place whose warehouse is an empty lake.
fn place() -> Place {
    let place = Place::new();
    done(&["init", &url(&place.warehouse), "--manifests", &url(&place.manifests)]);
    place
}

/// `run` on the lake, with these words before it.
fn host(place: &Place, before: &[&str], more: &[&str]) -> Command {
    let plain = place.command();
    let words = before.iter().map(std::ffi::OsString::from).chain([plain.get_program().to_owned()]);
    let mut words: Vec<_> = words.collect();
    let mut command = Command::new(words.remove(0));
    command.args(words).arg("run");
    for (option, at) in [
        ("--input", place.staging.to_str().unwrap().to_owned()),
        ("--state-path", place.state.to_str().unwrap().to_owned()),
        ("--warehouse", url(&place.warehouse)),
        ("--manifests", url(&place.manifests)),
    ] {
        command.args([option, &at]);
    }
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.args(["--stability-seconds", "0", "--scan-interval", "100ms", "--duplicates", "remove"]).args(more);
    command
}

/// The number of a part in the name of its file.
fn number(name: &str) -> Option<u16> {
    name.split_once("up-")?.1.split('-').nth(1)?.parse().ok()
}

/// The parts in the store.
fn parts(place: &Place) -> BTreeSet<u16> {
    let names = std::fs::read_dir(place.warehouse.join(".csv-ingestor/tmp")).into_iter().flatten();
    names.filter_map(|entry| number(entry.unwrap().file_name().to_str()?)).collect()
}

/// The uploads that the journal names.
fn recorded(place: &Place) -> Vec<Upload> {
    let index = engine::read_state(&RealFs::default(), &place.state).unwrap();
    index.open().filter_map(|ingest| Some((**ingest.target.as_ref()?.upload.as_ref()?).clone())).collect()
}

/// Kills a host when some parts are there, and not all. Returns them.
fn killed(place: &Place) -> BTreeSet<u16> {
    for seed in 0..20 {
        place.stage_large("large.csv", seed, BYTES);
        let daemon = place.spawn(host(place, &[], &[]));
        wait_until("some parts are there, or all", || {
            let (there, is_staged) = (parts(place).len(), place.staging.join("large.csv").exists());
            there >= 2 || !is_staged
        });
        daemon.kill();
        let there = parts(place);
        if (2..PARTS).contains(&there.len()) && recorded(place).len() == 1 {
            return there;
        }
        // It was faster than this test: it ends what it has begun, and tries another one.
        assert!(host(place, &[], &["--once"]).status().unwrap().success());
    }
    panic!("never caught it in the middle of an upload");
}

#[test]
fn a_host_that_was_killed_puts_no_part_again() {
    if !has("strace") || !has("python3") {
        return;
    }
    let place = place();
    let before = killed(&place);
    let upload = recorded(&place).remove(0);
    let read = second_reader(&place.state);
    assert!(read.status.success(), "{}", err(&read));

    let trace = place.root.path().join("trace");
    let strace = ["strace", "-f", "-qq", "-s", "200", "-e", "trace=linkat", "-o", trace.to_str().unwrap()];
    let run = host(&place, &strace, &["--once"]).output().unwrap();
    assert!(run.status.success(), "{}", err(&run));
    let trace = std::fs::read_to_string(trace).unwrap();
    let put: BTreeSet<u16> = trace.lines().filter(|line| line.contains(&upload.id)).filter_map(number).collect();
    let all: BTreeSet<u16> = (1..=PARTS as u16).collect();
    assert_eq!(put, &all - &before, "put by the second process; the first one has put {before:?}");
    assert_eq!(trace.matches("\"up-").count(), put.len(), "no part is put twice, and no upload is begun: {trace}");
    // It is complete, and listed once.
    let object = place.warehouse.join(&upload.key);
    assert_eq!(std::fs::metadata(object).unwrap().len(), BYTES);
    assert_eq!((parts(&place).len(), recorded(&place).len(), place.staged_names().len()), (0, 0, 0));
    done(&["audit", &url(&place.warehouse), "--sample", "100%"]);
}
