//! One frame: its encoding, and the rules that make it valid.
//!
//! A frame is valid if and only if, in this order:
//! 1. it begins with the magic, its version is `FORMAT_MAJOR`, and its reserved bytes are zero;
//! 2. its header checksum, over the segment's salt and the header, is correct;
//! 3. its kind is known, and its length is within the limit and within the segment;
//! 4. its payload checksum is correct;
//! 5. its first LSN and its chain continue the previous frame.
//!
//! Rules 1 to 4 need only the bytes and the salt (`decode`); rule 5 needs the position (`follows`).

use super::format::{
    BLOCK_BYTES, FORMAT_MAJOR, FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FRAME_MAGIC, FrameKind, frame_field as field,
};
use crate::types::{Lsn, UnixMillis};

/// A frame's header, decoded and checked by rules 1 to 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Its kind.
    pub kind: FrameKind,
    /// Bytes of payload.
    pub payload_len: usize,
    /// Records in the payload.
    pub record_count: u32,
    /// The LSN of the first record.
    pub first_lsn: Lsn,
    /// When it was written.
    pub written_at: UnixMillis,
    /// The chain value of the previous frame.
    pub chain: u32,
    /// CRC32C of the payload.
    pub payload_checksum: u32,
    /// This header's own checksum: the next frame's chain.
    pub checksum: u32,
}

impl FrameHeader {
    /// Bytes of header, payload and padding.
    pub fn frame_bytes(&self) -> usize {
        padded(FRAME_HEADER_BYTES + self.payload_len)
    }

    /// Rule 5.
    pub fn follows(&self, place: &Position) -> bool {
        self.first_lsn == place.next_lsn && self.chain == place.chain
    }
}

/// The position that the next frame must continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The LSN of the next record.
    pub next_lsn: Lsn,
    /// The checksum of the previous header.
    pub chain: u32,
}

impl Position {
    /// The position after a frame.
    pub fn after(frame: &FrameHeader) -> Position {
        Position { next_lsn: frame.first_lsn.plus(u64::from(frame.record_count)), chain: frame.checksum }
    }
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// Rule 1.
    #[error("no frame begins here")]
    Magic,
    /// Rule 1, with a correct checksum: a newer version wrote it.
    #[error("frame of format version {0}")]
    Version(u8),
    /// Rule 2.
    #[error("frame header checksum is wrong")]
    HeaderChecksum,
    /// Rule 3.
    #[error("frame header holds impossible values")]
    Header,
    /// Rule 4.
    #[error("frame payload checksum is wrong")]
    PayloadChecksum,
    /// Rule 5.
    #[error("frame does not continue the one before it")]
    Chain,
}

/// Rounded up to whole blocks.
pub fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(BLOCK_BYTES)
}

/// The little-endian u16 at `at`; the caller has checked the length.
pub(in crate::journal) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

/// The little-endian u32 at `at`.
pub(in crate::journal) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

/// The little-endian u64 at `at`.
pub(in crate::journal) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

/// `N` bytes at `at`; zeros if `bytes` is too short, which callers rule out by checking the length first.
pub(in crate::journal) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|slice| slice.try_into().ok()).unwrap_or([0; N])
}

fn header_checksum(salt: u32, header: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), &header[..field::CHECKSUM])
}

/// If these bytes begin with a frame's magic: the header's checksum, and the bytes that it covers after the salt.
pub(in crate::journal) fn checksummed(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let header = bytes.get(..FRAME_HEADER_BYTES)?;
    (header[field::MAGIC..field::MAGIC + 4] == FRAME_MAGIC)
        .then(|| (u32_at(header, field::CHECKSUM), &header[..field::CHECKSUM]))
}

