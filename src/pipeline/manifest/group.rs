//! What a line says about the group of its file.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::types::IngestId;

/// The key that only lines of groups have.
const KEY: &str = "\"group_size\":";

/// The group of a line's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    /// The journal's UUID, as hex digits.
    pub journal: Option<String>,
    /// The group file's name.
    pub name: String,
    /// How many lines its files have.
    pub lines: u64,
    /// The file's ingest id.
    pub id: IngestId,
}

#[derive(Deserialize)]
struct Keys {
    journal: Option<String>,
    group: String,
    group_size: u64,
    #[serde(default)]
    group_known: Vec<IgnoredAny>,
    ingest_id: u64,
}

impl ListedGroup {
    /// None for a line of a file that is in no group.
    pub fn of(line: &[u8]) -> Option<ListedGroup> {
        if !std::str::from_utf8(line).is_ok_and(|text| text.contains(KEY)) {
            return None;
        }
        let keys: Keys = serde_json::from_slice(line).ok()?;
        let lines = keys.group_size.saturating_sub(keys.group_known.len() as u64);
        Some(ListedGroup { journal: keys.journal, name: keys.group, lines, id: IngestId(keys.ingest_id) })
    }
}
