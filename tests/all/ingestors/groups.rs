//! Groups in a lake: one entry has all files of a group, or none.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use csv_ingestor::engine::{self, Options};
use csv_ingestor::fs::sim::{Fault, SimFs};
use csv_ingestor::journal::index::Index;
use csv_ingestor::journal::lifecycle::FileState;
use csv_ingestor::journal::record::DuplicateAction;
use csv_ingestor::lake::format::{Description, Lake, LakeId};
use csv_ingestor::lake::keys;
use csv_ingestor::pipeline::layout::Layout;
use csv_ingestor::store::sim::SimStore;
use serde_json::Value;

use super::dry_run::{foresee_groups, other_host};
use super::forgotten::finish_and_forget;
use super::life::{Ingestor, STATE, is_empty, options};
use super::model::{MANIFESTS, WAREHOUSE};
use super::one::{data, entries, lake, lines, machine, machine_of, reach, rest, run, stage, stage_group};
use crate::harness::has;

pub fn grouped(store: &SimStore, duplicates: DuplicateAction) -> Options {
    let mut options = options(reach(store, 0), duplicates);
    options.names.groups = true;
    options
}

pub fn removing(store: &SimStore) -> Options {
    grouped(store, DuplicateAction::Remove)
}

/// A life that is killed at this operation. False if it comes to rest before.
pub fn is_killed_at(operation: u64, fs: &SimFs, store: &SimStore) -> bool {
    fs.inject(Fault::crash().at(operation));
    // Once it is dead, each call fails.
    let _ = Ingestor::start(fs, removing(store)).and_then(|mut ingestor| rest(&mut ingestor));
    let is_killed = fs.is_dead();
    fs.clear_faults();
    fs.kill();
    is_killed
}

fn paths(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["path"].as_str().unwrap()).collect()
}

pub const THREE: [(&str, &str, bool); 3] = [("c.csv", "c", true), ("a.csv", "a", true), ("b.csv", "b", true)];

#[test]
fn a_group_is_one_entry() {
    let (store, fs) = (lake(1), machine());
    stage_group(&fs, "g.group", &THREE);
    stage(&fs, "alone.csv", b"alone");
    let mut ingestor = Ingestor::start(&fs, removing(&store)).unwrap();
    rest(&mut ingestor).unwrap();
    let index = ingestor.committer.shut_down().unwrap();
    assert_eq!(entries(&store).iter().map(|entry| entry.claims().len()).collect::<Vec<_>>(), [3]);
    let lines = lines(&store);
    assert_eq!(paths(&lines), ["/staging/c.csv", "/staging/a.csv", "/staging/b.csv"], "in the group's order");
    assert!(lines.iter().all(|line| line["group"] == "g.group" && line["group_size"] == 3), "{lines:?}");
    assert_eq!((index.count(FileState::Manifested), index.groups().count()), (3, 0));
    let left: Vec<_> = fs.upstream().files("/staging").unwrap().into_iter().map(|(path, _)| path).collect();
    assert_eq!(left, [Path::new("/staging/alone.csv")], "what no group names stays");
}

#[test]
fn members_that_another_host_has_brought_count_as_there() {
    for action in [DuplicateAction::Remove, DuplicateAction::Keep] {
        let (store, fs) = (lake(1), machine());
        other_host(&store, &["absent", "sent again"], true);
        let members = [
            ("x.csv", "absent", false),
            ("y.csv", "sent again", true),
            ("new.csv", "new", true),
            ("twin.csv", "new", true),
        ];
        stage_group(&fs, "g.group", &members);
        let index = run_groups(&fs, grouped(&store, action));
        let entry = entries(&store).pop().unwrap();
        let line: Value = serde_json::from_slice(&entry.claims()[0].line).unwrap();
        assert_eq!((entry.claims().len(), line["group_size"].as_u64()), (1, Some(4)));
        check_line(&entry.claims()[0].line);
        let known = line["group_known"].as_array().unwrap();
        let told: Vec<_> = known.iter().map(|known| (known["name"].as_str().unwrap(), &known["ingest_id"])).collect();
        assert_eq!(told, [("x.csv", &Value::Null), ("y.csv", &Value::Null), ("twin.csv", &line["ingest_id"])]);
        assert_eq!((index.count(FileState::SkippedDuplicate), index.groups().count()), (2, 0));
        assert_eq!(index.kept().count(), if action == DuplicateAction::Keep { 2 } else { 0 });
        assert_eq!(is_empty(&fs), action == DuplicateAction::Remove);
        // The same group again: nothing is new.
        stage_group(&fs, "again.group", &members);
        run_groups(&fs, grouped(&store, action));
        assert_eq!(entries(&store).len(), 3);
        let names = fs.upstream().list("/staging").unwrap();
        assert!(!names.iter().any(|name| name == "again.group" || name == "g.group"), "{names:?}");
    }
}

