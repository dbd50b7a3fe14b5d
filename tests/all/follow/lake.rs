//! Lines from a lake.

use std::sync::Arc;
use std::time::Duration;

use csv_ingestor::follow::lake::LakeLines;
use csv_ingestor::follow::{Cursor, Line, Source as _, Stream};
use csv_ingestor::lake::clock::Clock;
use csv_ingestor::lake::entry::{Body, Entry};
use csv_ingestor::lake::keys;
use csv_ingestor::lake::publish::{Stores, manifests};
use csv_ingestor::limits::LAKE_PATIENCE;
use csv_ingestor::store::Store as _;
use csv_ingestor::store::sim::SimStore;
use csv_ingestor::types::Sha256;

use crate::lake::desk::{Desk, LAKE};
use crate::lake::files::Files;
use crate::lake::model::{MANIFESTS, WAREHOUSE, sha256};

/// Time does not pass.
pub struct Still;

impl Clock for Still {
    fn steady(&self) -> Duration {
        Duration::ZERO
    }

    fn pause(&self, _: Duration) {}

    fn random(&self) -> [u8; 16] {
        [0; 16]
    }
}

pub fn follow(store: &SimStore, lake: csv_ingestor::lake::format::Lake, cursor: Cursor) -> LakeLines {
    let stores = Stores::new(Arc::new(store.below(WAREHOUSE)), Arc::new(store.below(MANIFESTS)));
    LakeLines::new(stores, lake, Box::new(Still), cursor, true)
}

/// The numbers and texts that come now.
pub fn all(lines: &mut LakeLines) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    while lines
        .read(2, &mut |line| {
            found.push((line.number, line.text.to_vec()));
            Ok(())
        })
        .unwrap()
        > 0
    {}
    found
}

fn lines_of(entries: &[&Entry]) -> Vec<(u64, Vec<u8>)> {
    let lines = |entry: &&Entry| {
        let number = entry.header.number;
        let line = move |(place, claim): (usize, &csv_ingestor::lake::entry::Claim)| {
            ((number << 11 | place as u64) + 1, claim.line.clone())
        };
        entry.claims().iter().enumerate().map(line).collect::<Vec<_>>()
    };
    entries.iter().flat_map(lines).collect()
}

/// Another host finishes what there is.
fn finish(desk: &Desk) {
    let mut host = desk.host(9);
    host.read().unwrap();
    desk.wait(LAKE_PATIENCE.as_secs() * 2);
    host.help(&Files::default()).unwrap();
}

fn cursor(number: u64) -> Cursor {
    let mut cursor = Cursor::default();
    cursor.pass(Stream { id: LAKE.id.0, shard: Some(0) }, number);
    cursor
}

/// Two hosts are faster than the one that died behind its entry: nothing overtakes it.
#[test]
fn an_entry_is_passed_when_its_lines_are_there_and_none_before_it() {
    let desk = Desk::new();
    let mut lines = follow(&desk.store, LAKE, Cursor::default());
    assert_eq!(all(&mut lines), []);
    let first = desk.claim(1, &["a", "b", "c"]);
    assert_eq!(all(&mut lines), []);
    let mut host = desk.host(2);
    let files = Files::of(&["d"]);
    host.ingest(&files.contents(crate::lake::desk::day(1)), &files).unwrap();
    host.help(&files).unwrap();
    let second = desk.entry(1);
    assert!(publish_is_there(&desk, &second));
    assert_eq!(all(&mut lines), [], "entry 0 comes first");
    finish(&desk);
    assert_eq!(all(&mut lines), lines_of(&[&first, &second]));
    assert_eq!(*lines.cursor(), cursor((1 << 11) + 1));
    assert_eq!(all(&mut lines), []);
    // From each line on.
    let whole = lines_of(&[&first, &second]);
    for (place, (number, _)) in whole.iter().enumerate() {
        assert_eq!(all(&mut follow(&desk.store, LAKE, cursor(*number))), whole[place + 1..]);
    }
    let newest = lines.newest().unwrap();
    assert_eq!(all(&mut follow(&desk.store, LAKE, newest.clone())), []);
    let third = desk.claim(3, &["e"]);
    finish(&desk);
    assert_eq!(all(&mut follow(&desk.store, LAKE, newest)), lines_of(&[&third]));
}

