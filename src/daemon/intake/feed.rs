//! Hands complete files to the workers.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam::channel::{Sender, TrySendError};

use super::Intake;
use super::ahead::Ahead;
use crate::Error;
use crate::daemon::channels::{ToCommit, ToHash};
use crate::fs::Fs as _;
use crate::fs::real::RealFs;
use crate::heartbeat;
use crate::limits::{CHUNK_BYTES_MAX, CHUNK_FILES_MAX, NOTE_BYTES_MIN, ORDERED_ROUND_MAX};
use crate::pipeline::Settled;

impl Intake {
    /// With `--order`, hands over what became complete together: what a scan found, at its end; what was found in between,
    /// within one scan interval (at most 5 s), so that files that arrive together are sorted, too. With `--once`, everything at its end.
    pub(super) fn end_round(&mut self, now: Duration) {
        if !self.settle.holds_back() {
            self.schedule.round_until = None;
            return;
        }
        let is_over = match (self.schedule.window, self.schedule.deadline) {
            (None, _) => {
                let interval = self.schedule.scan_interval.unwrap_or_default().min(ORDERED_ROUND_MAX);
                now >= *self.schedule.round_until.get_or_insert(now + interval)
            }
            (Some(_), Some(deadline)) => now >= deadline && self.settle.next_due().is_none_or(|due| due > deadline),
            (Some(_), None) => false,
        };
        if is_over && !self.scanner.is_scanning() {
            self.settle.release();
            self.schedule.round_until = None;
        }
    }

    /// Hands out complete files until the queue or the limit is reached.
    pub(super) fn feed(
        &mut self,
        to_hash: &ToHash,
        to_commit: &Sender<ToCommit<RealFs>>,
        now: Duration,
    ) -> Result<(), Error> {
        if self.schedule.paused_until.is_some_and(|until| now < until) {
            return Ok(());
        }
        self.schedule.paused_until = None;
        // The file that found no room may be gone; then no file is known to need room.
        if self.outbox.full.as_ref().is_some_and(|full| !self.settle.knows(&full.name)) {
            self.outbox.full = None;
            self.metrics.disk_has_room();
        }
        loop {
            if self.outbox.chunk.is_none() {
                self.outbox.chunk = self.next_chunk(&to_hash.large, to_commit)?;
            }
            let Some(chunk) = self.outbox.chunk.take() else { return Ok(()) };
            let small = chunk.len();
            match to_hash.small.try_send(chunk) {
                Ok(()) => self.shared.under_way.fetch_add(small, Ordering::Relaxed),
                Err(TrySendError::Full(chunk)) => {
                    self.outbox.chunk = Some(chunk);
                    return Ok(());
                }
                Err(TrySendError::Disconnected(_)) => return Err(Error::Thread("hash")),
            };
        }
    }

    /// The next small files, only so many that every worker gets some. Large files in between go to their own queue.
    fn next_chunk(
        &mut self,
        large: &Sender<Settled>,
        to_commit: &Sender<ToCommit<RealFs>>,
    ) -> Result<Option<Vec<Settled>>, Error> {
        let share = self.settle.ready().div_ceil(self.outbox.load.concurrency);
        let files_max = share.clamp(1, CHUNK_FILES_MAX);
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        while chunk.len() < files_max && bytes < CHUNK_BYTES_MAX {
            let Some((settled, is_resumed)) = self.next_file() else { break };
            if tracing::enabled!(tracing::Level::DEBUG)
                && let Some(input) = &self.input
            {
                self.metrics.file_ready(&input.join(&*settled.name), settled.identity.size);
            }
            // The journal already has the DISCOVERED of a resumed file, with its id and time. And whether an orphaned
            // sidecar releases its file depends on its content, so nothing is recorded before it is read.
            if settled.identity.size >= NOTE_BYTES_MIN && !is_resumed && !settled.orphaned {
                let note = ToCommit::Note(settled.clone());
                heartbeat::waiting(|| to_commit.send(note).map_err(|_| Error::Thread("commit")))?;
            }
            if settled.is_small() {
                bytes += settled.identity.size;
                chunk.push(settled);
            } else {
                heartbeat::waiting(|| large.send(settled).map_err(|_| Error::Thread("hash")))?;
            }
        }
        Ok((!chunk.is_empty()).then_some(chunk))
    }

    /// The next file, and whether recovery resumes it.
    fn next_file(&mut self) -> Option<(Settled, bool)> {
        if let Some(settled) = self.outbox.resumed.pop() {
            self.outbox.ahead.iter_mut().for_each(|ahead| ahead.add(&settled));
            return Some((settled, true));
        }
        let has_room = self.outbox.ahead.as_ref().is_none_or(Ahead::has_room);
        if !has_room || self.settle.in_flight() >= self.outbox.load.in_flight_max {
            return None;
        }
        let settled = self.settle.take_ready(self.shared.fs.now())?;
        self.outbox.ahead.iter_mut().for_each(|ahead| ahead.add(&settled));
        Some((settled, false))
    }
}
