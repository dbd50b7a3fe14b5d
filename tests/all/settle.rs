//! When a file counts as complete, and in which order complete files are ingested.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use csv_ingestor::fs::Syscall;
use csv_ingestor::fs::sim::SimFs;
use csv_ingestor::fs::{FileKind, Stat};
use csv_ingestor::journal::ingest::Kept;
use csv_ingestor::journal::record::AbandonReason;
use csv_ingestor::limits::ABANDONED_TIMES_MAX;
use csv_ingestor::pipeline::WhyNot;
use csv_ingestor::pipeline::in_order::InOrder;
use csv_ingestor::pipeline::settle::bounds::Bounds;
use csv_ingestor::pipeline::settle::order::Order;
use csv_ingestor::pipeline::settle::{Mode, RETRY_DELAY_MAX, RETRY_DELAY_MIN, Settle, Sighting};
use csv_ingestor::pipeline::sidecar::SidecarNames;
use csv_ingestor::pipeline::{HashResult, Outcome, Refusal, Refused, Report, Settled};
use csv_ingestor::types::{FileIdentity, FileTime, Key, Sha256, UnixMillis};

const WINDOW: Duration = Duration::from_secs(10);
const BUSY: Duration = Duration::from_secs(5);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(1000 + seconds)
}

fn name(name: &str) -> Arc<OsStr> {
    Arc::from(OsStr::new(name))
}

fn identity(inode: u64, size: u64, mtime: i64) -> FileIdentity {
    let time = FileTime { sec: mtime, nsec: 0 };
    FileIdentity { device: 1, inode, size, mtime: time, ctime: time }
}

fn sighting(identity: FileIdentity) -> Sighting {
    Sighting {
        stat: Stat { identity, kind: FileKind::Regular, links: 1, mode: 0o644, born: None },
        sidecar: None,
        orphaned: false,
        age: Duration::ZERO,
    }
}

fn stability() -> Settle {
    Settle::new(Mode::Stability(WINDOW), BUSY, std::iter::empty())
}

fn take(settle: &mut Settle) -> Option<Settled> {
    settle.take_ready(UnixMillis(0))
}

fn refused(name: &Arc<OsStr>, refusal: Refusal) -> Report {
    Report { name: name.clone(), outcome: Outcome::Refused(refusal) }
}

/// Size and mtime must be unchanged for N seconds by the ingestor's own observation: an old mtime proves nothing.
#[test]
fn the_window_begins_at_first_sight_and_anew_at_each_change() {
    let (mut settle, a) = (stability(), name("a"));
    settle.see(&a, Some(&sighting(identity(1, 10, -86_400 * 365 * 20))), false, seconds(0));
    assert!(take(&mut settle).is_none());
    settle.see(&a, Some(&sighting(identity(1, 11, 5))), false, seconds(9));
    settle.see(&a, Some(&sighting(identity(1, 11, 5))), false, seconds(12));
    assert!(take(&mut settle).is_none(), "it grew 3 seconds ago");
    assert_eq!(settle.next_due(), Some(seconds(10)), "an earlier time may remain; then there is nothing to do");
    settle.see(&a, Some(&sighting(identity(1, 11, 6))), false, seconds(18));
    settle.see(&a, Some(&sighting(identity(1, 11, 6))), false, seconds(28));
    assert_eq!(take(&mut settle).unwrap().identity, identity(1, 11, 6));
    assert!(take(&mut settle).is_none(), "handed out once");
}

/// `take_due` returns the names that are due, so that a file does not wait for the next scan.
#[test]
fn a_file_is_due_when_its_window_ends() {
    let (mut settle, a) = (stability(), name("a"));
    settle.see(&a, Some(&sighting(identity(1, 10, 1))), false, seconds(0));
    assert!(settle.take_due(seconds(9), 10).is_empty());
    assert_eq!(settle.take_due(seconds(10), 10), [a]);
}

/// The files that a scan finds are taken oldest first; but a file that was ready before is taken during the scan: a
/// directory of 100,000 files holds nothing up.
#[test]
fn a_scan_holds_back_what_it_finds_and_nothing_else() {
    let mut settle = Settle::new(Mode::Stability(Duration::ZERO), BUSY, std::iter::empty());
    settle.see(&name("early"), Some(&sighting(identity(9, 1, 99))), false, seconds(0));
    settle.begin_scan();
    for (inode, mtime) in [(1, 30), (2, 10), (3, 20)] {
        let found = name(&format!("{inode}"));
        settle.see(&found, Some(&sighting(identity(inode, 1, mtime))), false, seconds(1));
    }
    assert_eq!(take(&mut settle).unwrap().name, name("early"));
    assert!(take(&mut settle).is_none(), "an older one may still be found");
    settle.end_scan();
    let order: Vec<u64> = std::iter::from_fn(|| take(&mut settle)).map(|settled| settled.identity.inode).collect();
    assert_eq!(order, [2, 3, 1]);
}

