//! Odd file systems, names that are refused or in the way, and damaged originals, at every operation.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use csv_ingestor::fs::FileKind;
use csv_ingestor::fs::sim::{Fault, Odd, Op, RefusedName, SimFs, Upstream};
use csv_ingestor::journal::record::DuplicateAction;

use super::{is_thorough, operations, sweep, writes};
use crate::crash::act::{self, Act, content_of};
use crate::crash::ingestor::{self, Ended};
use crate::crash::play::Play;
use crate::crash::scenario::{DUPLICATES, MANIFESTS, QUARANTINE, STAGING, Scenario, WAREHOUSE};
use crate::crash::view::{View, digest, files};

/// Each kind of odd file system, with each kind of place.
pub(super) fn odd_scenarios() -> Vec<Scenario> {
    let links = Odd { links: true, ..Odd::default() };
    let stale = Odd { stale_links: 2, ..links.clone() };
    let always_stale = Odd { stale_links: 1_000_000, always_stale: true, ..links.clone() };
    let renumbers = Odd { renumbers: true, ..Odd::default() };
    let both = Odd { renumbers: true, ..links.clone() };
    let batch = || vec![Act::Write(0, 1), Act::Write(1, 3), Act::Write(2, 2), Act::Write(3, 1)];
    let again = |name| Scenario {
        before: batch(),
        acts: vec![((1, crate::crash::scenario::Phase::Scan), Act::Write(4, 3))],
        ..Scenario::plain(name)
    };
    let (remove, moves) = (DuplicateAction::Remove, DuplicateAction::Move);
    vec![
        Scenario { odd: links.clone(), ..Scenario::plain("renames by link") },
        Scenario { odd: links.clone(), duplicates: remove, ..again("renames by link, duplicates removed") },
        Scenario { odd: links.clone(), duplicates: moves, ..again("renames by link, duplicates moved") },
        Scenario { odd: links, cross: true, sidecars: true, ..Scenario::plain("renames by link, across file systems") },
        Scenario { odd: stale.clone(), ..Scenario::plain("stale link counts") },
        Scenario { odd: always_stale.clone(), ..Scenario::plain("link counts that stay stale") },
        Scenario {
            odd: always_stale,
            cross: true,
            ..Scenario::plain("link counts that stay stale, across file systems")
        },
        Scenario { odd: renumbers.clone(), ..Scenario::plain("inode numbers change") },
        Scenario { odd: renumbers.clone(), duplicates: moves, ..again("inode numbers change, duplicates moved") },
        Scenario {
            odd: renumbers,
            cross: true,
            sidecars: true,
            duplicates: remove,
            ..again("inode numbers change, across file systems")
        },
        Scenario { odd: both, ..Scenario::plain("renames by link, and inode numbers change") },
    ]
}

/// Why: on bindfs a file was moved, found to have two names, moved back, and moved again, for ever.
#[test]
fn odd_file_systems_come_to_an_end() {
    for scenario in odd_scenarios() {
        let mut play = Play::new(&scenario);
        play.end();
    }
}

/// Odd file systems are crash-safe, too: killed and cut off at every operation.
#[test]
fn odd_file_systems_crash() {
    let seeds = if is_thorough() { 32 } else { 3 };
    sweep("odd file systems", writes(odd_scenarios()), 5_000, |scenario, operation, _| {
        let mut stopped = Play::new(scenario);
        stopped.run_until(operation, operation % 2 == 0);
        for seed in 0..seeds {
            let mut play = stopped.fork();
            play.cut_power(operation * 100 + seed);
            play.end();
        }
        stopped.kill();
        stopped.end();
        seeds + 1
    });
}

/// Errors that some file system has been seen to return.
const ERRNOS: [i32; 8] = [
    libc::EINVAL,
    libc::EILSEQ,
    libc::EIO,
    libc::EACCES,
    libc::EPERM,
    libc::ELOOP,
    libc::ENAMETOOLONG,
    libc::EOPNOTSUPP,
];

