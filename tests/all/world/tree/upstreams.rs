//! Real programs that send whole directories.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{WATCHING, put, staged, subdirs};
use crate::harness::{Place, has, sh, skip};

/// Twelve files in five directories below `source`.
fn source(place: &Place) -> PathBuf {
    let source = place.root.path().join("source");
    for (seed, dir) in (1..).zip([".", "north", "north/2026/11", "south and east"]) {
        for number in 0..3 {
            put(&source.join(dir), &format!("{number}.csv"), seed * 10 + number);
        }
    }
    source
}

/// Waits until all files of `source` are ingested, and checks them and their lines.
#[track_caller]
fn check(place: &Place, daemon: crate::harness::Daemon, source: &Path) {
    let mut expected = Vec::new();
    let mut dirs = vec![source.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => dirs.push(path),
                false => expected.push(dir.strip_prefix(source).unwrap().to_string_lossy().into_owned()),
            }
        }
    }
    expected.sort();
    daemon.wait_for("file_ingested", expected.len());
    assert!(daemon.stop().success());
    assert_eq!(subdirs(place), expected);
    assert_eq!(place.check_consistent(), expected.len());
    assert_eq!(staged(place), Vec::<String>::new());
    assert!(place.staging.join("north/2026/11").is_dir(), "upstream's directories stay");
}

/// rsync makes the directories first, and then writes hidden temporary files in them.
#[test]
fn rsync_sends_a_tree() {
    if !has("rsync") {
        return;
    }
    let place = Place::new();
    let source = source(&place);
    let daemon = place.start(WATCHING);
    daemon.wait_started();
    let from = format!("{}/", source.display());
    sh("rsync", &["-rt".as_ref(), OsStr::new(&from), place.staging.as_os_str()]);
    check(&place, daemon, &source);
}

/// The SFTP server makes directories and writes files under their final names.
#[test]
fn sftp_makes_directories() {
    let servers = ["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/libexec/sftp-server"];
    let Some(server) = servers.into_iter().find(|server| Path::new(server).exists()) else {
        return skip("there is no sftp-server");
    };
    if !has("sftp") {
        return;
    }
    let place = Place::new();
    let source = source(&place);
    let batch = place.root.path().join("batch");
    let commands = format!("put -R {}/* {}\n", source.display(), place.staging.display());
    std::fs::write(&batch, commands).unwrap();
    let daemon = place.start(WATCHING);
    daemon.wait_started();
    let mut sftp = Command::new("sftp");
    sftp.args(["-q", "-D", server, "-b"]).arg(&batch).stdout(Stdio::null());
    assert!(sftp.status().unwrap().success());
    check(&place, daemon, &source);
}

/// unzip writes files under their final names, and makes directories in between.
#[test]
fn unzip_into_staging() {
    if !has("unzip") || !has("python3") {
        return;
    }
    let place = Place::new();
    let source = source(&place);
    let archive = place.root.path().join("tree.zip");
    let script = "import shutil, sys; shutil.make_archive(sys.argv[1][:-4], 'zip', sys.argv[2])";
    sh("python3", &["-c".as_ref(), script.as_ref(), archive.as_ref(), source.as_ref()]);
    let daemon = place.start(WATCHING);
    daemon.wait_started();
    sh("unzip", &["-q".as_ref(), archive.as_ref(), "-d".as_ref(), place.staging.as_ref()]);
    check(&place, daemon, &source);
}

/// Why: `mv` of a directory is one event, however many files are in it.
#[test]
fn a_directory_is_moved_in_whole() {
    let place = Place::new();
    let source = source(&place);
    let copy = place.root.path().join("copy");
    sh("cp", &["-r".as_ref(), source.as_ref(), copy.as_ref()]);
    let daemon = place.start(WATCHING);
    daemon.wait_started();
    for entry in std::fs::read_dir(&copy).unwrap() {
        let entry = entry.unwrap();
        std::fs::rename(entry.path(), place.staging.join(entry.file_name())).unwrap();
    }
    check(&place, daemon, &source);
}
