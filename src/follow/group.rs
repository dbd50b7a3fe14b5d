//! Lines that belong together.

use memchr::memmem;
use serde::Deserialize;

const GROUP_KEY: &[u8] = b"\"group\":";

/// The keys that say to which group a line belongs.
#[derive(Deserialize)]
pub(super) struct OfGroup {
    group: String,
    group_base64: Option<String>,
    group_size: usize,
    #[serde(default)]
    group_known: Vec<serde::de::IgnoredAny>,
}

impl OfGroup {
    pub(super) fn of(line: &[u8]) -> Option<OfGroup> {
        memmem::find(line, GROUP_KEY)?;
        serde_json::from_slice(line).ok()
    }

    /// True if both belong to one group.
    pub(super) fn is_same(&self, other: &OfGroup) -> bool {
        (&self.group, &self.group_base64, self.group_size) == (&other.group, &other.group_base64, other.group_size)
    }

    /// How many members the group has.
    pub(super) fn size(&self) -> usize {
        self.group_size
    }

    /// How many members have no line, if this is the group's first line.
    pub(super) fn known(&self) -> usize {
        self.group_known.len()
    }
}

/// How many of these lines, the first one included, are of the same group as the first. There is at least one line.
pub(super) fn together<'a>(mut lines: impl Iterator<Item = &'a [u8]>) -> usize {
    let Some(group) = lines.next().and_then(OfGroup::of) else { return 1 };
    1 + lines.take_while(|line| OfGroup::of(line).is_some_and(|other| other.is_same(&group))).count()
}
