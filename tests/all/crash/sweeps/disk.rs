//! Disks that fill up, in every size that may be too small, for the journal, the warehouse and the manifests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use csv_ingestor::fs::sim::SimFs;

use crate::crash::ingestor::Ended;
use crate::crash::play::Play;
use crate::crash::scenario::{MANIFESTS, ROTATION, STATE, Scenario, WAREHOUSE};

const PAGE: u64 = 4096;
/// More than any of these disks will hold.
const PAGES_MAX: u64 = 400;

/// A play in which one directory is on its own disk, of this many pages; the rest of the machine has room.
fn on_small_disk<'a>(scenario: &'a Scenario, full: &str, pages: u64) -> Play<'a> {
    let play = Play::new(scenario);
    if full != WAREHOUSE || !scenario.cross {
        play.fs.mount(full).unwrap();
    }
    play.fs.set_capacity(full, Some(pages * PAGE)).unwrap();
    play
}

fn make_room(fs: &SimFs, full: &str) {
    fs.set_capacity(full, None).unwrap();
}

/// The journal before its first frame, the copies, the manifest's directories: if anything does not fit, the ingestor waits
/// and continues by itself when there is room; or it is killed or cut off while it waits, and continues at the next start.
#[test]
fn a_disk_of_every_size() {
    // The first segment of a run exists before its first file; only a second one has to wait for room.
    let long = Scenario::all().into_iter().find(|scenario| scenario.name == ROTATION).unwrap();
    let plain = Scenario::plain("a full disk");
    let cross = Scenario { cross: true, sidecars: true, ..Scenario::plain("a full warehouse") };
    let mut states = 0;
    for (scenario, full) in [(&plain, WAREHOUSE), (&cross, WAREHOUSE), (&long, STATE), (&plain, MANIFESTS)] {
        let waits = Arc::new(AtomicU64::new(0));
        let mut pages = 0;
        loop {
            // There is room at the second try.
            let mut play = on_small_disk(scenario, full, pages);
            play.story.push(format!("{full} has {pages} pages"));
            let (machine, counter, tries) = (play.fs.clone(), waits.clone(), AtomicU64::new(0));
            let full_path = full.to_owned();
            let ended = play.run_waiting(Box::new(move || {
                counter.fetch_add(1, Ordering::Relaxed);
                if tries.fetch_add(1, Ordering::Relaxed) > 0 {
                    make_room(&machine, &full_path);
                }
                true
            }));
            let fitted = matches!(ended, Ok(Ended::AtRest));
            let tells = ended.as_ref().err().is_none_or(|error| error.to_string().contains("No space left"));
            assert!(tells, "{}: {:?}", play.told(), ended.err());
            make_room(&play.fs, full);
            play.kill();
            play.end();

            // There is never room, and the run is killed or cut off.
            let mut play = on_small_disk(scenario, full, pages);
            play.story.push(format!("{full} has {pages} pages, for good"));
            let rested = matches!(play.run(), Ok(Ended::AtRest));
            let mut cut = play.fork();
            for (play, seed) in [(&mut play, None), (&mut cut, Some(pages))] {
                match seed {
                    None => play.kill(),
                    Some(seed) => play.cut_power(seed),
                }
                make_room(&play.fs, full);
                play.end();
            }
            states += 3;
            assert!(pages < PAGES_MAX, "{full}: still full with {pages} pages");
            if fitted && rested {
                break;
            }
            pages += 1;
        }
        assert!(waits.load(Ordering::Relaxed) > 0, "{full}: the ingestor never waited for room");
        println!("{full}: {pages} sizes, waited {} times", waits.load(Ordering::Relaxed));
    }
    println!("full disks: {states} states");
}
