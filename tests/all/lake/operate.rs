//! Skip, upgrade, clean.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use csv_ingestor::lake::entry::{Body, Entry};
use csv_ingestor::lake::format::{Lake, VERSION};
use csv_ingestor::lake::host::{Fate, Ingested, State};
use csv_ingestor::lake::read::Read;
use csv_ingestor::lake::shard::Shard;
use csv_ingestor::lake::{Error, keys, start};
use csv_ingestor::limits::LAKE_CHECKPOINTS_KEPT;
use csv_ingestor::store::{Kind, Verb};

use super::desk::{Desk, LAKE, day};
use super::door::{Answer, Door};
use super::files::Files;
use super::life::Notes;
use super::model::{WAREHOUSE, sha256};

/// So many entries after a pack was made it may still be named.
const WINDOW: u64 = LAKE.checkpoint_entries as u64;

/// A host that stores its pack, and dies before its entry.
fn leave_a_pack(desk: &Desk, text: &str) -> String {
    let before = desk.store.keys("W/.csv-ingestor/pack/");
    let no_log = |verb, key: &str| match verb {
        Verb::Create if key.contains("/log/") => Answer::Never(Kind::SlowDown),
        _ => Answer::Right,
    };
    let door = Arc::new(Door::new(desk.store.below(WAREHOUSE), no_log));
    let files = Files::of(&[text]);
    assert!(desk.host_on(9, door, &Notes::default()).ingest(&files.contents(day(0)), &files).is_err());
    let after = desk.store.keys("W/.csv-ingestor/pack/");
    after.into_iter().find(|key| !before.contains(key)).unwrap()
}

fn packs(desk: &Desk) -> Vec<String> {
    desk.store.keys("W/.csv-ingestor/pack/")
}

#[test]
fn a_dead_hosts_pack_is_removed_when_no_entry_can_name_it() {
    let desk = Desk::new();
    let pack = leave_a_pack(&desk, "never claimed");
    let mut host = desk.host(1);
    for number in 0..=WINDOW {
        assert_eq!(host.clean(&|_| true).unwrap().packs, 0, "entry {number} may name it");
        let files = Files::of(&[&format!("{number}")]);
        host.ingest(&files.contents(day(0)), &files).unwrap();
        host.help(&files).unwrap();
    }
    assert_eq!(packs(&desk), std::slice::from_ref(&pack));
    assert_eq!(host.clean(&|_| false).unwrap().packs, 0);
    assert_eq!(host.clean(&|key| pack.ends_with(key)).unwrap().packs, 1);
    assert_eq!(packs(&desk), Vec::<String>::new());
}

#[test]
fn a_pack_that_an_unfinished_entry_names_is_never_removed() {
    let desk = Desk::new();
    let entry = desk.claim(9, &["a"]);
    let mut host = desk.host(1);
    for number in 0..=WINDOW + 1 {
        let files = Files::of(&[&format!("{number}")]);
        host.ingest(&files.contents(day(0)), &files).unwrap();
        host.help(&files).unwrap();
    }
    assert_eq!(host.clean(&|_| true).unwrap().packs, 0);
    desk.wait(60);
    assert_eq!(host.help(&Files::default()).unwrap().finished, 1);
    assert_eq!(desk.store.below(WAREHOUSE).peek(&entry.claims()[0].key), Some(b"a".to_vec()));
}

#[test]
fn an_entry_that_names_a_pack_too_late_is_refused() {
    let desk = Desk::new();
    let first = desk.claim(1, &["a"]);
    for number in 1..=WINDOW {
        desk.claim(1, &[&format!("{number}")]);
    }
    let late = WINDOW + 1;
    let mut entry = first.clone();
    (entry.header.number, entry.header.predecessor) = (late, sha256(&desk.entry(WINDOW).encode()));
    if let Body::Claims(claims) = &mut entry.body {
        let other = sha256(b"other");
        claims.claims[0].sha256 = other;
        claims.claims[0].key = keys::data("d", b"a.csv", &other, 0);
    }
    desk.store.below(WAREHOUSE).put_foreign(&keys::slot(0, late), &entry.encode());
    let why = desk.host(2).read().unwrap_err();
    assert!(matches!(why, Error::Malformed { why, .. } if why.contains("too old")), "{why}");
}

