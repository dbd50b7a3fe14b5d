//! An entry of the log: what one host decided, once and for all.
//!
//! Invariants:
//! - There is exactly one encoding of an entry: what is decoded encodes to the same bytes, or is refused.
//! - Decoding never panics, and reserves no more memory than the bytes can fill.
//! - A decoded entry is well formed by itself: within the limits, no content twice, every key a data object's, every
//!   content within its pack. Whether it continues its log, only the log can say.

use std::collections::HashSet;

use super::bytes::{Fields, put_blob, put_count, put_text};
use super::format::{ENTRY_MAGIC, LakeId, VERSION};
use super::keys;
use crate::limits::{
    LAKE_CLAIMS_MAX, LAKE_ENTRIES_MAX, LAKE_ENTRY_BYTES_MAX, LAKE_ENTRY_PACKS_MAX, LAKE_ETAG_BYTES_MAX,
    LAKE_FORGET_MAX, LAKE_KEY_BYTES_MAX, LAKE_PACK_BYTES_MAX, LAKE_PARTS_MAX, LAKE_UPLOAD_ID_BYTES_MAX,
};
use crate::store::Part;
use crate::types::{Sha256, UnixMillis};

const KIND_CLAIMS: u8 = 1;
const KIND_FORGET: u8 = 2;
const KIND_UPGRADE: u8 = 3;

const IN_PACK: u8 = 1;
const IN_UPLOAD: u8 = 2;

/// Fixed fields of a claim, without its texts: for counts only.
const CLAIM_BYTES_MIN: usize = 32 + 4 + 8 + 8 + 2 + 1 + 4;

/// Where an entry stands, and who wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its lake.
    pub lake: LakeId,
    /// Its shard.
    pub shard: u16,
    /// Its number, from 0.
    pub number: u64,
    /// The SHA-256 of the entry before it; zeros for entry 0.
    pub predecessor: Sha256,
    /// All entries below this number are finished.
    pub floor: u64,
    /// The host that wrote it. For people only.
    pub host: [u8; 16],
    /// That host's count of its own entries in this life. For people only.
    pub serial: u64,
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub header: Header,
    /// What it says.
    pub body: Body,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Contents that are from now on ingested.
    Claims(Claims),
    /// Contents that may come again.
    Forget(Forget),
    /// Entries from here on may have this format; an older program stops.
    Upgrade(u16),
}

/// Contents and where their bytes are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Keys of packs, each used by a claim, in the order of their first use.
    pub packs: Vec<String>,
    /// The contents, in the order of their lines.
    pub claims: Vec<Claim>,
}

/// One content: what it is, where it goes, and its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The SHA-256 of its bytes.
    pub sha256: Sha256,
    /// How often it was forgotten before.
    pub generation: u32,
    /// Bytes.
    pub size: u64,
    /// When it was ingested: the hour of its line.
    pub ingested_at: UnixMillis,
    /// The data object's key, below the warehouse.
    pub key: String,
    /// Where its bytes are until it is published.
    pub bytes: Place,
    /// The manifest line, without its end.
    pub line: Vec<u8>,
}

/// Where a content's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a pack.
    Pack {
        /// Index in [`Claims::packs`].
        pack: u8,
        /// Where they begin.
        offset: u64,
    },
    /// In an upload that only has to be completed.
    Upload {
        /// Its id.
        id: String,
        /// Its parts, from number 1 on.
        parts: Vec<Part>,
    },
}

/// What an entry forgets; contents of unfinished entries are never forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forget {
    /// Every content of an entry below this number; 0 for none. At most the entry's own floor.
    pub below: u64,
    /// Further contents, ascending.
    pub contents: Vec<Sha256>,
}

/// Why bytes are no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A later version wrote it.
    Newer(u16),
    /// No program of this version writes this.
    Malformed(&'static str),
}

impl Entry {
    /// The contents that it claims.
    pub fn claims(&self) -> &[Claim] {
        match &self.body {
            Body::Claims(body) => &body.claims,
            Body::Forget(_) | Body::Upgrade(_) => &[],
        }
    }

