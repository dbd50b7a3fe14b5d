//! An object store in memory that does to requests what networks, gateways and dying hosts do.
//!
//! By seed, a request
//! - never arrives: no effect; its sender gets `Kind::MayHaveHappened`, or `Kind::DidNotHappen` if it knows;
//! - arrives late, after a few other requests, after many, or when everything has ended ([`SimStore::flush`]), also if its
//!   sender has died meanwhile;
//! - has its effect and loses its answer;
//! - arrives twice, now and later;
//! - is refused: 429 and 503 as `Kind::SlowDown`, and a create with a 409 that comes as `Kind::Exists` although there
//!   is no object.
//!
//! Listings miss what was created a moment ago, and show what was deleted. A store that lies ([`Faults::lies`]) reports
//! success for a create of a key that exists.
//!
//! Invariants:
//! - The same seed and the same calls, in the same order, give the same results.
//! - Create and complete are atomic, and a read sees every effect before it: what the protocol requires of a store, this
//!   one keeps, unless it lies.

mod door;
mod faults;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::faults::{Effect, Faults, Watch};
use self::state::State;

/// Called before each request, outside of any lock.
pub type Gate = Arc<dyn Fn() + Send + Sync>;

/// A handle of a simulated store: its keys begin with a prefix of the store's.
#[derive(Clone)]
pub struct SimStore {
    state: Arc<Mutex<State>>,
    gate: Option<Gate>,
    prefix: String,
}

impl SimStore {
    /// An empty store.
    pub fn new(seed: u64, faults: Faults) -> SimStore {
        SimStore { state: Arc::new(Mutex::new(State::new(seed, faults))), gate: None, prefix: String::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A handle of the same store that sees only the keys with this prefix, and without it.
    pub fn below(&self, prefix: &str) -> SimStore {
        SimStore { prefix: format!("{}{prefix}", self.prefix), ..self.clone() }
    }

    /// A handle of the same store whose requests, and those of its clones, call this gate first.
    pub fn gated(&self, gate: Gate) -> SimStore {
        SimStore { gate: Some(gate), ..self.clone() }
    }

    /// Calls `watch` at each effect from now on.
    pub fn set_watch(&self, watch: Watch) {
        self.state().watch = Some(watch);
    }

    /// What happens to requests from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Everything that is still under way arrives, in random order.
    pub fn flush(&self) {
        self.state().flush();
    }

    /// An object is created by somebody else, at once, and the watch does not see it; false if there is one at the key.
    pub fn put_foreign(&self, key: &str, bytes: &[u8]) -> bool {
        let key = self.full(key);
        self.state().put_foreign(key, bytes)
    }

    /// An object is deleted by somebody else, at once, and the watch does not see it; false if there is none.
    pub fn remove_foreign(&self, key: &str) -> bool {
        let key = self.full(key);
        self.state().remove(&key)
    }

    /// The bytes of the object at the key, without a request.
    pub fn peek(&self, key: &str) -> Option<Vec<u8>> {
        self.state().bytes(&self.full(key))
    }

    /// All keys with this prefix, without a request.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let all = self.state().keys(&self.full(prefix));
        all.into_iter().map(|key| key[self.prefix.len()..].to_owned()).collect()
    }

    /// The ids of all uploads that are neither completed nor aborted, without a request.
    pub fn uploads(&self) -> Vec<String> {
        self.state().upload_ids()
    }

    /// The number of requests of all handles so far.
    pub fn requests(&self) -> u64 {
        self.state().requests
    }

    fn full(&self, key: &str) -> String {
        [self.prefix.as_str(), key].concat()
    }
}
