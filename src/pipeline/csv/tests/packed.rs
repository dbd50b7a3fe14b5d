//! Compressed files: whole ones, as programs write them, and those that broke off, were damaged, or unpack to too much.

use std::io::Write as _;

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};

use super::super::gzip::{Fault, Gunzip, unpacked_bytes_max};
use super::*;
use crate::limits::{UNPACKED_BYTES_MAX, UNPACKED_FREE_BYTES, UNPACKED_RATIO_MAX};

const TEXT: &[u8] = b"id,name\n1,Ada\n2,\"two\nlines\"\n3,Ada Ada Ada Ada Ada\n";

fn member(text: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// With all that a header can have; the last 16 bits of the header are its checksum.
fn member_with_everything(text: &[u8]) -> Vec<u8> {
    let builder = GzBuilder::new().filename("a.csv").comment("all of it").mtime(1).extra(&b"BC\x02\0\x11\x22"[..]);
    let mut encoder = builder.write(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    let mut packed = encoder.finish().unwrap();
    let begin = 10 + 2 + 6 + "a.csv\0".len() + "all of it\0".len();
    packed[3] |= 2;
    let mut crc = flate2::Crc::new();
    crc.update(&packed[..begin]);
    let sum = (crc.sum() as u16).to_le_bytes();
    packed.splice(begin..begin, sum);
    packed
}

/// The text of a file in these pieces, or why there is none.
fn unpacked<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limit: u64) -> Result<Vec<u8>, Fault> {
    let (mut gunzip, mut text) = (Gunzip::new(limit), Vec::new());
    for piece in pieces {
        gunzip.feed(piece, &mut |more| {
            text.extend_from_slice(more);
            true
        })?;
    }
    gunzip.finish().map(|()| text)
}

fn whole(packed: &[u8]) -> Result<Vec<u8>, Fault> {
    unpacked([packed], 1 << 30)
}

/// A file, and the lengths at which it is whole.
struct Packed {
    name: &'static str,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

fn packed(name: &'static str, members: &[Vec<u8>]) -> Packed {
    let ends = members.iter().scan(0, |end, member| {
        *end += member.len();
        Some(*end)
    });
    Packed { name, bytes: members.concat(), ends: ends.collect() }
}

fn files() -> Vec<Packed> {
    let (head, tail) = TEXT.split_at(17);
    let mut seed = 1_u32;
    let letters = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b'a' + (seed >> 28) as u8
    });
    let noise: Vec<u8> = letters.take(700).collect();
    let mut zeros = packed("zeros behind", &[member(TEXT, 9)]);
    zeros.ends.extend((1..=37).map(|count| zeros.bytes.len() + count));
    zeros.bytes.extend([0; 37]);
    vec![
        packed("fast", &[member(TEXT, 1)]),
        packed("stored", &[member(TEXT, 0)]),
        packed("empty text", &[member(b"", 6)]),
        packed("everything", &[member_with_everything(TEXT)]),
        packed("two members", &[member(head, 6), member_with_everything(tail)]),
        packed("as bgzip", &[member_with_everything(head), member(tail, 9), member(b"", 6)]),
        packed("dynamic codes", &[member(&noise, 9)]),
        zeros,
    ]
}

#[test]
fn the_pieces_of_a_file_make_no_difference() {
    for Packed { name, bytes: packed, .. } in files() {
        let text = whole(&packed).unwrap();
        assert_eq!(unpacked(packed.chunks(1), 1 << 30).unwrap(), text, "{name}");
        for at in 0..=packed.len() {
            let (head, tail) = packed.split_at(at);
            assert_eq!(unpacked([head, tail], 1 << 30).unwrap(), text, "{name}, cut at {at}");
        }
    }
    assert_eq!(whole(&files()[4].bytes).unwrap(), TEXT);
    let large: Vec<u8> = TEXT.repeat(20_000);
    for level in [0, 1, 9] {
        for piece in [1, 1000, 1 << 20] {
            let packed = member(&large, level);
            assert!(unpacked(packed.chunks(piece), 1 << 30).unwrap() == large, "{level}, {piece}");
        }
    }
}

