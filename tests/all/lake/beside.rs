//! Data objects that a host creates beside its other work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use csv_ingestor::lake::host::{Host, Ingested, State};
use csv_ingestor::store::{Kind, Verb};
use csv_ingestor::types::Sha256;

use super::desk::{Desk, day};
use super::door::{Answer, Door};
use super::files::Files;
use super::life::Notes;
use super::model::{WAREHOUSE, sha256};

/// Claims these files, and begins to publish them.
fn begin(host: &mut Host, files: &Files) {
    host.keep_for_beside(true);
    assert!(matches!(host.ingest(&files.contents(day(0)), files).unwrap()[0], Ingested::Claimed(_)));
    host.publish_beside(&mut || {});
}

fn is_data(key: &str) -> bool {
    key.starts_with("ingest_date=")
}

/// A store whose creates of data objects wait for a word each.
fn gated(desk: &Desk) -> (Arc<Door<'static>>, SyncSender<()>, Receiver<()>) {
    let ((say, wait), (tell, told)) = (sync_channel::<()>(0), sync_channel::<()>(1000));
    let wait = Mutex::new(wait);
    let door = Door::new(desk.store.below(WAREHOUSE), move |verb, key| {
        if verb == Verb::Create && is_data(key) {
            let _ = tell.send(());
            let _ = wait.lock().unwrap().recv();
        }
        Answer::Right
    });
    (Arc::new(door), say, told)
}

/// The next entry is made while the data objects of the one before wait for the store; this one is finished when they are
/// there, and not before.
#[test]
fn the_next_entry_is_made_meanwhile() {
    let desk = Desk::new();
    let (door, say, _told) = gated(&desk);
    let mut host = desk.host_on(1, door.clone(), &Notes::default());
    let (first, second) = (desk.files(3), Files::of(&["one more"]));
    begin(&mut host, &first);
    assert_eq!(host.help(&Files::default()).unwrap().finished, 0, "entry 0 is left to its job");
    host.keep_for_beside(true);
    assert_eq!(host.ingest(&second.contents(day(0)), &second).unwrap(), [Ingested::Claimed(1)]);
    let states = |host: &Host, files: &Files| files.0.keys().map(|content| host.state(content)).collect::<Vec<_>>();
    assert_eq!(states(&host, &first), [State::Claimed; 3]);
    assert!(host.is_publishing() && !host.has_published());
    let words = std::thread::spawn(move || (0..4).for_each(|_| say.send(()).unwrap()));
    host.publish_beside(&mut || {});
    host.await_beside(&mut || {});
    words.join().unwrap();
    assert!(host.has_published());
    let before = door.count(Verb::Create);
    assert_eq!(host.help(&Files::default()).unwrap().finished, 2);
    assert_eq!(door.count(Verb::Create), before, "no data object is created twice");
    assert!(!host.is_publishing());
    assert_eq!((states(&host, &first), states(&host, &second)), (vec![State::Listed; 3], vec![State::Listed]));
}

/// A host that waits says that it is alive as long as objects are created, and not while the store does nothing.
#[test]
fn a_host_that_waits_is_alive_while_there_is_progress() {
    let desk = Desk::new();
    let (door, say, told) = gated(&desk);
    let mut host = desk.host_on(1, door, &Notes::default());
    let files = desk.files(100);
    begin(&mut host, &files);
    told.recv().unwrap();
    let words = std::thread::spawn(move || {
        for _ in 0..100 {
            std::thread::sleep(std::time::Duration::from_millis(5));
            say.send(()).unwrap();
        }
    });
    let mut steps = 0;
    host.await_beside(&mut || steps += 1);
    words.join().unwrap();
    assert!(steps > 0);
    assert_eq!(host.help(&Files::default()).unwrap().finished, 1);
}

/// What a job could not create is created later, like that of any entry: from the pack.
#[test]
fn what_a_job_could_not_create_is_created_later() {
    let desk = Desk::new();
    let fails = Arc::new(AtomicBool::new(true));
    let is_away = fails.clone();
    let door = Door::new(desk.store.below(WAREHOUSE), move |verb, key| {
        let fails = is_away.load(Ordering::Relaxed) && verb == Verb::Create && is_data(key);
        if fails { Answer::Never(Kind::MayHaveHappened) } else { Answer::Right }
    });
    let mut host = desk.host_on(1, Arc::new(door), &Notes::default());
    begin(&mut host, &desk.files(3));
    host.await_beside(&mut || {});
    let helped = host.help(&Files::default()).unwrap();
    assert_eq!((helped.finished, helped.errors.len()), (0, 1));
    fails.store(false, Ordering::Relaxed);
    desk.wait(10);
    assert_eq!(host.help(&Files::default()).unwrap().finished, 1);
}

/// Nothing begins any more for a host that is gone. What it has claimed is finished by another one.
#[test]
fn a_job_ends_soon_after_its_host() {
    let desk = Desk::new();
    let (door, say, told) = gated(&desk);
    let mut host = desk.host_on(1, door.clone(), &Notes::default());
    let files = desk.files(500);
    begin(&mut host, &files);
    told.recv().unwrap();
    drop(host);
    drop(say);
    // Each of its threads was in one create at most, or had just asked whether there is still a host.
    while Arc::strong_count(&door) > 1 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert!(door.count(Verb::Create) < 300, "{}", door.count(Verb::Create));
    let mut other = desk.host(2);
    other.read().unwrap();
    desk.wait(100);
    assert_eq!(other.help(&Files::default()).unwrap().finished, 1);
    let contents: Vec<Sha256> = files.0.keys().copied().collect();
    assert!(contents.iter().all(|content| other.state(content) == State::Listed));
}

/// What was finished before its job began is not created again.
#[test]
fn an_entry_that_is_finished_needs_no_job() {
    let desk = Desk::new();
    let mut host = desk.host(1);
    let files = desk.files(3);
    host.keep_for_beside(true);
    host.ingest(&files.contents(day(0)), &files).unwrap();
    assert_eq!(host.help(&files).unwrap().finished, 1);
    let before = desk.store.requests();
    host.publish_beside(&mut || {});
    assert!(!host.is_publishing());
    assert_eq!(desk.store.requests(), before);
}

/// Bytes for which there is no room wait in their pack.
#[test]
fn an_entry_without_room_is_finished_as_any_other() {
    let desk = Desk::new();
    let mut host = desk.host(1);
    host.keep_for_beside(true);
    let large = vec![b'x'; 5 << 20];
    let mut entries = 0;
    for number in 0..14_u8 {
        let mut bytes = large.clone();
        bytes[0] = number;
        let files = Files([(sha256(&bytes), bytes)].into());
        entries += u64::from(matches!(host.ingest(&files.contents(day(0)), &files).unwrap()[0], Ingested::Claimed(_)));
    }
    host.publish_beside(&mut || {});
    host.await_beside(&mut || {});
    assert_eq!((entries, host.help(&Files::default()).unwrap().finished), (14, 14));
}
