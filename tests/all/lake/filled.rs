//! A lake that hosts have filled, effect by effect, for tests of what reads it: each state in which the store was can be had
//! again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use csv_ingestor::follow::Stream;
use csv_ingestor::lake::entry::{Body, Entry};
use csv_ingestor::lake::format::Lake;
use csv_ingestor::lake::host::{Content, Decided, Staging};
use csv_ingestor::lake::publish::{AtHand, manifests};
use csv_ingestor::lake::{Error, keys};
use csv_ingestor::limits::LAKE_PATIENCE;
use csv_ingestor::store::Store as _;
use csv_ingestor::store::sim::{Effect, Faults, SimStore};
use csv_ingestor::types::{Sha256, UnixMillis};

use super::desk::{Desk, LAKE, day};
use super::files::Files;
use super::model::{MANIFESTS, WAREHOUSE, sha256};
use crate::common::consumed::Lines;

/// What no host can read.
pub const GARBAGE: &[u8] = b"nothing that can be read";

/// A change of the store.
#[derive(Clone, Debug)]
pub enum Step {
    Created { key: String, bytes: Vec<u8> },
    Deleted { key: String },
}

impl Step {
    pub fn key(&self) -> &str {
        match self {
            Step::Created { key, .. } | Step::Deleted { key } => key,
        }
    }

    pub fn happen(&self, store: &SimStore) {
        match self {
            Step::Created { key, bytes } => store.create(key, bytes, &sha256(bytes)).unwrap(),
            Step::Deleted { key } => assert!(store.remove_foreign(key)),
        }
    }
}

/// An entry that counts.
struct Counted {
    stream: Stream,
    number: u64,
    /// The keys of its manifest objects.
    objects: BTreeSet<String>,
}

/// See the module.
pub struct Filled {
    pub lake: Lake,
    pub steps: Vec<Step>,
    /// All lines of entries that count.
    pub lines: Lines,
    entries: Vec<Counted>,
}

/// Files whose lines are JSON, some of them those of groups.
#[derive(Default)]
struct Papers {
    files: Files,
    /// The group of a content, and how many lines that has.
    groups: BTreeMap<Sha256, (String, usize)>,
}

impl AtHand for Papers {
    fn bytes(&self, content: &Sha256) -> Option<Vec<u8>> {
        self.files.bytes(content)
    }
}

impl Staging for Papers {
    fn line(&self, content: &Content, decided: &Decided<'_>) -> Vec<u8> {
        let group = self.groups.get(&content.sha256);
        let group = group.map_or(String::new(), |(name, size)| format!(",\"group\":\"{name}\",\"group_size\":{size}"));
        let Decided { key, generation, id } = decided;
        format!(
            "{{\"sha256\":\"{}\",\"key\":\"{key}\",\"generation\":{generation},\"id\":{id}{group}}}",
            content.sha256
        )
        .into_bytes()
    }
}

/// The hosts at work.
struct Filler {
    desk: Desk,
    steps: Arc<Mutex<Vec<Step>>>,
    has_groups: bool,
    batches: u64,
}

impl Filler {
    fn new(lake: Lake) -> Filler {
        let (desk, steps) = (Desk::of(lake), Arc::<Mutex<Vec<Step>>>::default());
        let noted = steps.clone();
        desk.store.set_watch(Box::new(move |effect| {
            noted.lock().unwrap().push(match effect {
                Effect::Created { key, bytes } => Step::Created { key: (*key).to_owned(), bytes: bytes.to_vec() },
                Effect::Deleted { key } => Step::Deleted { key: (*key).to_owned() },
            });
        }));
        Filler { desk, steps, has_groups: lake.shards == 1, batches: 0 }
    }

    /// A new host takes these contents; their lines are in two hours. With `finishes`, it also publishes them, and otherwise it
    /// dies behind its entries. Returns the errors that it met.
    fn ingest(&mut self, texts: &[&str], finishes: bool) -> Vec<Error> {
        self.batches += 1;
        let mut host = self.desk.host(self.batches as u8);
        let mut papers = Papers { files: Files::of(texts), ..Papers::default() };
        let mut contents = papers.files.contents(day(0));
        for (place, content) in contents.iter_mut().enumerate() {
            content.ingested_at = UnixMillis(content.ingested_at.0 + (place as u64 / 3 % 2) * 3_600_000);
            // The first of four is in no group.
            if self.has_groups && place % 4 != 0 {
                let size = contents_in_group(texts.len(), place);
                papers.groups.insert(content.sha256, (format!("{}-{}", self.batches, place / 4), size));
            }
        }
        let mut errors: Vec<Error> = host.ingest(&contents, &papers).err().into_iter().collect();
        if finishes {
            errors.extend(host.help(&papers).err());
        }
        errors
    }

