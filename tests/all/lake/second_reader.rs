//! `tests/read_lake.py`, a reader written from `docs/lake-format.md` alone, reads the lakes that the program writes, and
//! says the same of each: so the document is sufficient and correct.

use std::collections::BTreeMap;
use std::process::{Command, Output};
use std::time::Duration;

use csv_ingestor::lake::entry::{Body, Claim, Claims, Entry, Fault, Forget, Header, Place};
use csv_ingestor::lake::format::Lake;
use csv_ingestor::lake::read::Read;
use csv_ingestor::lake::rows::{MARK_BYTES, Mark};
use csv_ingestor::lake::shard::Shard;
use csv_ingestor::lake::{Error, checkpoint, keys, publish};
use csv_ingestor::limits::{LAKE_CHECKPOINT_ROWS, LAKE_CLAIMS_MAX};
use csv_ingestor::store::Part;
use csv_ingestor::types::Sha256;
use serde_json::{Value, json};

use super::desk::{Desk, LAKE, day};
use super::files::Files;
use super::history::Plan;
use super::model::{WAREHOUSE, sha256};
use super::on_disk::OnDisk;
use super::turns::Dice;
use crate::harness::{err, has, json_lines, out};

pub const READER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/read_lake.py");

fn second_reader(disk: &OnDisk) -> Output {
    Command::new("python3")
        .arg("-B")
        .arg(READER)
        .arg(disk.path("warehouse"))
        .arg(disk.path("manifests"))
        .output()
        .unwrap()
}

/// What this program reads, in the second reader's words.
fn told(disk: &OnDisk) -> Vec<Value> {
    let stores = disk.stores();
    let (mut lines, mut contents, mut manifests) = (Vec::new(), BTreeMap::new(), Vec::new());
    for number in 0..disk.lake.shards {
        let (mut shard, store) = (Shard::new(&disk.lake, number), stores.warehouse.as_ref());
        let (mut stopped, mut skipped, mut claims) = (Value::Null, Vec::new(), BTreeMap::new());
        while let Some(bytes) = shard.log.look(store).unwrap() {
            let next = shard.log.next();
            match shard.take(store, Read::of(&bytes), Duration::ZERO, &|_| false) {
                Err(Error::Malformed { .. }) => stopped = json!([next, "malformed"]),
                Err(_) => stopped = json!([next, "for ever"]),
                Ok(()) if store.get(&keys::skip(number, next)).is_ok() => skipped.push(next),
                Ok(()) => {
                    let entry = Entry::decode(&bytes).unwrap();
                    claims.extend(entry.claims().iter().map(|claim| (Mark::of(&claim.sha256), claim.clone())));
                    for key in publish::manifests(&entry).into_keys() {
                        let Ok(bytes) = stores.manifests.get(&key) else { continue };
                        let text = String::from_utf8(bytes).unwrap();
                        manifests.push(json!({ "manifest": key, "lines": text.lines().collect::<Vec<_>>() }));
                    }
                }
            }
            if !stopped.is_null() {
                break;
            }
        }
        let unfinished = shard.unfinished.iter().filter(|entry| publish::look(&stores, entry).unwrap().is_none());
        lines.push(json!({
            "shard": number, "entries": shard.log.next(), "chain": shard.log.chain().hex(),
            "floor": shard.contents.floor(), "skipped": skipped, "stopped": stopped,
            "unfinished": unfinished.map(|entry| entry.header.number).collect::<Vec<_>>(),
        }));
        for (mark, Claim { sha256, key, .. }) in claims {
            let known = shard.contents.get(&sha256).unwrap();
            contents.insert(
                mark,
                json!({
                    "sha256": sha256.hex(), "entry": known.entry, "generation": known.generation,
                    "forgotten": known.is_forgotten, "key": key,
                }),
            );
        }
    }
    lines.extend(contents.into_values());
    lines.extend(manifests);
    lines
}

/// Both readers say the same, and the second one finds nothing that contradicts the document. Returns what they say.
#[track_caller]
pub fn assert_same(disk: &OnDisk, what: &str) -> Vec<Value> {
    let second = second_reader(disk);
    assert!(second.status.success(), "{what}: {}", err(&second));
    let (second, own) = (json_lines(&out(&second)), told(disk));
    for (second, own) in second.iter().zip(&own) {
        assert_eq!(second, own, "{what}: the second reader on the left");
    }
    assert_eq!(second.len(), own.len(), "{what}");
    own
}

