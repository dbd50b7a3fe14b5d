//! Every operation fails: once and for ever, with each of the errors that disks report, or half-way.

use std::path::Path;

use csv_ingestor::fs::sim::{Fault, Logged, Op};

use super::files::odd_scenarios;
use super::{is_thorough, operations, sweep, writes};
use crate::crash::play::Play;
use crate::crash::scenario::{Failing, STATE, Scenario};

/// If all operations of one of these kinds fail, a source or a sidecar that cannot be removed or checked stays in staging.
const STAYS: [Op; 9] =
    [Op::Lease, Op::LeaseBroken, Op::OpenDir, Op::Open, Op::Stat, Op::StatFile, Op::ReadAt, Op::Rename, Op::Unlink];

/// An operation that fails, and how.
#[derive(Clone, Copy, Debug)]
pub(super) enum How {
    Once(i32),
    /// This operation, and all later ones of its kind.
    ForEver(i32),
    /// It transfers only a part.
    Short,
    /// This operation, and every later read and write.
    ShortForEver,
}

impl How {
    fn fault(self, operation: u64, op: Op) -> Fault {
        match self {
            How::Once(errno) => Fault::errno(errno).at(operation),
            How::ForEver(errno) => Fault::errno(errno).only(&[op]).from(operation),
            How::Short => Fault::short().at(operation),
            How::ShortForEver => Fault::short().only(&[Op::ReadAt, Op::WriteAt]).from(operation),
        }
    }
}

impl How {
    /// True if more than one operation fails.
    pub(super) fn is_for_ever(&self) -> bool {
        matches!(self, How::ForEver(_) | How::ShortForEver)
    }

    /// Of the errors that differ least, each operation meets one; all of them in a thorough sweep.
    fn is_met_by(&self, operation: u64) -> bool {
        match self {
            How::Once(libc::ENOSPC) => operation.is_multiple_of(3),
            How::Once(libc::EINTR) => operation % 3 == 1,
            How::ForEver(libc::ENOSPC) => operation % 3 == 2,
            How::ForEver(_) => operation.is_multiple_of(2),
            _ => true,
        }
    }

    /// Everything that can go wrong with an operation of this kind.
    pub(super) fn all(op: Op) -> Vec<How> {
        let mut hows = vec![
            How::Once(libc::EIO),
            How::Once(libc::ENOSPC),
            How::Once(libc::EINTR),
            How::ForEver(libc::EIO),
            How::ForEver(libc::ENOSPC),
        ];
        match op {
            Op::ReadAt | Op::WriteAt => hows.extend([How::Short, How::ShortForEver]),
            // A listing ends early.
            Op::List => hows.push(How::Short),
            _ => {}
        }
        hows
    }
}

/// P5 and the other promises: the run may fail, but nothing is lost, and the next one finishes, on the same machine and
/// after a power cut. A short transfer is no failure at all.
#[test]
fn every_operation_fails() {
    sweep("faults", operations(Scenario::all()), 47_000, |scenario, operation, op| {
        let hows = How::all(op).into_iter().filter(|how| is_thorough() || how.is_met_by(operation));
        hows.map(|how| fails(scenario, operation, op, how)).sum()
    });
}

/// The same where links replace renames, link counts are stale and inode numbers change: there an action of several steps
/// can stop between any two of them.
#[test]
fn every_operation_fails_on_odd_file_systems() {
    let hows = [How::Once(libc::EIO), How::Once(libc::ENOSPC), How::ForEver(libc::EIO)];
    sweep("faults on odd file systems", operations(odd_scenarios()), 12_000, |scenario, operation, op| {
        let turn = if operation.is_multiple_of(2) { [0, 1] } else { [0, 2] };
        let hows = hows.iter().enumerate().filter(|(index, _)| is_thorough() || turn.contains(index));
        let hows = hows.map(|(_, how)| how);
        // If no link can ever be removed, second names stay.
        let hows = hows.filter(|how| op != Op::Unlink || !matches!(how, How::ForEver(_)));
        hows.map(|how| fails(scenario, operation, op, *how)).sum()
    });
}

/// Returns how many states were checked.
pub(super) fn fails(scenario: &Scenario, operation: u64, op: Op, how: How) -> u64 {
    let mut play = Play::new(scenario);
    play.story.push(format!("{how:?} at operation {operation}, {op:?}"));
    play.model().lossy = op.is_sync() && !scenario.syncs;
    play.model().withdrew |= matches!(how, How::ForEver(_)) && STAYS.contains(&op);
    play.fs.inject(how.fault(operation, op));
    let ended = play.run();
    play.fs.clear_faults();
    if matches!(how, How::Short | How::ShortForEver) && op != Op::List {
        play.check_ended(ended);
        return 1;
    }
    if op.is_sync() {
        play.note_failed_sync();
    }
    if matches!(how, How::Once(libc::EIO)) && op == Op::SyncData {
        check_fail_stop(&play, operation, ended.is_err());
    }
    let mut cut = play.fork();
    cut.cut_power(operation);
    cut.end();
    if matches!(op, Op::SyncDir | Op::SyncFs) && !matches!(how, How::Once(libc::EINTR)) {
        gives_up(scenario, operation, how.fault(operation, op));
    } else {
        play.kill();
        play.end();
    }
    2
}

