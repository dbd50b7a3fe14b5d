//! Faults, mostly failed syncs.

use super::*;
use crate::fs::sim::{Fault, Op, Survival};

/// A durable file "old!" that holds "new!" unsynced.
fn rewritten(fs: &SimFs) -> SimFile {
    let file = create(fs, "/in/a", b"old!");
    fs.upstream().sync();
    fs.write_at(&file, b"new!", 0).unwrap();
    file
}

fn left(fs: &SimFs) -> BTreeSet<String> {
    outcomes(fs, |fs| text(fs, "/in/a").unwrap())
}

#[test]
fn after_a_failed_fsync_the_next_one_lies() {
    for op in [Op::SyncData, Op::SyncAll, Op::SyncFs] {
        let fs = machine();
        let file = rewritten(&fs);
        let sync = || match op {
            Op::SyncData => fs.sync_data(&file),
            Op::SyncAll => fs.sync_all(&file),
            _ => fs.sync_fs(&dir(&fs, "/in")),
        };
        fs.inject(Fault::errno(libc::EIO).only(&[op]).nth(1));
        assert_eq!(code(sync()), Some(libc::EIO));
        assert_eq!(text(&fs, "/in/a").unwrap(), "new!", "the cache still shows it");
        sync().unwrap();
        assert_eq!(left(&fs), ["old!".to_owned()].into(), "{op:?}");
    }
}

#[test]
fn what_a_failed_fsync_lost_is_durable_once_it_is_written_again() {
    let fs = machine();
    let file = rewritten(&fs);
    fs.inject(Fault::errno(libc::EIO).only(&[Op::SyncData]).nth(1));
    assert!(fs.sync_data(&file).is_err());
    fs.write_at(&file, b"?", 3).unwrap();
    fs.sync_data(&file).unwrap();
    // A sector is written as a whole, as it is in the cache.
    assert_eq!(left(&fs), ["new?".to_owned()].into());
}

#[test]
fn a_rewrite_brings_back_its_own_sectors_only() {
    let fs = machine();
    let file = create(&fs, "/in/a", &[b'o'; 1024]);
    fs.upstream().sync();
    fs.write_at(&file, &[b'n'; 1024], 0).unwrap();
    fs.inject(Fault::errno(libc::EIO).only(&[Op::SyncData]).nth(1));
    assert!(fs.sync_data(&file).is_err());
    fs.write_at(&file, b"r", 0).unwrap();
    fs.sync_data(&file).unwrap();
    fs.crash_to(Survival::Everything);
    let bytes = read(&fs, "/in/a").unwrap();
    assert_eq!((bytes[0], bytes[1], bytes[512]), (b'r', b'n', b'o'));
}

#[test]
fn a_failed_fsync_may_leave_a_size_over_zeros() {
    let fs = machine();
    let file = create(&fs, "/in/a", b"abc");
    sync_dir(&fs, "/in");
    fs.inject(Fault::errno(libc::EIO).only(&[Op::SyncAll]).nth(1));
    assert!(fs.sync_all(&file).is_err());
    assert_eq!(left(&fs), ["", "\0\0\0"].map(str::to_owned).into());
    fs.sync_all(&file).unwrap();
    assert_eq!(left(&fs), ["\0\0\0".to_owned()].into());
}

#[test]
fn a_torn_sync_leaves_some_sectors() {
    let fs = machine();
    fs.set_torn_syncs(true);
    let file = create(&fs, "/in/a", &[b'o'; 2048]);
    fs.upstream().sync();
    let mut seen = BTreeSet::new();
    for round in 0..200_u8 {
        fs.write_at(&file, &[round; 2048], 0).unwrap();
        fs.inject(Fault::errno(libc::EIO).only(&[Op::SyncData]).nth(1));
        assert!(fs.sync_data(&file).is_err());
        let fork = fs.fork();
        fork.crash_to(Survival::Nothing);
        let bytes = read(&fork, "/in/a").unwrap();
        seen.insert(bytes.chunks(512).filter(|sector| sector[0] == round).count());
    }
    assert_eq!(seen, [0, 1, 2, 3, 4].into());
}

#[test]
fn dropping_the_cache_shows_what_the_disk_has() {
    let fs = machine();
    let file = rewritten(&fs);
    fs.drop_cache(&file).unwrap();
    assert_eq!(text(&fs, "/in/a").unwrap(), "new!", "dirty pages stay");
    fs.inject(Fault::errno(libc::EIO).only(&[Op::SyncData]).nth(1));
    assert!(fs.sync_data(&file).is_err());
    fs.write_at(&file, b"dirty", 4096).unwrap();
    fs.kill();
    assert_eq!(text(&fs, "/in/a").unwrap()[..4], *"new!", "the next process reads it too");
    fs.drop_cache(&open(&fs, "/in/a", Open::Read).unwrap()).unwrap();
    let bytes = read(&fs, "/in/a").unwrap();
    assert_eq!((&bytes[..4], &bytes[4096..]), (&b"old!"[..], &b"dirty"[..]));
    fs.upstream().sync();
    fs.upstream().drop_caches();
    assert_eq!(read(&fs, "/in/a").unwrap(), bytes, "what is synced is there in any case");
}

