//! What must hold, over everything that was ever in the store.

use std::collections::{BTreeMap, BTreeSet};

use csv_ingestor::lake::entry::Entry;
use csv_ingestor::store::sim::Effect;
use csv_ingestor::types::Sha256;
use sha2::Digest as _;

pub const WAREHOUSE: &str = "W/";
pub const MANIFESTS: &str = "M/";
const OWN: &str = "W/.csv-ingestor/";
const LOG: &str = "W/.csv-ingestor/log/";
const CHECKPOINTS: &str = "W/.csv-ingestor/checkpoint/";
const PACKS: &str = "W/.csv-ingestor/pack/";

pub fn sha256(bytes: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(bytes).into())
}

/// A content and its generation.
pub type Item = (Sha256, u32);

#[derive(Debug, Default)]
pub struct Model {
    /// Everything that was wrong, in order.
    pub violations: Vec<String>,
    pub effects: u64,
    /// Keys under which a content was ever published.
    data: BTreeMap<Sha256, BTreeSet<String>>,
    /// Manifest objects that ever had a line of an item.
    pub lines: BTreeMap<Item, BTreeSet<String>>,
    pub claimed: BTreeMap<Item, (u16, u64)>,
    generations: BTreeMap<Sha256, u32>,
    ids: BTreeSet<u64>,
    /// Entries of each shard.
    pub entries: BTreeMap<u16, u64>,
    /// Data objects that are there now.
    there: BTreeMap<String, Sha256>,
    pub packs: BTreeSet<String>,
    /// What entries claim from each pack that ever was.
    needed: BTreeMap<String, Vec<Item>>,
}

impl Model {
    fn wrong(&mut self, what: String) {
        self.violations.push(what);
    }

    pub fn see(&mut self, effect: &Effect<'_>) {
        self.effects += 1;
        match effect {
            Effect::Created { key, bytes } if key.starts_with(LOG) => self.see_entry(key, bytes),
            Effect::Created { key, .. } if key.starts_with(PACKS) => drop(self.packs.insert((*key).to_owned())),
            Effect::Created { key, .. } if key.starts_with(OWN) => {}
            Effect::Created { key, bytes } if key.starts_with(MANIFESTS) => self.see_lines(key, bytes),
            Effect::Created { key, bytes } => {
                let content = sha256(bytes);
                self.there.insert((*key).to_owned(), content);
                self.data.entry(content).or_default().insert((*key).to_owned());
                let generations = u64::from(self.generations.get(&content).copied().unwrap_or(0)) + 1;
                if self.data[&content].len() as u64 > generations {
                    self.wrong(format!("{content} was published as {:?}", self.data[&content]));
                }
            }
            Effect::Deleted { key } if key.starts_with(PACKS) => self.see_the_end_of(key),
            Effect::Deleted { key } if key.starts_with(CHECKPOINTS) => {}
            Effect::Deleted { key } => self.wrong(format!("{key} was deleted")),
        }
    }

    fn see_entry(&mut self, key: &str, bytes: &[u8]) {
        let Ok(entry) = Entry::decode(bytes) else { return self.wrong(format!("{key} is no entry")) };
        let (shard, number) = (entry.header.shard, entry.header.number);
        let next = self.entries.entry(shard).or_default();
        if *next != number || !key.ends_with(&format!("/{shard}/{number:020}")) {
            let next = *next;
            self.wrong(format!("{key} was created, and {next} was next"));
        }
        self.entries.insert(shard, number + 1);
        for pack in entry.packs() {
            let pack = format!("{WAREHOUSE}{pack}");
            if !self.packs.contains(&pack) {
                self.wrong(format!("{key} names {pack}, which is not there"));
            }
            let items = entry.claims().iter().map(|claim| (claim.sha256, claim.generation));
            self.needed.entry(pack).or_default().extend(items);
        }
        for claim in entry.claims() {
            let item = (claim.sha256, claim.generation);
            self.generations.insert(claim.sha256, claim.generation);
            if let Some(before) = self.claimed.insert(item, (shard, number)) {
                self.wrong(format!("{item:?} is claimed by {before:?} and by {number}"));
            }
        }
    }

    /// A pack is deleted: nothing that an entry claims may depend on it any more.
    fn see_the_end_of(&mut self, pack: &str) {
        self.packs.remove(pack);
        let needed = self.needed.get(pack).cloned().unwrap_or_default();
        if needed.iter().any(|item| !self.lines.contains_key(item)) {
            self.wrong(format!("{pack} was deleted, and an entry needs it"));
        }
    }

    fn see_lines(&mut self, key: &str, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes).into_owned();
        for line in text.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let [content, generation, data, id] = fields[..] else { return self.wrong(format!("{key}: {line}")) };
            let item = (Sha256::from_hex(content.as_bytes()).unwrap(), generation.parse().unwrap());
            if self.there.get(&format!("{WAREHOUSE}{data}")) != Some(&item.0) {
                self.wrong(format!("{key} lists {data}, which is not there"));
            }
            if !self.lines.entry(item).or_default().insert(key.to_owned()) || self.lines[&item].len() > 1 {
                self.wrong(format!("{item:?} is listed in {:?}, and in {key}", self.lines[&item]));
            }
            if !self.ids.insert(id.parse().unwrap()) {
                self.wrong(format!("two lines have the id {id}"));
            }
        }
    }

    /// At the end, if a host is alive: no data without its line, no claim without its line.
    pub fn check_finished(&mut self) {
        let published: Vec<Sha256> = self.data.keys().copied().collect();
        for content in published {
            let generations = self.data[&content].len();
            if self.lines.keys().filter(|item| item.0 == content).count() != generations {
                self.wrong(format!("{content} is published and not listed"));
            }
        }
        let claimed: Vec<Item> = self.claimed.keys().copied().collect();
        for item in claimed {
            if !self.lines.contains_key(&item) {
                self.wrong(format!("{item:?} is claimed and stuck"));
            }
        }
    }

    pub fn is_listed(&self, content: &Sha256) -> bool {
        self.lines.keys().any(|item| item.0 == *content)
    }
}
