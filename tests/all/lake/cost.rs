//! Requests that a host makes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use csv_ingestor::lake::host::Ingested;
use csv_ingestor::store::Verb;

use super::desk::{Desk, day};
use super::door::{Answer, Door};
use super::files::Files;
use super::life::Notes;
use super::model::WAREHOUSE;

#[test]
fn a_batch_of_n_new_files_takes_n_and_four_requests_and_a_duplicate_none() {
    let desk = Desk::new();
    let mut host = desk.host(1);
    host.read().unwrap();
    let files = desk.files(100);
    let batch = files.contents(day(0));
    let before = desk.store.requests();
    host.ingest(&batch, &files).unwrap();
    assert_eq!(host.help(&files).unwrap().finished, 1);
    // One read of the end, the pack, the entry, the data objects, the manifest object, and the end of the pack.
    assert_eq!(desk.store.requests() - before, 1 + 2 + 100 + 1 + 1);
    let before = desk.store.requests();
    for content in &batch {
        assert_eq!(host.state(&content.sha256), csv_ingestor::lake::host::State::Listed);
    }
    assert_eq!(desk.store.requests(), before);
    host.ingest(&batch, &files).unwrap();
    assert_eq!(desk.store.requests(), before + 1, "one read of the end for the whole batch");
}

/// While a host stores its pack, another one appends: the slot that it takes is not tried for.
#[test]
fn a_slot_that_is_taken_while_a_pack_is_stored_is_not_lost() {
    for others_write in [true, false] {
        let desk = Arc::new(Desk::new());
        let (rival, has_come) = (desk.clone(), AtomicBool::new(false));
        let tries = Arc::new(AtomicUsize::new(0));
        let counted = tries.clone();
        let rule = move |verb, key: &str| {
            if verb == Verb::Create && key.contains("/log/") {
                counted.fetch_add(1, Ordering::SeqCst);
            }
            if verb == Verb::Create && key.contains("/pack/") && !has_come.swap(true, Ordering::SeqCst) {
                rival.claim(2, &["the rival's"]);
            }
            Answer::Right
        };
        if others_write {
            desk.claim(2, &["an earlier one"]);
        }
        let door: Arc<Door<'static>> = Arc::new(Door::new(desk.store.below(WAREHOUSE), rule));
        let mut host = desk.host_on(1, door, &Notes::default());
        host.read().unwrap();
        let files = Files::of(&["ours"]);
        let slot = if others_write { 2 } else { 1 };
        assert_eq!(host.ingest(&files.contents(day(0)), &files).unwrap(), [Ingested::Claimed(slot)]);
        // A host that has not heard of others loses a slot.
        assert_eq!(tries.load(Ordering::SeqCst), if others_write { 1 } else { 2 });
    }
}
