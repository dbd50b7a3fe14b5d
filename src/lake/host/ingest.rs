//! From contents that wait to an entry that claims them: pack and uploads, then entry.
//!
//! Invariants: those of [`super`], "bytes before claim", "unclaimed only" and "once", are kept here.

use std::collections::HashSet;

use super::{Content, Decided, Fate, Fates, Host, Ingested, Outcome, Staging};
use crate::lake::bytes::sha256;
use crate::lake::entry::{Body, Claim, Claims, Entry, Place};
use crate::lake::error::Error;
use crate::lake::keys;
use crate::lake::log::Appended;
use crate::lake::pack::Pack;
use crate::lake::progress::{Progress, Step};
use crate::limits::{
    LAKE_CLAIMS_MAX, LAKE_ENTRIES_MAX, LAKE_ENTRY_BYTES_MAX, LAKE_FILE_BYTES_MAX, LAKE_KEY_BYTES_MAX,
    LAKE_PACK_BYTES_MAX,
};
use crate::store::Head;

/// What an entry needs besides its claims, and a claim besides its line and its parts, at most.
const HEADER_BYTES_MAX: usize = 256 + LAKE_KEY_BYTES_MAX;
const CLAIM_BYTES_MAX: usize = 80 + LAKE_KEY_BYTES_MAX;

/// The contents that an entry may still claim.
pub(super) struct Batch<'a> {
    pub(super) members: Vec<Member<'a>>,
    /// The bytes of those that are not uploaded; none if all are.
    pub(super) pack: Option<Pack>,
}

pub(super) struct Member<'a> {
    content: &'a Content,
    generation: u32,
    key: String,
    place: Place,
}

impl Member<'_> {
    fn is_packed(&self) -> bool {
        matches!(self.place, Place::Pack { .. })
    }

    /// Bytes of its parts in an entry, at most.
    fn parts_bytes(&self) -> usize {
        match &self.place {
            Place::Pack { .. } => 0,
            Place::Upload { id, parts } => id.len() + parts.iter().map(|part| 10 + part.etag.len()).sum::<usize>(),
        }
    }
}

/// The number of a line: unique in the lake, below 2^53, and within a shard in the order of the log.
fn line_id(shard: u16, entry: u64, place: usize) -> u64 {
    const { assert!(LAKE_CLAIMS_MAX <= 1 << 11 && LAKE_ENTRIES_MAX <= 1 << 34) }
    u64::from(shard) << 45 | entry << 11 | place as u64
}

impl Host {
    /// Claims what is new in the batch, with one entry in each shard, as much as fits. What does not fit stays new. Returns
    /// the results by shard. After an error, whatever was not claimed is still new, or will turn out to be claimed; or it was
    /// claimed and forgotten, and the next call claims nothing in this shard: [`Host::last_claim_of`] returns the claim.
    pub fn ingest(&mut self, batch: &[Content], staging: &dyn Staging) -> Result<Vec<Ingested>, Error> {
        let Outcome { shards, error, .. } = self.ingest_each(batch, staging);
        error.map_or(Ok(shards), Err)
    }

    /// The same, and what became of each content. An error of one shard's log does not keep the others from being
    /// continued; one of the store or of the journal does.
    pub fn ingest_each(&mut self, batch: &[Content], staging: &dyn Staging) -> Outcome {
        let (mut shards, mut fates, mut first) = (Vec::with_capacity(self.shards.len()), Fates::new(), None);
        for shard in 0..self.shards.len() {
            let contents = batch.iter().filter(|content| self.shard_of(&content.sha256) == shard);
            let contents: Vec<&Content> = contents.collect();
            if contents.is_empty() {
                shards.push(Ingested::Nothing);
                continue;
            }
            match self.ingest_in(shard, &contents, staging, &mut fates) {
                Ok((ingested, error)) => {
                    shards.push(ingested);
                    first = first.or(error);
                }
                Err(error) => {
                    let goes_on = error.is_damage() || matches!(error, Error::Malformed { .. });
                    first.get_or_insert(error);
                    if !goes_on {
                        break;
                    }
                    shards.push(Ingested::Nothing);
                }
            }
        }
        let fate = |content: &Content| {
            let fate = fates.get(&content.sha256).cloned().unwrap_or_else(|| self.fate_in_the_log(content));
            (content.sha256, fate)
        };
        Outcome { shards, fates: batch.iter().map(fate).collect(), error: first }
    }

