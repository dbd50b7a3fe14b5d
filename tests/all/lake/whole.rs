//! Contents that are claimed together or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use csv_ingestor::lake::entry::Place;
use csv_ingestor::lake::host::{Content, Decided, Host, Ingested, Staging, State, Whole};
use csv_ingestor::lake::parts::Cut;
use csv_ingestor::lake::publish::AtHand;
use csv_ingestor::limits::{LAKE_ENTRY_BYTES_MAX, LAKE_UPLOADS_MAX};
use csv_ingestor::store::Verb;
use csv_ingestor::store::sim::{Faults, SimStore};
use csv_ingestor::types::Sha256;

use super::desk::{Desk, day};
use super::door::{Answer, Door};
use super::files::Files;
use super::life::Notes;
use super::model::{WAREHOUSE, sha256};

fn claims(desk: &Desk, number: u64) -> usize {
    desk.entry(number).claims().len()
}

fn state(host: &Host, text: &str) -> State {
    host.state(&sha256(text.as_bytes()))
}

#[test]
fn one_entry_claims_all() {
    let desk = Desk::new();
    let (mut host, files) = (desk.host(1), desk.files(5));
    assert_eq!(host.ingest_whole(&files.contents(day(0)), &files), Ok(Whole::Claimed(0)));
    assert_eq!(claims(&desk, 0), 5);
    assert_eq!(host.help(&files).unwrap().finished, 1);
    assert_eq!(host.ingest_whole(&files.contents(day(0)), &files), Ok(Whole::Taken));
    assert_eq!(host.shards()[0].log.next(), 1);
}

/// As of the first slot, and between a pack and its slot.
#[test]
fn while_another_host_claims_one_nothing_is_claimed() {
    let desk = Desk::new();
    desk.claim(9, &["file 3"]);
    let (mut host, files) = (desk.host(1), desk.files(5));
    assert_eq!(host.ingest_whole(&files.contents(day(0)), &files), Ok(Whole::Taken));
    assert_eq!((host.shards()[0].log.next(), state(&host, "file 1")), (1, State::New));

    let desk = Arc::new(Desk::new());
    let (has_met, their) = (AtomicBool::new(false), desk.clone());
    let meets = move |verb, key: &str| {
        if verb == Verb::Create && key.contains("/log/") && !has_met.swap(true, Ordering::Relaxed) {
            their.claim(9, &["file 3"]);
        }
        Answer::Right
    };
    let door = Arc::new(Door::new(desk.store.below(WAREHOUSE), meets));
    let mut host = desk.host_on(1, door, &Notes::default());
    assert_eq!(host.ingest_whole(&files.contents(day(0)), &files), Ok(Whole::Taken));
    assert_eq!(host.shards()[0].log.next(), 1, "it has read the other entry, and made none");
    assert_eq!(["file 1", "file 3"].map(|text| state(&host, text)), [State::New, State::Claimed]);
    // Without it, the others go on.
    let rest = Files::of(&["file 0", "file 1", "file 2", "file 4"]);
    assert_eq!(host.ingest_whole(&rest.contents(day(0)), &rest), Ok(Whole::Claimed(1)));
}

/// Another host's entry about other contents only costs a slot.
#[test]
fn a_lost_slot_is_followed_by_the_next_one() {
    let desk = Arc::new(Desk::new());
    let (has_met, their) = (AtomicBool::new(false), desk.clone());
    let meets = move |verb, key: &str| {
        if verb == Verb::Create && key.contains("/log/") && !has_met.swap(true, Ordering::Relaxed) {
            their.claim(9, &["another"]);
        }
        Answer::Right
    };
    let door = Arc::new(Door::new(desk.store.below(WAREHOUSE), meets));
    let (mut host, files) = (desk.host_on(1, door, &Notes::default()), desk.files(3));
    assert_eq!(host.ingest_whole(&files.contents(day(0)), &files), Ok(Whole::Claimed(1)));
    assert_eq!(claims(&desk, 1), 3);
}

