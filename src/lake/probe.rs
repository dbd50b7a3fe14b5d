//! Whether a store keeps what safety rests on: a create that one of several wins, and reads that see it.
//!
//! Invariants:
//! - The store must have its say: an answer that is missing is neither a pass nor a defect. The round begins again, with
//!   another key, and after some tries that is an error of the probe.
//! - A probe proves a defect, never its absence: a store that lets two hosts win one time in a thousand may pass.

use std::sync::{Arc, Barrier};

use super::bytes::sha256;
use super::clock::Clock;
use super::keys;
use crate::limits::{LAKE_PROBE_ROUNDS, LAKE_PROBE_ROUNDS_AT_ONCE, LAKE_PROBE_TRIES_MAX, LAKE_TRY_PAUSE};
use crate::store::{Error, Head, Kind, Result, Store, Verb};

/// What a store does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// A create of a key that exists reports success.
    #[error("a second create of the same key succeeds")]
    CreateAgain,
    /// A create of a key that exists replaces the object.
    #[error("a second create of the same key replaces the object")]
    Replaces,
    /// An object that was created is not found, or has other bytes.
    #[error("an object is not read as it was created")]
    NotRead,
    /// An object does not have the size and the SHA-256 with which it was created.
    #[error("an object has not the size and the metadata with which it was created")]
    Metadata,
    /// An object that was deleted is found, or its key cannot be used again.
    #[error("an object that was deleted is still there")]
    NotDeleted,
    /// Of several creates at once more than one succeeds.
    #[error("{0} of several creates of one key at once succeed")]
    Winners(usize),
    /// After several creates at once, the object is not the winner's.
    #[error("of several creates of one key at once, one succeeds and another's bytes are there")]
    NotTheWinners,
}

/// Tries the store out, with as many creates at once as there are handles. Returns what it does wrong.
pub fn probe(handles: &[Arc<dyn Store>], clock: &dyn Clock) -> Result<Vec<Defect>> {
    let mut defects = Vec::new();
    if let Some(store) = handles.first() {
        answered(clock, &mut |key| one_after_the_other(store.as_ref(), key, &mut defects))?;
    }
    for _ in 0..LAKE_PROBE_ROUNDS / LAKE_PROBE_ROUNDS_AT_ONCE {
        for found in rounds(handles, clock) {
            defects.extend(found?);
        }
    }
    defects.dedup();
    Ok(defects)
}

/// Some rounds at the same time, each with a key of its own: there are stores that let the losers of a round wait for seconds.
fn rounds(handles: &[Arc<dyn Store>], clock: &dyn Clock) -> Vec<Result<Vec<Defect>>> {
    let round = || {
        let mut defects = Vec::new();
        answered(clock, &mut |key| at_once(handles, key, &mut defects)).map(|()| defects)
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..LAKE_PROBE_ROUNDS_AT_ONCE).map(|_| scope.spawn(round)).collect();
        all.into_iter().map(|round| round.join().unwrap_or_else(|_| Err(unanswered(keys::OWN)))).collect()
    })
}

/// Repeats a round, each time with another key, until all its requests are answered. Where one answer in a hundred is lost,
/// a probe of some 150 requests would hardly ever come to its end otherwise.
fn answered(clock: &dyn Clock, round: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
    for tries in 1.. {
        match round(&key(clock)) {
            Err(error) if error.kind.may_pass() && tries < LAKE_PROBE_TRIES_MAX => clock.pause(LAKE_TRY_PAUSE * tries),
            result => return result,
        }
    }
    Ok(())
}

/// A key that nobody uses.
fn key(clock: &dyn Clock) -> String {
    let random: String = clock.random().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}probe/{random}", keys::OWN)
}

/// None if the object does not exist.
fn found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// True if this create succeeded.
fn wins(store: &dyn Store, key: &str, bytes: &[u8]) -> Result<bool> {
    match store.create(key, bytes, &sha256(bytes)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind == Kind::Exists => Ok(false),
        Err(error) => Err(error),
    }
}

