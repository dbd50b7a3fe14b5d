//! One life of an ingestor: from its start until the history ends, or it dies.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csv_ingestor::Error;
use csv_ingestor::engine::lake::Reach;
use csv_ingestor::engine::{self, Engine, Options};
use csv_ingestor::fs::Fs as _;
use csv_ingestor::fs::sim::SimFs;
use csv_ingestor::journal::record::{DuplicateAction, Identity, Settings};
use csv_ingestor::lake::clock::Clock;
use csv_ingestor::lake::flight::OneByOne;
use csv_ingestor::lake::parts::Cut;
use csv_ingestor::limits::LAKE_IDLE_READ_MAX;
use csv_ingestor::metrics::Metrics;
use csv_ingestor::pipeline::commit::Committer;
use csv_ingestor::pipeline::group::{self, NotRead};
use csv_ingestor::pipeline::hash::Hasher;
use csv_ingestor::pipeline::layout::Layout;
use csv_ingestor::pipeline::places::Accepts;
use csv_ingestor::pipeline::scan::{NameRules, Scanner};
use csv_ingestor::pipeline::settle::{Mode, Overdue, Settle};
use csv_ingestor::pipeline::{HashResult, Outcome, Report};
use csv_ingestor::store::Store;
use csv_ingestor::store::sim::SimStore;

use super::model::Model;
pub use super::parts::STATE;
use super::parts::{Parts, Reached};
use crate::lake::turns::{Dice, Phase, Turns};

pub const STAGING: &str = "/staging";

/// A file that comes to a host at some time.
pub struct Arrival {
    pub at: u64,
    pub host: usize,
    pub name: String,
    pub bytes: Vec<u8>,
}

/// What everybody shares.
pub struct World {
    pub store: SimStore,
    pub turns: Turns,
    pub model: Arc<Mutex<Model>>,
    /// Where large contents are cut.
    pub cut: Cut,
    pub parts: Arc<Mutex<Parts>>,
    /// The hosts' disks.
    pub disks: Vec<Mutex<SimFs>>,
    /// The hosts ingest groups, and nothing else.
    pub groups: bool,
    /// What the hosts let the lake forget.
    pub remember: Option<Duration>,
    /// What has not arrived yet.
    pub arrivals: Mutex<Vec<Arrival>>,
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

impl World {
    pub fn effects(&self) -> u64 {
        self.model.lock().unwrap().effects
    }

    pub fn disk(&self, host: usize) -> SimFs {
        self.disks[host].lock().unwrap().clone()
    }

