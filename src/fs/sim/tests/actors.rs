//! Other programs on the machine: hooks, upstream writers, leases, locks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::fs::sim::{Fault, Gate, Survival};
use crate::fs::{FileKind, Lease};
use crate::types::FileTime;

#[test]
fn the_hook_acts_before_the_operation() {
    let fs = machine();
    let input = dir(&fs, "/in");
    let next = fs.operations() + 1;
    fs.set_hook(Box::new(move |call, up| {
        if call.number == next + 1 {
            up.write("/in/late", b"x").unwrap();
        }
    }));
    assert!(fs.stat(&input, name("late")).unwrap().is_none());
    assert!(fs.stat(&input, name("late")).unwrap().is_some());
    assert_eq!(fs.operations(), next + 1, "what the hook does is no operation");
    fs.clear_hook();
    fs.upstream().remove("/in/late").unwrap();
    assert!(fs.stat(&input, name("late")).unwrap().is_none());
}

#[test]
fn a_hook_can_fork_the_machine_at_every_operation() {
    let fs = machine();
    let forks = Arc::new(Mutex::new(Vec::new()));
    let kept = forks.clone();
    fs.set_hook(Box::new(move |call, up| kept.lock().unwrap().push((call.number, up.fork()))));
    let first = fs.operations() + 1;
    let file = create(&fs, "/in/a", b"abc"); // open directory, open, pwrite
    fs.sync_data(&file).unwrap();
    let seen = |fs: &SimFs| (fs.operations(), text(fs, "/in/a"));
    let forks = forks.lock().unwrap();
    let states: Vec<_> = forks.iter().map(|(_, fork)| seen(fork)).collect();
    let (none, empty, full) = (None, Some(String::new()), Some("abc".to_owned()));
    let expected = [(first - 1, none.clone()), (first, none), (first + 1, empty), (first + 2, full)];
    assert_eq!(states, expected);
    assert_eq!(forks[2].0, first + 2);
    // A fork has no hook, or this would wait for the lock that is held here.
    sync_dir(&forks[0].1, "/in");
}

#[test]
fn an_upstream_can_sync_one_file_and_its_name() {
    let fs = machine();
    let mut up = fs.upstream();
    up.write("/in/a", b"synced").unwrap();
    up.write("/in/b", b"not synced").unwrap();
    up.sync_path("/in/a").unwrap();
    fs.crash_to(Survival::Nothing);
    assert_eq!((text(&fs, "/in/a"), text(&fs, "/in/b")), (Some("synced".to_owned()), None));
}

/// Another program reads on while the program under test is dead, and until the power is cut.
#[test]
fn a_program_beside_is_not_disturbed() {
    let fs = machine();
    fs.upstream().write("/in/a", b"abc").unwrap();
    let beside = fs.beside();
    let (file, before) = (open(&beside, "/in/a", Open::Read).unwrap(), fs.operations());
    fs.inject(Fault::crash());
    assert!(fs.open_dir(Path::new("/in")).is_err() && fs.is_dead());
    let read = || beside.read_at(&file, &mut [0; 3], 0);
    assert_eq!(read().unwrap(), 3);
    fs.kill();
    assert_eq!(read().unwrap(), 3);
    assert_eq!(fs.operations(), before + 1, "its operations are not counted");
    fs.crash_to(Survival::Everything);
    assert!(read().is_err());
}

#[test]
fn gates_are_passed_one_after_the_other() {
    let (fs, passed) = (machine(), Arc::new(Mutex::new(Vec::new())));
    let gate = |name: &'static str| -> Gate {
        let passed = passed.clone();
        Arc::new(move || passed.lock().unwrap().push(name))
    };
    let gated = fs.gated(gate("inner")).gated(gate("outer"));
    gated.open_dir(Path::new("/in")).unwrap();
    assert_eq!(*passed.lock().unwrap(), ["outer", "inner"]);
}

#[test]
fn a_gate_decides_whose_turn_it_is() {
    let fs = machine();
    let asked = Arc::new(Mutex::new(0));
    let counter = asked.clone();
    let gated = fs.gated(Arc::new(move || *counter.lock().unwrap() += 1));
    create(&gated.clone(), "/in/a", b"abc"); // open directory, open, pwrite
    create(&fs, "/in/b", b"abc");
    assert_eq!(*asked.lock().unwrap(), 3, "the handle that was not gated passes");
    assert_eq!(text(&fs, "/in/a"), Some("abc".to_owned()), "it is the same machine");
}

