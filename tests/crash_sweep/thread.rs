//! Injects the fault into one thread of a daemon.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::case::Fault;
use super::disk::paths_below;
use super::process::Running;
use super::trial::{STEP, Trial, read};

/// How often a condition is checked.
const NAP: Duration = Duration::from_millis(5);
/// The journal's last frame may still be unwritten for this long.
const LAST_FRAME: Duration = Duration::from_millis(100);

/// Id of the process's thread with this name.
fn find_thread(process: u32, name: &str) -> Option<String> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let mut tasks = tasks.filter_map(Result::ok).map(|task| task.path());
    let task = tasks.find(|task| read(&task.join("comm")).trim_end() == name)?;
    Some(task.file_name()?.to_str()?.to_owned())
}

fn is_traced(process: u32, thread: &str) -> bool {
    let status = read(Path::new(&format!("/proc/{process}/task/{thread}/status")));
    !status.is_empty() && !status.contains("TracerPid:\t0\n")
}

impl Trial<'_> {
    /// Starts a daemon that waits for files, attaches strace to one of its threads, and only then sends the files. So N
    /// counts from the first file on and in that thread only: in a run that is traced as a whole, the main thread's calls
    /// come first, and hide those of the other threads.
    pub fn run_on_thread(&mut self) {
        let incoming = self.site.dir.join("incoming");
        std::fs::create_dir(&incoming).unwrap();
        self.site.write_files(&incoming);
        let words = [&["run".to_owned()], &self.site.options[..]].concat();
        let daemon = self.start(self.program(&words));
        let name = self.case.combination.place.name();
        let mut thread = None;
        self.until(&daemon, "the thread to start", |_| {
            thread = find_thread(daemon.id(), name);
            thread.is_some()
        });
        let Some(thread) = thread else {
            self.wrong("the daemon did not start");
            return self.finish(daemon);
        };
        let mut strace = Command::new("strace");
        strace.args(["-qq", "-o"]).arg(self.trace()).args(self.strace_options()).args(["-p", &thread]);
        let tracer = Running::start(strace, &self.site.dir.join("strace.out"), &self.site.dir.join("strace"));
        let is_attached = self.until(&tracer, "strace to attach", |_| is_traced(daemon.id(), &thread));
        self.must(is_attached || !read(&self.trace()).is_empty(), "strace could not attach");
        self.site.move_files(&incoming);
        self.until(&daemon, "the daemon to be quiet", |trial| trial.is_quiet());
        if self.case.fault == Fault::Enospc && !daemon.ends_within(LAST_FRAME) {
            self.until(&daemon, "the daemon to be quiet", |trial| trial.is_quiet());
        }
        if !self.logged("failed") {
            daemon.terminate();
        }
        self.finish(daemon);
        tracer.wait(STEP);
    }

    /// Waits until the condition holds; false if the process ends first, or it takes too long.
    fn until(&mut self, process: &Running, what: &str, mut condition: impl FnMut(&Self) -> bool) -> bool {
        let deadline = Instant::now() + STEP;
        while !condition(self) {
            if process.ends_within(NAP) {
                return false;
            }
            if Instant::now() >= deadline {
                self.wrong(format!("waited in vain for {what}"));
                return false;
            }
        }
        true
    }

    /// True if the daemon has dealt with every file. After a fault that lasts, it is enough that a file was tried and
    /// failed, since it is tried again and again.
    fn is_quiet(&self) -> bool {
        if self.case.fault == Fault::EioFromOn && self.logged("file_failed") {
            return true;
        }
        if paths_below(&self.site.staging).len() != self.site.left || !self.logged("duplicate_skipped") {
            return false;
        }
        // SIGTERM would cut short a daemon that still waits for room.
        !self.logged("disk_full") || self.logged("disk_has_room")
    }
}
