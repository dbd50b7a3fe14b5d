//! An upstream that sends files with sidecars.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::files;
use crate::place::Place;

const SIDECAR: &str = ".ok";

/// Which of the two is dropped into staging first.
#[derive(Clone, Copy)]
pub enum Order {
    DataFirst,
    SidecarFirst,
}

/// A file that is written, but not dropped into staging yet.
pub struct Ready {
    path: PathBuf,
    target: PathBuf,
}

fn sidecar(path: &Path) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(SIDECAR);
    PathBuf::from(path)
}

impl Ready {
    /// Writes the file with this number, and an empty sidecar.
    pub fn write(place: &Place, name: &str, number: u64, bytes: u64) -> Ready {
        let ready = Ready { path: place.incoming().join(name), target: place.staging.join(name) };
        files::write(&ready.path, number, bytes);
        fs::File::create(sidecar(&ready.path)).unwrap();
        ready
    }

    /// Renames both into staging.
    pub fn drop_in(&self, order: Order) {
        let data = || fs::rename(&self.path, &self.target).unwrap();
        let sidecar = || fs::rename(sidecar(&self.path), sidecar(&self.target)).unwrap();
        match order {
            Order::DataFirst => {
                data();
                sidecar();
            }
            Order::SidecarFirst => {
                sidecar();
                data();
            }
        }
    }
}

/// Instants at which something is due, whether or not the previous one was late.
pub struct Schedule(Instant);

impl Schedule {
    pub fn new() -> Schedule {
        Schedule(Instant::now())
    }

    /// Sleeps until the next instant, `pause` after the last one.
    pub fn next(&mut self, pause: Duration) {
        self.0 += pause;
        thread::sleep(self.0.saturating_duration_since(Instant::now()));
    }
}