/// Files that arrive late with old mtimes (`cp -p`, `rsync -t`) are taken like any other: there is no watermark.
#[test]
fn an_old_mtime_after_newer_ones_is_taken() {
    let mut settle = Settle::new(Mode::Stability(Duration::ZERO), BUSY, std::iter::empty());
    settle.see(&name("new"), Some(&sighting(identity(1, 1, 1_000_000))), false, seconds(0));
    assert!(take(&mut settle).is_some());
    settle.see(&name("old"), Some(&sighting(identity(2, 1, 1))), false, seconds(1));
    assert!(take(&mut settle).is_some());
}

/// A file that a scan does not find is gone, and starts again if it comes back.
#[test]
fn what_vanishes_is_forgotten() {
    let (mut settle, a) = (stability(), name("a"));
    settle.see(&a, Some(&sighting(identity(1, 10, 1))), false, seconds(0));
    settle.begin_scan();
    settle.end_scan();
    settle.see(&a, Some(&sighting(identity(1, 10, 1))), false, seconds(11));
    assert!(take(&mut settle).is_none(), "seen for the first time again");
}

/// A failed file is tried again with growing delay, and at once when it changes.
#[test]
fn failures_are_retried_with_growing_delay() {
    let mut settle = Settle::new(Mode::Stability(Duration::ZERO), BUSY, std::iter::empty());
    let a = name("a");
    let (mut now, mut expected) = (seconds(0), RETRY_DELAY_MIN);
    for _ in 0..12 {
        settle.see(&a, Some(&sighting(identity(1, 10, 1))), false, now);
        take(&mut settle).expect("its time has come");
        let error = csv_ingestor::fs::Error {
            op: Syscall::Open,
            path: "/staging/a".into(),
            source: std::io::ErrorKind::PermissionDenied.into(),
        };
        let reaction = settle.report(&refused(&a, Refusal::Failed(error)), now);
        assert_eq!(reaction.retry_in, Some(expected));
        settle.see(&a, Some(&sighting(identity(1, 10, 1))), true, now + expected - Duration::from_millis(1));
        assert!(take(&mut settle).is_none(), "too early");
        now += expected;
        expected = (expected * 2).min(RETRY_DELAY_MAX);
    }
    assert_eq!(expected, RETRY_DELAY_MAX);
    settle.see(&a, Some(&sighting(identity(1, 10, 2))), false, now - expected);
    assert!(take(&mut settle).is_some(), "it changed");
}

/// A file that a writer has open is tried again after a while, or when an event names it.
#[test]
fn a_writer_holds_a_file_back() {
    let mut settle = Settle::new(Mode::Stability(Duration::ZERO), BUSY, std::iter::empty());
    let a = name("a");
    let see = |settle: &mut Settle, nudged, now| settle.see(&a, Some(&sighting(identity(1, 10, 1))), nudged, now);
    see(&mut settle, false, seconds(0));
    take(&mut settle).unwrap();
    settle.report(&refused(&a, Refusal::OpenForWriting), seconds(0));
    assert_eq!(settle.waiting().next(), Some((&a, WhyNot::OpenForWriting)));
    see(&mut settle, false, seconds(1));
    assert!(take(&mut settle).is_none());
    assert_eq!(settle.take_due(seconds(5), 10), std::slice::from_ref(&a));
    see(&mut settle, false, seconds(5));
    take(&mut settle).unwrap();
    settle.report(&refused(&a, Refusal::OpenForWriting), seconds(5));
    see(&mut settle, true, seconds(6));
    assert!(take(&mut settle).is_some(), "its writer closed it");
}

