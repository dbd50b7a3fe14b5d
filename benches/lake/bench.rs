//! What all rows have in common.

use crate::disk::Scratch;
use crate::scale::Scale;
use crate::server::Server;
use crate::table::Table;

/// One store, and where its results go.
pub struct Bench<'a> {
    pub scale: &'a Scale,
    pub scratch: &'a Scratch,
    pub server: &'a Server,
    pub table: &'a mut Table,
}

impl Bench<'_> {
    /// The name of a row.
    pub fn what(&self, what: &str) -> String {
        format!("{}: {what}", self.server.name)
    }
}
