//! Hosts whose requests are carried out one at a time in an order that a seed decides.
//!
//! A host that makes several requests at once has several *lanes*: lane 0 is the host itself. Hosts and lanes are
//! coroutines of one thread, each with a stack of its own: a change of threads would take longer than most turns.
//! [`Turns::run`] resumes the hosts, and a host with lanes resumes these.
//!
//! Invariants:
//! - Exactly one coroutine runs between two turns, so a history depends on its seed alone.
//! - Who waits for a turn holds no lock: the others run on the same thread.
//! - A host that is to die unwinds at its next turn, and its request is not sent. All of its lanes unwind then.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use csv_ingestor::lake::flight::Flight;
use generator::{Generator, Gn};

/// A small generator, so that a history is its seed.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = (self.0 ^ (self.0 >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed >> 33) % bound.max(1)
    }

    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}

/// What unwinds a host that dies.
pub struct Death;

/// A coroutine's stack, in words: a megabyte, of which only what is used takes room.
const STACK_WORDS: usize = (1 << 20) / size_of::<usize>();

type Coroutine<'a> = Generator<'a, (), ()>;

/// A coroutine that has not begun.
fn coroutine<'a>(body: impl FnOnce() + Send + 'a) -> Coroutine<'a> {
    Gn::new_opt(STACK_WORDS, body)
}

/// Goes on with a coroutine until it suspends itself or ends; a panic that it does not catch comes out here.
fn resume(coroutine: &mut Coroutine<'_>) {
    coroutine.resume();
}

/// Goes on with whoever has resumed this coroutine, until it is resumed again.
fn suspend() {
    // What replaces it needs a handle, and the protocol between here and the hosts has no place for one.
    #[expect(deprecated)]
    generator::yield_with(());
}

/// Several requests of a host at once, each in a lane of its own.
pub struct Lanes {
    pub turns: Arc<Turns>,
    pub host: usize,
    pub most: usize,
}

impl Flight for Lanes {
    fn each(&self, at_once: usize, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        let lanes = self.most.min(at_once).min(jobs);
        if lanes <= 1 {
            return (0..jobs).for_each(job);
        }
        let (next, ended) = (AtomicUsize::new(0), Mutex::new(None));
        self.turns.fork(self.host, lanes);
        let lane = || {
            let run = || {
                // From here on one lane runs at a time.
                self.turns.pass(self.host);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= jobs {
                        break;
                    }
                    job(number);
                }
            };
            if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
                *ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(payload);
            }
            self.turns.join(self.host);
        };
        let mut coroutines: Vec<_> = (0..lanes).map(|_| coroutine(lane)).collect();
        // Each goes to its first turn.
        for (index, coroutine) in coroutines.iter_mut().enumerate() {
            self.turns.enter(self.host, index + 1);
            resume(coroutine);
        }
        while coroutines.iter().any(|coroutine| !coroutine.is_done()) {
            match self.turns.next_of(self.host) {
                Next::Lane(lane) => resume(&mut coroutines[lane - 1]),
                Next::All => coroutines.iter_mut().for_each(resume),
                Next::Elsewhere => suspend(),
            }
        }
        drop(coroutines);
        self.turns.enter(self.host, 0);
        if let Some(payload) = ended.into_inner().unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(payload);
        }
    }
}

/// What the world is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Hosts die and pause.
    Chaos,
    /// They do not any more, until all of them are at rest.
    Calm,
    /// What was still under way has arrived; until all hosts are at rest again.
    Late,
    /// Everything is over.
    Ended,
}

/// Who of a host goes on.
enum Next {
    Lane(usize),
    /// All that have not ended: the host dies.
    All,
    /// Nobody: another host has the turn.
    Elsewhere,
}

struct Player {
    /// Its lanes that do not wait for a turn.
    running: usize,
    /// The lanes that wait for a turn, ascending.
    waiting: Vec<usize>,
    /// The lane that runs, or ran last.
    lane: usize,
    /// Lanes besides lane 0 that have not ended.
    lanes: usize,
    is_gone: bool,
    /// It has no turn before this time.
    until: u64,
    dies: bool,
    /// All its lanes unwind.
    is_dying: bool,
    /// The number of effects that it has seen when it last found nothing to do.
    rested_at: Option<u64>,
}

