//! Positions of consumers.

use std::path::Path;

use csv_ingestor::follow::position::{Position, Positions, Role};
use csv_ingestor::follow::{Consumer, Cursor, Error};
use csv_ingestor::fs::sim::{Fault, Op, SimFs, Survival};
use csv_ingestor::limits::FOLLOW_CONSUMERS_MAX;

use super::{OwnManifests, cursor};
use crate::harness::{bare, err, wait_until};

const MANIFESTS: &str = "/mf";
const DIR: &str = "/mf/.csv-ingestor/consumers";

fn machine() -> SimFs {
    let fs = SimFs::new(1);
    fs.upstream().mkdir_all(MANIFESTS).unwrap();
    fs.crash_to(Survival::Everything);
    fs
}

fn consumer() -> Consumer {
    "mailer".parse().unwrap()
}

fn to(number: u64) -> Cursor {
    cursor(number).parse().unwrap()
}

fn acknowledge(fs: &SimFs, number: u64) -> Result<Position, Error> {
    let positions = Positions::create(fs, Path::new(MANIFESTS), Path::new(DIR))?;
    positions.acknowledge(&positions.hold(&consumer(), Role::Store)?, &consumer(), &to(number))
}

fn read(fs: &SimFs) -> Result<Option<Position>, Error> {
    match Positions::open(fs, Path::new(DIR)).unwrap() {
        Some(positions) => positions.read(&consumer()),
        None => Ok(None),
    }
}

fn number(fs: &SimFs) -> u64 {
    let position = read(fs).unwrap();
    position.map_or(0, |position| position.cursor.streams().next().unwrap().1)
}

/// An acknowledgement that is interrupted at any operation leaves the old position or the new one, whatever of the disk
/// survives; and one that has returned stays.
#[test]
fn a_crash_at_any_operation_leaves_the_old_position_or_the_new_one() {
    for (before, after) in [(0, 3), (3, 7)] {
        let begin = machine();
        if before > 0 {
            acknowledge(&begin, before).unwrap();
        }
        let whole = begin.fork();
        let first = whole.operations();
        acknowledge(&whole, after).unwrap();
        let last = whole.operations();
        assert!(last - first > 8, "{}", last - first);
        let mut seen = [false; 2];
        for at in first + 1..=last {
            for seed in 0..40 {
                let fs = begin.fork();
                let fault = Fault::crash().at(at);
                fs.inject(if seed % 2 == 0 { fault } else { fault.happened() });
                assert!(acknowledge(&fs, after).is_err(), "operation {at} is the last one");
                fs.crash(seed);
                let found = number(&fs);
                assert!(found == before || found == after, "operation {at}, seed {seed}: {found}");
                seen[usize::from(found == after)] = true;
                // And the consumer goes on from there.
                acknowledge(&fs, after).unwrap();
                fs.crash_to(Survival::Nothing);
                assert_eq!(number(&fs), after, "operation {at}, seed {seed}: what was acknowledged is lost");
            }
        }
        assert_eq!(seen, [true, true]);
    }
}

/// What cannot be written, or synced, is an error, and the position is the old one or the new one.
#[test]
fn a_failing_disk_is_an_error_and_no_half_position() {
    let begin = machine();
    acknowledge(&begin, 3).unwrap();
    for op in [Op::WriteAt, Op::SyncAll, Op::Rename, Op::SyncDir, Op::Open] {
        for happened in [false, true] {
            let fs = begin.fork();
            let fault = Fault::errno(libc::EIO).only(&[op]).from(fs.operations());
            fs.inject(if happened { fault.happened() } else { fault });
            assert!(acknowledge(&fs, 7).is_err(), "{op:?}");
            fs.clear_faults();
            fs.crash_to(Survival::Everything);
            assert!([3, 7].contains(&number(&fs)), "{op:?}");
        }
    }
}