#[test]
fn an_interrupted_sync_loses_nothing() {
    let fs = machine();
    let file = rewritten(&fs);
    fs.inject(Fault::errno(libc::EINTR).only(&[Op::SyncData]).nth(1));
    assert_eq!(code(fs.sync_data(&file)), Some(libc::EINTR));
    fs.sync_data(&file).unwrap();
    assert_eq!(left(&fs), ["new!".to_owned()].into());
}

#[test]
fn a_failed_sync_dir_loses_its_names() {
    let fs = machine();
    let file = create(&fs, "/in/a", b"abc");
    fs.sync_all(&file).unwrap();
    let _b = create(&fs, "/out/b", b"");
    fs.inject(Fault::errno(libc::EIO).only(&[Op::SyncDir]).nth(1));
    assert!(fs.sync_dir(&dir(&fs, "/in")).is_err());
    assert!(exists(&fs, "/in/a"));
    sync_dir(&fs, "/in");
    sync_dir(&fs, "/out");
    let look = |fs: &SimFs| (exists(fs, "/in/a"), exists(fs, "/out/b"));
    assert_eq!(outcomes(&fs, look), [(false, true)].into());
    // A new change of the entry can be synced like any other.
    rename(&fs, "/in/a", "/in/z").unwrap();
    sync_dir(&fs, "/in");
    assert_eq!(outcomes(&fs, |fs| text(fs, "/in/z")), [Some("abc".to_owned())].into());
}

#[test]
fn a_journal_that_failed_takes_nothing_more_until_a_power_cut() {
    let fs = machine();
    fs.set_aborts(true);
    let file = create(&fs, "/in/a", b"abc");
    fs.inject(Fault::errno(libc::EIO).only(&[Op::SyncDir]).nth(1));
    assert_eq!(code(fs.sync_dir(&dir(&fs, "/in"))), Some(libc::EIO));
    let read_only = Some(libc::EROFS);
    assert_eq!(code(fs.sync_dir(&dir(&fs, "/in"))), read_only);
    assert_eq!(code(fs.sync_all(&file)), read_only);
    assert_eq!(code(fs.write_at(&file, b"x", 0).map(drop)), read_only);
    assert_eq!(code(rename(&fs, "/in/a", "/in/b")), read_only);
    assert_eq!(code(unlink(&fs, "/in/a")), read_only);
    fs.kill();
    assert_eq!(code(unlink(&fs, "/in/a")), read_only, "another process fares no better");
    assert_eq!(text(&fs, "/in/a"), Some("abc".to_owned()));
    fs.crash_to(Survival::Everything);
    assert_eq!(text(&fs, "/in/a"), None);
    create(&fs, "/in/c", b"");
    sync_dir(&fs, "/in");
}

#[test]
fn a_failed_sync_dir_makes_no_file_nameless() {
    for (split, synced) in [(false, "/in"), (false, "/out"), (true, "/in"), (true, "/out")] {
        let fs = machine();
        fs.set_split_renames(split);
        fs.upstream().write("/in/a", b"content").unwrap();
        fs.upstream().sync();
        rename(&fs, "/in/a", "/out/a").unwrap();
        fs.inject(Fault::errno(libc::EIO).only(&[Op::SyncDir]).nth(1));
        assert!(fs.sync_dir(&dir(&fs, synced)).is_err());
        sync_dir(&fs, "/in");
        sync_dir(&fs, "/out");
        let look = |fs: &SimFs| exists(fs, "/in/a") || exists(fs, "/out/a");
        assert_eq!(outcomes(&fs, look), [true].into(), "split: {split}, failed: {synced}");
    }
}

#[test]
fn a_removal_that_was_lost_keeps_its_number_from_others() {
    let fs = machine();
    fs.upstream().write("/in/a", b"old").unwrap();
    fs.upstream().sync();
    let number = fs.upstream().stat("/in/a").unwrap().identity.inode;
    unlink(&fs, "/in/a").unwrap();
    fs.inject(Fault::errno(libc::EIO).only(&[Op::SyncDir]).nth(1));
    assert!(fs.sync_dir(&dir(&fs, "/in")).is_err());
    fs.upstream().write("/in/b", b"new").unwrap();
    fs.upstream().sync();
    fs.crash_to(Survival::Nothing);
    let inode = |path: &str| fs.upstream().stat(path).unwrap().identity.inode;
    assert_eq!(inode("/in/a"), number);
    assert_ne!(inode("/in/b"), number);
}

