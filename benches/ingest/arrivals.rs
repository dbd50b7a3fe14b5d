//! How long dropped files take until their lines can be read.

use std::collections::HashMap;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::manifest::Manifest;
use crate::place::Place;
use crate::upstream::{Order, Ready, Schedule};

/// Between two looks at the manifest: so much later than it could be, at most, a line is seen.
const LOOK_PAUSE: Duration = Duration::from_micros(100);
/// Whoever has said nothing for so long will not say it at all.
const PATIENCE: Duration = Duration::from_secs(120);
const FILE_BYTES: u64 = 1 << 10;

/// A file's way.
#[derive(Clone, Copy)]
pub struct Arrival {
    pub dropped: Instant,
    pub ms: f64,
}

/// Drops so many files, `pause` before each, and waits for all their lines; `others` is told of all other lines.
///
/// Time begins before the file is renamed into staging, which its sidecar follows. Its content is written right
/// before, and nobody has synced it, as it is where a producer has just finished.
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

/// Of these, the time that so many percent do not exceed.
pub fn percentile(arrivals: &[Arrival], percent: usize) -> f64 {
    let mut times: Vec<f64> = arrivals.iter().map(|arrival| arrival.ms).collect();
    times.sort_by(f64::total_cmp);
    times[(times.len() * percent).div_ceil(100).max(1) - 1]
}