#[test]
fn an_acknowledgement_does_not_go_back() {
    let fs = machine();
    let since = acknowledge(&fs, 5).unwrap().since;
    let error = acknowledge(&fs, 4).unwrap_err().to_string();
    assert!(error.contains("--consumer mailer --from") && error.contains(&cursor(5)), "{error}");
    assert_eq!(acknowledge(&fs, 5).unwrap().since, since);
    fs.advance(std::time::Duration::from_secs(1));
    let newer = acknowledge(&fs, 6).unwrap();
    assert!(newer.since == since && newer.stored_at > since);
    let positions = Positions::open(&fs, Path::new(DIR)).unwrap().unwrap();
    let back = positions.store(&positions.hold(&consumer(), Role::Store).unwrap(), &consumer(), &to(2)).unwrap();
    assert_eq!((number(&fs), back.since), (2, since));
}

/// A position that cannot be read is never the beginning.
#[test]
fn a_damaged_position_is_an_error() {
    let fs = machine();
    acknowledge(&fs, 12).unwrap();
    let path = format!("{DIR}/mailer.json");
    let good = fs.upstream().read(&path).unwrap();
    assert!(good.len() < 400 && good.ends_with(b"\"}\n"), "{}", String::from_utf8_lossy(&good));
    let mut bad: Vec<Vec<u8>> = (0..good.len()).map(|length| good[..length].to_vec()).collect();
    bad.extend((0..good.len()).map(|at| {
        let mut text = good.clone();
        text[at] ^= 1;
        text
    }));
    bad.push([&*good, b" "].concat());
    bad.push(b"{}".to_vec());
    bad.push(vec![b'x'; 1 << 20]);
    let zeros = vec![0; good.len()];
    bad.push(zeros);
    for text in bad {
        fs.upstream().write(&path, &text).unwrap();
        let error = read(&fs).unwrap_err().to_string();
        assert!(
            error.contains("the position of mailer cannot be used: /mf/.csv-ingestor/consumers/mailer.json"),
            "{error}"
        );
        assert!(acknowledge(&fs, 13).is_err(), "it is replaced by an acknowledgement, which compares it");
    }
    fs.upstream().write(&path, &good).unwrap();
    assert_eq!(number(&fs), 12);
    // Somebody has copied another consumer's.
    fs.upstream().write(format!("{DIR}/other.json"), &good).unwrap();
    let positions = Positions::open(&fs, Path::new(DIR)).unwrap().unwrap();
    let error = positions.read(&"other".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains("it is the position of \"mailer\""), "{error}");
    // One of a later version, which may have any form.
    fs.upstream().write(&path, b"{\"version\":2,\"streams\":[]}\n").unwrap();
    assert!(read(&fs).unwrap_err().to_string().contains("it has the version 2"));
}

#[test]
fn one_process_follows_and_one_stores() {
    let fs = machine();
    let positions = Positions::create(&fs, Path::new(MANIFESTS), Path::new(DIR)).unwrap();
    let follows = positions.hold(&consumer(), Role::Follow).unwrap();
    let stores = positions.hold(&consumer(), Role::Store).unwrap();
    for (role, name) in [(Role::Follow, "mailer.lock"), (Role::Store, "mailer.ack")] {
        let error = positions.hold(&consumer(), role).map(drop).unwrap_err();
        assert!(matches!(error, Error::InUse { .. }) && error.to_string().contains(name), "{error}");
        positions.hold(&"other".parse().unwrap(), role).unwrap();
    }
    drop((follows, stores));
    positions.hold(&consumer(), Role::Follow).unwrap();
}

#[test]
fn the_number_of_consumers_is_limited() {
    let fs = machine();
    let positions = Positions::create(&fs, Path::new(MANIFESTS), Path::new(DIR)).unwrap();
    let store = |number: usize| {
        let consumer: Consumer = format!("c{number}").parse().unwrap();
        let held = positions.hold(&consumer, Role::Store).unwrap();
        positions.acknowledge(&held, &consumer, &to(1)).map(drop)
    };
    (0..FOLLOW_CONSUMERS_MAX).for_each(|number| store(number).unwrap());
    let error = store(FOLLOW_CONSUMERS_MAX).unwrap_err().to_string();
    assert!(error.contains("keeps no more"), "{error}");
    store(0).unwrap();
    fs.upstream().remove(format!("{DIR}/c1.json")).unwrap();
    store(FOLLOW_CONSUMERS_MAX).unwrap();
    fs.upstream().write(format!("{DIR}/not a name.json"), b"").unwrap();
    assert_eq!(positions.consumers().unwrap().len(), FOLLOW_CONSUMERS_MAX);
}

