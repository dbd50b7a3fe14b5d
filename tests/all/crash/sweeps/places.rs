//! Directories are exchanged: the state directory for an older copy, the warehouse or the manifests for a bare mount point,
//! between two runs and during one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use csv_ingestor::Error;
use csv_ingestor::engine;
use csv_ingestor::fs::sim::{SimFs, Survival};
use csv_ingestor::pipeline;

use super::{sweep, writes};
use crate::crash::act::{self, Act};
use crate::crash::ingestor::{self, Ended, Listener};
use crate::crash::play::Play;
use crate::crash::scenario::{Crashed, MANIFESTS, Moment, Phase, STATE, Scenario, WAREHOUSE};
use crate::crash::view::{Digest, View, files};

/// The name to which directories are moved away.
const AWAY: &str = "/away";

fn scenarios() -> [Scenario; 3] {
    let more = || {
        vec![
            ((1, Phase::Scan), Act::Write(3, 4)),
            ((2, Phase::Scan), Act::Write(4, 6)),
            ((3, Phase::Scan), Act::Write(5, 8)),
        ]
    };
    [
        Scenario { acts: more(), ..Scenario::plain("an exchange") },
        Scenario { acts: more(), cross: true, ..Scenario::plain("an exchange, across file systems") },
        Scenario { acts: more(), leases: false, ..Scenario::plain("an exchange, without leases") },
    ]
}

/// The files of the state directory.
fn journal_of(fs: &SimFs) -> BTreeMap<PathBuf, Vec<u8>> {
    files(&mut fs.upstream(), Path::new(STATE))
}

/// Restores a backup of the state directory, as `cp` would.
fn put_back(fs: &SimFs, backup: &BTreeMap<PathBuf, Vec<u8>>) {
    let mut upstream = fs.upstream();
    for path in files(&mut upstream, Path::new(STATE)).keys() {
        upstream.remove(path).unwrap();
    }
    for (path, bytes) in backup {
        upstream.write(path, bytes).unwrap();
    }
    upstream.sync();
}

/// The files of the warehouse and the lines of the manifests.
fn seen(fs: &SimFs) -> String {
    let view = View::of(&mut fs.upstream());
    format!("{:?} {:?}", view.warehouse, view.lines)
}

fn is_older(error: &Error) -> bool {
    matches!(error, Error::JournalOlder { .. } | Error::StagingOfAnother(_)) && error.exit_code() == 3
}

