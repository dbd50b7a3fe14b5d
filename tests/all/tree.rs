//! The scan of directories below staging, on a simulated disk.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csv_ingestor::fs::Fs as _;
use csv_ingestor::fs::sim::{Op, SimDir, SimFs};
use csv_ingestor::metrics::labels::IgnoredReason;
use csv_ingestor::pipeline::scan::names::Ignored;
use csv_ingestor::pipeline::scan::{Ear, NameRules, Scanner, TreeRules};
use csv_ingestor::pipeline::settle::{Mode, Settle};
use csv_ingestor::types::UnixMillis;

const RULES: TreeRules = TreeRules { max_depth: 16, cross_mounts: false };

fn machine(files: &[&str]) -> SimFs {
    let fs = SimFs::new(1);
    fs.upstream().mkdir_all("/in").unwrap();
    for file in files {
        let path = Path::new("/in").join(file);
        fs.upstream().mkdir_all(path.parent().unwrap()).unwrap();
        fs.upstream().write(path, file.as_bytes()).unwrap();
    }
    fs
}

fn scanner(fs: &SimFs, tree: TreeRules) -> Scanner<SimFs> {
    let staging = Arc::new(fs.open_dir(Path::new("/in")).unwrap());
    Scanner::new(fs.clone(), staging, NameRules { tree: Some(tree), ..NameRules::default() })
}

fn settle() -> Settle {
    Settle::new(Mode::Stability(Duration::from_secs(3600)), Duration::from_secs(1), std::iter::empty())
}

fn scan(scanner: &mut Scanner<SimFs>, settle: &mut Settle, second: u64) {
    scanner.begin(settle).unwrap();
    while scanner.has_work() {
        scanner.slice(settle, Duration::from_secs(second)).unwrap();
    }
}