struct Game {
    dice: Dice,
    players: Vec<Player>,
    turn: Option<(usize, usize)>,
    /// The host that had the last one.
    last: Option<usize>,
    time: u64,
    turns: u64,
    phase: Phase,
}

pub struct Turns {
    game: Mutex<Game>,
    chaos_until: u64,
    /// Each turn, in 1/1000, while there is chaos.
    deaths: u64,
    pauses: u64,
}

/// Of 1000 turns so many go to the host that had the last one, besides those that do by chance.
const AGAIN: u64 = 500;
/// Turns after which a history is stuck.
const TURNS_MAX: u64 = 40_000;

impl Turns {
    pub fn new(seed: u64, hosts: usize, chaos_until: u64, deaths: u64, pauses: u64) -> Turns {
        let player = |_| Player {
            running: 1,
            waiting: Vec::new(),
            lane: 0,
            lanes: 0,
            is_gone: false,
            until: 0,
            dies: false,
            is_dying: false,
            rested_at: None,
        };
        let players = (0..hosts).map(player).collect();
        let game = Game { dice: Dice(seed), players, turn: None, last: None, time: 0, turns: 0, phase: Phase::Chaos };
        Turns { game: Mutex::new(game), chaos_until, deaths, pauses }
    }

    fn game(&self) -> MutexGuard<'_, Game> {
        self.game.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn time(&self) -> u64 {
        self.game().time
    }

    pub fn phase(&self) -> Phase {
        self.game().phase
    }

    /// Gives the turn to a host that may have one. Only when all that are left wait.
    fn deal(&self, game: &mut Game) {
        if game.turn.is_some() || game.players.iter().any(|player| !player.is_gone && player.running > 0) {
            return;
        }
        let Some(first) = game.players.iter().filter(|player| !player.is_gone).map(|player| player.until).min() else {
            return;
        };
        game.time = (game.time + 1).max(first);
        game.turns += 1;
        if game.phase == Phase::Chaos && game.time >= self.chaos_until {
            game.phase = Phase::Calm;
            // The last files come now: who has found nothing to do before has to look again.
            game.players.iter_mut().for_each(|player| player.rested_at = None);
        }
        if game.turns > TURNS_MAX {
            game.phase = Phase::Ended;
        }
        let now = game.time;
        let is_ready = |player: &Player| !player.is_gone && player.until <= now;
        // A host has often several turns in a row: that is as good, and takes no change of coroutines.
        let again = game.last.filter(|last| game.dice.chance(AGAIN) && is_ready(&game.players[*last]));
        let host = again.unwrap_or_else(|| {
            let ready = game.players.iter().filter(|player| is_ready(player)).count();
            let drawn = game.dice.below(ready as u64) as usize;
            let mut ready = (0..game.players.len()).filter(|host| is_ready(&game.players[*host]));
            ready.nth(drawn).expect("a player is ready")
        });
        game.last = Some(host);
        if game.phase == Phase::Chaos {
            if game.dice.chance(self.pauses) {
                game.players[host].until = now + 5 + game.dice.below(300);
                return self.deal(game);
            }
            game.players[host].dies = game.dice.chance(self.deaths);
        }
        let lanes = game.players[host].waiting.len() as u64;
        let lane = if lanes > 1 { game.dice.below(lanes) } else { 0 };
        game.turn = Some((host, game.players[host].waiting[lane as usize]));
    }

    /// Runs the hosts until all of them have left. Returns their results.
    pub fn run<T: Send>(&self, hosts: Vec<impl FnOnce() -> T + Send>) -> Vec<T> {
        let mut results: Vec<Option<T>> = hosts.iter().map(|_| None).collect();
        let coroutines = hosts.into_iter().zip(&mut results);
        let mut coroutines: Vec<_> =
            coroutines.map(|(host, result)| coroutine(move || *result = Some(host()))).collect();
        // Each goes to its first turn.
        coroutines.iter_mut().for_each(resume);
        loop {
            let turn = self.game().turn;
            let Some((host, _)) = turn else { break };
            resume(&mut coroutines[host]);
        }
        assert!(coroutines.iter().all(Generator::is_done), "nobody has a turn, and not all hosts have left");
        drop(coroutines);
        results.into_iter().flatten().collect()
    }

