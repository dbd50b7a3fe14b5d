//! The numbers of the lines: each journal's are dense, from 1 on.
//!
//! Invariants:
//! - Memory follows the number of gaps, not of lines: within a manifest, numbers ascend.
//! - A number counts as missing only if its line is still in no manifest when they are searched again: while an ingestor
//!   writes, a manifest that was read early may lack a line to which one that was read later has the successor.

use std::collections::BTreeMap;
use std::path::Path;

use hashbrown::{HashMap, HashSet};

use super::finding::{Finding, Kind};
use crate::fs::Fs;
use crate::journal::hex;
use crate::pipeline::manifest::numbers::search;
use crate::pipeline::manifest::read::Listed;

/// Gaps of one journal that are reported one by one; the others are counted.
const GAPS_REPORTED_MAX: usize = 100;
/// Runs of numbers that are remembered of one journal: beyond that, its numbers are not checked.
const RUNS_MAX: usize = 1 << 20;

/// The numbers that were seen.
#[derive(Default)]
pub(super) struct Numbers {
    journals: HashMap<[u8; 16], Runs>,
}

/// Runs of consecutive numbers: from the first to the last, ascending and apart from each other.
#[derive(Default)]
struct Runs {
    runs: BTreeMap<u64, u64>,
    /// Numbers that were seen before, with the ids of these lines.
    repeated: Vec<(u64, u64)>,
    is_too_much: bool,
}

impl Runs {
    fn add(&mut self, number: u64, id: u64) {
        let before = self.runs.range(..=number).next_back().map(|(first, last)| (*first, *last));
        if before.is_some_and(|(_, last)| last >= number) {
            if self.repeated.len() < GAPS_REPORTED_MAX {
                self.repeated.push((number, id));
            }
            return;
        }
        let end = number.checked_add(1).and_then(|next| self.runs.remove(&next)).unwrap_or(number);
        match before.filter(|(_, last)| last + 1 == number) {
            Some((first, _)) => drop(self.runs.insert(first, end)),
            None => drop(self.runs.insert(number, end)),
        }
        self.is_too_much |= self.runs.len() > RUNS_MAX;
    }

    /// The numbers between the runs, and before the first: from, to.
    fn gaps(&self) -> impl Iterator<Item = (u64, u64)> {
        let ends = std::iter::once(0).chain(self.runs.values().copied());
        ends.zip(self.runs.keys()).filter(|(end, first)| end + 1 < **first).map(|(end, first)| (end + 1, first - 1))
    }
}

impl Numbers {
    /// Takes the number of a line.
    pub(super) fn add(&mut self, listed: &Listed) {
        let (Some(journal), Some(number)) = (listed.journal, listed.seq) else { return };
        let runs = self.journals.entry(journal).or_default();
        if !runs.is_too_much {
            runs.add(number, listed.ingest_id.0);
        }
    }

    /// What is wrong with them, except that lines with these ids are listed twice.
    ///
    /// # Errors
    /// A manifest cannot be read again.
    pub(super) fn findings<F: Fs>(
        &self,
        (fs, root): (&F, &Path),
        twice: &HashSet<u64>,
        each: &mut dyn FnMut(Finding),
    ) -> crate::fs::Result<()> {
        for (journal, runs) in &self.journals {
            let id = hex(journal);
            for (number, _) in runs.repeated.iter().filter(|(_, id)| !twice.contains(id)) {
                let detail = format!("two lines of journal {id} have the number {number}");
                each(Finding::new(Kind::ListedTwice, root.to_path_buf(), detail));
            }
            let gaps: Vec<(u64, u64)> = if runs.is_too_much { Vec::new() } else { runs.gaps().collect() };
            let (Some((first, _)), Some((_, last))) = (gaps.first(), gaps.last()) else { continue };
            let mut found = Runs::default();
            for entry in search(fs, root, journal, (first - 1..*last, usize::MAX))? {
                (entry.first..=entry.last()).for_each(|number| found.add(number, 0));
            }
            let is_there =
                |from: u64, to: u64| found.runs.range(..=from).next_back().is_some_and(|(_, last)| *last >= to);
            for (from, to) in gaps.iter().filter(|(from, to)| !is_there(*from, *to)).take(GAPS_REPORTED_MAX) {
                let detail = format!(
                    "lines {from} to {to} of journal {id} are in no manifest: removed, or left out by a repair"
                );
                each(Finding::new(Kind::Gap, root.to_path_buf(), detail));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_repetitions_show_in_any_order() {
        let mut runs = Runs::default();
        for number in [5, 3, 4, 9, 1, 3, 8, 12] {
            runs.add(number, number * 10);
        }
        assert_eq!(
            runs.runs.iter().map(|(first, last)| (*first, *last)).collect::<Vec<_>>(),
            [(1, 1), (3, 5), (8, 9), (12, 12)]
        );
        assert_eq!(runs.gaps().collect::<Vec<_>>(), [(2, 2), (6, 7), (10, 11)]);
        assert_eq!(runs.repeated, [(3, 30)]);
        [2, 6, 7, 10, 11].into_iter().for_each(|number| runs.add(number, 0));
        assert_eq!((runs.runs.len(), runs.gaps().count()), (1, 0));
    }
}
