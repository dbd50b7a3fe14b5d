//! Content, size and inode after a power cut.

use std::collections::BTreeSet;

use super::*;
use crate::fs::sim::{Op, Survival};
use crate::types::FileTime;

#[test]
fn each_sector_of_an_overwrite_survives_by_itself() {
    let fs = machine();
    let file = create(&fs, "/in/a", &[b'o'; 3 * 512]);
    fs.upstream().sync();
    fs.write_at(&file, &[b'n'; 3 * 512], 0).unwrap();
    let firsts = |fs: &SimFs| {
        let bytes = read(fs, "/in/a").unwrap();
        let sectors: Vec<u8> = bytes.chunks(512).map(|sector| sector[0]).collect();
        assert!(bytes.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])), "a torn sector");
        sectors
    };
    // Every mix of old and new, including a later sector without an earlier one.
    assert_eq!(outcomes(&fs, firsts).len(), 8);
}

#[test]
fn a_sector_ends_as_any_write_left_it() {
    let fs = machine();
    let file = create(&fs, "/in/a", b"0000");
    fs.upstream().sync();
    for bytes in [b"1", b"2", b"3"] {
        fs.write_at(&file, bytes, 0).unwrap();
    }
    fs.write_at(&file, b"4", 3).unwrap();
    let left = outcomes(&fs, |fs| text(fs, "/in/a").unwrap());
    // A sector is written as it is in the cache: the fourth write includes the third.
    assert_eq!(left, ["0000", "1000", "2000", "3000", "3004"].map(str::to_owned).into());
}

#[test]
fn size_and_content_go_apart() {
    let fs = machine();
    let _file = create(&fs, "/in/a", b"abc");
    sync_dir(&fs, "/in");
    let left = outcomes(&fs, |fs| text(fs, "/in/a").unwrap());
    assert_eq!(left, ["", "\0\0\0", "abc"].map(str::to_owned).into());
}

#[test]
fn a_lost_append_leaves_the_old_end_or_zeros() {
    let fs = machine();
    let file = create(&fs, "/in/a", b"one,");
    fs.upstream().sync();
    fs.write_at(&file, b"two,", 4).unwrap();
    let left = outcomes(&fs, |fs| text(fs, "/in/a").unwrap());
    assert_eq!(left, ["one,", "one,\0\0\0\0", "one,two,"].map(str::to_owned).into());
    // Content beyond a shortened size does not come back when the file grows again.
    let grown = |fs: &SimFs| {
        fs.upstream().stat("/in/a").unwrap().identity.size == 4 && {
            fs.upstream().truncate("/in/a", 8).unwrap();
            text(fs, "/in/a").unwrap() != "one,\0\0\0\0"
        }
    };
    assert_eq!(outcomes(&fs, grown), [false].into());
}

#[test]
fn a_file_cut_short_may_be_long_again() {
    let fs = machine();
    let file = create(&fs, "/in/a", b"keep-torn");
    fs.upstream().sync();
    fs.set_len(&file, 5).unwrap();
    assert_eq!(text(&fs, "/in/a").unwrap(), "keep-");
    let left = outcomes(&fs, |fs| text(fs, "/in/a").unwrap());
    assert_eq!(left, ["keep-torn", "keep-\0\0\0\0", "keep-"].map(str::to_owned).into());
    fs.sync_data(&file).unwrap();
    assert_eq!(outcomes(&fs, |fs| text(fs, "/in/a").unwrap()), ["keep-".to_owned()].into());
    fs.set_len(&file, 9).unwrap();
    assert_eq!(text(&fs, "/in/a").unwrap(), "keep-\0\0\0\0");
}

#[test]
fn cutting_off_many_sectors_and_growing_again_shows_zeros() {
    let fs = machine();
    let file = create(&fs, "/in/a", &[b'x'; 10_000]);
    fs.set_len(&file, 700).unwrap();
    fs.set_len(&file, 10_000).unwrap();
    let bytes = read(&fs, "/in/a").unwrap();
    assert!(bytes[..700].iter().all(|byte| *byte == b'x') && bytes[700..].iter().all(|byte| *byte == 0));
    fs.upstream().sync();
    fs.crash_to(Survival::Nothing);
    assert_eq!(read(&fs, "/in/a").unwrap(), bytes);
}

#[test]
fn sync_data_makes_content_durable_but_not_the_name() {
    let fs = machine();
    let file = create(&fs, "/in/a", &[7; 5_000]);
    fs.sync_data(&file).unwrap();
    assert_eq!(outcomes(&fs, |fs| read(fs, "/in/a")), [None, Some(vec![7; 5_000])].into());
    fs.sync_all(&file).unwrap();
    assert_eq!(outcomes(&fs, |fs| exists(fs, "/in/a")), [false, true].into());
}

