//! What few scenarios have.

use csv_ingestor::journal::record::SameBy;
use csv_ingestor::pipeline::settle::order::Order;

use super::layouts::Layouts;

/// What few scenarios have.
#[derive(Clone, Debug, Default)]
pub struct Seldom {
    /// Names in the warehouse that are taken by files unknown to the journal.
    pub strangers: Vec<&'static str>,
    /// Sidecars are named by stem, so that several files may share one. Their names are the same all the same.
    pub by_stem: bool,
    /// How files are arranged in the warehouse.
    pub layouts: Layouts,
    /// In which order files are ingested. Hashing ends in the reverse order then.
    pub order: Option<Order>,
    /// A second thread publishes, and batches are small and overlap: the seed of the threads' turns.
    pub relay: Option<u64>,
    /// Directories in staging are entered, also if there are none at the beginning.
    pub recursive: bool,
    /// Files are ingested in groups, also if no act of the scenario sends one.
    pub groups: bool,
    /// By what two files are the same.
    pub same_by: SameBy,
    /// An hour ends when two files of a round were taken.
    pub hour_ends: bool,
}

impl Seldom {
    pub fn strangers(names: &[&'static str]) -> Seldom {
        Seldom { strangers: names.to_vec(), ..Seldom::default() }
    }

    pub fn layouts(layouts: Layouts) -> Seldom {
        Seldom { layouts, ..Seldom::default() }
    }

    /// Batches overlap.
    pub fn relay(seed: u64) -> Seldom {
        Seldom { relay: Some(seed), ..Seldom::default() }
    }

    /// Files are ingested in this order.
    pub fn order(order: Order) -> Seldom {
        Seldom { order: Some(order), ..Seldom::default() }
    }
}
