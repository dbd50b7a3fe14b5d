//! Errors and metadata that the kernel returns.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::fs::FileKind;
use crate::types::{FileTime, UnixMillis};

#[test]
fn renames_stay_on_their_device() {
    let fs = machine();
    fs.mount("/far").unwrap();
    fs.upstream().write("/in/a", b"").unwrap();
    assert!(rename(&fs, "/in/a", "/far/a").unwrap_err().is_cross_device());
    assert_eq!(code(fs.upstream().rename("/in/a", "/far/a")), Some(libc::EXDEV));
    assert_eq!(code(fs.upstream().link("/in/a", "/far/a")), Some(libc::EXDEV));
    fs.upstream().write("/far/b", b"").unwrap();
    let identity = |path: &str| fs.upstream().stat(path).unwrap().identity;
    assert_ne!(identity("/far/b").device, identity("/in/a").device);
    assert_eq!(identity("/far").device, identity("/far/b").device, "a mount point shows what is mounted");
    assert_eq!(code(rename(&fs, "/far", "/in/far")), Some(libc::EBUSY));
    assert_eq!(code(fs.upstream().remove("/far")), Some(libc::EBUSY));
    // Each device counts its own inodes.
    assert!((11..20).contains(&identity("/far/b").inode));
}

#[test]
fn a_rename_replaces_nothing_and_changes_the_ctime() {
    let fs = machine();
    fs.upstream().write("/in/a", b"a").unwrap();
    fs.upstream().write("/out/b", b"b").unwrap();
    let before = fs.upstream().stat("/in/a").unwrap().identity;
    let error = rename(&fs, "/in/a", "/out/b").unwrap_err();
    assert!(error.is_taken() && error.path == Path::new("/out/b"));
    assert_eq!(text(&fs, "/out/b").unwrap(), "b");
    rename(&fs, "/in/a", "/out/c").unwrap();
    let after = fs.upstream().stat("/out/c").unwrap().identity;
    assert!(after.same_but_renamed(&before) && after.ctime > before.ctime);
    assert!(rename(&fs, "/in/a", "/out/d").unwrap_err().is_not_found());
}

#[test]
fn a_full_device_takes_what_fits() {
    let fs = machine();
    fs.mount("/small").unwrap();
    fs.set_capacity("/small", Some(4 * 4096)).unwrap();
    let small = dir(&fs, "/small");
    assert_eq!(fs.free_bytes(&small).unwrap(), 3 * 4096);
    let file = create(&fs, "/small/a", &[1; 4096]);
    assert_eq!(fs.write_at(&file, &[2; 10_000], 4096).unwrap(), 8192, "a short write");
    assert_eq!(fs.free_bytes(&small).unwrap(), 0);
    assert!(fs.write_at(&file, b"x", 12_288).unwrap_err().is_no_space());
    assert!(fs.set_len(&file, 12_289).unwrap_err().is_no_space());
    assert!(fs.create_dir(&small, name("d"), 0o755).unwrap_err().is_no_space());
    assert_eq!(code(fs.upstream().write("/small/b", b"x")), Some(libc::ENOSPC));
    fs.write_at(&file, b"in place", 0).unwrap();
    fs.set_capacity("/small", Some(6 * 4096)).unwrap();
    fs.create_dir(&small, name("d"), 0o755).unwrap();
    fs.write_at(&file, b"x", 12_288).unwrap();
    assert_eq!(fs.free_bytes(&small).unwrap(), 0);
    // Space is freed with the last name and the last descriptor.
    fs.unlink(&small, name("a")).unwrap();
    assert_eq!(fs.free_bytes(&small).unwrap(), 0);
    drop(file);
    assert_eq!(fs.free_bytes(&small).unwrap(), 4 * 4096);
    fs.set_capacity("/small", None).unwrap();
    assert!(fs.free_bytes(&small).unwrap() > 1 << 40);
}

#[test]
fn a_crash_gives_back_space_and_number_of_what_it_took() {
    let fs = machine();
    fs.set_capacity("/", Some(100 * 4096)).unwrap();
    let free = fs.free_bytes(&dir(&fs, "/")).unwrap();
    let file = create(&fs, "/in/a", &[1; 8192]);
    let number = fs.stat_file(&file).unwrap().identity.inode;
    fs.sync_all(&file).unwrap();
    assert_eq!(fs.free_bytes(&dir(&fs, "/")).unwrap(), free - 8192);
    fs.crash_to(crate::fs::sim::Survival::Nothing);
    assert_eq!(fs.free_bytes(&dir(&fs, "/")).unwrap(), free);
    fs.upstream().write("/in/b", b"").unwrap();
    assert_eq!(fs.upstream().stat("/in/b").unwrap().identity.inode, number);
}

