//! Checks that the run with the fault ended in one of the documented ways.

use super::case::{Fault, Place};
use super::trial::{Trial, read};

impl Trial<'_> {
    /// True if the fault struck.
    pub fn judge_ending(&mut self) -> bool {
        let status = self.status;
        if self.case.fault == Fault::Kill {
            match status {
                137 => return true,
                0 | 6 => self.must(self.is_through(), format!("exit code {status} without a kill")),
                _ => self.wrong(format!("exit code {status} instead of a kill")),
            }
            return false;
        }
        let trace = read(&self.trace());
        let reached = trace.lines().any(|line| is_struck(line, &self.case.call));
        self.must(!self.log().contains("panicked"), "a panic");
        match status {
            0 => {}
            // One file was not ingested, because of the fault or because it is malformed.
            6 => self.must(reached || self.is_through(), "exit code 6 without a fault"),
            1 => {
                self.must(reached, "exit code 1 without a fault");
                let place = self.case.combination.place;
                // These three print a message instead of an event.
                let is_command = matches!(place, Place::Compact | Place::Listing | Place::Garbled);
                self.must(is_command || self.logged("failed"), "exit code 1, and the log does not say why");
            }
            // It was about to end because of the fault when SIGTERM came, and treated it as the second signal.
            130 if self.case.combination.place.is_thread() => self.must(reached, "exit code 130 without a fault"),
            _ => self.wrong(format!("exit code {status}")),
        }
        if self.case.fault == Fault::Enospc && reached {
            self.judge_full_disk(&trace);
        }
        reached
    }

    /// A daemon waits for room and continues by itself. Only a sync that reports a full disk ends it: data written before
    /// may be lost, so the next start has to check.
    fn judge_full_disk(&mut self, trace: &str) {
        let is_sync = matches!(self.case.call.as_str(), "fsync" | "fdatasync" | "syncfs");
        if is_sync || !self.case.combination.place.is_thread() || trace.lines().any(may_be_left_out) {
            return;
        }
        self.must(self.status == 0, format!("a full disk ended the daemon: exit code {}", self.status));
        // A file for which quarantine has no room stays in staging, and holds up nothing.
        // The index of lines is not waited for: without room, it lacks an entry.
        let is_said = self.logged("disk_full")
            || self.logged("line_index_failed")
            || self.log().contains("not moved to quarantine");
        self.must(is_said, "a full disk that the log does not report");
    }
}

const INJECTED: &str = "INJECTED";

/// True if the fault was injected into this call. A variant that makes other calls fail always does not count.
fn is_struck(line: &str, call: &str) -> bool {
    let begins = line.starts_with(&format!("{call}(")) || line.contains(&format!(" {call}("));
    (begins || line.contains(&format!("{call} resumed>"))) && line.contains(INJECTED)
}

/// Calls that no promise depends on may fail silently: those that write a mark in the journal (a frame of another kind than
/// the first), and that remove the copy of a duplicate at once.
fn may_be_left_out(line: &str) -> bool {
    // The beginning of a frame, as strace prints it.
    const FRAME: &str = "CSVF\\1\\";
    let Some((call, _)) = line.split_once(INJECTED) else { return false };
    let is_mark = call.split_once(FRAME).is_some_and(|(_, kind)| !kind.starts_with('1'));
    is_mark || call.contains(".copy\", 0)")
}
