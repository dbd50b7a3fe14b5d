//! Contents that are uploaded in parts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use csv_ingestor::lake::Error;
use csv_ingestor::lake::entry::Place;
use csv_ingestor::lake::host::{Content, Decided, Fate, Host, Ingested, Staging, State};
use csv_ingestor::lake::parts::Cut;
use csv_ingestor::lake::progress::Step;
use csv_ingestor::lake::publish::AtHand;
use csv_ingestor::limits::{LAKE_PARTS_BYTES_MAX, LAKE_PARTS_IN_FLIGHT};
use csv_ingestor::store::sim::SimStore;
use csv_ingestor::store::{self, Head, Kind, Part, Store, Verb};
use csv_ingestor::types::{Sha256, UnixMillis};
use sha2::Digest as _;

use super::desk::{Desk, day};
use super::door::{Answer, Door};
use super::files::{Files, parts};
use super::life::Notes;
use super::model::{WAREHOUSE, sha256};

const CUT: Cut = Cut { packed_max: 10, part: 8 };
const LARGE: &str = "a large content, in four parts";

fn cut(mut host: Host) -> Host {
    host.cut(CUT);
    host
}

/// A host that reaches the store by this rule.
fn host(
    desk: &Desk,
    rule: impl Fn(Verb, &str) -> Answer + Send + Sync + 'static,
    notes: &Notes,
) -> (Host, Arc<Door<'static>>) {
    let door = Arc::new(Door::new(desk.store.below(WAREHOUSE), rule));
    (cut(desk.host_on(1, door.clone(), notes)), door)
}

fn fate(host: &mut Host, batch: &[Content], files: &Files) -> (Fate, Option<Error>) {
    let outcome = host.ingest_each(batch, files);
    (outcome.fates[0].1.clone(), outcome.error)
}

/// The data object of entry 0 is there, and nothing is left over.
fn check_published(desk: &Desk, number: u64) {
    let claim = desk.entry(number).claims()[0].clone();
    assert!(matches!(claim.bytes, Place::Upload { .. }));
    assert_eq!(desk.store.below(WAREHOUSE).peek(&claim.key), Some(LARGE.as_bytes().to_vec()));
    assert_eq!(desk.store.below(WAREHOUSE).head(&claim.key).unwrap().sha256, Some(claim.sha256));
    assert_eq!(desk.store.uploads(), Vec::<String>::new());
    assert_eq!(desk.store.keys("W/.csv-ingestor/pack/"), Vec::<String>::new());
}

#[test]
fn a_large_content_takes_its_parts_and_few_requests() {
    for knows_parts in [true, false] {
        let desk = Desk::new();
        let (mut host, files) = (cut(desk.host(1)), Files::of(&[LARGE]));
        host.read().unwrap();
        let mut batch = files.contents(day(0));
        batch[0].parts = knows_parts.then(|| parts(LARGE.as_bytes(), &CUT));
        let before = desk.store.requests();
        assert_eq!(host.ingest(&batch, &files).unwrap(), [Ingested::Claimed(0)]);
        assert_eq!(desk.store.keys("W/ingest_date"), Vec::<String>::new(), "nothing is visible yet");
        assert_eq!(host.help(&Files::default()).unwrap().finished, 1, "without its bytes");
        // One read of the end, four parts and their beginning, the entry; then complete, a look before and one after, and
        // the manifest object.
        assert_eq!(desk.store.requests() - before, 1 + 5 + 1 + 3 + 1);
        check_published(&desk, 0);
    }
}

#[test]
fn small_and_large_contents_share_an_entry() {
    let desk = Desk::new();
    let (mut host, files) = (cut(desk.host(1)), Files::of(&["small", LARGE, "tiny", "another large content"]));
    assert_eq!(host.ingest(&files.contents(day(0)), &files).unwrap(), [Ingested::Claimed(0)]);
    assert_eq!((desk.entry(0).claims().len(), desk.entry(0).packs().len()), (4, 1));
    assert_eq!(host.help(&Files::default()).unwrap().finished, 1);
    for claim in desk.entry(0).claims() {
        assert_eq!(desk.store.below(WAREHOUSE).head(&claim.key).unwrap().sha256, Some(claim.sha256));
    }
}

#[test]
fn another_host_completes_what_was_claimed() {
    let desk = Desk::new();
    let files = Files::of(&[LARGE]);
    cut(desk.host(1)).ingest(&files.contents(day(0)), &files).unwrap();
    let mut host = desk.host(2);
    host.read().unwrap();
    desk.wait(60);
    assert_eq!(host.help(&Files::default()).unwrap().finished, 1);
    check_published(&desk, 0);
}

