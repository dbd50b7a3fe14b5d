//! One history of a scenario: it can be forked, killed and cut off, continues after that, and is checked each time.

use std::sync::{Arc, Mutex, PoisonError};

use csv_ingestor::Error;
use csv_ingestor::engine;
use csv_ingestor::fs::sim::{Fault, SimFs, Survival};
use csv_ingestor::journal::lifecycle::FileState;
use csv_ingestor::pipeline::patience::OnFull;

use super::act::{self, Act};
use super::follower::{Follower, Ways};
use super::ingestor::{self, Ended, Listener};
use super::model::Model;
use super::scenario::{Moment, Phase, STATE, Scenario};
use super::view::{Digest, View};
use super::watch::Watch;

pub struct Play<'a> {
    pub scenario: &'a Scenario,
    pub fs: SimFs,
    pub model: Arc<Mutex<Model>>,
    /// How many of the scenario's acts are done.
    acts_done: usize,
    /// What happened so far, for messages.
    pub story: Vec<String>,
    /// A consumer that follows the manifests; forks have none.
    pub follower: Option<Follower>,
}

impl Listener for Play<'_> {
    fn recovered(&mut self, fs: &SimFs) {
        if !fs.is_dead() {
            let view = View::of(&mut fs.upstream());
            let verdict = self.model().recovered(&view);
            verdict.unwrap_or_else(|wrong| panic!("{}: after the recovery: {wrong}", self.told()));
        }
    }

    fn at(&mut self, moment: Moment, fs: &SimFs) -> bool {
        let acts = &self.scenario.acts;
        if !fs.is_dead() {
            while let Some((_, act)) = acts.get(self.acts_done).filter(|(due, _)| *due <= moment) {
                // In a later run, recovery may have the file in flight already.
                if let (Act::WrongSidecar(name), Phase::Scan, 1) = (act, moment.1, self.story.len()) {
                    let content = fs.upstream().read(act::path_of(*name)).unwrap_or_default();
                    self.model().hold_back(&content);
                }
                act::perform(act, &mut fs.upstream(), &mut self.model());
                self.acts_done += 1;
            }
        }
        self.acts_done < acts.len()
    }

    fn ingested(&mut self, digest: Digest) {
        self.model().reported(digest);
    }
}

impl<'a> Play<'a> {
    pub fn new(scenario: &'a Scenario) -> Play<'a> {
        let (fs, model) = scenario.machine();
        let model = Arc::new(Mutex::new(model));
        Play { scenario, fs, model, acts_done: 0, story: vec![scenario.name.to_owned()], follower: None }
    }

    pub fn model(&self) -> std::sync::MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn view(&self) -> View {
        View::of(&mut self.fs.upstream())
    }

    pub fn fork(&self) -> Play<'a> {
        let model = Arc::new(Mutex::new(self.model().clone()));
        let (fs, story) = (self.fs.fork(), self.story.clone());
        Play { scenario: self.scenario, fs, model, acts_done: self.acts_done, story, follower: None }
    }

    /// From now on a consumer follows the manifests.
    pub fn follow(&mut self, ways: Ways) -> &Follower {
        let (follower, fs) = Follower::of(&self.fs, ways);
        self.fs = fs;
        self.follower.insert(follower)
    }

    /// What the consumer was promised is kept so far.
    pub fn check_follower(&self) {
        let verdict = self.follower.as_ref().map_or(Ok(()), Follower::verdict);
        verdict.unwrap_or_else(|wrong| panic!("{}: a consumer: {wrong}", self.told()));
    }

    /// It has everything at the end.
    pub fn check_follower_at_the_end(&self) {
        let verdict = self.follower.as_ref().map_or(Ok(()), Follower::end);
        verdict.unwrap_or_else(|wrong| panic!("{}: a consumer, at the end: {wrong}", self.told()));
    }

    pub fn told(&self) -> String {
        self.story.join(", ")
    }

    /// Runs the ingestor until nothing is left to do, or until an injected fault ends it.
    pub fn run(&mut self) -> Result<Ended, Error> {
        self.run_waiting(Box::new(|| false))
    }

    /// The same, with a callback that decides whether to wait on a full disk.
    pub fn run_waiting(&mut self, on_full: OnFull) -> Result<Ended, Error> {
        let fs = self.fs.clone();
        ingestor::run(self.scenario, &fs, on_full, self)
    }

    /// The same, with checks before each operation.
    pub fn run_watched(&mut self, reader: Watch) -> (Result<Ended, Error>, Watch) {
        let watch = Arc::new(Mutex::new(reader.told(self.told())));
        let (looks, model) = (watch.clone(), self.model.clone());
        self.fs.set_hook(Box::new(move |call, upstream| {
            let model = model.lock().unwrap_or_else(PoisonError::into_inner);
            looks.lock().unwrap_or_else(PoisonError::into_inner).look(call, upstream, &model);
        }));
        let ended = self.run();
        self.fs.clear_hook();
        let watch = watch.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (ended, watch)
    }

