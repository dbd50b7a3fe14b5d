//! The first record's fields, which are the names of the columns.
//!
//! Invariant: it keeps no more than fits into a record of the journal.

use std::collections::HashMap;

use crate::journal::format::{HEADER_BYTES_MAX, HEADER_FAULTS_MAX};
use crate::journal::record::{HeaderFault, Profile};

/// The fields of the first record, as far as they are kept.
#[derive(Default)]
pub(super) struct Header {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    is_too_long: bool,
}

impl Header {
    fn has_room(&mut self, bytes: usize, ends: usize) -> bool {
        // As the journal counts: two bytes for each name in addition to its text.
        let needed = self.bytes.len() + bytes + 2 * (self.ends.len() + ends);
        self.is_too_long |= needed > HEADER_BYTES_MAX;
        if self.is_too_long {
            (self.bytes, self.ends) = (Vec::new(), Vec::new());
        }
        !self.is_too_long
    }

    /// Adds a part of a field.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        if self.has_room(bytes.len(), 0) {
            self.bytes.extend_from_slice(bytes);
        }
    }

    pub(super) fn end_field(&mut self) {
        if self.has_room(0, 1) {
            self.ends.push(self.bytes.len());
        }
    }

    /// True if it is longer than what is kept; then nothing of it is.
    pub(super) fn is_too_long(&self) -> bool {
        self.is_too_long
    }

    /// The fields, if they fit into a record, and what is wrong with them as names, if all of them were kept.
    pub(super) fn finish(self) -> (Option<Vec<String>>, Vec<HeaderFault>) {
        let mut begin = 0;
        let names = self.ends.iter().map(|end| {
            let name = self.bytes.get(begin..*end)?;
            begin = *end;
            String::from_utf8(name.to_vec()).ok()
        });
        let names: Option<Vec<String>> = if self.is_too_long { None } else { names.collect() };
        let faults = names.as_deref().map(faults).unwrap_or_default();
        (names.filter(|names| Profile::fits(names)), faults)
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity()
    }
}

/// The names that are blank, or that a column before them has.
fn faults(names: &[String]) -> Vec<HeaderFault> {
    let mut firsts = HashMap::new();
    let fault = |(index, name): (usize, &String)| {
        let column = u16::try_from(index + 1).ok()?;
        if name.trim().is_empty() {
            return Some(HeaderFault { column, first: None });
        }
        let first = *firsts.entry(name.clone()).or_insert(column);
        (first != column).then_some(HeaderFault { column, first: Some(first) })
    };
    names.iter().enumerate().filter_map(fault).take(HEADER_FAULTS_MAX).collect()
}
