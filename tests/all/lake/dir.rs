//! The directory store on the simulated disk.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use csv_ingestor::fs::Fs as _;
use csv_ingestor::fs::sim::{Fault, SimFs, Survival};
use csv_ingestor::limits::STORE_LEFTOVER_AGE;
use csv_ingestor::store::dir::DirStore;
use csv_ingestor::store::{Head, Kind, Part, Result, Store as _};
use csv_ingestor::types::UnixMillis;

use super::model::sha256 as digest;

const ROOT: &str = "/lake";
const KEYS: [&str; 3] = ["a/b/one", "a/two", ".csv-ingestor/log/0/1"];

fn machine() -> SimFs {
    let fs = SimFs::new(1);
    fs.upstream().mkdir_all(ROOT).unwrap();
    fs.crash_to(Survival::Everything);
    fs
}

fn store(fs: &SimFs) -> DirStore<SimFs> {
    DirStore::open(fs, Path::new(ROOT)).unwrap()
}

fn create(store: &DirStore<SimFs>, key: &str, bytes: &[u8]) -> Result<()> {
    store.create(key, bytes, &digest(bytes))
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> Kind {
    result.unwrap_err().kind
}

#[test]
fn objects_are_created_once_and_read_as_they_are() {
    let fs = machine();
    let store = store(&fs);
    for key in KEYS {
        assert_eq!(kind(store.get(key)), Kind::NotFound);
        create(&store, key, key.as_bytes()).unwrap();
        assert_eq!(kind(create(&store, key, b"other")), Kind::Exists);
        assert_eq!(store.get(key).unwrap(), key.as_bytes());
        assert_eq!(store.get_range(key, 2, 3).unwrap(), &key.as_bytes()[2..5]);
        assert_eq!(kind(store.get_range(key, 2, 100)), Kind::Refused);
        let expected = Head { size: key.len() as u64, sha256: Some(digest(key.as_bytes())) };
        assert_eq!(store.head(key).unwrap(), expected);
    }
    assert_eq!(store.list("", "").unwrap(), [KEYS[2], KEYS[0], KEYS[1]]);
    assert_eq!(store.list("a/", "a/b/one").unwrap(), [KEYS[1]]);
    assert_eq!(store.list("a/b/o", "").unwrap(), [KEYS[0]]);
    store.delete(KEYS[0]).unwrap();
    store.delete(KEYS[0]).unwrap();
    store.delete("x/y").unwrap();
    assert_eq!(kind(store.head(KEYS[0])), Kind::NotFound);
}

#[test]
fn no_key_leads_out_of_the_store() {
    let fs = machine();
    for key in ["../x", "a/../../x", "/x", "a//x", "a/.", ""] {
        assert_eq!(kind(create(&store(&fs), key, b"x")), Kind::Refused, "{key}");
    }
}

/// What a create confirmed, or a read showed, is there after any power cut; and no object is ever there in part.
#[test]
fn what_was_confirmed_or_shown_survives_power_cuts() {
    let whole = machine();
    let (store_of, begin) = (store(&whole), whole.operations());
    KEYS.iter().for_each(|key| create(&store_of, key, key.as_bytes()).unwrap());
    let operations = whole.operations() - begin;
    assert!(operations > 20, "{operations} operations");
    for at in 0..operations {
        for seed in 0..8 {
            let fs = machine();
            let (one, two) = (store(&fs), store(&fs));
            let mut sure = Vec::new();
            fs.inject(Fault::crash().at(fs.operations() + at));
            for key in KEYS {
                if create(&one, key, key.as_bytes()).is_ok() {
                    sure.push(key);
                }
            }
            fs.clear_faults();
            if seed % 2 == 0 {
                // The host has died, and another one reads.
                fs.kill();
                sure.extend(KEYS.into_iter().filter(|key| two.get(key).is_ok()));
            }
            fs.crash(seed);
            let after = store(&fs);
            for key in KEYS {
                match after.get(key) {
                    Ok(bytes) => assert_eq!(bytes, key.as_bytes(), "{key}, cut off at {at} with seed {seed}"),
                    Err(error) => {
                        assert_eq!(error.kind, Kind::NotFound);
                        assert!(!sure.contains(&key), "{key} is gone, cut off at {at} with seed {seed}");
                    }
                }
            }
        }
    }
}

/// After a failed call the store says what is known, and a second call decides.
#[test]
fn errors_say_whether_something_may_have_happened() {
    let whole = machine();
    let (store_of, begin) = (store(&whole), whole.operations());
    create(&store_of, KEYS[0], b"x").unwrap();
    for at in 0..whole.operations() - begin {
        let fs = machine();
        let store = store(&fs);
        fs.inject(Fault::errno(libc::EIO).at(fs.operations() + at));
        let result = create(&store, KEYS[0], b"x");
        fs.clear_faults();
        let is_there = fs.upstream().read(Path::new(ROOT).join(KEYS[0])).is_ok();
        match result {
            Ok(()) => assert!(is_there),
            Err(error) if error.kind == Kind::MayHaveHappened => {}
            Err(error) => assert!(!is_there, "operation {at}: {error}"),
        }
    }
}

fn put(store: &DirStore<SimFs>, upload: &str, number: u16, bytes: &[u8]) -> Result<Part> {
    store.put_part(KEYS[0], upload, number, bytes, &digest(bytes))
}

#[test]
fn uploads_survive_a_restart_and_replace_nothing() {
    let fs = machine();
    let before = store(&fs);
    let upload = before.begin_upload(KEYS[0], &digest(b"onetwo")).unwrap();
    let two = put(&before, &upload, 2, b"two").unwrap();
    let old = put(&before, &upload, 1, b"old").unwrap();
    let one = put(&before, &upload, 1, b"one").unwrap();
    assert_eq!(put(&before, &upload, 1, b"one").unwrap(), one, "again");
    assert_eq!(kind(before.put_part(KEYS[0], &upload, 3, b"x", &digest(b"y"))), Kind::Refused);
    fs.crash_to(Survival::Nothing);
    let after = store(&fs);
    assert_eq!(after.list_parts(KEYS[0], &upload).unwrap(), [one.clone(), two.clone()]);
    assert_eq!(kind(after.list_parts(KEYS[1], &upload)), Kind::NotFound, "it is another key's");
    assert_eq!(after.list("", "").unwrap(), [""; 0], "nothing is visible");
    let complete = |parts: &[Part]| after.complete(KEYS[0], &upload, parts);
    assert_eq!(kind(complete(&[old, two.clone()])), Kind::Refused, "that part has been replaced");
    assert_eq!(kind(complete(std::slice::from_ref(&two))), Kind::Refused);
    complete(&[one.clone(), two.clone()]).unwrap();
    assert_eq!(temporary(&fs), [""; 0]);
    fs.crash_to(Survival::Nothing);
    let last = store(&fs);
    assert_eq!(last.get(KEYS[0]).unwrap(), b"onetwo");
    assert_eq!(kind(last.complete(KEYS[0], &upload, &[one, two])), Kind::NotFound);
    let other = last.begin_upload(KEYS[0], &digest(b"x")).unwrap();
    let part = put(&last, &other, 1, b"x").unwrap();
    assert_eq!(kind(last.complete(KEYS[0], &other, &[part])), Kind::Exists);
    last.abort(KEYS[0], &other).unwrap();
    last.abort(KEYS[0], &other).unwrap();
    assert_eq!(kind(put(&last, &other, 1, b"x")), Kind::NotFound);
    for id in ["", "x", "../../a/two", &"0".repeat(32)] {
        assert_eq!(kind(put(&last, id, 1, b"x")), Kind::NotFound, "{id}");
    }
}

fn temporary(fs: &SimFs) -> Vec<String> {
    let dir = fs.open_dir(&Path::new(ROOT).join(".csv-ingestor/tmp")).unwrap();
    let mut names: Vec<String> =
        fs.list(&dir).unwrap().map(|entry| entry.unwrap().name.into_string().unwrap()).collect();
    names.sort();
    names
}

/// What a put or a complete confirmed is there after any power cut, and no object is there in part.
#[test]
fn uploads_survive_power_cuts() {
    let upload_all = |store: &DirStore<SimFs>| -> (Option<String>, Vec<Part>, Result<()>) {
        let Ok(upload) = store.begin_upload(KEYS[0], &digest(b"onetwo")) else { return (None, Vec::new(), Ok(())) };
        let parts: Vec<Part> =
            [(1, b"one"), (2, b"two")].into_iter().map_while(|(at, part)| put(store, &upload, at, part).ok()).collect();
        let completed = store.complete(KEYS[0], &upload, &parts);
        (Some(upload), parts, completed)
    };
    let whole = machine();
    let (store_of, begin) = (store(&whole), whole.operations());
    upload_all(&store_of).2.unwrap();
    let operations = whole.operations() - begin;
    assert!(operations > 30, "{operations} operations");
    for at in 0..operations {
        for seed in 0..4 {
            let fs = machine();
            let one = store(&fs);
            fs.inject(Fault::crash().at(fs.operations() + at));
            let (upload, parts, completed) = upload_all(&one);
            fs.clear_faults();
            fs.crash(seed);
            let after = store(&fs);
            let is_there = match after.get(KEYS[0]) {
                Ok(bytes) => {
                    assert_eq!(bytes, b"onetwo", "cut off at {at} with seed {seed}");
                    true
                }
                Err(error) => {
                    assert_eq!(error.kind, Kind::NotFound);
                    false
                }
            };
            assert!(is_there || upload.is_none() || parts.len() < 2 || completed.is_err(), "cut off at {at}, {seed}");
            if let (false, Some(upload)) = (is_there, upload) {
                let listed = after.list_parts(KEYS[0], &upload).unwrap();
                assert!(parts.iter().all(|part| listed.contains(part)), "cut off at {at} with seed {seed}: {listed:?}");
            }
        }
    }
}

/// Commands that only look at a lake open it, too.
#[test]
fn whoever_only_reads_makes_no_directory() {
    let fs = machine();
    let reader = store(&fs);
    assert_eq!(kind(reader.get(KEYS[0])), Kind::NotFound);
    assert_eq!(kind(reader.head(KEYS[0])), Kind::NotFound);
    assert_eq!(reader.list("", "").unwrap(), [""; 0]);
    assert_eq!(fs.upstream().list(ROOT).unwrap(), [""; 0]);
    assert!(DirStore::open(&fs, Path::new("/none")).is_err());
}

/// A leftover of a dead process is removed some day, and nothing that somebody may be at work on.
#[test]
fn leftovers_are_removed_when_nobody_can_need_them() {
    let fs = machine();
    let first = store(&fs);
    create(&first, KEYS[0], b"object").unwrap();
    let old = first.begin_upload(KEYS[1], &digest(b"x")).unwrap();
    first.put_part(KEYS[1], &old, 1, b"x", &digest(b"x")).unwrap();
    let alive = first.begin_upload(KEYS[1], &digest(b"y")).unwrap();
    fs.upstream().write(Path::new(ROOT).join(".csv-ingestor/tmp/0123-7"), b"leftover").unwrap();
    fs.advance(STORE_LEFTOVER_AGE / 2);
    first.put_part(KEYS[1], &alive, 1, b"y", &digest(b"y")).unwrap();
    create(&store(&fs), "x/1", b"object").unwrap();
    assert_eq!(temporary(&fs).len(), 5);
    fs.advance(STORE_LEFTOVER_AGE / 2 + Duration::from_secs(1));
    let last = store(&fs);
    last.get(KEYS[0]).unwrap();
    assert_eq!(temporary(&fs).len(), 5, "reading removes nothing");
    create(&last, "x/2", b"object").unwrap();
    let left = temporary(&fs);
    assert!(left.len() == 2 && left.iter().all(|name| name.contains(&alive)), "{left:?}");
    last.complete(KEYS[1], &alive, &last.list_parts(KEYS[1], &alive).unwrap()).unwrap();
    assert_eq!(last.get(KEYS[0]).unwrap(), b"object");
}

#[test]
fn a_listing_has_the_times_of_the_objects() {
    let fs = machine();
    let store = store(&fs);
    fs.set_clock(UnixMillis(1_800_000_000_000));
    create(&store, "a/1", b"x").unwrap();
    fs.advance(Duration::from_secs(60));
    create(&store, "a/2", b"x").unwrap();
    let aged = store.list_ages("a/", "").unwrap();
    let seconds: Vec<(&str, u64)> = aged.iter().map(|(key, written)| (key.as_str(), written.0 / 1000)).collect();
    assert_eq!(seconds, [("a/1", 1_800_000_000), ("a/2", 1_800_000_060)]);
    assert_eq!(store.list_ages("a/", "a/1").unwrap(), aged[1..]);
}

/// No caller waits for another: each goes on only when all of them have come as far, up to the fourth operation of a
/// create, which syncs the file.
#[test]
fn many_creates_overlap() {
    const CALLERS: usize = 64;
    let fs = machine();
    let (counts, all) = (Arc::new((Mutex::new(HashMap::new()), Condvar::new())), Arc::new(AtomicBool::new(false)));
    let (of_gate, is_on) = (Arc::clone(&counts), Arc::clone(&all));
    let gated = fs.gated(Arc::new(move || {
        if !is_on.load(Ordering::Relaxed) {
            return;
        }
        let mut counts = of_gate.0.lock().unwrap();
        let mine: usize = *counts.entry(thread::current().id()).and_modify(|count| *count += 1).or_insert(1);
        of_gate.1.notify_all();
        let is_early =
            |counts: &mut HashMap<_, usize>| counts.len() < CALLERS || counts.values().any(|count| *count < mine);
        if mine <= 4 {
            let waited = of_gate.1.wait_timeout_while(counts, Duration::from_secs(20), is_early).unwrap();
            assert!(!waited.1.timed_out(), "a caller waits for another");
        }
    }));
    let store = DirStore::open(&gated, Path::new(ROOT)).unwrap();
    // The first write makes the directory of temporary files.
    create(&store, "first", b"x").unwrap();
    all.store(true, Ordering::Relaxed);
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            let store = &store;
            scope.spawn(move || create(store, &format!("k-{caller}"), b"x").unwrap());
        }
    });
    all.store(false, Ordering::Relaxed);
    assert!(counts.0.lock().unwrap().values().all(|count| *count > 4), "the gate was never passed");
    assert_eq!(store.list("k-", "").unwrap().len(), CALLERS);
}