/// An event for a name whose file is in flight is handled when that file is done.
#[test]
fn news_of_a_file_in_flight_is_kept() {
    let mut settle = Settle::new(Mode::Stability(Duration::ZERO), BUSY, std::iter::empty());
    let a = name("a");
    settle.see(&a, Some(&sighting(identity(1, 10, 1))), false, seconds(0));
    take(&mut settle).unwrap();
    settle.see(&a, Some(&sighting(identity(2, 20, 2))), true, seconds(1));
    assert!(take(&mut settle).is_none(), "one at a time under one name");
    assert_eq!(settle.in_flight(), 1);
    let landed =
        settle.report(&Report { name: a.clone(), outcome: Outcome::Ingested { used_sidecar: None } }, seconds(2));
    assert!(landed.look_again);
    assert_eq!(settle.in_flight(), 0);
    settle.see(&a, Some(&sighting(identity(2, 20, 2))), true, seconds(2));
    assert!(take(&mut settle).is_some());
}

/// A kept duplicate is not hashed again while nothing about it changes; the sidecar that released it does not release the
/// next file of that name.
#[test]
fn a_kept_duplicate_rests_and_its_sidecar_is_used_up() {
    let (file, sidecar) = (identity(1, 10, 1), identity(2, 0, 1));
    let kept = Kept { identity: file, sha256: Sha256([0; 32]), key: Key([0; 32]), sidecar: Some(sidecar) };
    let mut settle = Settle::new(Mode::Sidecar, BUSY, [kept].into_iter());
    let a = name("a.csv");
    let with = |identity, sidecar| Sighting { sidecar, ..sighting(identity) };
    settle.see(&a, Some(&with(file, Some(sidecar))), false, seconds(0));
    assert!(take(&mut settle).is_none());
    let successor = identity(3, 5, 9);
    settle.see(&a, Some(&with(successor, Some(sidecar))), false, seconds(1));
    assert!(take(&mut settle).is_none());
    assert_eq!(settle.waiting().next(), Some((&a, WhyNot::UsedSidecar)));
    settle.see(&a, Some(&with(successor, Some(identity(4, 0, 10)))), false, seconds(2));
    assert!(take(&mut settle).is_some());
}

/// A file that turns out to need a copy is taken again at once: with `--once` there would be no second window.
#[test]
fn a_file_that_needs_a_copy_goes_again_at_once() {
    let (mut settle, a) = (stability(), name("a"));
    settle.see(&a, Some(&sighting(identity(1, 10, 1))), false, seconds(0));
    settle.see(&a, Some(&sighting(identity(1, 10, 1))), false, seconds(10));
    take(&mut settle).unwrap();
    settle.report(&Report { name: a, outcome: Outcome::Abandoned(AbandonReason::NeedsCopy) }, seconds(11));
    assert!(take(&mut settle).is_some());
}

/// Why: abandonments are counted by themselves. A file that was abandoned several times and then fails is tried again
/// after the shortest delay, not after one that its abandonments have lengthened.
#[test]
fn the_first_failure_after_abandonments_waits_the_shortest_time() {
    let mut settle = Settle::new(Mode::Stability(Duration::ZERO), BUSY, std::iter::empty());
    let (a, mut now) = (name("a"), seconds(0));
    let mut abandoned = 0;
    while abandoned < ABANDONED_TIMES_MAX + 2 {
        settle.see(&a, Some(&sighting(identity(1, 10, 1))), false, now);
        take(&mut settle).expect("its time has come");
        let outcome = Outcome::Abandoned(AbandonReason::Changed);
        let reaction = settle.report(&Report { name: a.clone(), outcome }, now);
        abandoned += 1;
        now += reaction.retry_in.unwrap_or_default();
    }
    settle.see(&a, Some(&sighting(identity(1, 10, 1))), false, now);
    take(&mut settle).expect("its time has come");
    let error = csv_ingestor::fs::Error {
        op: Syscall::Open,
        path: "/staging/a".into(),
        source: std::io::ErrorKind::PermissionDenied.into(),
    };
    let reaction = settle.report(&refused(&a, Refusal::Failed(error)), now);
    assert_eq!(reaction.retry_in, Some(RETRY_DELAY_MIN));
}

fn bounded(mode: Mode, bounds: Bounds) -> Settle {
    Settle::new(mode, BUSY, std::iter::empty()).with_bounds(bounds)
}

