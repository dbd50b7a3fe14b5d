//! From contents that wait to an entry that claims them: pack, then entry.
//!
//! Invariants: those of [`super`], "bytes before claim", "unclaimed only" and "once", are kept here.

use std::collections::HashSet;

use super::{Content, Decided, Host, Ingested, Staging};
use crate::lake::bytes::sha256;
use crate::lake::entry::{Body, Claim, Claims, Entry, Place};
use crate::lake::error::Error;
use crate::lake::keys;
use crate::lake::log::Appended;
use crate::lake::pack::Pack;
use crate::lake::progress::{Progress, Step};
use crate::limits::{LAKE_CLAIMS_MAX, LAKE_ENTRIES_MAX, LAKE_ENTRY_BYTES_MAX, LAKE_KEY_BYTES_MAX, LAKE_PACK_BYTES_MAX};
use crate::store::Head;

/// What an entry needs besides its claims, and a claim of a packed content besides its line, at most.
const HEADER_BYTES_MAX: usize = 256 + LAKE_KEY_BYTES_MAX;
const CLAIM_BYTES_MAX: usize = 80 + LAKE_KEY_BYTES_MAX;

/// The contents of one pack that an entry may still claim.
struct Batch<'a> {
    members: Vec<Member<'a>>,
    pack: Pack,
}

struct Member<'a> {
    content: &'a Content,
    generation: u32,
    offset: u64,
}

/// The number of a line: unique in the lake, below 2^53, and within a shard in the order of the log.
fn line_id(shard: u16, entry: u64, place: usize) -> u64 {
    const { assert!(LAKE_CLAIMS_MAX <= 1 << 11 && LAKE_ENTRIES_MAX <= 1 << 34) }
    u64::from(shard) << 45 | entry << 11 | place as u64
}

impl Host {
    /// Claims what is new in the batch, with one entry in each shard, as much as fits. What does not fit stays new. After
    /// an error, whatever was not claimed is still new, or will turn out to be claimed. Returns the results by shard.
    pub fn ingest(&mut self, batch: &[Content], staging: &dyn Staging) -> Result<Vec<Ingested>, Error> {
        let mut results = Vec::with_capacity(self.shards.len());
        for shard in 0..self.shards.len() {
            let contents = batch.iter().filter(|content| self.shard_of(&content.sha256) == shard);
            let contents: Vec<&Content> = contents.collect();
            results.push(match contents.is_empty() {
                true => Ingested::Nothing,
                false => self.ingest_in(shard, &contents, staging)?,
            });
        }
        Ok(results)
    }

    fn ingest_in(&mut self, shard: usize, contents: &[&Content], staging: &dyn Staging) -> Result<Ingested, Error> {
        self.read_shard(shard)?;
        if self.shards[shard].unfinished.are_too_many() {
            return Ok(Ingested::Busy);
        }
        let mut batch = self.gather(shard, contents, staging);
        if batch.members.is_empty() {
            return Ok(Ingested::Nothing);
        }
        self.store_pack(&batch)?;
        while !batch.members.is_empty() {
            let entry = self.entry(shard, &batch, staging);
            if self.append(shard, &entry)? == Appended::Ours {
                let number = entry.header.number;
                self.fresh.insert((shard, number));
                self.note(&entry, &Step::Claimed { entry: number })?;
                return Ok(Ingested::Claimed(number));
            }
            self.read_shard(shard)?;
            let known = &self.shards[shard].contents;
            // One that has another generation by now was claimed and forgotten: it needs another pack.
            batch.members.retain(|member| known.next_generation(&member.content.sha256) == Some(member.generation));
        }
        Ok(Ingested::Nothing)
    }

    /// The contents that are new and fit into one entry, each once, with their bytes.
    fn gather<'a>(&self, shard: usize, contents: &[&'a Content], staging: &dyn Staging) -> Batch<'a> {
        let known = &self.shards[shard].contents;
        let (mut members, mut all, mut once): (Vec<Member<'a>>, _, _) = (Vec::new(), Vec::new(), HashSet::new());
        let (mut pack_bytes, mut entry_bytes) = (0, HEADER_BYTES_MAX);
        for content in contents {
            let Some(generation) = known.next_generation(&content.sha256) else { continue };
            if members.len() == LAKE_CLAIMS_MAX {
                break;
            }
            if once.contains(&content.sha256) || !keys::is_partition(&content.partition) {
                continue;
            }
            let bytes = staging.bytes(&content.sha256).filter(|bytes| sha256(bytes) == content.sha256);
            let Some(bytes) = bytes else { continue };
            let member = Member { content, generation, offset: pack_bytes };
            let line = claim(&member, line_id(u16::MAX >> 8, LAKE_ENTRIES_MAX - 1, 0), staging).line;
            let sizes = (pack_bytes + bytes.len() as u64, entry_bytes + line.len() + CLAIM_BYTES_MAX);
            if sizes.0 > LAKE_PACK_BYTES_MAX || sizes.1 > LAKE_ENTRY_BYTES_MAX || line.is_empty() {
                continue;
            }
            (pack_bytes, entry_bytes) = sizes;
            once.insert(content.sha256);
            members.push(member);
            all.push(bytes);
        }
        Batch { members, pack: Pack::of(&self.clock.random(), &all) }
    }

    /// The rule "bytes before claim": succeeds when the store has confirmed the pack.
    fn store_pack(&mut self, batch: &Batch<'_>) -> Result<(), Error> {
        let pack = &batch.pack;
        let contents: Vec<_> = batch.members.iter().map(|member| (member.content.sha256, member.generation)).collect();
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
    fn entry(&mut self, shard: usize, batch: &Batch<'_>, staging: &dyn Staging) -> Entry {
        let header = self.header(shard);
        let members = batch.members.iter().enumerate();
        let id = |place| line_id(header.shard, header.number, place);
        let claims = members.map(|(place, member)| claim(member, id(place), staging));
        let (packs, claims) = (vec![batch.pack.key.clone()], claims.collect());
        Entry { header, body: Body::Claims(Claims { packs, claims }) }
    }
}

fn claim(member: &Member<'_>, id: u64, staging: &dyn Staging) -> Claim {
    let Member { content, generation, offset } = *member;
    let key = keys::data(&content.partition, &content.name, &content.sha256, generation);
    let mut line = staging.line(content, &Decided { key: &key, generation, id });
    // A line within a line would be two; JSON has no use for the byte.
    line.retain(|byte| *byte != b'\n');
    let Content { sha256, size, ingested_at, .. } = *content;
    Claim { sha256, generation, size, ingested_at, key, bytes: Place::Pack { pack: 0, offset }, line }
}
