//! `csv-ingestor lake`, on lakes in directories.

mod audit;
mod grouped;
mod killed;
mod many;
mod modes;

use std::process::Output;
use std::sync::Arc;

use csv_ingestor::lake::care::finish::finish;
use csv_ingestor::lake::entry::Entry;
use csv_ingestor::lake::keys;
use csv_ingestor::lake::publish::Stores;
use csv_ingestor::store::sim::SimStore;
use serde_json::{Value, json};

use crate::harness::{bare, err, json_lines, out};
use crate::lake::desk::{Desk, LAKE, day};

use crate::lake::files::Files;
use crate::lake::model::{MANIFESTS, WAREHOUSE, sha256};
use crate::lake::on_disk::OnDisk;

fn lake(words: &[&str]) -> Output {
    bare(&[&["lake"], words].concat()).output().unwrap()
}

#[track_caller]
fn done(words: &[&str]) -> String {
    let output = lake(words);
    assert!(output.status.success(), "{words:?}: {}{}", out(&output), err(&output));
    out(&output)
}

/// The command fails with this code; returns what it printed to standard output and error.
#[track_caller]
fn fails(code: i32, words: &[&str]) -> String {
    let output = lake(words);
    let text = out(&output) + &err(&output);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {text}");
    text
}

fn status(disk: &OnDisk) -> (Option<i32>, Value) {
    let output = lake(&["status", &disk.url("warehouse"), "--json"]);
    (output.status.code(), json_lines(&out(&output)).remove(0))
}

fn stores(store: &SimStore) -> Stores {
    Stores::new(Arc::new(store.below(WAREHOUSE)), Arc::new(store.below(MANIFESTS)))
}

/// A lake whose first entry is finished, and whose second and third wait for somebody.
fn half_done() -> (Desk, [Entry; 3]) {
    let desk = Desk::new();
    let first = desk.claim(1, &["a", "b"]);
    assert_eq!(finish(&stores(&desk.store), &LAKE).finished, 1);
    let second = desk.claim(2, &["c", "d", "e"]);
    let third = desk.claim(3, &["f"]);
    (desk, [first, second, third])
}

/// The bytes of a claim: one of these texts.
fn bytes_of(entry: &Entry, claim: usize) -> &'static [u8] {
    let texts = [&b"a"[..], b"b", b"c", b"d", b"e", b"f"];
    texts.into_iter().find(|text| sha256(text) == entry.claims()[claim].sha256).unwrap()
}

#[test]
fn a_lake_is_made_once() {
    let root = tempfile::tempdir().unwrap();
    let url = |name: &str| format!("file://{}/{name}", root.path().display());
    let (warehouse, manifests) = (url("deep/warehouse"), url("manifests"));
    let init = ["init", &warehouse, "--manifests", &manifests, "--shards", "4"];
    let made = done(&init);
    assert!(made.contains(": made: lake ") && made.contains("shards: 4, entries between checkpoints: 1024"), "{made}");
    let read = |name: &str| std::fs::read(root.path().join(name).join(".csv-ingestor/lake.json")).unwrap();
    let bytes = read("deep/warehouse");
    assert_eq!(read("manifests"), bytes);
    let description: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(description["manifests"], manifests);

    let again = done(&init);
    assert!(again.contains("there is one already") && again.contains(description["lake"].as_str().unwrap()), "{again}");
    done(&["init", &warehouse]);
    for other in [["--shards", "8"], ["--checkpoint-entries", "7"], ["--manifests", &url("others")]] {
        let text = fails(2, &[&["init", &warehouse][..], &other].concat());
        assert!(text.contains("it never changes"), "{text}");
    }
    assert_eq!(read("deep/warehouse"), bytes);
    let left: Vec<_> =
        std::fs::read_dir(root.path().join("manifests/.csv-ingestor/probe")).into_iter().flatten().collect();
    assert!(left.is_empty(), "{left:?}");

    // Two lakes with the same manifests would write the same objects.
    let text = fails(2, &["init", &url("second"), "--manifests", &manifests]);
    assert!(text.contains("belong to lake"), "{text}");
    let text = fails(2, &["init", &url("third"), "--manifests", &url("third/manifests")]);
    assert!(text.contains("must not contain each other"), "{text}");
    for shards in ["0", "3", "512", "many"] {
        assert!(fails(2, &["init", &url("fourth"), "--shards", shards]).contains("power of two"));
    }
    fails(2, &["init", "/a/path"]);
    assert!(!root.path().join("third").exists() && !root.path().join("fourth").exists());
}

