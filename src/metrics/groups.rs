//! Events about groups.

use std::path::Path;
use std::time::Duration;

use super::{Metrics, seconds};
use crate::journal::record::Group;
use crate::log;
use crate::types::IngestId;

impl Metrics {
    /// `group_ingested`: every member is in the warehouse and listed, now or already before.
    pub fn group_ingested(&self, group: &Group) {
        self.scan.groups.ingested.inc();
        let known = group.known.iter().map(|known| match known.of {
            IngestId::OF_ANOTHER_HOST => format!("{} (of another host)", known.name.display()),
            of => format!("{} ({of})", known.name.display()),
        });
        tracing::info!(
            event = "group_ingested",
            path = log::path(&group.path),
            group_size = group.size(),
            moved = group.moving.len(),
            known = (!group.known.is_empty()).then(|| known.collect::<Vec<_>>().join(", ")),
        );
    }

    /// `group_incomplete`: a group has waited for longer than --group-timeout. `texts` are the first of `missing` members,
    /// and what they lack.
    pub fn group_incomplete(&self, path: &Path, (missing, size): (usize, usize), texts: &[String], waited: Duration) {
        let more = missing.saturating_sub(texts.len());
        let rest = if more > 0 { format!(", and {more} more") } else { String::new() };
        tracing::warn!(
            event = "group_incomplete",
            path = log::path(path),
            group_size = size,
            missing,
            missing_members = texts.join(", ") + &rest,
            waited_seconds = seconds(waited),
        );
    }

    /// So many groups have waited for longer than --group-timeout.
    pub fn groups_overdue(&self, count: usize) {
        self.scan.groups.overdue.set(count as u64);
    }
}
