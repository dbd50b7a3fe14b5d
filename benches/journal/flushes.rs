//! The cost of a commit for the device: flushes, counted by the kernel on a separate ext4 file system.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use crate::data;
use crate::disk::Scratch;
use crate::ours::Ours;
use crate::process::child_numbers;
use crate::side::Side;
use crate::sqlite::Sqlite;
use crate::table::{Line, Table};

/// This program's argument.
pub const CHILD: &str = "flushes";

const IMAGE_BYTES: u64 = 256 << 20;
/// Files, of four commits each: they fit into one segment of 1 MiB.
const FILES: u64 = 50;
/// Field of `/sys/block/*/stat`, counted from 0: flush requests completed (Documentation/block/stat.rst).
const STAT_FLUSHES: usize = 15;
/// Longer than the measurement takes: otherwise ext4's own commit, every 5 s, would be counted as well.
const EXT4_COMMIT_SECONDS: u32 = 300;

pub fn measure(scratch: &Scratch, table: &mut Table) {
    let commits = FILES * data::STEPS.len() as u64;
    let what = format!("device flushes for {commits} commits, ext4");
    if !rustix::process::geteuid().is_root() {
        return table.add(Line::skipped(what, "mounting takes root"));
    }
    let dir = scratch.path("flushes");
    fs::create_dir(&dir).unwrap();
    // In a separate mount namespace: however the child ends, its mount and loop device end as well.
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]).arg(std::env::current_exe().unwrap());
    match child_numbers(&mut command, CHILD, &dir) {
        Err(why) => table.add(Line::skipped(what, &why)),
        Ok(flushes) => table.add(
            Line::new(what, flushes[0].to_string())
                .other(format!("SQLite {} (its log is new)", flushes[1]))
                .ratio(flushes[0] as f64 / flushes[1] as f64)
                .target(format!("= {commits}"), flushes[0] == commits),
        ),
    }
}

/// Makes a file system in a file, mounts it, and prints the flushes of both sides.
pub fn child(dir: &Path) {
    let (image, mount) = (dir.join("image"), dir.join("mount"));
    File::create(&image).unwrap().set_len(IMAGE_BYTES).unwrap();
    fs::create_dir(&mount).unwrap();
    run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image));
    let options = format!("loop,commit={EXT4_COMMIT_SECONDS}");
    run(Command::new("mount").args(["-t", "ext4", "-o", &options]).arg(&image).arg(&mount));
    let device = loop_device(&mount);

    let mut ours = Ours::open(&mount.join("state"));
    // The records written so far go into the first segment: the second has room for all others.
    ours.journal.seal().unwrap();
    let segment = ours.journal.active_first_lsn();
    let our_flushes = flushes(&mut ours, &device);
    assert_eq!(ours.journal.active_first_lsn(), segment, "all commits went to one segment");
    ours.shut_down();
    let mut sqlite = Sqlite::open(&mount.join("files.db"));
    let sqlite_flushes = flushes(&mut sqlite, &device);
    drop(sqlite);
    println!("{our_flushes} {sqlite_flushes}");
    run(Command::new("umount").arg(&mount));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        eprintln!("{command:?}: {}", said.lines().next().unwrap_or("it failed"));
        std::process::exit(1);
    }
}

/// The device's name in `/sys/block`.
fn loop_device(mount: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let line = mounts.lines().find(|line| line.split(' ').nth(1).is_some_and(|point| Path::new(point) == mount));
    line.unwrap().split(' ').next().unwrap().trim_start_matches("/dev/").to_owned()
}

fn flushes(side: &mut dyn Side, device: &str) -> u64 {
    let count = || {
        let stat = fs::read_to_string(format!("/sys/block/{device}/stat")).unwrap();
        stat.split_whitespace().nth(STAT_FLUSHES).unwrap().parse::<u64>().unwrap()
    };
    rustix::fs::sync();
    let before = count();
    for number in 0..FILES {
        let file = data::file(number);
        data::STEPS.into_iter().for_each(|step| side.transition(&file, step));
    }
    count() - before
}
