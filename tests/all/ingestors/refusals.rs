//! Groups that cannot be ingested now, or ever, and what is said of them.

use std::collections::BTreeSet;
use std::path::Path;

use csv_ingestor::engine;
use csv_ingestor::journal::record::{DuplicateAction, LayoutRule};
use csv_ingestor::pipeline::layout::Layout;
use csv_ingestor::pipeline::recover;

use super::dry_run::{foresee_groups, other_host};
use super::groups::{THREE, grouped, is_killed_at, removing};
use super::life::{Ingestor, STAGING, STATE, is_empty};
use super::one::{entries, lake, lines, machine, rest, stage, stage_group};

/// Directories with a file's name in them three times.
fn long_directories() -> Layout {
    let name_pattern = Some("^(?<stem>.*)[.]csv$".to_owned());
    Layout::new(LayoutRule { template: "a={stem}/b={stem}/c={stem}".to_owned(), name_pattern }).unwrap()
}

/// No entry can ever claim a file whose directory is too long for a key. A dry run says so, the group is reported once and
/// stays, and it is tried again when its file changes.
#[test]
fn a_group_that_no_entry_can_claim_waits_for_a_change() {
    let (store, fs, long) = (lake(1), machine(), "x".repeat(200));
    let name = format!("{long}.csv");
    stage_group(&fs, "g.group", &[("a.csv", "a", true), (&name, "long", true)]);
    let why = "its files cannot be ingested together: no data object can lie in its partition";
    let said = foresee_groups(&fs, &store, long_directories());
    let path = |name: &str| Path::new(STAGING).join(name).display().to_string();
    assert_eq!(said, [(path("a.csv"), "its group is not complete".to_owned()), (path(&name), why.to_owned())]);

    let mut options = grouped(&store, DuplicateAction::Remove);
    options.layout = long_directories();
    let mut ingestor = Ingestor::start(&fs, options).unwrap();
    for _ in 0..5 {
        ingestor.round().unwrap();
    }
    assert_eq!(ingestor.failed, [("g.group".to_owned(), why.to_owned())]);
    assert_eq!((entries(&store).len(), fs.upstream().files(STAGING).unwrap().len()), (0, 3));
    let [group] = &ingestor.incomplete_groups()[..] else { panic!("it is not held") };
    assert_eq!((group.missing, &group.texts[..]), (0, &["g.group (the group file cannot be used)".to_owned()][..]));
    fs.upstream().remove(Path::new(STAGING).join(&name)).unwrap();
    stage_group(&fs, "g.group", &[("a.csv", "a", true), ("short.csv", "long", true)]);
    rest(&mut ingestor).unwrap();
    assert!(is_empty(&fs));
    assert_eq!((entries(&store).len(), entries(&store)[0].claims().len()), (1, 2));
}

/// A group that lacks nothing and waits all the same says why.
#[test]
fn a_group_that_waits_for_another_host_says_so() {
    let (store, fs) = (lake(1), machine());
    other_host(&store, &["b"], false);
    stage_group(&fs, "g.group", &THREE);
    let mut ingestor = Ingestor::start(&fs, removing(&store)).unwrap();
    ingestor.round().unwrap();
    let [group] = &ingestor.incomplete_groups()[..] else { panic!("it does not wait") };
    let text = "g.group (another host has claimed its content, and has not listed it yet)".to_owned();
    assert_eq!((group.missing, &group.texts[..]), (0, &[text][..]));
}

/// A life ends at each operation, and then a member is changed, or not: what `replay --dry-run` says of each open file of the
/// group is what the next start does with it.
#[test]
fn what_a_start_does_with_a_group_is_foreseen() {
    let mut seen = BTreeSet::new();
    for is_changed in [false, true] {
        for operation in 1.. {
            let (store, fs) = (lake(1), machine());
            stage_group(&fs, "g.group", &THREE);
            if !is_killed_at(operation, &fs, &store) {
                break;
            }
            if is_changed {
                stage(&fs, "a.csv", b"another");
            }
            let (known, has_entry) = (engine::read_state(&fs, Path::new(STATE)).unwrap(), !entries(&store).is_empty());
            let files = known.open().filter(|ingest| ingest.group.is_some());
            let said: Vec<_> = files.map(|it| (it.id, it.state, recover::foresee(&fs, it).unwrap())).collect();
            drop(Ingestor::recover(&fs, removing(&store)).unwrap());
            let listed: Vec<_> = lines(&store).iter().map(|line| line["ingest_id"].as_u64().unwrap()).collect();
            for (id, state, text) in said {
                let is_foreseen = match text {
                    "list it if an entry of the lake claims its group, or can be made for it now; otherwise abandon it with \
                     its group" => has_entry || !is_changed,
                    "list it if an entry of the lake claims its group; otherwise abandon it with its group: it vanished or \
                     changed" => has_entry,
                    "list it: an entry of the lake claims it" | "remove it from staging: its line is in the lake" => {
                        true
                    }
                    "abandon it: its group was not recorded as a whole" => false,
                    text => panic!("operation {operation}, {state:?}: {text}"),
                };
                assert_eq!(listed.contains(&id.0), is_foreseen, "operation {operation}, {is_changed}: {text}");
                seen.insert(text);
            }
        }
    }
    assert!(seen.len() >= 4, "{seen:?}");
}
