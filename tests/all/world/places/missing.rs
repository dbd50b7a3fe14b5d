//! A warehouse or manifests that are not mounted, or are at a path where they must not be.

use std::path::Path;

use crate::harness::{Place, csv, err, has, is_root, sh};

/// A place with an ingested file, and a new file in staging.
fn used() -> Place {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    place.once_ok(&[]);
    place.stage("b.csv", csv(2, 100));
    place
}

fn refused(place: &Place, dir: &Path) {
    for more in [&[][..], &["--dry-run"], &["--duplicates", "remove"]] {
        let output = place.once(more);
        assert_eq!(output.status.code(), Some(2), "{more:?}: {}", err(&output));
        assert!(err(&output).contains(dir.to_str().unwrap()), "{}", err(&output));
        assert!(err(&output).contains("--new-warehouse"), "{}", err(&output));
    }
    for words in [&["replay"][..], &["replay", "--dry-run"]] {
        let output = place.subcommand(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", err(&output));
    }
    assert_eq!(place.staged_names(), ["b.csv"]);
}

/// Why: the warehouse's disk was not mounted, and files were moved below the mount point, where the mount hides them.
#[test]
fn a_mount_point_without_its_disk_is_refused() {
    for is_there in [true, false] {
        let place = used();
        for dir in [&place.warehouse, &place.manifests] {
            let away = dir.with_extension("away");
            std::fs::rename(dir, &away).unwrap();
            if is_there {
                std::fs::create_dir(dir).unwrap();
            }
            refused(&place, dir);
            assert!(!is_there || std::fs::read_dir(dir).unwrap().next().is_none(), "nothing was created below it");
            if is_there {
                std::fs::remove_dir(dir).unwrap();
            }
            std::fs::rename(&away, dir).unwrap();
        }
        place.once_ok(&[]);
        assert_eq!(place.check_consistent(), 2);
    }
}

/// Why: as above, with a real disk.
#[test]
fn a_disk_that_is_not_mounted_is_missed() {
    if !is_root() || !has("mount") {
        return;
    }
    let place = Place::new();
    std::fs::create_dir(&place.warehouse).unwrap();
    let mount = || sh("mount", &["-t".as_ref(), "tmpfs".as_ref(), "tmpfs".as_ref(), place.warehouse.as_ref()]);
    let unmount = || sh("umount", &[place.warehouse.as_ref()]);
    mount();
    place.stage("a.csv", csv(1, 100));
    place.once_ok(&[]);
    // A copy of its files while it is unmounted: a tmpfs would lose them.
    unmount();
    place.stage("b.csv", csv(2, 100));
    refused(&place, &place.warehouse);
    place.once_ok(&["--new-warehouse"]);
    place.once_ok(&[]);
    assert_eq!(place.warehouse_files().len(), 1);
}

/// Why: a warehouse may be replaced on purpose; the operator confirms it once.
#[test]
fn a_new_warehouse_is_accepted_once() {
    let place = used();
    for dir in [&place.warehouse, &place.manifests] {
        std::fs::remove_dir_all(dir).unwrap();
    }
    refused(&place, &place.warehouse);
    assert!(place.subcommand(&["replay", "--new-warehouse"]).status.success());
    place.once_ok(&[]);
    assert_eq!(place.warehouse_files().len(), 1);
    std::fs::remove_dir_all(&place.manifests).unwrap();
    place.stage("b.csv", csv(3, 100));
    refused(&place, &place.manifests);
    place.once_ok(&["--new-warehouse"]);
    place.once_ok(&[]);
}

/// Why: continuing with other directories is a change of settings, and must still work.
#[test]
fn another_path_is_a_new_place() {
    let mut place = used();
    let at = |name: &str| place.root.path().join(name);
    let (warehouse, manifests) = (at("warehouse2"), at("manifests2"));
    (place.warehouse, place.manifests) = (warehouse, manifests);
    place.once_ok(&[]);
    assert_eq!(place.warehouse_files().len(), 1);
    std::fs::remove_dir_all(&place.manifests).unwrap();
    assert_eq!(place.once(&[]).status.code(), Some(2));
    std::fs::remove_dir_all(&place.warehouse).unwrap();
    assert_eq!(place.once(&[]).status.code(), Some(2));
}

/// Why: journals of version 0.1 have marked the warehouse, but not the manifests: an upgrade must not be refused, and makes
/// the mark.
#[test]
fn manifests_that_were_never_marked_are_marked() {
    let place = used();
    std::fs::remove_dir_all(place.manifests.join(".csv-ingestor")).unwrap();
    let private = std::fs::read_dir(place.warehouse.join(".csv-ingestor")).unwrap().map(|entry| entry.unwrap().path());
    let marked = private.filter(|path| path.to_str().unwrap().ends_with("-manifests"));
    marked.for_each(|path| std::fs::remove_dir(path).unwrap());
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 2);
    place.stage("b.csv", csv(3, 100));
    let away = place.manifests.with_extension("away");
    std::fs::rename(&place.manifests, &away).unwrap();
    refused(&place, &place.manifests);
}

/// Why: readers of `WAREHOUSE/**/*.csv` take a half-written file in `WAREHOUSE/staging` for a whole one.
#[test]
fn staging_inside_warehouse_or_manifests_is_refused() {
    let place = Place::new();
    let (root, link) = (place.root.path(), place.root.path().join("link"));
    std::os::unix::fs::symlink(&place.staging, &link).unwrap();
    let run = |warehouse: &Path, manifests: &Path, input: &Path| {
        let mut command = crate::harness::bare(&["run", "--once", "--stability-seconds", "0"]);
        for (option, path) in
            [("--input", input), ("--warehouse", warehouse), ("--manifests", manifests), ("--state-path", &place.state)]
        {
            command.arg(option).arg(path);
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", err(&output));
        assert!(err(&output).contains("--input"), "{}", err(&output));
        assert!(!place.state.exists(), "something was created");
    };
    let (other, around) = (root.join("other"), root.join("around"));
    std::os::unix::fs::symlink(root, &around).unwrap();
    std::fs::create_dir_all(around.join("staging/deep")).unwrap();
    for input in [&place.staging, &link, &place.staging.join("deep")] {
        for outer in [&place.staging, &link, &around.join("staging")] {
            run(outer, &other, input);
            run(&other, outer, input);
        }
    }
    // The warehouse is the parent directory.
    let top = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(top.path().join("data/in")).unwrap();
    std::os::unix::fs::symlink(top.path().join("data"), top.path().join("link")).unwrap();
    for outer in ["data", "link"] {
        run(&top.path().join(outer), &other, &top.path().join("data/in"));
        run(&other, &top.path().join(outer), &top.path().join("link/in"));
    }
    if is_root() && has("mount") {
        let bound = top.path().join("bound");
        std::fs::create_dir(&bound).unwrap();
        for (source, input) in [("data", bound.join("in")), ("data/in", bound.clone())] {
            sh("mount", &["--bind".as_ref(), top.path().join(source).as_ref(), bound.as_ref()]);
            let checked = std::panic::catch_unwind(|| run(&top.path().join("data"), &other, &input));
            sh("umount", &[bound.as_ref()]);
            assert!(checked.is_ok(), "{source} is mounted a second time");
        }
    }
}
