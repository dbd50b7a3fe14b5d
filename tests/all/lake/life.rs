//! One life of a host, with the real protocol.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csv_ingestor::lake;
use csv_ingestor::lake::clock::Clock;
use csv_ingestor::lake::format::{Lake, VERSION};
use csv_ingestor::lake::host::{Content, Host, State};
use csv_ingestor::lake::keys;
use csv_ingestor::lake::parts::Cut;
use csv_ingestor::lake::progress::{Journal, Progress};
use csv_ingestor::lake::publish::Stores;
use csv_ingestor::store::sim::SimStore;
use csv_ingestor::types::{Sha256, UnixMillis};

use super::files::{Files, parts};
use super::model::{MANIFESTS, Model, WAREHOUSE, sha256};
use super::turns::{Death, Dice, Lanes, Phase, Turns};

/// When histories begin: half an hour before a day ends.
const BEGIN_MS: u64 = 1_763_508_600_000;
/// What one unit of time is for partitions, so that hours and days change.
const UNIT_MS: u64 = 20_000;

/// The bytes of an object that is not ours.
pub const FOREIGN: &[u8] = b"not ours";

/// A file that comes to a host at some time.
pub struct Arrival {
    pub at: u64,
    pub host: usize,
    pub name: String,
    pub bytes: Vec<u8>,
}

/// What hosts do besides the necessary.
#[derive(Clone, Copy, Debug, Default)]
pub struct Habits {
    /// Requests at once, at most.
    pub lanes: usize,
    /// They wait until their next entry and their next read are due.
    pub are_paced: bool,
    /// They remove leftovers now and then.
    pub clean: bool,
    /// One of them upgrades the lake.
    pub upgrade: bool,
}

/// What everybody shares.
pub struct World {
    pub lake: Lake,
    /// From which size on contents are uploaded in parts.
    pub cut: Cut,
    pub store: SimStore,
    pub turns: Arc<Turns>,
    pub habits: Habits,
    pub model: Arc<Mutex<Model>>,
    pub hosts: Vec<Ground>,
    /// What has not arrived yet.
    pub arrivals: Mutex<Vec<Arrival>>,
    /// Something that is no entry will come into a log.
    pub has_garbage: Mutex<bool>,
    /// What stands in the way of publishing until there is calm.
    pub foreign: Mutex<Vec<String>>,
}

/// What outlives a host's process.
#[derive(Default)]
pub struct Ground {
    pub staging: Mutex<BTreeMap<String, Vec<u8>>>,
    pub journal: Notes,
    pub id: Mutex<[u8; 16]>,
    /// The error with which the host refuses to go on.
    pub stopped: Mutex<Option<lake::Error>>,
}

struct HostClock {
    world: Arc<World>,
    host: usize,
    dice: Mutex<Dice>,
}

impl Clock for HostClock {
    fn steady(&self) -> Duration {
        Duration::from_secs(self.world.turns.time())
    }

    fn pause(&self, time: Duration) {
        self.world.turns.pass_after(self.host, time);
    }

    fn random(&self) -> [u8; 16] {
        let mut dice = self.dice.lock().unwrap();
        std::array::from_fn(|_| dice.below(256) as u8)
    }
}

/// The notes of a host, oldest first.
pub type Notes = Arc<Mutex<Vec<Progress>>>;

/// Keeps notes, and checks their order.
pub struct Notebook(pub Notes);

impl Journal for Notebook {
    fn note(&mut self, notes: &[Progress]) -> Result<(), lake::Error> {
        let mut all = self.0.lock().unwrap();
        for note in notes {
            let before =
                all.iter().rev().find(|before| (before.content, before.generation) == (note.content, note.generation));
            assert!(note.step.may_follow(before.map(|before| &before.step)), "{before:?} and then {note:?}");
            all.push(note.clone());
        }
        Ok(())
    }
}

impl World {
    fn effects(&self) -> u64 {
        self.model.lock().unwrap().effects
    }

    fn violate(&self, what: String) {
        self.model.lock().unwrap().violations.push(what);
        self.turns.end();
    }

    /// What has arrived by now lies in staging.
    fn receive(&self) {
        let (now, calm) = (self.turns.time(), self.turns.phase() > Phase::Chaos);
        self.arrivals.lock().unwrap().retain(|arrival| {
            let is_there = arrival.at <= now || calm;
            if is_there {
                let mut staging = self.hosts[arrival.host].staging.lock().unwrap();
                staging.insert(arrival.name.clone(), arrival.bytes.clone());
            }
            !is_there
        });
        if calm {
            self.remove_foreign();
        }
        if now > 100 && !calm && std::mem::take(&mut *self.has_garbage.lock().unwrap()) {
            self.put_garbage();
        }
    }

