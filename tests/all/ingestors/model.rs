//! What must hold, over everything that was ever in the store.

use std::collections::{BTreeMap, BTreeSet};

use csv_ingestor::lake::entry::{Body, Claim, Entry};
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
    /// No host loses its journal: then no file is listed twice.
    keeps_state: bool,
    /// Data objects that were ever created, by content.
    data: BTreeMap<Sha256, BTreeSet<String>>,
    /// Lines that were ever created, by content.
    lines: BTreeMap<Sha256, Vec<Value>>,
    /// Contents that were ever claimed.
    claimed: BTreeMap<Sha256, Claimed>,
    entries: u64,
    /// Entries of groups.
    pub groups: u64,
    /// Entries that forget something.
    pub forgets: u64,
    /// Journals and ids in lines.
    ids: BTreeSet<(String, u64)>,
}

/// What became of a content.
#[derive(Debug)]
struct Claimed {
    /// The entry that claimed it last.
    entry: u64,
    /// How often it was claimed: so many objects and lines it has.
    times: usize,
    is_forgotten: bool,
}

impl Model {
    pub fn new(keeps_state: bool) -> Model {
        Model { keeps_state, ..Model::default() }
    }

    /// A consumer has got these lines, with their numbers: all that were ever there, each once, in order.
    pub fn check_consumed(&mut self, lines: &[(u64, Vec<u8>)]) {
        let mut ids = BTreeSet::new();
        for (number, text) in lines {
            let line: Value = serde_json::from_slice(text).unwrap_or_default();
            let journal = line["journal"].as_str().unwrap_or_default().to_owned();
            if line["seq"].as_u64() != Some(*number)
                || !ids.insert((journal, line["ingest_id"].as_u64().unwrap_or_default()))
            {
                self.wrong(format!("a consumer has got {line} as number {number}, or twice"));
            }
        }
        if ids != self.ids || !lines.is_sorted() {
            self.wrong(format!("a consumer has got {ids:?}, and there were {:?}", self.ids));
        }
    }

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
                let times = self.times(&sha256(bytes));
                let keys = self.data.entry(sha256(bytes)).or_default();
                keys.insert((*key).to_owned());
                if keys.len() > times {
                    let what = format!("{key} is one of {keys:?}, and the content was claimed {times} times");
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
        let number = entry.header.number;
        if let Some(torn) = torn_group(&entry) {
            self.wrong(format!("{key}: {torn}"));
        }
        self.groups += u64::from(entry.claims().first().is_some_and(is_of_group));
        for claim in entry.claims() {
            let times = self.times(&claim.sha256);
            let is_new = self.claimed.get(&claim.sha256).is_none_or(|known| known.is_forgotten);
            if !is_new || claim.generation as usize != times {
                self.wrong(format!("{key} claims {} again, as generation {}", claim.sha256, claim.generation));
            }
            let claimed = Claimed { entry: number, times: times + 1, is_forgotten: false };
            self.claimed.insert(claim.sha256, claimed);
        }
        if let Body::Forget(forget) = &entry.body {
            self.forgets += 1;
            let unlisted: Vec<Sha256> = self.claimed.keys().copied().filter(|it| !self.is_listed(it)).collect();
            for (content, known) in self.claimed.iter_mut().filter(|(_, known)| known.entry < forget.below) {
                known.is_forgotten = true;
                if unlisted.contains(content) {
                    self.violations.push(format!("{key} forgets {content}, which is not listed"));
                }
            }
        }
    }

    /// How often a content was claimed.
    fn times(&self, content: &Sha256) -> usize {
        self.claimed.get(content).map_or(0, |known| known.times)
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
            let times = self.times(&content);
            let lines = self.lines.entry(content).or_default();
            // A host that dies between an entry and its record does not know it if others claim the content again, twice.
            let is_file_again = self.keeps_state && times < 3 && lines.iter().any(|it| it["path"] == line["path"]);
            lines.push(line);
            let is_object_again =
                lines.iter().filter(|it| it["warehouse_path"] == lines[lines.len() - 1]["warehouse_path"]);
            if lines.len() > times || is_file_again || is_object_again.count() > 1 {
                let what = format!("{content} was claimed {times} times and has these lines: {lines:?}");
                self.wrong(what);
            }
        }
    }

    /// True if each claim of the content has its line.
    pub fn is_listed(&self, content: &Sha256) -> bool {
        let lines = self.lines.get(content).map_or(0, Vec::len);
        lines > 0 && lines == self.times(content)
    }

    /// At the end, if a host is alive.
    pub fn check_finished(&mut self) {
        let unlisted: Vec<Sha256> = self.data.keys().chain(self.claimed.keys()).copied().collect();
        for content in unlisted {
            if !self.is_listed(&content) {
                self.wrong(format!("{content} is claimed or published, and not listed"));
            }
        }
    }
}

/// What is wrong with the group of an entry: it has all files of a group that are new, in their order, and nothing else.
fn torn_group(entry: &Entry) -> Option<String> {
    let lines: Vec<Value> =
        entry.claims().iter().map(|claim| serde_json::from_slice(&claim.line).unwrap_or_default()).collect();
    let first = lines.first().filter(|first| !first["group"].is_null())?;
    let known = first["group_known"].as_array().map_or(0, Vec::len);
    let size = first["group_size"].as_u64().unwrap_or_default() as usize;
    let of = |line: &Value| [line["journal"].clone(), line["group"].clone(), line["group_size"].clone()];
    if lines.len() + known != size || lines.iter().any(|line| of(line) != of(first)) {
        return Some(format!("a group of {size}, {known} of them known, has these lines: {lines:?}"));
    }
    let ids: Vec<_> = lines.iter().map(|line| line["ingest_id"].as_u64()).collect();
    (!ids.is_sorted()).then(|| format!("the lines of a group are in another order: {lines:?}"))
}

fn is_of_group(claim: &Claim) -> bool {
    let line: Value = serde_json::from_slice(&claim.line).unwrap_or_default();
    !line["group"].is_null()
}