/// Two shards that claim one content would have two lines of it.
#[test]
fn an_entry_that_claims_a_content_of_another_shard_is_refused() {
    let desk = Desk::new();
    let entry = desk.claim(1, &["a"]);
    let (lake, store) = (Lake { shards: 2, ..LAKE }, desk.store.below(WAREHOUSE));
    let own = lake.shard_of(&entry.claims()[0].sha256);
    for number in 0..lake.shards {
        let mut entry = entry.clone();
        entry.header.shard = number;
        if let Body::Claims(claims) = &mut entry.body {
            claims.packs = vec![keys::pack(number, 0, &[1; 16], &sha256(b"a"))];
        }
        let taken = Shard::new(&lake, number).take(&store, Read::of(&entry.encode()), desk.now(), &|_| false);
        match taken {
            Ok(()) => assert_eq!(number, own),
            Err(Error::Malformed { why, .. }) => assert!(number != own && why.contains("another shard"), "{why}"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// While a host stores its pack, others append so much that no entry may name it: it makes another one.
#[test]
fn a_host_that_is_too_slow_makes_another_pack() {
    let desk = Arc::new(Desk::new());
    let (others, has_met) = (Mutex::new(desk.host(2)), AtomicBool::new(false));
    let (their, store) = (desk.clone(), desk.store.below(WAREHOUSE));
    let slow = move |verb, key: &str| {
        if verb == Verb::Create && key.contains("/log/") && !has_met.swap(true, Ordering::Relaxed) {
            for number in 0..=WINDOW {
                let files = Files::of(&[&format!("{number} of {}", their.now().as_secs())]);
                others.lock().unwrap().ingest(&files.contents(day(0)), &files).unwrap();
            }
        }
        Answer::Right
    };
    let files = Files::of(&["a"]);
    let mut host = desk.host_on(1, Arc::new(Door::new(store, slow)), &Notes::default());
    let outcome = host.ingest_each(&files.contents(day(0)), &files);
    assert_eq!((outcome.error, &outcome.fates[0].1), (None, &Fate::Left));
    assert_eq!(host.ingest(&files.contents(day(0)), &files).unwrap(), [Ingested::Claimed(WINDOW + 1)]);
    assert_eq!(host.help(&files).unwrap().errors, []);
    assert_eq!(host.state(&sha256(b"a")), State::Listed);
    desk.wait(60);
    host.help(&files).unwrap();
    assert_eq!(packs(&desk), Vec::<String>::new());
}

#[test]
fn old_checkpoints_are_removed_and_new_ones_stay() {
    let desk = Desk::new();
    let mut host = desk.host(1);
    for number in 0..12 {
        let files = Files::of(&[&format!("{number}")]);
        host.ingest(&files.contents(day(0)), &files).unwrap();
        host.help(&files).unwrap();
    }
    let store = desk.store.below(WAREHOUSE);
    assert_eq!(start::places(&store, 0).unwrap(), [2, 4, 6, 8, 10, 12]);
    store.put_foreign(&keys::checkpoint_piece(0, 2, 1), b"a piece");
    assert_eq!(host.clean(&|_| false).unwrap().checkpoints, 0);
    assert_eq!(host.clean(&|_| true).unwrap().checkpoints, 3);
    assert_eq!(start::places(&store, 0).unwrap(), [6, 8, 10, 12]);
    assert_eq!(start::places(&store, 0).unwrap().len(), LAKE_CHECKPOINTS_KEPT);
    assert_eq!(host.clean(&|_| true).unwrap().checkpoints, 0);
    let mut begun = desk.host(2);
    begun.start().unwrap();
    assert_eq!(begun.state(&sha256(b"0")), State::Listed);
}

/// A log whose second entry is malformed. Returns that entry as it was.
fn damaged(desk: &Desk) -> Entry {
    desk.claim(1, &["a"]);
    let second = desk.claim(1, &["b"]);
    let mut bytes = second.encode();
    bytes[60] ^= 1;
    desk.replace(&second, &bytes);
    second
}

#[test]
fn a_host_skips_the_entry_at_which_its_shard_stops_and_no_other() {
    let desk = Desk::new();
    damaged(&desk);
    let mut host = desk.host(2);
    for (shard, entry) in [(0, 0), (0, 2), (1, 1)] {
        assert!(matches!(host.skip(shard, entry), Err(Error::NotSkipped { .. })), "{shard} {entry}");
    }
    assert_eq!(desk.store.keys("W/.csv-ingestor/skip/"), Vec::<String>::new());
    host.skip(0, 1).unwrap();
    let files = Files::of(&["b"]);
    for mut host in [host, desk.host(3)] {
        host.read().unwrap();
        assert_eq!(host.state(&sha256(b"b")), State::New);
        assert!(matches!(host.skip(0, 1), Err(Error::NotSkipped { .. })), "it is passed");
    }
    assert_eq!(desk.host(3).ingest(&files.contents(day(0)), &files).unwrap(), [Ingested::Claimed(2)]);
}

#[test]
fn a_mark_for_other_bytes_is_not_replaced() {
    let desk = Desk::new();
    damaged(&desk);
    desk.store.below(WAREHOUSE).put_foreign(&keys::skip(0, 1), sha256(b"other").hex().as_bytes());
    assert!(matches!(desk.host(2).skip(0, 1), Err(Error::NotSkipped { .. })));
}

#[test]
fn an_entry_that_is_as_it_should_be_is_not_skipped() {
    let desk = Desk::new();
    desk.claim(1, &["a"]);
    assert!(matches!(desk.host(2).skip(0, 0), Err(Error::NotSkipped { .. })));
}

#[test]
fn an_upgrade_stops_programs_that_do_not_know_the_format() {
    let desk = Desk::new();
    desk.claim(1, &["a"]);
    let (mut one, mut two) = (desk.host(1), desk.host(2));
    two.read().unwrap();
    one.upgrade(VERSION + 1).unwrap();
    assert_eq!(desk.entry(1).body, Body::Upgrade(VERSION + 1));
    // A second one finds that it is done.
    desk.host(3).upgrade(VERSION + 1).unwrap();
    assert_eq!(desk.store.below(WAREHOUSE).peek(&keys::slot(0, 2)), None);
    let files = Files::of(&["b"]);
    for host in [&mut one, &mut two, &mut desk.host(4)] {
        for _ in 0..2 {
            let stops = host.ingest(&files.contents(day(0)), &files).unwrap_err();
            assert!(matches!(stops, Error::Newer { version, .. } if version == VERSION + 1), "{stops}");
        }
    }
}

#[test]
fn nobody_upgrades_to_an_old_format() {
    let desk = Desk::new();
    assert!(matches!(desk.host(1).upgrade(VERSION), Err(Error::Malformed { .. })));
    assert_eq!(desk.store.below(WAREHOUSE).peek(&keys::slot(0, 0)), None);
}

#[test]
fn everything_below_an_entry_is_forgotten_at_once() {
    let desk = Desk::new();
    let mut host = desk.host(1);
    assert_eq!(host.forget_below(0, 5), Ok(false), "there is nothing");
    for text in ["a", "b"] {
        let files = Files::of(&[text]);
        host.ingest(&files.contents(day(0)), &files).unwrap();
        host.help(&files).unwrap();
    }
    desk.claim(2, &["unfinished"]);
    assert_eq!(host.forget_below(0, 1), Ok(true));
    assert_eq!(host.forget_below(0, 1), Ok(false), "that is done");
    let states = ["a", "b", "unfinished"].map(|text| host.state(&sha256(text.as_bytes())));
    assert_eq!(states, [State::New, State::Listed, State::Claimed]);
    assert_eq!(host.forget_below(0, u64::MAX), Ok(true));
    let states = ["a", "b", "unfinished"].map(|text| host.state(&sha256(text.as_bytes())));
    assert_eq!(states, [State::New, State::New, State::Claimed], "what is not finished is not forgotten");
    assert_eq!(host.forget_below(7, 1), Ok(false), "no such shard");
    // A host that starts from a checkpoint says the same.
    let mut begun = desk.host(3);
    begun.start().unwrap();
    begun.read().unwrap();
    assert!(begun.shards()[0].contents == host.shards()[0].contents);
    let files = Files::of(&["a"]);
    begun.ingest(&files.contents(day(0)), &files).unwrap();
    begun.help(&files).unwrap();
    let claim = begun.claim_of(&sha256(b"a")).unwrap().unwrap().claim;
    assert_eq!(claim.generation, 1);
}
