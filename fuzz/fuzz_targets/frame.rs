//! The decoders on arbitrary bytes: they must not panic, and any input that they accept has exactly one encoding.

#![no_main]

use csv_ingestor::journal::format::{
    BLOCK_BYTES, FRAME_BYTES_MAX, FRAME_HEADER_BYTES, INCOMPATIBLE_FEATURES, segment_field,
};
use csv_ingestor::journal::frame::{self, Position};
use csv_ingestor::journal::record::Record;
use csv_ingestor::journal::segment::SegmentHeader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((mode, bytes)) = input.split_first() else { return };
    let salt = 0x5eed_f00d;
    record(bytes);
    match mode % 4 {
        0 => frame(bytes, salt),
        1 => frame(&mended_frame(bytes, salt), salt),
        2 => segment(bytes),
        _ => segment(&mended_segment(bytes)),
    }
});

fn record(bytes: &[u8]) {
    if let Some((record, length)) = Record::decode(bytes) {
        let mut encoded = Vec::new();
        record.encode(&mut encoded);
        assert_eq!(encoded, bytes[..length]);
    }
}

fn frame(bytes: &[u8], salt: u32) {
    let Ok((header, payload)) = frame::decode(bytes, salt) else { return };
    let mut encoded = vec![0; FRAME_HEADER_BYTES];
    encoded.extend_from_slice(payload);
    let place = Position { next_lsn: header.first_lsn, chain: header.chain };
    let chain = frame::seal_frame(&mut encoded, header.kind, header.record_count, &place, header.written_at, salt);
    assert_eq!(chain, header.checksum);
    assert_eq!(encoded[..FRAME_HEADER_BYTES + payload.len()], bytes[..FRAME_HEADER_BYTES + payload.len()]);
    assert_eq!(encoded.len(), header.frame_bytes());
    assert!(encoded.len() <= FRAME_BYTES_MAX && encoded.len().is_multiple_of(BLOCK_BYTES));
    assert!(header.follows(&place));
}

fn segment(bytes: &[u8]) {
    let Ok((header, checksum)) = SegmentHeader::decode(bytes) else { return };
    // Fields that an older reader ignores are not kept: all others are.
    let mut expected = bytes[..BLOCK_BYTES].to_vec();
    expected[segment_field::MINOR..segment_field::INCOMPATIBLE].fill(0);
    // A reader accepts a segment without the bit; a writer sets it.
    expected[segment_field::INCOMPATIBLE..segment_field::SALT].copy_from_slice(&INCOMPATIBLE_FEATURES.to_le_bytes());
    expected[segment_field::RESERVED..segment_field::CHECKSUM].fill(0);
    if header.predecessor.is_none() {
        expected[segment_field::PREDECESSOR..segment_field::RESERVED].fill(0);
    }
    let canonical = crc32c::crc32c(&expected[..segment_field::CHECKSUM]);
    expected[segment_field::CHECKSUM..].copy_from_slice(&canonical.to_le_bytes());
    let (encoded, chain) = header.encode();
    assert_eq!(encoded[..], expected[..]);
    assert_eq!(SegmentHeader::decode(&encoded), Ok((header, chain)));
    assert_eq!(bytes[segment_field::CHECKSUM..BLOCK_BYTES], checksum.to_le_bytes());
}

/// The bytes as a frame with correct checksums.
fn mended_frame(bytes: &[u8], salt: u32) -> Vec<u8> {
    let mut frame = bytes.to_vec();
    frame.resize(frame.len().max(FRAME_HEADER_BYTES), 0);
    frame[..4].copy_from_slice(b"CSVF");
    let length = u32::from_le_bytes([frame[8], frame[9], frame[10], frame[11]]) as usize;
    if let Some(payload) = frame.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES.saturating_add(length)) {
        let checksum = crc32c::crc32c(payload);
        frame[36..40].copy_from_slice(&checksum.to_le_bytes());
    }
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), &frame[..60]);
    frame[60..64].copy_from_slice(&checksum.to_le_bytes());
    frame
}

/// The bytes as a header block with a correct checksum.
fn mended_segment(bytes: &[u8]) -> Vec<u8> {
    let mut block = bytes.to_vec();
    block.resize(BLOCK_BYTES, 0);
    block[..8].copy_from_slice(b"CSVI-WAL");
    let checksum = crc32c::crc32c(&block[..segment_field::CHECKSUM]);
    block[segment_field::CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
    block
}
