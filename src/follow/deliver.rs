//! Delivers batch after batch to a command or a webhook, each at least once.
//!
//! Invariants:
//! - A batch is acknowledged, durably, only after it was delivered, or after all its lines are durable as dead letters.
//! - Batches are delivered in order; the next one only after the one before was acknowledged.
//! - A crash delivers again what was not acknowledged. Nothing is left out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::batch::{Batch, Batcher, Most};
use super::consumer::Consumer;
use super::dead_letter::DeadLetters;
use super::error::Error;
use super::events;
use super::position::{Held, Positions};
use super::source::Source;
use crate::fs::Fs;
use crate::limits::{
    FOLLOW_ERROR_BYTES_MAX, FOLLOW_RETRY_AFTER_MAX, FOLLOW_RETRY_MAX, FOLLOW_RETRY_MIN, FOLLOW_STOP_LOOK,
    FOLLOW_WAIT_MAX,
};
use crate::log::shortened;

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The consumer has taken the batch.
    Taken,
    /// It has not, or nobody knows.
    Failed {
        /// Why; it holds no secret.
        why: String,
        /// The consumer asks for this pause.
        pause: Option<Duration>,
    },
}

impl Outcome {
    /// A failure after which the usual pause follows.
    pub fn failed(why: impl Into<String>) -> Outcome {
        Outcome::Failed { why: why.into(), pause: None }
    }
}

/// What batches are delivered to.
pub trait Sink {
    /// What it is, for the log: `exec` or `webhook`.
    fn kind(&self) -> &'static str;

    /// Tries to deliver a batch. `attempt` counts from 1. It ends within a limited time, and early when the process is to
    /// stop.
    fn deliver(&mut self, batch: &Batch, attempt: u32) -> Outcome;
}

/// How batches are delivered.
pub struct Rules {
    /// The consumer.
    pub consumer: Consumer,
    /// What a batch may have.
    pub most: Most,
    /// Attempts after which a batch becomes dead letters; None: it is tried for ever.
    pub max_attempts: Option<u32>,
    /// End when there is nothing more.
    pub once: bool,
    /// End, with the batch under way not acknowledged unless its attempt succeeds.
    pub stop: Arc<AtomicBool>,
}

/// Where it is noted how far a consumer has come.
pub struct Places<'a, F: Fs> {
    /// The file system, which has the randomness for pauses.
    pub fs: &'a F,
    /// The positions.
    pub positions: &'a Positions<F>,
    /// The lock to store the consumer's position.
    pub held: &'a Held<F>,
    /// Where lines go that could not be delivered.
    pub dead_letters: Option<&'a DeadLetters<F>>,
}

/// What an attempt that failed leads to.
enum Next {
    Again(Duration),
    DeadLetters,
    Stop,
}

impl Rules {
    fn is_to_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits for so long; false if the process is to stop.
    fn wait(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        while !self.is_to_stop() {
            let rest = until.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return true;
            }
            std::thread::sleep(rest.min(FOLLOW_STOP_LOOK));
        }
        false
    }

    fn next(&self, attempt: u32, pause: Option<Duration>, random: u64) -> Next {
        if self.is_to_stop() {
            Next::Stop
        } else if self.max_attempts.is_some_and(|most| attempt >= most) {
            Next::DeadLetters
        } else {
            Next::Again(pause_after(attempt, pause, random))
        }
    }
}

/// The pause after an attempt that failed: it doubles from attempt to attempt, and is drawn from its upper half, so that
/// many senders do not come back together. It is never shorter than what the consumer asks for.
fn pause_after(attempt: u32, asked: Option<Duration>, random: u64) -> Duration {
    let doubled = FOLLOW_RETRY_MIN.saturating_mul(1 << attempt.saturating_sub(1).min(20)).min(FOLLOW_RETRY_MAX);
    let half = doubled / 2;
    let drawn = half + half.mul_f64((random % 1000) as f64 / 1000.0);
    drawn.max(asked.unwrap_or_default().min(FOLLOW_RETRY_AFTER_MAX))
}

/// Delivers what the source has until there is nothing more, or the process is to stop.
///
/// # Errors
/// Those of [`Source::read`], after what came before was delivered; or a position or dead letters cannot be stored.
pub fn run<F: Fs>(
    source: &mut dyn Source,
    sink: &mut dyn Sink,
    rules: &Rules,
    places: &Places<'_, F>,
) -> Result<(), Error> {
    let mut batcher = Batcher::new(rules.most);
    while !rules.is_to_stop() {
        let batch = batcher.next(source)?;
        if batch.is_empty() {
            if rules.once {
                break;
            }
            source.wait(FOLLOW_WAIT_MAX);
            continue;
        }
        if !deliver(&batch, sink, rules, places)? {
            break;
        }
        places.positions.acknowledge(places.held, &rules.consumer, batch.cursor())?;
    }
    Ok(())
}

/// Delivers a batch, or makes dead letters of it. False if the process is to stop, and the batch is not delivered.
fn deliver<F: Fs>(batch: &Batch, sink: &mut dyn Sink, rules: &Rules, places: &Places<'_, F>) -> Result<bool, Error> {
    let mut attempt = 1;
    loop {
        let began = Instant::now();
        let (why, pause) = match sink.deliver(batch, attempt) {
            Outcome::Taken => {
                events::delivered(&rules.consumer, sink.kind(), batch, attempt, began.elapsed());
                return Ok(true);
            }
            Outcome::Failed { why, pause } => (shortened(&why, FOLLOW_ERROR_BYTES_MAX), pause),
        };
        let mut random = [0; 8];
        random.copy_from_slice(&places.fs.random()[..8]);
        match rules.next(attempt, pause, u64::from_le_bytes(random)) {
            Next::Again(pause) => {
                events::failed(&rules.consumer, sink.kind(), batch, (attempt, Some(pause)), &why);
                if !rules.wait(pause) {
                    return Ok(false);
                }
                attempt = attempt.saturating_add(1);
            }
            Next::Stop => {
                events::failed(&rules.consumer, sink.kind(), batch, (attempt, None), &why);
                return Ok(false);
            }
            Next::DeadLetters => {
                events::failed(&rules.consumer, sink.kind(), batch, (attempt, None), &why);
                if let Some(letters) = places.dead_letters {
                    letters.append(&rules.consumer, batch, attempt, &why)?;
                    events::dead_letters(&rules.consumer, batch, attempt, letters.path());
                }
                return Ok(true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_are_as_long_as_the_consumer_asks() {
        let seconds = |attempt, random| pause_after(attempt, None, random).as_secs_f64();
        for (attempt, longest) in [(1, 1.0), (2, 2.0), (3, 4.0), (8, 128.0), (9, 256.0), (10, 300.0), (u32::MAX, 300.0)]
        {
            assert!((seconds(attempt, 0) - longest / 2.0).abs() < 0.01, "{attempt}");
            assert!((longest * 0.99..=longest).contains(&seconds(attempt, 999)), "{attempt}");
        }
        let asked = |seconds| pause_after(1, Some(Duration::from_secs(seconds)), 0);
        assert_eq!(asked(7), Duration::from_secs(7));
        assert_eq!(asked(u64::MAX), FOLLOW_RETRY_AFTER_MAX, "nobody can stop a delivery for ever");
        assert_eq!(asked(0), FOLLOW_RETRY_MIN / 2, "and nobody can have it hurry");
    }
}
