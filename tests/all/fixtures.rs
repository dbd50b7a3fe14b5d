//! Files that earlier versions have written, read and continued by this version; tests/fixtures/README.md describes them.
//!
//! Fixtures are found by listing, so those of a new version are included automatically. A fixture that fails here was
//! written by a version in use: fix the program, never the fixture.

mod contents;
mod go_on;
mod look;
mod made;
mod make;
pub mod records;
mod site;
mod situations;
pub mod tree;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::harness::{Place, bare, err, json_lines, out};
use contents::Content;
use look::{GOLDEN, assert_says};
use site::Ground;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
/// The tree of a fixture.
const TREE: &str = "tree.txt";
/// The expected results.
const EXPECTED: &str = "expected.json";

/// One situation, as one version has left it.
struct Fixture {
    version: String,
    name: String,
    path: PathBuf,
}

impl Fixture {
    fn text(&self, file: &str) -> String {
        let path = self.path.join(file);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn expected(&self) -> Value {
        serde_json::from_str(&self.text(EXPECTED)).unwrap()
    }

    /// The options with which it is continued.
    fn options(&self) -> Vec<String> {
        let expected = self.expected();
        expected["options"].as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect()
    }

    fn contents(&self) -> Vec<Content> {
        self.expected()["contents"].as_array().unwrap().iter().map(Content::parse).collect()
    }
}

fn directories(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

/// The fixtures of all versions.
fn all() -> Vec<Fixture> {
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let of = |version: &PathBuf| {
        let version = version.clone();
        directories(&version).into_iter().map(move |path| Fixture { version: name(&version), name: name(&path), path })
    };
    let found: Vec<Fixture> = directories(Path::new(FIXTURES)).iter().flat_map(of).collect();
    assert!(found.len() > 20, "only {} fixtures were found in {FIXTURES}", found.len());
    found
}

/// Runs `check` on each of them, on several threads, since much of it waits for the disk. Reports all that fail.
#[track_caller]
fn with_each(fixtures: &[Fixture], check: impl Fn(&Fixture) + Sync) {
    const THREADS: usize = 4;
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(fixture) = fixtures.get(next.fetch_add(1, Ordering::Relaxed)) {
            if catch_unwind(AssertUnwindSafe(|| check(fixture))).is_err() {
                eprintln!("^ this was {}/{}", fixture.version, fixture.name);
                failed.lock().unwrap().push(format!("{}/{}", fixture.version, fixture.name));
            }
        }
    };
    std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(work))));
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} fixtures failed: {}", failed.len(), fixtures.len(), failed.join(", "));
}

/// Why: users have journals of every released version; after an upgrade the next version reads and continues them.
#[test]
fn each_is_read_as_it_was_and_goes_on() {
    let ground = Ground::take();
    with_each(&all(), |fixture| {
        let place = site::unpacked(&ground, &fixture.version, &fixture.name, &fixture.text(TREE));
        let expected = fixture.expected();
        let looked = look::look(&place);
        for (file, found) in GOLDEN.iter().zip(&looked.golden) {
            assert_lines(found, &fixture.text(file), file);
        }
        assert_says(&looked.facts, &expected["as_it_is"], "as it is");
        look::second_reader_agrees(&place);
        let after = go_on::go_on(&place, &fixture.options(), &fixture.contents());
        assert_says(&after, &expected["after"], "after");
        look::second_reader_agrees(&place);
    });
}

/// Every line still says what it said; a later version may add to it.
#[track_caller]
fn assert_lines(found: &str, golden: &str, what: &str) {
    let (found, golden) = (json_lines(found), json_lines(golden));
    for (index, golden) in golden.iter().enumerate() {
        assert_says(found.get(index).unwrap_or(&Value::Null), golden, &format!("{what}, line {}", index + 1));
    }
    assert_eq!(found.len(), golden.len(), "lines of {what}");
}

/// Why: a backup is restored on another host, to other paths; and if the state directory was not in it, the journal is
/// rebuilt from the manifests.
#[test]
fn each_goes_on_at_another_path_and_is_rebuilt() {
    // While it is held, nothing exists at the old paths.
    let _ground = Ground::take();
    with_each(&all(), |fixture| {
        let contents = fixture.contents();
        let expected = fixture.expected();
        let status = &expected["as_it_is"]["status"];
        let is_whole = expected["as_it_is"]["verify"]["exit_code"] == 0 && status["input"].is_string();
        // A half-done file is finished where it was begun, and options name directories at the old paths.
        if is_whole && status["in_flight"] == 0 && fixture.options().is_empty() {
            goes_on_elsewhere(fixture, &contents);
        }
        is_rebuilt(fixture, &contents);
    });
}

/// The fixture's tree in a new directory.
fn elsewhere(fixture: &Fixture) -> (tempfile::TempDir, Place) {
    let top = tempfile::Builder::new().prefix("csv-ingestor-test-").tempdir().unwrap();
    tree::unpack(&fixture.text(TREE), top.path());
    let place = site::place_at(top.path());
    (top, place)
}

fn goes_on_elsewhere(fixture: &Fixture, contents: &[Content]) {
    let (_top, place) = elsewhere(fixture);
    let [warehouse, manifests, input] =
        [&place.warehouse, &place.manifests, &place.staging].map(|it| it.to_str().unwrap());
    let words = ["relocate", "--warehouse", warehouse, "--manifests", manifests, "--input", input];
    let relocated = place.subcommand(&words);
    assert!(relocated.status.success(), "{}", err(&relocated));
    let after = go_on::go_on(&place, &[], contents);
    assert_says(&after, &fixture.expected()["after"], "after, elsewhere");
}

/// The new journal knows exactly the contents that the manifests list.
fn is_rebuilt(fixture: &Fixture, contents: &[Content]) {
    let (_top, place) = elsewhere(fixture);
    let before = go_on::lines_by_content(&place);
    if before.is_empty() {
        return;
    }
    std::fs::remove_dir_all(&place.state).unwrap();
    let mut command =
        bare(&["journal", "rebuild", "--json", "--grace", "0s", "--state-path", place.state.to_str().unwrap()]);
    let rebuilt = command.arg("--warehouse").arg(&place.warehouse).arg("--manifests").arg(&place.manifests).output();
    let rebuilt = rebuilt.unwrap();
    assert!(matches!(rebuilt.status.code(), Some(0 | 5)), "{}", err(&rebuilt));
    let summary = json_lines(&out(&rebuilt)).pop().unwrap();
    assert_eq!(summary["summary"]["lines"].as_u64(), Some(before.values().sum()), "{summary}");
    let options = fixture.options();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let is_by_name = go_on::is_by_name(&options);
    let known = if is_by_name { before.values().sum() } else { before.len() as u64 };
    assert_eq!(summary["summary"]["contents"].as_u64(), Some(known), "{summary}");
    for (index, content) in contents.iter().filter(|it| before.contains_key(&it.sha256)).enumerate() {
        let bytes = go_on::files(&place.warehouse).remove(&content.sha256).unwrap().1;
        place.stage(go_on::name_again(&options, content, index), bytes);
    }
    let identity: &[&str] = if is_by_name { &["--identity", "name+content"] } else { &[] };
    let again = place.once(&[&["--duplicates", "remove"], identity].concat());
    assert!(again.status.success(), "{}", err(&again));
    let after = go_on::lines_by_content(&place);
    assert!(before.iter().all(|(sha256, lines)| after[sha256] == *lines), "{}", err(&again));
}