#[test]
fn upstreams_can_do_what_programs_do() {
    let fs = machine();
    let mut up = fs.upstream();
    up.write("/in/a", b"12345").unwrap();
    up.append("/in/a", b"67").unwrap();
    up.write_at("/in/a", 1, b"xy").unwrap();
    assert_eq!(up.read("/in/a").unwrap(), b"1xy4567");
    up.write("/in/a", b"z").unwrap();
    assert_eq!(up.read("/in/a").unwrap(), b"z");
    up.link("/in/a", "/out/a").unwrap();
    assert_eq!(up.stat("/in/a").unwrap().links, 2);
    assert_eq!(code(up.rename("/in/a", "/out/a")), Some(libc::EEXIST));
    up.write("/in/b", b"b").unwrap();
    up.replace("/in/b", "/out/a").unwrap();
    assert_eq!((up.read("/out/a").unwrap(), up.stat("/in/a").unwrap().links), (b"b".to_vec(), 1));
    let old = FileTime { sec: -5, nsec: 1 };
    up.set_mtime("/in/a", old).unwrap();
    up.set_mode("/in/a", 0o600).unwrap();
    assert_eq!((up.stat("/in/a").unwrap().identity.mtime, up.stat("/in/a").unwrap().mode), (old, 0o600));
    up.symlink("a", "/in/link").unwrap();
    up.fifo("/in/pipe").unwrap();
    up.mkdir_all("/in/d/e").unwrap();
    assert_eq!(up.list("/in").unwrap(), ["a", "d", "link", "pipe"]);
    assert_eq!(up.read("/in/link").unwrap(), b"z");
    assert_eq!(code(up.remove("/in/d")), Some(libc::ENOTEMPTY));
    up.remove("/in/d/e").unwrap();
    up.remove("/in/d").unwrap();
    assert!(!up.exists("/in/d") && up.exists("/in/pipe"));
    assert_eq!(up.stat("/in/link").unwrap().kind, FileKind::Symlink);
    assert_eq!(fs.operations(), 0, "none of this is ours");
}

#[test]
fn an_open_writer_refuses_the_lease() {
    let fs = machine();
    let writer = fs.upstream().open_writer("/in/a").unwrap();
    fs.upstream().write_via(writer, b"one ").unwrap();
    rename(&fs, "/in/a", "/out/b").unwrap();
    fs.upstream().write_via(writer, b"two").unwrap();
    assert_eq!(text(&fs, "/out/b").unwrap(), "one two", "the writer follows the inode");
    let file = open(&fs, "/out/b", Open::Read).unwrap();
    assert_eq!(fs.lease(&file).unwrap(), Lease::Writer);
    fs.upstream().close_writer(writer);
    assert_eq!(fs.lease(&file).unwrap(), Lease::Held);
    assert!(!fs.lease_broken(&file).unwrap());
    assert_eq!(code(fs.upstream().write_via(writer, b"")), Some(libc::EBADF));
    fs.set_leases(false);
    assert_eq!(fs.lease(&file).unwrap(), Lease::Unsupported);
}

#[test]
fn our_own_writers_refuse_the_lease_too() {
    let fs = machine();
    let writing = create(&fs, "/in/a", b"x");
    let reading = open(&fs, "/in/a", Open::Read).unwrap();
    assert_eq!((fs.lease(&writing).unwrap(), fs.lease(&reading).unwrap()), (Lease::Writer, Lease::Writer));
    drop(writing);
    assert_eq!(fs.lease(&reading).unwrap(), Lease::Held);
    // O_NONBLOCK: the open fails, and the lease starts to break.
    assert_eq!(code(open(&fs, "/in/a", Open::Write)), Some(libc::EWOULDBLOCK));
    assert!(fs.lease_broken(&reading).unwrap());
}

#[test]
fn a_blocked_writer_writes_when_the_lease_goes() {
    let fs = machine();
    fs.upstream().write("/in/a", b"settled").unwrap();
    let file = open(&fs, "/in/a", Open::Read).unwrap();
    let other = open(&fs, "/in/a", Open::Read).unwrap();
    assert_eq!(fs.lease(&file).unwrap(), Lease::Held);
    let writer = fs.upstream().open_writer("/in/a").unwrap();
    assert!(fs.lease_broken(&file).unwrap());
    assert_eq!(fs.lease(&other).unwrap(), Lease::Writer);
    fs.upstream().write_via(writer, b" more").unwrap();
    rename(&fs, "/in/a", "/out/a").unwrap();
    drop(other);
    assert_eq!(text(&fs, "/out/a").unwrap(), "settled");
    drop(file);
    assert_eq!(text(&fs, "/out/a").unwrap(), "settled more");
    fs.upstream().write_via(writer, b"!").unwrap();
    assert_eq!(text(&fs, "/out/a").unwrap(), "settled more!");
}

#[test]
fn every_kind_of_write_waits_for_the_lease() {
    type Act = fn(&SimFs);
    let acts: [(Act, &str); 3] = [
        (|fs| fs.upstream().write("/in/a", b"new").unwrap(), "new"),
        (|fs| fs.upstream().truncate("/in/a", 1).unwrap(), "o"),
        (|fs| fs.upstream().write_at("/in/a", 1, b"X").unwrap(), "oXd"),
    ];
    for (act, after) in acts {
        let fs = machine();
        fs.upstream().write("/in/a", b"old").unwrap();
        let file = open(&fs, "/in/a", Open::Read).unwrap();
        fs.lease(&file).unwrap();
        act(&fs);
        assert!(fs.lease_broken(&file).unwrap());
        assert_eq!(fs.lease(&open(&fs, "/in/a", Open::Read).unwrap()).unwrap(), Lease::Writer);
        assert_eq!(text(&fs, "/in/a").unwrap(), "old");
        drop(file);
        assert_eq!(text(&fs, "/in/a").unwrap(), after);
    }
}

