//! The sides of the comparison: the journal, and databases that could replace it.

use crate::data::{File, Step};

/// A store that remembers transitions.
pub trait Side {
    /// Makes one transition durable.
    fn transition(&mut self, file: &File, step: Step);
}
