//! What must hold after the fault, and after the next start: the promises of the sweeps' model, and those that hold only
//! where no process but the ingestor acts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::common::promises::{Verdict, ensure};
use super::common::view::View;
use super::disk::{paths_below, photograph};
use super::trial::{Trial, read};

/// Everything that a start with nothing to do must leave unchanged.
#[derive(PartialEq)]
struct Picture {
    files: BTreeMap<PathBuf, String>,
    journal: String,
}

impl Trial<'_> {
    /// Right after the fault: nothing is lost, and every line and report is true.
    pub fn check_after_fault(&mut self) {
        self.note_reports();
        let view = self.site.view();
        let promises = &self.site.promises;
        let verdicts = [promises.always(&view), promises.once(&view), has_no_false_line(&view)];
        for verdict in verdicts {
            self.note("right after the fault", verdict);
        }
        self.site.promises.note(&view);
    }

    /// Starts again without a fault, and checks the end; yet another start must change nothing. For every other N, `replay`
    /// first finishes what was half done, and only then a start ingests the rest.
    pub fn recover_and_check(&mut self) {
        if self.case.n.is_multiple_of(2) && self.must_replay() {
            self.note_reports();
            let verdict = self.site.promises.recovered(&self.site.view());
            self.note("after replay", verdict);
        }
        self.must_get_through();
        self.check_end();
        self.must_succeed(&["journal", "verify"]);
        self.must_succeed(&["audit"]);
        let picture = self.picture();
        for state in ["DISCOVERED", "HASHED", "MOVED"] {
            self.must(count_of_state(&picture.journal, state) == 0, format!("still half done: {state}"));
        }
        let (listed, lines) = (count_of_state(&picture.journal, "MANIFESTED"), self.site.view().lines.len());
        self.must(listed == lines, format!("{lines} lines, but {listed} in the journal"));
        self.must_replay();
        self.must_get_through();
        let after = self.picture();
        self.must(after == picture, "another start changed something");
    }

    fn note(&mut self, when: &str, verdict: Verdict) {
        if let Err(wrong) = verdict {
            self.wrong(format!("{when}: {wrong}"));
        }
    }

    /// A content that was reported as ingested must stay ingested.
    fn note_reports(&mut self) {
        self.reported().into_iter().for_each(|digest| self.site.promises.reported(digest));
    }

    /// Checks the result of a start without a fault.
    fn check_end(&mut self) {
        self.note_reports();
        let view = self.site.view();
        let verdict = self.site.promises.at_the_end(&view);
        self.note("at the end", verdict);
        self.note("at the end", has_no_false_line(&view));
        let (staged, left) = (view.staging.len(), self.site.left);
        self.must(staged == left, format!("{staged} files left in staging instead of {left}"));
        let (aside, moved) = (view.duplicates.len() + view.quarantine.len() + view.reasons.len(), self.site.moved);
        self.must(aside == moved, format!("{aside} files moved away instead of {moved}"));
        let is_quarantined = self.site.promises.quarantined.iter().eq(view.quarantine.values());
        self.must(is_quarantined, "quarantine does not hold exactly the files that cannot be ingested");
        let mut unfinished = paths_below(&self.site.state);
        unfinished.retain(|path| path.extension().is_some_and(|extension| extension == "tmp"));
        self.must(unfinished.is_empty(), format!("left over: {unfinished:?}"));
    }

    fn picture(&mut self) -> Picture {
        let files = photograph(&[&self.site.staging, &self.site.warehouse, &self.site.manifests]);
        self.run_plain(&self.on_journal(&["journal", "inspect", "--json"]));
        self.must(self.status == 0, format!("inspect: exit code {}", self.status));
        Picture { files, journal: read(&self.out()) }
    }

    /// A start that was killed before the journal had its name leaves no journal, and replay reports that. True if there was
    /// one.
    fn must_replay(&mut self) -> bool {
        let mut segments = paths_below(&self.site.state);
        segments.retain(|path| {
            path.file_name().is_some_and(|name| {
                name.to_string_lossy().starts_with("wal-") && name.to_string_lossy().ends_with(".log")
            })
        });
        self.run_plain(&self.on_journal(&["replay"]));
        if segments.is_empty() && self.status == 2 {
            return false;
        }
        self.must(self.status == 0, format!("replay without a fault: exit code {}", self.status));
        true
    }

    /// A start without a fault.
    fn must_get_through(&mut self) {
        self.run_plain(&self.once());
        self.must(self.is_through(), format!("run --once without a fault: exit code {}", self.status));
    }

    fn must_succeed(&mut self, words: &[&str]) {
        self.run_plain(&self.on_journal(words));
        self.must(self.status == 0, format!("{} without a fault: exit code {}", words.join(" "), self.status));
    }
}

fn count_of_state(journal: &str, state: &str) -> usize {
    journal.lines().filter(|line| line.contains(&format!("\"state\":\"{state}\""))).count()
}

/// Each complete line is one of the ingestor, and the ids increase: files were committed one after the other.
fn has_no_false_line(view: &View) -> Verdict {
    let mut torn = view.torn.iter();
    let whole = torn.find(|torn| torn.text.ends_with('\n'));
    ensure!(whole.is_none(), "not a manifest line: {whole:?}");
    let ids: Vec<u64> = view.lines.iter().map(|line| line.ingest_id).collect();
    ensure!(ids.is_sorted_by(|one, next| one < next), "ids do not increase: {ids:?}");
    Ok(())
}