fn publish_is_there(desk: &Desk, entry: &Entry) -> bool {
    manifests(entry).keys().all(|key| desk.store.below(MANIFESTS).peek(key).is_some())
}

/// A retention job removes manifest objects: their lines are in the log.
#[test]
fn lines_whose_objects_are_gone_come_from_the_log() {
    let desk = Desk::new();
    let first = desk.claim(1, &["a", "b"]);
    let mut host = desk.host(9);
    host.read().unwrap();
    desk.wait(LAKE_PATIENCE.as_secs() * 2);
    host.help(&Files::default()).unwrap();
    for key in manifests(&first).keys() {
        assert!(desk.store.below(MANIFESTS).remove_foreign(key));
    }
    let mut lines = follow(&desk.store, LAKE, Cursor::default());
    assert_eq!(all(&mut lines), [], "it may be one that nobody has finished");
    // The next entry of a host that has seen it finished says so.
    let files = Files::of(&["c"]);
    host.ingest(&files.contents(crate::lake::desk::day(1)), &files).unwrap();
    host.help(&files).unwrap();
    let second = desk.entry(1);
    assert_eq!(second.header.floor, 1);
    assert_eq!(all(&mut lines), lines_of(&[&first, &second]));
}

/// What no host counts has no lines, also if it looks like an entry with some.
#[test]
fn an_entry_that_an_operator_has_skipped_is_passed_over() {
    for is_readable in [false, true] {
        let desk = Desk::new();
        let first = desk.claim(1, &["a"]);
        let mut host = desk.host(9);
        host.read().unwrap();
        desk.wait(LAKE_PATIENCE.as_secs() * 2);
        host.help(&Files::default()).unwrap();
        let bad = desk.claim(2, &["b"]);
        let bytes = if is_readable {
            // It claims a content once more: each host stops there.
            let mut again = bad.clone();
            let Body::Claims(claims) = &mut again.body else { panic!("it claims") };
            claims.claims[0].sha256 = first.claims()[0].sha256;
            claims.claims[0].key = first.claims()[0].key.clone();
            again.encode()
        } else {
            b"nothing that can be read".to_vec()
        };
        desk.replace(&bad, &bytes);
        let mut lines = follow(&desk.store, LAKE, Cursor::default());
        let before: Vec<_> = lines_of(&[&first]);
        let mut found = Vec::new();
        let mut read = |lines: &mut LakeLines| {
            lines.read(10, &mut |line| {
                found.push((line.number, line.text.to_vec()));
                Ok(())
            })
        };
        assert_eq!(read(&mut lines).unwrap(), 1);
        // What nobody can read stops its shard; what no host counts has no lines, and is waited for.
        assert_eq!(read(&mut lines).ok(), is_readable.then_some(0));
        assert_eq!(found, before);
        assert!(host.read().is_err());
        host.skip(0, 1).unwrap();
        host.read().unwrap();
        for text in ["c", "d"] {
            let files = Files::of(&[text]);
            host.ingest(&files.contents(crate::lake::desk::day(1)), &files).unwrap();
            host.help(&files).unwrap();
            desk.wait(100);
        }
        let later: Vec<Entry> = (2..4).map(|number| desk.entry(number)).collect();
        let expected = lines_of(&[&first, &later[0], &later[1]]);
        let found = all(&mut follow(&desk.store, LAKE, Cursor::default()));
        let numbers = |lines: &[(u64, Vec<u8>)]| lines.iter().map(|(number, _)| *number).collect::<Vec<_>>();
        let floors: Vec<u64> = later.iter().map(|entry| entry.header.floor).collect();
        assert_eq!(numbers(&found), numbers(&expected), "readable: {is_readable}, floors {floors:?}");
        assert_eq!(found, expected);
        assert_eq!(desk.store.below(WAREHOUSE).get(&keys::skip(0, 1)).unwrap(), sha256_hex(&bytes));
    }
}

fn sha256_hex(bytes: &[u8]) -> Vec<u8> {
    let sum: Sha256 = sha256(bytes);
    sum.hex().into_bytes()
}