#[test]
fn random_histories_are_read_alike() {
    if !has("python3") {
        return;
    }
    let (mut forgotten, mut unfinished, mut checkpoints) = (0, 0, 0);
    // The last two end with an entry that nobody can finish.
    for seed in (0..40).chain([114, 251]) {
        let (_, store, lake) = Plan { has_foreign: false, ..Plan::random(seed) }.played();
        let disk = OnDisk::of(&store, &lake);
        let told = assert_same(&disk, &format!("history {seed}"));
        forgotten += told.iter().filter(|line| line["forgotten"] == true || line["generation"] == 1).count();
        unfinished += told.iter().filter(|line| line["unfinished"].as_array().is_some_and(|it| !it.is_empty())).count();
        checkpoints += disk.files("warehouse").iter().filter(|name| name.contains("/checkpoint/")).count();
    }
    assert!(forgotten > 5 && unfinished > 0 && checkpoints > 10, "{forgotten} {unfinished} {checkpoints}");
}

/// Appends an entry by hand.
pub fn append(desk: &Desk, floor: Option<u64>, body: Body) -> Entry {
    let (store, mut shard) = (desk.store.below(WAREHOUSE), Shard::new(&LAKE, 0));
    shard.read(&store, Duration::ZERO, &|_| false).unwrap();
    let (number, predecessor) = (shard.log.next(), shard.log.chain());
    let floor = floor.unwrap_or(shard.contents.floor());
    let header = Header { lake: LAKE.id, shard: 0, number, predecessor, floor, host: [8; 16], serial: 1 };
    let entry = Entry { header, body };
    put(desk, number, &entry.encode());
    entry
}

fn put(desk: &Desk, number: u64, bytes: &[u8]) {
    assert!(desk.store.below(WAREHOUSE).put_foreign(&keys::slot(0, number), bytes));
}

/// Writes the checkpoint at the end of the log; returns the number of its pieces.
pub fn put_checkpoint(desk: &Desk) -> usize {
    let (store, mut shard) = (desk.store.below(WAREHOUSE), Shard::new(&LAKE, 0));
    shard.read(&store, Duration::ZERO, &|_| false).unwrap();
    let pieces = checkpoint::pieces(shard.contents.len());
    for piece in 0..pieces {
        let key = keys::checkpoint_piece(0, shard.log.next(), piece);
        assert!(store.put_foreign(&key, &checkpoint::encode(&shard.log, &shard.contents, piece)));
    }
    pieces
}

/// A claim of a content that waits in an upload.
pub fn in_upload(text: &str) -> Claim {
    let content = sha256(text.as_bytes());
    let parts = [3, text.len() as u64 - 3].into_iter().zip(1..);
    let parts = parts.map(|(size, number)| Part { number, size, etag: format!("\"etag {number}\"") });
    Claim {
        sha256: content,
        generation: 0,
        size: text.len() as u64,
        ingested_at: day(2),
        key: keys::data("region=eu/ingest_date=2025-11-20", b"large.csv.gz", &content, 0),
        bytes: Place::Upload { id: "an upload".to_owned(), parts: parts.collect() },
        line: b"{\"path\":\"large\"}".to_vec(),
    }
}