/// P5: after a failed sync of the journal nothing is written any more, neither to the journal nor elsewhere.
fn check_fail_stop(play: &Play<'_>, operation: u64, has_ended: bool) {
    let log = play.fs.log();
    let is_journal = |path: &Path| path.starts_with(STATE) && path.to_string_lossy().contains("wal-");
    if !log.iter().any(|logged| logged.number == operation && is_journal(&logged.path)) {
        return;
    }
    assert!(has_ended, "{}: it continues with a journal that could not be synced", play.told());
    let writes = [Op::WriteAt, Op::SetLen, Op::SyncData, Op::SyncAll, Op::SyncFs, Op::Rename, Op::CreateDir];
    // A compaction on its own thread reads durable data only, and may finish.
    let is_snapshot = |path: &Path| path.to_string_lossy().contains("snap-");
    let mut later = log
        .iter()
        .filter(|logged| logged.number > operation && writes.contains(&logged.op) && !is_snapshot(&logged.path));
    // The thread that publishes may be in the middle of a file, which was recorded before.
    let of_one_file = |logged: &&Logged| matches!(logged.op, Op::Rename | Op::CreateDir);
    let excused =
        if play.scenario.seldom.relay.is_some() { later.clone().take_while(of_one_file).take(2).count() } else { 0 };
    let later = later.nth(excused);
    assert!(later.is_none(), "{}: {later:?} after the journal could not be synced", play.told());
}

/// Every operation of a recovery fails once, too.
#[test]
fn every_operation_of_a_recovery_fails() {
    let step = if is_thorough() { 1 } else { 27 };
    sweep("faults in a recovery", writes(Scenario::all()), 17_500, |scenario, operation, _| {
        recoveries_fail(scenario, operation, step)
    });
}

/// Stops at an operation and recovers; one in `step` operations of the recovery fails. Returns how many states were checked.
pub(super) fn recoveries_fail(scenario: &Scenario, operation: u64, step: u64) -> u64 {
    let mut stopped = Play::new(scenario);
    stopped.run_until(operation, operation.is_multiple_of(2));
    stopped.kill();
    let mut calm = stopped.fork();
    calm.recover();
    let mut states = 0;
    for logged in calm.fs.log().into_iter().filter(|logged| (logged.number + operation).is_multiple_of(step)) {
        let errno = if logged.number % 2 == 0 { libc::EIO } else { libc::ENOSPC };
        let how = if logged.number % 5 == 0 { How::ForEver(errno) } else { How::Once(errno) };
        let mut play = stopped.fork();
        play.story.push(format!("{how:?} at operation {}, {:?}", logged.number, logged.op));
        play.model().lossy |= logged.op.is_sync() && !scenario.syncs;
        play.fs.inject(how.fault(logged.number, logged.op));
        let _ = play.run();
        play.fs.clear_faults();
        if logged.op.is_sync() {
            play.note_failed_sync();
        }
        states += 1;
        if matches!(how, How::ForEver(_)) && STAYS.contains(&logged.op) {
            // A process that could check nothing leaves files behind. But nothing may be lost, nor listed twice.
            play.kill();
            let _ = play.run();
            play.kill();
            continue;
        }
        // After a lost name only a new mount helps, see `gives_up`.
        match logged.number % 3 == 0 || matches!(logged.op, Op::SyncDir | Op::SyncFs) {
            true => play.cut_power(logged.number),
            false => play.kill(),
        }
        play.end();
    }
    states
}

/// A file system that failed to write names shuts down, and every start on it fails until it is mounted again. One that
/// failed to write data keeps running, and shows data that it does not have.
fn gives_up(scenario: &Scenario, operation: u64, fault: Fault) {
    let scenario = Scenario { failing: Failing { aborts: true, ..scenario.failing }, ..scenario.clone() };
    let mut play = Play::new(&scenario);
    play.story.push(format!("operation {operation} fails, and the file system gives up"));
    play.fs.inject(fault);
    play.model().lossy = !scenario.syncs;
    let _ = play.run();
    play.fs.clear_faults();
    play.note_failed_sync();
    play.kill();
    if play.fs.upstream().is_aborted() {
        assert!(play.run().is_err(), "{}: it continues where nothing can be written", play.told());
        play.cut_power(operation);
    }
    play.end();
}