/// A backup of every state that a run ever had is restored when everything is done, and everything is sent again: either the
/// journal knows all that is listed, and continues; or it is refused, and nothing is touched. In no case is a content listed
/// twice, or an id used for a second content.
#[test]
fn a_state_of_every_age() {
    let refused = std::sync::atomic::AtomicU64::new(0);
    sweep("older states", writes(scenarios()), 400, |scenario, operation, _| {
        let mut play = Play::new(scenario);
        play.run_until(operation, false);
        let backup = journal_of(&play.fs);
        play.kill();
        play.end();
        put_back(&play.fs, &backup);
        play.story.push("its state is as it was at the crash".to_owned());
        let before = seen(&play.fs);
        for (name, body) in [(0, 1), (1, 3), (2, 2), (3, 4)] {
            act::perform(&Act::Write(name, body), &mut play.fs.upstream(), &mut play.model());
        }
        match play.run() {
            Ok(_) => {
                let view = View::of(&mut play.fs.upstream());
                let verdict = play.model().always(&view);
                verdict.unwrap_or_else(|wrong| panic!("{}: {wrong}", play.told()));
            }
            Err(error) => {
                assert!(is_older(&error), "{}: {error}", play.told());
                assert_eq!(before, seen(&play.fs), "{}: something was done", play.told());
                refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
        1
    });
    assert!(refused.into_inner() > 200, "hardly any was refused");
}

/// A new journal after the loss of the state directory: it is refused as soon as one line exists. Once accepted, it stays
/// accepted, wherever it is cut off then.
#[test]
fn a_new_state_beside_manifests() {
    let scenario = &scenarios()[0];
    let mut play = Play::new(scenario);
    play.end();
    put_back(&play.fs, &BTreeMap::new());
    assert!(is_older(&play.run().unwrap_err()));
    assert!(journal_of(&play.fs).is_empty(), "what was refused is in the way of a rebuild");

    let accepting = |play: &Play<'_>| {
        let mut options = ingestor::options(scenario, &play.fs, Box::new(|| false));
        options.accepts.journal = true;
        engine::open(&play.fs, options).map(|engine| drop(engine.unwrap().committer.shut_down()))
    };
    let mut whole = play.fork();
    let first = whole.fs.operations() + 1;
    accepting(&whole).unwrap();
    let last = whole.fs.operations();
    assert!(whole.run().is_ok(), "it was accepted");
    for operation in first..=last {
        let mut play = play.fork();
        play.stop_at(operation, true);
        let accepted = accepting(&play);
        play.fs.clear_faults();
        play.fs.crash_to(Survival::Nothing);
        if accepted.is_ok() {
            let ended = play.run();
            assert!(ended.is_ok(), "{}: it was accepted, and is forgotten: {:?}", play.told(), ended.err());
        } else if let Err(error) = play.run() {
            assert!(is_older(&error), "{}: {error}", play.told());
            accepting(&play).unwrap();
            assert!(play.run().is_ok(), "{}", play.told());
        }
    }
}

/// A journal is believed lost and replaced by a new one, whose first start is cut off anywhere; then the lost one is found
/// and restored. It is refused, although no line shows that it is old, also after a power cut in between.
#[test]
fn a_journal_that_comes_back() {
    let scenario = &scenarios()[0];
    let mut play = Play::new(scenario);
    play.end();
    let lost = journal_of(&play.fs);
    put_back(&play.fs, &BTreeMap::new());
    let accepting = |fs: &SimFs| {
        let mut options = ingestor::options(scenario, fs, Box::new(|| false));
        options.accepts.journal = true;
        engine::open(fs, options).map(|engine| drop(engine.unwrap().committer.shut_down()))
    };
    let whole = play.fork();
    let first = whole.fs.operations() + 1;
    accepting(&whole.fs).unwrap();
    let last = whole.fs.operations();
    // The last one is not cut off.
    for operation in first..=last + 1 {
        let mut play = play.fork();
        play.stop_at(operation, operation % 2 == 0);
        let accepted = accepting(&play.fs);
        play.fs.clear_faults();
        play.fs.crash_to(Survival::Nothing);
        if accepted.is_err() {
            accepting(&play.fs).unwrap();
            play.fs.crash_to(Survival::Nothing);
        }
        let new = journal_of(&play.fs);
        put_back(&play.fs, &lost);
        let before = seen(&play.fs);
        let error = play.run().expect_err("the lost journal goes on");
        assert!(is_older(&error), "{}: {error}", play.told());
        assert_eq!(before, seen(&play.fs), "{}: something was done", play.told());
        put_back(&play.fs, &new);
        assert!(play.run().is_ok(), "{}: the new journal does not continue", play.told());
    }
}

/// The journal of a version that marked only the warehouse, at its first start with this version, which is cut off anywhere:
/// the next start must not miss marks that were never made.
#[test]
fn an_upgrade_is_cut_off() {
    let scenario = Scenario::plain("an upgrade");
    let mut play = Play::new(&scenario);
    play.end();
    let private = Path::new(WAREHOUSE).join(".csv-ingestor");
    let mut upstream = play.fs.upstream();
    upstream.rename(Path::new(MANIFESTS).join(".csv-ingestor"), AWAY).unwrap();
    let names = upstream.list(&private).unwrap();
    let marked = names.into_iter().find(|name| name.len() > 32).unwrap();
    upstream.rename(private.join(marked), "/marked").unwrap();
    upstream.sync();
    act::perform(&Act::Write(3, 4), &mut upstream, &mut play.model());
    let mut whole = play.fork();
    let first = whole.fs.operations() + 1;
    whole.end();
    for operation in first..=whole.fs.operations() {
        for happened in [false, true] {
            let mut play = play.fork();
            play.run_until(operation, happened);
            play.fs.crash_to(Survival::Nothing);
            play.model().after_power_cut(&mut play.fs.upstream()).unwrap();
            play.end();
        }
    }
}

/// A version that wrote lines without the journal's id and their numbers is killed anywhere, and this version continues: no line is written
/// twice.
#[test]
fn lines_of_an_older_version_are_found() {
    let [one, ..] = scenarios();
    sweep("lines of an older version", writes([one]), 120, |scenario, operation, _| {
        let mut play = Play::new(scenario);
        play.run_until(operation, false);
        play.kill();
        let mut upstream = play.fs.upstream();
        let is_manifest = |path: &PathBuf| path.ends_with("manifest.jsonl");
        for (path, content) in
            files(&mut upstream, Path::new(MANIFESTS)).into_iter().filter(|(path, _)| is_manifest(path))
        {
            let text = String::from_utf8(content).unwrap();
            let strip = |line: &str| match line.split_once(",\"journal\":").zip(line.split_once(",\"ingested_at\"")) {
                Some(((before, _), (_, behind))) => format!("{before},\"ingested_at\"{behind}"),
                None => line.to_owned(),
            };
            let stripped: String = text.split_inclusive('\n').map(strip).collect();
            upstream.write(path, stripped.as_bytes()).unwrap();
        }
        upstream.sync();
        play.end();
        1
    });
}

/// Moves a directory away and puts an empty one in its place, as when a disk is not mounted.
fn unmount(fs: &SimFs, dir: &str) {
    let mut upstream = fs.upstream();
    upstream.rename(dir, AWAY).unwrap();
    upstream.mkdir(dir).unwrap();
}

fn mount(fs: &SimFs, dir: &str) {
    let mut upstream = fs.upstream();
    let made = upstream.list(dir).unwrap();
    assert!(made.is_empty(), "{made:?} was made below the mount point {dir}");
    upstream.rename(dir, "/bare").unwrap();
    upstream.rename(AWAY, dir).unwrap();
}

/// After a crash anywhere, the disk of the warehouse or of the manifests is not mounted at the next start: nothing is
/// created below the mount point once anything was ingested, and with the disk everything is right. A power cut keeps the
/// promises, so a start with all disks is never refused.
#[test]
fn a_disk_that_is_not_mounted_after_every_crash() {
    let [one, cross, _] = scenarios();
    let subjects =
        writes([Scenario { crashed: Crashed::one_in(2), ..one }, Scenario { crashed: Crashed::one_in(3), ..cross }]);
    let refused = std::sync::atomic::AtomicU64::new(0);
    sweep("disks that are not mounted", subjects, 350, |scenario, operation, _| {
        let mut states = 0;
        for (dir, cut) in [(WAREHOUSE, false), (MANIFESTS, false), (WAREHOUSE, true), (MANIFESTS, true)] {
            // A mount point cannot be renamed.
            if scenario.cross && dir == WAREHOUSE {
                continue;
            }
            let mut play = Play::new(scenario);
            play.run_until(operation, false);
            play.kill();
            if cut {
                play.fs.crash_to(Survival::Nothing);
                play.model().after_power_cut(&mut play.fs.upstream()).unwrap();
            }
            let listed = View::of(&mut play.fs.upstream()).lines.len();
            if play.fs.upstream().exists(dir) && listed > 0 {
                unmount(&play.fs, dir);
                let error = play.run().expect_err(&format!("{}: {dir} is not mounted", play.told()));
                assert_eq!(error.exit_code(), 2, "{}: {error}", play.told());
                refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                mount(&play.fs, dir);
            }
            play.end();
            states += 1;
        }
        states
    });
    assert!(refused.into_inner() > 100, "hardly any was refused");
}

/// Why: a warehouse whose disk had died was refused because of the files in flight, even with `--new-warehouse`, and the
/// only way out was to give up the journal. Files in staging are ingested; those that were only on the disk are lost, as is
/// everything else that was there; the next start needs no option.
#[test]
fn a_disk_that_is_lost_after_every_crash_is_replaced() {
    let [one, cross, leaseless] = scenarios();
    let thin = |scenario| Scenario { crashed: Crashed::one_in(2), ..scenario };
    let half_done = std::sync::atomic::AtomicU64::new(0);
    sweep("disks that are lost", writes([thin(one), thin(cross), thin(leaseless)]), 300, |scenario, operation, _| {
        let mut states = 0;
        for dir in [WAREHOUSE, MANIFESTS] {
            if scenario.cross && dir == WAREHOUSE {
                continue;
            }
            let mut play = Play::new(scenario);
            play.run_until(operation, false);
            play.kill();
            if !play.fs.upstream().exists(dir) {
                continue;
            }
            unmount(&play.fs, dir);
            let before = View::of(&mut play.fs.upstream());
            let accepting = |play: &Play<'_>| {
                let mut options = ingestor::options(scenario, &play.fs, Box::new(|| false));
                options.accepts.warehouse = true;
                engine::open(&play.fs, options).map(|engine| drop(engine.unwrap().committer.shut_down()))
            };
            let known = engine::read_state(&play.fs, Path::new(STATE)).unwrap();
            half_done.fetch_add(known.open().count() as u64, std::sync::atomic::Ordering::Relaxed);
            accepting(&play).unwrap_or_else(|error| panic!("{}: {error}", play.told()));
            let ended = ingestor::run(scenario, &play.fs, Box::new(|| false), &mut ingestor::Nobody);
            ended.unwrap_or_else(|error| panic!("{}: once more: {error}", play.told()));
            let view = View::of(&mut play.fs.upstream());
            for (path, digest) in before.staged() {
                assert!(view.holds(digest), "{}: {} is lost", play.told(), path.display());
            }
            assert!(view.torn.is_empty(), "{}: {:?}", play.told(), view.torn);
            states += 1;
        }
        states
    });
    assert!(half_done.into_inner() > 100, "hardly any was half done");
}