/// Writes the header into the first bytes of `frame`, which already holds the payload after them, and pads the frame.
/// Returns the header's checksum, the chain value for the next frame.
pub fn seal_frame(
    frame: &mut Vec<u8>,
    kind: FrameKind,
    count: u32,
    place: &Position,
    written_at: UnixMillis,
    salt: u32,
) -> u32 {
    let payload_len = frame.len() - FRAME_HEADER_BYTES;
    assert!(!crate::limits::IS_CHECKED || padded(frame.len()) <= FRAME_BYTES_MAX);
    let payload_checksum = crc32c::crc32c(&frame[FRAME_HEADER_BYTES..]);
    let header = &mut frame[..FRAME_HEADER_BYTES];
    header.fill(0);
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(field::MAGIC, &FRAME_MAGIC);
    put(field::VERSION, &[FORMAT_MAJOR as u8]);
    put(field::KIND, &[kind as u8]);
    put(field::PAYLOAD_LEN, &(payload_len as u32).to_le_bytes());
    put(field::RECORD_COUNT, &count.to_le_bytes());
    put(field::FIRST_LSN, &place.next_lsn.0.to_le_bytes());
    put(field::WRITTEN_AT, &written_at.0.to_le_bytes());
    put(field::CHAIN, &place.chain.to_le_bytes());
    put(field::PAYLOAD_CHECKSUM, &payload_checksum.to_le_bytes());
    let checksum = header_checksum(salt, header);
    header[field::CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
    frame.resize(padded(frame.len()), 0);
    checksum
}

/// Decodes a header by rules 1 to 3.
pub fn decode_header(bytes: &[u8], salt: u32) -> Result<FrameHeader, FrameFault> {
    if bytes.len() < FRAME_HEADER_BYTES || bytes[field::MAGIC..field::MAGIC + 4] != FRAME_MAGIC {
        return Err(FrameFault::Magic);
    }
    let header = &bytes[..FRAME_HEADER_BYTES];
    let checksum = u32_at(header, field::CHECKSUM);
    if checksum != header_checksum(salt, header) {
        return Err(FrameFault::HeaderChecksum);
    }
    if u16::from(header[field::VERSION]) != FORMAT_MAJOR {
        return Err(FrameFault::Version(header[field::VERSION]));
    }
    let reserved = [field::RESERVED..field::PAYLOAD_LEN, field::RESERVED_TAIL..field::CHECKSUM];
    let reserved_is_zero = reserved.into_iter().all(|range| header[range].iter().all(|byte| *byte == 0));
    let payload_len = u32_at(header, field::PAYLOAD_LEN) as usize;
    let kind = FrameKind::from_byte(header[field::KIND]).ok_or(FrameFault::Header)?;
    let record_count = u32_at(header, field::RECORD_COUNT);
    let shape_fits = match kind {
        FrameKind::Data => record_count > 0 && payload_len > 0,
        FrameKind::Idle | FrameKind::Shutdown => record_count == 0 && payload_len == 0,
        FrameKind::Seal => record_count == 0 && payload_len == 8,
    };
    if !reserved_is_zero || !shape_fits || payload_len > FRAME_BYTES_MAX - FRAME_HEADER_BYTES {
        return Err(FrameFault::Header);
    }
    Ok(FrameHeader {
        kind,
        payload_len,
        record_count,
        first_lsn: Lsn(u64_at(header, field::FIRST_LSN)),
        written_at: UnixMillis(u64_at(header, field::WRITTEN_AT)),
        chain: u32_at(header, field::CHAIN),
        payload_checksum: u32_at(header, field::PAYLOAD_CHECKSUM),
        checksum,
    })
}

/// Decodes a whole frame by rules 1 to 4: the header, and the payload that follows it in `bytes`.
pub fn decode(bytes: &[u8], salt: u32) -> Result<(FrameHeader, &[u8]), FrameFault> {
    let header = decode_header(bytes, salt)?;
    let payload = bytes.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + header.payload_len).ok_or(FrameFault::Header)?;
    if crc32c::crc32c(payload) != header.payload_checksum {
        return Err(FrameFault::PayloadChecksum);
    }
    Ok((header, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Position = Position { next_lsn: Lsn(7), chain: 0xdead_beef };

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0xff; FRAME_HEADER_BYTES];
        frame.extend_from_slice(payload);
        seal_frame(&mut frame, FrameKind::Data, 2, &PLACE, UnixMillis(5), 99);
        frame
    }

    #[test]
    fn goes_there_and_back() {
        let bytes = frame(b"payload");
        assert_eq!(bytes.len(), BLOCK_BYTES);
        let (header, payload) = decode(&bytes, 99).unwrap();
        assert_eq!(payload, b"payload");
        assert!(header.follows(&PLACE));
        assert_eq!(Position::after(&header), Position { next_lsn: Lsn(9), chain: header.checksum });
    }

    #[test]
    fn another_segments_salt_makes_it_invalid() {
        assert_eq!(decode(&frame(b"payload"), 98), Err(FrameFault::HeaderChecksum));
    }

    #[test]
    fn no_flipped_bit_goes_unseen() {
        let good = frame(b"payload");
        for bit in 0..(FRAME_HEADER_BYTES + b"payload".len()) * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad, 99).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_short_buffer_is_no_frame() {
        let good = frame(b"payload");
        for len in 0..FRAME_HEADER_BYTES + b"payload".len() {
            assert!(decode(&good[..len], 99).is_err(), "{len} bytes");
        }
    }
}
