//! Single situations, step by step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use csv_ingestor::lake::entry::Entry;
use csv_ingestor::lake::format::LakeId;
use csv_ingestor::lake::host::{Host, Ingested, State};
use csv_ingestor::lake::publish::manifests;
use csv_ingestor::lake::{Error, keys, start};
use csv_ingestor::store::sim::Faults;
use csv_ingestor::store::{Kind, Store as _, Verb};

use super::desk::{Desk, day};
use super::door::{Answer, Door};
use super::files::Files;
use super::life::Notes;
use super::model::{MANIFESTS, WAREHOUSE, sha256};

/// A host that claims each text with an entry of its own.
fn writer(desk: &Desk, texts: &[&str]) -> Host {
    let mut writer = desk.host(1);
    for text in texts {
        let files = Files::of(&[text]);
        writer.ingest(&files.contents(day(0)), &files).unwrap();
    }
    writer
}

#[test]
fn a_host_that_starts_from_any_checkpoint_knows_the_same() {
    let desk = Desk::new();
    let mut writer = writer(&desk, &["a", "b", "c", "d", "e"]);
    writer.help(&Files::default()).unwrap();
    assert_eq!(writer.forget(&[sha256(b"b")]).unwrap(), 1);
    writer.help(&Files::default()).unwrap();
    let store = desk.store.below(WAREHOUSE);
    assert_eq!(start::places(&store, 0).unwrap(), [2, 4, 6]);
    let mut begun = desk.host(2);
    begun.start().unwrap();
    let known = |host: &Host| (host.shards()[0].log.clone(), host.shards()[0].contents.clone());
    assert_eq!(known(&begun), known(&writer));
    assert_eq!((begun.state(&sha256(b"a")), begun.state(&sha256(b"b"))), (State::Listed, State::New));
    let files = Files::of(&["a", "b"]);
    assert_eq!(begun.ingest(&files.contents(day(0)), &files).unwrap(), [Ingested::Claimed(6)]);
    begun.help(&files).unwrap();
    let key = keys::data("ingest_date=2025-11-18", b"a.csv", &sha256(b"b"), 1);
    assert_eq!(store.peek(&key), Some(b"b".to_vec()));
}

#[test]
fn unfinished_entries_below_a_checkpoint_are_finished() {
    let desk = Desk::new();
    let foreign = keys::data("ingest_date=2025-11-18", b"a.csv", &sha256(b"a"), 0);
    desk.store.below(WAREHOUSE).put_foreign(&foreign, b"x");
    writer(&desk, &["a", "b"]).help(&Files::default()).unwrap();
    desk.store.below(WAREHOUSE).remove_foreign(&foreign);
    let mut host = desk.host(2);
    host.start().unwrap();
    assert_eq!(host.shards()[0].log.next(), 2);
    host.read().unwrap();
    desk.wait(60);
    assert_eq!(host.help(&Files::default()).unwrap().finished, 2);
    assert_eq!(host.state(&sha256(b"a")), State::Listed);
}

#[test]
fn a_checkpoint_that_differs_stops_its_writer() {
    let desk = Desk::new();
    let (mut writer, files) = (writer(&desk, &["a"]), Files::of(&["b"]));
    desk.store.below(WAREHOUSE).put_foreign(&keys::checkpoint(0, 2), b"another");
    assert!(matches!(writer.ingest(&files.contents(day(0)), &files), Err(Error::Checkpoint { .. })));
    assert!(matches!(writer.read(), Err(Error::Checkpoint { .. })));
    // What cannot be read is no reason not to start: the log has everything.
    let mut host = desk.host(2);
    host.start().unwrap();
    host.read().unwrap();
    assert_eq!(host.shards()[0].log.next(), 2);
}

#[test]
fn a_checkpoint_that_the_log_does_not_lead_to_stops_a_start() {
    let desk = Desk::new();
    writer(&desk, &["a", "b"]).help(&Files::default()).unwrap();
    let store = desk.store.below(WAREHOUSE);
    let second = Entry::decode(&store.peek(&keys::slot(0, 1)).unwrap()).unwrap();
    let mut other = second.clone();
    other.header.serial = 77;
    desk.replace(&second, &other.encode());
    assert!(matches!(desk.host(2).start(), Err(Error::Chain { .. })));
    store.remove_foreign(&keys::slot(0, 1));
    assert!(matches!(desk.host(2).start(), Err(Error::Hole { .. })));
}