#[test]
fn consumers_are_listed_and_acknowledge_from_outside() {
    let manifests = OwnManifests::with(5);
    assert!(manifests.ok(&["--list"]).is_empty());
    assert!(manifests.ok(&["--consumer", "a", "--ack", &cursor(3)]).is_empty());
    manifests.ok(&["--consumer", "b", "--ack", &cursor(1)]);
    let listed = manifests.ok(&["--list"]);
    assert_eq!(listed.len(), 2);
    assert!(listed[0]["consumer"] == "a" && listed[0]["cursor"] == *cursor(3) && listed[0]["since"].is_string());
    let back = manifests.run(&["--consumer", "a", "--ack", &cursor(2)]);
    assert_eq!(back.status.code(), Some(2), "{}", err(&back));
    std::fs::write(manifests.path("manifests/.csv-ingestor/consumers/b.json"), "{}").unwrap();
    let damaged = manifests.run(&["--list"]);
    assert_eq!(damaged.status.code(), Some(2), "{}", err(&damaged));
    assert!(String::from_utf8_lossy(&damaged.stdout).contains("\"consumer\":\"b\",\"error\":\"the position of b"));
    let refused = manifests.run(&["--consumer", "b", "--once"]);
    assert_eq!(refused.status.code(), Some(2), "a damaged position is the beginning: {}", err(&refused));
    manifests.ok(&["--consumer", "b", "--from", &cursor(4), "--once"]);
    assert_eq!(manifests.cursor("b"), Some(cursor(4)));
}

/// Positions of a host that may only read the manifests.
#[test]
fn positions_can_be_elsewhere() {
    let manifests = OwnManifests::with(3);
    let elsewhere = manifests.path("elsewhere");
    let words = ["--positions", elsewhere.to_str().unwrap(), "--consumer", "a"];
    manifests.ok(&[&words[..], &["--ack", &cursor(2)]].concat());
    assert!(elsewhere.join("a.json").exists() && !manifests.path("manifests/.csv-ingestor").exists());
    assert_eq!(super::numbers(&manifests.ok(&[&words[..], &["--once"]].concat())), [3]);
}

/// A second process for one consumer would deliver everything twice.
#[test]
fn a_second_process_for_a_consumer_is_refused_and_named() {
    let manifests = OwnManifests::with(1);
    let mut first = manifests.command(&["--consumer", "a"]).stdout(std::process::Stdio::null()).spawn().unwrap();
    let lock = manifests.path("manifests/.csv-ingestor/consumers/a.lock");
    wait_until("the lock", || lock.exists() && manifests.run(&["--consumer", "a", "--once"]).status.code() == Some(4));
    let second = manifests.run(&["--consumer", "a", "--once"]);
    assert!(err(&second).contains(&format!("another process (pid {})", first.id())), "{}", err(&second));
    // Others are not concerned, and it can be acknowledged while it reads.
    manifests.ok(&["--consumer", "b", "--once"]);
    manifests.ok(&["--consumer", "a", "--ack", &cursor(1)]);
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(manifests.ok(&["--consumer", "a", "--once"]).is_empty());
}

/// Why: without it, the positions of a lake's consumers were looked for in an empty path, and none were found.
#[test]
fn the_list_of_a_lake_needs_the_directory_of_positions() {
    let of = ["follow", "--manifests", "file:///lake/m", "--warehouse", "file:///lake/w", "--list"];
    let listed = bare(&of).output().unwrap();
    assert_eq!(listed.status.code(), Some(2), "{}", err(&listed));
    assert!(err(&listed).contains("--positions DIR"), "{}", err(&listed));
    let listed = bare(&of).args(["--positions", "/nonexistent/positions"]).output().unwrap();
    assert_eq!(listed.status.code(), Some(0), "{}", err(&listed));
}
