//! What must hold, over everything that was ever in the store.

use std::collections::{BTreeMap, BTreeSet};

use csv_ingestor::lake::entry::Entry;
use csv_ingestor::store::sim::Effect;
use csv_ingestor::types::Sha256;
use serde_json::Value;
use sha2::Digest as _;

pub const WAREHOUSE: &str = "W/";
pub const MANIFESTS: &str = "M/";
const OWN: &str = "W/.csv-ingestor/";

pub fn sha256(bytes: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(bytes).into())
}

#[derive(Debug, Default)]
pub struct Model {
    /// Everything that was wrong, in order.
    pub violations: Vec<String>,
    pub effects: u64,
    /// Data objects that were ever created, by content.
    data: BTreeMap<Sha256, BTreeSet<String>>,
    /// Lines that were ever created, by content.
    lines: BTreeMap<Sha256, Vec<Value>>,
    /// Contents that were ever claimed.
    claimed: BTreeSet<Sha256>,
    entries: u64,
    /// Journals and ids in lines.
    ids: BTreeSet<(String, u64)>,
}

impl Model {
    pub fn wrong(&mut self, what: String) {
        self.violations.push(what);
    }

    pub fn see(&mut self, effect: &Effect<'_>) {
        self.effects += 1;
        match effect {
            Effect::Created { key, bytes } if key.starts_with("W/.csv-ingestor/log/0/0") => self.see_entry(key, bytes),
            Effect::Created { key, .. } if key.starts_with(OWN) => {}
            Effect::Created { key, bytes } if key.starts_with(MANIFESTS) => self.see_lines(key, bytes),
            Effect::Created { key, bytes } => {
                let keys = self.data.entry(sha256(bytes)).or_default();
                keys.insert((*key).to_owned());
                if keys.len() > 1 {
                    let what = format!("{key} is one of {keys:?}");
                    self.wrong(what);
                }
            }
            Effect::Deleted { key } if key.starts_with("W/.csv-ingestor/pack/") => {}
            Effect::Deleted { key } => self.wrong(format!("{key} was deleted")),
        }
    }

    fn see_entry(&mut self, key: &str, bytes: &[u8]) {
        let Ok(entry) = Entry::decode(bytes) else { return self.wrong(format!("{key} is no entry")) };
        if entry.header.number != self.entries {
            self.wrong(format!("{key} was created, and {} was next", self.entries));
        }
        self.entries += 1;
        for claim in entry.claims() {
            if !self.claimed.insert(claim.sha256) {
                self.wrong(format!("{key} claims {} again", claim.sha256));
            }
        }
    }

    fn see_lines(&mut self, key: &str, bytes: &[u8]) {
        for line in String::from_utf8_lossy(bytes).lines() {
            let Ok(line) = serde_json::from_str::<Value>(line) else { return self.wrong(format!("{key}: {line}")) };
            let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
            let content = Sha256::from_hex(text("sha256").as_bytes()).unwrap_or(Sha256([0; 32]));
            let data = text("warehouse_path").replace("s3://lake/", "");
            if !self.data.get(&content).is_some_and(|keys| keys.contains(&data)) {
                self.wrong(format!("{key} lists {data}, which is not there"));
            }
            if !self.ids.insert((text("journal"), line["ingest_id"].as_u64().unwrap_or_default())) {
                self.wrong(format!("two lines have the id {} of one journal", line["ingest_id"]));
            }
            let lines = self.lines.entry(content).or_default();
            lines.push(line);
            if lines.len() > 1 {
                let what = format!("{content} is listed twice: {lines:?}");
                self.wrong(what);
            }
        }
    }

    pub fn is_listed(&self, content: &Sha256) -> bool {
        self.lines.contains_key(content)
    }

    /// At the end, if a host is alive.
    pub fn check_finished(&mut self) {
        let unlisted: Vec<Sha256> = self.data.keys().chain(&self.claimed).copied().collect();
        for content in unlisted {
            if !self.is_listed(&content) {
                self.wrong(format!("{content} is claimed or published, and not listed"));
            }
        }
    }
}
