//! The time from a file's drop to its line, while other files come as well.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::arrivals::{self, percentile};
use crate::disk::Scratch;
use crate::ours;
use crate::place::Place;
use crate::scale::Scale;
use crate::table::{Line, Table, count};
use crate::upstream::{Order, Ready, Schedule};

const P50_MS_MAX: f64 = 20.0;
const P99_MS_MAX: f64 = 100.0;

/// The pause between two of the other files: 200 a second.
const OTHERS_PAUSE: Duration = Duration::from_millis(5);
const OTHERS_BYTES: u64 = 1 << 10;
/// Numbers of the other files begin here.
const OTHERS_FROM: u64 = 1 << 32;
/// At first only the other files come.
const LEAD: Duration = Duration::from_millis(500);
/// The range of pauses between two measured files, so that they fall at varying moments between the others.
const PAUSE_MICROSECONDS: [u64; 2] = [15_000, 25_000];
/// Has no common divisor with the range of pauses.
const STRIDE: u64 = 7_919;

fn pause(number: u64) -> Duration {
    let [least, most] = PAUSE_MICROSECONDS;
    Duration::from_micros(least + number * STRIDE % (most - least))
}

pub fn measure(scale: &Scale, scratch: &Scratch, table: &mut Table) {
    let place = Place::within(scratch.path("latency"));
    let daemon = ours::start(&place, &["--mode", "sidecar"]);
    let is_over = AtomicBool::new(false);
    let arrivals = thread::scope(|scope| {
        scope.spawn(|| {
            let mut schedule = Schedule::new();
            let orders = [Order::DataFirst, Order::SidecarFirst];
            for (number, order) in (OTHERS_FROM..).zip(orders.into_iter().cycle()) {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                let ready = Ready::write(&place, &format!("other-{number:011}.csv"), number, OTHERS_BYTES);
                schedule.next(OTHERS_PAUSE);
                ready.drop_in(order);
            }
        });
        let over = SetWhenDropped(&is_over);
        thread::sleep(LEAD);
        let arrivals = arrivals::measure(&place, 0..scale.samples, pause, |_| {});
        drop(over);
        arrivals
    });
    daemon.stop();
    place.remove();
    let others = format!("beside {} others/s", 1000 / OTHERS_PAUSE.as_millis());
    let most = percentile(&arrivals, 100);
    for (percent, max) in [(50, P50_MS_MAX), (99, P99_MS_MAX)] {
        let ms = percentile(&arrivals, percent);
        let what = format!("from drop to line, p{percent} of {}, {others}", count(scale.samples));
        let line = Line::new(what, format!("{ms:.1} ms")).other(format!("longest {most:.1} ms"));
        table.add(line.target(format!("<= {max:.0} ms"), ms <= max));
    }
}

/// Ends the other files even if the measurement fails: otherwise the scope would wait for their thread for ever.
struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
