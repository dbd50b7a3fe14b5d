//! The whole ingestor on one thread, round by round, so that the same machine always behaves the same.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use csv_ingestor::Error;
use csv_ingestor::engine::{self, Engine, Options};
use csv_ingestor::fs::Fs as _;
use csv_ingestor::fs::sim::SimFs;
use csv_ingestor::journal::blank;
use csv_ingestor::journal::compact::compact;
use csv_ingestor::journal::record::{DuplicateAction, Identity};
use csv_ingestor::metrics::Metrics;
use csv_ingestor::pipeline::commit::Committer;
use csv_ingestor::pipeline::commit::publisher::Hands;
use csv_ingestor::pipeline::commit::relay::Relay;
use csv_ingestor::pipeline::group::{self, NotRead};
use csv_ingestor::pipeline::hash::Hasher;
use csv_ingestor::pipeline::in_order::InOrder;
use csv_ingestor::pipeline::patience::OnFull;
use csv_ingestor::pipeline::places::Accepts;
use csv_ingestor::pipeline::scan::Scanner;
use csv_ingestor::pipeline::settle::{Mode, Settle};
use csv_ingestor::pipeline::{HashResult, Outcome, Report};

use super::hands::TurnHands;
use super::scenario::{
    Compacts, DUPLICATES, MANIFESTS, Moment, Phase, QUARANTINE, REMEMBERED, STAGING, STATE, Scenario, WAREHOUSE,
};
use super::turns::Meanwhile;
use super::view::Digest;

/// Rounds of one run.
const ROUNDS_MAX: u32 = 40;
/// Consecutive rounds in which every file was refused; after that, more rounds would not change anything.
const FRUITLESS_ROUNDS_MAX: u32 = 3;
/// Time from one round to the next: longer than any refusal lasts.
const ROUND: Duration = HOUR;
/// Of this length is what a manifest has the lines of.
const HOUR: Duration = Duration::from_secs(3600);

/// Is notified of what happens, and may act then.
pub trait Listener {
    /// Recovery is complete.
    fn recovered(&mut self, fs: &SimFs);
    /// Other processes may act. True if more acts are due at a later moment.
    fn at(&mut self, moment: Moment, fs: &SimFs) -> bool;
    /// A file with this content was reported as ingested.
    fn ingested(&mut self, digest: Digest);
}

/// A listener that does nothing.
pub struct Nobody;

impl Listener for Nobody {
    fn recovered(&mut self, _: &SimFs) {}

    fn at(&mut self, _: Moment, _: &SimFs) -> bool {
        false
    }

    fn ingested(&mut self, _: Digest) {}
}

pub fn options(scenario: &Scenario, fs: &SimFs, on_full: OnFull) -> Options {
    Options {
        state_path: STATE.into(),
        settings: Some(scenario.settings()),
        names: scenario.names(),
        validate: scenario.validate,
        require_checksum: false,
        layout: scenario.layout(fs),
        identity: Identity { same_by: scenario.seldom.same_by, ..Identity::default() },
        quarantine: scenario.quarantine(),
        accepts: Accepts::default(),
        metrics: Arc::new(Metrics::default()),
        reach: None,
        on_full,
        stop: Arc::default(),
    }
}

/// How a run ended that was not ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nothing is left to do.
    AtRest,
    /// Files wait for something that did not happen within many hours: room, a writer that closes them, a disk that works.
    Waiting,
}

/// Runs the ingestor until nothing is left to do, or something fails.
pub fn run(scenario: &Scenario, fs: &SimFs, on_full: OnFull, listener: &mut dyn Listener) -> Result<Ended, Error> {
    run_with(scenario, options(scenario, fs, on_full), fs, listener)
}

/// The same, with these options.
pub fn run_with(
    scenario: &Scenario,
    options: Options,
    fs: &SimFs,
    listener: &mut dyn Listener,
) -> Result<Ended, Error> {
    let seed = match scenario.compacts {
        Compacts::Meanwhile { seed } => Some(seed),
        _ => scenario.seldom.relay,
    };
    let meanwhile = seed.map(|seed| Meanwhile::new(fs, seed));
    let fs = meanwhile.as_ref().map_or(fs, |meanwhile| meanwhile.fs());
    std::thread::scope(|scope| {
        let takes_turns = meanwhile.as_ref().map(Meanwhile::committer);
        let opened = engine::open(fs, options)?;
        let Some(engine) = opened else { return Ok(Ended::AtRest) };
        let mut run = Run::new(scenario, fs, engine, listener)?;
        let compactor = meanwhile.as_ref().map(|meanwhile| (meanwhile, scope));
        // Dropped before the committer, which holds the lock.
        let relays = compactor.filter(|_| scenario.seldom.relay.is_some());
        let mut hands = relays.map(|(meanwhile, scope)| TurnHands::new(meanwhile, scope, &run.committer));
        let mut hands = hands.as_mut().map(|hands| hands as &mut dyn Hands<SimFs>);
        let compacts = matches!(scenario.compacts, Compacts::Meanwhile { .. });
        let ended = run.rounds(compactor.filter(|_| compacts), &mut hands)?;
        drop(takes_turns);
        if let Some(meanwhile) = &meanwhile {
            meanwhile.finish();
        }
        run.committer.shut_down()?;
        Ok(ended)
    })
}