    fn fate_in_the_log(&self, content: &Content) -> Fate {
        let known = self.shards[self.shard_of(&content.sha256)].contents.get(&content.sha256);
        match known.filter(|known| !known.is_forgotten) {
            Some(known) => Fate::Taken { entry: known.entry },
            None => Fate::Left,
        }
    }

    /// Returns the first error of an upload beside the result.
    fn ingest_in(
        &mut self,
        shard: usize,
        contents: &[&Content],
        staging: &dyn Staging,
        fates: &mut Fates,
    ) -> Result<(Ingested, Option<Error>), Error> {
        self.read_shard(shard)?;
        if self.unsure.were_forgotten(shard, &self.shards[shard]) {
            return Ok((Ingested::Nothing, None));
        }
        if self.shards[shard].unfinished.are_too_many() {
            return Ok((Ingested::Busy, None));
        }
        let error = self.upload(shard, contents, staging, fates)?;
        // The caller makes the notes durable and comes back at once: what is small shares an entry with what is large.
        if error.is_none() && !self.journal.is_durable() {
            return Ok((Ingested::Nothing, None));
        }
        let mut batch = self.gather(shard, contents, staging, fates);
        self.store_pack(&batch)?;
        // The pack takes time, in which others may have appended: a read costs less than a slot that is lost to them.
        if batch.pack.is_some() && self.shards[shard].pace.active(self.clock.steady()) > 1 {
            self.read_shard(shard)?;
            self.take_out(shard, &mut batch);
        }
        while !batch.members.is_empty() {
            let entry = self.entry(shard, &batch, staging);
            if self.append(shard, &entry)? == Appended::Ours {
                let number = entry.header.number;
                for claim in entry.claims() {
                    fates.insert(claim.sha256, Fate::Claimed { entry: number, key: claim.key.clone() });
                }
                self.appended(shard, &entry)?;
                return Ok((Ingested::Claimed(number), error));
            }
            self.read_shard(shard)?;
            self.take_out(shard, &mut batch);
        }
        Ok((Ingested::Nothing, error))
    }

    /// What follows from an entry of this host that is in its slot.
    pub(super) fn appended(&mut self, shard: usize, entry: &Entry) -> Result<(), Error> {
        for claim in entry.claims() {
            self.uploads.open.remove(&(claim.sha256, claim.generation));
        }
        let number = entry.header.number;
        self.fresh.insert((shard, number));
        self.note(entry, &Step::Claimed { entry: number })
    }

    /// Takes out what may not be claimed any more, as far as the log was read.
    pub(super) fn take_out(&self, shard: usize, batch: &mut Batch<'_>) {
        let shard = &self.shards[shard];
        // One that has another generation by now was claimed and forgotten: it needs another pack.
        let is_new =
            |member: &Member<'_>| shard.contents.next_generation(&member.content.sha256) == Some(member.generation);
        batch.members.retain(is_new);
        // So is a pack that is too old by now: its contents stay new.
        if batch.pack.as_ref().is_some_and(|pack| !shard.is_fresh(&pack.key, shard.log.next())) {
            batch.members.retain(|member| !member.is_packed());
        }
    }

