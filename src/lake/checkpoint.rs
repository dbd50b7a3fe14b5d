//! A checkpoint: what all entries of a shard below a number add up to, so that a host need not read them.
//!
//! Invariants:
//! - A checkpoint is a pure function of the log: two hosts write the same bytes, or one of them has read another log.
//! - There is exactly one encoding: what is decoded encodes to the same bytes, or is refused. Decoding never panics.
//! - As in the journal's snapshots, rows are sorted by SHA-256 and of fixed width, keys stand behind them, and a column of
//!   8-byte prefixes with a checksum of its own stands before them.

use super::bytes::Fields;
use super::claims::{Content, Contents};
use super::format::{CHECKPOINT_MAGIC, LakeId, VERSION};
use super::keys;
use super::log::Log;
use crate::limits::LAKE_CONTENTS_MAX;
use crate::types::Sha256;

/// Bytes of the header.
const HEADER_BYTES: usize = 128;
/// Bytes of a SHA-256 that stand in the column of prefixes.
const PREFIX_BYTES: usize = 8;
/// Bytes of a row: the rest of the SHA-256, the entry, the generation, flags, and where the key ends.
const ROW_BYTES: usize = 32 - PREFIX_BYTES + 8 + 4 + 4 + 8;
const FLAG_FORGOTTEN: u32 = 1;

/// The sum of the entries of a shard below a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// How far the log was read.
    pub log: Log,
    /// What it adds up to.
    pub contents: Contents,
}

/// The bytes of a checkpoint of this log at its place.
pub fn encode(log: &Log, contents: &Contents) -> Vec<u8> {
    let mut rows: Vec<(&Sha256, &Content)> = contents.iter().collect();
    rows.sort_unstable_by_key(|(sha256, _)| *sha256);
    let (mut prefixes, mut table, mut texts) = (Vec::new(), Vec::new(), Vec::new());
    for (sha256, content) in &rows {
        let (prefix, rest) = sha256.0.split_at(PREFIX_BYTES);
        prefixes.extend_from_slice(prefix);
        texts.extend_from_slice(content.key.as_bytes());
        table.extend_from_slice(rest);
        table.extend_from_slice(&content.entry.to_le_bytes());
        table.extend_from_slice(&content.generation.to_le_bytes());
        let flags = if content.is_forgotten { FLAG_FORGOTTEN } else { 0 };
        table.extend_from_slice(&flags.to_le_bytes());
        table.extend_from_slice(&(texts.len() as u64).to_le_bytes());
    }
    let mut out = Vec::with_capacity(HEADER_BYTES + prefixes.len() + table.len() + texts.len());
    out.extend_from_slice(&CHECKPOINT_MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&log.shard().to_le_bytes());
    out.extend_from_slice(&log.lake().0);
    out.extend_from_slice(&log.next().to_le_bytes());
    out.extend_from_slice(&log.chain().0);
    out.extend_from_slice(&contents.floor().to_le_bytes());
    out.extend_from_slice(&(rows.len() as u64).to_le_bytes());
    out.extend_from_slice(&(texts.len() as u64).to_le_bytes());
    for section in [&prefixes, &table, &texts] {
        out.extend_from_slice(&crc32c::crc32c(section).to_le_bytes());
    }
    out.resize(HEADER_BYTES - 4, 0);
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    for section in [prefixes, table, texts] {
        out.extend_from_slice(&section);
    }
    out
}

/// Reads a checkpoint: all of `bytes`. None if it is not one that [`encode`] writes.
pub fn decode(bytes: &[u8]) -> Option<Checkpoint> {
    let (header, rest) = bytes.split_at_checked(HEADER_BYTES)?;
    let (covered, checksum) = header.split_last_chunk::<4>()?;
    let mut fields = Fields(covered);
    let is_known = fields.array() == Some(CHECKPOINT_MAGIC) && fields.u16() == Some(VERSION);
    if !is_known || u32::from_le_bytes(*checksum) != crc32c::crc32c(covered) {
        return None;
    }
    let (shard, lake) = (fields.u16()?, LakeId(fields.array()?));
    let (next, chain, floor) = (fields.u64()?, fields.digest()?, fields.u64()?);
    let (rows, texts) = (usize::try_from(fields.u64()?).ok()?, usize::try_from(fields.u64()?).ok()?);
    let checksums = [fields.u32()?, fields.u32()?, fields.u32()?];
    if rows > LAKE_CONTENTS_MAX || fields.0.iter().any(|byte| *byte != 0) || floor > next {
        return None;
    }
    let mut rest = Fields(rest);
    let sections = [rest.take(rows * PREFIX_BYTES)?, rest.take(rows * ROW_BYTES)?, rest.take(texts)?];
    let are_whole = sections.iter().zip(checksums).all(|(section, checksum)| crc32c::crc32c(section) == checksum);
    if !are_whole || !rest.0.is_empty() {
        return None;
    }
    let contents = Contents::restored(decode_rows(sections, next)?, floor);
    Some(Checkpoint { log: Log::at(lake, shard, next, chain), contents })
}

