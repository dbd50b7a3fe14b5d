//! The simulated machine as one value behind a lock, with two interfaces: one for the program under test, operation by
//! operation, and one for the other programs.
//!
//! Invariant: no call blocks, except on the lock, which is held during one operation.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::faults::{self, Injection, Log, Logged, Op};
use super::state::State;
use super::units::errno;
use crate::fs::{Error, Result};

/// An operation that is about to run.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Its number.
    pub number: u64,
    /// Its kind.
    pub op: Op,
    /// Its path (of a rename: the old name).
    pub path: &'a Path,
}

/// Called before each operation. It may act as other programs, and fork the machine; it must not call the [`SimFs`]
/// itself nor drop a file of it, which would deadlock.
pub type Hook = Box<dyn FnMut(&Call<'_>, &mut Upstream<'_>) + Send>;

/// Called before each operation, on its thread, without the lock: it may block the thread, and so choose the order of
/// the operations of several threads.
pub type Gate = Arc<dyn Fn() + Send + Sync>;

/// A simulated machine's file systems; clones are the same machine.
#[derive(Clone)]
pub struct SimFs {
    pub(super) world: Arc<Mutex<World>>,
    /// The gate of this handle and of its clones.
    pub(super) gate: Option<Gate>,
    /// It is that of another program.
    pub(super) is_beside: bool,
}

/// The machine, its hook and its log.
pub(super) struct World {
    pub(super) state: State,
    pub(super) hook: Option<Hook>,
    pub(super) log: Log,
}

/// How an operation runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Whole,
    /// It transfers only a part.
    Short,
    /// A sync that loses the data it should write.
    Lose,
}

/// A new machine, without hook and with an empty log.
pub(super) fn machine(state: State) -> SimFs {
    SimFs {
        world: Arc::new(Mutex::new(World { state, hook: None, log: Log::default() })),
        gate: None,
        is_beside: false,
    }
}

impl World {
    /// Numbers an operation, calls the hook, and decides its outcome. None if the process is dead.
    pub(super) fn begin(&mut self, op: Op, path: &Path) -> Option<Injection> {
        let state = &mut self.state;
        if state.dead {
            return None;
        }
        let number = state.operations + 1;
        if let Some(hook) = &mut self.hook {
            hook(&Call { number, op, path }, &mut Upstream::inside(state));
        }
        state.operations = number;
        state.counts[op as usize] += 1;
        state.tick();
        Some(faults::verdict(&mut state.faults, number, op, path))
    }

    pub(super) fn carry_out<R>(
        &mut self,
        op: Op,
        verdict: Injection,
        body: impl FnOnce(&mut State, Effect) -> io::Result<R>,
    ) -> io::Result<R> {
        match verdict {
            Injection::Go => body(&mut self.state, Effect::Whole),
            Injection::Short => body(&mut self.state, Effect::Short),
            Injection::Fail { errno: code, happened } => {
                if happened {
                    body(&mut self.state, Effect::Whole)?;
                } else if op.is_sync() && code != libc::EINTR {
                    body(&mut self.state, Effect::Lose)?;
                }
                Err(errno(code))
            }
            Injection::Crash { happened } => {
                if happened {
                    // The process is dead: no caller receives the result.
                    let _ = body(&mut self.state, Effect::Whole);
                }
                self.state.dead = true;
                Err(errno(libc::EIO))
            }
        }
    }
}

impl SimFs {
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        // A test that panicked with the lock held leaves plain data, which is safe to use.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one operation of the trait.
    pub(super) fn run<R>(
        &self,
        op: Op,
        path: PathBuf,
        body: impl FnOnce(&mut State, Effect) -> io::Result<R>,
    ) -> Result<R> {
        if let Some(gate) = &self.gate {
            gate();
        }
        let mut world = self.world();
        if self.is_beside {
            world.state.tick();
            world.state.behaviour.is_beside = true;
            let result = body(&mut world.state, Effect::Whole);
            world.state.behaviour.is_beside = false;
            return result.map_err(|source| Error { op: op.syscall(), path, source });
        }
        let Some(verdict) = world.begin(op, &path) else {
            return Err(Error { op: op.syscall(), path, source: errno(libc::EIO) });
        };
        let result = world.carry_out(op, verdict, body);
        let code = result.as_ref().err().and_then(io::Error::raw_os_error);
        let number = world.state.operations;
        world.log.push(Logged { number, op, path: path.clone(), errno: code });
        result.map_err(|source| Error { op: op.syscall(), path, source })
    }
}

/// The actions of other programs. Paths are absolute; links in them are followed, at the end only by operations on the
/// content.
pub struct Upstream<'a> {
    machine: Machine<'a>,
}

enum Machine<'a> {
    /// In a test, between operations.
    Outside(SimFs),
    /// In a hook, before an operation.
    Inside(&'a mut State),
}

impl<'a> Upstream<'a> {
    pub(super) fn outside(fs: SimFs) -> Upstream<'static> {
        Upstream { machine: Machine::Outside(fs) }
    }

    pub(super) fn inside(state: &'a mut State) -> Upstream<'a> {
        Upstream { machine: Machine::Inside(state) }
    }

    pub(super) fn with<R>(&mut self, body: impl FnOnce(&mut State) -> R) -> R {
        match &mut self.machine {
            Machine::Outside(fs) => body(&mut fs.world().state),
            Machine::Inside(state) => body(state),
        }
    }
}
