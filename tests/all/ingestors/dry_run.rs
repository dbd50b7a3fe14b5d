//! What a dry run says about a lake, and what a run does then.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use csv_ingestor::config::{Completeness, Config, Extent, Logging, MetricsOptions, Paths, Placement, Selection};
use csv_ingestor::dry_run::{self, Forecast};
use csv_ingestor::engine;
use csv_ingestor::engine::lake::Reach;
use csv_ingestor::fs::sim::{Fault, SimFs};
use csv_ingestor::journal::record::{DuplicateAction, Identity};
use csv_ingestor::lake::entry::Entry;
use csv_ingestor::lake::format::{Lake, LakeId};
use csv_ingestor::lake::host::{Host, Ingested};
use csv_ingestor::lake::keys;
use csv_ingestor::lake::progress::NoJournal;
use csv_ingestor::lake::publish::Stores;
use csv_ingestor::log::LogLevel;
use csv_ingestor::pipeline::WhyNot;
use csv_ingestor::pipeline::layout::Layout;
use csv_ingestor::pipeline::places::Accepts;
use csv_ingestor::pipeline::recover;
use csv_ingestor::pipeline::settle::Mode;
use csv_ingestor::pipeline::settle::bounds::Bounds;
use csv_ingestor::pipeline::sidecar::SidecarNames;
use csv_ingestor::store::sim::SimStore;
use csv_ingestor::types::UnixMillis;
use serde_json::Value;

use super::life::{Ingestor, STAGING, STATE, is_empty, options};
use super::model::{MANIFESTS, WAREHOUSE, sha256};
use super::one::{Ticks, lake, lines, machine, reach, rest, run, stage};
use crate::lake::files::Files;
use crate::lake::reads_only::ReadsOnly;

fn config() -> Config {
    let place = |path: &str| PathBuf::from(path);
    Config {
        paths: Paths {
            input: place(STAGING),
            warehouse: place("s3://lake/W"),
            manifests: place("s3://lake/M"),
            state: place(STATE),
            duplicates: None,
            quarantine: None,
            metrics_textfile: None,
        },
        store: Default::default(),
        completeness: Completeness {
            mode: Mode::Stability(Duration::ZERO),
            bounds: Bounds::default(),
            group_timeout: None,
            order: None,
            identity: Identity::default(),
        },
        sidecars: SidecarNames::suffix(".ok".as_ref()),
        scan_interval: Duration::from_secs(1),
        concurrency: 1,
        selection: Selection { include: None, exclude: None, tree: None },
        placement: Placement { layout: Layout::default(), duplicates: DuplicateAction::Keep },
        validate: None,
        require_checksum: false,
        remember: None,
        extent: Extent::DryRun,
        accepts: Accepts::default(),
        logging: Logging { level: LogLevel::Error, format: None },
        metrics: MetricsOptions { interval: Duration::from_secs(1), listen: None, has_page: true },
    }
}

/// What a dry run says of files that come in groups, in a word or in its own.
pub fn foresee_groups(fs: &SimFs, store: &SimStore, layout: Layout) -> Vec<(String, String)> {
    let mut config = config();
    config.placement.layout = layout;
    config.completeness.mode = Mode::Group(Duration::ZERO);
    let said = foresee_by(fs, store, &config).into_iter().map(|forecast| match forecast {
        Forecast::Ready { path, .. } => (path, "ready".to_owned()),
        Forecast::Duplicate { path, .. } => (path, "duplicate".to_owned()),
        Forecast::Waiting { path, reason } => (path, reason),
        other => panic!("{other:?}"),
    });
    said.map(|(path, what)| (path.display().to_string(), what)).collect()
}

/// What a dry run says, which makes no request but those that read, and some of these.
fn foresee(fs: &SimFs, store: &SimStore) -> Vec<Forecast> {
    foresee_by(fs, store, &config())
}

fn foresee_by(fs: &SimFs, store: &SimStore, config: &Config) -> Vec<Forecast> {
    let (usual, reads) = (reach(store, 0), Arc::new(AtomicU64::new(0)));
    let (open, counted) = (usual.open, reads.clone());
    let open: csv_ingestor::engine::lake::Opener =
        Box::new(move |location| Ok(Arc::new(ReadsOnly { store: open(location)?, reads: counted.clone() })));
    // A store that would be tried out.
    let reach = Reach { open, racers: 16, ..usual };
    let before = fs.operations();
    let forecasts = dry_run::run(fs, config, Some(reach)).unwrap();
    assert!(reads.load(Ordering::Relaxed) > 2, "the lake was not read");
    assert!(fs.operations() > before);
    // What a life has left of its probes.
    forecasts.into_iter().filter(|it| !matches!(it, Forecast::Ignored { .. })).collect()
}

