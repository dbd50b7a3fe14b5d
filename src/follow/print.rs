//! Lines on standard output.
//!
//! Invariants:
//! - What was read is written before the process waits for more.
//! - A reader that takes nothing does not keep the process from ending.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Instant;

use rustix::io::Errno;

use super::error::Error;
use super::source::Source;
use super::spliced::Spliced;
use crate::limits::{FOLLOW_PRINT_BYTES, FOLLOW_PRINT_STOP_MAX, FOLLOW_STOP_LOOK, FOLLOW_WAIT_MAX};

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
            if text.len() < FOLLOW_PRINT_BYTES { Ok(()) } else { hand_over(out, &mut text) }
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

fn hand_over(out: &mut dyn Write, text: &mut Vec<u8>) -> Result<(), Error> {
    out.write_all(text).map_err(Error::Output)?;
    text.clear();
    Ok(())
}

fn write(out: &mut dyn Write, text: &mut Vec<u8>) -> Result<(), Error> {
    hand_over(out, text)?;
    out.flush().map_err(Error::Output)
}

/// Standard output, which may be a pipe whose reader takes nothing: a thread of its own writes, and waits.
pub struct Output {
    texts: SyncSender<Vec<u8>>,
    written: Receiver<io::Result<()>>,
    /// A text was handed over, and is not known as written.
    is_writing: bool,
    stop: Arc<AtomicBool>,
    /// Since when the process is to stop.
    stopping: Option<Instant>,
}

impl Output {
    /// A writer that gives up a while after `stop` is set.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn new(to: impl AsFd + Send + 'static, stop: Arc<AtomicBool>) -> io::Result<Output> {
        let (texts, handed_over) = sync_channel::<Vec<u8>>(1);
        let (results, written) = sync_channel(1);
        let write = move || handed_over.iter().all(|text| results.send(write_all(&to, &text)).is_ok());
        std::thread::Builder::new().name("output".to_owned()).spawn(write)?;
        Ok(Output { texts, written, is_writing: false, stop, stopping: None })
    }

    /// Waits until what was handed over is written.
    fn settle(&mut self) -> io::Result<()> {
        while self.is_writing {
            match self.written.recv_timeout(FOLLOW_STOP_LOOK) {
                Ok(written) => {
                    self.is_writing = false;
                    return written;
                }
                Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::BrokenPipe.into()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.stop.load(Ordering::Relaxed)
                && self.stopping.get_or_insert_with(Instant::now).elapsed() >= FOLLOW_PRINT_STOP_MAX
            {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.settle()?;
        self.texts.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
        self.is_writing = true;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.settle()
    }
}

fn write_all(to: &impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
