//! A small lake as this format has it, byte by byte: later versions read it as both readers do today.
//!
//! `frozen/lake.txt` has every object: its key behind `==`, and its bytes in hex. `frozen/read.jsonl` has what the second
//! reader prints. They are made by this test if `FREEZE_LAKE` is set, once for each format, and never changed after a release.

use std::fmt::Write as _;
use std::path::PathBuf;

use csv_ingestor::lake::entry::{Body, Claims, Entry, Forget};
use csv_ingestor::lake::format::Description;
use csv_ingestor::lake::{checkpoint, start};
use csv_ingestor::store::sim::SimStore;

use super::desk::{Desk, LAKE, day};
use super::files::Files;
use super::model::sha256;
use super::on_disk::OnDisk;
use super::second_reader::{append, assert_same, in_upload, put_checkpoint};
use crate::harness::{has, json_lines};

const BYTES_ON_A_LINE: usize = 40;

fn file(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/all/lake/frozen")).join(name)
}

/// Every kind of entry that hosts go on after, a checkpoint, a pack in use, and an entry that is not finished.
fn fresh() -> SimStore {
    let desk = Desk::new();
    let files = Files::of(&["one", "another", ""]);
    let mut host = desk.host(1);
    let mut contents = files.contents(day(0));
    contents[0].ingested_at.0 += 3_600_000;
    contents[1].name = "süß \"1\".csv.gz".into();
    host.ingest(&contents, &files).unwrap();
    host.help(&files).unwrap();
    append(&desk, Some(1), Body::Forget(Forget { below: 0, contents: vec![sha256(b"one")] }));
    assert_eq!(put_checkpoint(&desk), 1);
    append(&desk, Some(2), Body::Forget(Forget { below: 1, contents: Vec::new() }));
    desk.claim(2, &["one", "new"]);
    let claims = vec![in_upload("a large file")];
    append(&desk, None, Body::Claims(Claims { packs: Vec::new(), claims }));
    desk.store
}

/// The objects of a lake, as text.
fn listing(disk: &OnDisk) -> String {
    let mut text = String::new();
    for name in disk.files("").iter().filter(|name| !name.contains("/.csv-ingestor/tmp/")) {
        writeln!(text, "== {name}").unwrap();
        for line in disk.get(name).unwrap().chunks(BYTES_ON_A_LINE) {
            let hex: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(text, "{hex}").unwrap();
        }
    }
    text
}

/// The lake that this text describes.
fn unpacked(text: &str) -> OnDisk {
    let disk = OnDisk::of(&SimStore::new(0, csv_ingestor::store::sim::Faults::NONE), &LAKE);
    for object in text.split("== ").skip(1) {
        let (name, hex) = object.split_once('\n').unwrap();
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        disk.put(name, &digits.chunks(2).map(byte).collect::<Vec<_>>());
    }
    disk
}

fn freeze() {
    let disk = OnDisk::of(&fresh(), &LAKE);
    // Its manifests are where no test has a directory.
    let description = Description { lake: LAKE, manifests: None }.encode();
    for place in ["warehouse", "manifests"] {
        disk.put(&format!("{place}/.csv-ingestor/lake.json"), &description);
    }
    std::fs::write(file("lake.txt"), listing(&disk)).unwrap();
    let read: String = assert_same(&disk, "fresh").iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(file("read.jsonl"), read).unwrap();
}

/// Why: a lake outlives many versions, and hosts of two versions work on it side by side.
#[test]
fn a_frozen_lake_is_read_as_ever() {
    if !has("python3") {
        return;
    }
    if std::env::var_os("FREEZE_LAKE").is_some() {
        freeze();
    }
    let disk = unpacked(&std::fs::read_to_string(file("lake.txt")).unwrap());
    let read = std::fs::read_to_string(file("read.jsonl")).unwrap();
    assert_eq!(assert_same(&disk, "frozen"), json_lines(&read));
    let description = disk.get("warehouse/.csv-ingestor/lake.json").unwrap();
    assert_eq!(Description::decode(&description).unwrap().encode(), description);
    let (mut entries, mut checkpoints) = (0, 0);
    for name in disk.files("warehouse/.csv-ingestor/log/0") {
        let bytes = disk.get(&format!("warehouse/.csv-ingestor/log/0/{name}")).unwrap();
        assert_eq!(Entry::decode(&bytes).unwrap().encode(), bytes, "{name}");
        entries += 1;
    }
    let store = disk.stores().warehouse;
    for name in disk.files("warehouse/.csv-ingestor/checkpoint/0") {
        let read = start::read(store.as_ref(), &LAKE, 0, name.parse().unwrap()).unwrap().unwrap();
        let bytes = store.get(&format!(".csv-ingestor/checkpoint/0/{name}")).unwrap();
        assert_eq!(checkpoint::encode(&read.log, &read.contents, 0), bytes, "{name}");
        checkpoints += 1;
    }
    assert_eq!((entries, checkpoints), (5, 2));
}
