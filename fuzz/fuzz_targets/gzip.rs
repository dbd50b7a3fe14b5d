//! Compressed files: what is packed is unpacked, however it is cut into pieces; cut off it is not; and what is accepted of
//! any bytes is what a second reader unpacks.

#![no_main]

use std::io::{Read as _, Write as _};

use csv_ingestor::pipeline::csv::gzip::{Fault, Gunzip};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use libfuzzer_sys::fuzz_target;

/// What is unpacked at most.
const LIMIT: u64 = 1 << 20;

fn unpacked(packed: &[u8], piece: usize) -> Result<Vec<u8>, Fault> {
    let (mut gunzip, mut text) = (Gunzip::new(LIMIT), Vec::new());
    for piece in packed.chunks(piece) {
        gunzip.feed(piece, &mut |more| {
            text.extend_from_slice(more);
            true
        })?;
    }
    gunzip.finish().map(|()| text)
}

fn member(text: &[u8], level: u8) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(u32::from(level) % 10));
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fuzz_target!(|input: &[u8]| {
    let Some(([piece, level, at], rest)) = input.split_first_chunk::<3>() else { return };
    let piece = usize::from(*piece).max(1);
    // Packed: one member or two.
    let (head, tail) = rest.split_at(rest.len() * usize::from(*at) / 255);
    let mut packed = member(head, *level);
    let first = packed.len();
    if !tail.is_empty() {
        packed.extend(member(tail, *level));
    }
    assert_eq!(unpacked(&packed, piece).as_deref(), Ok(rest));
    let cut = packed.len() * usize::from(*at) / 256;
    assert_eq!(unpacked(&packed[..cut], piece).is_ok(), cut == first, "cut at {cut}");
    // Any bytes, or a file with some of them replaced.
    let found = unpacked(rest, piece);
    assert_eq!(found.clone().ok(), unpacked(rest, rest.len().max(1)).ok());
    if let Ok(text) = found {
        let zeros = rest.iter().rev().take_while(|byte| **byte == 0).count();
        // The last zeros may be those of the length.
        let read = (0..=zeros).rev().find_map(|zeros| {
            let mut text = Vec::new();
            MultiGzDecoder::new(&rest[..rest.len() - zeros]).read_to_end(&mut text).ok().map(|_| text)
        });
        assert_eq!(read, Some(text));
    }
});