#[test]
fn faults_strike_by_number_kind_path_and_count() {
    let fs = machine();
    let input = dir(&fs, "/in");
    let stat = || code(fs.stat(&input, name("a")));
    let next = fs.operations() + 1;
    fs.inject(Fault::errno(libc::EIO).at(next + 1));
    assert_eq!([stat(), stat(), stat()], [None, Some(libc::EIO), None]);
    fs.clear_faults();
    fs.inject(Fault::errno(libc::ENOSPC).from(fs.operations() + 2));
    assert_eq!([stat(), stat(), stat()], [None, Some(libc::ENOSPC), Some(libc::ENOSPC)]);
    fs.clear_faults();
    fs.inject(Fault::errno(libc::EACCES).only(&[Op::Stat]).under("/in/a").nth(2));
    assert_eq!(code(fs.stat(&input, name("b"))), None);
    assert_eq!([stat(), stat(), stat()], [None, Some(libc::EACCES), None]);
    assert_eq!(code(fs.list(&input)), None);
}

#[test]
fn a_failed_operation_has_no_effect_unless_told() {
    let fs = machine();
    let output = dir(&fs, "/out");
    fs.inject(Fault::errno(libc::EIO).only(&[Op::CreateDir]).nth(1));
    fs.inject(Fault::errno(libc::EIO).only(&[Op::CreateDir]).nth(2).happened());
    assert!(fs.create_dir(&output, name("a"), 0o755).is_err());
    assert!(fs.create_dir(&output, name("b"), 0o755).is_err());
    assert_eq!((exists(&fs, "/out/a"), exists(&fs, "/out/b")), (false, true));
    fs.inject(Fault::errno(libc::EINTR).only(&[Op::Open]).nth(1).happened());
    assert!(fs.open(&output, name("c"), Open::Create { mode: 0o600 }).is_err());
    unlink(&fs, "/out/c").unwrap();
    let number = fs.upstream().stat("/out/b").unwrap().identity.inode;
    fs.upstream().write("/out/d", b"").unwrap();
    assert_eq!(fs.upstream().stat("/out/d").unwrap().identity.inode, number + 1, "no descriptor was left open");
}

#[test]
fn short_transfers_move_something_but_not_all() {
    let fs = machine();
    let file = create(&fs, "/in/a", b"0123456789");
    fs.inject(Fault::short());
    for _ in 0..50 {
        let mut buffer = [0; 10];
        let read = fs.read_at(&file, &mut buffer, 0).unwrap();
        assert!((1..10).contains(&read) && buffer[..read] == b"0123456789"[..read]);
        let written = fs.write_at(&file, b"abcdef", 10).unwrap();
        assert!((1..6).contains(&written));
        assert_eq!(fs.write_at(&file, b"x", 20).unwrap(), 1);
    }
    write_all_at(&fs, &file, &[b'z'; 100], 0).unwrap();
    assert_eq!(read(&fs, "/in/a").unwrap(), [b'z'; 100]);
    let mut listing = fs.list(&dir(&fs, "/")).unwrap();
    assert!(listing.next().unwrap().is_ok() && listing.next().unwrap().is_err() && listing.next().is_none());
}

#[test]
fn after_a_crash_fault_nothing_works_until_the_test_says_what_became() {
    for happened in [false, true] {
        let fs = machine();
        let input = dir(&fs, "/in");
        fs.upstream().mkdir("/in/x").unwrap();
        let fault = Fault::crash().at(fs.operations() + 1);
        fs.inject(if happened { fault.happened() } else { fault });
        assert_eq!(code(fs.create_dir(&input, name("d"), 0o755)), Some(libc::EIO));
        let count = fs.operations();
        assert_eq!(code(fs.open_dir(std::path::Path::new("/in"))), Some(libc::EIO));
        assert_eq!(code(fs.sync_dir(&input)), Some(libc::EIO));
        assert!(fs.is_dead() && fs.operations() == count);
        let crashed = fs.fork();
        fs.kill();
        assert!(!fs.is_dead());
        assert_eq!(exists(&fs, "/in/d"), happened);
        assert_eq!(code(fs.stat_dir(&input)), Some(libc::EIO), "a stale descriptor");
        crashed.crash_to(Survival::Nothing);
        assert!(!crashed.is_dead() && !exists(&crashed, "/in/x"));
        sync_dir(&crashed, "/in");
    }
}

#[test]
fn operations_are_counted_and_logged() {
    let fs = machine();
    let file = create(&fs, "/in/a", b"abc");
    let before = fs.operations();
    fs.sync_data(&file).unwrap();
    fs.sync_all(&file).unwrap();
    let input = dir(&fs, "/in");
    fs.sync_dir(&input).unwrap();
    fs.sync_fs(&input).unwrap();
    assert!(fs.unlink(&input, name("none")).is_err());
    assert_eq!(fs.operations(), before + 6);
    assert_eq!([Op::SyncData, Op::SyncAll, Op::SyncDir, Op::SyncFs].map(|op| fs.count(op)), [1; 4]);
    assert_eq!(fs.syncs(), 4);
    let log = fs.log();
    let last = log.last().unwrap();
    assert_eq!((last.number, last.op, last.errno), (before + 6, Op::Unlink, Some(libc::ENOENT)));
    assert_eq!(last.path, Path::new("/in/none"));
    for _ in 0..10_001 {
        fs.stat_dir(&input).unwrap();
    }
    assert_eq!(fs.log().len(), 10_000);
    assert!(fs.fork().log().is_empty());
}