/// A host that claims these contents, one entry each, and dies; `finishes`: after it has finished them.
pub fn other_host(store: &SimStore, texts: &[&str], finishes: bool) {
    let lake = Lake { id: LakeId([1; 16]), shards: 1, checkpoint_entries: 4 };
    let stores = Stores::new(Arc::new(store.below(WAREHOUSE)), Arc::new(store.below(MANIFESTS)));
    let clock = Box::new(Ticks(AtomicU64::new(77)));
    let mut host = Host::new(stores, lake, [9; 16], clock, Box::new(NoJournal), &[]);
    for text in texts {
        let files = Files::of(&[text]);
        let ingested = host.ingest(&files.contents(UnixMillis(1_763_458_200_123)), &files).unwrap();
        assert!(matches!(ingested[..], [Ingested::Claimed(_)]), "{ingested:?}");
        if finishes {
            assert_eq!(host.help(&files).unwrap().finished, 1);
        }
    }
}

fn staged(name: &str) -> PathBuf {
    Path::new(STAGING).join(name)
}

/// The URL of the line for a content. Lines of other hosts are no JSON here.
fn url_of(store: &SimStore, text: &str) -> PathBuf {
    let (manifests, content) = (store.below(MANIFESTS), sha256(text.as_bytes()).hex());
    let texts = manifests.keys("2").into_iter().map(|key| String::from_utf8(manifests.peek(&key).unwrap()).unwrap());
    let lines: Vec<Value> = texts
        .flat_map(|text| text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect::<Vec<_>>())
        .collect();
    let line = lines.into_iter().find(|line| line["sha256"] == content).unwrap();
    line["warehouse_path"].as_str().unwrap().into()
}

#[test]
fn what_a_dry_run_says_comes_true() {
    let (store, fs) = (lake(1), machine());
    stage(&fs, "old.csv", b"old");
    run(&fs, options(reach(&store, 0), DuplicateAction::Keep)).unwrap();
    other_host(&store, &["listed"], true);
    other_host(&store, &["claimed"], false);
    for (name, text) in [
        ("a new.csv", "new"),
        ("again.csv", "old"),
        ("claimed.csv", "claimed"),
        ("listed.csv", "listed"),
        ("new.csv", "new"),
    ] {
        stage(&fs, name, text.as_bytes());
    }
    let said = foresee(&fs, &store);
    let [Forecast::Ready { warehouse_path: new, .. }, ..] = &said[..] else { panic!("{said:?}") };
    let [.., Forecast::Duplicate { of: listed, .. }, _] = &said[..] else { panic!("{said:?}") };
    let is_duplicate = |name: &str, of: &Path| Forecast::Duplicate { path: staged(name), of: of.to_path_buf() };
    let expected = [
        Forecast::Ready { path: staged("a new.csv"), warehouse_path: new.clone() },
        is_duplicate("again.csv", &url_of(&store, "old")),
        Forecast::Waiting { path: staged("claimed.csv"), reason: WhyNot::ClaimedElsewhere.text().to_owned() },
        is_duplicate("listed.csv", listed),
        is_duplicate("new.csv", new),
    ];
    assert_eq!(said, expected);

    let mut ingestor = Ingestor::start(&fs, options(reach(&store, 0), DuplicateAction::Remove)).unwrap();
    ingestor.round().unwrap();
    ingestor.round().unwrap();
    assert_eq!(*new, url_of(&store, "new"));
    let left = fs.upstream().list(STAGING).unwrap();
    let left: Vec<_> = left.iter().filter(|name| !name.as_encoded_bytes().starts_with(b".")).collect();
    assert_eq!(left, ["claimed.csv"], "what was foreseen as a duplicate is removed, and what waits stays");
    rest(&mut ingestor).unwrap();
    assert!(is_empty(&fs));
    // The other host's lines are only in its entries, which say what was foreseen.
    let key = listed.to_str().unwrap().strip_prefix("s3://lake/W/").unwrap();
    assert_eq!(store.below(WAREHOUSE).peek(key).unwrap(), b"listed");
}

/// The first host marks the manifests as the lake's; a dry run before it finds nothing wrong.
#[test]
fn a_dry_run_marks_nothing() {
    let (store, fs) = (lake(1), machine());
    assert!(store.below(MANIFESTS).remove_foreign(keys::LAKE));
    stage(&fs, "a.csv", b"a");
    let said = foresee(&fs, &store);
    assert!(matches!(said[..], [Forecast::Ready { .. }]), "{said:?}");
    assert_eq!(store.below(MANIFESTS).keys(""), [""; 0]);
    run(&fs, options(reach(&store, 0), DuplicateAction::Keep)).unwrap();
    assert!(store.below(MANIFESTS).remove_foreign(keys::LAKE));
    let error = dry_run::run(&fs, &config(), Some(reach(&store, 0))).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
}

