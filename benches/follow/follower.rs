//! A follower, as a process.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::daemon::PROGRAM;
use crate::process::{Ended, Process};

/// Bytes that are read from it at once.
const READ_BYTES: usize = 1 << 20;

/// The command, which prints to standard output.
pub fn command(manifests: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["follow", "--manifests"]).arg(manifests).args(options);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command
}

/// Runs it to its end, and reads what it prints. Returns how many lines there were.
pub fn run(manifests: &Path, options: &[&str]) -> (u64, Ended) {
    let mut process = Process::start(command(manifests, options).stdout(Stdio::piped())).unwrap();
    let mut output = process.stdout.take().unwrap();
    let (mut lines, mut buffer) = (0, vec![0; READ_BYTES]);
    loop {
        let read = output.read(&mut buffer).unwrap();
        if read == 0 {
            break;
        }
        lines += buffer[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
    }
    let ended = process.wait();
    assert_eq!(ended.code, Some(0), "follow {options:?}");
    (lines, ended)
}