    /// The packs that it needs.
    pub fn packs(&self) -> &[String] {
        match &self.body {
            Body::Claims(body) => &body.packs,
            Body::Forget(_) | Body::Upgrade(_) => &[],
        }
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let Header { lake, shard, number, predecessor, floor, host, serial } = &self.header;
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(&ENTRY_MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&shard.to_le_bytes());
        out.extend_from_slice(&lake.0);
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&predecessor.0);
        out.extend_from_slice(&floor.to_le_bytes());
        out.extend_from_slice(host);
        out.extend_from_slice(&serial.to_le_bytes());
        match &self.body {
            Body::Claims(body) => body.encode(&mut out),
            Body::Forget(body) => body.encode(&mut out),
            Body::Upgrade(version) => {
                out.push(KIND_UPGRADE);
                out.extend_from_slice(&version.to_le_bytes());
            }
        }
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out
    }

    /// Reads an entry: all of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Entry, Fault> {
        let malformed = |why| Err(Fault::Malformed(why));
        if bytes.len() > LAKE_ENTRY_BYTES_MAX {
            return malformed("the entry is too long");
        }
        let Some((covered, checksum)) = bytes.split_last_chunk::<4>() else {
            return malformed("the entry is too short");
        };
        if u32::from_le_bytes(*checksum) != crc32c::crc32c(covered) {
            return malformed("the entry's checksum is wrong");
        }
        let mut fields = Fields(covered);
        if fields.array() != Some(ENTRY_MAGIC) {
            return malformed("this is no entry");
        }
        match fields.u16() {
            Some(VERSION) => {}
            Some(version) if version > VERSION => return Err(Fault::Newer(version)),
            _ => return malformed("the entry's version is unknown"),
        }
        let entry = decode_rest(&mut fields).filter(|_| fields.0.is_empty());
        let Some(entry) = entry else { return malformed("the entry's fields are not those of its kind") };
        entry.check().map_err(Fault::Malformed)?;
        if entry.encode() != bytes {
            return malformed("the entry is not encoded as it should be");
        }
        Ok(entry)
    }

    /// What must hold within one entry.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.header.number >= LAKE_ENTRIES_MAX {
            return Err("the entry's number is too large");
        }
        if self.header.floor > self.header.number {
            return Err("the entry's floor is above itself");
        }
        match &self.body {
            Body::Claims(body) => body.check(&self.header),
            Body::Forget(body) if body.below > self.header.floor => Err("the entry forgets what is not finished"),
            Body::Forget(body) if !body.contents.is_sorted_by(|one, next| one < next) => {
                Err("the contents that the entry forgets are not in order")
            }
            Body::Forget(body) if body.below == 0 && body.contents.is_empty() => Err("the entry says nothing"),
            Body::Forget(_) => Ok(()),
            Body::Upgrade(version) if *version <= VERSION => Err("the entry upgrades to an old format"),
            Body::Upgrade(_) => Ok(()),
        }
    }
}

fn decode_rest(fields: &mut Fields<'_>) -> Option<Entry> {
    let shard = fields.u16()?;
    let header = Header {
        lake: LakeId(fields.array()?),
        shard,
        number: fields.u64()?,
        predecessor: fields.digest()?,
        floor: fields.u64()?,
        host: fields.array()?,
        serial: fields.u64()?,
    };
    let body = match fields.u8()? {
        KIND_CLAIMS => Body::Claims(Claims::decode(fields)?),
        KIND_FORGET => Body::Forget(Forget::decode(fields)?),
        KIND_UPGRADE => Body::Upgrade(fields.u16()?),
        _ => return None,
    };
    Some(Entry { header, body })
}

impl Claims {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(KIND_CLAIMS);
        put_count(out, self.packs.len());
        self.packs.iter().for_each(|key| put_text(out, key));
        put_count(out, self.claims.len());
        self.claims.iter().for_each(|claim| claim.encode(out));
    }

    fn decode(fields: &mut Fields<'_>) -> Option<Claims> {
        let packs = fields.count(LAKE_ENTRY_PACKS_MAX, 2)?;
        let packs = (0..packs).map(|_| fields.text(LAKE_KEY_BYTES_MAX)).collect::<Option<_>>()?;
        let claims = fields.count(LAKE_CLAIMS_MAX, CLAIM_BYTES_MIN)?;
        let claims = (0..claims).map(|_| Claim::decode(fields)).collect::<Option<_>>()?;
        Some(Claims { packs, claims })
    }

    fn check(&self, header: &Header) -> Result<(), &'static str> {
        if self.claims.is_empty() {
            return Err("the entry says nothing");
        }
        let fits = |(shard, since): (u16, u64)| shard == header.shard && since <= header.number;
        if !self.packs.iter().all(|key| keys::pack_place(key).is_some_and(fits)) {
            return Err("the entry names a pack by a key that no pack of its has");
        }
        let (mut contents, mut data, mut packs_used) = (HashSet::new(), HashSet::new(), 0);
        for claim in &self.claims {
            // The rule "once".
            if !contents.insert(claim.sha256) {
                return Err("the entry claims a content twice");
            }
            let is_own = keys::is_data_of(&claim.key, &claim.sha256, claim.generation);
            if !is_own || !data.insert(&claim.key) {
                return Err("the entry names a data object by a key that it cannot have");
            }
            if claim.line.is_empty() || claim.line.contains(&b'\n') {
                return Err("a manifest line of the entry is not one line");
            }
            packs_used = claim.check_place(packs_used)?;
        }
        let all_used = packs_used == self.packs.len() && self.packs.iter().collect::<HashSet<_>>().len() == packs_used;
        all_used.then_some(()).ok_or("the entry names packs that it does not use")
    }
}

