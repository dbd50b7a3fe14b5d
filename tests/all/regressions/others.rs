//! What other ingestors in the same warehouse, upstreams and bad disks may have done before a recovery. Faults that a
//! reviewer found, each reduced to its core.

use std::path::{Path, PathBuf};
use std::time::Duration;

use csv_ingestor::fs::Fs as _;
use csv_ingestor::fs::sim::{Fault, Op};
use csv_ingestor::journal::record::DuplicateAction;

use super::{killed_when_hashed, view};
use crate::crash::act::{self, Act, content_of};
use crate::crash::play::Play;
use crate::crash::scenario::{DUPLICATES, HALVES, Phase, STAGING, Scenario, WAREHOUSE};
use crate::crash::view::digest;

fn staged(name: &str) -> PathBuf {
    Path::new(STAGING).join(name)
}

/// Another ingestor with the same warehouse publishes a file, durably.
fn published_by_another(play: &Play<'_>, name: &str, content: &[u8]) -> PathBuf {
    play.fs.advance(Duration::from_secs(5));
    let dir = Path::new(WAREHOUSE).join(play.fs.now().date_partition());
    let mut upstream = play.fs.upstream();
    upstream.mkdir_all("/warehouse/.csv-ingestor/ffffffffffffffffffffffffffffffff").unwrap();
    upstream.mkdir_all(&dir).unwrap();
    upstream.write(dir.join(name), content).unwrap();
    upstream.sync();
    play.model().strangers.insert(digest(content));
    dir.join(name)
}

fn withdraw(play: &Play<'_>, name: &str) {
    play.fs.upstream().remove(staged(name)).unwrap();
    play.model().after_act(&mut play.fs.upstream());
}

/// A file was to get a name in the warehouse that another ingestor has used in the meantime: the recovery neither lists nor
/// removes the other's file, whether its own is gone, is still there and open, or has the same content as the other's.
#[test]
fn another_ingestors_file_is_left_alone() {
    let others: [(&[u8], bool); 3] = [(b"another's\n", true), (b"another's\n", false), (&content_of(3), true)];
    for (content, is_withdrawn) in others {
        let scenario = Scenario::plain("a shared warehouse");
        let mut play = killed_when_hashed(&scenario);
        let path = published_by_another(&play, "a.csv", content);
        let mut writer = None;
        if is_withdrawn {
            withdraw(&play, "a.csv");
        } else {
            writer = Some(play.fs.upstream().open_writer(staged("a.csv")).unwrap());
        }
        play.run().unwrap();
        writer.into_iter().for_each(|writer| play.fs.upstream().close_writer(writer));
        let seen = view(&play);
        assert_eq!(seen.warehouse.get(&path), Some(&digest(content)), "it was taken away");
        assert!(!seen.lines.iter().any(|line| line.warehouse_path == path), "it was listed: {:?}", seen.lines);
    }
}

/// A directory at the name cannot be the result of a file's rename.
#[test]
fn a_directory_at_a_files_name_is_left_alone() {
    let scenario = Scenario::plain("a directory at a file's name");
    let mut play = killed_when_hashed(&scenario);
    play.fs.advance(Duration::from_secs(5));
    let dir = Path::new(WAREHOUSE).join(play.fs.now().date_partition()).join("a.csv");
    play.fs.upstream().mkdir_all(&dir).unwrap();
    play.fs.upstream().sync();
    withdraw(&play, "a.csv");
    play.run().unwrap();
    assert!(play.fs.upstream().exists(&dir));
}