#[test]
fn another_hosts_entry_is_finished_after_a_while() {
    let desk = Desk::new();
    let entry = desk.claim(1, &["a", "b"]);
    let mut host = desk.host(2);
    host.read().unwrap();
    assert_eq!(host.help(&Files::default()).unwrap().finished, 0);
    assert_eq!(host.state(&sha256(b"a")), State::Claimed);
    desk.wait(60);
    assert_eq!(host.help(&Files::default()).unwrap().finished, 1);
    assert_eq!(host.state(&sha256(b"a")), State::Listed);
    for claim in entry.claims() {
        assert_eq!(desk.store.below(WAREHOUSE).head(&claim.key).unwrap().sha256, Some(claim.sha256));
    }
    assert_eq!(desk.store.keys("M/").len(), 1);
    assert_eq!(desk.store.keys("W/.csv-ingestor/pack/"), Vec::<String>::new());
}

#[test]
fn a_finished_entry_of_another_host_is_seen_as_soon_as_somebody_waits_for_it() {
    let desk = Desk::new();
    let (mut one, files) = (desk.host(1), Files::of(&["a"]));
    one.ingest(&files.contents(day(0)), &files).unwrap();
    one.help(&files).unwrap();
    let mut two = desk.host(2);
    two.read().unwrap();
    assert_eq!(two.state(&sha256(b"a")), State::Claimed);
    two.wants(&sha256(b"a"));
    desk.wait(1);
    two.help(&Files::default()).unwrap();
    assert_eq!(two.state(&sha256(b"a")), State::Listed);
}

#[test]
fn nothing_below_the_floor_is_finished_again() {
    let desk = Desk::new();
    let (mut one, files) = (desk.host(1), Files::of(&["a"]));
    one.ingest(&files.contents(day(0)), &files).unwrap();
    one.help(&files).unwrap();
    let more = Files::of(&["b"]);
    one.ingest(&more.contents(day(1)), &more).unwrap();
    one.help(&more).unwrap();
    // Retention removes the first manifest object and its data.
    let first = desk.store.keys("M/2025/11/18");
    assert_eq!(first.len(), 1);
    desk.store.remove_foreign(&first[0]);
    let mut two = desk.host(2);
    two.read().unwrap();
    desk.wait(1000);
    assert_eq!(two.help(&files).unwrap().finished, 1, "the second entry, of which host 2 knows nothing else");
    assert_eq!(desk.store.keys("M/2025/11/18"), Vec::<String>::new());
    assert_eq!(two.state(&sha256(b"a")), State::Listed);
}

#[test]
fn a_foreign_object_stops_its_entry_and_no_other() {
    let desk = Desk::new();
    let files = Files::of(&["a"]);
    let key = keys::data("ingest_date=2025-11-18", b"a.csv", &sha256(b"a"), 0);
    desk.store.below(WAREHOUSE).put_foreign(&key, b"x");
    let mut host = desk.host(1);
    host.ingest(&files.contents(day(0)), &files).unwrap();
    let more = Files::of(&["b"]);
    host.ingest(&more.contents(day(0)), &more).unwrap();
    let helped = host.help(&files).unwrap();
    assert_eq!((helped.finished, helped.errors.len()), (1, 1));
    assert_eq!(helped.errors[0], Error::Foreign { key: key.clone(), shard: 0, entry: 0 });
    assert_eq!(desk.store.below(WAREHOUSE).peek(&key), Some(b"x".to_vec()));
    assert_eq!(host.state(&sha256(b"a")), State::Claimed);
    desk.store.below(WAREHOUSE).remove_foreign(&key);
    desk.wait(300);
    assert_eq!(host.help(&Files::default()).unwrap().finished, 1, "from the pack");
    assert!(host.is_idle());
}

