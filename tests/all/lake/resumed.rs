//! Uploads that outlive the process that has begun them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use csv_ingestor::lake::Error;
use csv_ingestor::lake::host::{Fate, Host, Ingested, State};
use csv_ingestor::lake::parts::Cut;
use csv_ingestor::lake::progress::{Journal, Progress, Step};
use csv_ingestor::store::{Kind, Store, Verb};

use super::desk::{Desk, day};
use super::door::{Answer, Door};
use super::files::Files;
use super::model::WAREHOUSE;

const CUT: Cut = Cut { packed_max: 10, part: 8 };
const LARGE: &str = "a large content, in four parts";
const OTHER: &str = "another large content, too";

/// Notes that are durable when somebody else says so.
#[derive(Clone, Default)]
struct Later {
    notes: Arc<Mutex<Vec<Progress>>>,
    is_late: Arc<AtomicBool>,
}

impl Journal for Later {
    fn note(&mut self, notes: &[Progress]) -> Result<(), Error> {
        self.notes.lock().unwrap().extend_from_slice(notes);
        self.is_late.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn is_durable(&self) -> bool {
        !self.is_late.load(Ordering::Relaxed)
    }
}

impl Later {
    /// What was noted is durable now.
    fn are_durable(&self) {
        self.is_late.store(false, Ordering::Relaxed);
    }