/// One unreadable file must not keep all others from being ingested, at this start and every later one.
#[test]
fn one_bad_file_stops_no_start() {
    // The file's own sectors are bad.
    let scenario = Scenario::plain("a bad sector");
    let mut play = killed_when_hashed(&scenario);
    play.fs.inject(Fault::errno(libc::EIO).only(&[Op::ReadAt]).under(staged("a.csv")));
    play.run().unwrap();
    assert_eq!(view(&play).lines.len(), 2, "the others are ingested");
    play.fs.clear_faults();
    play.end();

    // An unreadable file of equal size is at its name in the warehouse.
    let scenario = Scenario::plain("an unreadable stranger");
    let mut play = killed_when_hashed(&scenario);
    let other: Vec<u8> = content_of(1).iter().map(|byte| byte ^ 1).collect();
    let path = published_by_another(&play, "a.csv", &other);
    play.fs.upstream().set_unreadable(&path, true).unwrap();
    withdraw(&play, "a.csv");
    play.run().unwrap();
    assert_eq!(view(&play).lines.len(), 2);
}

/// Killed just before, or right after, the rename of a duplicate into the duplicates directory.
fn killed_at_a_move(scenario: &Scenario, happened: bool) -> Play<'_> {
    let mut play = Play::new(scenario);
    let fault = Fault::crash().only(&[Op::Rename]).under(staged("d.csv")).nth(1);
    play.fs.inject(if happened { fault.happened() } else { fault });
    play.run().unwrap_err();
    play.fs.clear_faults();
    play
}

fn moves_duplicates() -> Scenario {
    Scenario {
        before: vec![Act::Write(0, 1)],
        acts: vec![((1, Phase::Scan), Act::Write(3, 1))],
        duplicates: DuplicateAction::Move,
        ..Scenario::plain("a duplicate that is moved")
    }
}

/// The same for duplicates: a symbolic link has taken the duplicate's place, or the moved duplicate is unreadable.
#[test]
fn one_bad_duplicate_stops_no_start() {
    let scenario = moves_duplicates();
    let mut play = killed_at_a_move(&scenario, false);
    play.kill();
    withdraw(&play, "d.csv");
    play.fs.upstream().symlink("a.csv", staged("d.csv")).unwrap();
    play.recover();

    let mut play = killed_at_a_move(&scenario, true);
    play.kill();
    play.fs.upstream().set_unreadable(Path::new(DUPLICATES).join("d.csv"), true).unwrap();
    play.recover();
}

/// A file that was moved away by mistake comes back although its name is in use again.
#[test]
fn a_mistaken_duplicate_comes_back_beside_a_new_file() {
    let scenario = moves_duplicates();
    let mut play = Play::new(&scenario);
    let (fs, model) = (play.fs.clone(), play.model.clone());
    let mut done = false;
    fs.set_hook(Box::new(move |call, upstream| {
        if call.op == Op::Rename && call.path == staged("d.csv") && !done {
            done = true;
            act::perform(&Act::Replace(3, 8), upstream, &mut model.lock().unwrap());
        }
    }));
    fs.inject(Fault::crash().only(&[Op::Rename]).under(staged("d.csv")).nth(1).happened());
    play.run().unwrap_err();
    fs.clear_hook();
    fs.clear_faults();
    play.kill();
    act::perform(&Act::Write(3, 4), &mut play.fs.upstream(), &mut play.model.lock().unwrap());
    play.end();
}

/// A file that an upstream has put in the place of a complete one need not be complete: it is moved back and waits for its
/// sidecar, wherever it was moved by mistake.
#[test]
fn what_was_moved_by_mistake_is_judged_anew() {
    let scenario = Scenario { sidecars: true, ..Scenario::plain("half of the next file, moved by mistake") };
    let mut play = Play::new(&scenario);
    let mut done = false;
    play.fs.set_hook(Box::new(move |call, upstream| {
        if call.op == Op::Rename && call.path == staged("a.csv") && !done {
            done = true;
            upstream.remove(staged("a.csv.ok")).unwrap();
            upstream.write(staged(".next"), b"the first half, ").unwrap();
            upstream.replace(staged(".next"), staged("a.csv")).unwrap();
        }
    }));
    play.fs.inject(Fault::crash().only(&[Op::Rename]).under(staged("a.csv")).nth(1).happened());
    play.run().unwrap_err();
    play.fs.clear_hook();
    play.fs.clear_faults();
    play.fs.kill();
    play.model().after_act(&mut play.fs.upstream());
    play.recover();
    let seen = view(&play);
    assert!(!seen.lines.iter().any(|line| line.sha256 == digest(b"the first half, ")), "{:?}", seen.lines);
    assert_eq!(seen.staging.get(&staged("a.csv")), Some(&digest(b"the first half, ")));
}

