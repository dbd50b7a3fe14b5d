//! The way of log lines to standard error: a bounded buffer, and a separate thread that writes it.
//!
//! Invariants:
//! - A thread that logs never waits for the reader: a line for which there is no room is dropped and counted.
//! - Lines are written in the order in which they were handed over, each whole, unless a write fails in the middle.
//! - Dropped lines are reported in one line, as soon as a line can be written again.
//! - Standard error keeps its flags: other processes share it, so it is not made non-blocking.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::line::dropped_line;
use crate::limits::{
    LOG_BUFFER_BYTES_MAX, LOG_FINISH_STALL_MAX, LOG_FINISH_TIME_MAX, LOG_URGENT_BYTES, LOG_WRITE_BYTES_MAX,
};

/// Lines that were dropped since the start, including those that could not be written.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// The process has one standard error.
static SINK: Sink = Sink { state: Mutex::new(Queue::new()), filled: Condvar::new(), written: Condvar::new() };

static WRITER: Once = Once::new();

struct Sink {
    state: Mutex<Queue>,
    /// Something was handed over.
    filled: Condvar,
    /// Something was written.
    written: Condvar,
}

/// The lines that wait to be written.
struct Queue {
    lines: Vec<u8>,
    /// Dropped, and not reported yet.
    untold: u64,
    /// The writer has taken lines and is writing them.
    is_writing: bool,
    /// Counts pieces that were written or given up.
    pieces: u64,
    has_writer: bool,
}

impl Queue {
    const fn new() -> Queue {
        Queue { lines: Vec::new(), untold: 0, is_writing: false, pieces: 0, has_writer: false }
    }

    /// Takes as many whole lines as there is room for.
    fn take(&mut self, lines: &[u8], bytes_max: usize) {
        let room = bytes_max.saturating_sub(self.lines.len());
        let fitting = if lines.len() <= room { lines.len() } else { end_of_lines(&lines[..room]) };
        self.lines.extend_from_slice(&lines[..fitting]);
        self.drop_lines(count(&lines[fitting..]));
    }

    fn drop_lines(&mut self, lines: u64) {
        self.untold += lines;
        DROPPED.fetch_add(lines, Ordering::Relaxed);
    }
}

/// The end of the last whole line.
fn end_of_lines(lines: &[u8]) -> usize {
    lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1)
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Lines that were dropped since the start, because the log was not read or could not be written.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Hands over whole lines. Urgent ones (warnings and errors) have additional room.
pub(super) fn hand_over(lines: &[u8], is_urgent: bool) {
    WRITER.call_once(start);
    let mut queue = lock();
    if !queue.has_writer {
        drop(queue);
        // Without the thread, write directly, as well as possible.
        let mut writer = Writer::default();
        writer.write(lines);
        return;
    }
    queue.take(lines, LOG_BUFFER_BYTES_MAX + if is_urgent { LOG_URGENT_BYTES } else { 0 });
    drop(queue);
    SINK.filled.notify_one();
}

/// Waits until everything is written, as long as there is progress, but not for ever. Lines that are left are lost.
pub fn finish() {
    let until = Instant::now() + LOG_FINISH_TIME_MAX;
    let mut queue = lock();
    let (mut pieces, mut stalled_at) = (queue.pieces, Instant::now() + LOG_FINISH_STALL_MAX);
    while queue.has_writer && (queue.is_writing || !queue.lines.is_empty()) {
        let now = Instant::now();
        if queue.pieces != pieces {
            (pieces, stalled_at) = (queue.pieces, now + LOG_FINISH_STALL_MAX);
        }
        let left = until.min(stalled_at).saturating_duration_since(now);
        if left == Duration::ZERO {
            return;
        }
        queue = SINK.written.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
    }
}

fn lock() -> MutexGuard<'static, Queue> {
    // The queue contains whole lines whenever its lock is free, even after a panic.
    SINK.state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start() {
    let started = std::thread::Builder::new().name("log".to_owned()).spawn(write_all);
    lock().has_writer = started.is_ok();
}