#[test]
fn manifests_that_are_not_the_lakes_are_refused() {
    let disk = OnDisk::of(&Desk::new().store, &LAKE);
    std::fs::remove_file(disk.path("manifests/.csv-ingestor/lake.json")).unwrap();
    let text = fails(2, &["status", &disk.url("warehouse")]);
    assert!(text.contains("these are not the manifests of lake"), "{text}");
    done(&["init", &disk.url("warehouse")]);
    done(&["status", &disk.url("warehouse")]);
    std::fs::rename(disk.path("manifests"), disk.path("elsewhere")).unwrap();
    done(&["status", &disk.url("warehouse"), "--manifests", &disk.url("elsewhere")]);
    let text = fails(2, &["status", &disk.url("elsewhere/none")]);
    assert!(text.contains("elsewhere/none"), "{text}");
    std::fs::create_dir(disk.path("empty")).unwrap();
    let text = fails(2, &["status", &disk.url("empty")]);
    assert!(text.contains("there is no lake") && text.contains("lake init"), "{text}");
}

#[test]
fn a_directory_passes_the_probe() {
    let root = tempfile::tempdir().unwrap();
    let url = format!("file://{}", root.path().display());
    let text = done(&["check", &url, "--store-option", "some_setting=a secret"]);
    assert!(text.contains("no defect found; 16 creates of one key at once had one winner") && !text.contains("secret"));
    assert!(fails(2, &["check", &url, "--store-option", "setting"]).contains("expected KEY=VALUE"));
    assert!(fails(2, &["check", "ftp://host/x"]).contains("s3://"));
}

