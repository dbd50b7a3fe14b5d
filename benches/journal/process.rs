//! Processes: their use of resources, and children that measure themselves.

use std::fs;
use std::path::Path;

/// The first argument of a child.
pub const CHILD: &str = "--child";

/// A number of kB in `/proc/self/status`, in bytes.
pub fn status_bytes(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// The processor time of this thread: it does not include the use by other programs on this machine.
pub fn processor_seconds() -> f64 {
    let nanoseconds = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    nanoseconds.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// Runs this program again, as a child that measures itself; returns the numbers that it prints.
pub fn child_numbers(command: &mut std::process::Command, what: &str, path: &Path) -> Result<Vec<u64>, String> {
    let output = command.args([CHILD, what]).arg(path).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(said.lines().last().unwrap_or("it failed").to_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_whitespace().map(|number| number.parse().unwrap()).collect())
}
