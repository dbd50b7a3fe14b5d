//! Unusual file systems, names and files, with the real program.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Place, csv, err, has, is_root, json_lines, out, sha256_hex, skip};

/// A mount; unmounted when dropped.
struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// A file as a loop device; detached when dropped.
struct LoopDevice(String);

impl LoopDevice {
    /// None if that cannot be done.
    fn attach(image: &Path) -> Option<LoopDevice> {
        if !is_root() || !has("losetup") {
            return None;
        }
        let made = Command::new("losetup").args(["--find", "--show"]).arg(image).output().unwrap();
        if !made.status.success() {
            skip(&format!("losetup: {}", String::from_utf8_lossy(&made.stderr)));
            return None;
        }
        Some(LoopDevice(String::from_utf8(made.stdout).unwrap().trim().to_owned()))
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).output();
    }
}

/// Runs a program that mounts a file system at `at`; None if that cannot be done.
fn mount(at: &Path, program: &str, arguments: &[&str]) -> Option<Mount> {
    std::fs::create_dir_all(at).unwrap();
    if !is_root() || !has(program) {
        return None;
    }
    let output = Command::new(program).args(arguments).output().unwrap();
    if !output.status.success() {
        skip(&format!("{program}: {}", String::from_utf8_lossy(&output.stderr)));
        return None;
    }
    Some(Mount(at.to_path_buf()))
}

/// Puts all of the place's directories below this one.
fn below(place: &mut Place, top: &Path) {
    (place.staging, place.warehouse, place.manifests) = (top.join("staging"), top.join("wh"), top.join("man"));
    std::fs::create_dir(&place.staging).unwrap();
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Checks that a few files, one of them sent twice, are ingested without any failure.
#[track_caller]
fn check_ingests(place: &Place) {
    for n in 0..4 {
        place.stage(format!("{n}.csv"), csv(n, 1_000));
    }
    place.stage("again.csv", csv(0, 1_000));
    let output = place.once_ok(&["--duplicates", "remove"]);
    let log = json_lines(&err(&output));
    assert!(!log.iter().any(|line| line["event"] == "file_failed"), "{}", err(&output));
    place.once_ok(&["--duplicates", "remove"]);
    assert_eq!(place.check_consistent(), 4);
    assert_eq!(place.staged_names(), Vec::<String>::new());
    place.stage("late.csv", csv(9, 1_000));
    place.once_ok(&["--duplicates", "remove"]);
    assert_eq!(place.check_consistent(), 5);
}

/// Why: it has no rename that replaces nothing, and reports two links of a file with one. Each file was moved, put back and
/// moved again, for ever, and nothing was logged.
#[test]
fn bindfs() {
    let mut place = Place::new();
    let (source, top) = (place.root.path().join("source"), place.root.path().join("mount"));
    std::fs::create_dir(&source).unwrap();
    let Some(_mount) = mount(&top, "bindfs", &[text(&source), text(&top)]) else { return };
    below(&mut place, &top);
    check_ingests(&place);
}

/// The same, with a warehouse on another file system: each source is renamed to a temporary name before it is removed.
#[test]
fn bindfs_to_another_file_system() {
    let mut place = Place::new();
    let (source, top) = (place.root.path().join("source"), place.root.path().join("mount"));
    std::fs::create_dir(&source).unwrap();
    let Some(_mount) = mount(&top, "bindfs", &[text(&source), text(&top)]) else { return };
    place.staging = top.join("staging");
    std::fs::create_dir(&place.staging).unwrap();
    check_ingests(&place);
}

/// Why: it makes up its inode numbers.
#[test]
fn mergerfs() {
    let mut place = Place::new();
    let branches = ["one", "two"].map(|name| place.root.path().join(name));
    branches.iter().for_each(|branch| std::fs::create_dir(branch).unwrap());
    let (both, top) = (format!("{}:{}", branches[0].display(), branches[1].display()), place.root.path().join("mount"));
    // By default it takes no new file on a branch with less than 4 GiB free.
    let Some(_mount) = mount(&top, "mergerfs", &["-o", "minfreespace=1M", &both, text(&top)]) else { return };
    below(&mut place, &top);
    // The journal, too: it renames its segments, and checks that they still have their names.
    place.state = top.join("state");
    check_ingests(&place);
}

/// Mounts an NTFS image.
fn ntfs(place: &Place, options: &str) -> Option<Mount> {
    let (image, top) = (place.root.path().join("image"), place.root.path().join("ntfs"));
    std::fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
    if !has("mkntfs") {
        return None;
    }
    let made = Command::new("mkntfs").args(["-Q", "-F", "-q"]).arg(&image).output().unwrap();
    assert!(made.status.success());
    mount(&top, "ntfs-3g", &[text(&image), text(&top), "-o", options])
}

/// Everything is on one such file system.
#[test]
fn ntfs_3g() {
    let mut place = Place::new();
    let Some(mount) = ntfs(&place, "windows_names") else { return };
    below(&mut place, &mount.0.clone());
    check_ingests(&place);
}

/// Why: one file whose name the warehouse does not accept ended the process with EINVAL, and every later start.
#[test]
fn a_name_that_the_warehouse_does_not_take() {
    let mut place = Place::new();
    let Some(mount) = ntfs(&place, "windows_names") else { return };
    place.warehouse = mount.0.join("wh");
    place.stage("good.csv", csv(1, 100));
    let poison = place.stage("orders_10:30.csv", csv(2, 100));
    let output = place.once(&[]);
    let failures: Vec<_> = json_lines(&err(&output)).into_iter().filter(|it| it["event"] == "file_failed").collect();
    assert_eq!(failures[0]["path"], text(&poison), "{}", err(&output));
    assert!(failures[0]["retry_in"].is_string());
    // A start finds it in the journal, also after a kill.
    place.stage("later.csv", csv(3, 100));
    place.once(&[]);
    assert_eq!(place.check_consistent(), 2);
    assert!(place.subcommand(&["replay"]).status.success());
    std::fs::rename(&poison, place.staging.join("orders_1030.csv")).unwrap();
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 3);
    assert_eq!(place.staged_names(), Vec::<String>::new());
}