    /// What has arrived by now lies in staging.
    fn receive(&self) {
        let (now, calm) = (self.turns.time(), self.turns.phase() > Phase::Chaos);
        self.arrivals.lock().unwrap().retain(|arrival| {
            let is_there = arrival.at <= now || calm;
            if is_there {
                let mut upstream = self.disk(arrival.host).upstream();
                upstream.write(Path::new(STAGING).join(&arrival.name), &arrival.bytes).unwrap();
                upstream.sync();
            }
            !is_there
        });
    }
}

/// How a host reaches the store: each request takes a turn.
pub fn reach(world: &Arc<World>, host: usize, seed: u64) -> Reach {
    let (gated, waits) = (world.clone(), world.clone());
    let (store, parts) = (world.store.gated(Arc::new(move || gated.turns.pass(host))), world.parts.clone());
    Reach {
        open: Box::new(move |location| {
            let (store, parts) = (store.below(&format!("{}/", location.prefix)), parts.clone());
            Ok(Arc::new(Reached { store, host, parts }) as Arc<dyn Store>)
        }),
        clock: Arc::new(HostClock { world: world.clone(), host, dice: Mutex::new(Dice(seed)) }),
        on_away: Box::new(move |time| {
            waits.turns.pass_after(host, time);
            waits.turns.phase() < Phase::Ended
        }),
        away_max: None,
        flight: Box::new(OneByOne),
        racers: 0,
        remember: world.remember,
        cut: world.cut,
    }
}

pub fn options(reach: Reach, duplicates: DuplicateAction) -> Options {
    let settings = Settings {
        input: STAGING.into(),
        warehouse: "s3://lake/W".into(),
        manifests: "s3://lake/M".into(),
        duplicates,
        duplicates_dir: None,
    };
    Options {
        state_path: STATE.into(),
        settings: Some(settings),
        names: NameRules::default(),
        validate: None,
        require_checksum: false,
        layout: Layout::default(),
        identity: Identity::default(),
        quarantine: None,
        accepts: Accepts::default(),
        metrics: Arc::new(Metrics::default()),
        reach: Some(reach),
        on_full: Box::new(|| false),
        stop: Arc::default(),
    }
}

/// An ingestor without threads.
pub struct Ingestor {
    fs: SimFs,
    pub committer: Committer<SimFs>,
    settle: Settle,
    rules: NameRules,
    hasher: Hasher<SimFs>,
    scanner: Scanner<SimFs>,
    round: u32,
    /// The files that were refused, and the errors.
    pub failed: Vec<(String, String)>,
}

/// An ingestor that has read its journal and the log.
pub struct Recovered {
    fs: SimFs,
    pub engine: Engine<SimFs>,
    rules: NameRules,
}

impl Recovered {
    /// Hashes again what has to be, and commits it.
    pub fn begin(self) -> Result<Ingestor, Error> {
        let Recovered { fs, rules, engine } = self;
        let Engine { mut committer, shared, recovered, .. } = engine;
        let kept: Vec<_> = committer.index().kept().copied().collect();
        let mode = if rules.groups { Mode::Group(Duration::ZERO) } else { Mode::Stability(Duration::ZERO) };
        let mut settle = Settle::new(mode, Duration::ZERO, kept.into_iter());
        let mut hasher = Hasher::new(shared.clone());
        let mut resumed = Vec::new();
        for (id, mut settled) in recovered.resumed {
            settle.adopt(&mut settled);
            committer.resume(settled.ticket, id);
            resumed.push(hasher.hash(settled, false));
        }
        let scanner = Scanner::new(fs.clone(), shared.staging.clone(), rules.clone());
        let mut ingestor = Ingestor { fs, committer, settle, rules, hasher, scanner, round: 0, failed: Vec::new() };
        if !resumed.is_empty() {
            let reports = ingestor.committer.commit(resumed)?;
            ingestor.hear(&reports);
        }
        Ok(ingestor)
    }
}

impl Ingestor {
    pub fn start(fs: &SimFs, options: Options) -> Result<Ingestor, Error> {
        Ingestor::recover(fs, options)?.begin()
    }

    /// Opens the engine, and does not take up again what was half done.
    pub fn recover(fs: &SimFs, options: Options) -> Result<Recovered, Error> {
        let rules = options.names.clone();
        let Some(engine) = engine::open(fs, options)? else { unreachable!("settings are given") };
        Ok(Recovered { fs: fs.clone(), rules, engine })
    }

    fn now(&self) -> Duration {
        Duration::from_secs(60 * u64::from(self.round))
    }

    fn hear(&mut self, reports: &[Report]) {
        drop(self.committer.take_finished());
        let now = self.now();
        for report in reports {
            self.settle.report(report, now);
            if let Outcome::Refused(refusal) = &report.outcome
                && let Some(error) = refusal.error()
            {
                self.failed.push((report.name.to_string_lossy().into_owned(), error));
            }
        }
    }

    /// What the groups lack that are not complete.
    pub fn incomplete_groups(&mut self) -> Vec<Overdue> {
        let now = self.now();
        self.settle.overdue_groups(Duration::ZERO, now).0
    }

    /// Scans and commits, and leaves the lake alone. Returns the number of reports.
    pub fn commit_staged(&mut self) -> Result<usize, Error> {
        let batch = self.hash_staged()?;
        let reports = self.committer.commit(batch)?;
        self.hear(&reports);
        Ok(reports.len())
    }