fn names(settle: &Settle) -> Vec<String> {
    let mut names: Vec<String> = settle.waiting().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Why: an operator removes the permission for a moment, and every file below starts its window again; kept duplicates
/// would be forgotten.
#[test]
fn files_in_a_directory_that_cannot_be_read_are_not_gone() {
    let fs = machine(&["a.csv", "d/b.csv", "d/e/c.csv", "f/d.csv"]);
    let (mut scanner, mut settle) = (scanner(&fs, RULES), settle());
    scan(&mut scanner, &mut settle, 0);
    let all = ["a.csv", "d/b.csv", "d/e/c.csv", "f/d.csv"];
    assert_eq!(names(&settle), all);
    fs.upstream().set_unreadable("/in/d", true).unwrap();
    fs.upstream().remove("/in/f/d.csv").unwrap();
    for second in 1..4 {
        scan(&mut scanner, &mut settle, second);
        assert_eq!(names(&settle), all[..3]);
        assert_eq!(*scanner.ignored().of(IgnoredReason::Directory), 1);
    }
    assert!(scanner.could_not_read(OsStr::new("d")));
    // A file that is due meanwhile stays, too.
    let name: Arc<OsStr> = Arc::from(OsStr::new("d/b.csv"));
    scanner.look_at(&mut settle, &name, false, Duration::from_secs(4)).unwrap();
    assert_eq!(names(&settle), all[..3]);
    fs.upstream().set_unreadable("/in/d", false).unwrap();
    fs.upstream().remove("/in/d/b.csv").unwrap();
    scan(&mut scanner, &mut settle, 5);
    assert_eq!(names(&settle), ["a.csv", "d/e/c.csv"]);
    assert!(!scanner.could_not_read(OsStr::new("d")));
    // It was unchanged all the time.
    let due = settle.take_due(Duration::from_secs(3600), 8);
    assert_eq!(due.len(), 2);
    assert!(settle.take_ready(UnixMillis(0)).is_none());
}

/// Why: where listings do not report types, a directory looked like a file that is none.
#[test]
fn directories_are_entered_where_listings_report_no_types() {
    let fs = machine(&["a.csv", "d.tmp/b.csv", "d.tmp/.h/c.csv"]);
    fs.set_list_kinds(false);
    let (mut scanner, mut settle) = (scanner(&fs, RULES), settle());
    scan(&mut scanner, &mut settle, 0);
    assert_eq!(names(&settle), ["a.csv", "d.tmp/b.csv"]);
}

/// Another device is another mount.
#[test]
fn mounts_are_crossed_only_if_asked() {
    let fs = machine(&["a.csv"]);
    fs.mount("/in/m").unwrap();
    fs.upstream().write("/in/m/b.csv", b"b").unwrap();
    let mut settle_within = settle();
    let mut within = scanner(&fs, RULES);
    scan(&mut within, &mut settle_within, 0);
    assert_eq!(names(&settle_within), ["a.csv"]);
    let (ignored, _) = within.into_ignored();
    assert!(ignored.iter().any(|(name, why)| **name == *"m" && *why == Ignored::OtherMount), "{ignored:?}");
    let mut settle_across = settle();
    scan(&mut scanner(&fs, TreeRules { cross_mounts: true, ..RULES }), &mut settle_across, 0);
    assert_eq!(names(&settle_across), ["a.csv", "m/b.csv"]);
}

/// Records in which order directories are entered, and makes a file in each of them: after it is entered, before it is
/// listed.
struct Late(SimFs, Arc<Mutex<Vec<String>>>);

impl Ear<SimFs> for Late {
    fn begin_scan(&mut self) {}

    fn enter(&mut self, path: &Arc<Path>, _: &SimDir) {
        self.0.upstream().write(Path::new("/in").join(path).join("late.csv"), b"late").unwrap();
        self.1.lock().unwrap().push(path.to_string_lossy().into_owned());
    }

    fn end_scan(&mut self, whole: bool) {
        assert!(whole);
    }
}

/// Why: what comes between the listing of a directory and its watch is seen by neither.
#[test]
fn a_directory_is_watched_before_it_is_listed() {
    let fs = machine(&["d/e/a.csv", "f/b.csv"]);
    let entered = Arc::default();
    let mut settle = settle();
    let mut scanner = scanner(&fs, RULES).with_ear(Some(Box::new(Late(fs.clone(), Arc::clone(&entered)))));
    scan(&mut scanner, &mut settle, 0);
    assert_eq!(names(&settle), ["d/e/a.csv", "d/e/late.csv", "d/late.csv", "f/b.csv", "f/late.csv"]);
    // A directory that is reported later: also those below it.
    fs.upstream().mkdir_all("/in/g/h").unwrap();
    assert!(scanner.visit(OsStr::new("g")));
    while scanner.has_work() {
        scanner.slice(&mut settle, Duration::from_secs(1)).unwrap();
    }
    assert!(!scanner.is_scanning());
    assert_eq!(names(&settle).len(), 7);
    let mut entered = entered.lock().unwrap().clone();
    entered.sort();
    assert_eq!(entered, ["d", "d/e", "f", "g", "g/h"]);
}

/// Why: the number of operations decides how long a scan of very many directories takes.
#[test]
fn a_scan_takes_a_few_operations_for_each_directory_and_file() {
    let mut operations = Vec::new();
    for count in [50, 500] {
        let files: Vec<String> = (0..count).map(|number| format!("d{number}/a.csv")).collect();
        let fs = machine(&files.iter().map(String::as_str).collect::<Vec<_>>());
        let (mut scanner, mut settle) = (scanner(&fs, RULES), settle());
        let before = fs.operations();
        scan(&mut scanner, &mut settle, 0);
        operations.push(fs.operations() - before);
        assert_eq!(fs.count(Op::List), count + 1);
    }
    assert!(operations[1] <= 10 * operations[0] && operations[1] <= 5 * 500, "{operations:?}");
}

/// Why: between the listing that shows a directory and its opening an upstream can put a link in its place. The files behind
/// the link were listed as staged ones.
#[test]
fn a_directory_that_becomes_a_link_before_it_is_opened_is_not_entered() {
    let fs = machine(&["d/a.csv", "k/b.csv"]);
    fs.upstream().mkdir_all("/outside").unwrap();
    fs.upstream().write("/outside/private.csv", b"private").unwrap();
    let (mut scanner, mut settle) = (scanner(&fs, RULES), settle());
    let mut is_swapped = false;
    fs.set_hook(Box::new(move |call, upstream| {
        if !is_swapped && call.op == Op::OpenDir && call.path == Path::new("/in/d") {
            is_swapped = true;
            upstream.rename("/in/d", "/elsewhere").unwrap();
            upstream.symlink("/outside", "/in/d").unwrap();
        }
    }));
    scan(&mut scanner, &mut settle, 0);
    fs.clear_hook();
    assert!(fs.upstream().exists("/elsewhere/a.csv"), "the link came before the opening");
    assert_eq!(names(&settle), ["k/b.csv"]);
}