/// The places where one name is refused, and the operations that refuse it.
fn refusals(number: u64) -> Vec<RefusedName> {
    let all = |under: &str, ops: &[Op]| RefusedName {
        under: under.into(),
        name: "b.csv".into(),
        ops: ops.to_vec(),
        errno: ERRNOS[number as usize % ERRNOS.len()],
    };
    vec![
        all(WAREHOUSE, &[Op::Rename]),
        all(WAREHOUSE, &[Op::Stat]),
        all(WAREHOUSE, &[Op::Rename, Op::Stat, Op::Open, Op::Unlink]),
        all(STAGING, &[Op::Rename]),
        all(STAGING, &[Op::Open]),
        all(STAGING, &[Op::Stat]),
        all(STAGING, &[Op::Unlink]),
    ]
}

/// One name is refused from some operation on: the run continues with the other files. After a kill, so does the next start,
/// and once the name is no longer refused, that file is ingested, too.
#[test]
fn one_name_is_refused_from_every_operation_on() {
    let plain = Scenario::plain("one name is refused");
    let cross = Scenario { cross: true, sidecars: true, ..Scenario::plain("one name is refused, across file systems") };
    let removed = Scenario {
        before: vec![Act::Write(0, 1), Act::Write(1, 1), Act::Write(2, 2)],
        duplicates: DuplicateAction::Remove,
        ..Scenario::plain("one name is refused, duplicates removed")
    };
    sweep("refused names", writes([plain, cross, removed]), 2_000, |scenario, operation, _| {
        let mut states = 0;
        for (index, refusal) in (0..).zip(refusals(operation)) {
            let mut play = Play::new(scenario);
            play.story.push(format!("{refusal:?} from operation {operation} on"));
            // A file that cannot be removed from staging stays there, as does the source of a copy that cannot be checked.
            play.model().withdrew = refusal.under == Path::new(STAGING) || scenario.cross;
            play.run_until(operation, index % 2 == 0);
            play.kill();
            play.fs.set_odd(Odd { refusals: vec![refusal.clone()], ..Odd::default() });
            let ended = play.run();
            ended.unwrap_or_else(|error| panic!("{}: {error}", play.told()));
            let view = View::of(&mut play.fs.upstream());
            let other = digest(&content_of(scenario.before.iter().rev().find_map(body_of_c).unwrap()));
            assert!(view.lines.iter().any(|line| line.sha256 == other), "{}: others were held up", play.told());
            play.kill();
            play.fs.set_odd(Odd::default());
            play.end();
            states += 1;
        }
        states
    });
}

fn body_of_c(act: &Act) -> Option<u8> {
    match act {
        Act::Write(2, body) => Some(*body),
        _ => None,
    }
}

/// Hidden names, and names for files that are moved back, for the ingest ids of these runs.
fn names_in_the_way(upstream: &mut Upstream<'_>) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    let stores = upstream.list(Path::new(WAREHOUSE).join(".csv-ingestor")).unwrap_or_default();
    for store in stores.iter().filter_map(|store| store.to_str()) {
        for id in 1..=24 {
            for what in ["source", "sidecar", "duplicate", "second"] {
                paths.push(Path::new(STAGING).join(format!(".csv-ingestor-{store}-{id}-{what}")));
            }
            paths.push(Path::new(QUARANTINE).join(format!(".csv-ingestor-{store}-{id}-reason")));
            for name in ["a", "b", "c"] {
                paths.push(Path::new(QUARANTINE).join(format!("{name}-{}-{id}.csv", &store[..8])));
                let returned = (1..16).map(|n| format!("{name}-returned-{id}-{n}.csv"));
                paths.extend(returned.map(|name| Path::new(STAGING).join(name)));
            }
        }
    }
    for partition in upstream.list(WAREHOUSE).unwrap_or_default() {
        if partition.to_str().is_some_and(|name| name.starts_with("ingest_date")) {
            let partition = Path::new(WAREHOUSE).join(partition);
            paths.extend(chosen_names().into_iter().map(|name| partition.join(name)));
        }
    }
    paths.extend(chosen_names().into_iter().map(|name| Path::new(DUPLICATES).join(name)));
    paths
}

/// All names that are chosen from a file's name and content.
fn chosen_names() -> Vec<OsString> {
    let mut names = Vec::new();
    for (name, body) in [("a", 1), ("b", 3), ("c", 2), ("d", 1), ("a", 8)] {
        let hash = digest(&content_of(body));
        names.push(format!("{name}.csv").into());
        names.extend([8, 16, 32, 64].map(|digits| format!("{name}-{}.csv", &hash[..digits]).into()));
    }
    names
}

