//! Real servers: scripts/check_object_stores starts them, and sets the environment that a user would set.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use csv_ingestor::lake::clock::Clock;
use csv_ingestor::lake::probe::{Defect, probe};
use csv_ingestor::limits::STORE_LISTED_MAX;
use csv_ingestor::store::cloud::{self, CloudStore};
use csv_ingestor::store::location::{Location, Options};
use csv_ingestor::store::{Head, Kind, Store};

use super::sha256;

/// Bytes of a part: what S3 requires of all but the last.
const PART: usize = 5 << 20;

/// Races for a key. SeaweedFS takes seconds for some.
const RACES: usize = 6;

struct Wall(Instant, AtomicU64);

impl Clock for Wall {
    fn steady(&self) -> Duration {
        self.0.elapsed()
    }

    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn random(&self) -> [u8; 16] {
        let number = self.1.fetch_add(1, Ordering::Relaxed);
        sha256(format!("{} {number} {:?}", std::process::id(), self.0).as_bytes()).0[..16].try_into().unwrap()
    }
}

/// The store of the environment, at a prefix that nobody has used.
fn open() -> Box<dyn Fn() -> CloudStore> {
    let url = std::env::var("CSV_INGESTOR_TEST_STORE").expect("CSV_INGESTOR_TEST_STORE: the URL of a bucket");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let location = Location::parse(&format!("{url}/test-{now}")).unwrap();
    Box::new(move || cloud::open(&location, &Options::default()).unwrap())
}

fn create(store: &dyn Store, key: &str, bytes: &[u8]) -> csv_ingestor::store::Result<()> {
    store.create(key, bytes, &sha256(bytes))
}

fn probed(open: &dyn Fn() -> CloudStore) -> Vec<Defect> {
    let handles: Vec<Arc<dyn Store>> = (0..16).map(|_| Arc::new(open()) as Arc<dyn Store>).collect();
    probe(&handles, &Wall(Instant::now(), AtomicU64::new(0))).unwrap()
}

#[test]
#[ignore = "needs a server: scripts/check_object_stores"]
fn a_real_store_does_what_the_trait_says() {
    let open = open();
    let store = open();
    let began = Instant::now();
    let done = |what: &str| println!("{what}: at {:.1} s", began.elapsed().as_secs_f64());
    objects(&store);
    done("objects");
    listings(&store);
    done("listings");
    races(&store);
    done("races");
    uploads(&store);
    done("uploads");
    assert_eq!(probed(&*open), []);
    done("probe");
    assert!(store.skew().unwrap().abs() < 60, "{:?} s", store.skew());
}

#[test]
#[ignore = "needs a server: scripts/check_object_stores"]
fn a_store_that_does_not_keep_its_promises_is_refused() {
    let open = open();
    let defects = probed(&*open);
    assert!(!defects.is_empty(), "the probe has found nothing");
    println!("{defects:?}");
}

fn objects(store: &dyn Store) {
    assert_eq!(store.get("no/such").unwrap_err().kind, Kind::NotFound);
    assert_eq!(store.head("no/such").unwrap_err().kind, Kind::NotFound);
    store.delete("no/such").unwrap();
    for (key, bytes) in [("a/d=1/x%20y.csv", b"bytes".as_slice()), ("a/empty", b"")] {
        create(store, key, bytes).unwrap();
        assert_eq!(create(store, key, b"others").unwrap_err().kind, Kind::Exists);
        assert_eq!(store.get(key).unwrap(), bytes);
        let head = Head { size: bytes.len() as u64, sha256: Some(sha256(bytes)) };
        assert_eq!(store.head(key).unwrap(), head);
    }
    assert_eq!(store.get_range("a/d=1/x%20y.csv", 1, 3).unwrap(), b"yte");
    assert_eq!(store.get_range("a/d=1/x%20y.csv", 3, 9).unwrap_err().kind, Kind::Refused);
    assert_eq!(store.get_range("a/d=1/x%20y.csv", 9, 9).unwrap_err().kind, Kind::Refused);
    // What arrives is compared with what was hashed.
    let wrong = store.create("a/wrong", b"changed", &sha256(b"bytes")).unwrap_err();
    assert!(matches!(wrong.kind, Kind::Refused | Kind::Denied), "{wrong}");
    assert_eq!(store.get("a/wrong").unwrap_err().kind, Kind::NotFound);
    store.delete("a/empty").unwrap();
    assert_eq!(store.get("a/empty").unwrap_err().kind, Kind::NotFound);
    let large = vec![7; 8 << 20];
    create(store, "a/large", &large).unwrap();
    assert!(store.get("a/large").unwrap() == large);
}

