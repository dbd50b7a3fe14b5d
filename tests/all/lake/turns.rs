//! Hosts on threads of their own, whose requests are carried out one at a time in an order that a seed decides.
//!
//! Invariants:
//! - Exactly one thread runs between two turns, so a history depends on its seed alone.
//! - A host that is to die unwinds at its next turn, and its request is not sent.

use std::panic::resume_unwind;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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

struct Player {
    waits: bool,
    is_gone: bool,
    /// It has no turn before this time.
    until: u64,
    dies: bool,
    /// The number of effects that it has seen when it last found nothing to do.
    rested_at: Option<u64>,
}

struct Game {
    dice: Dice,
    players: Vec<Player>,
    turn: Option<usize>,
    time: u64,
    turns: u64,
    phase: Phase,
}

pub struct Turns {
    game: Mutex<Game>,
    wakes: Vec<Condvar>,
    chaos_until: u64,
    /// Each turn, in 1/1000, while there is chaos.
    deaths: u64,
    pauses: u64,
}

/// Turns after which a history is stuck.
const TURNS_MAX: u64 = 40_000;

impl Turns {
    pub fn new(seed: u64, hosts: usize, chaos_until: u64, deaths: u64, pauses: u64) -> Turns {
        let player = || Player { waits: false, is_gone: false, until: 0, dies: false, rested_at: None };
        let players = (0..hosts).map(|_| player()).collect();
        let game = Game { dice: Dice(seed), players, turn: None, time: 0, turns: 0, phase: Phase::Chaos };
        let wakes = (0..hosts).map(|_| Condvar::new()).collect();
        Turns { game: Mutex::new(game), wakes, chaos_until, deaths, pauses }
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
        if game.turn.is_some() || game.players.iter().any(|player| !player.is_gone && !player.waits) {
            return;
        }
        let Some(first) = game.players.iter().filter(|player| !player.is_gone).map(|player| player.until).min() else {
            return;
        };
        game.time = (game.time + 1).max(first);
        game.turns += 1;
        if game.phase == Phase::Chaos && game.time >= self.chaos_until {
            game.phase = Phase::Calm;
        }
        if game.turns > TURNS_MAX {
            game.phase = Phase::Ended;
        }
        let now = game.time;
        let ready: Vec<usize> = (0..game.players.len())
            .filter(|host| !game.players[*host].is_gone && game.players[*host].until <= now)
            .collect();
        let host = ready[game.dice.below(ready.len() as u64) as usize];
        if game.phase == Phase::Chaos {
            if game.dice.chance(self.pauses) {
                game.players[host].until = now + 5 + game.dice.below(300);
                return self.deal(game);
            }
            game.players[host].dies = game.dice.chance(self.deaths);
        }
        game.turn = Some(host);
        self.wakes[host].notify_one();
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
        game.players[host].waits = true;
        game.players[host].until = game.time + time.as_secs();
        self.deal(&mut game);
        while game.turn != Some(host) {
            game = self.wakes[host].wait(game).unwrap_or_else(PoisonError::into_inner);
        }
        game.turn = None;
        game.players[host].waits = false;
        if std::mem::take(&mut game.players[host].dies) {
            drop(game);
            resume_unwind(Box::new(Death));
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
