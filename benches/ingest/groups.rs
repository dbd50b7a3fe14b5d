//! Group files for the staged files.

use std::path::Path;

use csv_ingestor::types::Sha256;
use sha2::Digest as _;

/// Files of one group: those of a month-end close.
pub const MEMBERS: u64 = 12;

/// Puts every twelve of the staged files into a group.
pub fn make(staging: &Path) {
    let entries = staging.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.filter(|name| name.ends_with(".csv")).collect();
    names.sort_unstable();
    for (number, members) in names.chunks(MEMBERS as usize).enumerate() {
        let line = |name: &String| {
            let content = std::fs::read(staging.join(name)).unwrap();
            format!("{}  {name}\n", Sha256(sha2::Sha256::digest(content).into()).hex())
        };
        let text: String = members.iter().map(line).collect();
        std::fs::write(staging.join(format!("close-{number:04}.group")), text).unwrap();
    }
}