impl Claim {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.sha256.0);
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&self.ingested_at.0.to_le_bytes());
        put_text(out, &self.key);
        match &self.bytes {
            Place::Pack { pack, offset } => {
                out.extend_from_slice(&[IN_PACK, *pack]);
                out.extend_from_slice(&offset.to_le_bytes());
            }
            Place::Upload { id, parts } => {
                out.push(IN_UPLOAD);
                put_text(out, id);
                put_count(out, parts.len());
                for part in parts {
                    out.extend_from_slice(&part.size.to_le_bytes());
                    put_text(out, &part.etag);
                }
            }
        }
        put_blob(out, &self.line);
    }

    fn decode(fields: &mut Fields<'_>) -> Option<Claim> {
        Some(Claim {
            sha256: fields.digest()?,
            generation: fields.u32()?,
            size: fields.u64()?,
            ingested_at: UnixMillis(fields.u64()?),
            key: fields.text(LAKE_KEY_BYTES_MAX)?,
            bytes: match fields.u8()? {
                IN_PACK => Place::Pack { pack: fields.u8()?, offset: fields.u64()? },
                IN_UPLOAD => decode_upload(fields)?,
                _ => return None,
            },
            line: fields.blob(LAKE_ENTRY_BYTES_MAX)?,
        })
    }

    /// Checks where the bytes are; `packs_used` packs were used before. Returns how many were used with this one.
    fn check_place(&self, packs_used: usize) -> Result<usize, &'static str> {
        match &self.bytes {
            Place::Pack { pack, offset } => {
                let end = offset.checked_add(self.size).filter(|end| *end <= LAKE_PACK_BYTES_MAX);
                let fits = end.is_some() && usize::from(*pack) <= packs_used;
                let packs_used = packs_used.max(usize::from(*pack) + 1);
                fits.then_some(packs_used).ok_or("the entry names bytes that no pack holds")
            }
            Place::Upload { id, parts } => {
                let sizes = parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(part.size));
                let fits = sizes == Some(self.size) && !parts.is_empty() && !id.is_empty();
                fits.then_some(packs_used).ok_or("the entry names an upload that does not hold the content")
            }
        }
    }
}

fn decode_upload(fields: &mut Fields<'_>) -> Option<Place> {
    let id = fields.text(LAKE_UPLOAD_ID_BYTES_MAX)?;
    let count = fields.count(LAKE_PARTS_MAX, 10)?;
    let part = |number| {
        let (size, etag) = (fields.u64()?, fields.text(LAKE_ETAG_BYTES_MAX)?);
        Some(Part { number, size, etag })
    };
    let parts = (1..=u16::try_from(count).ok()?).map(part).collect::<Option<_>>()?;
    Some(Place::Upload { id, parts })
}

impl Forget {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(KIND_FORGET);
        out.extend_from_slice(&self.below.to_le_bytes());
        put_count(out, self.contents.len());
        self.contents.iter().for_each(|content| out.extend_from_slice(&content.0));
    }

    fn decode(fields: &mut Fields<'_>) -> Option<Forget> {
        let below = fields.u64()?;
        let count = fields.count(LAKE_FORGET_MAX, 32)?;
        let contents = (0..count).map(|_| fields.digest()).collect::<Option<_>>()?;
        Some(Forget { below, contents })
    }
}

#[cfg(test)]
mod tests;