    /// The uploads that were noted, in order.
    fn uploads(&self) -> Vec<String> {
        let notes = self.notes.lock().unwrap();
        let upload = |note: &Progress| match &note.step {
            Step::Uploading { upload, .. } => Some(upload.clone()),
            _ => None,
        };
        notes.iter().filter_map(upload).collect()
    }
}

/// A host with these notes, which reaches the store by this rule.
fn host(
    desk: &Desk,
    rule: impl Fn(Verb, &str) -> Answer + Send + Sync + 'static,
    later: &Later,
) -> (Host, Arc<Door<'static>>) {
    let door = Arc::new(Door::new(desk.store.below(WAREHOUSE), rule));
    let progress = later.notes.lock().unwrap().clone();
    let mut host = desk.host_with(1, door.clone(), Box::new(later.clone()), &progress);
    host.cut(CUT);
    (host, door)
}

/// No request fails.
fn right(_: Verb, _: &str) -> Answer {
    Answer::Right
}

#[test]
fn no_part_is_put_before_its_upload_is_noted_durably() {
    let (desk, later, files) = (Desk::new(), Later::default(), Files::of(&[LARGE, OTHER, "small"]));
    let (mut one, door) = host(&desk, right, &later);
    let batch = files.contents(day(0));
    for _ in 0..3 {
        assert_eq!(one.ingest(&batch, &files).unwrap(), [Ingested::Nothing]);
        // What is small waits as well, so that all of them share an entry.
        assert_eq!((door.count(Verb::BeginUpload), door.count(Verb::PutPart), door.count(Verb::Create)), (2, 0, 0));
    }
    later.are_durable();
    // The notes of the pack and of the claim are late again: no part depends on them.
    assert_eq!(one.ingest(&batch, &files).unwrap(), [Ingested::Claimed(0)]);
    assert_eq!((door.count(Verb::BeginUpload), door.count(Verb::PutPart)), (2, 8));
    assert_eq!(desk.entry(0).claims().len(), 3);
}

#[test]
fn what_is_small_does_not_wait_for_an_upload_that_cannot_begin() {
    let (desk, later, files) = (Desk::new(), Later::default(), Files::of(&[LARGE, OTHER, "small"]));
    let batch = files.contents(day(0));
    let large: Vec<String> =
        batch.iter().filter(|content| content.size > 10).map(|content| content.sha256.hex()[..32].to_owned()).collect();
    let first = large[0].clone();
    let rule = move |verb, key: &str| match verb {
        Verb::BeginUpload if key.contains(&first) => Answer::Never(Kind::MayHaveHappened),
        _ => Answer::Right,
    };
    let (mut one, door) = host(&desk, rule, &later);
    let outcome = one.ingest_each(&batch, &files);
    assert!(matches!(outcome.error, Some(Error::Store(_))), "{:?}", outcome.error);
    assert_eq!((outcome.shards, door.count(Verb::PutPart)), (vec![Ingested::Claimed(0)], 0));
    assert_eq!(desk.entry(0).claims().len(), 1);
}

/// A part fails, the host ends, and the next one goes on: it notes the upload again, since the file may be another one.
#[test]
fn an_upload_is_noted_again_before_it_goes_on() {
    let (desk, later, files) = (Desk::new(), Later::default(), Files::of(&[LARGE]));
    let batch = files.contents(day(0));
    let fails = |verb, _: &str| match verb {
        Verb::Create => Answer::Never(Kind::SlowDown),
        _ => Answer::Right,
    };
    let (mut first, door) = host(&desk, fails, &later);
    first.ingest(&batch, &files).unwrap();
    later.are_durable();
    assert!(first.ingest(&batch, &files).is_err());
    assert_eq!((door.count(Verb::PutPart), later.uploads().len()), (4, 1));

    let (mut second, door) = host(&desk, right, &later);
    assert_eq!(second.ingest(&batch, &files).unwrap(), [Ingested::Nothing]);
    assert_eq!(later.uploads(), [desk.store.uploads(), desk.store.uploads()].concat());
    later.are_durable();
    assert_eq!(second.ingest(&batch, &files).unwrap(), [Ingested::Claimed(0)]);
    assert_eq!((door.count(Verb::BeginUpload), door.count(Verb::PutPart)), (0, 0));
    second.help(&Files::default()).unwrap();
    assert_eq!((desk.store.uploads().len(), second.state(&batch[0].sha256)), (0, State::Listed));
}

#[test]
fn an_upload_that_is_gone_begins_anew_and_that_is_noted() {
    let (desk, later, files) = (Desk::new(), Later::default(), Files::of(&[LARGE]));
    let batch = files.contents(day(0));
    let (mut one, door) = host(&desk, right, &later);
    one.ingest(&batch, &files).unwrap();
    later.are_durable();
    let Step::Uploading { upload, key, .. } = later.notes.lock().unwrap()[0].step.clone() else { panic!("no upload") };
    desk.store.below(WAREHOUSE).abort(&key, &upload).unwrap();
    // The parts show it; then another one is begun, and its parts wait for its note.
    assert_eq!(one.ingest(&batch, &files).unwrap(), [Ingested::Nothing]);
    let put = door.count(Verb::PutPart);
    assert_eq!(one.ingest(&batch, &files).unwrap(), [Ingested::Nothing]);
    assert_eq!((door.count(Verb::PutPart), later.uploads().len()), (put, 2));
    assert_ne!(later.uploads()[0], later.uploads()[1]);
    later.are_durable();
    assert_eq!(one.ingest(&batch, &files).unwrap(), [Ingested::Claimed(0)]);
}

/// Nobody may claim it any more as far as this host knows; but an entry that names the upload may be under way.
#[test]
fn an_upload_whose_content_nobody_claims_is_left_alone() {
    let (desk, later, files) = (Desk::new(), Later::default(), Files::of(&[LARGE]));
    let batch = files.contents(day(0));
    let (mut first, _) = host(&desk, right, &later);
    first.ingest(&batch, &files).unwrap();
    later.are_durable();
    // The file has changed.
    let outcome = first.ingest_each(&batch, &Files::default());
    assert_eq!((outcome.fates[0].1.clone(), outcome.error), (Fate::Differs, None));
    let (mut second, door) = host(&desk, right, &later);
    for text in ["other", "contents", "go on"] {
        desk.claim(2, &[text]);
        second.read().unwrap();
        desk.wait(60);
        second.help(&Files::default()).unwrap();
        assert_eq!((door.count(Verb::Abort), desk.store.uploads().len()), (0, 1));
    }
    // Until an entry claims the content with other bytes.
    desk.claim(2, &[LARGE]);
    second.read().unwrap();
    second.help(&Files::default()).unwrap();
    assert_eq!((door.count(Verb::Abort), desk.store.uploads().len()), (1, 0));
}