    /// Somebody writes what is no entry into the next slot of a log.
    fn put_garbage(&self) {
        let mut model = self.model.lock().unwrap();
        let next = model.entries.entry(0).or_default();
        if self.store.below(WAREHOUSE).put_foreign(&keys::slot(0, *next), b"garbage") {
            *next += 1;
        }
    }

    /// An operator takes away what is not ours. Nobody has written over it.
    fn remove_foreign(&self) {
        let store = self.store.below(WAREHOUSE);
        for key in std::mem::take(&mut *self.foreign.lock().unwrap()) {
            if store.peek(&key).as_deref() != Some(FOREIGN) {
                self.violate(format!("{key} was written over"));
            }
            store.remove_foreign(&key);
        }
    }
}

struct Life {
    world: Arc<World>,
    me: usize,
    host: Host,
    dice: Dice,
    /// Something has failed in this round.
    has_failed: bool,
}

/// A host from its start until the history ends, or it dies.
pub fn live(world: &Arc<World>, me: usize, seed: u64) {
    let gate = {
        let world = world.clone();
        Arc::new(move || world.turns.pass(me))
    };
    let store = world.store.gated(gate);
    let flight = Lanes { turns: world.turns.clone(), host: me, most: world.habits.lanes };
    let (warehouse, manifests) = (Arc::new(store.below(WAREHOUSE)), Arc::new(store.below(MANIFESTS)));
    let stores = Stores { warehouse, manifests, flight: Box::new(flight) };
    let ground = &world.hosts[me];
    let clock = HostClock { world: world.clone(), host: me, dice: Mutex::new(Dice(seed)) };
    let journal = Box::new(Notebook(ground.journal.clone()));
    let progress = ground.journal.lock().unwrap().clone();
    let id = *ground.id.lock().unwrap();
    let mut host = Host::new(stores, world.lake, id, Box::new(clock), journal, &progress);
    host.cut(world.cut);
    let mut life = Life { world: world.clone(), me, host, dice: Dice(!seed), has_failed: false };
    let mut is_begun = false;
    while world.turns.phase() < Phase::Ended {
        world.turns.pass_after(me, Duration::from_secs(life.dice.below(4)));
        world.receive();
        if !is_begun {
            is_begun = life.begin();
            if life.is_stopped() {
                return;
            }
            continue;
        }
        if !life.round() {
            return;
        }
    }
}

impl Life {
    /// A host starts from a checkpoint, or reads everything.
    fn begin(&mut self) -> bool {
        if self.dice.chance(700) {
            let started = self.host.start();
            if started.is_err() {
                self.is_refused(started);
                return false;
            }
        }
        let read = self.host.read();
        self.skip(&read);
        let is_begun = match read {
            // Entries before it are as good as ever.
            Err(lake::Error::Malformed { .. }) => true,
            Err(error) if error.is_damage() => {
                self.refuse(&error);
                false
            }
            read => read.is_ok(),
        };
        if is_begun {
            let ends = self.host.check_ends();
            self.is_refused(ends);
        }
        is_begun
    }

    fn is_stopped(&self) -> bool {
        self.world.hosts[self.me].stopped.lock().unwrap().is_some()
    }

    /// Damage ends a host; other errors are tried again.
    fn refuse(&self, error: &lake::Error) -> bool {
        let is_damage = error.is_damage();
        if is_damage {
            *self.world.hosts[self.me].stopped.lock().unwrap() = Some(error.clone());
        }
        is_damage
    }

    fn is_refused<T>(&self, result: Result<T, lake::Error>) -> bool {
        result.err().is_some_and(|error| self.refuse(&error))
    }

