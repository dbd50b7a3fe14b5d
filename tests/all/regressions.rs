//! Faults that reviewers and sweeps once found, each with the reason for its test.

mod histories;
mod others;
mod sidecars;

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use csv_ingestor::engine::{self, Options};
use csv_ingestor::fs::sim::{Fault, Op};
use csv_ingestor::journal::lifecycle::FileState;
use csv_ingestor::journal::record::DuplicateAction;
use csv_ingestor::metrics::Metrics;
use csv_ingestor::pipeline::Refusal;
use csv_ingestor::pipeline::hash::Hasher;
use csv_ingestor::pipeline::layout::Layout;
use csv_ingestor::pipeline::places::Accepts;
use csv_ingestor::pipeline::scan::NameRules;

use rustix::process::{Pid, Signal, kill_process};

use crate::crash::act::{self, Act};
use crate::crash::play::Play;
use crate::crash::scenario::{Phase, STAGING, STATE, Scenario};
use crate::crash::view::View;
use crate::harness::{Place, csv, has, sha256_hex, wait_until};
use crate::scenarios::traced;

/// A machine on which the run was killed just before the first rename of a staged file into the warehouse: HASHED is
/// durable.
fn killed_when_hashed(scenario: &Scenario) -> Play<'_> {
    let mut play = Play::new(scenario);
    play.fs.inject(Fault::crash().only(&[Op::Rename]).under(Path::new(STAGING).join("a.csv")).nth(1));
    play.run().unwrap_err();
    play.fs.clear_faults();
    play.kill();
    let state = engine::read_state(&play.fs, Path::new(STATE)).unwrap();
    assert!(state.open().any(|ingest| ingest.state == FileState::Hashed), "the test is about HASHED");
    play
}

fn view(play: &Play<'_>) -> View {
    View::of(&mut play.fs.upstream())
}

/// The lease ends with the process that held it. A silent writer that has come since then would otherwise write into the
/// file in the warehouse.
#[test]
fn recovery_asks_for_writers_again() {
    let scenario = Scenario::plain("a writer came after the crash");
    let mut play = killed_when_hashed(&scenario);
    let writer = play.fs.upstream().open_writer(Path::new(STAGING).join("a.csv")).unwrap();
    play.run().unwrap();
    let seen = view(&play);
    assert!(!seen.warehouse.keys().any(|path| path.ends_with("a.csv")), "{:?}", seen.warehouse.keys());
    assert!(seen.staging.contains_key(&Path::new(STAGING).join("a.csv")));
    play.fs.upstream().close_writer(writer);
    play.end();
}

/// Device and inode numbers may differ after a reboot: a file that has arrived must then be recognized by its content, or it
/// stays in the warehouse without a line, and comes there a second time when it is sent again.
#[test]
fn a_file_that_has_arrived_is_known_by_its_content() {
    let scenario = Scenario::plain("another inode number after the crash");
    let mut play = Play::new(&scenario);
    play.fs.inject(Fault::crash().only(&[Op::Rename]).under(Path::new(STAGING).join("a.csv")).nth(1).happened());
    play.run().unwrap_err();
    play.fs.clear_faults();
    play.kill();
    let path = view(&play).warehouse.into_keys().next().unwrap();
    let mut upstream = play.fs.upstream();
    let content = upstream.read(&path).unwrap();
    upstream.write("/occupied", b"so that the inode number is not the same").unwrap();
    upstream.write("/copy", &content).unwrap();
    upstream.replace("/copy", &path).unwrap();
    upstream.sync();
    play.end();
}

/// One source that cannot be removed (immutable, or another user's in a sticky directory) must not stop the others, now and
/// at every start.
#[test]
fn a_source_that_cannot_be_removed_stops_nobody() {
    let scenario = Scenario { cross: true, ..Scenario::plain("a source that stays") };
    let mut play = Play::new(&scenario);
    let stuck = Path::new(STAGING).join("a.csv");
    play.fs.inject(Fault::errno(libc::EPERM).only(&[Op::Rename]).under(&stuck));
    for _ in 0..2 {
        play.run().unwrap();
        assert_eq!(view(&play).staging.into_keys().collect::<Vec<_>>(), std::slice::from_ref(&stuck));
    }
    let state = engine::read_state(&play.fs, Path::new(STATE)).unwrap();
    assert_eq!((state.open().count(), state.count(FileState::Manifested)), (0, 3));
    assert_eq!(state.kept().count(), 1, "the source that stays is a duplicate of the ingested file");
}