#[test]
fn status_shows_what_is_unfinished_and_who_wrote() {
    let (desk, [_, second, third]) = half_done();
    let foreign = &third.claims()[0].key;
    desk.store.below(WAREHOUSE).put_foreign(foreign, b"not ours");
    desk.store.below(WAREHOUSE).put_foreign(&second.claims()[0].key, bytes_of(&second, 0));
    let disk = OnDisk::of(&desk.store, &LAKE);
    disk.put(&format!("warehouse/{}", keys::pack(0, 0, &[9; 16], &second.claims()[0].sha256)), b"nobody's");
    let (code, told) = status(&disk);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!((&told["packs_needed"], &told["packs_other"]), (&json!(2), &json!(1)));
    let hosts: Vec<&str> = told["hosts"].as_array().unwrap().iter().map(|it| it["host"].as_str().unwrap()).collect();
    assert_eq!(hosts, [1, 2, 3].map(|host| format!("{host:02x}").repeat(16)));
    assert!(told["hosts"][0]["last_ingested_at"].as_str().unwrap().starts_with("2025-11-18T"));
    let log = &told["logs"][0];
    assert_eq!((&log["entries"], &log["contents"], &log["problem"]), (&json!(3), &json!(6), &Value::Null));
    let newest: Vec<u64> = log["newest"].as_array().unwrap().iter().map(|it| it["entry"].as_u64().unwrap()).collect();
    assert_eq!(newest, [2, 1, 0]);
    let unfinished = log["unfinished"].as_array().unwrap();
    assert_eq!(unfinished.len(), 2);
    assert_eq!((&unfinished[0]["entry"], &unfinished[0]["published"]), (&json!(1), &json!(1)));
    let error = unfinished[1]["errors"][0].as_str().unwrap();
    assert!(error.contains(foreign) && error.contains("another object is there"), "{error}");
    let text = done(&["status", &disk.url("warehouse")]);
    for part in ["3 entries", "6 contents", "unfinished: entry 1", foreign, "2 needed, 1 others"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn damage_is_shown_and_is_the_exit_code() {
    let (desk, [_, second, third]) = half_done();
    // A checkpoint would prove the damage before the entries do.
    desk.store.below(WAREHOUSE).remove_foreign(&keys::checkpoint(0, 2));
    let slot = |number| format!("warehouse/{}", keys::slot(0, number));
    let fresh = || OnDisk::of(&desk.store, &LAKE);

    let disk = fresh();
    let mut other = second.clone();
    other.header.serial += 1;
    disk.put(&slot(1), &other.encode());
    let (code, told) = status(&disk);
    assert_eq!((code, &told["logs"][0]["entries"]), (Some(3), &json!(2)));
    assert!(told["logs"][0]["problem"].as_str().unwrap().contains("its predecessor is another entry"), "{told}");
    let before = disk.files("manifests");
    fails(3, &["roll-forward", &disk.url("warehouse")]);
    assert_eq!(disk.files("manifests"), before, "nothing is written after damage");

    let disk = fresh();
    std::fs::remove_file(disk.path(&slot(1))).unwrap();
    let (code, told) = status(&disk);
    let problem = told["logs"][0]["problem"].as_str().unwrap();
    assert!(code == Some(3) && problem.contains("exists, but") && problem.contains(&keys::slot(0, 1)), "{problem}");

    let disk = fresh();
    disk.put(&slot(2), &third.encode()[1..]);
    let (code, told) = status(&disk);
    assert_eq!((code, &told["logs"][0]["entries"]), (Some(3), &json!(2)));
    assert!(told["logs"][0]["problem"].as_str().unwrap().contains(&keys::slot(0, 2)));
}

#[test]
fn what_dead_hosts_left_is_finished_at_once() {
    let (desk, [_, second, third]) = half_done();
    let foreign = format!("warehouse/{}", second.claims()[1].key);
    let disk = OnDisk::of(&desk.store, &LAKE);
    disk.put(&foreign, b"not ours");
    let url = disk.url("warehouse");
    let text = fails(6, &["roll-forward", &url]);
    assert!(text.contains("finished: 1 entries") && text.contains("unfinished: shard 0, entry 1: "), "{text}");
    assert!(text.contains(&second.claims()[1].key) && text.contains("1 entries stay unfinished"), "{text}");
    assert_eq!(disk.get(&foreign).unwrap(), b"not ours");
    std::fs::remove_file(disk.path(&foreign)).unwrap();
    assert!(done(&["roll-forward", &url]).contains("finished: 1 entries"));
    assert!(done(&["roll-forward", &url]).contains("finished: 0 entries"));
    for claim in [&second, &third].into_iter().flat_map(Entry::claims) {
        assert_eq!(disk.get(&format!("warehouse/{}", claim.key)).unwrap().len() as u64, claim.size);
    }
    assert_eq!(disk.files("manifests").iter().filter(|name| name.ends_with(".jsonl")).count(), 3);
    assert_eq!(disk.files("warehouse/.csv-ingestor/pack"), Vec::<String>::new());
    assert_eq!(status(&disk).1["logs"][0]["unfinished"], json!([]));
}

#[test]
fn only_an_entry_that_nobody_can_read_is_skipped() {
    let (desk, [.., third]) = half_done();
    let disk = OnDisk::of(&desk.store, &LAKE);
    let url = disk.url("warehouse");
    let mark = format!("warehouse/{}", keys::skip(0, 2));
    assert!(fails(2, &["skip", &url, "0", "2"]).contains("this is a good entry"));
    assert!(fails(2, &["skip", &url, "0", "3"]).contains("nothing to skip"));
    assert!(fails(2, &["skip", &url, "1", "0"]).contains("no shard 1"));
    let mut bytes = third.encode();
    bytes[100] ^= 1;
    disk.put(&format!("warehouse/{}", keys::slot(0, 2)), &bytes);
    assert!(fails(2, &["skip", &url, "0", "1"]).contains("this is a good entry"));
    let text = done(&["skip", &url, "0", "2", "--dry-run"]);
    assert!(text.contains("the entry's checksum is wrong") && !disk.path(&mark).exists(), "{text}");
    assert_eq!(status(&disk).0, Some(3));
    assert!(done(&["skip", &url, "0", "2"]).contains("skipped: "));
    let (code, told) = status(&disk);
    assert_eq!((code, &told["logs"][0]["entries"]), (Some(0), &json!(3)));
    assert!(done(&["skip", &url, "0", "2"]).contains("skipped already"));
    // The mark is for these bytes and no others.
    bytes[100] ^= 2;
    disk.put(&format!("warehouse/{}", keys::slot(0, 2)), &bytes);
    assert_eq!(status(&disk).0, Some(3));
    assert!(fails(3, &["skip", &url, "0", "2"]).contains("a mark for other bytes"));
}

#[test]
fn packs_that_no_entry_can_name_are_removed_when_they_are_old() {
    let (desk, [_, second, _]) = half_done();
    let disk = OnDisk::of(&desk.store, &LAKE);
    // The log is at 3, and a pack may be named by the next two entries.
    let pack = |since| format!("warehouse/{}", keys::pack(0, since, &[9; 16], &second.claims()[0].sha256));
    for since in [0, 1, 3] {
        disk.put(&pack(since), b"nobody's");
    }
    let url = disk.url("warehouse");
    assert!(done(&["clean", &url]).contains("removed: 0 packs"), "they are young");
    assert!(done(&["clean", &url, "--older-than", "0s"]).contains("removed: 1 packs"));
    assert_eq!([0, 1, 3].map(|since| disk.path(&pack(since)).exists()), [false, true, true]);
    assert!(second.packs().iter().all(|pack| disk.path(&format!("warehouse/{pack}")).exists()));
}

#[test]
fn a_content_is_forgotten_for_all_hosts() {
    let (desk, [first, second, _]) = half_done();
    let disk = OnDisk::of(&desk.store, &LAKE);
    let url = disk.url("warehouse");
    let of = |entry: &Entry| entry.claims()[0].sha256.hex();
    assert!(fails(2, &["forget", &url, &of(&second)]).contains("forgotten: 0 of 1"), "it is not finished");
    assert!(fails(2, &["forget", &url, "ab"]).contains("64 hex digits"));
    for words in [&["forget", &url][..], &["forget", &url, &of(&first), "--older-than", "1d"]] {
        assert!(fails(2, words).contains("SHA256"));
    }
    let (mut host, files) = (desk.host(7), Files::of(&["g"]));
    host.read().unwrap();
    desk.wait(60);
    host.help(&Files::default()).unwrap();
    host.ingest(&files.contents(day(0)), &files).unwrap();
    let disk = OnDisk::of(&desk.store, &LAKE);
    let url = disk.url("warehouse");
    // No entry says yet that the newest one is finished.
    host.help(&files).unwrap();
    let newest = OnDisk::of(&desk.store, &LAKE);
    assert!(done(&["forget", &newest.url("warehouse"), &sha256(b"g").hex()]).contains("forgotten: 1 of 1"));
    assert!(done(&["forget", &url, &of(&first), &of(&second)]).contains("forgotten: 2 of 2"));
    assert!(fails(2, &["forget", &url, &of(&first)]).contains("forgotten: 0 of 1"));
    assert_eq!(status(&disk).1["logs"][0]["newest"][0]["kind"], "forget");
}

#[test]
fn what_is_old_is_forgotten_for_all_hosts() {
    let (desk, _) = half_done();
    assert_eq!(finish(&stores(&desk.store), &LAKE).finished, 2);
    let disk = OnDisk::of(&desk.store, &LAKE);
    let url = disk.url("warehouse");
    assert!(done(&["forget", &url, "--older-than", "1h"]).contains("forgotten: 0 contents"));
    std::thread::sleep(std::time::Duration::from_millis(1100));
    // It knows without any entry that the newest one is finished.
    assert!(done(&["forget", &url, "--older-than", "1s"]).contains("forgotten: 6 contents"));
    assert_eq!(status(&disk).1["logs"][0]["newest"][0]["kind"], "forget");
    assert!(done(&["forget", &url, "--older-than", "1s"]).contains("forgotten: 0 contents"));
    assert_eq!(status(&disk).1["logs"][0]["entries"], 4);
}
