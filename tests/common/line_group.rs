//! The group in a manifest line.

/// What a manifest line says about the group of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineGroup {
    pub name: String,
    pub size: u64,
    /// Members that have no line.
    pub known: u64,
}

impl LineGroup {
    /// How many lines it has, if this is its first one.
    pub fn lines(&self) -> u64 {
        self.size - self.known
    }

    pub fn of(line: &serde_json::Value) -> Option<LineGroup> {
        let known = line.get("group_known").map_or(0, |known| known.as_array().unwrap().len());
        Some(LineGroup {
            name: line.get("group")?.as_str()?.to_owned(),
            size: line["group_size"].as_u64()?,
            known: known as u64,
        })
    }
}