/// Why: a transfer that breaks off under its final name looks like a complete file.
#[test]
fn a_file_that_is_cut_off_anywhere_is_malformed() {
    for Packed { name, bytes: packed, ends } in files() {
        for end in 0..=packed.len() {
            let found = whole(&packed[..end]);
            assert_eq!(found.is_ok(), ends.contains(&end), "{name}, {end} of {}", packed.len());
            let by_bytes = unpacked(packed[..end].chunks(1), 1 << 30);
            assert_eq!(found, by_bytes, "{name}, {end}");
            let reasons = [Fault::Empty, Fault::CutHeader, Fault::CutData, Fault::CutTrailer];
            assert!(found.is_ok() || reasons.contains(&found.unwrap_err()), "{name}, {end}");
        }
    }
    let (packed, pieces) = (member(TEXT, 6), [1, 7, 1 << 20]);
    for (end, piece) in (0..packed.len()).flat_map(|end| pieces.map(|piece| (end, piece))) {
        let found = profile_as(b"a.csv.gz", &COMMAS, &packed[..end], piece);
        assert!(found.rows.is_none() && found.fault.is_some(), "{end}");
    }
}

/// Why: damage must not become other text.
#[test]
fn a_flipped_bit_is_malformed_or_changes_nothing() {
    for Packed { name, bytes: packed, .. } in files() {
        let text = whole(&packed).unwrap();
        let mut harmless = 0;
        for bit in 0..8 * packed.len() {
            let mut damaged = packed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let found = whole(&damaged);
            assert_eq!(unpacked(damaged.chunks(1), 1 << 30).is_ok(), found.is_ok(), "{name}, bit {bit}");
            if let Ok(found) = found {
                assert!(found == text, "{name}, bit {bit}");
                harmless += 1;
            }
        }
        // The time, the extra flags and the operating system of a header mean nothing to the text.
        assert!(harmless < 8 * 40, "{name}: {harmless}");
    }
}

#[test]
fn each_fault_has_its_reason() {
    let packed = member(TEXT, 6);
    let with = |at: usize, byte: u8| {
        let mut damaged = packed.clone();
        damaged[at] = byte;
        whole(&damaged)
    };
    assert_eq!(whole(b""), Err(Fault::Empty));
    assert_eq!(whole(TEXT), Err(Fault::NotGzip));
    assert_eq!(whole(b"\x1f"), Err(Fault::CutHeader));
    assert_eq!(whole(b"\x1fa,b\n"), Err(Fault::NotGzip));
    assert_eq!(whole(b"\0\0\0\0"), Err(Fault::NotGzip), "zeros, as an interrupted transfer leaves them");
    assert_eq!(with(2, 7), Err(Fault::Header));
    assert_eq!(with(3, 0x20), Err(Fault::Header));
    assert_eq!(with(10, 0x07), Err(Fault::Data));
    let end = packed.len();
    assert_eq!(with(end - 8, packed[end - 8] ^ 1), Err(Fault::Checksum));
    assert_eq!(with(end - 1, 1), Err(Fault::Length));
    for behind in [&b"x"[..], b"\0x", b"\0\x1f\x8b\x08", b"\x1fx"] {
        assert_eq!(whole(&[&packed, behind].concat()), Err(Fault::Behind), "{behind:?}");
    }
    let mut checked = member_with_everything(TEXT);
    checked[5] ^= 1;
    assert_eq!(whole(&checked), Err(Fault::Header));
    let reason = |content: &[u8]| profile_as(b"a.csv.gz", &COMMAS, content, 9).fault.unwrap();
    assert_eq!((reason(b"").line, reason(b"").reason), (1, Fault::Empty.to_string()));
    assert_eq!(reason(TEXT).reason, Fault::NotGzip.to_string());
}