    /// Scans, commits, and does what is due in the lake. True if nothing was to do.
    pub fn round(&mut self) -> Result<bool, Error> {
        let batch = self.hash_staged()?;
        let mut is_idle = batch.is_empty() && !self.committer.has_deferred() && !self.settle.groups_want_scan();
        if !is_idle || self.committer.has_pending() {
            let reports = self.committer.commit(batch)?;
            self.hear(&reports);
        }
        let reports = self.committer.turn_lake()?;
        is_idle &= reports.is_empty() && self.committer.is_lake_idle();
        self.hear(&reports);
        Ok(is_idle)
    }

    /// Reads group files, and hands out the groups that are complete.
    fn find_groups(&mut self, now: Duration) -> Result<(), Error> {
        let staging = self.fs.open_dir(Path::new(STAGING))?;
        while let Some((name, identity)) = self.settle.take_group_to_read() {
            let read = group::read(&self.fs, &staging, &name, &identity)
                .and_then(|members| self.scanner.check_members(members).map_err(NotRead::Faulty));
            self.settle.read_group((&name, identity), read.as_ref().map(Clone::clone), now);
        }
        while self.settle.release_group(self.fs.now(), usize::MAX) {}
        while let Some(group) = self.settle.take_to_ask() {
            let answer = self.committer.answer(&group)?;
            self.settle.report(&answer, now);
            while self.settle.release_group(self.fs.now(), usize::MAX) {}
        }
        while let Some(group) = self.settle.take_whole() {
            self.committer.take_group(group);
        }
        Ok(())
    }

    fn hash_staged(&mut self) -> Result<Vec<HashResult<SimFs>>, Error> {
        self.round += 1;
        let now = self.now();
        self.scanner.begin(&mut self.settle)?;
        while self.scanner.is_scanning() {
            self.scanner.slice(&mut self.settle, now)?;
        }
        if self.rules.groups {
            self.find_groups(now)?;
        }
        self.settle.release();
        let mut batch = Vec::new();
        while let Some(settled) = self.settle.take_ready(self.fs.now()) {
            if batch.is_empty() && self.round.is_multiple_of(2) && settled.group.is_none() {
                // As for a large file.
                self.committer.note(settled.clone());
                self.committer.flush()?;
            }
            batch.push(self.hasher.hash(settled, false));
        }
        Ok(batch)
    }
}

/// A host from its start until the history ends, or its disk dies.
pub fn live(world: &Arc<World>, me: usize, seed: u64) -> Result<(), Error> {
    let mut dice = Dice(!seed);
    let fs = world.disk(me);
    let mut options = options(reach(world, me, seed), DuplicateAction::Remove);
    options.names.groups = world.groups;
    let mut ingestor = Ingestor::start(&fs, options)?;
    let mut read_at = None;
    while world.turns.phase() < Phase::Ended {
        world.turns.pass_after(me, Duration::from_secs(dice.below(4)));
        world.receive();
        fs.upstream().advance(Duration::from_secs(20));
        let before = world.effects();
        if ingestor.round()? && is_empty(&fs) {
            // What others have done since is read before the host is at rest: one that has died for ever needs its help.
            if world.turns.phase() > Phase::Chaos && read_at != Some(before) {
                read_at = Some(before);
                world.turns.pass_after(me, LAKE_IDLE_READ_MAX);
                continue;
            }
            let ended = world.turns.rest(me, before, world.effects());
            if ended == Some(Phase::Calm) {
                world.store.flush();
            }
            world.turns.pass_after(me, Duration::from_secs(5));
        }
    }
    ingestor.committer.shut_down().map(drop).map_err(Error::from)
}

/// True if no file waits in staging. What a probe or a lost journal left there is hidden.
pub fn is_empty(fs: &SimFs) -> bool {
    let is_hidden = |name: &std::ffi::OsString| name.as_encoded_bytes().starts_with(b".csv-ingestor-");
    fs.upstream().list(STAGING).unwrap().iter().all(is_hidden)
}