/// A file that is complete waits until it is old enough; a new change makes it young again.
#[test]
fn a_young_file_waits_until_it_is_old_enough() {
    let bounds = Bounds { min_age: Duration::from_secs(60), ..Bounds::default() };
    for mode in [Mode::Stability(Duration::ZERO), Mode::Sidecar] {
        let (mut settle, a) = (bounded(mode, bounds), name("a"));
        let aged = |size, age| {
            let sidecar = Some(identity(9, 0, 1));
            Sighting { sidecar, age: Duration::from_secs(age), ..sighting(identity(1, size, 1)) }
        };
        settle.see(&a, Some(&aged(10, 20)), false, seconds(0));
        assert!(take(&mut settle).is_none(), "{mode:?}");
        assert_eq!(settle.tell(&a, seconds(10)).unwrap().why, Some(WhyNot::TooYoung));
        assert_eq!(settle.tell(&a, seconds(10)).unwrap().retry_in, Some(Duration::from_secs(30)));
        assert_eq!(settle.take_due(seconds(40), 10), std::slice::from_ref(&a));
        // It was written to meanwhile.
        settle.see(&a, Some(&aged(11, 1)), false, seconds(40));
        assert!(take(&mut settle).is_none(), "{mode:?}");
        assert_eq!(settle.take_due(seconds(99), 10), std::slice::from_ref(&a));
        settle.see(&a, Some(&aged(11, 60)), false, seconds(99));
        assert_eq!(take(&mut settle).unwrap().identity.size, 11);
        assert_eq!((settle.held(), settle.incomplete(), settle.in_flight()), (0, 0, 1));
    }
}

/// Why: a wall clock that was set back, or a file from a host whose clock is ahead, must not hold a file for ever: it was
/// watched for as long as it had to wait.
#[test]
fn a_wall_clock_that_is_wrong_holds_no_file_for_longer_than_the_age() {
    let bounds = Bounds { min_age: Duration::from_secs(60), ..Bounds::default() };
    let (mut settle, a) = (bounded(Mode::Stability(WINDOW), bounds), name("a"));
    let young = sighting(identity(1, 10, i64::MAX / 2));
    settle.see(&a, Some(&young), false, seconds(0));
    assert_eq!(settle.take_due(seconds(10), 10), std::slice::from_ref(&a));
    settle.see(&a, Some(&young), false, seconds(10));
    // Looks and events in between change nothing.
    settle.see(&a, Some(&young), true, seconds(30));
    assert!(take(&mut settle).is_none());
    assert_eq!(settle.take_due(seconds(70), 10), std::slice::from_ref(&a));
    settle.see(&a, Some(&young), false, seconds(70));
    assert!(take(&mut settle).is_some());
}

/// Why: a sender that ran away never stops, so it must be told while the file grows; once, and not at each write.
#[test]
fn a_file_that_is_too_large_is_told_once_and_stays() {
    let bounds = Bounds { size_max: 100, ..Bounds::default() };
    let (mut settle, a) = (bounded(Mode::Stability(WINDOW), bounds), name("a"));
    for (at, size) in [(0, 100), (1, 101), (2, 102), (30, 102), (31, 1 << 40)] {
        settle.see(&a, Some(&sighting(identity(1, size, i64::try_from(at).unwrap()))), true, seconds(at));
        let told: Vec<u64> = settle.take_too_large().into_iter().map(|(_, size)| size).collect();
        assert_eq!(told, if at == 1 { vec![101] } else { vec![] }, "at {at}");
        assert!(take(&mut settle).is_none());
    }
    assert_eq!(settle.tell(&a, seconds(31)).unwrap().why, Some(WhyNot::TooLarge));
    assert_eq!((settle.held(), settle.incomplete()), (1, 0));
    // Another file of that name is told again.
    settle.see(&a, Some(&sighting(identity(2, 200, 40))), true, seconds(40));
    assert_eq!(settle.take_too_large(), [(a.clone(), 200)]);
    // It was truncated: it starts again.
    settle.see(&a, Some(&sighting(identity(2, 99, 50))), true, seconds(50));
    settle.see(&a, Some(&sighting(identity(2, 99, 50))), false, seconds(60));
    assert_eq!(take(&mut settle).unwrap().identity.size, 99);
    assert_eq!(settle.held(), 0);
}