#[test]
fn large_ones_are_claimed_when_all_are_uploaded() {
    let desk = Desk::new();
    let count = LAKE_UPLOADS_MAX as u64 + 4;
    let (mut host, files) = (desk.host(1), desk.files(count));
    host.cut(Cut { packed_max: 5, part: 4 });
    let mut tries = 0;
    let number = loop {
        match host.ingest_whole(&files.contents(day(0)), &files).unwrap() {
            Whole::Claimed(number) => break number,
            whole => assert_eq!(whole, Whole::UnderWay),
        }
        assert!(desk.store.keys("W/.csv-ingestor/log/").is_empty(), "an entry was made before all bytes were there");
        tries += 1;
        assert!(tries < 50);
    };
    assert!(tries > 1);
    let entry = desk.entry(number);
    assert_eq!(entry.claims().len() as u64, count);
    let uploaded = entry.claims().iter().filter(|claim| matches!(claim.bytes, Place::Upload { .. })).count();
    assert_eq!(uploaded as u64, count);
    assert_eq!(host.help(&files).unwrap().finished, 1);
}

#[test]
fn bytes_that_differ_stop_all() {
    for cut in [Cut::USUAL, Cut { packed_max: 2, part: 4 }] {
        let desk = Desk::new();
        let (mut host, mut files) = (desk.host(1), desk.files(3));
        host.cut(cut);
        let (contents, changed) = (files.contents(day(0)), sha256(b"file 1"));
        files.0.insert(changed, b"other!".to_vec());
        let mut whole = Whole::UnderWay;
        while whole == Whole::UnderWay {
            whole = host.ingest_whole(&contents, &files).unwrap();
        }
        assert_eq!(whole, Whole::Differs(changed));
        assert!(desk.store.keys("W/.csv-ingestor/log/").is_empty());
    }
}

/// Files with lines of so many bytes.
struct Long(Files, usize);

impl AtHand for Long {
    fn bytes(&self, content: &Sha256) -> Option<Vec<u8>> {
        self.0.bytes(content)
    }
}

impl Staging for Long {
    fn line(&self, content: &Content, decided: &Decided<'_>) -> Vec<u8> {
        let mut line = self.0.line(content, decided);
        line.resize(self.1, b' ');
        line
    }
}

#[test]
fn what_does_not_fit_into_one_entry_is_not_claimed_in_part() {
    let desk = Desk::new();
    let (mut host, files) = (desk.host(1), desk.files(8));
    let contents = files.contents(day(0));
    let long = Long(files, LAKE_ENTRY_BYTES_MAX / 8);
    let whole = host.ingest_whole(&contents, &long).unwrap();
    assert!(matches!(whole, Whole::Unfit(why) if why.contains("too long for one entry")), "{whole:?}");
    assert!(desk.store.keys("W/.csv-ingestor/").is_empty(), "nothing was made");
    assert_eq!(host.ingest(&contents, &long).unwrap(), [Ingested::Claimed(0)], "alone, some fit");
}

#[test]
fn nothing_is_claimed_beside_what_can_never_be_claimed() {
    for cut in [Cut::USUAL, Cut { packed_max: 2, part: 4 }] {
        let desk = Desk::new();
        let (mut host, files) = (desk.host(1), desk.files(3));
        host.cut(cut);
        let mut contents = files.contents(day(0));
        contents[1].partition = "not/../a partition".to_owned();
        assert_eq!(host.ingest_whole(&contents, &files), Ok(Whole::Unfit("no data object can lie in its partition")));
        assert!(desk.store.keys("W/.csv-ingestor/").is_empty(), "nothing was made");
    }
}

/// Whatever becomes of requests: in the end one entry claims all, and no entry claims some.
#[test]
fn lost_requests_tear_nothing() {
    let (mut errors, mut tries) = (0, 0);
    for seed in 0..60 {
        let desk = Desk::on(SimStore::new(seed, Faults::MANY));
        let (mut host, files) = (desk.host(1), Files::of(&["a", "b", "a larger one", "another larger one"]));
        host.cut(Cut { packed_max: 5, part: 4 });
        let contents = files.contents(day(0));
        for attempt in 0.. {
            assert!(attempt < 200, "seed {seed}");
            tries += 1;
            match host.ingest_whole(&contents, &files) {
                Ok(Whole::Claimed(_) | Whole::Taken) => break,
                Ok(Whole::UnderWay) => {}
                Ok(whole) => panic!("seed {seed}: {whole:?}"),
                Err(_) => errors += 1,
            }
            desk.wait(2);
        }
        desk.store.flush();
        let mut reader = desk.host(2);
        desk.store.set_faults(Faults::NONE);
        reader.read().unwrap();
        let entries = reader.shards()[0].log.next();
        let all: Vec<usize> = (0..entries).map(|number| claims(&desk, number)).collect();
        assert_eq!(all, [4], "seed {seed}");
    }
    assert!(errors > 20 && tries > errors, "{errors} errors in {tries} tries");
}