/// Directories take every name that the ingestor makes up, while a replaced file has to be moved back, a duplicate is moved
/// away and another file is quarantined: there is always another name, and none of the directories ends the process.
#[test]
fn directories_are_in_the_way_of_every_name() {
    let batch = || vec![Act::Write(0, 1), Act::Write(1, 3), Act::Write(2, 2), Act::Write(3, 1)];
    let plain = Scenario::plain("names in the way");
    let moved = Scenario {
        before: batch(),
        duplicates: DuplicateAction::Move,
        ..Scenario::plain("names in the way, duplicates moved")
    };
    let removed = Scenario {
        before: batch(),
        duplicates: DuplicateAction::Remove,
        cross: true,
        ..Scenario::plain("names in the way, across file systems")
    };
    sweep("names in the way", operations([plain, moved, removed]), 310, |scenario, operation, op| {
        if !matches!(op, Op::Rename | Op::SyncData | Op::SyncDir | Op::Unlink) {
            return 0;
        }
        for replaces in [true, false] {
            let mut play = Play::new(scenario);
            play.story.push(format!("directories from operation {operation} on"));
            let model = play.model.clone();
            play.fs.set_hook(Box::new(move |call, upstream| {
                if call.number == operation {
                    for path in names_in_the_way(upstream) {
                        let _ = upstream.mkdir(path);
                    }
                    if replaces {
                        act::perform(&Act::Replace(0, 8), upstream, &mut model.lock().unwrap());
                    }
                }
            }));
            let ended = play.run();
            ended.unwrap_or_else(|error| panic!("{}: {error}", play.told()));
            play.fs.clear_hook();
            play.kill();
            play.end();
        }
        2
    });
}

fn run(scenario: &Scenario, fs: &SimFs) -> Result<Ended, csv_ingestor::Error> {
    ingestor::run(scenario, fs, Box::new(|| false), &mut ingestor::Nobody)
}

/// True if the content is in staging or in the warehouse.
fn is_there(fs: &SimFs, content: &[u8]) -> bool {
    let mut upstream = fs.upstream();
    let mut found = files(&mut upstream, Path::new(STAGING));
    found.extend(files(&mut upstream, Path::new(WAREHOUSE)));
    found.values().any(|found| found == content)
}

/// Damage to a file in the warehouse.
#[derive(Clone, Copy, Debug)]
enum Harm {
    /// Other bytes, the same size; the mtime is set back, as by `touch -r`.
    Bytes,
    Shorter,
    Removed,
    Unreadable,
    ADirectory,
    /// Another file of the same size and mtime.
    Replaced,
}

const HARMS: [Harm; 6] =
    [Harm::Bytes, Harm::Shorter, Harm::Removed, Harm::Unreadable, Harm::ADirectory, Harm::Replaced];

fn harm(harm: Harm, upstream: &mut Upstream<'_>) {
    let published = files(upstream, Path::new(WAREHOUSE)).into_iter();
    for (path, content) in published.filter(|(path, _)| !path.to_str().unwrap().contains(".csv-ingestor")) {
        let before = upstream.stat(&path).unwrap();
        let mut other = content.clone();
        other[0] ^= 1;
        match harm {
            Harm::Bytes => upstream.write_at(&path, 0, &other[..1]).unwrap(),
            Harm::Shorter => upstream.truncate(&path, before.identity.size / 2).unwrap(),
            Harm::Removed => upstream.remove(&path).unwrap(),
            Harm::Unreadable => {
                upstream.write_at(&path, 0, &other[..1]).unwrap();
                upstream.set_unreadable(&path, true).unwrap();
            }
            Harm::ADirectory => {
                upstream.remove(&path).unwrap();
                upstream.mkdir(&path).unwrap();
            }
            Harm::Replaced => {
                upstream.write("/warehouse/.other", &other).unwrap();
                upstream.replace("/warehouse/.other", &path).unwrap();
            }
        }
        if before.kind == FileKind::Regular && upstream.stat(&path).is_ok_and(|stat| stat.kind == FileKind::Regular) {
            upstream.set_mtime(&path, before.identity.mtime).unwrap();
        }
    }
}

