//! The manifest, as somebody reads it who waits for the next line.

use std::path::PathBuf;
use std::time::SystemTime;

use csv_ingestor::types::UnixMillis;

use crate::lines::Lines;

/// Every hour's file that there has been since we began.
pub struct Manifest {
    root: PathBuf,
    /// An hour may get lines when the next one has begun.
    open: Vec<(PathBuf, Lines)>,
}

impl Manifest {
    pub fn new(root: PathBuf) -> Manifest {
        Manifest { root, open: Vec::new() }
    }

    /// Acts on the name of each file whose line has come.
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