#[test]
fn a_file_that_changes_meanwhile_is_not_claimed() {
    for (knows_parts, at) in [(true, 0), (true, 29), (false, 0), (false, 29)] {
        let desk = Desk::new();
        let (mut host, files) = (cut(desk.host(1)), Files::of(&[LARGE]));
        let mut batch = files.contents(day(0));
        batch[0].parts = knows_parts.then(|| parts(LARGE.as_bytes(), &CUT));
        let mut changed = files.clone();
        changed.0.values_mut().for_each(|bytes| bytes[at] ^= 1);
        assert_eq!(fate(&mut host, &batch, &changed), (Fate::Differs, None));
        changed.0.values_mut().for_each(|bytes| bytes.truncate(25));
        assert_eq!(fate(&mut host, &batch, &changed), (Fate::Differs, None));
        assert_eq!(host.shards()[0].log.next(), 0);
        // And when it is as it was, it is.
        assert_eq!(host.ingest(&batch, &files).unwrap(), [Ingested::Claimed(0)]);
        host.help(&files).unwrap();
        check_published(&desk, 0);
    }
}

#[test]
fn a_host_that_starts_again_goes_on_with_its_parts() {
    let (desk, notes, files) = (Desk::new(), Notes::default(), Files::of(&[LARGE]));
    let batch = files.contents(day(0));
    let tries = AtomicU64::new(0);
    let fails = move |verb, _: &str| match verb {
        Verb::PutPart if tries.fetch_add(1, Ordering::Relaxed) >= 2 => Answer::Never(Kind::MayHaveHappened),
        _ => Answer::Right,
    };
    let (mut first, _) = host(&desk, fails, &notes);
    let (left, error) = fate(&mut first, &batch, &files);
    assert!(left == Fate::Left && matches!(error, Some(Error::Store(_))));
    assert_eq!(first.shards()[0].log.next(), 0, "nothing is claimed before all parts are there");
    let noted = notes.lock().unwrap().clone();
    assert!(matches!(&noted[..], [note] if matches!(note.step, Step::Uploading { .. })));
    // A part that is not as long as it should be does not count.
    let Step::Uploading { upload, key, .. } = &noted[0].step else { panic!("{noted:?}") };
    let store = desk.store.below(WAREHOUSE);
    let there: Vec<u16> = store.list_parts(key, upload).unwrap().iter().map(|part| part.number).collect();
    let missing = (1..=4).find(|number| !there.contains(number)).unwrap();
    store.put_part(key, upload, missing, b"x", &sha256(b"x")).unwrap();
    // The next day it begins again.
    let (mut second, door) = host(&desk, |_, _| Answer::Right, &notes);
    assert_eq!(second.ingest(&files.contents(day(1)), &files).unwrap(), [Ingested::Claimed(0)]);
    assert_eq!((door.count(Verb::PutPart), door.count(Verb::BeginUpload)), (2, 0));
    second.help(&files).unwrap();
    check_published(&desk, 0);
    assert!(desk.entry(0).claims()[0].key.starts_with("ingest_date=2025-11-18/"), "an upload has one key");
}

#[test]
fn where_parts_cannot_be_listed_the_upload_begins_anew_and_the_old_one_is_aborted() {
    let (desk, notes, files) = (Desk::new(), Notes::default(), Files::of(&[LARGE]));
    let unclaimed = |verb, key: &str| match verb {
        Verb::Create if key.contains("/log/") => Answer::Never(Kind::SlowDown),
        _ => Answer::Right,
    };
    assert!(host(&desk, unclaimed, &notes).0.ingest(&files.contents(day(0)), &files).is_err());
    let old = desk.store.uploads();
    assert_eq!(old.len(), 1);
    let unlisted = |verb, _: &str| match verb {
        Verb::ListParts => Answer::Never(Kind::Refused),
        _ => Answer::Right,
    };
    let (mut second, door) = host(&desk, unlisted, &notes);
    second.help(&files).unwrap();
    assert_eq!(door.count(Verb::Abort), 0, "an entry that names it may still be under way");
    assert_eq!(second.ingest(&files.contents(day(0)), &files).unwrap(), [Ingested::Claimed(0)]);
    assert_eq!((door.count(Verb::PutPart), desk.store.uploads().len()), (4, 2));
    second.help(&files).unwrap();
    check_published(&desk, 0);
}