/// P2: an upstream sends a file again because the one in the warehouse is damaged. Why: `--duplicates remove` deleted the
/// new one, since a file of that size was in the warehouse. The damage may come, and the process may die, at each operation
/// of the second run.
#[test]
fn the_last_good_copy_is_never_removed() {
    let removes = Scenario {
        before: vec![Act::Write(0, 1)],
        duplicates: DuplicateAction::Remove,
        ..Scenario::plain("sent again, after damage")
    };
    let content = content_of(1);
    let published = Play::new(&removes);
    let cross = Scenario { cross: true, ..removes.clone() };
    run(&removes, &published.fs).unwrap();
    let mut states = 0;
    for kind in HARMS {
        let again = published.fs.fork();
        harm(kind, &mut again.upstream());
        again.upstream().write(Path::new(STAGING).join("again.csv"), &content).unwrap();
        again.upstream().sync();
        let calm = again.fork();
        run(&removes, &calm).unwrap();
        assert!(is_there(&calm, &content), "{kind:?}: the last good copy is gone");
        for operation in again.operations() + 1..=calm.operations() {
            let cut = again.fork();
            cut.inject(Fault::crash().at(operation));
            let _ = run(&removes, &cut);
            cut.clear_faults();
            cut.crash(operation);
            assert!(is_there(&cut, &content), "{kind:?}, cut off at {operation}: the last good copy is gone");
            run(&removes, &cut).unwrap();
            assert!(is_there(&cut, &content), "{kind:?}, cut off at {operation}: then the last good copy is gone");
            states += 1;
        }
    }
    // The source of a copy: the damage comes at any time before the source is removed, and the process dies then.
    let first = Play::new(&cross).fs.operations() + 1;
    let calm = Play::new(&cross);
    run(&cross, &calm.fs).unwrap();
    for operation in first..=calm.fs.operations() {
        let kind = HARMS[operation as usize % HARMS.len()];
        let play = Play::new(&cross);
        play.fs.inject(Fault::crash().at(operation));
        let _ = run(&cross, &play.fs);
        play.fs.clear_faults();
        play.fs.kill();
        let was_whole = files(&mut play.fs.upstream(), Path::new(STAGING)).values().any(|found| *found == content);
        harm(kind, &mut play.fs.upstream());
        run(&cross, &play.fs).unwrap();
        assert!(!was_whole || is_there(&play.fs, &content), "{kind:?}, killed at {operation}: the source is gone");
        states += 1;
    }
    println!("originals: {states} states");
    assert!(states > 400, "{states}");
}

/// P2: a killed run has renamed a duplicate to a hidden name; then the original is damaged, so the next run moves the
/// duplicate back and closes its ingest. The power is cut at each operation of that: the old name must exist, since nothing
/// looks for hidden files of a closed ingest.
#[test]
fn a_duplicate_that_stays_after_all_keeps_its_name() {
    let removes = Scenario {
        before: vec![Act::Write(0, 1)],
        duplicates: DuplicateAction::Remove,
        ..Scenario::plain("sent again, and damaged after a kill")
    };
    let content = content_of(1);
    let is_aside = |path: &Path| path.file_name().unwrap().as_encoded_bytes().starts_with(b".csv-ingestor");
    let is_hidden = |fs: &SimFs| files(&mut fs.upstream(), Path::new(STAGING)).keys().any(|path| is_aside(path));
    let published = Play::new(&removes);
    run(&removes, &published.fs).unwrap();
    published.fs.upstream().write(Path::new(STAGING).join("again.csv"), &content).unwrap();
    published.fs.upstream().sync();
    let first = published.fs.operations() + 1;
    let calm = published.fs.fork();
    run(&removes, &calm).unwrap();
    let mut states = 0;
    for operation in first..=calm.operations() {
        let killed = published.fs.fork();
        killed.inject(Fault::crash().at(operation));
        let _ = run(&removes, &killed);
        killed.clear_faults();
        killed.kill();
        if !is_hidden(&killed) {
            continue;
        }
        harm(HARMS[operation as usize % HARMS.len()], &mut killed.upstream());
        killed.upstream().sync();
        let again = killed.fork();
        run(&removes, &again).unwrap();
        for second in killed.operations() + 1..=again.operations() {
            for seed in 0..4 {
                let cut = killed.fork();
                cut.inject(Fault::crash().at(second));
                let _ = run(&removes, &cut);
                cut.clear_faults();
                cut.crash(second * 4 + seed);
                run(&removes, &cut).unwrap();
                assert!(!is_hidden(&cut), "killed at {operation}, cut off at {second}: the duplicate stays hidden");
                assert!(is_there(&cut, &content), "killed at {operation}, cut off at {second}: the content is gone");
                states += 1;
            }
        }
    }
    println!("duplicates that stay: {states} states");
    assert!(states > 300, "{states}");
}

