//! Processes that never outlive the sweep: each has its own process group, which is killed with it.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};

/// Ids of the running processes. A signal from CI or a person ends these first, then the sweep.
static RUNNING: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn running() -> MutexGuard<'static, BTreeSet<i32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kill_group(id: i32) {
    if let Some(pid) = Pid::from_raw(id) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// Kills all running processes. None can be started as long as the guard lives.
pub fn end_all() -> impl Drop {
    let running = running();
    running.iter().for_each(|id| kill_group(*id));
    running
}

pub struct Running {
    child: Child,
    /// It has ended, and its id may belong to another process by now.
    is_over: bool,
    /// Becomes readable when the process ends.
    end: OwnedFd,
}

impl Running {
    /// Its standard error is appended to `log`.
    pub fn start(mut command: Command, out: &Path, log: &Path) -> Running {
        let log = File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(File::create(out).unwrap()).stderr(log).process_group(0);
        let mut running = running();
        let child = command.spawn().unwrap();
        running.insert(child.id().cast_signed());
        let end = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        Running { child, is_over: false, end }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it ends, at most this long; true if it has ended.
    pub fn ends_within(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        loop {
            let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).unwrap();
            match poll(&mut [PollFd::new(&self.end, PollFlags::IN)], Some(&left)) {
                Ok(ready) => return ready > 0,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("poll: {error}"),
            }
        }
    }

    pub fn terminate(&self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
    }

    /// Exit code as in a shell. If the process does not end in time, kills it and everything that it has started, and
    /// returns `None`.
    pub fn wait(mut self, time: Duration) -> Option<i32> {
        let in_time = self.ends_within(time);
        let status = self.end();
        in_time.then(|| status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()))
    }

    /// Also kills the processes that it has started: a program outlives the strace that has followed it. Its id is not
    /// reused before `wait`.
    fn end(&mut self) -> ExitStatus {
        let id = self.child.id().cast_signed();
        let mut running = running();
        kill_group(id);
        let status = self.child.wait().unwrap();
        running.remove(&id);
        self.is_over = true;
        status
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_over {
            self.end();
        }
    }
}