/// Several hundred contents in entries of all sizes, forgotten by name and by number, and claimed again.
fn medium() -> Desk {
    let desk = Desk::new();
    let texts: Vec<String> = (0..400).map(|number| format!("content {number}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut hosts = [desk.host(1), desk.host(2)];
    let mut round = |host: usize, texts: &[&str], days: u64| {
        let files = Files::of(texts);
        let mut contents = files.contents(day(days));
        // Several manifest objects of one entry, and names of all kinds.
        for (content, number) in contents.iter_mut().zip(0_usize..) {
            content.ingested_at.0 += number as u64 % 3 * 3_600_000;
            let names = ["plain.csv", "ünïcödé \"name\".csv.gz", ".hidden", "no extension", "a.g1"];
            content.name = names[number % names.len()].into();
        }
        hosts[host].ingest(&contents, &files).unwrap();
        // The other host's entries are due as well.
        desk.wait(60);
        hosts[host].help(&files).unwrap();
        assert!(hosts[host].is_idle());
    };
    texts.chunks(50).for_each(|texts| round(0, texts, 0));
    let next = append(&desk, Some(8), Body::Forget(Forget { below: 1, contents: Vec::new() })).header.number + 1;
    let mut some: Vec<_> = texts[100..140].iter().map(|text| sha256(text.as_bytes())).collect();
    some.sort_unstable();
    append(&desk, Some(next), Body::Forget(Forget { below: 0, contents: some }));
    (0..20).for_each(|at| round(at % 2, &texts[at * 10..at * 10 + 10], 1));
    append(&desk, None, claims_of(vec![in_upload("one large file"), in_upload("another large file")]));
    desk
}

#[test]
fn many_contents_are_read_alike() {
    if has("python3") {
        let disk = OnDisk::of(&medium().store, &LAKE);
        let told = assert_same(&disk, "many contents");
        let count = |key: &str, value: Value| told.iter().filter(|line| line[key] == value).count();
        assert_eq!((count("generation", json!(1)), count("forgotten", json!(true))), (90, 0));
        assert_eq!(told[0]["unfinished"].as_array().unwrap().len(), 1);
    }
}

fn claims_of(claims: Vec<Claim>) -> Body {
    Body::Claims(Claims { packs: Vec::new(), claims })
}

/// Nobody has two such contents, and a reader must not depend on that.
#[test]
fn contents_with_one_mark_are_read_alike() {
    if !has("python3") {
        return;
    }
    let twin = |last: u8, generation| {
        let mut claim = in_upload("a large file");
        claim.sha256.0[MARK_BYTES..].fill(last);
        claim.key = keys::data("region=eu", b"large.csv", &claim.sha256, generation);
        Claim { generation, ..claim }
    };
    let desk = Desk::new();
    append(&desk, None, claims_of(vec![twin(1, 0), twin(2, 0)]));
    append(&desk, Some(1), Body::Forget(Forget { below: 0, contents: vec![twin(3, 0).sha256] }));
    put_checkpoint(&desk);
    append(&desk, None, claims_of(vec![twin(4, 1), in_upload("another large file")]));
    append(&desk, None, claims_of(vec![in_upload("a third one")]));
    put_checkpoint(&desk);
    let told = assert_same(&OnDisk::of(&desk.store, &LAKE), "one mark");
    let of_mark: Vec<_> = told.iter().filter(|line| line["sha256"] == twin(4, 1).sha256.hex()).collect();
    assert_eq!((of_mark.len(), &of_mark[0]["generation"]), (1, &json!(1)));
    let contents = told.iter().filter(|line| !line["sha256"].is_null()).count();
    assert_eq!(contents, 3);
    append(&desk, None, claims_of(vec![twin(5, 0)]));
    let told = assert_same(&OnDisk::of(&desk.store, &LAKE), "a claimed mark");
    assert_eq!(told[0]["stopped"], json!([4, "malformed"]));
}

/// So many contents that a checkpoint has several pieces, with further rows in each.
#[test]
fn a_checkpoint_in_pieces_is_read_alike() {
    if !has("python3") {
        return;
    }
    let (desk, per_entry) = (Desk::new(), LAKE_CLAIMS_MAX as u64);
    let claims = LAKE_CHECKPOINT_ROWS as u64 / per_entry + 1;
    let (mut predecessor, end) = (Sha256([0; 32]), claims + 1);
    for number in 0..end {
        let body = match number < claims {
            true => claims_of((number * per_entry..(number + 1) * per_entry).map(small).collect()),
            false => {
                let mut contents: Vec<_> = (0..1000).map(|content| small(content).sha256).collect();
                contents.sort_unstable();
                Body::Forget(Forget { below: 0, contents })
            }
        };
        let floor = if number < claims { 0 } else { number };
        let header = Header { lake: LAKE.id, shard: 0, number, predecessor, floor, host: [8; 16], serial: 1 };
        let bytes = Entry { header, body }.encode();
        predecessor = sha256(&bytes);
        put(&desk, number, &bytes);
    }
    assert_eq!(put_checkpoint(&desk), 2);
    // The second reader adds up every checkpoint: one is enough.
    let disk = OnDisk::of(&desk.store, &Lake { checkpoint_entries: end as u32, ..LAKE });
    // Both pieces are right, and the second reader has looked at all: a piece that should not be there is its only fault.
    let beyond = keys::checkpoint_piece(0, end, 2);
    disk.put(&format!("warehouse/{beyond}"), &desk.store.below(WAREHOUSE).peek(&keys::checkpoint(0, end)).unwrap());
    assert_eq!(err(&second_reader(&disk)), format!("{beyond} is not what the entries add up to\n"));
}

/// A claim of few bytes.
fn small(number: u64) -> Claim {
    let content = sha256(&number.to_le_bytes());
    let parts = vec![Part { number: 1, size: 1, etag: String::new() }];
    let (bytes, key) = (Place::Upload { id: "u".to_owned(), parts }, keys::data("d", b"x", &content, 0));
    Claim { sha256: content, generation: 0, size: 1, ingested_at: day(0), key, bytes, line: b"x".to_vec() }
}

#[test]
fn entries_at_which_readers_stop_are_read_alike() {
    if !has("python3") {
        return;
    }
    let desk = medium();
    let good = append(&desk, None, claims_of(vec![in_upload("a third one")]));
    let number = good.header.number;
    let store = desk.store.below(WAREHOUSE);
    let stops = |bytes: &[u8], how: &str| {
        store.remove_foreign(&keys::slot(0, number));
        put(&desk, number, bytes);
        let disk = OnDisk::of(&desk.store, &LAKE);
        assert_eq!(assert_same(&disk, how)[0]["stopped"], json!([number, how]));
        disk
    };
    let with = |change: &dyn Fn(&mut Entry)| {
        let mut entry = good.clone();
        change(&mut entry);
        entry.encode()
    };
    stops(&with(&|entry| entry.header.lake.0[0] ^= 1), "for ever");
    stops(&with(&|entry| entry.header.predecessor.0[0] ^= 1), "for ever");
    stops(&with(&|entry| entry.header.number += 1), "for ever");
    stops(&with(&|entry| entry.header.shard += 1), "for ever");
    stops(&with(&|entry| entry.body = Body::Upgrade(2)), "for ever");
    stops(b"", "malformed");
    stops(&with(&|entry| entry.header.floor = 0), "malformed");
    // A pack belongs to the entries of its shard, from the one on for which it was made.
    let in_pack = |shard: u16, since: u64| {
        with(&|entry| {
            let Body::Claims(body) = &mut entry.body else { panic!("it claims") };
            body.packs = vec![keys::pack(shard, since, &[1; 16], &body.claims[0].sha256)];
            body.claims[0].bytes = Place::Pack { pack: 0, offset: 0 };
        })
    };
    for (shard, since) in [(1, number), (0, number + 1), (0, number - 3)] {
        stops(&in_pack(shard, since), "malformed");
    }
    let again = |entry: &mut Entry| entry.body = claims_of(vec![in_upload("one large file")]);
    let disk = stops(&with(&again), "malformed");

    // With an operator's mark both go on, and the next entry's predecessor is the one that does not count.
    let mark = keys::skip(0, number);
    disk.put(&format!("warehouse/{mark}"), b"something else");
    assert_eq!(assert_same(&disk, "a wrong mark")[0]["stopped"], json!([number, "malformed"]));
    let mark_bytes = sha256(&with(&again)).hex();
    store.put_foreign(&mark, mark_bytes.as_bytes());
    append(&desk, None, good.body.clone());
    let told = assert_same(&OnDisk::of(&desk.store, &LAKE), "skipped");
    assert_eq!((&told[0]["stopped"], &told[0]["skipped"]), (&Value::Null, &json!([number])));
    assert_eq!(told[0]["entries"], number + 2);
}

/// Bytes of an entry are changed, with a checksum that is right: both readers accept the same ones.
#[test]
fn what_is_an_entry_is_judged_alike() {
    if !has("python3") {
        return;
    }
    let desk = medium();
    let store = desk.store.below(WAREHOUSE);
    let last = Shard::new(&LAKE, 0).log;
    let end = last.find_end(&store, 0).unwrap();
    let (mut dice, disk) = (Dice(1), OnDisk::of(&desk.store, &LAKE));
    let mut verdicts = Vec::new();
    for case in 0..1_500_usize {
        let entry = if case % 3 == 0 { 8 + case as u64 % 2 } else { end - 1 - dice.below(4) };
        let mut bytes = store.peek(&keys::slot(0, entry)).unwrap();
        let length = bytes.len() - 4;
        bytes.truncate(length);
        let at = dice.below(length as u64) as usize;
        match dice.below(10) {
            0 => bytes.truncate(at),
            1 => bytes.push(0),
            2 => drop(bytes.remove(at)),
            _ => bytes[at] = [0, 1, 2, 3, 9, b'.', b'-', b'g', 0xff, bytes[at] ^ 1][dice.below(10) as usize],
        }
        let checksum = crc32c::crc32c(&bytes).to_le_bytes();
        bytes.extend_from_slice(&checksum);
        disk.put(&format!("cases/{case:05}"), &bytes);
        verdicts.push(match Entry::decode(&bytes) {
            Ok(_) => "ok",
            Err(Fault::Malformed(_)) => "malformed",
            Err(Fault::Newer(_)) => "for ever",
        });
    }
    let output = Command::new("python3").arg("-B").args([READER, "entries"]).arg(disk.path("cases")).output().unwrap();
    let text = out(&output);
    let second: Vec<&str> = text.lines().collect();
    assert_eq!(second.len(), verdicts.len(), "{}", err(&output));
    for (case, (second, own)) in second.iter().zip(&verdicts).enumerate() {
        assert_eq!(second, own, "case {case}: {:?}", Entry::decode(&disk.get(&format!("cases/{case:05}")).unwrap()));
    }
    let count = |verdict: &str| verdicts.iter().filter(|it| **it == verdict).count();
    assert!(count("ok") > 100 && count("malformed") > 500 && count("for ever") > 0, "{}", count("ok"));
}
