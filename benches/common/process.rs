//! Processes that the benchmark starts: none outlives it, and each reports the time and memory that it used.

// Only wait4(2) reports a process's memory, and it has no safe wrapper.
#![allow(unsafe_code)]

use std::io;
use std::mem::{MaybeUninit, forget};
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStderr, ChildStdout, Command};
use std::sync::Mutex;
use std::time::Instant;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};

use crate::interrupt::on_interrupt;

/// Processes that have not been waited for, so their numbers are not reused.
static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// When a signal ends the benchmark, kills all running processes, and starts no more.
pub fn kill_on_interrupt() {
    on_interrupt(|| {
        let running = RUNNING.lock().unwrap();
        for pid in running.iter() {
            let _ = kill_process_group(*pid, Signal::KILL);
            let _ = waitid(WaitId::Pid(*pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        }
        // A thread that wants to start another process waits for the end.
        forget(running);
    });
}

/// A running process in its own process group; killed when dropped.
pub struct Process {
    pid: Pid,
    begun: Instant,
    has_ended: bool,
    pub stdout: Option<ChildStdout>,
    pub stderr: Option<ChildStderr>,
}

/// The result of a process.
pub struct Ended {
    /// From its start to its end.
    pub seconds: f64,
    /// Exit code, if it exited by itself.
    pub code: Option<i32>,
    /// The largest amount of memory that it had; at least that of the benchmark when it started the process, since a
    /// process begins as its copy.
    pub resident_bytes: u64,
    /// Processor time, of all its threads.
    pub cpu_seconds: f64,
}

impl Process {
    pub fn start(command: &mut Command) -> io::Result<Process> {
        let mut running = RUNNING.lock().unwrap();
        let begun = Instant::now();
        let mut child = command.process_group(0).spawn()?;
        let pid = Pid::from_child(&child);
        running.push(pid);
        Ok(Process { pid, begun, has_ended: false, stdout: child.stdout.take(), stderr: child.stderr.take() })
    }

    pub fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// When it was started.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ended {
        self.await_end()
    }

    /// Sends SIGTERM, and waits for its end.
    pub fn stop(self) -> Ended {
        kill_process(self.pid, Signal::TERM).unwrap();
        self.wait()
    }

    fn await_end(&mut self) -> Ended {
        // Its number stays in use until no other thread can refer to it.
        waitid(WaitId::Pid(self.pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
        let seconds = self.begun.elapsed().as_secs_f64();
        let mut running = RUNNING.lock().unwrap();
        running.retain(|pid| *pid != self.pid);
        let mut status = 0;
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: both pointers are to our own memory that is large enough, and an all-zero `rusage` is valid.
        let (result, usage) = unsafe {
            let result = libc::wait4(self.id(), &raw mut status, 0, usage.as_mut_ptr());
            (result, usage.assume_init())
        };
        self.has_ended = true;
        assert_eq!(result, self.id(), "a process that has ended can be waited for");
        let code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
        let time = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
        let cpu_seconds = time(usage.ru_utime) + time(usage.ru_stime);
        Ended { seconds, code, cpu_seconds, resident_bytes: usage.ru_maxrss as u64 * 1024 }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let _ = kill_process_group(self.pid, Signal::KILL);
        self.await_end();
    }
}