    /// Another host finishes what there is. Then it takes these contents: its entries say what is finished.
    fn finish(&mut self, texts: &[&str]) {
        let mut host = self.desk.host(200);
        host.read().unwrap();
        self.desk.wait(LAKE_PATIENCE.as_secs() * 2);
        host.help(&Papers::default()).unwrap();
        if !texts.is_empty() {
            let papers = Papers { files: Files::of(texts), ..Papers::default() };
            host.ingest(&papers.files.contents(day(1)), &papers).unwrap();
            host.help(&papers).unwrap();
        }
    }

    fn forget(&mut self, texts: &[&str]) {
        let mut host = self.desk.host(201);
        host.read().unwrap();
        host.look_at_ends().unwrap();
        let contents: Vec<Sha256> = texts.iter().map(|text| sha256(text.as_bytes())).collect();
        assert_eq!(host.forget(&contents), Ok(texts.len() as u64));
    }

    fn entries(&self, shard: u16) -> u64 {
        self.desk.store.keys(&format!("{WAREHOUSE}.csv-ingestor/log/{shard}/")).len() as u64
    }

    /// Somebody else writes into the next slot of a shard.
    fn write(&mut self, shard: u16, bytes: &[u8]) {
        let key = keys::slot(shard, self.entries(shard));
        assert!(self.desk.store.below(WAREHOUSE).put_foreign(&key, bytes));
        let key = format!("{WAREHOUSE}{key}");
        self.steps.lock().unwrap().push(Step::Created { key, bytes: bytes.to_vec() });
    }

    /// An entry that claims what is claimed already, and says that everything before it is finished.
    fn contradict(&mut self, shard: u16) {
        let next = self.entries(shard);
        let bytes = |number| self.desk.store.peek(&format!("{WAREHOUSE}{}", keys::slot(shard, number))).unwrap();
        let of_claims = (0..next).rev().filter_map(|number| Entry::decode(&bytes(number)).ok());
        let mut entry = of_claims.into_iter().find(|entry| matches!(entry.body, Body::Claims(_))).unwrap();
        (entry.header.number, entry.header.floor) = (next, next);
        entry.header.predecessor = sha256(&bytes(next - 1));
        self.write(shard, &entry.encode());
    }

    /// An operator skips the newest entry of a shard, at which it has stopped.
    fn skip(&mut self, shard: u16) {
        let mut host = self.desk.host(202);
        assert!(host.read().is_err());
        host.skip(shard, self.entries(shard) - 1).unwrap();
    }

    /// A retention job removes the manifest objects of a shard's first entries.
    fn retain(&mut self, shard: u16, entries: u64) {
        let is_old = |key: &str| (0..entries).any(|number| key.ends_with(&format!("/{shard}-{number:020}.jsonl")));
        for key in self.desk.store.keys(MANIFESTS).into_iter().filter(|key| is_old(key)) {
            assert!(self.desk.store.remove_foreign(&key));
            self.steps.lock().unwrap().push(Step::Deleted { key });
        }
    }
}

/// The lines of the group at this place of a batch with so many.
fn contents_in_group(batch: usize, place: usize) -> usize {
    let first = place / 4 * 4 + 1;
    (batch - first).min(3)
}

