//! Puts hashed files back into the order in which they were handed out, for the committer.
//!
//! Invariants:
//! - With an order, a file is passed on only after every file with a smaller ticket was. One that was refused passes like
//!   the others, so it holds nothing up. Tickets begin with 1, and each comes back once.
//! - After a file that was interrupted because the process ends, all are interrupted: the next start finds them again, in
//!   order.
//! - It holds no more files than may be in flight.

use std::collections::{BTreeMap, VecDeque};

use super::{HashResult, Refusal, Refused, Settled};
use crate::fs::Fs;

/// The files that wait for their turn.
pub struct InOrder<F: Fs> {
    /// The ticket whose turn it is; None if there is no order.
    next: Option<u64>,
    waiting: BTreeMap<u64, HashResult<F>>,
    /// What may pass.
    passing: VecDeque<HashResult<F>>,
    /// Files whose hashing takes long, until they are hashed.
    noted: BTreeMap<u64, Settled>,
    is_interrupted: bool,
}

impl<F: Fs> InOrder<F> {
    /// Without an order, files pass as they come.
    pub fn new(keeps_order: bool) -> InOrder<F> {
        InOrder {
            next: keeps_order.then_some(1),
            waiting: BTreeMap::new(),
            passing: VecDeque::new(),
            noted: BTreeMap::new(),
            is_interrupted: false,
        }
    }

    /// Takes in files as the workers return them.
    pub fn take(&mut self, files: Vec<HashResult<F>>) {
        let Some(mut next) = self.next else { return self.passing.extend(files) };
        self.waiting.extend(files.into_iter().map(|file| (settled(&file).ticket, file)));
        while let Some(file) = self.waiting.remove(&next) {
            self.noted.remove(&next);
            let file = if self.is_interrupted { interrupted(file) } else { file };
            self.is_interrupted |= file.as_ref().is_err_and(|it| matches!(it.refusal, Refusal::Interrupted));
            self.passing.push_back(file);
            next += 1;
        }
        self.next = Some(next);
    }

    /// The next file, if it is its turn.
    pub fn pass(&mut self) -> Option<HashResult<F>> {
        self.passing.pop_front()
    }

    /// True if [`InOrder::pass`] has a file.
    pub fn has_next(&self) -> bool {
        !self.passing.is_empty()
    }

    /// A file is being hashed, and that takes long. Returns it, if it may be noted in the journal at once.
    pub fn note(&mut self, settled: Settled) -> Option<Settled> {
        match self.next {
            None => return Some(settled),
            Some(next) if next <= settled.ticket => drop(self.noted.insert(settled.ticket, settled)),
            Some(_) => {}
        }
        None
    }

    /// The noted file for which all others wait, once: when everything before it is committed, its ingest id is in order.
    pub fn take_noted(&mut self) -> Option<Settled> {
        if !self.passing.is_empty() {
            return None;
        }
        self.noted.remove(&self.next?)
    }

    /// No more files come: those that still wait are interrupted.
    pub fn end(&mut self) {
        self.is_interrupted = true;
        self.passing.extend(std::mem::take(&mut self.waiting).into_values().map(interrupted));
    }
}

/// The file that was hashed or refused.
pub fn settled<F: Fs>(file: &HashResult<F>) -> &Settled {
    file.as_ref().map_or_else(|refused| &refused.settled, |hashed| &hashed.settled)
}

fn interrupted<F: Fs>(file: HashResult<F>) -> HashResult<F> {
    let settled = file.map_or_else(|refused| refused.settled, |hashed| hashed.settled);
    Err(Box::new(Refused { settled, refusal: Refusal::Interrupted }))
}
