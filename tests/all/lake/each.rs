//! What a host tells about single contents, and requests that it makes at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use csv_ingestor::lake::host::{Fate, Ingested, State};
use csv_ingestor::limits::{LAKE_IN_FLIGHT, LAKE_READ_AHEAD};
use csv_ingestor::store::Verb;

use super::desk::{Desk, day};
use super::door::Door;
use super::files::Files;
use super::life::Notes;
use super::model::{WAREHOUSE, sha256};

#[test]
fn data_objects_are_created_many_at_once() {
    for is_at_hand in [true, false] {
        let desk = Desk::new();
        let files = desk.files(3 * LAKE_IN_FLIGHT as u64);
        desk.host(1).ingest(&files.contents(day(0)), &files).unwrap();
        let door = Arc::new(Door::crowd(desk.store.below(WAREHOUSE), LAKE_IN_FLIGHT));
        let mut host = desk.host_on(2, door.clone(), &Notes::default());
        host.read().unwrap();
        let before = door.count(Verb::Get);
        let at_hand = if is_at_hand { files.clone() } else { Files::default() };
        assert_eq!(host.finish_now(&sha256(b"file 0"), &at_hand), Ok(true));
        assert_eq!(door.most(Verb::Create), LAKE_IN_FLIGHT);
        assert_eq!(door.count(Verb::Get) - before, usize::from(!is_at_hand), "the pack, once");
    }
}

#[test]
fn many_entries_are_read_several_at_once() {
    let desk = Desk::new();
    let mut writer = desk.host(1);
    for number in 0..40 {
        let files = Files::of(&[&format!("file {number}")]);
        writer.ingest(&files.contents(day(0)), &files).unwrap();
        writer.help(&files).unwrap();
    }
    let door = Arc::new(Door::crowd(desk.store.below(WAREHOUSE), LAKE_READ_AHEAD as usize));
    let mut host = desk.host_on(2, door.clone(), &Notes::default());
    host.read().unwrap();
    assert_eq!(host.shards()[0].log.next(), 40);
    assert_eq!(door.most(Verb::Get), LAKE_READ_AHEAD as usize);
    assert_eq!(door.count(Verb::Get), 40 + 1, "each entry, and the end");
    assert!(door.count(Verb::Head) <= 14, "{} requests for the end", door.count(Verb::Head));
}

#[test]
fn every_content_has_its_fate() {
    let desk = Desk::new();
    desk.claim(1, &["theirs"]);
    let mut host = desk.host(2);
    let mut files = Files::of(&["theirs", "ours", "again", "gone", "differs", "nowhere"]);
    let mut batch = files.contents(day(0));
    batch.push(batch.iter().find(|content| content.sha256 == sha256(b"again")).unwrap().clone());
    files.0.remove(&sha256(b"gone"));
    files.0.insert(sha256(b"differs"), b"DIFFERS".to_vec());
    let nowhere = batch.iter_mut().find(|content| content.sha256 == sha256(b"nowhere")).unwrap();
    nowhere.partition = "no partition".to_owned();
    let outcome = host.ingest_each(&batch, &files);
    assert_eq!((outcome.error, outcome.shards), (None, vec![Ingested::Claimed(1)]));
    let order: Vec<_> = outcome.fates.iter().map(|(content, _)| *content).collect();
    assert_eq!(order, batch.iter().map(|content| content.sha256).collect::<Vec<_>>());
    let fates: BTreeMap<_, _> = outcome.fates.into_iter().collect();
    let fate = |text: &str| fates[&sha256(text.as_bytes())].clone();
    assert_eq!(fate("theirs"), Fate::Taken { entry: 0 });
    for claim in desk.entry(1).claims() {
        assert_eq!(fates[&claim.sha256], Fate::Claimed { entry: 1, key: claim.key.clone() });
    }
    assert_eq!(desk.entry(1).claims().len(), 2, "ours, and the one that came twice");
    assert_eq!((fate("gone"), fate("differs")), (Fate::Differs, Fate::Differs));
    assert!(matches!(fate("nowhere"), Fate::Unfit(_)));
}

