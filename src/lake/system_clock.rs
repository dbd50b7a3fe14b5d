//! The clock of a host that runs for real.
//!
//! Invariant: it only goes forward, whatever happens to the wall clock.

use std::thread;
use std::time::{Duration, Instant};

use super::clock::Clock;
use crate::fs::Fs as _;
use crate::fs::real::RealFs;
use crate::heartbeat::waiting;

/// The machine's monotonic clock and its random numbers. Each has an origin of its own: times of two of them cannot be
/// compared.
pub struct SystemClock {
    origin: Instant,
    system: RealFs,
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock { origin: Instant::now(), system: RealFs::default() }
    }
}

impl Clock for SystemClock {
    fn steady(&self) -> Duration {
        self.origin.elapsed()
    }

    fn pause(&self, time: Duration) {
        waiting(|| thread::sleep(time));
    }

    fn random(&self) -> [u8; 16] {
        self.system.random()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_forward_and_waits_and_draws() {
        let (clock, time) = (SystemClock::default(), Duration::from_millis(20));
        let before = clock.steady();
        clock.pause(time);
        assert!(clock.steady() - before >= time);
        assert_ne!(clock.random(), clock.random());
    }
}
