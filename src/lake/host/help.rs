//! From an entry to its end: data objects, manifest objects, packs.
//!
//! Invariant: an entry that cannot be finished now keeps no other one from being finished.

use super::{Host, State};
use crate::lake::entry::Entry;
use crate::lake::error::Error;
use crate::lake::progress::Step;
use crate::lake::publish::{self, AtHand, Listed};
use crate::lake::roll_forward::Task;
use crate::types::Sha256;

/// What was achieved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Helped {
    /// Entries that are finished now.
    pub finished: u64,
    /// Why others are not.
    pub errors: Vec<Error>,
}

impl Host {
    /// Finishes all entries that are due, but not those whose data objects are being created beside, and deletes this host's
    /// packs that nobody will need. Fails only if the journal does; what the store refuses is reported, and due again later.
    pub fn help(&mut self, at_hand: &dyn AtHand) -> Result<Helped, Error> {
        let mut helped = Helped::default();
        self.hear_beside();
        for shard in 0..self.shards.len() {
            if self.shards[shard].ensure_whole().is_err() {
                continue;
            }
            if let Err(error) = self.shards[shard].write_checkpoint(self.stores.warehouse.as_ref()) {
                helped.errors.push(error);
            }
            for task in self.shards[shard].unfinished.tasks(self.clock.steady()) {
                let (Task::Finish(number) | Task::Look(number)) = task;
                if self.beside.is_under_way((shard, number)) {
                    continue;
                }
                match self.tend(shard, task, at_hand) {
                    Ok(is_finished) => helped.finished += u64::from(is_finished),
                    Err(error @ Error::Journal(_)) => return Err(error),
                    Err(error) => helped.errors.push(error),
                }
            }
        }
        self.delete_packs();
        self.abort_uploads();
        Ok(helped)
    }

    /// Finishes the entry that claims this content now, without patience: true if the content is listed. False if nobody
    /// claims it, as far as this host has read.
    pub fn finish_now(&mut self, content: &Sha256, at_hand: &dyn AtHand) -> Result<bool, Error> {
        let shard = self.shard_of(content);
        self.shards[shard].ensure_whole()?;
        match (self.state(content), self.shards[shard].contents.get(content)) {
            (State::Listed, _) => Ok(true),
            (State::Claimed, Some(known)) => {
                self.await_beside(&mut || {});
                self.tend(shard, Task::Finish(known.entry), at_hand)
            }
            _ => Ok(false),
        }
    }

    /// Attends to an unfinished entry. True if it is finished.
    fn tend(&mut self, shard: usize, task: Task, at_hand: &dyn AtHand) -> Result<bool, Error> {
        let (Task::Finish(number) | Task::Look(number)) = task;
        let Some(entry) = self.shards[shard].unfinished.get(number).cloned() else { return Ok(false) };
        let attended = self.attend(&entry, task, at_hand);
        match &attended {
            Ok(true) => self.shards[shard].unfinished.finished(number),
            Err(Error::Journal(_)) => {}
            Ok(false) | Err(_) => self.postpone(shard, number),
        }
        attended
    }

    fn postpone(&mut self, shard: usize, number: u64) {
        let now = self.clock.steady();
        self.shards[shard].unfinished.postpone(number, now);
    }

    /// True if the entry is finished.
    fn attend(&mut self, entry: &Entry, task: Task, at_hand: &dyn AtHand) -> Result<bool, Error> {
        let is_ours = entry.header.host == self.id;
        let at = (usize::from(entry.header.shard), entry.header.number);
        let (is_fresh, beside) = (self.fresh.remove(&at), self.beside.take(at).transpose()?);
        if !is_fresh && let Some(listed) = publish::look(&self.stores, entry)? {
            self.finish(entry, &listed)?;
            return Ok(true);
        }
        if matches!(task, Task::Look(_)) {
            return Ok(false);
        }
        let published = match &beside {
            Some(published) => published.proof(),
            None => publish::data(&self.stores, entry, at_hand)?,
        };
        if is_ours {
            self.note(entry, &Step::Moved)?;
        }
        let listed = publish::lines(&self.stores, &published)?;
        self.finish(entry, &listed)?;
        Ok(true)
    }

    /// The entry is finished: what is left of it can go.
    fn finish(&mut self, entry: &Entry, listed: &Listed<'_>) -> Result<(), Error> {
        if entry.header.host == self.id {
            self.note(entry, &Step::Manifested)?;
        }
        // A pack that stays costs room and nothing else. One of this host's own is tried again.
        if publish::clean_up(&self.stores, listed).is_ok() {
            entry.packs().iter().for_each(|pack| self.packs.remove(pack));
        }
        self.forget_uploads(entry);
        Ok(())
    }

    /// Deletes this host's packs of which every content is claimed in the generation for which it was packed, unless an
    /// unfinished entry names the pack. Then no entry will ever name it: one that claims this generation again would be
    /// refused, and for another generation there is another pack.
    fn delete_packs(&mut self) {
        let over = self.packs.over(|(content, generation)| {
            let known = self.shards[self.shard_of(content)].contents.get(content);
            known.is_some_and(|known| known.generation >= *generation)
        });
        for pack in over {
            let is_needed = self.shards.iter().flat_map(|shard| shard.unfinished.iter());
            if is_needed.into_iter().any(|entry| entry.packs().contains(&pack)) {
                continue;
            }
            if self.stores.warehouse.delete(&pack).is_ok() {
                self.packs.remove(&pack);
            }
        }
    }
}