#[test]
fn a_wrong_predecessor_stops_everything() {
    let desk = Desk::new();
    let mut reader = desk.host(9);
    let first = desk.claim(1, &["a"]);
    reader.read().unwrap();
    // Somebody replaces the first entry, and the log goes on from that.
    desk.replace(
        &first,
        &Entry { header: csv_ingestor::lake::entry::Header { serial: 99, ..first.header.clone() }, ..first.clone() }
            .encode(),
    );
    desk.claim(2, &["b"]);
    assert!(matches!(reader.read(), Err(Error::Chain { .. })));
    let before = desk.store.requests();
    assert!(matches!(reader.read(), Err(Error::Chain { .. })));
    desk.wait(1000);
    assert_eq!(reader.help(&Files::of(&["a"])).unwrap().finished, 0);
    let files = Files::of(&["c"]);
    assert!(matches!(reader.ingest(&files.contents(day(0)), &files), Err(Error::Chain { .. })));
    assert_eq!(desk.store.requests(), before, "nothing is read or written any more");
}

#[test]
fn another_lake_and_a_newer_version_stop_everything() {
    let desk = Desk::new();
    let entry = desk.claim(1, &["a"]);
    let mut other = entry.clone();
    other.header.lake = LakeId([8; 16]);
    desk.replace(&entry, &other.encode());
    assert!(matches!(desk.host(2).read(), Err(Error::Chain { .. })));
    let upgrade = csv_ingestor::lake::entry::Body::Upgrade(2);
    desk.replace(&entry, &Entry { header: entry.header.clone(), body: upgrade }.encode());
    assert!(matches!(desk.host(2).read(), Err(Error::Newer { version: 2, .. })));
}

#[test]
fn a_malformed_entry_stops_its_shard_until_it_is_skipped() {
    let desk = Desk::new();
    let entry = desk.claim(1, &["a"]);
    desk.claim(1, &["b"]);
    let second = keys::slot(0, 1);
    let store = desk.store.below(WAREHOUSE);
    let mut bytes = store.peek(&second).unwrap();
    bytes[60] ^= 1;
    store.remove_foreign(&second);
    store.put_foreign(&second, &bytes);
    let (mut host, files) = (desk.host(2), Files::of(&["c"]));
    assert!(matches!(host.ingest(&files.contents(day(0)), &files), Err(Error::Malformed { .. })));
    desk.wait(60);
    assert_eq!(host.help(&files).unwrap().finished, 1, "the entry before it is finished all the same");
    assert_eq!(host.state(&entry.claims()[0].sha256), State::Listed);
    // A mark for other bytes does not count.
    store.put_foreign(&keys::skip(0, 1), sha256(b"other").hex().as_bytes());
    assert!(matches!(host.read(), Err(Error::Malformed { .. })));
    store.remove_foreign(&keys::skip(0, 1));
    store.put_foreign(&keys::skip(0, 1), sha256(&bytes).hex().as_bytes());
    assert_eq!(host.ingest(&files.contents(day(0)), &files).unwrap(), [Ingested::Claimed(2)]);
    assert_eq!(host.state(&sha256(b"b")), State::New);
}

#[test]
fn an_entry_that_contradicts_an_earlier_one_stops_its_shard() {
    let desk = Desk::new();
    let mut entry = desk.claim(1, &["a"]);
    entry.header.number = 1;
    entry.header.predecessor = sha256(&desk.store.below(WAREHOUSE).peek(&keys::slot(0, 0)).unwrap());
    desk.store.below(WAREHOUSE).put_foreign(&keys::slot(0, 1), &entry.encode());
    let (mut host, files) = (desk.host(2), Files::of(&["c"]));
    for _ in 0..2 {
        assert!(matches!(host.ingest(&files.contents(day(0)), &files), Err(Error::Malformed { .. })));
    }
    desk.store.below(WAREHOUSE).put_foreign(&keys::skip(0, 1), sha256(&entry.encode()).hex().as_bytes());
    assert_eq!(host.ingest(&files.contents(day(0)), &files).unwrap(), [Ingested::Claimed(2)]);
}

#[test]
fn an_entry_behind_a_hole_is_found_at_a_start() {
    let desk = Desk::new();
    let entry = desk.claim(1, &["a"]);
    desk.store.below(WAREHOUSE).put_foreign(&keys::slot(0, 3), &entry.encode());
    let mut host = desk.host(2);
    host.read().unwrap();
    assert!(matches!(host.check_ends(), Err(Error::Hole { .. })));
    assert!(matches!(host.read(), Err(Error::Hole { .. })));
}