/// Without births nothing shows whether a file came after its sidecar. So a shared one that stays for another file must not
/// release a file under a name that it has released already; and at the next start, none but those that it is known to be
/// meant for.
#[test]
fn a_shared_sidecar_releases_each_name_once() {
    let names = SidecarNames::parse(OsStr::new("{stem}.done")).unwrap();
    let sidecar = identity(9, 0, 1);
    let with_sidecar = |inode| Sighting { sidecar: Some(sidecar), ..sighting(identity(inode, 10, 1)) };
    let (a, b) = (name("a.csv"), name("a.tsv"));
    let mut settle = Settle::new(Mode::Sidecar, BUSY, std::iter::empty()).with_sidecars(Some(names.clone()));
    settle.see(&a, Some(&with_sidecar(1)), false, seconds(0));
    assert_eq!((settle.beside(OsStr::new("a.done")), &*take(&mut settle).unwrap().name), (vec![a.clone()], &*a));
    settle.see(&b, Some(&with_sidecar(2)), false, seconds(1));
    let outcome = Outcome::Ingested { used_sidecar: Some(sidecar) };
    settle.report(&Report { name: a.clone(), outcome }, seconds(2));
    assert_eq!(&*take(&mut settle).unwrap().name, &*b);
    settle.see(&a, Some(&with_sidecar(3)), false, seconds(3));
    assert!(take(&mut settle).is_none());
    assert_eq!(settle.waiting().next(), Some((&a, WhyNot::UsedSidecar)));

    let kept =
        Kept { identity: identity(1, 10, 1), sha256: Sha256([7; 32]), key: Key([7; 32]), sidecar: Some(sidecar) };
    let mut settle = Settle::new(Mode::Sidecar, BUSY, std::iter::once(kept)).with_sidecars(Some(names));
    settle.see(&a, Some(&with_sidecar(3)), false, seconds(3));
    assert!(take(&mut settle).is_none());
    // A birth would have shown that the sidecar came first.
    let mut dated = with_sidecar(2);
    dated.stat.born = Some(FileTime { sec: 0, nsec: 0 });
    settle.see(&b, Some(&dated), false, seconds(3));
    assert_eq!(&*take(&mut settle).unwrap().name, &*b);
}

/// With an order, the first of all is handed out, and nothing before all are known.
#[test]
fn with_an_order_nothing_is_handed_out_before_its_release() {
    for (order, expected) in [(Order::Name, ["a", "b", "c"]), (Order::Oldest, ["c", "a", "b"])] {
        let mut settle = Settle::new(Mode::Stability(Duration::ZERO), BUSY, std::iter::empty()).in_order(Some(order));
        settle.begin_scan();
        for (inode, file, mtime) in [(1, "b", 5), (2, "a", 5), (3, "c", 4)] {
            settle.see(&name(file), Some(&sighting(identity(inode, 10, mtime))), false, seconds(0));
        }
        settle.end_scan();
        assert!(take(&mut settle).is_none() && settle.holds_back());
        settle.release();
        let taken: Vec<Settled> = std::iter::from_fn(|| take(&mut settle)).collect();
        assert_eq!(taken.iter().map(|it| it.name.to_str().unwrap()).collect::<Vec<_>>(), expected, "{order:?}");
        assert!(taken.iter().map(|it| it.ticket).is_sorted());
    }
}

/// Hashing ends in any order, files pass in that of their tickets; after one that a stop has interrupted, none is committed.
#[test]
fn files_pass_in_the_order_of_their_tickets() {
    let file = |ticket, refusal| -> HashResult<SimFs> {
        let mut settle = Settle::new(Mode::Stability(Duration::ZERO), BUSY, std::iter::empty());
        settle.see(&name("a"), Some(&sighting(identity(1, 10, 1))), false, seconds(0));
        let settled = Settled { ticket, ..take(&mut settle).unwrap() };
        Err(Box::new(Refused { settled, refusal }))
    };
    let mut in_order = InOrder::new(true);
    in_order.take(vec![file(3, Refusal::Changed), file(2, Refusal::Changed)]);
    assert!(!in_order.has_next() && in_order.take_noted().is_none());
    in_order.take(vec![file(1, Refusal::Changed), file(5, Refusal::Changed), file(6, Refusal::Changed)]);
    let mut passed = Vec::new();
    let mut pass = |in_order: &mut InOrder<SimFs>| {
        passed.extend(std::iter::from_fn(|| in_order.pass()).map(|it| {
            let refused = it.err().unwrap();
            (refused.settled.ticket, matches!(refused.refusal, Refusal::Interrupted))
        }));
    };
    pass(&mut in_order);
    // One that takes long is noted when all others before it are through.
    let noted = file(4, Refusal::Changed).err().unwrap().settled;
    assert!(in_order.note(noted).is_none());
    assert_eq!(in_order.take_noted().map(|it| it.ticket), Some(4));
    in_order.take(vec![file(4, Refusal::Interrupted)]);
    pass(&mut in_order);
    in_order.take(vec![file(8, Refusal::Changed)]);
    in_order.end();
    pass(&mut in_order);
    assert_eq!(passed, [(1, false), (2, false), (3, false), (4, true), (5, true), (6, true), (8, true)]);
}
