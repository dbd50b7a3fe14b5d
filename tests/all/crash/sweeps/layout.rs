//! A layout with several levels, which is another one at the next start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{READS, sweep, writes};
use crate::crash::ingestor;
use crate::crash::play::Play;
use crate::crash::scenario::{STATE, Scenario, WAREHOUSE};
use csv_ingestor::engine;
use csv_ingestor::pipeline::hash::Hasher;
use csv_ingestor::pipeline::layout::Layout;

/// Power cuts at each operation, each with a seed of its own.
const SEEDS: u64 = 5;
/// One in so many operations of a recovery is cut off: enough, since each recovery is another one.
const ONE_IN: u64 = 3;

/// The directory that is recorded for each file that is on its way, by ingest id.
fn recorded(play: &Play<'_>) -> BTreeMap<u64, PathBuf> {
    let index = engine::read_state(&play.fs, Path::new(STATE)).unwrap();
    let dir = |path: &Path| path.parent().unwrap().to_owned();
    index.open().filter_map(|ingest| Some((ingest.id.0, dir(&ingest.target.as_ref()?.warehouse_path)))).collect()
}

/// The rest of the history. Whatever the layout says by then, a file that was HASHED gets into the directory that the
/// journal has; also one whose copy is gone, so that it is hashed again. Returns how many files that was true of.
fn end_as_recorded(play: &mut Play<'_>) -> u64 {
    let recorded = recorded(play);
    play.end();
    let mut kept = 0;
    for line in play.view().lines {
        if let Some(dir) = recorded.get(&line.ingest_id) {
            assert_eq!(line.warehouse_path.parent(), Some(&**dir), "{}", play.told());
            kept += 1;
        }
    }
    kept
}

/// Each directory on the way to a file is durable before MOVED, and the directory is decided once, in HASHED.
#[test]
fn power_cut_at_every_operation_with_another_layout_at_the_next_start() {
    let kept = std::sync::atomic::AtomicU64::new(0);
    sweep("power cuts, layouts", writes(Scenario::of_layouts()), 2_500, |scenario, operation, _| {
        let mut stopped = Play::new(scenario);
        stopped.run_until(operation, operation % 2 == 0);
        let mut killed = stopped.fork();
        for seed in 0..SEEDS {
            let mut play = stopped.fork();
            play.cut_power(operation.wrapping_mul(1_000) + seed);
            if seed == 0 {
                play.check_recovery_is_repeatable();
            }
            kept.fetch_add(end_as_recorded(&mut play), std::sync::atomic::Ordering::Relaxed);
        }
        killed.kill();
        kept.fetch_add(end_as_recorded(&mut killed), std::sync::atomic::Ordering::Relaxed);
        SEEDS + 1
    });
    assert!(kept.into_inner() > 200, "few files were on their way");
}

/// A power cut in the recovery, and a third layout after it.
#[test]
fn power_cut_in_a_recovery_with_another_layout() {
    let scenarios = Scenario::of_layouts().into_iter().take(2);
    sweep("power cuts in a recovery, layouts", writes(scenarios), 3_800, |scenario, operation, _| {
        let mut stopped = Play::new(scenario);
        stopped.run_until(operation, false);
        match operation % 2 == 0 {
            true => stopped.kill(),
            false => stopped.cut_power(operation),
        }
        let before = recorded(&stopped);
        let mut calm = stopped.fork();
        calm.recover();
        let recovery: Vec<u64> = calm
            .fs
            .log()
            .into_iter()
            .filter(|logged| !READS.contains(&logged.op))
            .map(|logged| logged.number)
            .collect();
        for at in recovery.iter().filter(|at| (*at + operation) % ONE_IN == 0) {
            let mut play = stopped.fork();
            play.run_until(*at, at % 4 < 2);
            play.cut_power(operation.wrapping_mul(1_000) + at);
            for (id, dir) in recorded(&play) {
                assert!(before.get(&id).is_none_or(|known| *known == dir), "{}: {id} in {dir:?}", play.told());
            }
            end_as_recorded(&mut play);
        }
        recovery.len() as u64 / ONE_IN
    });
}

/// `replay` is given no layout: it takes that of the last start, which the journal has.
#[test]
fn a_replay_takes_the_layout_of_the_last_start() {
    let scenario = &Scenario::of_layouts()[0];
    let mut resumed = 0;
    for subject in writes([scenario.clone()]) {
        for (operation, _) in subject.operations {
            let mut play = Play::new(scenario);
            play.run_until(operation, true);
            play.kill();
            let mut options = ingestor::options(scenario, &play.fs, Box::new(|| false));
            (options.settings, options.layout) = (None, Layout::default());
            let Some(engine) = engine::open(&play.fs, options).unwrap() else { continue };
            let (mut committer, mut hasher) = (engine.committer, Hasher::new(engine.shared));
            for (id, settled) in engine.recovered.resumed {
                committer.resume(settled.ticket, id);
                let hashed = hasher.hash(settled, true);
                committer.commit(vec![hashed]).unwrap();
                resumed += 1;
            }
            committer.shut_down().unwrap();
            let top = Path::new(WAREHOUSE);
            let levels = |path: &PathBuf| path.strip_prefix(top).unwrap().iter().count();
            assert!(play.view().warehouse.keys().all(|path| levels(path) == 4), "{}", play.told());
        }
    }
    assert!(resumed > 5, "only {resumed} files were resumed");
}