/// Requests that get no answer are late: the entry of the upload arrives after its host has read another one's.
#[test]
fn an_upload_is_aborted_when_its_content_is_claimed_and_no_entry_needs_it() {
    let (desk, notes, files) = (Desk::new(), Notes::default(), Files::of(&[LARGE]));
    let lost = |verb, key: &str| match verb {
        Verb::Create | Verb::Get if key.contains("/log/") => Answer::Lost(Kind::MayHaveHappened),
        _ => Answer::Right,
    };
    let batch = files.contents(day(0));
    // Its own entry is there, and it does not know it.
    assert!(host(&desk, lost, &notes).0.ingest(&batch, &files).is_err());
    let read_fails = |verb, key: &str| match verb {
        Verb::Get if key.contains("/log/") && key.ends_with('0') => Answer::Right,
        Verb::Head | Verb::Complete => Answer::Never(Kind::MayHaveHappened),
        _ => Answer::Right,
    };
    let (mut second, door) = host(&desk, read_fails, &notes);
    second.read().unwrap();
    assert_eq!(second.state(&batch[0].sha256), State::Claimed);
    assert_eq!(second.help(&files).unwrap().finished, 0);
    assert_eq!(door.count(Verb::Abort), 0, "its entry is unfinished");
    let mut third = cut(desk.host_on(1, Arc::new(desk.store.below(WAREHOUSE)), &notes));
    third.read().unwrap();
    assert_eq!(third.help(&files).unwrap().finished, 1);
    check_published(&desk, 0);
    // Another host's claim of another content with an upload of its own.
    let (one, two) = (cut(desk.host(2)), Notes::default());
    let (mut one, more) = (one, Files::of(&["one more large content"]));
    let unclaimed = |verb, key: &str| match verb {
        Verb::Create if key.contains("/log/") => Answer::Never(Kind::SlowDown),
        _ => Answer::Right,
    };
    let (mut loser, door) = host(&desk, unclaimed, &two);
    assert!(loser.ingest(&more.contents(day(0)), &more).is_err());
    one.ingest(&more.contents(day(0)), &more).unwrap();
    one.help(&more).unwrap();
    loser.help(&more).unwrap();
    assert_eq!((door.count(Verb::Abort), desk.store.uploads().len()), (0, 1), "it has not read the entry");
    loser.read().unwrap();
    loser.help(&more).unwrap();
    assert_eq!((door.count(Verb::Abort), desk.store.uploads().len()), (1, 0));
}

#[test]
fn after_a_complete_the_object_decides_and_not_the_answer() {
    for kind in [Kind::MayHaveHappened, Kind::Denied, Kind::NotFound, Kind::Refused] {
        for arrives in [true, false] {
            let (desk, files) = (Desk::new(), Files::of(&[LARGE]));
            let answers = move |verb, _: &str| match verb {
                Verb::Complete if arrives => Answer::Lost(kind),
                Verb::Complete => Answer::Never(kind),
                _ => Answer::Right,
            };
            let (mut host, _) = host(&desk, answers, &Notes::default());
            host.ingest(&files.contents(day(0)), &files).unwrap();
            let helped = host.help(&files).unwrap();
            assert_eq!(helped.finished, u64::from(arrives));
            assert_eq!(helped.errors.len(), usize::from(!arrives));
            if arrives {
                check_published(&desk, 0);
            }
        }
    }
}

#[test]
fn a_foreign_object_is_not_replaced_by_a_completed_upload() {
    let desk = Desk::new();
    let (mut host, files) = (cut(desk.host(1)), Files::of(&[LARGE]));
    host.ingest(&files.contents(day(0)), &files).unwrap();
    let (store, key) = (desk.store.below(WAREHOUSE), desk.entry(0).claims()[0].key.clone());
    store.put_foreign(&key, b"x");
    assert!(matches!(host.help(&files).unwrap().errors[0], Error::Foreign { .. }));
    assert_eq!(store.peek(&key), Some(b"x".to_vec()));
    store.remove_foreign(&key);
    desk.wait(60);
    assert_eq!(host.help(&files).unwrap().finished, 1);
    check_published(&desk, 0);
}

/// A store that remembers of parts and objects only their sizes and checksums.
struct Sums {
    log: SimStore,
    parts: Mutex<BTreeMap<u16, u64>>,
    objects: Mutex<BTreeMap<String, Head>>,
    began: Mutex<Option<Sha256>>,
    now: AtomicU64,
    most: AtomicU64,
}

impl Store for Sums {
    fn create(&self, key: &str, bytes: &[u8], sha256: &Sha256) -> store::Result<()> {
        self.log.create(key, bytes, sha256)
    }

    fn get(&self, key: &str) -> store::Result<Vec<u8>> {
        self.log.get(key)
    }

    fn get_range(&self, key: &str, offset: u64, length: u64) -> store::Result<Vec<u8>> {
        self.log.get_range(key, offset, length)
    }

    fn head(&self, key: &str) -> store::Result<Head> {
        self.objects.lock().unwrap().get(key).copied().map_or_else(|| self.log.head(key), Ok)
    }

    fn delete(&self, key: &str) -> store::Result<()> {
        self.log.delete(key)
    }