/// Why: FAT in user space has neither a rename that replaces nothing nor hard links, so no file was ever ingested, and each
/// failed by itself. It is refused, with the reason.
#[test]
fn a_file_system_that_lacks_what_is_needed_is_refused() {
    let mut place = Place::new();
    let (image, top) = (place.root.path().join("image"), place.root.path().join("fat"));
    std::fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
    if !has("mkfs.exfat") {
        return;
    }
    assert!(Command::new("mkfs.exfat").arg(&image).output().unwrap().status.success());
    // It can only mount a device.
    let Some(device) = LoopDevice::attach(&image) else { return };
    let Some(_mount) = mount(&top, "mount.exfat-fuse", &[&device.0, text(&top)]) else { return };
    place.warehouse = top.join("wh");
    place.stage("a.csv", csv(1, 100));
    let output = place.once(&[]);
    assert_eq!(output.status.code(), Some(2), "{}", err(&output));
    assert!(
        err(&output).contains("RENAME_NOREPLACE") && err(&output).contains(text(&place.warehouse)),
        "{}",
        err(&output)
    );
    assert_eq!(place.staged_names(), ["a.csv"]);
}

/// The path of the file in the warehouse.
fn published(place: &Place) -> PathBuf {
    place.warehouse_files().into_keys().next().unwrap()
}

/// Why: an upstream was asked to send a damaged file again and sent the only good copy, and `--duplicates remove` deleted
/// it, because the warehouse had a file of that size.
#[test]
fn a_duplicate_of_a_damaged_file_stays() {
    type Harm = fn(&Path);
    let overwrite: Harm = |path| {
        let (reference, mut content) = (path.with_extension("reference"), std::fs::read(path).unwrap());
        std::fs::write(&reference, "").unwrap();
        let touch = |from: &Path, to: &Path| {
            assert!(Command::new("touch").arg("-r").arg(from).arg(to).status().unwrap().success());
        };
        touch(path, &reference);
        content[3] ^= 1;
        std::fs::write(path, content).unwrap();
        touch(&reference, path);
        std::fs::remove_file(reference).unwrap();
    };
    let replace: Harm = |path| {
        let other = path.with_extension("other");
        std::fs::write(&other, csv(7, 100)).unwrap();
        std::fs::rename(other, path).unwrap();
    };
    let truncate: Harm = |path| std::fs::File::options().write(true).open(path).unwrap().set_len(5).unwrap();
    let remove: Harm = |path| std::fs::remove_file(path).unwrap();
    let replace_by_directory: Harm = |path| {
        std::fs::remove_file(path).unwrap();
        std::fs::create_dir(path).unwrap();
    };
    let harms = [overwrite, replace, truncate, remove, replace_by_directory].into_iter().enumerate();
    for ((number, harm), moves) in harms.flat_map(|harm| [(harm, false), (harm, true)]) {
        let place = Place::new();
        let elsewhere = place.root.path().join("duplicates");
        let moving = ["--duplicates", "move", "--duplicates-dir", text(&elsewhere)];
        place.stage("a.csv", csv(1, 100));
        place.once_ok(&[]);
        harm(&published(&place));
        let again = place.stage("a.csv", csv(1, 100));
        let output = place.once_ok(if moves { &moving } else { &["--duplicates", "remove"] });
        assert_eq!(std::fs::read(&again).unwrap(), csv(1, 100), "harm {number}, moves: {moves}");
        let log = json_lines(&err(&output));
        let event = log.iter().find(|line| line["event"] == "original_damaged").expect("original_damaged");
        assert_eq!((&event["level"], &event["path"]), (&"warn".into(), &text(&again).into()), "{event}");
        assert!(event["original"].as_str().unwrap().ends_with("/a.csv") && event["reason"].is_string(), "{event}");
        // `explain` does not give --duplicates keep as the reason.
        let explained = out(&place.subcommand(&["explain", text(&again)]));
        assert!(explained.contains("DUPLICATE") && explained.contains("original_damaged"), "{explained}");
    }
}