/// A compactor that may be started, and the scope of its thread.
type Compactor<'a, 'scope, 'env> = (&'a Meanwhile, &'scope std::thread::Scope<'scope, 'env>);

struct Run<'a> {
    scenario: &'a Scenario,
    fs: &'a SimFs,
    listener: &'a mut dyn Listener,
    committer: Committer<SimFs>,
    settle: Settle,
    hasher: Hasher<SimFs>,
    scanner: Scanner<SimFs>,
    in_order: InOrder<SimFs>,
    relay: Relay<SimFs>,
    batch: Vec<HashResult<SimFs>>,
    /// Contents of the files in flight, by name.
    digests: BTreeMap<Arc<OsStr>, Digest>,
}

impl<'a> Run<'a> {
    fn new(
        scenario: &'a Scenario,
        fs: &'a SimFs,
        engine: Engine<SimFs>,
        listener: &'a mut dyn Listener,
    ) -> Result<Run<'a>, Error> {
        let Engine { mut committer, shared, mut recovered, .. } = engine;
        listener.recovered(fs);
        let mode = match (scenario.sidecars, scenario.groups()) {
            (true, _) => Mode::Sidecar,
            (_, true) => Mode::Group(Duration::ZERO),
            _ => Mode::Stability(Duration::ZERO),
        };
        // Kept duplicates are skipped only where duplicates are kept.
        let keeps = scenario.duplicates == DuplicateAction::Keep;
        let kept: Vec<_> = committer.index().kept().filter(|_| keeps).copied().collect();
        let mut rules = scenario.names();
        rules.groups = scenario.groups();
        let settle = Settle::new(mode, Duration::ZERO, kept.into_iter()).with_sidecars(rules.sidecars.clone());
        let mut settle = settle.in_order(scenario.seldom.order);
        if scenario.seldom.order.is_some() {
            committer.keep_order();
        }
        let mut resumed = Vec::new();
        recovered.resumed.sort_unstable_by_key(|(id, _)| *id);
        for (id, mut settled) in recovered.resumed {
            settle.adopt(&mut settled);
            committer.resume(settled.ticket, id);
            resumed.push(settled);
        }
        let own = [WAREHOUSE, MANIFESTS, STATE, QUARANTINE, DUPLICATES].map(Into::into).to_vec();
        let scanner = Scanner::new(fs.clone(), shared.staging.clone(), rules).with_own(own);
        let (batch, digests) = (Vec::new(), BTreeMap::new());
        let hasher = Hasher::new(shared);
        let in_order = InOrder::new(scenario.seldom.order.is_some());
        let relay = Relay::default();
        let mut run =
            Run { scenario, fs, listener, committer, settle, hasher, scanner, in_order, relay, batch, digests };
        let hashed = resumed.into_iter().map(|settled| run.hasher.hash(settled, false)).collect();
        run.take(hashed);
        Ok(run)
    }

    /// Takes in what the workers return: where the order is kept, in the reverse order.
    fn take(&mut self, mut hashed: Vec<HashResult<SimFs>>) {
        for file in hashed.iter().flatten() {
            self.digests.insert(file.settled.name.clone(), file.sha256.hex());
        }
        if self.scenario.seldom.order.is_some() {
            hashed.reverse();
        }
        hashed.into_iter().for_each(|file| self.in_order.take(vec![file]));
        self.batch.extend(std::iter::from_fn(|| self.in_order.pass()));
    }

    /// Runs rounds until nothing is left to do and no other process will act.
    fn rounds<'scope>(
        &mut self,
        compactor: Option<Compactor<'_, 'scope, '_>>,
        hands: &mut Option<&mut dyn Hands<SimFs>>,
    ) -> Result<Ended, Error> {
        let mut fruitless = 0;
        for round in 0..ROUNDS_MAX {
            let mut more = self.listener.at((round, Phase::Scan), self.fs);
            let came_to = self.round(round, &mut more, hands)?;
            self.compact(compactor.as_ref())?;
            self.provide_blank(round);
            more |= self.listener.at((round, Phase::Rest), self.fs);
            fruitless = if more || came_to == Some(true) { 0 } else { fruitless + 1 };
            if came_to.is_none() && !more {
                return Ok(Ended::AtRest);
            } else if fruitless == FRUITLESS_ROUNDS_MAX {
                return Ok(Ended::Waiting);
            }
        }
        Ok(Ended::Waiting)
    }

    /// One scan, and the files that it finds. `None` if there was nothing to do, otherwise true unless every file was
    /// refused.
    fn round(
        &mut self,
        round: u32,
        more: &mut bool,
        hands: &mut Option<&mut dyn Hands<SimFs>>,
    ) -> Result<Option<bool>, Error> {
        let now = ROUND * (round + 1);
        self.scanner.begin(&mut self.settle)?;
        while self.scanner.is_scanning() {
            self.scanner.slice(&mut self.settle, now)?;
        }
        self.find_groups(now)?;
        self.settle.release();
        self.committer.note_gone(&self.settle.take_gone());
        *more |= self.settle.wants_another_scan() | self.settle.groups_want_scan();
        *more |= self.listener.at((round, Phase::Hash), self.fs);
        // The first file is noted before it is hashed, as a large one would be. Some files are synced one by one, in every
        // other round the first: if it is the only one, nothing else makes it durable.
        let mut hashed = Vec::new();
        let is_relayed = self.scenario.seldom.relay.is_some();
        while let Some(settled) = self.settle.take_ready(self.fs.now()) {
            let number = self.batch.len() + hashed.len();
            // Where the order is kept, not before the ids of those that wait.
            let may_wait = self.scenario.seldom.order.is_some() && self.committer.has_deferred();
            if number == 0 && !may_wait && settled.group.is_none() {
                self.committer.note(settled.clone());
                self.committer.flush()?;
            }
            hashed.push(self.hasher.hash(settled, number % 2 != round as usize % 2));
            if self.scenario.seldom.hour_ends && hashed.len() == 2 {
                self.fs.upstream().advance(HOUR);
            }
        }
        if is_relayed && !hashed.is_empty() {
            // The file that was noted takes longest to hash, so the smallest ingest id comes with the last batch.
            hashed.rotate_left(1);
        }
        self.take(hashed);
        *more |= self.listener.at((round, Phase::Commit), self.fs);
        if self.batch.is_empty() && !self.committer.has_pending() && !self.relay.is_busy() {
            self.committer.mark_idle()?;
            return Ok(None);
        }
        let reports = self.commit(round, hands)?;
        let in_vain = |report: &Report| matches!(report.outcome, Outcome::Refused(_));
        let fruit = !reports.iter().all(in_vain) || reports.is_empty();
        reports.iter().for_each(|report| self.hear(report, now));
        Ok(Some(fruit))
    }

    /// Commits what was hashed: in one batch, or in small ones that overlap. In every other round the last of these is
    /// still under way at the end, unless nothing follows it.
    fn commit(&mut self, round: u32, hands: &mut Option<&mut dyn Hands<SimFs>>) -> Result<Vec<Report>, Error> {
        let mut batch = std::mem::take(&mut self.batch);
        let Some(hands) = hands else {
            let reports = self.committer.commit(batch)?;
            drop(self.committer.take_finished());
            return Ok(reports);
        };
        let (mut reports, is_last) = (Vec::new(), batch.is_empty());
        // Of one file or of two.
        let size = 1 + self.scenario.seldom.relay.unwrap_or_default() as usize % 2;
        while !batch.is_empty() || self.committer.has_deferred() && !self.relay.is_busy() {
            let rest = batch.split_off(batch.len().min(size));
            let part = std::mem::replace(&mut batch, rest);
            reports.extend(self.relay.commit(&mut self.committer, *hands, part)?);
            drop(self.committer.take_finished());
        }
        if round % 2 == 1 || is_last {
            reports.extend(self.relay.settle(&mut self.committer, *hands)?);
        }
        if is_last {
            self.committer.flush()?;
        }
        Ok(reports)
    }

    /// Reads group files, and hands out the groups that are complete.
    fn find_groups(&mut self, now: Duration) -> Result<(), Error> {
        let staging = self.fs.open_dir(Path::new(STAGING))?;
        while let Some((name, identity)) = self.settle.take_group_to_read() {
            let read = group::read(self.fs, &staging, &name, &identity)
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

    fn hear(&mut self, report: &Report, now: Duration) {
        if let Outcome::Ingested { .. } = report.outcome
            && let Some(digest) = self.digests.get(&report.name)
        {
            self.listener.ingested(digest.clone());
        }
        self.settle.report(report, now);
    }

    /// In every other round, the zeros of the next segment are written before it is needed.
    fn provide_blank(&mut self, round: u32) {
        if let Some(capacity) = self.committer.journal().wants_blank().filter(|_| round.is_multiple_of(2))
            // A full disk is not the journal's concern yet.
            && let Ok(Some(blank)) = blank::make(self.fs, Path::new(STATE), capacity, &AtomicBool::new(false))
        {
            self.committer.take_blank(blank);
        }
    }

    fn compact<'scope>(&mut self, compactor: Option<&Compactor<'_, 'scope, '_>>) -> Result<(), Error> {
        if let Some((meanwhile, scope)) = compactor {
            if let Some(compacted) = meanwhile.result().transpose()?.flatten() {
                self.committer.adopt(compacted);
            }
            if meanwhile.is_free() && !self.relay.is_busy() {
                let until = self.committer.prepare_compaction(Some(REMEMBERED))?;
                meanwhile.start(scope, until);
            }
        } else if self.scenario.compacts == Compacts::Between {
            let until = self.committer.prepare_compaction(Some(REMEMBERED))?;
            if let Some(compacted) = compact(self.fs, Path::new(STATE), until, &AtomicBool::new(false))? {
                self.committer.adopt(compacted);
            }
        }
        Ok(())
    }
}