#[test]
fn the_kernel_takes_a_lease_that_is_held_too_long() {
    let fs = machine();
    fs.upstream().write("/in/a", b"old").unwrap();
    let file = open(&fs, "/in/a", Open::Read).unwrap();
    fs.lease(&file).unwrap();
    fs.upstream().append("/in/a", b"+").unwrap();
    fs.advance(Duration::from_secs(44));
    assert_eq!(text(&fs, "/in/a").unwrap(), "old");
    fs.advance(Duration::from_secs(1));
    assert_eq!(text(&fs, "/in/a").unwrap(), "old+");
    assert!(fs.lease_broken(&file).unwrap());
}

#[test]
fn a_kill_lets_blocked_writers_go_on_and_a_crash_ends_them() {
    let fs = machine();
    fs.upstream().write("/in/a", b"old").unwrap();
    fs.upstream().sync();
    let file = open(&fs, "/in/a", Open::Read).unwrap();
    fs.lease(&file).unwrap();
    let writer = fs.upstream().open_writer("/in/a").unwrap();
    fs.upstream().write_via(writer, b"+").unwrap();
    let crashed = fs.fork();
    fs.kill();
    drop(file);
    assert_eq!(text(&fs, "/in/a").unwrap(), "old+");
    fs.upstream().write_via(writer, b"+").unwrap();
    crashed.crash_to(Survival::Everything);
    assert_eq!(text(&crashed, "/in/a").unwrap(), "old", "the write had not begun");
    assert_eq!(code(crashed.upstream().write_via(writer, b"+")), Some(libc::EBADF));
    assert_eq!(crashed.lease(&open(&crashed, "/in/a", Open::Read).unwrap()).unwrap(), Lease::Held);
}

#[test]
fn a_dead_process_closes_nothing_by_itself() {
    let fs = machine();
    fs.upstream().write("/in/a", b"old").unwrap();
    fs.upstream().sync();
    let file = open(&fs, "/in/a", Open::Read).unwrap();
    fs.lease(&file).unwrap();
    fs.upstream().append("/in/a", b"+").unwrap();
    fs.inject(crate::fs::sim::Fault::crash().at(fs.operations() + 1));
    assert!(fs.stat_file(&file).is_err());
    drop(file);
    let crashed = fs.fork();
    crashed.crash_to(Survival::Everything);
    assert_eq!(text(&crashed, "/in/a").unwrap(), "old");
    fs.kill();
    assert_eq!(text(&fs, "/in/a").unwrap(), "old+");
}

#[test]
fn locks_exclude_by_descriptor() {
    let fs = machine();
    let (one, two) = (create(&fs, "/in/LOCK", b""), open(&fs, "/in/LOCK", Open::Read).unwrap());
    let identity = fs.stat_file(&one).unwrap().identity;
    fs.set_process(4711);
    assert!(fs.try_lock_file(&one).unwrap() && fs.try_lock_file(&one).unwrap());
    assert_eq!(fs.lock_holder(&identity), Some(4711));
    assert!(!fs.try_lock_file(&two).unwrap());
    fs.unlock_file(&two).unwrap();
    assert_eq!(fs.lock_holder(&identity), Some(4711), "only the holder gives it up");
    fs.unlock_file(&one).unwrap();
    assert_eq!(fs.lock_holder(&identity), None);
    assert!(fs.try_lock_file(&two).unwrap());
    drop(two);
    assert!(fs.try_lock_file(&one).unwrap(), "closing gives it up");

    let (first, second) = (dir(&fs, "/in"), dir(&fs, "/in"));
    fs.upstream().lock("/in").unwrap();
    assert!(fs.try_lock_dir(&first).unwrap() && !fs.try_lock_dir(&second).unwrap(), "a stranger's lock is no mark");
    assert_eq!((fs.dir_lock_holder(&first), fs.dir_lock_holder(&second)), (None, Some(4711)));
    fs.upstream().lock("/in/LOCK").unwrap();
    assert!(fs.try_lock_file(&one).unwrap(), "it is ours already");
    fs.unlock_file(&one).unwrap();
    fs.upstream().lock("/in/LOCK").unwrap();
    assert!(!fs.try_lock_file(&one).unwrap() && fs.lock_holder(&identity).is_some());
    fs.upstream().unlock_all();
    assert!(fs.try_lock_file(&one).unwrap());
    fs.kill();
    let third = dir(&fs, "/in");
    assert!(fs.try_lock_dir(&third).unwrap());
    drop(first);
    assert!(!fs.try_lock_dir(&dir(&fs, "/in")).unwrap(), "a stale descriptor gives up nothing");
    fs.crash(1);
    assert!(fs.try_lock_dir(&dir(&fs, "/in")).unwrap());
}