#[test]
fn what_does_not_fit_is_left() {
    let desk = Desk::new();
    let (mut host, files) = (desk.host(1), desk.files(2050));
    let outcome = host.ingest_each(&files.contents(day(0)), &files);
    assert_eq!(outcome.fates.iter().filter(|(_, fate)| *fate == Fate::Left).count(), 2);
}

#[test]
fn who_claims_a_content_takes_one_request_at_most() {
    let desk = Desk::new();
    let (mut one, files) = (desk.host(1), Files::of(&["a", "b"]));
    one.ingest(&files.contents(day(0)), &files).unwrap();
    let claims = desk.entry(0).claims().to_vec();
    let before = desk.store.requests();
    for claim in &claims {
        let found = one.claim_of(&claim.sha256).unwrap().unwrap();
        assert_eq!((found.entry, found.shard, found.host), (0, 0, [1; 16]));
        assert_eq!(found.claim, *claim);
    }
    assert_eq!(one.claim_of(&sha256(b"c")), Ok(None));
    assert_eq!(desk.store.requests(), before, "an unfinished entry is known");
    one.help(&files).unwrap();
    let before = desk.store.requests();
    for claim in &claims {
        assert_eq!(one.claim_of(&claim.sha256).unwrap().unwrap().claim, *claim);
    }
    assert_eq!(desk.store.requests(), before + 1, "the entry is read once");
    one.forget(&[sha256(b"a")]).unwrap();
    assert_eq!(one.claim_of(&sha256(b"a")), Ok(None), "nobody claims it any more");
}

#[test]
fn an_entry_that_does_not_claim_what_it_did_is_no_answer() {
    let desk = Desk::new();
    let (mut one, files) = (desk.host(1), Files::of(&["a"]));
    one.ingest(&files.contents(day(0)), &files).unwrap();
    one.help(&files).unwrap();
    let (entry, mut other) = (desk.entry(0), desk.entry(0));
    if let csv_ingestor::lake::entry::Body::Claims(claims) = &mut other.body {
        claims.claims[0].sha256.0[31] ^= 1;
    }
    desk.replace(&entry, &other.encode());
    assert!(one.claim_of(&sha256(b"a")).is_err());
}

#[test]
fn an_entry_is_finished_at_once_for_one_of_its_contents() {
    let desk = Desk::new();
    desk.claim(1, &["a", "b"]);
    let mut host = desk.host(2);
    host.read().unwrap();
    assert_eq!(host.finish_now(&sha256(b"c"), &Files::default()), Ok(false));
    assert_eq!(host.finish_now(&sha256(b"a"), &Files::of(&["a"])), Ok(true));
    assert_eq!(host.state(&sha256(b"b")), State::Listed, "the other one came from the pack");
    assert_eq!(host.finish_now(&sha256(b"a"), &Files::default()), Ok(true));
}

#[test]
fn entries_and_reads_are_paced() {
    let desk = Desk::new();
    let mut host = desk.host(1);
    assert_eq!(host.idle_read_at(), Duration::ZERO);
    assert!(host.next_entry_at(false) <= desk.now());
    let files = Files::of(&["a"]);
    host.ingest(&files.contents(day(0)), &files).unwrap();
    let (now, next) = (desk.now(), host.next_entry_at(false));
    assert!(next > now - Duration::from_secs(1) && next <= now + Duration::from_secs(60), "{next:?} at {now:?}");
    let mut reads = 0;
    while reads < 12 {
        let before = desk.now();
        desk.wait(host.idle_read_at().saturating_sub(before).as_secs() + 1);
        host.read().unwrap();
        reads += 1;
    }
    let wait = host.idle_read_at() - desk.now();
    assert!(wait >= Duration::from_secs(200) && wait <= Duration::from_secs(300), "{wait:?}");
    desk.claim(2, &["b"]);
    host.read().unwrap();
    assert!(host.idle_read_at() - desk.now() <= Duration::from_secs(10), "something is going on");
}