fn one_after_the_other(store: &dyn Store, key: &str, defects: &mut Vec<Defect>) -> Result<()> {
    let (first, second) = (b"first".as_slice(), b"the second".as_slice());
    let mut expect = |holds: bool, defect| {
        if !holds {
            defects.push(defect);
        }
    };
    expect(wins(store, key, first)?, Defect::NotDeleted);
    expect(found(store.get(key))?.as_deref() == Some(first), Defect::NotRead);
    let head = Head { size: first.len() as u64, sha256: Some(sha256(first)) };
    expect(found(store.head(key))? == Some(head), Defect::Metadata);
    expect(!wins(store, key, second)?, Defect::CreateAgain);
    expect(found(store.get(key))?.as_deref() == Some(first), Defect::Replaces);
    store.delete(key)?;
    expect(found(store.head(key))?.is_none(), Defect::NotDeleted);
    expect(wins(store, key, second)?, Defect::NotDeleted);
    store.delete(key)
}

fn at_once(handles: &[Arc<dyn Store>], key: &str, defects: &mut Vec<Defect>) -> Result<()> {
    let barrier = &Barrier::new(handles.len());
    let results: Vec<Result<bool>> = std::thread::scope(|scope| {
        let mut racers = Vec::with_capacity(handles.len());
        for (place, store) in handles.iter().enumerate() {
            racers.push(scope.spawn(move || {
                barrier.wait();
                wins(store.as_ref(), key, bytes_of(place).as_bytes())
            }));
        }
        racers.into_iter().map(|racer| racer.join().unwrap_or_else(|_| Err(unanswered(key)))).collect()
    });
    let won = results.into_iter().collect::<Result<Vec<bool>>>()?;
    let winners: Vec<usize> = (0..won.len()).filter(|place| won[*place]).collect();
    let Some(store) = handles.first() else { return Ok(()) };
    let bytes = found(store.get(key))?;
    if winners.len() != 1 {
        defects.push(Defect::Winners(winners.len()));
    } else if bytes != Some(bytes_of(winners[0]).into_bytes()) {
        defects.push(Defect::NotTheWinners);
    }
    store.delete(key)
}

/// What a racer creates.
fn bytes_of(racer: usize) -> String {
    format!("racer {racer}")
}

fn unanswered(key: &str) -> Error {
    Error { verb: Verb::Create, key: key.to_owned(), kind: Kind::MayHaveHappened, detail: String::new() }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::store::sim::{Faults, SimStore};

    struct Counting(AtomicU8);

    impl Clock for Counting {
        fn steady(&self) -> Duration {
            Duration::ZERO
        }

        fn pause(&self, _: Duration) {}

        fn random(&self) -> [u8; 16] {
            [self.0.fetch_add(1, Ordering::Relaxed); 16]
        }
    }

    fn probed(faults: Faults) -> Result<Vec<Defect>> {
        let store = SimStore::new(1, faults);
        let handles: Vec<Arc<dyn Store>> = (0..16).map(|_| Arc::new(store.clone()) as Arc<dyn Store>).collect();
        let defects = probe(&handles, &Counting(AtomicU8::new(0)));
        assert!(defects.is_err() || store.keys("").is_empty(), "the probe leaves nothing");
        defects
    }

    #[test]
    fn a_good_store_passes() {
        assert_eq!(probed(Faults::NONE), Ok(Vec::new()));
    }

    #[test]
    fn a_store_that_lies_is_found_out() {
        assert_eq!(probed(Faults { lies: 1000, ..Faults::NONE }), Ok(vec![Defect::CreateAgain, Defect::Winners(16)]));
        let often = probed(Faults { lies: 100, ..Faults::NONE }).unwrap();
        assert!(often.iter().any(|defect| matches!(defect, Defect::Winners(2..))), "{often:?}");
    }

    #[test]
    fn a_store_that_does_not_answer_neither_passes_nor_fails() {
        assert_eq!(probed(Faults { unanswered: 1000, ..Faults::NONE }).unwrap_err().kind, Kind::MayHaveHappened);
    }
}
