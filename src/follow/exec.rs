//! Delivers batches to a command: lines on its standard input, and its exit code is the answer.
//!
//! Invariants:
//! - No shell: the command's words are passed on as they are.
//! - Exit code 0 takes the batch; nothing else does. A command may exit before it has read all lines.
//! - The command has a process group of its own. When it takes too long, or this process is to stop, the group gets SIGTERM,
//!   and SIGKILL as soon as the command has ended, or after a while if it does not.
//! - The command is reaped only after its group got that SIGKILL: until then no other group can have its number.
//! - The next attempt begins after the command of the one before has ended.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid};

use super::batch::Batch;
use super::consumer::Consumer;
use super::deliver::{Outcome, Sink};
use crate::limits::{FOLLOW_KILL_AFTER, FOLLOW_STOP_LOOK};

/// How often a command is looked at where the kernel does not report its end (before Linux 5.3).
const LOOK_WITHOUT_PIDFD: Duration = Duration::from_millis(5);

/// See the module.
pub struct Exec {
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// The consumer, which the command's environment names.
    pub consumer: Consumer,
    /// How long it may take for a batch.
    pub timeout: Duration,
    /// The process is to stop.
    pub stop: Arc<AtomicBool>,
}

impl Sink for Exec {
    fn kind(&self) -> &'static str {
        "exec"
    }

    fn deliver(&mut self, batch: &Batch, attempt: u32) -> Outcome {
        match self.start(batch, attempt) {
            Ok(mut child) => match self.run(&mut child, &batch.spliced()) {
                Ok(outcome) => outcome,
                Err(error) => Outcome::failed(format!("the command cannot be watched: {error}")),
            },
            Err(error) => Outcome::failed(format!("the command cannot be started: {error}")),
        }
    }
}

/// Why a command was told to end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    TooLong,
    Stop,
}

impl Exec {
    fn start(&self, batch: &Batch, attempt: u32) -> io::Result<Child> {
        let (program, arguments) = self.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        Command::new(program)
            .args(arguments)
            .env("CSV_INGESTOR_CONSUMER", self.consumer.text())
            .env("CSV_INGESTOR_CURSOR", batch.cursor().to_string())
            .env("CSV_INGESTOR_ATTEMPT", attempt.to_string())
            .env("CSV_INGESTOR_LINES", batch.len().to_string())
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
    }

    fn run(&self, child: &mut Child, input: &[u8]) -> io::Result<Outcome> {
        let group = Pid::from_child(child);
        let watched = self.watch(child, group, input);
        let told = *watched.as_ref().unwrap_or(&Some(Told::TooLong));
        if told.is_some() {
            // It has ended, or nothing is known of it: what is left of its group has had its time.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let status = child.wait()?;
        watched?;
        Ok(match told {
            _ if status.success() => Outcome::Taken,
            Some(Told::TooLong) => {
                Outcome::failed(format!("the command took longer than {}", humantime::format_duration(self.timeout)))
            }
            Some(Told::Stop) => Outcome::failed(format!("this process is to stop; the command {}", ended(status))),
            None => Outcome::failed(format!("the command {}", ended(status))),
        })
    }

    /// Feeds the command until it has ended, and tells it to end if it has to. It is not reaped.
    fn watch(&self, child: &mut Child, group: Pid, input: &[u8]) -> io::Result<Option<Told>> {
        let mut feeding = Feeding::new(child.stdin.take(), input)?;
        let descriptor = pidfd_open(group, PidfdFlags::empty()).ok();
        let timeout = Instant::now() + self.timeout;
        let (mut told, mut kill_at) = (None, None);
        while !has_ended(group)? {
            let now = Instant::now();
            if told.is_none() {
                let too_long = (now >= timeout).then_some(Told::TooLong);
                told = if self.stop.load(Ordering::Relaxed) { Some(Told::Stop) } else { too_long };
                if told.is_some() {
                    let _ = kill_process_group(group, Signal::TERM);
                    kill_at = Some(now + FOLLOW_KILL_AFTER);
                }
            }
            if kill_at.is_some_and(|kill_at| now >= kill_at) {
                let _ = kill_process_group(group, Signal::KILL);
                // It cannot be refused; but a process that waits for a disk gets it later.
                kill_at = None;
            }
            let next = kill_at.or(told.is_none().then_some(timeout));
            let rest = next.map_or(FOLLOW_STOP_LOOK, |next| next.saturating_duration_since(now));
            feeding.wait(descriptor.as_ref(), rest.min(FOLLOW_STOP_LOOK))?;
        }
        Ok(told)
    }
}

/// True if the child has ended; it stays as a zombie.
fn has_ended(child: Pid) -> io::Result<bool> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    match waitid(WaitId::Pid(child), options) {
        Err(rustix::io::Errno::INTR) => Ok(false),
        ended => Ok(ended?.is_some()),
    }
}

/// How a command ended, for people.
fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// What is left to be written to a command.
struct Feeding<'a> {
    /// None when everything is written, or the command does not read any more.
    stdin: Option<ChildStdin>,
    rest: &'a [u8],
}

impl<'a> Feeding<'a> {
    fn new(stdin: Option<ChildStdin>, rest: &'a [u8]) -> io::Result<Feeding<'a>> {
        if let Some(stdin) = &stdin {
            rustix::io::ioctl_fionbio(stdin, true)?;
        }
        Ok(Feeding { stdin, rest })
    }

    /// Writes what the pipe has room for. A command that does not read is no failure: its exit code decides.
    fn write(&mut self) -> io::Result<()> {
        let Some(stdin) = &mut self.stdin else { return Ok(()) };
        while !self.rest.is_empty() {
            match stdin.write(self.rest) {
                Ok(written) => self.rest = &self.rest[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
                Err(error) => return Err(error),
            }
        }
        self.stdin = None;
        Ok(())
    }

    /// Writes, and waits until the command has ended or reads on, at most so long.
    fn wait(&mut self, command: Option<&OwnedFd>, at_most: Duration) -> io::Result<()> {
        self.write()?;
        let mut descriptors = Vec::with_capacity(2);
        descriptors.extend(self.stdin.as_ref().map(|stdin| PollFd::new(stdin, PollFlags::OUT)));
        descriptors.extend(command.map(|command| PollFd::from_borrowed_fd(command.as_fd(), PollFlags::IN)));
        let at_most = if command.is_some() { at_most } else { at_most.min(LOOK_WITHOUT_PIDFD) };
        let at_most = Timespec { tv_sec: at_most.as_secs() as i64, tv_nsec: i64::from(at_most.subsec_nanos()) };
        match poll(&mut descriptors, Some(&at_most)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
