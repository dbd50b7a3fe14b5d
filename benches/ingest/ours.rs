//! The ingestor, as users run it: with a log in a file on the same disk.

use std::fs::File;
use std::process::{Command, Stdio};

use crate::daemon::{self, Daemon, PROGRAM};
use crate::place::Place;
use crate::process::Ended;

/// The command with the options that all uses have in common. The log is not redirected yet.
pub fn command(place: &Place) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("--input").arg(&place.staging).arg("--warehouse").arg(place.warehouse());
    command.arg("--manifests").arg(place.manifests()).arg("--state-path").arg(place.state());
    command.args(["--log-level", "info"]).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Ingests the files that are complete at first sight, and ends.
pub fn once(place: &Place) -> Command {
    let mut command = command(place);
    command.args(["--once", "--stability-seconds", "0"]).stderr(File::create(place.log()).unwrap());
    command
}

/// Runs a command to its end, and fails unless the exit code is 0.
pub fn run(command: &mut Command, place: &Place) -> Ended {
    daemon::run(command, &place.log())
}

/// Starts the ingestor with additional options, and waits until it is ready.
pub fn start(place: &Place, options: &[&str]) -> Daemon {
    Daemon::spawn(command(place).args(options), &place.log())
}
