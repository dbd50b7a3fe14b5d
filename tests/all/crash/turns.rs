//! Threads whose operations are carried out in an order that a seed decides: the committer, a compaction, and the
//! publishing of a batch.
//!
//! Invariants: the next turn is drawn only when all threads that take part wait for one, so the order does not depend on
//! the machine that the test runs on; a thread that takes no part never waits.

use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ScopedJoinHandle;

use csv_ingestor::fs::sim::SimFs;
use csv_ingestor::journal;
use csv_ingestor::journal::compact::{Compacted, compact};
use csv_ingestor::pipeline::Error as PipelineError;
use csv_ingestor::pipeline::commit::publisher::{Done, Job, Publisher};
use csv_ingestor::types::Lsn;

use super::scenario::STATE;

const COMMITTER: usize = 0;
const COMPACTOR: usize = 1;
const PUBLISHER: usize = 2;

thread_local! {
    static PLAYER: Cell<Option<usize>> = const { Cell::new(None) };
}

#[derive(Debug)]
struct Game {
    random: u64,
    /// Which threads take part, and which of these wait for a turn.
    plays: [bool; 3],
    waits: [bool; 3],
    turn: Option<usize>,
    /// The committer takes no part until the publisher has ended.
    awaits_publisher: bool,
}

impl Game {
    /// Gives the turn to one of the waiting threads, unless one is between two operations.
    fn deal(&mut self) {
        let players: Vec<usize> = (0..3).filter(|player| self.plays[*player]).collect();
        if self.turn.is_some() || players.is_empty() || players.iter().any(|player| !self.waits[*player]) {
            return;
        }
        let mut drawn = 0;
        if players.len() > 1 {
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            drawn = (self.random >> 33) as usize % players.len();
        }
        self.turn = Some(players[drawn]);
    }
}

struct Turns {
    game: Mutex<Game>,
    changed: Condvar,
}

impl Turns {
    fn game(&self) -> MutexGuard<'_, Game> {
        self.game.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before each operation: waits for the turn of this thread, and takes it.
    fn pass(&self) {
        let Some(me) = PLAYER.get() else { return };
        let mut game = self.game();
        if !game.plays[me] {
            return;
        }
        game.waits[me] = true;
        game.deal();
        self.changed.notify_all();
        while game.turn != Some(me) {
            game = self.changed.wait(game).unwrap_or_else(PoisonError::into_inner);
        }
        game.turn = None;
        game.waits[me] = false;
    }

    fn leave(&self, player: usize) {
        let mut game = self.game();
        game.plays[player] = false;
        game.waits[player] = false;
        if player == PUBLISHER && std::mem::take(&mut game.awaits_publisher) {
            game.plays[COMMITTER] = true;
        }
        game.deal();
        self.changed.notify_all();
    }

    /// Waits until the other thread waits, too, or has ended: what can be seen then does not depend on which is faster.
    fn settle(&self, other: usize) {
        let mut game = self.game();
        while game.plays[other] && !game.waits[other] {
            game = self.changed.wait(game).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

type Outcome = Result<Option<Compacted>, journal::Error>;

/// A thread that publishes a batch.
pub type Publishing<'scope> = ScopedJoinHandle<'scope, (Publisher<SimFs>, Result<Done<SimFs>, PipelineError>)>;

/// What goes on while batches are committed: a compaction, and the publishing of the batch before.
pub struct Meanwhile {
    fs: SimFs,
    turns: Arc<Turns>,
    result: Arc<Mutex<Option<Outcome>>>,
    under_way: Cell<bool>,
}

impl Meanwhile {
    pub fn new(fs: &SimFs, seed: u64) -> Meanwhile {
        let game =
            Game { random: seed, plays: [true, false, false], waits: [false; 3], turn: None, awaits_publisher: false };
        let turns = Arc::new(Turns { game: Mutex::new(game), changed: Condvar::new() });
        PLAYER.set(Some(COMMITTER));
        let gate = turns.clone();
        let fs = fs.gated(Arc::new(move || gate.pass()));
        Meanwhile { fs, turns, result: Arc::default(), under_way: Cell::new(false) }
    }

    /// A handle of the machine whose operations take turns.
    pub fn fs(&self) -> &SimFs {
        &self.fs
    }

    /// Starts a compaction of the records before `until`.
    pub fn start<'scope>(&self, scope: &'scope std::thread::Scope<'scope, '_>, until: Lsn) {
        let (fs, turns, result) = (self.fs.clone(), self.turns.clone(), self.result.clone());
        self.under_way.set(true);
        turns.game().plays[COMPACTOR] = true;
        scope.spawn(move || {
            PLAYER.set(Some(COMPACTOR));
            let _leaves = Leaves(&turns, COMPACTOR);
            let outcome = compact(&fs, Path::new(STATE), until, &AtomicBool::new(false));
            *result.lock().unwrap() = Some(outcome);
        });
    }

    /// The result of the compaction, if it has ended.
    pub fn result(&self) -> Option<Outcome> {
        self.turns.settle(COMPACTOR);
        let result = self.result.lock().unwrap().take();
        if result.is_some() {
            self.under_way.set(false);
        }
        result
    }

    pub fn is_free(&self) -> bool {
        !self.under_way.get()
    }

    /// Publishes a batch, in turns with the others.
    pub fn publish<'scope>(
        &self,
        scope: &'scope std::thread::Scope<'scope, '_>,
        mut publisher: Publisher<SimFs>,
        job: Job<SimFs>,
    ) -> Publishing<'scope> {
        let turns = self.turns.clone();
        turns.game().plays[PUBLISHER] = true;
        scope.spawn(move || {
            PLAYER.set(Some(PUBLISHER));
            let _leaves = Leaves(&turns, PUBLISHER);
            let done = publisher.publish(job);
            (publisher, done)
        })
    }

    /// The committer waits until the publisher has ended, and takes no turns meanwhile.
    pub fn await_publisher(&self) {
        let mut game = self.turns.game();
        if game.plays[PUBLISHER] {
            (game.plays[COMMITTER], game.awaits_publisher) = (false, true);
            game.deal();
            self.turns.changed.notify_all();
        }
        while game.plays[PUBLISHER] {
            game = self.turns.changed.wait(game).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// While this lives, the committer takes turns; after that, a running compaction finishes alone.
    pub fn committer(&self) -> impl Drop + '_ {
        Leaves(&self.turns, COMMITTER)
    }

    /// Waits for a running compaction to end.
    pub fn finish(&self) {
        let mut game = self.turns.game();
        while game.plays[COMPACTOR] {
            game = self.turns.changed.wait(game).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Leaves the game when dropped, also in a panic: otherwise the other thread would wait for ever.
struct Leaves<'a>(&'a Turns, usize);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.leave(self.1);
        PLAYER.set(None);
    }
}
