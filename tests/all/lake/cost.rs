//! Requests that a host makes.

use super::desk::{Desk, day};

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