impl Filled {
    /// With one shard, most lines are those of groups.
    pub fn with_shards(shards: u16) -> Filled {
        let lake = Lake { shards, ..LAKE };
        let mut filler = Filler::new(lake);
        let (stopped, contradicted) = (0, shards - 1);
        let all: Vec<String> = (0..60).map(|number| format!("content {number}")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        assert_eq!(filler.ingest(&all[..8], true), []);
        // Nobody finishes this for a while, and others go on behind it.
        assert_eq!(filler.ingest(&all[8..16], false), []);
        filler.contradict(contradicted);
        filler.skip(contradicted);
        assert_eq!(filler.ingest(&all[16..22], true), []);
        filler.finish(&[]);
        filler.forget(&all[2..4]);
        assert_eq!(filler.ingest(&all[2..4], true), []);
        filler.write(stopped, GARBAGE);
        // Its shard takes nothing; the others do.
        assert_ne!(filler.ingest(&all[22..30], true), []);
        filler.skip(stopped);
        assert_eq!(filler.ingest(&all[22..36], false), []);
        (0..shards).for_each(|shard| filler.retain(shard, 4));
        filler.finish(&all[36..52]);
        assert_eq!(filler.ingest(&all[52..], true), []);
        let steps = std::mem::take(&mut *filler.steps.lock().unwrap());
        let mut filled = Filled { lake, steps, lines: Lines::new(), entries: Vec::new() };
        (0..shards).for_each(|shard| filled.read(&filler.desk.store, shard));
        filled
    }

    /// What counts in a shard's log.
    fn read(&mut self, store: &SimStore, shard: u16) {
        let stream = Stream { id: self.lake.id.0, shard: Some(shard) };
        for number in 0.. {
            let Some(bytes) = store.peek(&format!("{WAREHOUSE}{}", keys::slot(shard, number))) else { break };
            if store.peek(&format!("{WAREHOUSE}{}", keys::skip(shard, number))).is_some() {
                continue;
            }
            let entry = Entry::decode(&bytes).unwrap();
            for (place, claim) in entry.claims().iter().enumerate() {
                self.lines.insert((stream, (number << 11 | place as u64) + 1), claim.line.clone());
            }
            let objects = manifests(&entry).into_keys().map(|key| format!("{MANIFESTS}{key}")).collect();
            self.entries.push(Counted { stream, number, objects });
        }
    }

    /// An empty store.
    pub fn store(&self) -> SimStore {
        SimStore::new(1, Faults::NONE)
    }

    /// The numbers of the last lines that a consumer can have while these objects are there: in each shard, those of the entries
    /// before the first that is not finished. One whose objects were removed may need a later entry that says so.
    pub fn deliverable(&self, present: &BTreeSet<String>) -> BTreeMap<Stream, u64> {
        let mut last: BTreeMap<Stream, u64> = BTreeMap::new();
        let mut stuck = BTreeSet::new();
        for Counted { stream, number, objects } in &self.entries {
            // An entry that does not exist yet has lines, too.
            let slot = format!("{WAREHOUSE}{}", keys::slot(stream.shard.unwrap(), *number));
            if !present.contains(&slot) || !objects.is_subset(present) {
                stuck.insert(*stream);
            }
            if !stuck.contains(stream) {
                let lines = self.lines.range((*stream, number << 11)..=(*stream, (number + 1) << 11));
                last.extend(lines.last().map(|((stream, number), _)| (*stream, *number)));
            }
        }
        last
    }

    /// True if the line is in the manifests once these objects were created.
    pub fn is_there(&self, stream: Stream, number: u64, created: &BTreeSet<String>) -> bool {
        let entry = self.entries.iter().find(|it| it.stream == stream && it.number == (number - 1) >> 11);
        entry.is_some_and(|entry| entry.objects.is_subset(created))
    }
}

/// The lake has what a consumer may meet in one.
#[test]
fn a_filled_lake_has_everything() {
    for shards in [1, 4] {
        let filled = Filled::with_shards(shards);
        let lines = filled.lines.values().map(|line| String::from_utf8_lossy(line));
        let count = |what: &str| lines.clone().filter(|line| line.contains(what)).count();
        assert_eq!((count("\"generation\":0"), count("\"generation\":1")), (60, 2));
        assert!(shards > 1 || count("\"group\"") > 30);
        let skips = filled.steps.iter().filter(|step| step.key().contains("/skip/"));
        assert_eq!(skips.count(), 2);
        let gone =
            filled.steps.iter().filter(|step| matches!(step, Step::Deleted { key } if key.starts_with(MANIFESTS)));
        assert!(gone.count() >= usize::from(4 * shards));
        let two = filled.entries.iter().filter(|entry| entry.objects.len() == 2);
        assert!(two.count() > 2, "entries with lines of two hours");
        assert_eq!(filled.entries.iter().map(|entry| entry.stream).collect::<BTreeSet<_>>().len(), usize::from(shards));
    }
}