/// Why: an operator who finds a file `altered` must know how to repair it, and that must work.
#[test]
fn a_damaged_file_is_mended_by_forgetting_it() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    place.once_ok(&[]);
    let damaged = published(&place);
    std::fs::write(&damaged, csv(7, 100)).unwrap();
    place.stage("a.csv", csv(1, 100));
    place.once_ok(&["--duplicates", "remove"]);
    std::fs::rename(&damaged, place.root.path().join("damaged.csv")).unwrap();
    assert!(place.subcommand(&["forget", &sha256_hex(&csv(1, 100))]).status.success());
    place.once_ok(&["--duplicates", "remove"]);
    assert_eq!(std::fs::read(&damaged).unwrap(), csv(1, 100));
    assert_eq!(place.staged_names(), Vec::<String>::new());
}

/// Why: a backup that makes hard links, or a chmod, changes the ctime; then the content is read once, and duplicates are
/// removed.
#[test]
fn a_duplicate_of_a_touched_file_goes() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    place.once_ok(&[]);
    std::fs::set_permissions(published(&place), std::fs::Permissions::from_mode(0o640)).unwrap();
    for name in ["b.csv", "c.csv"] {
        place.stage(name, csv(1, 100));
    }
    place.once_ok(&["--duplicates", "remove"]);
    assert_eq!(place.staged_names(), Vec::<String>::new());
    assert_eq!(place.check_consistent(), 1);
}

/// Why: the ingestor owns a copy. With the setuid bit of its source, it would run with the ingestor's rights.
#[test]
fn copies_have_no_setuid_bits() {
    let Some((place, _other)) = Place::across_file_systems() else { return };
    for (name, mode) in [("u.csv", 0o4755), ("g.csv", 0o2755), ("t.csv", 0o1755)] {
        let path = place.stage(name, csv(u64::from(mode), 100));
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    place.once_ok(&[]);
    for path in place.warehouse_files().keys() {
        assert_eq!(std::fs::metadata(path).unwrap().mode() & 0o7777, 0o755, "{}", path.display());
    }
}

/// The same if a file is copied within one file system because of a second hard link. A renamed file keeps its owner's mode.
#[test]
fn linked_copies_have_no_setuid_bits() {
    let place = Place::new();
    let set = |path: &Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o4755)).unwrap();
    let linked = place.stage("linked.csv", csv(1, 100));
    set(&linked);
    set(&place.stage("renamed.csv", csv(2, 100)));
    std::fs::hard_link(&linked, place.root.path().join("second")).unwrap();
    place.once_ok(&[]);
    let modes: Vec<_> =
        place.warehouse_files().keys().map(|it| std::fs::metadata(it).unwrap().mode() & 0o7777).collect();
    assert_eq!(modes, [0o755, 0o4755]);
}

/// Why: the sixth file with one name and content on one day was never ingested: all names with its hash were taken by its
/// predecessors, which had been forgotten.
#[test]
fn one_content_of_one_name_comes_many_times() {
    let place = Place::new();
    for _ in 0..9 {
        place.stage("a.csv", csv(1, 100));
        place.once_ok(&[]);
        assert_eq!(place.staged_names(), Vec::<String>::new());
        assert!(place.subcommand(&["forget", &sha256_hex(&csv(1, 100))]).status.success());
    }
    assert_eq!((place.manifest_lines().len(), place.warehouse_files().len()), (9, 9));
}