/// Exchanges a directory at one moment of a run.
struct Exchange<'a, 'b> {
    play: &'a mut Play<'b>,
    at: Moment,
    how: &'a dyn Fn(&SimFs),
    seen: Option<String>,
}

impl Listener for Exchange<'_, '_> {
    fn recovered(&mut self, fs: &SimFs) {
        self.play.recovered(fs);
    }

    fn at(&mut self, moment: Moment, fs: &SimFs) -> bool {
        let more = if self.seen.is_none() { self.play.at(moment, fs) } else { false };
        if moment == self.at && self.seen.is_none() {
            self.seen = Some(seen(fs));
            (self.how)(fs);
        }
        more
    }

    fn ingested(&mut self, digest: Digest) {
        self.play.ingested(digest);
    }
}

/// The state directory, its journal, the warehouse or the manifests are removed or replaced while the ingestor runs, with
/// files in flight: no batch begins after that.
#[test]
fn an_exchange_while_it_runs() {
    let marker = |fs: &SimFs, root: &str| {
        let private = Path::new(root).join(".csv-ingestor");
        let names = fs.upstream().list(&private).unwrap();
        let own = names.into_iter().find(|name| name.len() == 32).unwrap();
        fs.upstream().rename(private.join(own), private.join("gone")).unwrap();
    };
    type How<'a> = &'a dyn Fn(&SimFs);
    let journal = |fs: &SimFs, is_replaced: bool| {
        let segments =
            |(path, _): &(PathBuf, Vec<u8>)| path.file_name().unwrap().as_encoded_bytes().starts_with(b"wal-");
        for (path, bytes) in journal_of(fs).into_iter().filter(segments) {
            fs.upstream().remove(&path).unwrap();
            if is_replaced {
                fs.upstream().write(&path, &bytes).unwrap();
            }
        }
    };
    let exchanges: [(&str, How<'_>); 8] = [
        ("the journal is removed", &|fs| journal(fs, false)),
        ("the journal is replaced", &|fs| journal(fs, true)),
        ("the state is replaced", &|fs| unmount(fs, STATE)),
        ("the state is gone", &|fs| fs.upstream().rename(STATE, AWAY).unwrap()),
        ("the lock is replaced", &|fs| {
            let mut upstream = fs.upstream();
            upstream.rename(format!("{STATE}/LOCK"), AWAY).unwrap();
            upstream.write(format!("{STATE}/LOCK"), b"").unwrap();
        }),
        ("the warehouse's marker is gone", &|fs| marker(fs, WAREHOUSE)),
        ("the manifests' marker is gone", &|fs| marker(fs, MANIFESTS)),
        ("the manifests are replaced", &|fs| unmount(fs, MANIFESTS)),
    ];
    let mut ends = 0;
    for scenario in scenarios() {
        for (what, how) in exchanges {
            for at in (0..4).flat_map(|round| [(round, Phase::Scan), (round, Phase::Commit)]) {
                let mut play = Play::new(&scenario);
                play.story.push(format!("{what}, at {at:?}"));
                let fs = play.fs.clone();
                let mut exchange = Exchange { play: &mut play, at, how, seen: None };
                let ended = ingestor::run(&scenario, &fs, Box::new(|| false), &mut exchange);
                let before = exchange.seen.take().expect("it comes to that moment");
                match ended {
                    Err(Error::Pipeline(pipeline::Error::Replaced { .. })) => ends += 1,
                    Ok(Ended::AtRest) => {}
                    other => panic!("{}: {other:?}", play.told()),
                }
                if !what.contains("manifests are") {
                    assert_eq!(before, seen(&fs), "{}: something was ingested", play.told());
                }
            }
        }
    }
    assert!(ends > 100, "only {ends} ended by it");
}