    /// Why no entry can ever claim this content.
    pub fn unfit(&self, content: &Content) -> Option<&'static str> {
        if !keys::is_partition(&content.partition) {
            return Some("no data object can lie in its partition");
        }
        (content.size > LAKE_FILE_BYTES_MAX).then_some("it is larger than an object can be")
    }

    /// The contents that are new and fit into one entry, each once, with their bytes or with an upload that is whole.
    pub(super) fn gather<'a>(
        &self,
        shard: usize,
        contents: &[&'a Content],
        staging: &dyn Staging,
        fates: &mut Fates,
    ) -> Batch<'a> {
        let known = &self.shards[shard].contents;
        let (mut members, mut all, mut once): (Vec<Member<'a>>, _, _) = (Vec::new(), Vec::new(), HashSet::new());
        let (mut pack_bytes, mut entry_bytes) = (0, HEADER_BYTES_MAX);
        for content in contents {
            if members.len() == LAKE_CLAIMS_MAX {
                break;
            }
            let next = known.next_generation(&content.sha256).filter(|_| !once.contains(&content.sha256));
            let Some(generation) = next else { continue };
            let (member, bytes) = match self.member(content, generation, pack_bytes, staging) {
                Ok(Some(member)) => member,
                Ok(None) => continue,
                Err(fate) => {
                    fates.insert(content.sha256, fate);
                    continue;
                }
            };
            let line = claim(&member, line_id(u16::MAX >> 8, LAKE_ENTRIES_MAX - 1, 0), staging).line;
            let more = line.len() + member.parts_bytes() + CLAIM_BYTES_MAX;
            if line.is_empty() || HEADER_BYTES_MAX + more > LAKE_ENTRY_BYTES_MAX {
                fates.insert(content.sha256, Fate::Unfit("its manifest line is empty, or too long for an entry"));
                continue;
            }
            let sizes = (pack_bytes + bytes.len() as u64, entry_bytes + more);
            if sizes.0 > LAKE_PACK_BYTES_MAX || sizes.1 > LAKE_ENTRY_BYTES_MAX {
                continue;
            }
            (pack_bytes, entry_bytes) = sizes;
            once.insert(content.sha256);
            if member.is_packed() {
                all.push(bytes);
            }
            members.push(member);
        }
        let pack = members.iter().any(Member::is_packed).then(|| {
            let log = &self.shards[shard].log;
            Pack::of(log.shard(), log.next(), &self.clock.random(), &all)
        });
        Batch { members, pack }
    }

    /// A content with its bytes, or with its upload; None if that is not whole yet.
    fn member<'a>(
        &self,
        content: &'a Content,
        generation: u32,
        offset: u64,
        staging: &dyn Staging,
    ) -> Result<Option<(Member<'a>, Vec<u8>)>, Fate> {
        if let Some(why) = self.unfit(content) {
            return Err(Fate::Unfit(why));
        }
        if self.cut.is_large(content.size) {
            let uploaded = self.uploaded(&content.sha256, generation);
            return Ok(uploaded.map(|(key, place)| (Member { content, generation, key, place }, Vec::new())));
        }
        let bytes = staging.bytes(&content.sha256).unwrap_or_default();
        if bytes.len() as u64 != content.size || sha256(&bytes) != content.sha256 {
            return Err(Fate::Differs);
        }
        let key = keys::data(&content.partition, &content.name, &content.sha256, generation);
        Ok(Some((Member { content, generation, key, place: Place::Pack { pack: 0, offset } }, bytes)))
    }

    /// The rule "bytes before claim": succeeds when the store has confirmed the pack.
    pub(super) fn store_pack(&mut self, batch: &Batch<'_>) -> Result<(), Error> {
        let Some(pack) = &batch.pack else { return Ok(()) };
        let members = batch.members.iter().filter(|member| member.is_packed());
        let contents: Vec<_> = members.map(|member| (member.content.sha256, member.generation)).collect();
        let note = |(content, generation): &(_, _)| Progress {
            content: *content,
            generation: *generation,
            step: Step::Hashed { pack: pack.key.clone() },
        };
        self.journal.note(&contents.iter().map(note).collect::<Vec<_>>())?;
        self.packs.add(pack.key.clone(), contents);
        let store = self.stores.warehouse.as_ref();
        let Err(error) = store.create(&pack.key, &pack.bytes, &pack.sha256) else { return Ok(()) };
        let expected = Head { size: pack.bytes.len() as u64, sha256: Some(pack.sha256) };
        let is_there = store.head(&pack.key).is_ok_and(|found| found == expected);
        if is_there { Ok(()) } else { Err(error.into()) }
    }

    /// The next entry of the shard, with all contents that are left.
    pub(super) fn entry(&mut self, shard: usize, batch: &Batch<'_>, staging: &dyn Staging) -> Entry {
        let header = self.header(shard);
        let members = batch.members.iter().enumerate();
        let id = |place| line_id(header.shard, header.number, place);
        let claims = members.map(|(place, member)| claim(member, id(place), staging)).collect();
        let pack = batch.pack.as_ref().filter(|_| batch.members.iter().any(Member::is_packed));
        let packs = pack.map(|pack| pack.key.clone()).into_iter().collect();
        Entry { header, body: Body::Claims(Claims { packs, claims }) }
    }
}

fn claim(member: &Member<'_>, id: u64, staging: &dyn Staging) -> Claim {
    let Member { content, generation, key, place } = member;
    let mut line = staging.line(content, &Decided { key, generation: *generation, id });
    // A line within a line would be two; JSON has no use for the byte.
    line.retain(|byte| *byte != b'\n');
    let Content { sha256, size, ingested_at, .. } = **content;
    let (key, bytes) = (key.clone(), place.clone());
    Claim { sha256, generation: *generation, size, ingested_at, key, bytes, line }
}