#[test]
fn the_text_is_validated_as_that_of_a_plain_file() {
    let text: &[u8] = b"\xef\xbb\xbf# x\nid,id\n1,2\n\n3,4\n";
    let look = aside(Some(b'#'), 0);
    assert_eq!(profile_as(b"A.CSV.GZ", &look, &member(text, 6), 5), profile_as(b"a.csv", &look, text, 5));
    assert_eq!(profile_as(b"a.tsv.gz", &COMMAS, &member(b"a\tb,c\n", 6), 5).columns, Some(2));
    let fault = |text: &[u8]| profile_as(b"a.csv.gz", &COMMAS, &member(text, 6), 5).fault.unwrap();
    assert_eq!(fault(b"a,b\n1,2\n1\n").line, 3);
    assert_eq!(fault(b"a,b\n1,2\n\0").line, 3);
    // A break is told where the text breaks off, and not as an open quote.
    let cut = member(TEXT, 0);
    let found = profile_as(b"a.csv.gz", &COMMAS, &cut[..cut.len() - 8 - TEXT.len() + 20], 5).fault.unwrap();
    assert_eq!((found.line, found.reason), (3, Fault::CutData.to_string()));
}

/// Why: a small file must not keep a thread busy for hours.
#[test]
fn a_bomb_is_malformed() {
    let zeros = vec![b'0'; 1 << 20];
    let packed = member(&zeros, 9);
    assert_eq!(unpacked([&packed[..]], 1 << 20), Ok(zeros));
    for limit in [0, 1, 65_535, 65_536, 65_537, (1 << 20) - 1] {
        for piece in [1, 100, 1 << 20] {
            let (mut gunzip, mut count) = (Gunzip::new(limit), 0);
            let fed: Result<(), Fault> = packed.chunks(piece).try_for_each(|piece| {
                gunzip.feed(piece, &mut |text| {
                    count += text.len() as u64;
                    true
                })
            });
            assert_eq!((fed, count), (Err(Fault::TooLarge(limit)), limit));
        }
    }
    // Many small members add up.
    let members = member(b"0123456789", 6).repeat(100);
    assert_eq!(unpacked([&members[..]], 999), Err(Fault::TooLarge(999)));
    assert!(unpacked([&members[..]], 1000).is_ok());
    assert_eq!(unpacked_bytes_max(0), UNPACKED_FREE_BYTES);
    assert_eq!(unpacked_bytes_max(10 << 20), UNPACKED_RATIO_MAX * (10 << 20));
    assert_eq!(unpacked_bytes_max(u64::MAX), UNPACKED_BYTES_MAX);
}

/// The limit is that of the file's size: here a file of 300 KB that unpacks to 300 MB.
#[test]
fn a_bomb_is_told_as_a_fault() {
    let row = b"0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0\n".repeat(1 << 14);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    (0..300).for_each(|_| encoder.write_all(&row).unwrap());
    let packed = encoder.finish().unwrap();
    let found = profile_as(b"a.csv.gz", &COMMAS, &packed, 1 << 18);
    assert_eq!(found.fault.unwrap().reason, Fault::TooLarge(UNPACKED_FREE_BYTES).to_string());
    assert_eq!(found.columns, Some(32));
}

/// Why: once a fault is found, a file of a terabyte need not be unpacked.
#[test]
fn nothing_is_unpacked_after_a_fault() {
    let packed = member(&[b"a,b\n1\n".to_vec(), vec![b'x'; 1 << 20]].concat(), 9);
    let (mut gunzip, mut count) = (Gunzip::new(1 << 30), 0);
    let fed = gunzip.feed(&packed, &mut |text| {
        count += text.len();
        false
    });
    assert_eq!(fed, Ok(()));
    assert!(count <= 64 << 10, "{count}");
}

proptest! {
    /// Any bytes: no panic, and what is taken in pieces is what is taken at once.
    #[test]
    fn any_bytes_in_any_pieces(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        begins in any::<bool>(),
        piece in 1_usize..9,
    ) {
        if begins {
            bytes.splice(0..0, *b"\x1f\x8b\x08\0\0\0\0\0\0\x03");
        }
        let (pieces, at_once) = (unpacked(bytes.chunks(piece), 1 << 20), whole(&bytes));
        prop_assert_eq!(pieces.ok(), at_once.ok());
    }
}
