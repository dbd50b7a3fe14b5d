//! Whether the run that was hurt has ended in one of the ways that are documented.

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
            // One file did not come in, for the fault or because it is malformed.
            6 => self.must(reached || self.is_through(), "exit code 6 without a fault"),
            1 => {
                self.must(reached, "exit code 1 without a fault");
                let place = self.case.combination.place;
                // These three say it in words.
                let is_command = matches!(place, Place::Compact | Place::Listing | Place::Garbled);
                self.must(is_command || self.logged("failed"), "exit code 1, and no word about it");
            }
            // It was about to end for the fault when SIGTERM came, which it takes for a second one then.
            130 if self.case.combination.place.is_thread() => self.must(reached, "exit code 130 without a fault"),
            _ => self.wrong(format!("exit code {status}")),
        }
        if self.case.fault == Fault::Enospc && reached {
            self.judge_full_disk(&trace);
        }
        reached
    }

    /// A daemon waits for room and goes on by itself. Only where a sync says that there is none is it too late for that: what
    /// was written before may be lost, and the next start has to look.
    fn judge_full_disk(&mut self, trace: &str) {
        let is_sync = matches!(self.case.call.as_str(), "fsync" | "fdatasync" | "syncfs");
        if is_sync || !self.case.combination.place.is_thread() || trace.lines().any(may_be_left_out) {
            return;
        }
        self.must(self.status == 0, format!("a full disk ended the daemon: exit code {}", self.status));
        // A file that finds no room in quarantine stays, and waits for nobody.
        let is_said = self.logged("disk_full") || self.log().contains("not moved to quarantine");
        self.must(is_said, "a full disk, and no word about it");
    }
}

const INJECTED: &str = "INJECTED";

/// True if the fault was put into this call. Of the calls that always fail in a variant, only this one counts.
fn is_struck(line: &str, call: &str) -> bool {
    let begins = line.starts_with(&format!("{call}(")) || line.contains(&format!(" {call}("));
    (begins || line.contains(&format!("{call} resumed>"))) && line.contains(INJECTED)
}

/// What promises nothing may fail without a word: a mark in the journal (a frame of another kind than the first), and that
/// the copy of a duplicate goes at once.
fn may_be_left_out(line: &str) -> bool {
    // As strace prints the beginning of a frame.
    const FRAME: &str = "CSVF\\1\\";
    let Some((call, _)) = line.split_once(INJECTED) else { return false };
    let is_mark = call.split_once(FRAME).is_some_and(|(_, kind)| !kind.starts_with('1'));
    is_mark || call.contains(".copy\", 0)")
}