/// Half a rename leaves two names, and an upstream may rename a new file over the old one at any time. That file is renamed
/// to a hidden name and checked before it is removed, like everything in staging.
#[test]
fn a_new_file_at_an_old_name_is_not_removed() {
    let scenario = Scenario { failing: HALVES, ..Scenario::plain("a new file at an old name") };
    let mut stopped = Play::new(&scenario);
    stopped.fs.inject(Fault::crash().only(&[Op::SyncDir]).under(STAGING).nth(3));
    stopped.run().unwrap_err();
    stopped.fs.clear_faults();
    let mut met = 0;
    for seed in 0..200 {
        let mut play = stopped.fork();
        play.cut_power(seed);
        let (model, mut done) = (play.model.clone(), false);
        let seen = view(&play);
        let both = |path: &PathBuf| path.ends_with("b.csv");
        if !(seen.warehouse.keys().any(both) && seen.staging.keys().any(both)) {
            continue;
        }
        met += 1;
        play.fs.set_hook(Box::new(move |call, upstream| {
            let removes = matches!(call.op, Op::Unlink | Op::Rename) && call.path == staged("b.csv");
            if !done && removes {
                done = true;
                act::perform(&Act::Replace(1, 8), upstream, &mut model.lock().unwrap());
            }
        }));
        play.run().unwrap();
        play.fs.clear_hook();
        play.end();
    }
    assert!(met > 10, "only {met} power cuts left both names");
}

/// File times may be as coarse as a second: then a file that was moved by mistake seems older than it is.
#[test]
fn what_was_moved_by_mistake_is_known_by_coarse_times() {
    for offset_ms in (0..1_000).step_by(100) {
        let scenario = Scenario::plain("coarse times");
        let mut play = Play::new(&scenario);
        play.fs.set_granularity(Duration::from_secs(1));
        play.fs.advance(Duration::from_millis(offset_ms));
        let (model, mut done) = (play.model.clone(), false);
        play.fs.set_hook(Box::new(move |call, upstream| {
            if call.op == Op::Rename && call.path == staged("a.csv") && !done {
                done = true;
                act::perform(&Act::Replace(0, 8), upstream, &mut model.lock().unwrap());
            }
        }));
        play.fs.inject(Fault::crash().only(&[Op::Rename]).under(staged("a.csv")).nth(1).happened());
        play.run().unwrap_err();
        play.fs.clear_hook();
        play.fs.clear_faults();
        play.kill();
        play.end();
    }
}

/// Why: a file was to get the name of one that a manifest lists, its source was replaced, and the recovery could not read the
/// file at that name: it took it for one moved by mistake, and moved the listed file back to staging.
#[test]
fn a_listed_file_that_cannot_be_read_stays_where_it_is() {
    let scenario = Scenario::plain("a listed file that cannot be read");
    let mut play = Play::new(&scenario);
    play.end();
    let listed = Path::new(WAREHOUSE).join(play.fs.now().date_partition()).join("a.csv");
    act::perform(&Act::Write(0, 7), &mut play.fs.upstream(), &mut play.model());
    // HASHED is durable, and the rename to a name that is taken is next.
    play.fs.inject(Fault::crash().only(&[Op::Rename]).under(staged("a.csv")).nth(1));
    play.run().unwrap_err();
    play.fs.clear_faults();
    play.kill();
    act::perform(&Act::Replace(0, 9), &mut play.fs.upstream(), &mut play.model());
    play.fs.inject(Fault::errno(libc::EIO).only(&[Op::ReadAt]).under(&listed).nth(1));
    let _ = play.run();
    play.fs.clear_faults();
    assert!(play.fs.upstream().exists(&listed), "it was moved away");
    play.kill();
    play.end();
}
