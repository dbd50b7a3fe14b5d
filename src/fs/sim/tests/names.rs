//! Names after a power cut.

use super::*;
use crate::fs::sim::Survival;

/// The names in both directories.
fn names(fs: &SimFs) -> Vec<String> {
    let mut all = Vec::new();
    for dir in ["/in", "/out"] {
        for name in fs.upstream().list(dir).unwrap_or_default() {
            all.push(format!("{dir}/{}", name.to_str().unwrap()));
        }
    }
    all
}

fn sets(expected: &[&[&str]]) -> BTreeSet<Vec<String>> {
    expected.iter().map(|names| names.iter().map(|name| (*name).to_owned()).collect()).collect()
}

#[test]
fn names_of_one_directory_survive_each_by_itself() {
    let fs = machine();
    let _a = create(&fs, "/in/a", b"a");
    let _b = create(&fs, "/in/b", b"b");
    assert_eq!(outcomes(&fs, names), sets(&[&[], &["/in/a"], &["/in/b"], &["/in/a", "/in/b"]]));
}

#[test]
fn sync_dir_covers_its_own_names_and_no_content() {
    let fs = machine();
    let _a = create(&fs, "/in/a", b"a");
    let _b = create(&fs, "/out/b", b"b");
    sync_dir(&fs, "/in");
    assert_eq!(outcomes(&fs, names), sets(&[&["/in/a"], &["/in/a", "/out/b"]]));
    fs.crash_to(Survival::Nothing);
    assert_eq!(read(&fs, "/in/a").unwrap(), b"");
}

#[test]
fn changes_of_one_name_survive_in_order() {
    let fs = machine();
    fs.upstream().write("/in/a", b"1").unwrap();
    fs.upstream().sync();
    unlink(&fs, "/in/a").unwrap();
    fs.sync_all(&create(&fs, "/in/a", b"2")).unwrap();
    unlink(&fs, "/in/a").unwrap();
    fs.sync_all(&create(&fs, "/in/a", b"3")).unwrap();
    let left = outcomes(&fs, |fs| text(fs, "/in/a"));
    let expected = [Some("1"), None, Some("2"), Some("3")].map(|text| text.map(str::to_owned));
    assert_eq!(left, expected.into());
}

#[test]
fn an_unsynced_removal_may_be_undone() {
    let fs = machine();
    fs.upstream().write("/in/a", b"content").unwrap();
    fs.upstream().sync();
    unlink(&fs, "/in/a").unwrap();
    assert_eq!(outcomes(&fs, |fs| text(fs, "/in/a")), [None, Some("content".to_owned())].into());
    sync_dir(&fs, "/in");
    assert_eq!(outcomes(&fs, |fs| exists(fs, "/in/a")), [false].into());
}

#[test]
fn a_rename_is_one_change() {
    for (from, to) in [("/in/a", "/out/a"), ("/in/a", "/in/b")] {
        let fs = machine();
        fs.upstream().write(from, b"content").unwrap();
        fs.upstream().sync();
        rename(&fs, from, to).unwrap();
        assert_eq!(outcomes(&fs, names), sets(&[&[from], &[to]]));
        let whole = |fs: &SimFs| text(fs, from).or_else(|| text(fs, to));
        assert_eq!(outcomes(&fs, whole), [Some("content".to_owned())].into());
    }
}

#[test]
fn an_fsync_of_either_directory_takes_the_whole_rename() {
    for synced in ["/in", "/out"] {
        let fs = machine();
        fs.upstream().write("/in/a", b"content").unwrap();
        fs.upstream().sync();
        rename(&fs, "/in/a", "/out/a").unwrap();
        sync_dir(&fs, synced);
        assert_eq!(outcomes(&fs, names), sets(&[&["/out/a"]]));
    }
}

#[test]
fn a_synced_rename_takes_what_it_waits_for_with_it() {
    let fs = machine();
    fs.sync_all(&create(&fs, "/in/a", b"content")).unwrap();
    let _other = create(&fs, "/in/other", b"");
    rename(&fs, "/in/a", "/out/a").unwrap();
    sync_dir(&fs, "/out");
    // The creation of the old name was written too; another name in the same directory was not.
    assert_eq!(outcomes(&fs, names), sets(&[&["/out/a"], &["/in/other", "/out/a"]]));
}

#[test]
fn split_renames_leave_both_names_but_never_none() {
    let fs = machine();
    fs.set_split_renames(true);
    fs.upstream().write("/in/a", b"content").unwrap();
    fs.upstream().sync();
    rename(&fs, "/in/a", "/out/a").unwrap();
    assert_eq!(outcomes(&fs, names), sets(&[&["/in/a"], &["/in/a", "/out/a"], &["/out/a"]]));
    let links = |fs: &SimFs| {
        let stat = fs.upstream().stat("/out/a").ok()?;
        Some((stat.links, exists(fs, "/in/a")))
    };
    assert_eq!(outcomes(&fs, links), [None, Some((2, true)), Some((1, false))].into());

    let target = fs.fork();
    sync_dir(&target, "/out");
    assert_eq!(outcomes(&target, names), sets(&[&["/in/a", "/out/a"], &["/out/a"]]));
    let source = fs.fork();
    sync_dir(&source, "/in");
    // That wrote only the removal: a program that syncs the old directory first may lose both names.
    assert_eq!(outcomes(&source, names), sets(&[&[], &["/out/a"]]));
}

#[test]
fn split_renames_within_a_directory_stay_whole() {
    let fs = machine();
    fs.set_split_renames(true);
    fs.upstream().write("/in/a", b"").unwrap();
    fs.upstream().sync();
    rename(&fs, "/in/a", "/in/b").unwrap();
    assert_eq!(outcomes(&fs, names), sets(&[&["/in/a"], &["/in/b"]]));
}

