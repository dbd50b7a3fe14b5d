//! The time from the drop of a file until its line can be read.

use std::collections::HashMap;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::manifest::Manifest;
use crate::place::Place;
use crate::upstream::{Order, Ready, Schedule};

/// The pause between two reads of the manifest: a line is seen at most this much late.
const LOOK_PAUSE: Duration = Duration::from_micros(100);
/// A line that has not come after this time will not come at all.
const PATIENCE: Duration = Duration::from_secs(120);
const FILE_BYTES: u64 = 1 << 10;

/// The times of one file.
#[derive(Clone, Copy)]
pub struct Arrival {
    pub dropped: Instant,
    pub ms: f64,
}

/// Drops the files with these numbers, with `pause` before each, and waits for all their lines; `others` gets the names
/// in all other lines.
///
/// A file's time begins before it is renamed into staging; its sidecar is renamed after that. Its content is written
/// just before, and not synced, as when a producer has just finished.
pub fn measure(
    place: &Place,
    numbers: std::ops::Range<u64>,
    mut pause: impl FnMut(u64) -> Duration + Send,
    mut others: impl FnMut(&str),
) -> Vec<Arrival> {
    let count = (numbers.end - numbers.start) as usize;
    let dropped: Mutex<HashMap<String, Instant>> = Mutex::default();
    let mut arrivals = Vec::with_capacity(count);
    let mut manifest = Manifest::new(place.manifests());
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut schedule = Schedule::new();
            for number in numbers {
                let name = format!("measured-{number:011}.csv");
                let ready = Ready::write(place, &name, number, FILE_BYTES);
                schedule.next(pause(number));
                dropped.lock().unwrap().insert(name, Instant::now());
                ready.drop_in(Order::DataFirst);
            }
        });
        let mut last = Instant::now();
        while arrivals.len() < count {
            assert!(last.elapsed() < PATIENCE, "{} of {count} lines have come", arrivals.len());
            thread::sleep(LOOK_PAUSE);
            manifest.for_each(|name| {
                last = Instant::now();
                match dropped.lock().unwrap().remove(name) {
                    Some(dropped) => arrivals.push(Arrival { dropped, ms: (last - dropped).as_secs_f64() * 1000.0 }),
                    None => others(name),
                }
            });
        }
    });
    arrivals
}

/// The time that this percentage of the files does not exceed.
pub fn percentile(arrivals: &[Arrival], percent: usize) -> f64 {
    let mut times: Vec<f64> = arrivals.iter().map(|arrival| arrival.ms).collect();
    times.sort_by(f64::total_cmp);
    times[(times.len() * percent).div_ceil(100).max(1) - 1]
}