/// An original that was only touched does not keep its duplicates for ever, nor does one whose identity the journal did not
/// note: it is read.
#[test]
fn an_original_that_was_touched_is_read() {
    let removes = Scenario {
        before: vec![Act::Write(0, 1)],
        duplicates: DuplicateAction::Remove,
        ..Scenario::plain("sent again, after a touch")
    };
    let play = Play::new(&removes);
    run(&removes, &play.fs).unwrap();
    let mut upstream = play.fs.upstream();
    for path in files(&mut upstream, Path::new(WAREHOUSE)).into_keys() {
        upstream.set_mode(&path, 0o640).unwrap();
    }
    upstream.write(Path::new(STAGING).join("again.csv"), &content_of(1)).unwrap();
    run(&removes, &play.fs).unwrap();
    assert!(files(&mut play.fs.upstream(), Path::new(STAGING)).is_empty());
}

/// A copy belongs to the ingestor's user: with the setuid bit of its source, anyone who may write to it could run code as
/// that user.
#[test]
fn a_copy_keeps_permissions_only() {
    for mode in [0o4755, 0o2750, 0o1777, 0o7777, 0o644] {
        let cross = Scenario { cross: true, ..Scenario::plain("modes") };
        let linked = Scenario { before: vec![Act::Write(0, 1), Act::Link(0, 4)], ..Scenario::plain("modes, linked") };
        for scenario in [&cross, &linked] {
            let play = Play::new(scenario);
            play.fs.upstream().set_mode(act::path_of(0), mode).unwrap();
            run(scenario, &play.fs).unwrap();
            let mut upstream = play.fs.upstream();
            let published = files(&mut upstream, Path::new(WAREHOUSE)).into_keys();
            let modes: Vec<u32> = published.map(|path| upstream.stat(path).unwrap().mode).collect();
            assert!(modes.contains(&(mode & 0o777)), "{mode:o}: {modes:?}");
            assert!(modes.iter().all(|mode| mode & 0o7000 == 0), "{mode:o}: {modes:?}");
        }
    }
}

/// The manifest is replaced while the ingestor waits for room in it, by an empty file or by a copy of its lines so far: each
/// line is there once, and nothing is torn.
#[test]
fn a_manifest_is_replaced_while_the_disk_is_full() {
    let before: Vec<Act> = (0..6).map(|name| Act::Write(name, name + 10)).collect();
    let scenario = Scenario { before, ..Scenario::plain("a manifest is replaced while the disk is full") };
    let mut waited = 0;
    for (piece, copies) in (0..12).flat_map(|piece| [false, true].map(|copies| (piece, copies))) {
        let mut play = Play::new(&scenario);
        play.story.push(format!("piece {piece}, copies: {copies}"));
        // A part of the batch is written, and then the disk is full.
        let writes = Fault::short().only(&[Op::WriteAt]).under(MANIFESTS);
        play.fs.inject(writes.nth(1 + piece / 4));
        play.fs.inject(Fault::errno(libc::ENOSPC).only(&[Op::WriteAt]).under(MANIFESTS).nth(2 + piece / 4));
        play.fs.upstream().advance(std::time::Duration::from_secs(piece));
        let machine = play.fs.clone();
        let counter = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let count = counter.clone();
        let ended = play.run_waiting(Box::new(move || {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let mut upstream = machine.upstream();
            for (path, content) in files(&mut upstream, Path::new(MANIFESTS)) {
                let whole = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                let kept = if copies { &content[..] } else { &content[..whole] };
                upstream.write("/manifests/new", kept).unwrap();
                upstream.replace("/manifests/new", path).unwrap();
            }
            true
        }));
        waited += counter.load(std::sync::atomic::Ordering::Relaxed);
        play.check_ended(ended);
    }
    assert!(waited > 2, "the ingestor never waited for room: {waited}");
}