/// A reader that was written from the manifest's description alone reads this line.
fn check_line(line: &[u8]) {
    if !has("python3") {
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/read_manifest.py");
    let mut reader = Command::new("python3").args([script, "lake-lines"]).stdin(Stdio::piped()).spawn().unwrap();
    reader.stdin.take().unwrap().write_all(line).unwrap();
    assert!(reader.wait().unwrap().success());
}

fn run_groups(fs: &SimFs, options: Options) -> Index {
    let mut ingestor = Ingestor::start(fs, options).unwrap();
    rest(&mut ingestor).unwrap();
    ingestor.committer.shut_down().unwrap()
}

/// The other host's entry is not finished, so that it is unknown whether its line will ever be there without this host.
#[test]
fn a_group_waits_as_a_whole_for_a_content_that_is_claimed() {
    let (store, fs) = (lake(1), machine());
    other_host(&store, &["b"], false);
    stage_group(&fs, "g.group", &THREE);
    let mut ingestor = Ingestor::start(&fs, removing(&store)).unwrap();
    for _ in 0..3 {
        ingestor.round().unwrap();
        assert_eq!((entries(&store).len(), fs.upstream().files("/staging").unwrap().len()), (1, 4));
    }
    rest(&mut ingestor).unwrap();
    assert!(is_empty(&fs));
    let entry = entries(&store).pop().unwrap();
    assert_eq!((entries(&store).len(), entry.claims().len()), (2, 2));
    let line: Value = serde_json::from_slice(&entry.claims()[0].line).unwrap();
    assert_eq!(line["group_known"][0]["name"], "b.csv");
}

#[test]
fn groups_need_a_lake_with_one_shard() {
    let (store, fs) = (lake(1), machine());
    let lake = Lake { id: LakeId([1; 16]), shards: 4, checkpoint_entries: 4 };
    for prefix in [WAREHOUSE, MANIFESTS] {
        store.below(prefix).remove_foreign(keys::LAKE);
        store.below(prefix).put_foreign(keys::LAKE, &Description { lake, manifests: None }.encode());
    }
    let error = engine::open(&fs, removing(&store)).err().expect("it is refused");
    assert_eq!(error.exit_code(), 2);
    let text = error.to_string();
    assert!(text.contains("has 4 shards") && text.contains("lake init URL --shards 1"), "{text}");
    fs.kill();
    stage(&fs, "a.csv", b"a");
    run(&fs, options(reach(&store, 0), DuplicateAction::Remove)).unwrap();
}

/// A life ends at each operation: one entry has the whole group, or there is none; and the next life finishes it, with the same
/// ids if it was HASHED.
#[test]
fn whatever_ends_a_life_a_group_is_whole() {
    let members = [("c.csv", "c", true), ("a.csv", "a", true), ("twin.csv", "c", true)];
    let staged = || {
        let fs = machine();
        stage_group(&fs, "g.group", &members);
        fs
    };
    let operations = {
        let (store, fs) = (lake(1), staged());
        run_groups(&fs, removing(&store));
        fs.operations()
    };
    let (mut claimed, mut hashed) = (0, 0);
    for operation in 1..operations {
        for power_cut in [false, true] {
            let (store, fs) = (lake(1), staged());
            fs.inject(Fault::crash().at(operation));
            let ended = Ingestor::start(&fs, removing(&store)).and_then(|mut ingestor| {
                rest(&mut ingestor)?;
                Ok(ingestor.committer.shut_down()?)
            });
            assert!(ended.is_err(), "operation {operation} is not the last one");
            fs.clear_faults();
            if power_cut {
                fs.crash(operation);
            } else {
                fs.kill();
            }
            let known = engine::read_state(&fs, Path::new(STATE)).unwrap();
            let ids: Vec<u64> = known.open().filter(|it| it.state == FileState::Hashed).map(|it| it.id.0).collect();
            let is_whole = known.groups().any(|group| group.group.moving.len() == ids.len());
            (claimed, hashed) = match entries(&store).len() {
                0 if is_whole => (claimed, hashed + 1),
                0 => (claimed, hashed),
                _ => (claimed + 1, hashed),
            };
            let index = run_groups(&fs, removing(&store));
            let what = format!("operation {operation}, power cut: {power_cut}");
            assert_eq!(entries(&store).iter().map(|entry| entry.claims().len()).collect::<Vec<_>>(), [2], "{what}");
            assert!(is_empty(&fs), "{what}: {:?}", fs.upstream().list("/staging"));
            assert_eq!((data(&store).len(), lines(&store).len()), (2, 2), "{what}");
            assert_eq!((index.open().count(), index.groups().count()), (0, 0), "{what}");
            let listed: Vec<u64> = lines(&store).iter().map(|line| line["ingest_id"].as_u64().unwrap()).collect();
            assert!(!is_whole || ids.iter().all(|id| listed.contains(id)), "{what}: {ids:?}, and now {listed:?}");
        }
    }
    assert!(claimed > 3 && hashed > 1, "{claimed} lives ended with an entry, {hashed} before it");
}

/// Why: a start asked for the newest claim of each content, so a group of which another host had claimed some contents again,
/// after the lake had forgotten them, seemed claimed in part, and the process stopped. One that was CLAIMED, and of which all
/// were claimed again, seemed claimed by others.
#[test]
fn a_claim_is_the_groups_own_also_if_others_have_its_contents_again() {
    for others in [&["a"][..], &["a", "b", "c"]] {
        let mut claimed = 0;
        for operation in 1.. {
            let (store, fs, another) = (lake(1), machine(), machine_of(7));
            stage_group(&fs, "g.group", &THREE);
            if !is_killed_at(operation, &fs, &store) {
                break;
            }
            if entries(&store).is_empty() {
                continue;
            }
            finish_and_forget(&store);
            for text in others {
                stage(&another, &format!("again-{text}.csv"), text.as_bytes());
            }
            run(&another, options(reach(&store, 0), DuplicateAction::Remove)).unwrap();
            let ended = engine::read_state(&fs, Path::new(STATE)).unwrap();
            let was_claimed = ended.open().any(|it| it.claimed.is_some());
            let index = run_groups(&fs, removing(&store));
            let what = format!("operation {operation}, {} others", others.len());
            assert!(is_empty(&fs), "{what}");
            assert_eq!((index.open().count(), index.groups().count()), (0, 0), "{what}");
            assert_eq!(lines(&store).len(), 3 + others.len(), "{what}");
            let ours = lines(&store).iter().filter(|line| line["group"] == "g.group").count();
            assert_eq!(ours, 3, "{what}");
            if was_claimed {
                assert_eq!(index.count(FileState::Manifested), 3, "{what}");
            }
            claimed += usize::from(was_claimed);
        }
        assert!(claimed > 3, "{claimed}");
    }
}

/// Why: a life that ended between the two steps of the group file's removal left a file that the next one took for another
/// group's, unless its own journal knew all contents: one that another host had brought, and that the lake had forgotten since,
/// was missing, and the group file waited for ever.
#[test]
fn a_listed_group_leaves_nothing_whatever_the_lake_forgets() {
    let mut listed = 0;
    for operation in 1.. {
        let (store, fs) = (lake(1), machine());
        other_host(&store, &["absent"], true);
        stage_group(&fs, "g.group", &[("x.csv", "absent", false), ("new.csv", "new", true)]);
        if !is_killed_at(operation, &fs, &store) {
            break;
        }
        if entries(&store).len() < 2 {
            continue;
        }
        listed += 1;
        finish_and_forget(&store);
        let index = run_groups(&fs, removing(&store));
        assert!(is_empty(&fs), "operation {operation}: {:?}", fs.upstream().list("/staging"));
        assert_eq!((index.open().count(), index.groups().count()), (0, 0), "operation {operation}");
    }
    assert!(listed > 5, "{listed}");
}

/// Between two lives a member changes, vanishes, or is brought by another host: nothing of the group is claimed.
#[test]
fn a_group_that_is_not_whole_any_more_starts_again() {
    for change in 0..3 {
        let mut ended = 0;
        for operation in 1.. {
            let (store, fs) = (lake(1), machine());
            stage_group(&fs, "g.group", &THREE);
            if !is_killed_at(operation, &fs, &store) {
                break;
            }
            let known = engine::read_state(&fs, Path::new(STATE)).unwrap();
            let is_hashed = known.open().filter(|it| it.state == FileState::Hashed).count() == 3;
            if !is_hashed || !entries(&store).is_empty() {
                continue;
            }
            ended += 1;
            match change {
                0 => stage(&fs, "a.csv", b"another"),
                1 => drop(fs.upstream().remove(Path::new("/staging/a.csv"))),
                _ => other_host(&store, &["a"], false),
            }
            let mut ingestor = Ingestor::start(&fs, removing(&store)).unwrap();
            assert_eq!(entries(&store).len(), usize::from(change == 2), "change {change}, operation {operation}");
            for _ in 0..4 {
                ingestor.round().unwrap();
            }
            assert_eq!(entries(&store).len(), usize::from(change == 2));
            // As it was sent, it is whole again.
            if change < 2 {
                stage(&fs, "a.csv", b"a");
            }
            for _ in 0..60 {
                ingestor.round().unwrap();
            }
            let index = ingestor.committer.shut_down().unwrap();
            assert!(is_empty(&fs), "change {change}, operation {operation}");
            assert_eq!((index.open().count(), index.groups().count()), (0, 0));
            let entry = entries(&store).pop().unwrap();
            assert_eq!(entry.claims().len(), if change == 2 { 2 } else { 3 });
        }
        assert!(ended > 0, "no life ended between HASHED and the entry");
    }
}

/// Two machines with one journal give the same ids to files of different groups. Why: an entry of one of them, with an id of the
/// other's group and that file's content, was taken for a group that is claimed in part, and no start succeeded any more.
#[test]
fn a_copy_of_this_hosts_journal_claims_nothing_for_it() {
    let mut same = 0;
    for operation in 1.. {
        let (store, fs, copy) = (lake(1), machine(), machine_of(4));
        stage(&fs, "before.csv", b"before");
        run(&fs, options(reach(&store, 0), DuplicateAction::Remove)).unwrap();
        for (path, bytes) in fs.upstream().files(STATE).unwrap() {
            copy.upstream().mkdir_all(path.parent().unwrap()).unwrap();
            copy.upstream().write(path, &bytes).unwrap();
        }
        copy.upstream().sync();
        stage_group(&fs, "g.group", &[("x.csv", "x", true), ("y.csv", "y", true)]);
        stage_group(&copy, "h.group", &[("x.csv", "x", true), ("z.csv", "z", true)]);
        if !is_killed_at(fs.operations() + operation, &fs, &store) {
            break;
        }
        let known = engine::read_state(&fs, Path::new(STATE)).unwrap();
        let ids: Vec<u64> = known.open().filter(|it| it.state == FileState::Hashed).map(|it| it.id.0).collect();
        if ids.len() < 2 || entries(&store).len() > 1 {
            continue;
        }
        run_groups(&copy, removing(&store));
        let theirs = lines(&store).into_iter().find(|line| line["path"] == "/staging/x.csv").unwrap();
        same += usize::from(ids.contains(&theirs["ingest_id"].as_u64().unwrap()));
        let index = run_groups(&fs, removing(&store));
        let claims: Vec<usize> = entries(&store).iter().map(|entry| entry.claims().len()).collect();
        assert_eq!(claims, [1, 2, 1], "operation {operation}");
        assert_eq!((lines(&store).len(), is_empty(&fs)), (4, true), "operation {operation}");
        assert_eq!((index.open().count(), index.groups().count()), (0, 0), "operation {operation}");
    }
    assert!(same > 0, "the copy has given no file the same id");
}

/// What a dry run says of groups comes true.
#[test]
fn a_dry_run_foresees_groups() {
    let (store, fs) = (lake(1), machine());
    other_host(&store, &["listed"], true);
    other_host(&store, &["claimed"], false);
    stage_group(&fs, "one.group", &[("1.csv", "1", true), ("l.csv", "listed", true), ("m.csv", "listed", false)]);
    stage_group(&fs, "two.group", &[("2.csv", "2", true), ("w.csv", "claimed", true)]);
    stage_group(&fs, "three.group", &[("3.csv", "3", true), ("n.csv", "nowhere", false)]);
    let said = foresee_groups(&fs, &store, Layout::default());
    let words: Vec<String> = said.iter().map(|(path, what)| format!("{path} {what}")).collect();
    assert_eq!(
        words,
        [
            "/staging/1.csv ready",
            "/staging/2.csv its group is not complete",
            "/staging/3.csv its group is not complete",
            "/staging/l.csv duplicate",
            "/staging/three.group its group is not complete",
            "/staging/w.csv another host has claimed its content, and has not listed it yet",
        ]
    );
    let mut ingestor = Ingestor::start(&fs, removing(&store)).unwrap();
    ingestor.round().unwrap();
    ingestor.round().unwrap();
    assert_eq!(entries(&store).len(), 3);
    let left: Vec<_> = fs.upstream().files("/staging").unwrap().into_iter().map(|(path, _)| path).collect();
    let left: Vec<&str> = left.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(left, ["2.csv", "3.csv", "three.group", "two.group", "w.csv"]);
}
