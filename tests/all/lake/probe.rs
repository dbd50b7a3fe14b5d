//! A probe of a store over a network that loses answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use csv_ingestor::lake::clock::Clock;
use csv_ingestor::lake::probe::probe;
use csv_ingestor::store::Store;
use csv_ingestor::store::sim::{Faults, SimStore};

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

/// Each probe has some 150 requests. If one lost answer ended it, 95 of these 100 would fail, and a host whose network
/// loses some answers would never get to know whether it may use its store.
#[test]
fn lost_answers_do_not_keep_a_store_from_being_probed() {
    let passed = |seed: u64| {
        let store = SimStore::new(seed, Faults { unanswered: 20, ..Faults::NONE });
        let handles: Vec<Arc<dyn Store>> = (0..16).map(|_| Arc::new(store.clone()) as Arc<dyn Store>).collect();
        probe(&handles, &Counting(AtomicU8::new(0))).ok()
    };
    let passed: Vec<_> = (0..100).filter_map(passed).collect();
    assert!(passed.iter().all(Vec::is_empty), "an answer that is lost is no defect: {passed:?}");
    assert!(passed.len() > 60, "{} of 100 probes come to their end", passed.len());
}