    /// The host's lane that runs from now on.
    fn enter(&self, host: usize, lane: usize) {
        self.game().players[host].lane = lane;
    }

    /// Who of a host with lanes goes on.
    fn next_of(&self, host: usize) -> Next {
        let mut game = self.game();
        let turn = game.turn;
        let player = &mut game.players[host];
        if player.is_dying {
            return Next::All;
        }
        match turn {
            Some((next, lane)) if next == host => {
                player.lane = lane;
                Next::Lane(lane)
            }
            _ => Next::Elsewhere,
        }
    }

    /// True while hosts may die.
    pub fn may_die(&self) -> bool {
        self.deaths > 0 && self.phase() == Phase::Chaos
    }

    /// Before each request: waits for this host's next turn. Unwinds if the host dies.
    pub fn pass(&self, host: usize) {
        self.pass_after(host, Duration::ZERO);
    }

    /// The same, but not before some time has passed: a second is one unit.
    pub fn pass_after(&self, host: usize, time: Duration) {
        let mut game = self.game();
        let now = game.time;
        let player = &mut game.players[host];
        let lane = player.lane;
        if !player.is_dying {
            player.running -= 1;
            let at = player.waiting.partition_point(|waiting| *waiting < lane);
            player.waiting.insert(at, lane);
            player.until = now + time.as_secs();
            self.deal(&mut game);
            while game.turn != Some((host, lane)) && !game.players[host].is_dying {
                drop(game);
                suspend();
                game = self.game();
            }
        }
        let player = &mut game.players[host];
        if player.is_dying {
            drop(game);
            resume_unwind(Box::new(Death));
        }
        player.waiting.retain(|waiting| *waiting != lane);
        player.running += 1;
        let dies = std::mem::take(&mut player.dies);
        if dies && player.lanes > 0 {
            // The others unwind as well; until they have, nobody has a turn.
            player.is_dying = true;
            player.running += player.waiting.len();
            player.waiting.clear();
        }
        game.turn = None;
        drop(game);
        if dies {
            resume_unwind(Box::new(Death));
        }
    }

    /// Lane 0 waits for so many others from now on.
    fn fork(&self, host: usize, lanes: usize) {
        let mut game = self.game();
        let player = &mut game.players[host];
        (player.running, player.lanes) = (player.running - 1 + lanes, lanes);
    }

    /// A lane has ended. After the last one, lane 0 goes on.
    fn join(&self, host: usize) {
        let mut game = self.game();
        let player = &mut game.players[host];
        player.lanes -= 1;
        if player.lanes == 0 {
            player.is_dying = false;
        } else {
            player.running -= 1;
            self.deal(&mut game);
        }
    }

    /// The host has found nothing to do, and there were so many effects when it began to look; there are so many now.
    /// Returns the phase that ends with this, if every host is at rest.
    pub fn rest(&self, host: usize, before: u64, now: u64) -> Option<Phase> {
        let mut game = self.game();
        game.players[host].rested_at = (before == now).then_some(now);
        let all = game.players.iter().all(|player| player.is_gone || player.rested_at == Some(now));
        let ends = game.phase;
        if !all {
            return None;
        }
        game.phase = match ends {
            Phase::Chaos => return None,
            Phase::Calm => Phase::Late,
            Phase::Late | Phase::Ended => Phase::Ended,
        };
        game.players.iter_mut().for_each(|player| player.rested_at = None);
        Some(ends)
    }

    /// The host has no more turns.
    pub fn leave(&self, host: usize) {
        let mut game = self.game();
        game.players[host].is_gone = true;
        self.deal(&mut game);
    }

    /// Ends the history.
    pub fn end(&self) {
        self.game().phase = Phase::Ended;
    }

    /// True if the history went on for too long.
    pub fn is_stuck(&self) -> bool {
        self.game().turns > TURNS_MAX
    }
}