#[test]
fn a_sync_covers_one_file_only() {
    let fs = machine();
    let a = create(&fs, "/in/a", b"a");
    let _b = create(&fs, "/in/b", b"b");
    fs.sync_all(&a).unwrap();
    sync_dir(&fs, "/in");
    fs.crash_to(Survival::Nothing);
    assert_eq!((text(&fs, "/in/a").unwrap(), text(&fs, "/in/b").unwrap()), ("a".to_owned(), String::new()));
}

#[test]
fn mode_and_mtime_need_sync_all() {
    let fs = machine();
    let file = create(&fs, "/in/a", b"abc");
    fs.upstream().sync();
    let old = FileTime { sec: 1_000, nsec: 5 };
    fs.set_meta(&file, 0o600, old).unwrap();
    fs.sync_data(&file).unwrap();
    let look = |fs: &SimFs| {
        let stat = fs.upstream().stat("/in/a").unwrap();
        (stat.mode, stat.identity.mtime == old)
    };
    assert_eq!(outcomes(&fs, look), [(0o640, false), (0o600, true)].into());
    fs.sync_all(&file).unwrap();
    assert_eq!(outcomes(&fs, look), [(0o600, true)].into());
}

#[test]
fn times_and_size_go_apart() {
    let fs = machine();
    let file = create(&fs, "/in/a", b"abc");
    fs.upstream().sync();
    let before = fs.stat_file(&file).unwrap().identity;
    fs.write_at(&file, b"d", 3).unwrap();
    let look = |fs: &SimFs| {
        let now = fs.upstream().stat("/in/a").unwrap().identity;
        (now.size, now.mtime == before.mtime)
    };
    assert_eq!(outcomes(&fs, look), [(3, true), (3, false), (4, true), (4, false)].into());
}

#[test]
fn a_kill_loses_nothing_that_was_written() {
    let fs = machine();
    let file = create(&fs, "/in/a", b"abc");
    fs.kill();
    assert_eq!(text(&fs, "/in/a").unwrap(), "abc");
    // But it is as unsynced as before.
    assert_eq!(outcomes(&fs, |fs| exists(fs, "/in/a")), [false, true].into());
    assert_eq!(code(fs.read_at(&file, &mut [0; 3], 0)), Some(libc::EIO));
}

#[test]
fn the_extremes_keep_all_or_nothing() {
    let fs = machine();
    let _file = create(&fs, "/in/a", &[9; 2_000]);
    let (all, nothing) = (fs.fork(), fs.fork());
    all.crash_to(Survival::Everything);
    nothing.crash_to(Survival::Nothing);
    assert_eq!((read(&all, "/in/a"), read(&nothing, "/in/a")), (Some(vec![9; 2_000]), None));
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let story = |seed| {
        let fs = machine();
        let _file = create(&fs, "/in/a", &[1; 9_000]);
        fs.upstream().write("/out/b", &[2; 9_000]).unwrap();
        fs.crash(seed);
        (read(&fs, "/in/a"), read(&fs, "/out/b"), fs.random())
    };
    assert!((0..50).all(|seed| story(seed) == story(seed)));
    assert!((0..50).map(story).collect::<BTreeSet<_>>().len() > 10);
}

#[test]
fn reads_end_with_the_file_and_holes_are_zeros() {
    let fs = machine();
    let file = create(&fs, "/in/a", b"start");
    fs.write_at(&file, b"end", 9_000).unwrap();
    let mut buffer = [1; 4];
    assert_eq!(fs.read_at(&file, &mut buffer, 4_094).unwrap(), 4);
    assert_eq!(buffer, [0; 4]);
    assert_eq!((fs.read_at(&file, &mut buffer, 9_001).unwrap(), &buffer[..2]), (2, &b"nd"[..]));
    assert_eq!(fs.read_at(&file, &mut buffer, 9_003).unwrap(), 0);
    assert_eq!(fs.read_at(&file, &mut buffer, u64::MAX).unwrap(), 0);
    fs.write_at(&file, &[0; 5], 0).unwrap();
    assert_eq!(read(&fs, "/in/a").unwrap()[..6], [0; 6], "zeros over a page that is there");
}

#[test]
fn a_fork_and_its_origin_do_not_see_each_other() {
    let fs = machine();
    let file = create(&fs, "/in/a", b"both");
    let fork = fs.fork();
    fs.write_at(&file, b"mine", 0).unwrap();
    fork.upstream().write("/in/b", b"yours").unwrap();
    assert_eq!((text(&fork, "/in/a").unwrap(), text(&fs, "/in/a").unwrap()), ("both".into(), "mine".into()));
    assert!(!exists(&fs, "/in/b"));
    assert_eq!(fork.operations() + 1, fs.operations());
    assert_eq!(code(fork.read_at(&file, &mut [0], 0)), Some(libc::EBADF));
    // A sync of one machine does not sync the other.
    fs.upstream().sync();
    fork.crash_to(Survival::Nothing);
    assert!(!exists(&fork, "/in/a") && exists(&fs, "/in/a"));
    assert_eq!((fs.count(Op::SyncData), fs.syncs()), (0, 0));
}