fn listings(store: &dyn Store) {
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                (0..130).for_each(|at| create(store, &format!("log/{:04}", thread * 130 + at), b"x").unwrap())
            });
        }
    });
    let (mut keys, mut after) = (Vec::new(), String::new());
    loop {
        let page = store.list("log/", &after).unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= STORE_LISTED_MAX);
        after.clone_from(last);
        keys.extend(page);
    }
    let expected: Vec<String> = (0..1040).map(|at| format!("log/{at:04}")).collect();
    assert_eq!(keys, expected);
    assert_eq!(store.list("log/103", "log/1037").unwrap(), ["log/1038", "log/1039"], "a prefix ends anywhere");
    let now = u64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis());
    for (key, written) in store.list_ages("log/000", "").unwrap() {
        assert!(now.unwrap().abs_diff(written.0) < 300_000, "{key}: {written:?}");
    }
}

fn races(store: &dyn Store) {
    for round in 0..RACES {
        let (key, barrier) = (format!("race/{round}"), Barrier::new(16));
        let (key, barrier) = (&key, &barrier);
        let wins: Vec<usize> = std::thread::scope(|scope| {
            let race = |racer: usize| {
                scope.spawn(move || {
                    barrier.wait();
                    match create(store, key, racer.to_string().as_bytes()) {
                        Ok(()) => Some(racer),
                        Err(error) => {
                            assert_eq!(error.kind, Kind::Exists, "{error}");
                            None
                        }
                    }
                })
            };
            let racers: Vec<_> = (0..16).map(race).collect();
            racers.into_iter().filter_map(|racer| racer.join().unwrap()).collect()
        });
        let [winner] = wins[..] else { panic!("round {round}: {wins:?} have won") };
        assert_eq!(store.get(key).unwrap(), winner.to_string().as_bytes());
    }
}

fn uploads(store: &dyn Store) {
    let whole: Vec<u8> = (0..PART + 1000).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let upload = store.begin_upload("large/1", &sha256(&whole)).unwrap();
    let mut parts = Vec::new();
    for (number, bytes) in (1..).zip(whole.chunks(PART)) {
        let wrong = store.put_part("large/1", &upload, number, bytes, &sha256(b"others")).unwrap_err();
        assert!(matches!(wrong.kind, Kind::Refused | Kind::Denied), "{wrong}");
        parts.push(store.put_part("large/1", &upload, number, bytes, &sha256(bytes)).unwrap());
    }
    match store.list_parts("large/1", &upload) {
        Ok(listed) => {
            let plain = |parts: &[csv_ingestor::store::Part]| -> Vec<_> {
                parts.iter().map(|part| (part.number, part.size)).collect()
            };
            assert_eq!(plain(&listed), plain(&parts));
        }
        Err(error) => assert_eq!(error.kind, Kind::Refused, "{error}"),
    }
    assert_eq!(store.head("large/1").unwrap_err().kind, Kind::NotFound, "nothing is visible before it is complete");
    store.complete("large/1", &upload, &parts).unwrap();
    let head = Head { size: whole.len() as u64, sha256: Some(sha256(&whole)) };
    assert_eq!(store.head("large/1").unwrap(), head);
    assert!(store.get("large/1").unwrap() == whole);
    let other = store.begin_upload("large/2", &sha256(&whole)).unwrap();
    store.put_part("large/2", &other, 1, &whole, &sha256(&whole)).unwrap();
    store.abort("large/2", &other).unwrap();
    assert_eq!(store.head("large/2").unwrap_err().kind, Kind::NotFound);
}
