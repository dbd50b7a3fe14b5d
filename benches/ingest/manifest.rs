//! Reads the manifests and waits for new lines.

use std::path::PathBuf;
use std::time::SystemTime;

use csv_ingestor::types::UnixMillis;

use crate::lines::Lines;

/// All hours' manifests since the start.
pub struct Manifest {
    root: PathBuf,
    /// An hour's manifest may get lines after the next hour has begun.
    open: Vec<(PathBuf, Lines)>,
}

impl Manifest {
    pub fn new(root: PathBuf) -> Manifest {
        Manifest { root, open: Vec::new() }
    }

    /// Calls `act` with the name of each file whose line has come.
    pub fn for_each(&mut self, mut act: impl FnMut(&str)) {
        let hour = UnixMillis::from_system_time(SystemTime::now()).hour_partition();
        let path = hour.iter().fold(self.root.clone(), |path, part| path.join(part)).join("manifest.jsonl");
        if !self.open.iter().any(|(open, _)| *open == path)
            && let Some(lines) = Lines::open(&path)
        {
            self.open.push((path, lines));
        }
        for (_, lines) in &mut self.open {
            lines.for_each(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                let (_, name) = line["path"].as_str().unwrap().rsplit_once('/').unwrap();
                act(name);
            });
        }
    }
}
