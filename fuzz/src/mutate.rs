//! Interprets a fuzzer's bytes as damage to a journal. Plain damage nearly always stops at the first checksum, so some
//! steps correct the checksums: then the rules after them are reached as well.

use csv_ingestor::journal::format::FrameKind;

use crate::journal::{Builder, Segment, segments};

const BLOCK: usize = 4096;
/// Blocks of a body that is used unchanged, at most.
const BODY_BLOCKS_MAX: usize = 16;
/// Blocks of a segment that is longer than one frame reaches.
const LONG_BLOCKS: usize = 300;
/// Bytes of one step.
const STEP_BYTES: usize = 8;

/// The journal that these bytes describe. Never empty; in the order of the names.
pub fn journal(input: &[u8]) -> Vec<Segment> {
    let Some((mode, rest)) = input.split_first() else { return segments(FrameKind::Data) };
    let mut segments = match mode {
        // Slow, so rare.
        0 => long(rest),
        _ if mode % 6 == 1 => vec![body(rest)],
        _ if mode % 6 == 2 => vec![mended_body(rest)],
        _ if mode % 6 == 3 => mutated(FrameKind::Idle, rest),
        _ if mode % 6 == 4 => mutated(FrameKind::Shutdown, rest),
        _ if mode % 6 == 5 => mutated(FrameKind::Seal, rest),
        _ => mutated(FrameKind::Data, rest),
    };
    segments.sort_by_key(|segment| segment.name);
    segments.dedup_by_key(|segment| segment.name);
    segments
}

/// The bytes after a valid header.
fn body(bytes: &[u8]) -> Segment {
    let blocks = bytes.len().div_ceil(BLOCK).clamp(1, BODY_BLOCKS_MAX);
    // The header before them, and the block of the seal after them.
    let mut segment = Builder::first(1 + blocks + 1).finish();
    let length = bytes.len().min(blocks * BLOCK);
    segment.bytes[BLOCK..BLOCK + length].copy_from_slice(&bytes[..length]);
    segment
}

/// The same, with correct checksums and chain in every block that begins like a frame.
fn mended_body(bytes: &[u8]) -> Segment {
    let mut segment = body(bytes);
    for block in 1..segment.bytes.len() / BLOCK {
        mend_frame(&mut segment, block, true);
    }
    segment
}

/// A journal whose last segment is longer than one frame reaches.
fn long(steps: &[u8]) -> Vec<Segment> {
    let mut builder = Builder::first(LONG_BLOCKS);
    builder.push(FrameKind::Data, &crate::journal::records(1)[..4]);
    let mut segments = vec![builder.finish()];
    apply(&mut segments, steps);
    segments
}

fn mutated(last: FrameKind, steps: &[u8]) -> Vec<Segment> {
    let mut segments = segments(last);
    apply(&mut segments, steps);
    segments
}

fn apply(segments: &mut Vec<Segment>, steps: &[u8]) {
    for step in steps.chunks_exact(STEP_BYTES) {
        let index = usize::from(step[1]) % segments.len();
        let from = usize::from(u16::from_le_bytes([step[2], step[3]]));
        let to = usize::from(u16::from_le_bytes([step[4], step[5]]));
        let (low, high) = (step[6], step[7]);
        let count = segments.len();
        let other = segments[usize::from(high) % count].clone();
        let segment = &mut segments[index];
        let blocks = segment.bytes.len() / BLOCK;
        let block_at = |block: usize| block % blocks.max(1) * BLOCK;
        match step[0] % 13 {
            // A byte in a block's first 256, which contain the fields.
            0 => put(&mut segment.bytes, block_at(from) + usize::from(low), |byte| byte ^ high),
            1 => put(&mut segment.bytes, block_at(from) + usize::from(low), |_| high),
            // A byte anywhere.
            2 => put(&mut segment.bytes, from * 16 + usize::from(low), |byte| byte ^ high),
            // A block of zeros, or of other bytes; a block from elsewhere, also from another segment.
            3 => fill(&mut segment.bytes, block_at(from), 0),
            4 => fill(&mut segment.bytes, block_at(from), low),
            5 => copy(&mut segment.bytes, block_at(from), &other.bytes, to % SEGMENT_BLOCKS * BLOCK),
            // Half a block is lost, as after a torn write.
            6 => tear(&mut segment.bytes, block_at(from) + usize::from(low) % 8 * 512),
            7 => segment.bytes.truncate(from * BLOCK + usize::from(low)),
            8 => segment.bytes.resize((segment.bytes.len() + from % 64 * 64).min(LONG_BLOCKS * BLOCK), low),
            9 if count > 1 => drop(segments.remove(index)),
            10 => segment.name = u64::from(low),
            11 => mend_header(segment, low & 1 != 0),
            12 => mend_frame(segment, from % blocks.max(1), low & 1 != 0),
            _ => {}
        }
    }
}