    /// The next run stops at this operation; with `happened`, the operation is still carried out.
    pub fn stop_at(&mut self, operation: u64, happened: bool) {
        let fault = Fault::crash().at(operation);
        self.fs.inject(if happened { fault.happened() } else { fault });
        let when = if happened { "after" } else { "at" };
        self.story.push(format!("stopped {when} operation {operation}"));
    }

    /// Runs until this operation.
    pub fn run_until(&mut self, operation: u64, happened: bool) {
        self.stop_at(operation, happened);
        // A run that is stopped in the very last operations may nevertheless have finished.
        let _ = self.run();
        self.fs.clear_faults();
    }

    /// Only recovers, and is then killed. Returns the number of the last operation.
    pub fn recover(&mut self) -> u64 {
        let opened = engine::open(&self.fs, ingestor::options(self.scenario, &self.fs, Box::new(|| false)));
        drop(opened.unwrap_or_else(|error| panic!("{}: {error}", self.told())));
        let last = self.fs.operations();
        self.fs.kill();
        last
    }

    /// A power cut; the promises for the disk alone must hold.
    pub fn cut_power(&mut self, seed: u64) {
        self.fs.crash(seed);
        self.story.push(format!("power cut, seed {seed}"));
        let verdict = self.model().after_power_cut(&mut self.fs.upstream());
        verdict.unwrap_or_else(|wrong| panic!("{}: {wrong}", self.told()));
    }

    /// A sync has failed: data that upstreams had not made durable may be gone with it.
    pub fn note_failed_sync(&self) {
        let verdict = self.model().after_failed_sync(&mut self.fs.upstream());
        verdict.unwrap_or_else(|wrong| panic!("{}: {wrong}", self.told()));
    }

    /// The process is killed, the machine keeps running.
    pub fn kill(&mut self) {
        self.fs.kill();
        self.story.push("killed".to_owned());
        let verdict = self.model().always(&self.view());
        verdict.unwrap_or_else(|wrong| panic!("{}: {wrong}", self.told()));
    }

    /// Runs the rest of the history without a fault, and checks the end.
    pub fn end(&mut self) {
        let ended = self.run();
        self.check_ended(ended);
    }

    /// Checks that a run without a fault ended, and in the right state.
    pub fn check_ended(&self, ended: Result<Ended, Error>) {
        match ended {
            Ok(Ended::AtRest) => self.check_the_end(),
            // A file whose sidecar has another checksum is checked again and again.
            Ok(Ended::Waiting) if self.model().has_wrong_sidecars(&self.view()) => self.check_the_end(),
            Ok(Ended::Waiting) if self.scenario.groups() && self.has_incomplete_groups() => self.check_the_end(),
            Ok(Ended::Waiting) => panic!("{}: it does not come to an end", self.told()),
            Err(error) => panic!("{}: {error}", self.told()),
        }
    }

    fn has_incomplete_groups(&self) -> bool {
        let (view, mut model) = (self.view(), self.model());
        let refused = model.refused(&view);
        view.has_incomplete_groups(&refused, model.names_count())
    }

    fn check_the_end(&self) {
        let view = self.view();
        let mut model = self.model();
        model.forgive_split_groups(&view);
        let verdict = model.at_the_end(&view).and_then(|()| model.all_names_are_listed(&view));
        drop(model);
        verdict.unwrap_or_else(|wrong| panic!("{}: at the end: {wrong}", self.told()));
        let state = engine::read_state(&self.fs, std::path::Path::new(STATE)).unwrap();
        assert_eq!(state.open().count(), 0, "{}: half done at the end", self.told());
        assert_eq!(state.groups().count(), 0, "{}: a group is half done at the end", self.told());
        let listed = view.lines.len() as u64;
        assert_eq!(state.count(FileState::Manifested), listed, "{}: lines, as the journal counts them", self.told());
        let floor = self.fs.fork();
        floor.crash_to(Survival::Nothing);
        let verdict = self.model().survives_a_power_cut(&view, &View::of(&mut floor.upstream()));
        verdict.unwrap_or_else(|wrong| panic!("{}: at the end: {wrong}", self.told()));
    }

    /// Recovering twice is the same as once: the second recovery changes nothing visible.
    pub fn check_recovery_is_repeatable(&self) {
        let mut once = self.fork();
        let mut recover = || {
            once.recover();
            let view = once.view();
            let state = engine::read_state(&once.fs, std::path::Path::new(STATE)).unwrap();
            let open: Vec<_> = state.open().map(|ingest| (ingest.id, ingest.state)).collect();
            (view, open)
        };
        let (first, second) = (recover(), recover());
        assert_eq!(first, second, "{}: recovered once, and twice", self.told());
    }
}