/// An entry that no host counts may say anything. Why: a skipped entry, and one at which all hosts had stopped, said that
/// everything before it was finished, and the lines of an entry that nobody had finished were passed on.
#[test]
fn an_entry_that_does_not_count_says_nothing_about_those_before_it() {
    let desk = Desk::new();
    let first = desk.claim(1, &["a"]);
    let mut bad = desk.claim(2, &["b"]);
    let Body::Claims(claims) = &mut bad.body else { panic!("it claims") };
    (claims.claims[0].sha256, claims.claims[0].key) = (first.claims()[0].sha256, first.claims()[0].key.clone());
    bad.header.floor = 1;
    desk.replace(&bad, &bad.encode());
    let mut lines = follow(&desk.store, LAKE, Cursor::default());
    assert_eq!(all(&mut lines), [], "all hosts have stopped at the second entry");
    let mut host = desk.host(9);
    host.read().unwrap_err();
    host.skip(0, 1).unwrap();
    assert_eq!(all(&mut lines), [], "it is skipped");
    desk.claim(3, &["c"]);
    assert_eq!(all(&mut lines), [], "and another one is behind it");
    finish(&desk);
    assert_eq!(all(&mut lines), lines_of(&[&first, &desk.entry(2)]));
}

/// Why: `--from now` passed over the lines of entries that nobody had finished yet. They came to the manifests later, and never
/// to the consumer.
#[test]
fn now_does_not_pass_over_an_entry_that_is_not_finished() {
    let desk = Desk::new();
    let now = || follow(&desk.store, LAKE, Cursor::default()).newest().unwrap();
    assert_eq!(now(), Cursor::default());
    let first = desk.claim(1, &["a", "b"]);
    assert_eq!(now(), Cursor::default());
    finish(&desk);
    assert_eq!(now(), cursor(1 << 11));
    let second = desk.claim(2, &["c"]);
    let files = Files::of(&["d"]);
    let mut host = desk.host(3);
    host.ingest(&files.contents(crate::lake::desk::day(1)), &files).unwrap();
    host.help(&files).unwrap();
    let third = desk.entry(2);
    assert_eq!(now(), cursor(1 << 11), "the third entry is finished, and comes with the second");
    let mut lines = follow(&desk.store, LAKE, now());
    assert_eq!(all(&mut lines), []);
    finish(&desk);
    assert_eq!(all(&mut lines), lines_of(&[&second, &third]));
    assert_eq!(now(), cursor(3 << 11));
    // Nor one that nobody can read: an operator decides about it.
    desk.replace(&third, b"nothing that can be read");
    assert_eq!(now(), cursor(2 << 11));
    assert_eq!(first.header.number, 0);
}

/// Why: one shard at which all hosts had stopped kept the lines of all others from the consumer, whose follower ended each time
/// before it had read them.
#[test]
fn a_shard_that_has_stopped_holds_up_no_other() {
    let desk = Desk::of(csv_ingestor::lake::format::Lake { shards: 2, ..LAKE });
    let texts: Vec<String> = (0..8).map(|number| number.to_string()).collect();
    let files = Files::of(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    let mut host = desk.host(1);
    host.ingest(&files.contents(crate::lake::desk::day(0)), &files).unwrap();
    host.help(&files).unwrap();
    for stopped in [0, 1] {
        let (slot, store) = (keys::slot(stopped, 0), desk.store.below(WAREHOUSE));
        let bytes = store.peek(&slot).unwrap();
        assert!(store.remove_foreign(&slot) && store.put_foreign(&slot, b"nothing that can be read"));
        let other = Entry::decode(&store.peek(&keys::slot(1 - stopped, 0)).unwrap()).unwrap();
        let mut lines = follow(&desk.store, desk.lake, Cursor::default());
        for (number, text) in lines_of(&[&other]) {
            let mut found = Vec::new();
            let mut take = |line: Line<'_>| {
                found.push((line.number, line.text.to_vec()));
                Ok(())
            };
            assert_eq!(lines.read(1, &mut take).unwrap(), 1);
            assert_eq!(found, [(number, text)]);
        }
        assert!(lines.read(1, &mut |_| Ok(())).is_err(), "nothing else is left");
        assert!(store.remove_foreign(&slot) && store.put_foreign(&slot, &bytes));
    }
}
