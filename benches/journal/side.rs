//! What the benchmark compares: our journal, and databases that could take its place.

use crate::data::{File, Step};

/// Something that remembers transitions.
pub trait Side {
    /// Makes one durable.
    fn transition(&mut self, file: &File, step: Step);
}