/// A file that is resumed after a crash must match its sidecar's checksum. The sidecar's name comes from the journal:
/// `replay` has no `--sidecar-suffix`, and the daemon may have another one now.
#[test]
fn a_resumed_file_must_match_its_sidecar() {
    let scenario = Scenario { sidecars: true, ..Scenario::plain("a resumed file and its sidecar") };
    let mut play = Play::new(&scenario);
    let wrong = format!("{}  a.csv\n", sha256_hex(b"something else"));
    play.fs.upstream().write(Path::new(STAGING).join("a.csv.ok"), wrong.as_bytes()).unwrap();
    // The first file is noted before it is hashed; the crash comes when it is opened.
    play.fs.inject(Fault::crash().only(&[Op::Lease]).nth(1));
    play.run().unwrap_err();
    play.fs.clear_faults();
    play.kill();
    let fs = &play.fs;
    let options = Options {
        state_path: STATE.into(),
        settings: None,
        names: NameRules::default(),
        validate: None,
        require_checksum: false,
        layout: Layout::default(),
        identity: csv_ingestor::journal::record::Identity::default(),
        quarantine: None,
        accepts: Accepts::default(),
        metrics: Arc::new(Metrics::default()),
        reach: None,
        on_full: Box::new(|| false),
        stop: Arc::default(),
    };
    let engine = engine::open(fs, options).unwrap().unwrap();
    let (_, settled) = engine.recovered.resumed.into_iter().next().expect("a file to resume");
    assert_eq!(settled.name.to_str(), Some("a.csv"), "the test is about the file with the wrong sidecar");
    let refused = Hasher::new(engine.shared).hash(settled, false).err().expect("it is refused");
    assert!(matches!(refused.refusal, Refusal::ChecksumDiffers { .. }), "{:?}", refused.refusal);
}

/// Another program's file under a name like the ingestor's own must not be taken for the ingestor's, nor keep a used sidecar
/// in staging.
#[test]
fn a_strangers_hidden_file_is_not_taken_for_ours() {
    let scenario = Scenario { sidecars: true, ..Scenario::plain("squatted names") };
    let mut play = Play::new(&scenario);
    for id in 1..40 {
        play.fs.upstream().mkdir(Path::new(STAGING).join(format!(".csv-ingestor-{id}-sidecar"))).unwrap();
    }
    play.end();
}

