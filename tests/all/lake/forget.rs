//! Forgetting what is old.

use std::time::Duration;

use csv_ingestor::lake::host::{Age, Host, State};
use csv_ingestor::lake::keys;
use csv_ingestor::store::Store as _;
use csv_ingestor::types::UnixMillis;

use super::desk::{Desk, day};
use super::files::Files;
use super::model::{WAREHOUSE, sha256};

/// Claims these contents, one entry each, and finishes them.
fn ingest(host: &mut Host, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let files = Files::of(&[&format!("{number}")]);
        host.ingest(&files.contents(day(0)), &files).unwrap();
        assert_eq!(host.help(&files).unwrap().finished, 1);
    }
}

/// When an entry was written: a simulated store counts its requests.
fn written(desk: &Desk, entry: u64) -> UnixMillis {
    desk.store.below(WAREHOUSE).written(&keys::slot(0, entry)).unwrap().unwrap()
}

/// What was written before this time.
fn before(time: UnixMillis) -> Age {
    Age { now: time, age: Duration::ZERO }
}

fn forgotten(host: &Host, contents: u64) -> Vec<u64> {
    (0..contents).filter(|number| host.state(&sha256(format!("{number}").as_bytes())) == State::New).collect()
}

#[test]
fn what_is_older_is_forgotten_and_nothing_else_is() {
    const CONTENTS: u64 = 24;
    let desk = Desk::new();
    let mut host = desk.host(1);
    ingest(&mut host, 0..CONTENTS);
    let mut before_this = 0;
    for entry in [0, 1, 2, 3, 7, 8, 15, 23, 24] {
        let time = if entry == CONTENTS { UnixMillis(desk.store.requests()) } else { written(&desk, entry) };
        let count = host.forget_older(0, &before(time), Duration::ZERO).unwrap();
        assert_eq!(count, entry - before_this, "up to {entry}");
        assert_eq!(forgotten(&host, CONTENTS), (0..entry).collect::<Vec<_>>());
        before_this = entry;
    }
    // Another host reads the same.
    let mut other = desk.host(2);
    other.read().unwrap();
    assert_eq!(forgotten(&other, CONTENTS).len() as u64, CONTENTS);
    assert_eq!(host.forget_older(9, &before(UnixMillis(u64::MAX)), Duration::ZERO), Ok(0), "there is no such shard");
}

#[test]
fn an_age_counts_from_now() {
    let desk = Desk::new();
    let mut host = desk.host(1);
    ingest(&mut host, 0..8);
    let now = UnixMillis(written(&desk, 5).0 + 1_000);
    assert_eq!(host.forget_older(0, &Age { now, age: Duration::from_secs(1) }, Duration::ZERO), Ok(5));
}

/// An entry costs more than it is worth if it forgets one content.
#[test]
fn while_the_oldest_is_little_older_nothing_is_forgotten() {
    let desk = Desk::new();
    let mut host = desk.host(1);
    ingest(&mut host, 0..8);
    let entries = host.shards()[0].log.next();
    let slack = written(&desk, 6).0 - written(&desk, 0).0;
    let at = before(written(&desk, 6));
    assert_eq!(host.forget_older(0, &at, Duration::from_millis(slack)), Ok(0));
    assert_eq!(host.shards()[0].log.next(), entries);
    assert_eq!(host.forget_older(0, &at, Duration::from_millis(slack - 1)), Ok(6));
}

/// A host asks every hour: a lake in which nothing happens gets no entry from that.
#[test]
fn a_lake_that_has_forgotten_everything_gets_no_further_entry() {
    let desk = Desk::new();
    let mut host = desk.host(1);
    ingest(&mut host, 0..3);
    assert_eq!(host.forget(&[sha256(b"1")]), Ok(1));
    let old = before(UnixMillis(u64::MAX));
    assert_eq!(host.forget_older(0, &old, Duration::ZERO), Ok(2), "one was forgotten by its name");
    let entries = host.shards()[0].log.next();
    for _ in 0..3 {
        assert_eq!(host.forget_older(0, &old, Duration::ZERO), Ok(0));
        let mut other = desk.host(2);
        other.start().unwrap();
        assert_eq!(other.forget_older(0, &old, Duration::ZERO), Ok(0));
    }
    assert_eq!(host.shards()[0].log.next(), entries);
    // What comes again is forgotten again.
    ingest(&mut host, 0..1);
    assert_eq!(host.forget_older(0, &old, Duration::ZERO), Ok(1));
}

#[test]
fn the_end_of_what_is_older_is_found_with_few_requests() {
    const ENTRIES: u64 = 200;
    let desk = Desk::new();
    let mut host = desk.host(1);
    ingest(&mut host, 0..ENTRIES);
    for (entry, requests_max) in [(1, 6), (150, 22)] {
        let time = written(&desk, entry);
        let begin = desk.store.requests();
        assert!(host.forget_older(0, &before(time), Duration::ZERO).unwrap() > 0);
        // Besides those for the age: two reads behind the end, an entry, perhaps a checkpoint.
        let requests = desk.store.requests() - begin;
        assert!(requests <= requests_max, "{requests} requests up to entry {entry}");
    }
}

#[test]
fn what_is_not_finished_is_not_forgotten() {
    let desk = Desk::new();
    let mut host = desk.host(1);
    ingest(&mut host, 0..2);
    desk.claim(9, &["dead"]);
    ingest(&mut host, 2..4);
    let old = before(UnixMillis(u64::MAX));
    assert_eq!(host.forget_older(0, &old, Duration::ZERO), Ok(2));
    assert_eq!(forgotten(&host, 4), [0, 1]);
    assert_eq!(host.state(&sha256(b"dead")), State::Claimed);
}

/// The newest contents can be forgotten by somebody who has finished nothing, and nothing happens in the lake any more.
#[test]
fn whoever_looks_knows_what_is_finished() {
    let desk = Desk::new();
    ingest(&mut desk.host(1), 0..2);
    desk.claim(9, &["dead"]);
    let (newest, dead) = ([sha256(b"1")], [sha256(b"dead")]);
    let mut host = desk.host(2);
    host.read().unwrap();
    assert_eq!(host.forget(&newest), Ok(0), "no entry says that it is finished, and nobody has looked");
    host.look_at_ends().unwrap();
    assert_eq!(host.forget(&newest), Ok(1));
    assert_eq!(host.forget(&dead), Ok(0));
    let foreign = desk.entry(2).claims()[0].clone();
    desk.store
        .below(super::model::MANIFESTS)
        .put_foreign(&keys::manifest(&foreign.ingested_at.hour_partition(), 0, 2), b"not ours");
    host.look_at_ends().unwrap();
    assert_eq!(host.forget(&dead), Ok(0));
}
