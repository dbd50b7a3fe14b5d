//! How files are arranged in the simulated warehouse.

use csv_ingestor::fs::sim::Upstream;
use csv_ingestor::journal::record::LayoutRule;
use csv_ingestor::pipeline::layout::Layout;

use super::places::STATE;

/// The name that the pattern of [`Layouts::NoMatch`] does not match.
pub const UNMATCHED: &str = "c.csv";

/// Which layout the ingestor is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layouts {
    /// A partition for each day.
    #[default]
    Days,
    /// Three levels, and at the next start two others: the number of segments decides.
    Changing,
    /// Three levels, and one name has no place.
    NoMatch,
    /// Files keep their directories, and at the next start these are above the day.
    Subdirs,
}

/// At the start a directory of the warehouse itself is made durable anyway: so three levels come first.
const CHANGING: [&str; 2] =
    ["ingest_date={ingest_date}/hour={ingest_hour}/kind={kind}", "kind={kind}/ingest_date={ingest_date}"];

const SUBDIRS: [&str; 2] = ["ingest_date={ingest_date}/{subdir}", "{subdir}/ingest_date={ingest_date}"];

impl Layouts {
    /// The layout of the next start.
    pub fn now(self, upstream: &mut Upstream<'_>) -> Layout {
        let is_segment = |name: &std::ffi::OsString| name.to_str().is_some_and(|name| name.ends_with(".log"));
        let starts = upstream.list(STATE).unwrap_or_default().iter().filter(|name| is_segment(name)).count();
        let (template, pattern) = match self {
            Layouts::Days => return Layout::default(),
            Layouts::Changing => (CHANGING[starts % CHANGING.len()], Some("^(?<kind>[a-z])")),
            Layouts::NoMatch => (CHANGING[0], Some("^(?<kind>[abd-z])")),
            Layouts::Subdirs => (SUBDIRS[starts % SUBDIRS.len()], None),
        };
        Layout::new(LayoutRule { template: template.to_owned(), name_pattern: pattern.map(str::to_owned) }).unwrap()
    }
}