/// The writer's thread. It ends with the process.
fn write_all() {
    let (mut writer, mut lines) = (Writer::default(), Vec::new());
    // Dropped, and not reported yet.
    let mut dropped = 0;
    loop {
        let mut queue = lock();
        queue.is_writing = false;
        SINK.written.notify_all();
        while queue.lines.is_empty() {
            queue = SINK.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut queue.lines, &mut lines);
        queue.is_writing = true;
        // The lines counted here came after those in `lines`; those counted in `dropped` came before.
        let untold = std::mem::take(&mut queue.untold);
        drop(queue);
        writer.tell(&mut dropped);
        dropped += untold + writer.write(&lines);
        lines.clear();
        writer.tell(&mut dropped);
    }
}

/// Writes to standard error.
#[derive(Default)]
struct Writer {
    /// The last write ended within a line.
    is_torn: bool,
}

impl Writer {
    /// Reports how many lines were dropped, if that can be written.
    fn tell(&mut self, dropped: &mut u64) {
        if *dropped > 0 {
            let line = dropped_line(*dropped);
            if self.write_piece(&line) == line.len() {
                *dropped = 0;
            }
        }
    }

    /// Writes whole lines, piece by piece; returns how many were lost.
    fn write(&mut self, mut lines: &[u8]) -> u64 {
        let mut lost = 0;
        while !lines.is_empty() {
            let piece = &lines[..piece_bytes(lines)];
            lines = &lines[piece.len()..];
            let written = self.write_piece(piece);
            let lost_here = count(&piece[written..]);
            DROPPED.fetch_add(lost_here, Ordering::Relaxed);
            lost += lost_here;
            lock().pieces += 1;
            SINK.written.notify_all();
        }
        lost
    }

    /// Returns how many bytes of the piece were written.
    fn write_piece(&mut self, piece: &[u8]) -> usize {
        // Half a line was written: the next one must not look like its rest.
        if self.is_torn && put(b"\n") == 0 {
            return 0;
        }
        let mut written = 0;
        while written < piece.len() {
            match put(&piece[written..]) {
                0 => break,
                more => written += more,
            }
        }
        self.is_torn = written > 0 && piece[written - 1] != b'\n';
        written
    }
}

/// As many whole lines as one write takes; at least one, however long it is.
fn piece_bytes(lines: &[u8]) -> usize {
    if lines.len() <= LOG_WRITE_BYTES_MAX {
        return lines.len();
    }
    match end_of_lines(&lines[..LOG_WRITE_BYTES_MAX]) {
        0 => lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |newline| newline + 1),
        end => end,
    }
}

/// One write, repeated if interrupted; 0 if it failed. It does not use [`io::Stderr`], whose lock would be held while
/// there is no reader: the message of a panic needs that lock as well.
fn put(bytes: &[u8]) -> usize {
    loop {
        match rustix::io::write(io::stderr(), bytes) {
            Ok(written) => return written,
            Err(Errno::INTR) => {}
            // Another process that shares it has made it non-blocking.
            Err(Errno::AGAIN) => {
                let stderr = io::stderr();
                let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
                if poll(&mut fds, None).is_err_and(|errno| errno != Errno::INTR) {
                    return 0;
                }
            }
            Err(_) => return 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_dropped_by_whole_lines_and_counted() {
        let mut queue = Queue::new();
        queue.take(b"one\ntwo\n", 12);
        queue.take(b"3\nfour\nfive\n", 12);
        assert_eq!((&queue.lines[..], queue.untold), (&b"one\ntwo\n3\n"[..], 2));
        queue.take(b"six\n", 12);
        assert_eq!((queue.lines.len(), queue.untold), (10, 3));
        queue.take(b"seven\n", 16);
        assert_eq!(queue.lines, b"one\ntwo\n3\nseven\n", "urgent ones have room of their own");
    }

    #[test]
    fn a_piece_ends_with_a_line() {
        let long = [vec![b'x'; 2 * LOG_WRITE_BYTES_MAX], b"\nnext\n".to_vec()].concat();
        assert_eq!(piece_bytes(&long), long.len() - 5);
        let many = b"line\n".repeat(LOG_WRITE_BYTES_MAX);
        let piece = piece_bytes(&many);
        assert!(piece > LOG_WRITE_BYTES_MAX / 2 && piece <= LOG_WRITE_BYTES_MAX && piece.is_multiple_of(5));
        assert_eq!(piece_bytes(b"a\nb\n"), 4);
    }
}