#[test]
fn only_what_is_safe_is_opened() {
    let fs = machine();
    let mut up = fs.upstream();
    up.write("/in/a", b"x").unwrap();
    up.symlink("/in/a", "/in/link").unwrap();
    up.fifo("/in/pipe").unwrap();
    assert_eq!(code(open(&fs, "/in/link", Open::Read)), Some(libc::ELOOP));
    assert_eq!(code(open(&fs, "/in/link", Open::Write)), Some(libc::ELOOP));
    assert_eq!(code(open(&fs, "/in/link", Open::Create { mode: 0o600 })), Some(libc::EEXIST));
    let pipe = open(&fs, "/in/pipe", Open::Read).unwrap();
    assert_eq!(fs.stat_file(&pipe).unwrap().kind, FileKind::Special);
    assert_eq!(code(fs.read_at(&pipe, &mut [0], 0)), Some(libc::ESPIPE));
    let input = dir(&fs, "/in");
    assert_eq!(fs.stat(&input, name("link")).unwrap().unwrap().kind, FileKind::Symlink);
    up.set_unreadable("/in/a", true).unwrap();
    assert_eq!(code(open(&fs, "/in/a", Open::Read)), Some(libc::EACCES));
    up.set_unreadable("/in/a", false).unwrap();
    let file = open(&fs, "/in/a", Open::Read).unwrap();
    assert_eq!(code(fs.write_at(&file, b"x", 0)), Some(libc::EBADF));
    assert_eq!(code(open(&fs, "/in", Open::Write)), Some(libc::EISDIR));
    assert_eq!(code(open(&fs, "/in/none", Open::Read)), Some(libc::ENOENT));
    assert_eq!(code(unlink(&fs, "/in")), Some(libc::EISDIR));
    assert_eq!(code(fs.open(&input, name("../in"), Open::Read)), Some(libc::EINVAL));
    assert_eq!(code(fs.create_dir(&input, name(&"n".repeat(256)), 0o755)), Some(libc::ENAMETOOLONG));
}

#[test]
fn directories_are_found_by_path() {
    let fs = machine();
    let mut up = fs.upstream();
    up.mkdir("/out/real").unwrap();
    up.write("/in/file", b"").unwrap();
    up.symlink("../out/real", "/in/link").unwrap();
    up.symlink("loop", "/in/loop").unwrap();
    let opened = |path: &str| fs.open_dir(Path::new(path));
    assert_eq!(fs.stat_dir(&opened("/in/link").unwrap()).unwrap(), fs.stat_dir(&dir(&fs, "/out/real")).unwrap());
    assert_eq!(fs.dir_path(&opened("/in/link").unwrap()), Path::new("/in/link"));
    assert_eq!(code(opened("/in/loop")), Some(libc::ELOOP));
    assert_eq!(code(opened("/in/file")), Some(libc::ENOTDIR));
    assert_eq!(code(opened("/in/file/deeper")), Some(libc::ENOTDIR));
    assert_eq!(code(opened("/none")), Some(libc::ENOENT));
    up.set_unreadable("/out", true).unwrap();
    assert_eq!(code(opened("/out")), Some(libc::EACCES));
}

#[test]
fn an_open_directory_stays_the_same_one() {
    let fs = machine();
    let input = dir(&fs, "/in");
    fs.upstream().rename("/in", "/elsewhere").unwrap();
    fs.create_dir(&input, name("sub"), 0o777).unwrap();
    let stat = fs.upstream().stat("/elsewhere/sub").unwrap();
    assert_eq!((stat.kind, stat.mode), (FileKind::Directory, 0o755));
    fs.upstream().remove("/elsewhere/sub").unwrap();
    fs.upstream().remove("/elsewhere").unwrap();
    assert_eq!(code(fs.create_dir(&input, name("sub"), 0o755)), Some(libc::ENOENT));
    assert_eq!(code(fs.open(&input, name("a"), Open::Create { mode: 0o600 })), Some(libc::ENOENT));
    fs.sync_dir(&input).unwrap();
}

#[test]
fn listings_have_every_name_in_no_order() {
    let fs = machine();
    let names: BTreeSet<String> = (0..20).map(|number| format!("f{number:02}")).collect();
    for name in &names {
        fs.upstream().write(format!("/in/{name}"), b"").unwrap();
    }
    let input = dir(&fs, "/in");
    let listed = || -> Vec<String> {
        fs.list(&input).unwrap().map(|entry| entry.unwrap().name.into_string().unwrap()).collect()
    };
    let (one, two) = (listed(), listed());
    assert_ne!(one, two);
    assert_eq!(one.into_iter().collect::<BTreeSet<_>>(), names);
    assert!(fs.list(&input).unwrap().all(|entry| entry.unwrap().kind == Some(FileKind::Regular)));
    fs.set_list_kinds(false);
    assert!(fs.list(&input).unwrap().all(|entry| entry.unwrap().kind.is_none()));
}

#[test]
fn time_passes_with_operations_and_when_told() {
    let fs = machine();
    let file = create(&fs, "/in/a", b"x");
    let times = || {
        let identity = fs.stat_file(&file).unwrap().identity;
        (identity.mtime, identity.ctime)
    };
    let (first, _) = times();
    fs.write_at(&file, b"y", 0).unwrap();
    let (second, changed) = times();
    assert!(second > first && changed == second);
    fs.set_meta(&file, 0o600, FileTime { sec: 1, nsec: 2 }).unwrap();
    assert!(times().0 == FileTime { sec: 1, nsec: 2 } && times().1 > changed);
    // Two writes in quick succession may have the same time.
    fs.set_granularity(Duration::from_millis(10));
    fs.write_at(&file, b"1", 0).unwrap();
    let coarse = times();
    fs.write_at(&file, b"2", 0).unwrap();
    assert_eq!((times(), coarse.0.nsec % 10_000_000), (coarse, 0));
    let now = fs.now();
    fs.advance(Duration::from_secs(3));
    assert_eq!(fs.now(), UnixMillis(now.0 + 3_000));
    fs.set_clock(UnixMillis(5));
    assert_eq!(fs.now(), UnixMillis(5));
    fs.set_tick(Duration::from_millis(1));
    fs.stat_file(&file).unwrap();
    assert_eq!(fs.now(), UnixMillis(6));
}

#[test]
fn random_bytes_follow_the_seed() {
    let draw = |seed| {
        let fs = SimFs::new(seed);
        (fs.random(), fs.random())
    };
    assert_eq!(draw(1), draw(1));
    assert!(draw(1) != draw(2) && draw(1).0 != draw(1).1);
}