/// A dry run takes leases, too. The signal that comes when a writer opens the file must not kill it, and the writer must not
/// be kept waiting.
#[test]
fn a_dry_run_survives_writers() {
    let place = Place::new();
    let path = place.stage("large.csv", csv(1, 1000));
    std::fs::File::options().write(true).open(&path).unwrap().set_len(1 << 29).unwrap();
    let mut dry_run = place
        .command()
        .args(["--dry-run", "--stability-seconds", "0"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let status = loop {
        if let Some(status) = dry_run.try_wait().unwrap() {
            break status;
        }
        let _ = std::fs::File::options().append(true).custom_flags(libc::O_NONBLOCK).open(&path);
        std::thread::sleep(std::time::Duration::from_millis(1));
    };
    assert!(status.success(), "{status}");
}

/// Why: an upstream renames another file over a hashed one just before the ingestor moves it, and the process ends right
/// after that. The file that was moved by mistake was then in the warehouse, in no manifest, and no longer in staging.
#[test]
fn what_was_moved_by_mistake_is_not_forgotten() {
    // A new content, the content of another staged file, and a content that is in the warehouse already.
    for (body, then) in [(9, "ingested"), (2, "a duplicate"), (7, "a duplicate of an earlier one")] {
        let scenario =
            Scenario { acts: vec![((1, Phase::Scan), Act::Write(0, 1))], ..Scenario::plain("moved by mistake") };
        let scenario = Scenario { before: vec![Act::Write(5, 7)], ..scenario };
        let mut play = Play::new(&scenario);
        let fs = play.fs.clone();
        let (model, moves) = (play.model.clone(), AtomicU32::new(0));
        fs.set_hook(Box::new(move |call, upstream| {
            let moved = call.op == Op::Rename && call.path == Path::new(STAGING).join("a.csv");
            if moved && moves.fetch_add(1, Ordering::Relaxed) == 0 {
                act::perform(&Act::Replace(0, body), upstream, &mut model.lock().unwrap());
                act::perform(&Act::Write(2, 2), upstream, &mut model.lock().unwrap());
            }
        }));
        fs.inject(Fault::crash().only(&[Op::Rename]).under(Path::new(STAGING).join("a.csv")).nth(1).happened());
        play.run().unwrap_err();
        fs.clear_hook();
        fs.clear_faults();
        let moved = view(&play).warehouse.keys().any(|path| path.ends_with("a.csv"));
        assert!(moved, "the test is about what was moved: {then}");
        let mut cut = play.fork();
        play.kill();
        play.end();
        cut.cut_power(u64::from(body));
        cut.end();
    }
}

/// The same for a move to the duplicates directory.
#[test]
fn what_was_moved_away_by_mistake_is_not_forgotten() {
    let scenario = Scenario {
        before: vec![Act::Write(0, 1)],
        acts: vec![((1, Phase::Scan), Act::Write(3, 1))],
        duplicates: DuplicateAction::Move,
        ..Scenario::plain("moved away by mistake")
    };
    let mut play = Play::new(&scenario);
    let (fs, model) = (play.fs.clone(), play.model.clone());
    let mut done = false;
    fs.set_hook(Box::new(move |call, upstream| {
        if call.op == Op::Rename && call.path == Path::new(STAGING).join("d.csv") && !done {
            done = true;
            act::perform(&Act::Replace(3, 8), upstream, &mut model.lock().unwrap());
        }
    }));
    fs.inject(Fault::crash().only(&[Op::Rename]).under(Path::new(STAGING).join("d.csv")).nth(1).happened());
    play.run().unwrap_err();
    fs.clear_hook();
    fs.clear_faults();
    assert_eq!(view(&play).duplicates.len(), 1, "the test is about what was moved away");
    play.kill();
    play.end();
}

/// Why: a discarded copy came back with a power cut, with the inode number that a later copy had had: it was taken for that
/// one, and stayed.
#[test]
fn no_copy_is_left_over_after_a_power_cut() {
    let named = |scenario: &Scenario| scenario.name == "the first of two duplicates vanishes, across file systems";
    let scenario = Scenario::all().into_iter().find(named).unwrap();
    // Crashes at each frame: one of them is the HASHED of the later copy, whose name is not durable yet.
    for frame in 1..20 {
        let mut stopped = Play::new(&scenario);
        stopped.fs.inject(Fault::crash().only(&[Op::SyncData]).under(STATE).nth(frame));
        let _ = stopped.run();
        stopped.fs.clear_faults();
        for seed in 0..40 {
            let mut play = stopped.fork();
            play.cut_power(seed);
            play.end();
        }
    }
}

/// Why: a removal can fail because the disk is full: the file first gets a long hidden name, for which the directory may
/// need a block, and some file systems rewrite the directory from which they remove. That ended the daemon, which waits for
/// room everywhere else.
#[test]
fn a_full_disk_is_waited_out_while_staging_is_cleaned_up() {
    /// At most this many of the operations belong to the start.
    const STARTS_MAX: u64 = 8;
    let before = vec![Act::Write(0, 1), Act::Write(1, 1)];
    let scenarios = [
        Scenario { cross: true, ..Scenario::plain("sources of copies") },
        Scenario { sidecars: true, ..Scenario::plain("sidecars") },
        Scenario { before, duplicates: DuplicateAction::Remove, ..Scenario::plain("duplicates") },
    ];
    for scenario in scenarios {
        for op in [Op::Rename, Op::Unlink] {
            let mut has_waited = false;
            for nth in 1.. {
                let mut play = Play::new(&scenario);
                play.fs.inject(Fault::errno(libc::ENOSPC).only(&[op]).under(STAGING).nth(nth));
                let waited = Arc::new(AtomicBool::new(false));
                let full = waited.clone();
                let on_full = Box::new(move || {
                    full.store(true, Ordering::Relaxed);
                    true
                });
                play.run_waiting(on_full).unwrap_or_else(|error| panic!("{}, {op:?} {nth}: {error}", scenario.name));
                play.end();
                // The first ones belong to the start, which probes the file system and never waits.
                let is_met = waited.load(Ordering::Relaxed);
                has_waited |= is_met;
                if !is_met && nth > STARTS_MAX {
                    break;
                }
            }
            assert!(has_waited, "{}: no {op:?} in staging", scenario.name);
        }
    }
}

/// Why: where no rename without replacing exists, a link and an unlink do the work. If only the unlink failed because the
/// disk was full, the next attempt took its own new name for another file's, and the content was in the warehouse twice.
#[test]
fn a_rename_made_of_link_and_unlink_is_not_done_by_halves() {
    if !has("strace") {
        return;
    }
    let place = Place::new();
    let options = ["-qq", "-o", "/dev/null", "-e", "trace=renameat2,unlinkat"];
    // Each thread's calls are counted by themselves: the main thread unlinks once, when it creates the journal.
    let faults = ["-e", "inject=renameat2:error=EINVAL", "-e", "inject=unlinkat:error=ENOSPC:when=2"];
    let mut command = place.command();
    command.args(["--stability-seconds", "0"]);
    let mut daemon = place.spawn(traced(&command, &[&options[..], &faults].concat()));
    daemon.wait_started();
    (1..4).for_each(|seed| drop(place.stage(format!("{seed}.csv"), csv(seed, 2_000))));
    daemon.wait_for("file_ingested", 3);
    assert_eq!(daemon.events("disk_full").len(), 1, "the test is about a full disk");
    assert_eq!(daemon.events("disk_has_room").len(), 1);
    // The daemon itself, not strace, which ignores the signal.
    let pid = daemon.events("started")[0]["pid"].as_i64().unwrap();
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::TERM).unwrap();
    wait_until("the daemon to stop", || daemon.child.try_wait().unwrap().is_some());
    assert_eq!(place.check_consistent(), 3);
    assert!(place.staged_names().is_empty());
}