const SEGMENT_BLOCKS: usize = crate::journal::SEGMENT_BLOCKS;

fn put(bytes: &mut [u8], at: usize, change: impl Fn(u8) -> u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = change(*byte);
    }
}

fn fill(bytes: &mut [u8], at: usize, value: u8) {
    if let Some(block) = bytes.get_mut(at..at + BLOCK) {
        block.fill(value);
    }
}

fn copy(bytes: &mut [u8], at: usize, from: &[u8], from_at: usize) {
    if let (Some(block), Some(source)) = (bytes.get_mut(at..at + BLOCK), from.get(from_at..from_at + BLOCK)) {
        block.copy_from_slice(source);
    }
}

fn tear(bytes: &mut [u8], at: usize) {
    let end = at.next_multiple_of(BLOCK).min(bytes.len());
    if let Some(tail) = bytes.get_mut(at..end) {
        tail.fill(0);
    }
}

/// Corrects the header's checksum, and optionally its capacity and first LSN.
fn mend_header(segment: &mut Segment, capacity: bool) {
    let length = segment.bytes.len() as u64;
    let Some(header) = segment.bytes.get_mut(..BLOCK) else { return };
    if capacity {
        header[56..64].copy_from_slice(&length.to_le_bytes());
        header[48..56].copy_from_slice(&segment.name.to_le_bytes());
    }
    let checksum = crc32c::crc32c(&header[..4092]);
    header[4092..].copy_from_slice(&checksum.to_le_bytes());
}

/// Corrects the checksums of the frame in a block, and optionally its chain: it then follows the nearest frame, or the
/// header, before it.
fn mend_frame(segment: &mut Segment, block: usize, chain: bool) {
    let at = block * BLOCK;
    if block == 0 || segment.bytes.len() < at + BLOCK {
        return;
    }
    let (before, rest) = segment.bytes.split_at_mut(at);
    if !rest.starts_with(b"CSVF") {
        return;
    }
    if chain {
        let frames = (1..block).rev().map(|earlier| &before[earlier * BLOCK..]);
        let previous = frames.into_iter().find(|bytes| bytes.starts_with(b"CSVF"));
        match previous {
            Some(frame) => {
                let word = |at: usize| u64::from_le_bytes(frame[at..at + 8].try_into().unwrap());
                let next_lsn = word(16).wrapping_add(word(8) >> 32);
                rest[16..24].copy_from_slice(&next_lsn.to_le_bytes());
                rest[32..36].copy_from_slice(&frame[60..64]);
            }
            None => {
                rest[16..24].copy_from_slice(&before[48..56]);
                rest[32..36].copy_from_slice(&before[4092..4096]);
            }
        }
    }
    let length = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
    if let Some(payload) = rest.get(64..64_usize.saturating_add(length)) {
        let checksum = crc32c::crc32c(payload);
        rest[36..40].copy_from_slice(&checksum.to_le_bytes());
    }
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&before[20..24]), &rest[..60]);
    rest[60..64].copy_from_slice(&checksum.to_le_bytes());
}
