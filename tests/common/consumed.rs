//! What must hold for a consumer of lines, whenever it or what it follows is killed.
//!
//! - At the end each line was delivered at least once, with the text that it has.
//! - Lines of one stream come in their order: within one life of the follower each is the next one of its stream, so that none
//!   is passed over.
//! - A line that comes again has the same text.
//! - What was acknowledged does not come again. A follower begins where the last acknowledgement was, or where one was
//!   that was under way when it was killed.
//! - A batch has all lines of a group, one after the other, or none of them.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use csv_ingestor::follow::{Cursor, Line, Stream};

use super::line_group::LineGroup;
use super::promises::{Verdict, ensure};

/// Lines by stream and number.
pub type Lines = BTreeMap<(Stream, u64), Vec<u8>>;

/// What a consumer got and acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Consumed {
    /// All lines that there will be, if that is known. Otherwise numbers are dense, as those of a journal.
    all: Option<Lines>,
    /// What was delivered so far.
    pub delivered: Lines,
    /// Where it began, and what it has acknowledged since.
    since: Cursor,
    pub acknowledged: Cursor,
    /// An acknowledgement that may have been stored.
    pub pending: Option<Cursor>,
    /// How far the present follower has come.
    at: Cursor,
}

impl Consumed {
    /// A consumer that begins after this cursor; `all` are the lines that there will be.
    pub fn after(cursor: Cursor, all: Option<Lines>) -> Consumed {
        let (since, acknowledged, at) = (cursor.clone(), cursor.clone(), cursor);
        Consumed { all, since, acknowledged, at, ..Consumed::default() }
    }

    /// A follower begins at the stored position.
    pub fn begins(&mut self, position: &Cursor) -> Verdict {
        let is_pending = self.pending.as_ref() == Some(position);
        ensure!(
            is_pending || *position == self.acknowledged,
            "it begins at {position}, and {} was acknowledged",
            self.acknowledged
        );
        self.pending = None;
        self.acknowledged = position.clone();
        self.at = position.clone();
        Ok(())
    }

    /// The acknowledgement that was under way is durable.
    pub fn is_acknowledged(&mut self) {
        self.acknowledged = self.pending.take().unwrap_or_else(|| self.acknowledged.clone());
    }

    fn next(&self, stream: Stream) -> Option<u64> {
        let passed = self.at.passed(&stream);
        let Some(all) = &self.all else { return Some(passed + 1) };
        let mut behind = all.range((Excluded((stream, passed)), Unbounded));
        behind.next().filter(|((of, _), _)| *of == stream).map(|((_, number), _)| *number)
    }

    /// A line comes, from wherever in a group.
    pub fn take_one(&mut self, stream: Stream, number: u64, text: &[u8]) -> Verdict {
        let next = self.next(stream);
        ensure!(next == Some(number), "line {number} of {stream} came, and {next:?} is next");
        self.at.pass(stream, number);
        self.delivered.insert((stream, number), text.to_vec());
        Ok(())
    }

    /// A batch is delivered.
    pub fn take<'a>(&mut self, lines: impl Iterator<Item = Line<'a>>) -> Verdict {
        let mut groups: Vec<(LineGroup, Stream, u64)> = Vec::new();
        for Line { stream, number, text } in lines {
            let shown = || String::from_utf8_lossy(text).into_owned();
            let next = self.next(stream);
            ensure!(next == Some(number), "line {number} of {stream} came, and {next:?} is next: {}", shown());
            let value: serde_json::Value =
                serde_json::from_slice(text).map_err(|error| format!("{error}: {}", shown()))?;
            let due = self.all.as_ref().map(|all| &all[&(stream, number)]);
            ensure!(due.is_none_or(|due| *due == text), "line {number} of {stream} has another text: {}", shown());
            let before = self.delivered.insert((stream, number), text.to_vec());
            ensure!(before.is_none_or(|before| before == text), "line {number} of {stream} has changed: {}", shown());
            self.at.pass(stream, number);
            let Some(group) = LineGroup::of(&value) else {
                groups_are_whole(&groups)?;
                groups.clear();
                continue;
            };
            // The same group may come again, with other contents.
            let is_of = |(of, on, count): &&mut (LineGroup, Stream, u64)| {
                of.name == group.name && *on == stream && *count < of.lines()
            };
            match groups.last_mut().filter(is_of) {
                Some((.., count)) => *count += 1,
                None => groups.push((group, stream, 1)),
            }
        }
        groups_are_whole(&groups)
    }

    /// Nothing is left to do: each of these lines behind the beginning was delivered and acknowledged, and nothing else.
    pub fn at_the_end(&self, all: &Lines) -> Verdict {
        for ((stream, number), text) in all.iter().filter(|((stream, number), _)| *number > self.since.passed(stream)) {
            let delivered = self.delivered.get(&(*stream, *number));
            let shown = || String::from_utf8_lossy(text).into_owned();
            ensure!(delivered.is_some(), "line {number} of {stream} was never delivered: {}", shown());
            ensure!(delivered == Some(text), "line {number} of {stream} was delivered with another text: {}", shown());
            ensure!(self.acknowledged.passed(stream) >= *number, "line {number} of {stream} is not acknowledged");
        }
        let mut delivered = self.delivered.keys();
        let unknown = delivered.find(|line| !all.contains_key(line));
        ensure!(unknown.is_none(), "a line was delivered that is not there: {unknown:?}");
        Ok(())
    }
}

/// Each group of a batch has all its lines there.
fn groups_are_whole(groups: &[(LineGroup, Stream, u64)]) -> Verdict {
    for (group, _, count) in groups {
        ensure!(*count == group.lines(), "{count} lines of a group came together: {group:?}");
    }
    Ok(())
}