#[test]
fn a_store_that_lies_is_found_out_by_the_chain() {
    let desk = Desk::new();
    let mut hosts = [desk.host(1), desk.host(2)];
    for host in &mut hosts {
        host.read().unwrap();
    }
    desk.store.set_faults(Faults { lies: 1000, ..Faults::NONE });
    // Neither sees the other's entry, so both want the same slot, and both are told that they have it.
    let files = [Files::of(&["a"]), Files::of(&["b"])];
    let entry = |host: &mut Host, files: &Files| host.ingest(&files.contents(day(0)), files);
    assert_eq!(entry(&mut hosts[0], &files[0]).unwrap(), [Ingested::Claimed(0)]);
    desk.store.below(WAREHOUSE).remove_foreign(&keys::slot(0, 0));
    assert_eq!(entry(&mut hosts[1], &files[1]).unwrap(), [Ingested::Claimed(0)]);
    let more = Files::of(&["c"]);
    assert_eq!(entry(&mut hosts[0], &more).unwrap(), [Ingested::Claimed(1)]);
    assert!(matches!(hosts[1].read(), Err(Error::Chain { .. })));
    assert!(matches!(desk.host(3).read(), Err(Error::Chain { .. })));
}

#[test]
fn lines_of_two_hours_are_two_objects() {
    let desk = Desk::new();
    let (mut host, files) = (desk.host(1), Files::of(&["a", "b", "c"]));
    let mut batch = files.contents(day(0));
    batch[1].ingested_at = day(1);
    host.ingest(&batch, &files).unwrap();
    let entry = Entry::decode(&desk.store.below(WAREHOUSE).peek(&keys::slot(0, 0)).unwrap()).unwrap();
    host.help(&files).unwrap();
    let objects = manifests(&entry);
    assert_eq!(objects.len(), 2);
    for (key, bytes) in objects {
        assert_eq!(desk.store.below(MANIFESTS).peek(&key), Some(bytes));
    }
}

#[test]
fn bytes_that_are_not_the_content_are_neither_claimed_nor_published() {
    let desk = Desk::new();
    let entry = desk.claim(1, &["a"]);
    let wrong = Files(BTreeMap::from([(sha256(b"a"), b"b".to_vec()), (sha256(b"c"), b"d".to_vec())]));
    let mut host = desk.host(2);
    let batch = wrong.contents(day(0));
    assert_eq!(host.ingest(&batch, &wrong).unwrap(), [Ingested::Nothing]);
    desk.wait(60);
    assert_eq!(host.help(&wrong).unwrap().finished, 1, "from the pack");
    assert_eq!(desk.store.below(WAREHOUSE).peek(&entry.claims()[0].key), Some(b"a".to_vec()));
}

/// What others have appended since makes another checkpoint due.
#[test]
fn a_checkpoint_that_could_not_be_written_is_tried_again_or_overtaken() {
    for is_overtaken in [false, true] {
        let desk = Desk::new();
        let is_away = Arc::new(AtomicBool::new(true));
        let away = is_away.clone();
        let rule = move |verb, key: &str| match verb {
            Verb::Create if key.contains("/checkpoint/") && away.load(Ordering::Relaxed) => {
                Answer::Never(Kind::SlowDown)
            }
            _ => Answer::Right,
        };
        let door = Arc::new(Door::new(desk.store.below(WAREHOUSE), rule));
        let mut host = desk.host_on(1, door, &Notes::default());
        for text in ["a", "b"] {
            let files = Files::of(&[text]);
            host.ingest(&files.contents(day(0)), &files).unwrap();
        }
        assert!(
            host.help(&Files::of(&["a", "b"])).unwrap().errors.iter().all(|error| matches!(error, Error::Store(_)))
        );
        if is_overtaken {
            desk.claim(2, &["c"]);
            host.read().unwrap();
        }
        is_away.store(false, Ordering::Relaxed);
        host.help(&Files::default()).unwrap();
        let places = start::places(&desk.store.below(WAREHOUSE), 0).unwrap();
        assert_eq!(places, if is_overtaken { vec![] } else { vec![2] });
    }
}
