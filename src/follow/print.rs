//! Lines on standard output.
//!
//! Invariants:
//! - What was read is written before the process waits for more.
//! - A reader that takes nothing does not keep the process from ending.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::error::Error;
use super::source::Source;
use super::spliced::Spliced;
use crate::limits::{FOLLOW_PIPE_BYTES, FOLLOW_PRINT_BYTES, FOLLOW_PRINT_STOP_MAX, FOLLOW_STOP_LOOK, FOLLOW_WAIT_MAX};

/// How lines are printed.
#[derive(Clone, Debug)]
pub struct Printing {
    /// Lines that are read at once, at most.
    pub lines: usize,
    /// End when there is nothing more.
    pub once: bool,
    /// End after the lines that were read.
    pub stop: Arc<AtomicBool>,
}

/// Prints lines, each with its cursor, until there are no more, the process is to stop, or the reader has gone away.
///
/// # Errors
/// Those of [`Source::read`], after the lines before them were written; or writing failed.
pub fn print(source: &mut dyn Source, out: &mut dyn Write, printing: &Printing) -> Result<(), Error> {
    let mut spliced = Spliced::after(source.cursor().clone());
    let mut text = Vec::with_capacity(FOLLOW_PRINT_BYTES);
    let result = loop {
        let read = source.read(printing.lines, &mut |line| {
            spliced.append(&line, &mut text);
            if text.len() < FOLLOW_PRINT_BYTES { Ok(()) } else { write(out, &mut text) }
        });
        match read {
            Err(error @ Error::Output(_)) => break Err(error),
            // What came before it is whole.
            Err(error) => break write(out, &mut text).and(Err(error)),
            Ok(0) => {
                if let Err(error) = write(out, &mut text) {
                    break Err(error);
                }
                if printing.once || printing.stop.load(Ordering::Relaxed) {
                    break Ok(());
                }
                source.wait(FOLLOW_WAIT_MAX);
            }
            Ok(_) if printing.stop.load(Ordering::Relaxed) => break write(out, &mut text),
            Ok(_) => {}
        }
    };
    match result {
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

fn write(out: &mut dyn Write, text: &mut Vec<u8>) -> Result<(), Error> {
    out.write_all(text).and_then(|()| out.flush()).map_err(Error::Output)?;
    text.clear();
    Ok(())
}

/// Standard output, which may be a pipe whose reader takes nothing.
pub struct Output<T: AsFd> {
    to: T,
    stop: Arc<AtomicBool>,
    /// Since when the process is to stop.
    stopping: Option<Instant>,
}

impl<T: AsFd> Output<T> {
    /// A writer that gives up a while after `stop` is set.
    pub fn new(to: T, stop: Arc<AtomicBool>) -> Output<T> {
        Output { to, stop, stopping: None }
    }

    /// Waits until there is room; a broken pipe counts as room, since the write reports it.
    fn wait_for_room(&mut self) -> io::Result<()> {
        loop {
            if is_ready(self.to.as_fd(), PollFlags::OUT, FOLLOW_STOP_LOOK)? {
                return Ok(());
            }
            if self.stop.load(Ordering::Relaxed)
                && self.stopping.get_or_insert_with(Instant::now).elapsed() >= FOLLOW_PRINT_STOP_MAX
            {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
    }
}

impl<T: AsFd> Write for Output<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wait_for_room()?;
        Ok(rustix::io::write(&self.to, &bytes[..bytes.len().min(FOLLOW_PIPE_BYTES)])?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until a descriptor is ready, or has failed, at most so long.
fn is_ready(descriptor: BorrowedFd<'_>, what: PollFlags, at_most: Duration) -> io::Result<bool> {
    let at_most = Timespec { tv_sec: at_most.as_secs() as i64, tv_nsec: i64::from(at_most.subsec_nanos()) };
    match poll(&mut [PollFd::from_borrowed_fd(descriptor, what)], Some(&at_most)) {
        Err(Errno::INTR) => Ok(false),
        ready => Ok(ready? > 0),
    }
}
