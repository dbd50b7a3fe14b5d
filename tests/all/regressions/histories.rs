//! Faults that random histories of upstreams and crashes have found, each reduced to its core.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use csv_ingestor::fs::sim::{Call, Fault, Op, Upstream};
use csv_ingestor::journal::record::DuplicateAction;

use super::{killed_when_hashed, view};
use crate::crash::act::{self, Act, content_of};
use crate::crash::play::Play;
use crate::crash::scenario::{HALVES, MANIFESTS, Phase, STAGING, Scenario};
use crate::crash::view::digest;

fn staged(name: &str) -> PathBuf {
    Path::new(STAGING).join(name)
}

/// Runs `act` once, before the first operation that meets the condition. The result says whether that has happened.
pub(super) fn before_first(
    play: &Play<'_>,
    condition: impl Fn(&Call<'_>) -> bool + Send + 'static,
    mut act: impl FnMut(&mut Upstream<'_>) + Send + 'static,
) -> Arc<Mutex<bool>> {
    let done = Arc::new(Mutex::new(false));
    let flag = done.clone();
    play.fs.set_hook(Box::new(move |call, upstream| {
        let mut done = flag.lock().unwrap();
        if !*done && condition(call) {
            *done = true;
            act(upstream);
        }
    }));
    done
}

/// If a duplicate is moved away while a writer has it open, the bytes that are written a moment later are lost with it.
#[test]
fn a_duplicate_that_a_writer_waits_for_is_not_moved_away() {
    let scenario = Scenario {
        before: vec![Act::Write(0, 1)],
        acts: vec![((1, Phase::Scan), Act::Write(3, 1))],
        duplicates: DuplicateAction::Move,
        ..Scenario::plain("a writer waits for a duplicate")
    };
    let mut play = Play::new(&scenario);
    let model = play.model.clone();
    let is_move = |call: &Call<'_>| call.op == Op::Rename && call.path == staged("d.csv");
    let came = before_first(&play, is_move, move |upstream| {
        act::perform(&Act::Open(3, 5), upstream, &mut model.lock().unwrap());
    });
    play.run().unwrap();
    play.fs.clear_hook();
    assert!(*came.lock().unwrap());
    act::perform(&Act::Close(6), &mut play.fs.upstream(), &mut play.model.lock().unwrap());
    play.end();
    let whole = [content_of(1), content_of(5), content_of(6)].concat();
    assert!(view(&play).warehouse.values().any(|found| *found == digest(&whole)), "the writer's content was ingested");
}

/// A file gets a second name just before it is moved, and the process ends before it can notice that: through the second
/// name its upstream could write to the file in the warehouse. So the recovery has to check, too.
#[test]
fn recovery_leaves_no_file_in_the_warehouse_that_has_a_second_name() {
    let scenario = Scenario::plain("a second name, and a crash");
    let mut play = Play::new(&scenario);
    let number = Arc::new(Mutex::new(0));
    let (model, at) = (play.model.clone(), number.clone());
    let mut found = play.fork();
    let is_move = |call: &Call<'_>| call.op == Op::Rename && call.path == staged("b.csv");
    found.fs.set_hook(Box::new(move |call, _| {
        if is_move(call) {
            *at.lock().unwrap() = call.number;
        }
    }));
    found.run().unwrap();
    let moved_at = *number.lock().unwrap();
    let came = before_first(&play, is_move, move |upstream| {
        act::perform(&Act::Link(1, 5), upstream, &mut model.lock().unwrap());
    });
    play.run_until(moved_at, true);
    play.fs.clear_hook();
    assert!(*came.lock().unwrap());
    play.kill();
    play.end();
    act::perform(&Act::Append(5, 9), &mut play.fs.upstream(), &mut play.model.lock().unwrap());
    play.end();
    assert!(view(&play).warehouse.values().any(|found| *found == digest(&content_of(3))), "b.csv is as it was");
}

/// Leases end with the process that holds them. A silent writer that has come since then must keep its file: whatever it
/// writes to a file that the recovery has removed or moved away is lost.
#[test]
fn recovery_removes_nothing_that_a_writer_has_open() {
    use DuplicateAction::{Keep, Move, Remove};
    for (cross, duplicates, name) in [(true, Keep, "a.csv"), (false, Remove, "d.csv"), (false, Move, "d.csv")] {
        let acts = match duplicates {
            Keep => Vec::new(),
            _ => vec![((1, Phase::Scan), Act::Write(3, 1))],
        };
        let scenario = Scenario { cross, duplicates, acts, ..Scenario::plain("a silent writer at the recovery") };
        let mut play = Play::new(&scenario);
        play.fs.inject(Fault::crash().only(&[Op::Rename]).under(staged(name)).nth(1));
        play.run().unwrap_err();
        play.fs.clear_faults();
        play.kill();
        let writer = play.fs.upstream().open_writer(staged(name)).unwrap();
        play.run().unwrap();
        play.fs.upstream().write_via(writer, b"the last row\n").unwrap();
        play.fs.upstream().close_writer(writer);
        let whole = [&content_of(1)[..], b"the last row\n"].concat();
        play.model().may_become(&whole);
        play.end();
        assert!(view(&play).warehouse.values().any(|found| *found == digest(&whole)), "{name}: its content is lost");
    }
}

/// Where a power cut may keep half a rename, both names may remain. Through the old one an upstream could write to a file
/// that was about to be listed with its former SHA-256.
#[test]
fn nobody_writes_to_the_warehouse_by_an_old_name() {
    let mut met = 0;
    for leases in [true, false] {
        let scenario = Scenario { failing: HALVES, leases, ..Scenario::plain("both names") };
        let mut stopped = Play::new(&scenario);
        stopped.fs.inject(Fault::crash().only(&[Op::SyncDir]).under(STAGING).nth(3));
        stopped.run().unwrap_err();
        stopped.fs.clear_faults();
        for seed in 0..200 {
            let mut play = stopped.fork();
            play.cut_power(seed);
            let seen = view(&play);
            let both = |path: &PathBuf| path.ends_with("b.csv");
            if !(seen.warehouse.keys().any(both) && seen.staging.keys().any(both)) {
                continue;
            }
            met += 1;
            let model = play.model.clone();
            let is_unlink = |call: &Call<'_>| call.op == Op::Unlink && call.path == staged("b.csv");
            before_first(&play, is_unlink, move |upstream| {
                act::perform(&Act::Append(1, 4), upstream, &mut model.lock().unwrap());
            });
            play.run().unwrap();
            play.fs.clear_hook();
            play.end();
        }
    }
    assert!(met > 20, "only {met} power cuts left both names");
}

/// Why: a duplicate had been removed and its sidecar renamed to a hidden name when the process ended. No file had the
/// duplicate's name, which looked as if the duplicate had been withdrawn, so the sidecar stayed under its hidden name.
#[test]
fn the_sidecar_of_a_removed_duplicate_is_not_left_aside() {
    let scenario = Scenario {
        sidecars: true,
        duplicates: DuplicateAction::Remove,
        acts: vec![((1, Phase::Scan), Act::Write(3, 1))],
        ..Scenario::plain("killed between two names")
    };
    let mut play = Play::new(&scenario);
    play.fs.inject(Fault::crash().only(&[Op::Rename]).under(staged("d.csv.ok")).nth(1).happened());
    play.run().unwrap_err();
    play.fs.clear_faults();
    play.kill();
    play.end();
}

/// Recovery compares a file that it has moved by inode, size and mtime. Unless a descriptor keeps the inode number in use,
/// another file of equal size and mtime can get it in the meantime.
#[test]
fn another_file_under_the_same_inode_number_is_not_moved_by_a_recovery() {
    let scenario = Scenario { leases: false, ..Scenario::plain("an inode used again during a recovery") };
    for op in [Op::Open, Op::Lease, Op::Rename] {
        let mut play = killed_when_hashed(&scenario);
        let model = play.model.clone();
        let is_then = move |call: &Call<'_>| call.op == op && call.path == staged("a.csv");
        let came = before_first(&play, is_then, move |upstream| {
            act::perform(&Act::Disguise(0), upstream, &mut model.lock().unwrap());
        });
        play.run().unwrap();
        play.fs.clear_hook();
        assert!(*came.lock().unwrap(), "{op:?}");
        play.end();
    }
}

/// The same when a recovery removes a file: the source of a copy that is in the warehouse.
#[test]
fn another_file_under_the_same_inode_number_is_not_removed_by_a_recovery() {
    let scenario = Scenario { cross: true, ..Scenario::plain("an inode used again while a source is removed") };
    let mut play = Play::new(&scenario);
    play.fs.inject(Fault::crash().only(&[Op::Rename]).under(staged("a.csv")).nth(1));
    play.run().unwrap_err();
    play.fs.clear_faults();
    play.kill();
    let model = play.model.clone();
    let is_then = |call: &Call<'_>| call.op == Op::Open && call.path == staged("a.csv");
    let came = before_first(&play, is_then, move |upstream| {
        act::perform(&Act::Disguise(0), upstream, &mut model.lock().unwrap());
    });
    play.run().unwrap();
    play.fs.clear_hook();
    assert!(*came.lock().unwrap());
    play.end();
}

/// Why: other programs may write to a manifest without taking its lock. When one did so while the recovery read the
/// manifest, the end of the last line was after the file's end as it had been read before.
#[test]
fn somebody_appends_while_the_recovery_reads_the_manifest() {
    let scenario = Scenario::plain("a manifest grows while it is read");
    let mut play = Play::new(&scenario);
    play.fs.inject(Fault::crash().only(&[Op::SyncData]).under(MANIFESTS).nth(1));
    play.run().unwrap_err();
    play.fs.clear_faults();
    play.kill();
    let model = play.model.clone();
    let is_read = |call: &Call<'_>| call.op == Op::ReadAt && call.path.starts_with(MANIFESTS);
    let came = before_first(&play, is_read, move |upstream| {
        act::perform(&Act::Foreign { whole: true }, upstream, &mut model.lock().unwrap());
    });
    play.run().unwrap();
    play.fs.clear_hook();
    assert!(*came.lock().unwrap());
    play.end();
}

/// Data reaches the disk before the inode (ext4's `data=ordered`): a power cut can leave data that was written over a file
/// in place, with the file's old times. So a file that was hashed before the cut is hashed again after it.
#[test]
fn after_a_power_cut_the_content_decides() {
    let scenario = Scenario::plain("written to between a kill and a power cut");
    let killed = killed_when_hashed(&scenario);
    let other: Vec<u8> = content_of(3).iter().map(|byte| byte ^ 1).collect();
    killed.fs.upstream().write_at(staged("b.csv"), 0, &other).unwrap();
    killed.model().lossy = true;
    killed.model().after_act(&mut killed.fs.upstream());
    for seed in 0..300 {
        let mut play = killed.fork();
        play.cut_power(seed);
        play.run().unwrap();
        // Each listed file has the SHA-256 of its line: the play has checked that after the recovery.
        let seen = view(&play);
        assert!(seen.lines.iter().all(|line| seen.warehouse.get(&line.warehouse_path) == Some(&line.sha256)), "{seed}");
    }
}

/// After a failed sync a manifest's lines may be in the page cache only, and clean, so no later sync writes them. If another
/// program's line has made their page dirty again, the cache cannot drop it either, so the lines look as if they were on the
/// disk. So the recovery writes the lines that it finds once more.
#[test]
fn a_line_that_was_never_synced_is_written_again_beside_another_programs() {
    let scenario = Scenario::plain("a manifest that could not be synced");
    let mut play = Play::new(&scenario);
    play.fs.inject(Fault::errno(libc::EIO).only(&[Op::SyncData]).under(MANIFESTS));
    play.run().unwrap_err();
    play.fs.clear_faults();
    play.note_failed_sync();
    play.kill();
    act::perform(&Act::Foreign { whole: false }, &mut play.fs.upstream(), &mut play.model());
    play.end();
}
