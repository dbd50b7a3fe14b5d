//! One log on a simulated store.

use std::time::Duration;

use super::*;
use crate::lake::flight::OneByOne;
use crate::lake::read::Read;
use crate::store::sim::{Faults, SimStore};

struct Still;

impl Clock for Still {
    fn steady(&self) -> Duration {
        Duration::ZERO
    }

    fn pause(&self, _: Duration) {}

    fn random(&self) -> [u8; 16] {
        [0; 16]
    }
}

fn log() -> Log {
    Log::new(LakeId([1; 16]), 0)
}

#[test]
fn the_end_is_found_in_few_requests() {
    for entries in [0, 1, 2, 3, 7, 8, 9, 100, 1000] {
        let store = SimStore::new(0, Faults::NONE);
        for number in 0..entries {
            store.put_foreign(&keys::slot(0, number), b"x");
        }
        for from in [0, entries / 2, entries.saturating_sub(1), entries] {
            let before = store.requests();
            assert_eq!(log().find_end(&store, from).unwrap(), entries, "from {from}");
            assert!(store.requests() - before <= 24, "{} requests", store.requests() - before);
        }
    }
}

#[test]
fn entries_are_read_up_to_the_first_that_is_missing() {
    let store = SimStore::new(0, Faults::NONE);
    for number in [0, 1, 2, 4, 5] {
        store.put_foreign(&keys::slot(0, number), &[number as u8]);
    }
    let ahead = |count| log().look_ahead(&store, &OneByOne, count).unwrap();
    assert_eq!(ahead(2), [[0], [1]].map(|bytes| Read::of(&bytes)));
    assert_eq!(ahead(100), [[0], [1], [2]].map(|bytes| Read::of(&bytes)));
    store.set_faults(Faults { reads_fail: 1000, ..Faults::NONE });
    assert!(log().look_ahead(&store, &OneByOne, 3).is_err());
}

#[test]
fn an_entry_behind_a_hole_is_damage() {
    let store = SimStore::new(0, Faults::NONE);
    assert_eq!(log().check_beyond(&store, &OneByOne), Ok(()));
    store.put_foreign(&keys::slot(0, 4), b"x");
    assert!(matches!(log().check_beyond(&store, &OneByOne), Err(Error::Hole { .. })));
    store.put_foreign(&keys::slot(0, 0), b"x");
    assert_eq!(log().check_beyond(&store, &OneByOne), Ok(()), "the log has grown meanwhile");
}

#[test]
fn the_slot_says_whose_entry_it_is() {
    let store = SimStore::new(0, Faults::NONE);
    assert_eq!(log().append(&store, &Still, b"a"), Ok(Appended::Ours));
    assert_eq!(log().append(&store, &Still, b"a"), Ok(Appended::Ours), "as after a lost answer");
    assert_eq!(log().append(&store, &Still, b"b"), Ok(Appended::Theirs));
    let unanswered = SimStore::new(0, Faults { unanswered: 1000, ..Faults::NONE });
    assert_eq!(log().append(&unanswered, &Still, b"a"), Ok(Appended::Ours));
    let refuses = SimStore::new(0, Faults { refused: 1000, ..Faults::NONE });
    assert_eq!(log().append(&refuses, &Still, b"a"), Err(Error::Undecided { key: log().slot() }));
}