#[test]
fn an_unsynced_directory_goes_with_all_that_is_in_it() {
    let fs = machine();
    fs.upstream().write("/in/a", b"content").unwrap();
    fs.upstream().sync();
    fs.create_dir(&dir(&fs, "/out"), name("day"), 0o755).unwrap();
    let file = create(&fs, "/out/day/b", b"synced");
    fs.sync_all(&file).unwrap();
    rename(&fs, "/in/a", "/out/day/a").unwrap();
    sync_dir(&fs, "/out/day");
    let look = |fs: &SimFs| (exists(fs, "/out/day/a"), exists(fs, "/out/day/b"), exists(fs, "/in/a"));
    assert_eq!(outcomes(&fs, look), [(false, false, false), (true, true, false)].into());
    sync_dir(&fs, "/out");
    assert_eq!(outcomes(&fs, look), [(true, true, false)].into());
}

#[test]
fn sync_fs_covers_names_and_content_of_its_device_only() {
    let fs = machine();
    fs.mount("/far").unwrap();
    let _a = create(&fs, "/in/a", b"a");
    fs.create_dir(&dir(&fs, "/out"), name("day"), 0o755).unwrap();
    let _b = create(&fs, "/out/day/b", b"b");
    let _c = create(&fs, "/far/c", b"c");
    fs.sync_fs(&dir(&fs, "/in")).unwrap();
    fs.crash_to(Survival::Nothing);
    assert_eq!((text(&fs, "/in/a").unwrap(), text(&fs, "/out/day/b").unwrap()), ("a".into(), "b".into()));
    assert!(exists(&fs, "/far") && !exists(&fs, "/far/c"));
}

#[test]
fn inode_numbers_are_reused_lowest_first() {
    let fs = machine();
    let number = |path: &str| fs.upstream().stat(path).unwrap().identity.inode;
    for path in ["/in/a", "/in/b", "/in/c"] {
        fs.upstream().write(path, b"").unwrap();
    }
    let (a, b) = (number("/in/a"), number("/in/b"));
    unlink(&fs, "/in/b").unwrap();
    unlink(&fs, "/in/a").unwrap();
    fs.upstream().write("/in/d", b"").unwrap();
    fs.upstream().write("/in/e", b"").unwrap();
    assert_eq!((number("/in/d"), number("/in/e")), (a, b));
}

#[test]
fn a_number_is_free_again_only_when_the_file_is_closed() {
    let fs = machine();
    let file = create(&fs, "/in/a", b"still here");
    let number = fs.stat_file(&file).unwrap().identity.inode;
    unlink(&fs, "/in/a").unwrap();
    fs.upstream().write("/in/b", b"").unwrap();
    assert_ne!(fs.upstream().stat("/in/b").unwrap().identity.inode, number);
    let mut buffer = [0; 10];
    assert_eq!((fs.read_at(&file, &mut buffer, 0).unwrap(), &buffer), (10, b"still here"));
    assert_eq!(fs.stat_file(&file).unwrap().links, 0);
    drop(file);
    fs.upstream().write("/in/c", b"").unwrap();
    assert_eq!(fs.upstream().stat("/in/c").unwrap().identity.inode, number);
}

#[test]
fn two_files_never_hold_one_number() {
    let fs = machine();
    fs.upstream().write("/in/a", b"old").unwrap();
    fs.upstream().sync();
    unlink(&fs, "/in/a").unwrap();
    let _file = create(&fs, "/out/b", b"new");
    // The new file has the old one's number, so it is on the disk only if the old one is not.
    assert_eq!(outcomes(&fs, names), sets(&[&["/in/a"], &[], &["/out/b"]]));
    sync_dir(&fs, "/out");
    assert_eq!(outcomes(&fs, names), sets(&[&["/out/b"]]));
}

#[test]
fn what_was_moved_out_of_a_directory_outlives_it() {
    let fs = machine();
    fs.upstream().mkdir("/in/sub").unwrap();
    fs.upstream().write("/in/sub/a", b"content").unwrap();
    fs.upstream().sync();
    rename(&fs, "/in/sub/a", "/out/a").unwrap();
    fs.upstream().remove("/in/sub").unwrap();
    let look = |fs: &SimFs| text(fs, "/in/sub/a").or_else(|| text(fs, "/out/a"));
    assert_eq!(outcomes(&fs, look), [Some("content".to_owned())].into());
}

#[test]
fn moved_directories_never_make_a_loop() {
    let fs = machine();
    fs.upstream().mkdir_all("/in/x/y").unwrap();
    fs.upstream().write("/in/x/y/a", b"content").unwrap();
    fs.upstream().sync();
    fs.upstream().rename("/in/x/y", "/out/y").unwrap();
    fs.upstream().rename("/in/x", "/out/y/x").unwrap();
    assert_eq!(code(fs.upstream().rename("/out/y", "/out/y/x/y")), Some(libc::EINVAL));
    let look = |fs: &SimFs| text(fs, "/in/x/y/a").or_else(|| text(fs, "/out/y/a"));
    assert_eq!(outcomes(&fs, look), [Some("content".to_owned())].into());
}

#[test]
fn replacing_leaves_the_old_file_or_the_new_one() {
    let fs = machine();
    fs.upstream().write("/in/a", b"old").unwrap();
    fs.upstream().write("/in/tmp", b"new").unwrap();
    fs.upstream().sync();
    fs.upstream().replace("/in/tmp", "/in/a").unwrap();
    let look = |fs: &SimFs| (text(fs, "/in/a").unwrap(), exists(fs, "/in/tmp"));
    assert_eq!(outcomes(&fs, look), [("old".to_owned(), true), ("new".to_owned(), false)].into());
}
