//! The directory store on the simulated disk.

use std::path::Path;

use csv_ingestor::fs::sim::{Fault, SimFs, Survival};
use csv_ingestor::store::dir::DirStore;
use csv_ingestor::store::{Head, Kind, Result, Store as _};

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
