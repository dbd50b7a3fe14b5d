//! Root beside a service user, and two users of one warehouse. The tests need root, `setpriv` and, for ACLs, `setfacl`.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::harness::{BINARY, Place, csv, err, has, is_root, sh};

/// User ids that no machine that runs tests has assigned.
const ONE: u32 = 61_001;
const OTHER: u32 = 61_002;
const GROUP: u32 = 61_003;

fn can_be_tried() -> bool {
    is_root() && has("setpriv")
}

/// A copy of the program that other users may run.
fn binary(place: &Place) -> PathBuf {
    let binary = place.root.path().join("csv-ingestor");
    if !binary.exists() {
        std::fs::copy(BINARY, &binary).unwrap();
        std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::set_permissions(place.root.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    binary
}

/// Runs the program as a user, with this umask.
fn as_user(place: &Place, uid: u32, gid: u32, umask: &str, words: &[&str]) -> Output {
    let ids = [format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()];
    let mut command = Command::new("setpriv");
    command.args(ids).args(["sh", "-c", &format!("umask {umask}; exec \"$@\""), "sh"]).arg(binary(place)).args(words);
    command.output().unwrap()
}

fn run_words(place: &Place) -> Vec<String> {
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let mut words: Vec<String> = ["run", "--once", "--stability-seconds", "0"].map(str::to_owned).to_vec();
    for (option, dir) in [
        ("--input", &place.staging),
        ("--warehouse", &place.warehouse),
        ("--manifests", &place.manifests),
        ("--state-path", &place.state),
    ] {
        words.extend([option.to_owned(), path(dir)]);
    }
    words
}

#[track_caller]
fn runs_as(place: &Place, uid: u32, gid: u32, umask: &str) {
    let words = run_words(place);
    let output = as_user(place, uid, gid, umask, &words.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(output.status.success(), "as {uid}: {}", err(&output));
}

fn stage_as(place: &Place, uid: u32, name: &str, content: Vec<u8>) {
    chown(place.stage(name, content), Some(uid), Some(uid)).unwrap();
}

/// A place that a service user owns.
fn service() -> Place {
    let place = Place::new();
    binary(&place);
    for dir in [&place.staging, &place.warehouse, &place.manifests, &place.state] {
        std::fs::create_dir_all(dir).unwrap();
        chown(dir, Some(ONE), Some(ONE)).unwrap();
    }
    stage_as(&place, ONE, "a.csv", csv(1, 100));
    runs_as(&place, ONE, ONE, "022");
    place
}

/// Checks that the service user owns everything below `top`.
#[track_caller]
fn is_the_services(top: &Path) {
    for (path, _) in crate::harness::snapshot(top) {
        let stat = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!((stat.uid(), stat.gid()), (ONE, ONE), "{}", path.display());
    }
}

/// Why: an administrator ran `journal compact`, `repair` or `replay` as root beside a service of another user, which could
/// not open its own journal afterwards.
#[test]
fn what_root_makes_in_the_state_directory_is_the_services() {
    if !can_be_tried() {
        return;
    }
    let place = service();
    let sha256 = crate::harness::sha256_hex(&csv(1, 100));
    for words in [&["replay"][..], &["journal", "compact"], &["forget", &sha256], &["replay"]] {
        let output = place.subcommand(words);
        assert!(output.status.success(), "{words:?}: {}", err(&output));
        is_the_services(&place.state);
    }
    stage_as(&place, ONE, "b.csv", csv(2, 100));
    runs_as(&place, ONE, ONE, "022");

    // The journal is damaged, and repaired.
    let segments = std::fs::read_dir(&place.state).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = segments.filter(|path| path.extension().is_some_and(|it| it == "log")).collect();
    segments.sort();
    let mut bytes = std::fs::read(&segments[0]).unwrap();
    bytes[4096 + 200] ^= 0xff;
    std::fs::write(&segments[0], bytes).unwrap();
    let output = place.subcommand(&["journal", "repair"]);
    assert!(err(&output).is_empty() || output.status.success(), "{}", err(&output));
    is_the_services(&place.state);

    // It is lost, and rebuilt.
    std::fs::remove_dir_all(&place.state).unwrap();
    std::fs::create_dir(&place.state).unwrap();
    chown(&place.state, Some(ONE), Some(ONE)).unwrap();
    let (warehouse, manifests) = (place.warehouse.to_str().unwrap(), place.manifests.to_str().unwrap());
    let output = place.subcommand(&["journal", "rebuild", "--warehouse", warehouse, "--manifests", manifests]);
    assert!(output.status.success(), "{}", err(&output));
    is_the_services(&place.state);
    stage_as(&place, ONE, "c.csv", csv(3, 100));
    runs_as(&place, ONE, ONE, "022");
    assert_eq!(place.warehouse_files().len(), 3);
}

/// Why: `replay`, or a `run` by root, may create today's partition and this hour's manifest, and the service must be able to
/// write to them.
#[test]
fn what_root_makes_in_warehouse_and_manifests_is_the_services() {
    if !can_be_tried() {
        return;
    }
    let place = service();
    for dir in [&place.warehouse, &place.manifests] {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap() != ".csv-ingestor" {
                std::fs::remove_dir_all(path).unwrap();
            }
        }
    }
    stage_as(&place, ONE, "b.csv", csv(2, 100));
    place.once_ok(&[]);
    for dir in [&place.state, &place.warehouse, &place.manifests] {
        is_the_services(dir);
    }
    stage_as(&place, ONE, "c.csv", csv(3, 100));
    runs_as(&place, ONE, ONE, "022");
    assert_eq!(place.warehouse_files().len(), 2);
}

/// Why: two users with a common group share a warehouse and its manifests; with built-in modes, the second could not write
/// to the directories and manifests that the first had created.
#[test]
fn two_users_share_a_warehouse_and_its_manifests() {
    if !can_be_tried() {
        return;
    }
    let place = Place::new();
    binary(&place);
    let shared = |dir: &Path| {
        std::fs::create_dir_all(dir).unwrap();
        chown(dir, Some(ONE), Some(GROUP)).unwrap();
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o2775)).unwrap();
    };
    shared(&place.warehouse);
    shared(&place.manifests);
    let of = |uid: u32| {
        let at = |name: &str| place.root.path().join(format!("{name}-{uid}"));
        for dir in [at("staging"), at("state")] {
            std::fs::create_dir(&dir).unwrap();
            chown(&dir, Some(uid), Some(uid)).unwrap();
        }
        (at("staging"), at("state"))
    };
    let dirs = [ONE, OTHER].map(|uid| (uid, of(uid)));
    for round in 0..2_u64 {
        for (uid, (staging, state)) in &dirs {
            let path = staging.join(format!("{uid}-{round}.csv"));
            std::fs::write(&path, csv(u64::from(*uid) + 10 * round, 100)).unwrap();
            chown(&path, Some(*uid), Some(*uid)).unwrap();
            let mut words = run_words(&place);
            for (option, dir) in [("--input", staging), ("--state-path", state)] {
                let at = words.iter().position(|word| word == option).unwrap();
                words[at + 1] = dir.to_str().unwrap().to_owned();
            }
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let output = as_user(&place, *uid, GROUP, "002", &words);
            assert!(output.status.success(), "as {uid}: {}", err(&output));
            let mode = std::fs::metadata(state).unwrap().permissions().mode() & 0o777;
            assert!(mode == 0o755, "an existing directory keeps its mode: {mode:o}");
            let lock = std::fs::metadata(state.join("LOCK")).unwrap().permissions().mode() & 0o777;
            assert_eq!(lock, 0o600);
        }
    }
    assert_eq!((place.warehouse_files().len(), place.manifest_lines().len()), (4, 4));
    let private = std::fs::read_dir(place.warehouse.join(".csv-ingestor")).unwrap();
    for own in private {
        assert_eq!(own.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }
    for path in crate::harness::snapshot(&place.manifests).keys() {
        let stat = std::fs::metadata(path).unwrap();
        let wanted = if stat.is_dir() { 0o2775 } else { 0o664 };
        if !path.to_str().unwrap().contains(".csv-ingestor/") {
            assert_eq!((stat.mode() & 0o7777, stat.gid()), (wanted, GROUP), "{}", path.display());
        }
    }
}

/// Why: with the umask and default ACLs an operator controls access; both were overridden.
#[test]
fn the_umask_and_a_default_acl_are_heeded() {
    if !can_be_tried() {
        return;
    }
    let place = service();
    std::fs::remove_dir_all(&place.warehouse).unwrap();
    std::fs::remove_dir_all(&place.manifests).unwrap();
    for dir in [&place.warehouse, &place.manifests] {
        std::fs::create_dir(dir).unwrap();
        chown(dir, Some(ONE), Some(ONE)).unwrap();
    }
    stage_as(&place, ONE, "b.csv", csv(2, 100));
    let mut words = run_words(&place);
    words.push("--new-warehouse".to_owned());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let output = as_user(&place, ONE, ONE, "077", &words);
    assert!(output.status.success(), "{}", err(&output));
    for path in crate::harness::snapshot(&place.manifests).keys().filter(|path| **path != place.manifests) {
        assert_eq!(std::fs::metadata(path).unwrap().mode() & 0o077, 0, "{}", path.display());
    }
    if !has("setfacl") {
        return;
    }
    let acl = place.root.path().join("acl");
    std::fs::create_dir(&acl).unwrap();
    chown(&acl, Some(ONE), Some(ONE)).unwrap();
    let rule = format!("u:{OTHER}:rwx");
    sh("setfacl", &["-d".as_ref(), "-m".as_ref(), rule.as_ref(), acl.as_ref()]);
    let with_acl = Place { manifests: acl, ..place };
    stage_as(&with_acl, ONE, "c.csv", csv(3, 100));
    runs_as(&with_acl, ONE, ONE, "077");
    for path in crate::harness::snapshot(&with_acl.manifests).keys().filter(|path| path.ends_with("manifest.jsonl")) {
        let output = Command::new("getfacl").arg("-cn").arg(path).output().unwrap();
        let text = crate::harness::out(&output);
        assert!(text.contains(&format!("user:{OTHER}:rw")), "{text}");
    }
}