fn decode_rows([prefixes, table, texts]: [&[u8]; 3], next: u64) -> Option<Vec<(Sha256, Content)>> {
    let (mut rows, mut begin, mut before) = (Vec::new(), 0, None);
    for (prefix, row) in prefixes.chunks_exact(PREFIX_BYTES).zip(table.chunks_exact(ROW_BYTES)) {
        let mut fields = Fields(row);
        let sha256 = Sha256([prefix, fields.take(32 - PREFIX_BYTES)?].concat().try_into().ok()?);
        let (entry, generation, flags) = (fields.u64()?, fields.u32()?, fields.u32()?);
        let end = usize::try_from(fields.u64()?).ok()?;
        let key = String::from_utf8(texts.get(begin..end)?.to_vec()).ok()?;
        let is_ascending = before.replace(sha256).is_none_or(|before| before < sha256);
        let fits = entry < next && flags <= FLAG_FORGOTTEN && keys::is_data_of(&key, &sha256, generation);
        if !is_ascending || !fits {
            return None;
        }
        begin = end;
        rows.push((sha256, Content { entry, generation, is_forgotten: flags == FLAG_FORGOTTEN, key }));
    }
    (begin == texts.len()).then_some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        let row = |byte: u8, generation, is_forgotten| {
            let sha256 = Sha256([byte; 32]);
            let key = keys::data("d", b"a.csv", &sha256, generation);
            (sha256, Content { entry: u64::from(byte), generation, is_forgotten, key })
        };
        let rows = vec![row(9, 0, false), row(1, 2, true), row(4, 1, false)];
        let log = Log::at(LakeId([7; 16]), 3, 12, Sha256([5; 32]));
        Checkpoint { log, contents: Contents::restored(rows, 8) }
    }

    #[test]
    fn checkpoints_go_there_and_back() {
        for checkpoint in [checkpoint(), Checkpoint { contents: Contents::default(), ..checkpoint() }] {
            let bytes = encode(&checkpoint.log, &checkpoint.contents);
            assert_eq!(decode(&bytes), Some(checkpoint));
        }
    }

    #[test]
    fn no_flipped_bit_and_no_missing_byte_goes_unseen() {
        let good = encode(&checkpoint().log, &checkpoint().contents);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bad), None, "bit {bit}");
        }
        for length in 0..good.len() {
            assert_eq!(decode(&good[..length]), None, "{length} bytes");
        }
        assert_eq!(decode(&[good, vec![0]].concat()), None);
    }

    /// Every byte is replaced by some values, with checksums that are right: what is accepted encodes to the same bytes.
    #[test]
    fn whatever_is_accepted_is_canonical() {
        let good = encode(&checkpoint().log, &checkpoint().contents);
        let rows = 3;
        for at in 0..good.len() {
            for value in [0, 1, 2, 0x2f, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                let ends = [HEADER_BYTES, PREFIX_BYTES * rows, ROW_BYTES * rows, usize::MAX];
                let mut begin = HEADER_BYTES;
                for (index, length) in ends[1..].iter().enumerate() {
                    let end = begin.saturating_add(*length).min(bad.len());
                    let checksum = crc32c::crc32c(&bad[begin..end]);
                    bad[92 + index * 4..96 + index * 4].copy_from_slice(&checksum.to_le_bytes());
                    begin = end;
                }
                let checksum = crc32c::crc32c(&bad[..HEADER_BYTES - 4]);
                bad[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
                if let Some(read) = decode(&bad) {
                    assert_eq!(encode(&read.log, &read.contents), bad, "byte {at}");
                }
            }
        }
    }
}
