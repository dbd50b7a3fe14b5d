//! Runs the program into the fault.

use std::io::Write as _;

use super::case::{Fault, Place, Variant};
use super::trial::Trial;

/// Bytes of a manifest's last line that are cut off as by a power cut.
const CUT_BYTES: u64 = 40;

/// A line that another ingestor has not finished.
const HALF_A_LINE: &[u8] = b"{\"path\":\"/half/a/line";

impl Trial<'_> {
    pub fn run_into_fault(&mut self) {
        let once = self.once();
        let place = self.case.combination.place;
        if place.is_thread() {
            return self.run_on_thread();
        }
        // The first start probes the file systems; those calls must not be counted.
        if matches!(place, Place::Moving | Place::Listing | Place::Garbled) {
            self.run_plain(&once);
            self.must(self.status == 0, "the start before failed");
        }
        self.site.write_files(&self.site.staging);
        match place {
            Place::Once => self.run_traced(&once),
            Place::Moving => {
                self.half_done("renameat2", 3);
                self.run_traced(&once);
            }
            Place::Listing => {
                self.half_done("unlinkat", 1);
                self.cut_manifests();
                self.run_traced(&self.on_journal(&["replay"]));
            }
            Place::Garbled => {
                self.half_done("unlinkat", 1);
                self.garble_manifests();
                self.run_traced(&self.on_journal(&["replay"]));
            }
            Place::Compact => {
                self.run_plain(&once);
                self.must(self.is_through(), "the run before failed");
                self.run_traced(&self.on_journal(&["journal", "compact"]));
            }
            Place::Hash | Place::Commit => unreachable!(),
        }
    }

    /// Leaves work half done by a crash, for the start that then meets the fault.
    fn half_done(&mut self, call: &str, n: usize) {
        let combination = self.case.combination;
        // Where links replace renames, links are counted.
        let call = if combination.variant == Variant::Links && call == "renameat2" { "linkat" } else { call };
        let real = std::mem::replace(&mut self.case, combination.case(Fault::Kill, call, n));
        self.run_traced(&self.once());
        self.case = real;
        self.must(self.status == 137, format!("the crash before did not happen: exit code {}", self.status));
    }

    fn cut_manifests(&mut self) {
        let manifests = self.manifests();
        self.must(!manifests.is_empty(), "no manifest before the clean-up");
        for path in manifests {
            let bytes = std::fs::metadata(&path).unwrap().len();
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_len(bytes.saturating_sub(CUT_BYTES)).unwrap();
        }
    }

    fn garble_manifests(&mut self) {
        let manifests = self.manifests();
        self.must(!manifests.is_empty(), "no manifest before the clean-up");
        for path in manifests {
            std::fs::File::options().append(true).open(path).unwrap().write_all(HALF_A_LINE).unwrap();
        }
    }
}
