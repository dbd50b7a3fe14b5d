//! What wakes a follower when there are new lines.
//!
//! Invariant: nothing depends on it. A change that is not reported, as on a network file system, is found at the next look.

use std::path::Path;
use std::time::Duration;

use inotify::{Inotify, WatchMask};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Bytes for one read of events.
const EVENT_BUFFER_BYTES: usize = 16 << 10;

/// Waits for changes.
pub trait Wake {
    /// From now on, changes of files in this directory end a wait. It need not exist.
    fn watch(&mut self, dir: &Path);

    /// Waits for a change since the last wait, or a signal, at most so long.
    fn wait(&mut self, at_most: Duration);
}

/// By inotify(7), if the kernel has it and its limits are not reached.
#[derive(Default)]
pub struct Notified {
    inotify: Option<Inotify>,
}

impl Wake for Notified {
    fn watch(&mut self, dir: &Path) {
        if self.inotify.is_none() {
            self.inotify = Inotify::init().ok();
        }
        if let Some(inotify) = &self.inotify {
            // Without a watch, changes are found at the next look.
            let _ = inotify.watches().add(dir, WatchMask::MODIFY | WatchMask::CREATE | WatchMask::ONLYDIR);
        }
    }

    fn wait(&mut self, at_most: Duration) {
        let Some(inotify) = &mut self.inotify else { return std::thread::sleep(at_most) };
        let timeout = Timespec { tv_sec: at_most.as_secs().min(3600) as i64, tv_nsec: at_most.subsec_nanos().into() };
        let mut changes = [PollFd::new(&*inotify, PollFlags::IN)];
        if poll(&mut changes, Some(&timeout)).is_ok_and(|ready| ready > 0) {
            let mut buffer = [0; EVENT_BUFFER_BYTES];
            // What they say does not matter: the index says what is new.
            let _ = inotify.read_events(&mut buffer);
        }
    }
}