/// The next dry run knows kept duplicates by the journal.
#[test]
fn a_kept_duplicate_has_the_url_of_its_original() {
    let (store, fs) = (lake(1), machine());
    other_host(&store, &["listed"], true);
    stage(&fs, "listed.csv", b"listed");
    let before = foresee(&fs, &store);
    let [Forecast::Duplicate { of, .. }] = &before[..] else { panic!("{before:?}") };
    assert!(of.to_str().unwrap().starts_with("s3://lake/W/ingest_date=2025-11-18/a-"), "{of:?}");
    run(&fs, options(reach(&store, 0), DuplicateAction::Keep)).unwrap();
    assert_eq!(foresee(&fs, &store), before);
}

#[test]
fn a_content_that_was_forgotten_gets_the_key_of_its_generation() {
    let (store, fs) = (lake(1), machine());
    other_host(&store, &["again", "another"], true);
    let lake = Lake { id: LakeId([1; 16]), shards: 1, checkpoint_entries: 4 };
    let stores = Stores::new(Arc::new(store.below(WAREHOUSE)), Arc::new(store.below(MANIFESTS)));
    let clock = Box::new(Ticks(AtomicU64::new(7)));
    let mut host = Host::new(stores, lake, [8; 16], clock, Box::new(NoJournal), &[]);
    assert_eq!(host.forget(&[sha256(b"again")]).unwrap(), 1);
    stage(&fs, "again.csv", b"again");
    let said = foresee(&fs, &store);
    let [Forecast::Ready { warehouse_path, .. }] = &said[..] else { panic!("{said:?}") };
    assert!(warehouse_path.to_str().unwrap().ends_with(".g1.csv"), "{warehouse_path:?}");
    run(&fs, options(reach(&store, 0), DuplicateAction::Keep)).unwrap();
    let key = warehouse_path.to_str().unwrap().strip_prefix("s3://lake/W/").unwrap();
    assert_eq!(store.below(WAREHOUSE).peek(key).unwrap(), b"again");
}

/// A life ends at each operation. If the file is still in staging then, whatever has become of it, a dry run says where its
/// object is or will be.
#[test]
fn what_is_half_done_is_foreseen_as_what_the_next_start_makes_of_it() {
    let operations = {
        let (store, fs) = (lake(1), machine());
        stage(&fs, "a.csv", b"a");
        run(&fs, options(reach(&store, 0), DuplicateAction::Remove)).unwrap();
        fs.operations()
    };
    let (mut listed, mut all, mut replays) = (0, 0, BTreeSet::new());
    for operation in 1..operations {
        let (store, fs) = (lake(1), machine());
        stage(&fs, "a.csv", b"a");
        fs.inject(Fault::crash().at(operation));
        assert!(run(&fs, options(reach(&store, 0), DuplicateAction::Remove)).is_err(), "operation {operation}");
        fs.clear_faults();
        fs.kill();
        if is_empty(&fs) {
            continue;
        }
        let said = foresee(&fs, &store);
        listed += usize::from(!lines(&store).is_empty());
        all += 1;
        for ingest in engine::read_state(&fs, Path::new(STATE)).unwrap().open() {
            let is_claimed = ingest.claimed.is_some();
            replays.insert((ingest.state.text(), is_claimed, recover::foresee(&fs, ingest).unwrap()));
        }
        run(&fs, options(reach(&store, 0), DuplicateAction::Remove)).unwrap();
        let expected = Forecast::Ready { path: staged("a.csv"), warehouse_path: url_of(&store, "a") };
        assert_eq!(said, [expected], "operation {operation}");
        let warehouse = store.below(WAREHOUSE);
        let entry = Entry::decode(&warehouse.peek(&keys::slot(0, 0)).unwrap()).unwrap();
        assert_eq!(warehouse.peek(&entry.packs()[0]), None, "operation {operation}: its pack stays");
    }
    assert!(listed > 0 && all > listed, "{listed} of {all} were listed");
    let expected = [
        ("DISCOVERED", false, "hash it and ingest it"),
        ("HASHED", false, "list it if an entry of the lake claims it; otherwise hash it again and ingest it"),
        ("HASHED", true, "list it: an entry of the lake claims it"),
        ("MOVED", true, "remove it from staging: its line is in the lake"),
    ];
    assert!(expected[1..].iter().all(|it| replays.contains(it)), "{replays:?}");
    assert!(replays.iter().all(|it| expected.contains(it)), "{replays:?}");
}