    /// Reads, helps, removes sources, claims. False if the host refuses to go on.
    fn round(&mut self) -> bool {
        let before = self.world.effects();
        let habits = self.world.habits;
        let is_waiting = !self.world.hosts[self.me].staging.lock().unwrap().is_empty();
        let now = Duration::from_secs(self.world.turns.time());
        let reads = !habits.are_paced || is_waiting || now >= self.host.idle_read_at();
        self.has_failed = false;
        if reads {
            let read = self.host.read();
            self.skip(&read);
            if !self.may_go_on(read) {
                return false;
            }
        }
        let files = self.files();
        let helped = self.host.help(&files);
        self.has_failed |= !helped.as_ref().is_ok_and(|helped| helped.errors.is_empty());
        if !self.may_go_on(helped) {
            return false;
        }
        let batch = self.tidy();
        let is_calm = self.world.turns.phase() > Phase::Chaos;
        let is_full = self.dice.chance(500);
        let due = self.host.next_entry_at(is_full);
        let is_due = !habits.are_paced || Duration::from_secs(self.world.turns.time()) >= due;
        if !batch.is_empty() && is_due && (is_calm || self.dice.chance(700)) {
            let ingested = self.host.ingest(&batch, &files);
            // The moment at which most depends on others.
            if ingested.is_ok() && self.world.turns.may_die() && self.dice.chance(200) {
                resume_unwind(Box::new(Death));
            }
            if !self.may_go_on(ingested) {
                return false;
            }
        }
        if !self.has_fancies(is_calm) {
            return false;
        }
        let is_empty = self.world.hosts[self.me].staging.lock().unwrap().is_empty();
        if is_empty && reads && !self.has_failed && self.host.is_idle() {
            let ended = self.world.turns.rest(self.me, before, self.world.effects());
            if ended == Some(Phase::Calm) {
                self.world.store.flush();
            }
        }
        if is_empty || !is_due {
            self.world.turns.pass_after(self.me, Duration::from_secs(5));
        }
        true
    }

    /// What a host does now and then. False if it refuses to go on.
    fn has_fancies(&mut self, is_calm: bool) -> bool {
        if !is_calm && self.dice.chance(30) {
            let known: Vec<Sha256> = self.world.model.lock().unwrap().claimed.keys().map(|item| item.0).collect();
            let content = known.get(self.dice.below(known.len() as u64) as usize).copied();
            let forgotten = self.host.forget(&content.into_iter().collect::<Vec<_>>());
            if !self.may_go_on(forgotten) {
                return false;
            }
        }
        if !is_calm && self.dice.chance(10) {
            let shard = self.dice.below(u64::from(self.world.lake.shards)) as u16;
            let forgotten = self.host.forget_below(shard, self.dice.below(6));
            if !self.may_go_on(forgotten) {
                return false;
            }
        }
        if self.world.habits.clean && self.dice.chance(100) {
            let cleaned = self.host.clean(&|_| true);
            if !self.may_go_on(cleaned) {
                return false;
            }
        }
        if self.world.habits.upgrade && self.me == 0 && self.dice.chance(50) {
            let upgraded = self.host.upgrade(VERSION + 1);
            return self.may_go_on(upgraded);
        }
        true
    }

    /// Notes whether something has failed. False if the host refuses to go on.
    fn may_go_on<T>(&mut self, result: Result<T, lake::Error>) -> bool {
        self.has_failed |= result.is_err();
        !self.is_refused(result)
    }

    /// When there is calm, an operator skips what cannot be read.
    fn skip(&mut self, read: &Result<(), lake::Error>) {
        if matches!(read, Err(lake::Error::Malformed { .. })) && self.world.turns.phase() > Phase::Chaos {
            for shard in 0..self.world.lake.shards {
                let next = self.host.shards()[usize::from(shard)].log.next();
                let skipped = self.host.skip(shard, next);
                self.has_failed |= skipped.is_err();
            }
        }
    }

    fn files(&self) -> Files {
        let staging = self.world.hosts[self.me].staging.lock().unwrap();
        Files(staging.values().map(|bytes| (sha256(bytes), bytes.clone())).collect())
    }

    /// Removes the sources that are listed, and returns what is new.
    fn tidy(&mut self) -> Vec<Content> {
        let instant = UnixMillis(BEGIN_MS + self.world.turns.time() * UNIT_MS);
        let world = self.world.clone();
        let mut staging = world.hosts[self.me].staging.lock().unwrap();
        let mut new = Vec::new();
        staging.retain(|name, bytes| {
            let sha256 = sha256(bytes);
            match self.host.state(&sha256) {
                State::Listed if !world.model.lock().unwrap().is_listed(&sha256) => {
                    world.violate(format!("{sha256} has no line, and its source is removed"));
                }
                State::Listed => return false,
                State::Claimed => self.host.wants(&sha256),
                State::New => new.push(Content {
                    sha256,
                    size: bytes.len() as u64,
                    partition: instant.date_partition(),
                    name: name.clone().into_bytes(),
                    ingested_at: instant,
                    parts: self.dice.chance(500).then(|| parts(bytes, &world.cut)),
                }),
            }
            true
        });
        new
    }
}