    fn list_ages(&self, prefix: &str, after: &str) -> store::Result<Vec<(String, UnixMillis)>> {
        self.log.list_ages(prefix, after)
    }

    fn begin_upload(&self, _key: &str, sha256: &Sha256) -> store::Result<String> {
        *self.began.lock().unwrap() = Some(*sha256);
        Ok("upload".to_owned())
    }

    fn put_part(&self, _: &str, _: &str, number: u16, bytes: &[u8], expected: &Sha256) -> store::Result<Part> {
        let size = bytes.len() as u64;
        let now = self.now.fetch_add(size, Ordering::SeqCst) + size;
        self.most.fetch_max(now, Ordering::SeqCst);
        assert_eq!(sha256(bytes), *expected);
        self.parts.lock().unwrap().insert(number, size);
        self.now.fetch_sub(size, Ordering::SeqCst);
        Ok(Part { number, size, etag: expected.hex() })
    }

    fn complete(&self, key: &str, _: &str, parts: &[Part]) -> store::Result<()> {
        let stored = self.parts.lock().unwrap();
        assert!(parts.iter().all(|part| stored.get(&part.number) == Some(&part.size)));
        let head = Head { size: parts.iter().map(|part| part.size).sum(), sha256: *self.began.lock().unwrap() };
        self.objects.lock().unwrap().insert(key.to_owned(), head);
        Ok(())
    }

    fn abort(&self, _: &str, _: &str) -> store::Result<()> {
        Ok(())
    }

    fn list_parts(&self, _: &str, _: &str) -> store::Result<Vec<Part>> {
        Ok(Vec::new())
    }
}

/// A content that is computed as it is read.
struct Endless {
    size: u64,
    sha256: Sha256,
}

/// Eight bytes, by their place.
fn word(place: u64) -> [u8; 8] {
    place.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()
}

fn fill(offset: u64, buffer: &mut [u8]) {
    assert!(offset.is_multiple_of(8));
    for (place, chunk) in buffer.chunks_mut(8).enumerate() {
        chunk.copy_from_slice(&word(offset / 8 + place as u64)[..chunk.len()]);
    }
}

impl AtHand for Endless {
    fn bytes(&self, _: &Sha256) -> Option<Vec<u8>> {
        panic!("a large content is never read as a whole")
    }
}

impl Staging for Endless {
    fn line(&self, content: &Content, decided: &Decided<'_>) -> Vec<u8> {
        format!("{} {}", content.sha256, decided.key).into_bytes()
    }

    fn read_at(&self, content: &Sha256, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        assert_eq!(*content, self.sha256);
        let length = usize::try_from(self.size - offset).unwrap().min(buffer.len());
        fill(offset, &mut buffer[..length]);
        Ok(length)
    }
}

/// `LAKE_LARGE_MIB=5120` for 5 GiB, some minutes.
#[test]
fn a_content_is_uploaded_within_bounded_memory() {
    let mib = std::env::var("LAKE_LARGE_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(100);
    let size = (mib << 20) + 3;
    let (mut whole, mut sums, mut part) = (sha2::Sha256::new(), Vec::new(), vec![0; 16 << 20]);
    for number in 0..Cut::USUAL.parts(size) {
        let (offset, length) = Cut::USUAL.range(size, number);
        let part = &mut part[..length as usize];
        fill(offset, part);
        whole.update(&part);
        sums.push(sha256(part));
    }
    let staging = Endless { size, sha256: Sha256(whole.finalize().into()) };
    let desk = Desk::new();
    let store = Arc::new(Sums {
        log: desk.store.below(WAREHOUSE),
        parts: Mutex::default(),
        objects: Mutex::default(),
        began: Mutex::default(),
        now: AtomicU64::new(0),
        most: AtomicU64::new(0),
    });
    let mut host = desk.host_on(1, store.clone(), &Notes::default());
    let mut content = Files::of(&["x"]).contents(day(0)).remove(0);
    (content.size, content.sha256, content.parts) = (size, staging.sha256, Some(sums));
    assert_eq!(host.ingest(&[content], &staging).unwrap(), [Ingested::Claimed(0)]);
    assert_eq!(host.help(&Files::default()).unwrap().finished, 1);
    let numbers: BTreeSet<u16> = store.parts.lock().unwrap().keys().copied().collect();
    assert_eq!(numbers.len(), Cut::USUAL.parts(size));
    let most = store.most.load(Ordering::SeqCst);
    assert!(most <= LAKE_PARTS_BYTES_MAX && most <= LAKE_PARTS_IN_FLIGHT as u64 * (16 << 20), "{most} bytes at once");
    let head = store.head(&desk.entry(0).claims()[0].key).unwrap();
    assert_eq!(head, Head { size, sha256: Some(staging.sha256) });
}
