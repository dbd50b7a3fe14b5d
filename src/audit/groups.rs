//! Groups in the manifests: all lines of a group are there.
//!
//! Invariant: a group counts as incomplete only if its lines still are not there when its manifest is read again from its
//! first line on; they need not stand together, since after a crash another ingestor's lines may stand between them.

use crate::fs::Fs;
use crate::pipeline::manifest::group::ListedGroup;
use crate::pipeline::manifest::read::{self, Lines, Text};

/// Records of a file in a group, at most: so the ids of a group's files lie close together.
const RECORDS_MAX: u64 = 4;

/// The lines of one group that were seen together.
#[derive(Debug)]
pub(super) struct Run {
    first: ListedGroup,
    seen: u64,
    pub(super) offset: u64,
    pub(super) number: u64,
}

impl Run {
    fn takes(&self, group: &ListedGroup) -> bool {
        let last = self.first.id.0.saturating_add(RECORDS_MAX.saturating_mul(self.first.lines));
        let is_near = (self.first.id.0..=last).contains(&group.id.0);
        is_near && group.name == self.first.name && group.journal == self.first.journal
    }

    fn is_whole(&self) -> bool {
        self.seen >= self.first.lines
    }

    pub(super) fn why(&self) -> String {
        format!("the group {} has {} of its {} lines", self.first.name, self.seen, self.first.lines)
    }

    /// Counts the lines again, from the first one on. False if all are there.
    pub(super) fn is_suspect<F: Fs>(&mut self, lines: &mut Lines<F>, why: &mut String) -> Result<bool, read::Error> {
        self.seen = 0;
        while let Some(line) = lines.next_line()? {
            if let Text::Whole(text) = line.text
                && ListedGroup::of(text).is_some_and(|group| self.takes(&group))
            {
                self.seen += 1;
            }
            if self.is_whole() {
                return Ok(false);
            }
        }
        *why = self.why();
        Ok(true)
    }
}

/// Follows the lines of one manifest.
#[derive(Default)]
pub(super) struct Groups {
    run: Option<Run>,
}

impl Groups {
    /// Takes a line; returns the group before it, if that is incomplete.
    pub(super) fn line(&mut self, text: &[u8], (offset, number): (u64, u64)) -> Option<Run> {
        let group = ListedGroup::of(text);
        if let (Some(run), Some(group)) = (&mut self.run, &group)
            && run.takes(group)
        {
            run.seen += 1;
            return None;
        }
        let before = self.end();
        self.run = group.map(|first| Run { first, seen: 1, offset, number });
        before
    }

    /// The last group, if it is incomplete.
    pub(super) fn end(&mut self) -> Option<Run> {
        self.run.take().filter(|run| !run.is_whole())
    }
}
