//! The decision table of `verdict.rs`, each row on a real file; and files that a reader of another version must not modify.

use std::path::Path;

use csv_ingestor::journal::format::{
    BLOCK_BYTES, FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FrameKind, frame_field, segment_field,
};
use csv_ingestor::journal::frame::{FrameFault, Position};
use csv_ingestor::journal::replay::Ending;
use csv_ingestor::journal::{Damage, Error, NotTorn};
use csv_ingestor::types::Lsn;

use super::util::{Forge, batch, contents, corrupt, discovered, moved, open, read, refused, segment_path, settings};

/// Large enough for bytes that are further away than the length of one frame.
const CAPACITY: u64 = 4 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    Zeros,
    Within,
    LastByteWithin,
    FirstByteFurther,
    ValidFrame,
    ValidFrameFurther,
    FrameWithAnotherChain,
    /// A frame that was valid earlier in this segment: it does not show that anything is lost.
    EarlierFrame,
    FrameOfAnotherSegment,
}

impl Behind {
    const ALL: [Behind; 9] = [
        Behind::Zeros,
        Behind::Within,
        Behind::LastByteWithin,
        Behind::FirstByteFurther,
        Behind::ValidFrame,
        Behind::ValidFrameFurther,
        Behind::FrameWithAnotherChain,
        Behind::EarlierFrame,
        Behind::FrameOfAnotherSegment,
    ];

    fn put(self, forge: &mut Forge) {
        let end = forge.end;
        let later = Position { next_lsn: forge.place.next_lsn.plus(1), chain: 42 };
        let frame = |place: &Position| forge.frame(FrameKind::Data, &[moved(Lsn(2))], place).0;
        match self {
            Behind::Zeros => {}
            Behind::Within => forge.put(end + 5_000, b"torn"),
            Behind::LastByteWithin => forge.put(end + FRAME_BYTES_MAX - 1, &[1]),
            Behind::FirstByteFurther => forge.put(end + FRAME_BYTES_MAX, &[1]),
            Behind::ValidFrame => forge.put(end + BLOCK_BYTES, &frame(&later)),
            Behind::ValidFrameFurther => forge.put(end + FRAME_BYTES_MAX + BLOCK_BYTES, &frame(&later)),
            Behind::FrameWithAnotherChain => forge.put(end, &frame(&Position { chain: 42, ..forge.place })),
            Behind::EarlierFrame => forge.put(end + BLOCK_BYTES, &frame(&Position { next_lsn: Lsn(0), chain: 42 })),
            Behind::FrameOfAnotherSegment => {
                let other =
                    Forge::with(csv_ingestor::journal::segment::SegmentHeader { salt: 1, ..forge.header.clone() });
                forge.put(end + BLOCK_BYTES, &other.frame(FrameKind::Data, &[moved(Lsn(2))], &later).0);
            }
        }
    }

    /// The bytes from the end of the last good frame to the last nonzero byte, if this can be a torn tail.
    fn torn_bytes(self) -> Option<u64> {
        let frame_bytes = (FRAME_HEADER_BYTES + 12 - 7) as u64; // The record's id is 2, in 8 bytes.
        match self {
            Behind::Within => Some(5_004),
            Behind::LastByteWithin => Some(FRAME_BYTES_MAX as u64),
            Behind::EarlierFrame | Behind::FrameOfAnotherSegment => Some(BLOCK_BYTES as u64 + frame_bytes),
            _ => None,
        }
    }
}

/// The result according to the specification's table.
fn expected(last: Option<FrameKind>, behind: Behind) -> Result<Ending, NotTorn> {
    match (last, behind) {
        (Some(FrameKind::Shutdown), Behind::Zeros) => Ok(Ending::Shutdown),
        (_, Behind::Zeros) => Ok(Ending::Killed),
        (Some(FrameKind::Shutdown), _) => Err(NotTorn::AfterShutdown),
        (_, Behind::ValidFrame | Behind::ValidFrameFurther | Behind::FrameWithAnotherChain) => {
            Err(NotTorn::ValidFrameBeyond)
        }
        (_, Behind::FirstByteFurther) => Err(NotTorn::BytesBeyondOneFrame),
        (_, behind) => Ok(Ending::Torn { bytes: behind.torn_bytes().unwrap() }),
    }
}

/// A wrong row either loses acknowledged records, or refuses to start after an ordinary crash.
#[test]
fn every_row_of_the_table_on_a_real_file() {
    for last in [None, Some(FrameKind::Data), Some(FrameKind::Idle), Some(FrameKind::Seal), Some(FrameKind::Shutdown)] {
        for behind in Behind::ALL {
            let dir = tempfile::tempdir().unwrap();
            let mut forge = Forge::new(CAPACITY);
            let records = if last.is_some() { vec![settings()] } else { Vec::new() };
            if let Some(last) = last {
                forge.push(FrameKind::Data, &records);
                if last != FrameKind::Data {
                    forge.push(last, &[]);
                }
            }
            behind.put(&mut forge);
            let file = forge.write(dir.path());
            let row = format!("{last:?} {behind:?}");

            let expected = match last {
                Some(FrameKind::Seal) => Err(Damage::MissingSuccessor(forge.place.next_lsn)),
                _ => expected(last, behind).map_err(|why| {
                    let at_end = behind == Behind::FrameWithAnotherChain && why == NotTorn::ValidFrameBeyond;
                    Damage::Frame(if at_end { FrameFault::Chain } else { FrameFault::Magic }, why)
                }),
            };
            match expected {
                Ok(ending) => {
                    let before = contents(dir.path());
                    let (replayed, collected) = read(dir.path()).expect(&row);
                    assert_eq!(replayed.ending, ending, "{row}");
                    assert_eq!(replayed.last.unwrap().1, forge.predecessor(), "{row}");
                    assert!(contents(dir.path()) == before, "{row}");
                    assert!(collected.records.into_iter().map(|(_, record)| record).eq(records), "{row}");
                    starts_again(dir.path(), &row);
                }
                Err(damage) => {
                    let corrupt = corrupt(dir.path());
                    assert_eq!(corrupt.damage, damage, "{row}");
                    assert_eq!((corrupt.file, corrupt.offset), (file, forge.end as u64), "{row}");
                    assert_eq!(corrupt.lsn, forge.place.next_lsn, "{row}");
                }
            }
        }
    }
}

/// Checks that a start settles a torn tail for good: the next start finds the new records, and never the tail.
fn starts_again(dir: &Path, row: &str) {
    let (mut journal, _, before) = open(dir).expect(row);
    let next = journal.next_lsn();
    journal.append(&[settings()]).unwrap();
    drop(journal);
    let (journal, replayed, after) = open(dir).expect(row);
    assert_eq!((replayed.ending, replayed.segments), (Ending::Killed, 2), "{row}");
    let mut records = before.records;
    records.push((next, settings()));
    assert_eq!(after.records, records, "{row}");
    journal.shut_down().unwrap();
}

/// A power cut in the middle of a write leaves any subset of its sectors: old zeros, new bytes, or some of both.
#[test]
fn a_last_frame_torn_in_any_way_is_dropped() {
    let long = format!("/in/{}", "x".repeat(3_000));
    let build = || {
        let mut forge = Forge::new(256 << 10);
        forge.push(FrameKind::Data, &[settings()]);
        let (start, place) = (forge.end, forge.place);
        let records = batch(place.next_lsn, 2, &long);
        forge.push(FrameKind::Data, &records);
        assert_eq!(forge.end - start, 4 * BLOCK_BYTES);
        let covered = forge.frame(FrameKind::Data, &records, &place).0.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        (forge, start, covered)
    };
    let (whole, start, covered) = build();
    let sectors = (whole.end - start) / 512;
    let cut_after = (1..sectors).map(|kept| (0..sectors).map(|sector| sector < kept).collect::<Vec<_>>());
    let cut_before = (1..sectors).map(|lost| (0..sectors).map(|sector| sector >= lost).collect::<Vec<_>>());
    let every_other = (0..2).map(|parity| (0..sectors).map(|sector| sector % 2 == parity).collect::<Vec<_>>());
    for kept in cut_after.chain(cut_before).chain(every_other) {
        for filler in [0x00, 0xff] {
            let (mut forge, ..) = build();
            for (sector, _) in kept.iter().enumerate().filter(|(_, kept)| !**kept) {
                forge.put(start + sector * 512, &[filler; 512]);
            }
            // The last sectors hold padding only: without them the frame is whole.
            let payload_lost = kept[..covered.div_ceil(512)].iter().any(|kept| !kept);
            let nonzero = forge.bytes[start..].iter().any(|byte| *byte != 0);
            let dir = tempfile::tempdir().unwrap();
            forge.write(dir.path());
            let (replayed, collected) = read(dir.path()).unwrap();
            match (replayed.ending, collected.records.len()) {
                (Ending::Torn { .. }, 1) => assert!(payload_lost && nonzero, "{kept:?} {filler}"),
                (Ending::Killed, 1) => assert!(!nonzero, "{kept:?} {filler}"),
                (_, 5) => assert!(!payload_lost, "{kept:?} {filler}"),
                other => panic!("{other:?} {kept:?} {filler}"),
            }
        }
    }
}

/// Two segments; the header of the second has the end of the first.
fn two_segments(dir: &Path, change: impl FnOnce(&mut Forge, &mut Forge)) -> (Forge, Forge) {
    let mut first = Forge::new(256 << 10);
    first.push(FrameKind::Data, &[settings()]);
    first.push(FrameKind::Data, &[discovered(2, "/in/a")]);
    let mut second = first.successor();
    second.push(FrameKind::Data, &[discovered(3, "/in/b")]);
    change(&mut first, &mut second);
    first.write(dir);
    second.write(dir);
    (first, second)
}

/// A crash after a successor was created and before the seal leaves the full segment without its seal, perhaps with a torn
/// one, or with the torn tail that the successor's header has settled.
#[test]
fn a_segment_with_a_successor_needs_no_seal() {
    let changes: [fn(&mut Forge); 4] = [
        |_| {},
        |first| {
            let (seal, _) = first.frame(FrameKind::Seal, &[], &first.place);
            first.put(first.end, &seal);
        },
        |first| {
            let (seal, _) = first.frame(FrameKind::Seal, &[], &first.place);
            first.put(first.end, &seal[..50]);
        },
        |first| first.put(first.end, &[0xee; 9_000]),
    ];
    for change in changes {
        let dir = tempfile::tempdir().unwrap();
        two_segments(dir.path(), |first, _| change(first));
        let (replayed, collected) = read(dir.path()).unwrap();
        assert_eq!((replayed.ending, replayed.segments), (Ending::Killed, 2));
        assert_eq!(collected.records.len(), 3);
        starts_again_after(dir.path(), 3);
    }
}

fn starts_again_after(dir: &Path, segments: u64) {
    open(dir).unwrap().0.shut_down().unwrap();
    assert_eq!(read(dir).unwrap().0.segments, segments);
}

/// A later segment proves that everything before it was durable: damage there is never a torn tail.
#[test]
fn bad_bytes_before_a_later_segment_are_corruption() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = two_segments(dir.path(), |first, _| first.bytes[2 * BLOCK_BYTES + 70] ^= 1);
    let corrupt = corrupt(dir.path());
    assert_eq!(corrupt.damage, Damage::Frame(FrameFault::PayloadChecksum, NotTorn::LaterSegment));
    assert_eq!(corrupt.file, segment_path(dir.path(), first.header.first_lsn));
    assert_eq!((corrupt.offset, corrupt.lsn), (2 * BLOCK_BYTES as u64, Lsn(2)));
}

/// A frame after the end that the successor's header names was written by a second writer, or the successor is an old copy:
/// in both cases acknowledged records would be dropped.
#[test]
fn a_frame_behind_the_end_that_the_successor_names_is_corruption() {
    for kind in [FrameKind::Data, FrameKind::Idle, FrameKind::Shutdown] {
        let dir = tempfile::tempdir().unwrap();
        let records = if kind == FrameKind::Data { vec![moved(Lsn(2))] } else { Vec::new() };
        let (_, second) = two_segments(dir.path(), |first, _| first.push(kind, &records));
        let corrupt = corrupt(dir.path());
        assert!(matches!(corrupt.damage, Damage::Successor(_)), "{kind:?}: {corrupt}");
        assert_eq!(corrupt.file, segment_path(dir.path(), second.header.first_lsn));
    }
}

/// Segments that do not belong together: each has right checksums, so only the comparison detects it.
#[test]
fn neighbours_that_do_not_fit_are_corruption() {
    let changes: [fn(&mut csv_ingestor::journal::segment::SegmentHeader); 8] = [
        |header| header.store = [8; 16],
        |header| header.number += 1,
        |header| header.number -= 1,
        |header| header.predecessor = None,
        |header| header.predecessor.as_mut().unwrap().end += BLOCK_BYTES as u64,
        |header| header.predecessor.as_mut().unwrap().end -= BLOCK_BYTES as u64,
        |header| header.predecessor.as_mut().unwrap().last_lsn = Lsn(1),
        |header| header.predecessor.as_mut().unwrap().chain ^= 1,
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        two_segments(dir.path(), |_, second| {
            let mut header = second.header.clone();
            change(&mut header);
            *second = Forge::with(header);
        });
        let corrupt = corrupt(dir.path());
        assert!(corrupt.file.starts_with(dir.path()), "change {index}: {corrupt}");
    }
}

fn newer(dir: &Path) -> String {
    match refused(dir) {
        Error::Newer { what, .. } => what,
        other => panic!("{other}"),
    }
}

/// After a downgrade, the program must not misread newer files, nor take them for damage.
#[test]
fn a_newer_formats_segment_is_refused_as_newer() {
    let patches: [(usize, &[u8]); 3] = [
        (segment_field::MAJOR, &2_u16.to_le_bytes()),
        (segment_field::MAJOR, &0_u16.to_le_bytes()),
        (segment_field::INCOMPATIBLE, &0x8000_0000_u32.to_le_bytes()),
    ];
    for (at, bytes) in patches {
        let dir = tempfile::tempdir().unwrap();
        let mut forge = Forge::new(256 << 10);
        forge.put(at, bytes);
        repair_header(&mut forge);
        forge.write(dir.path());
        assert!(newer(dir.path()).contains("not known"));
    }
}

/// Corrects the checksum of a patched header block.
fn repair_header(forge: &mut Forge) {
    let checksum = crc32c::crc32c(&forge.bytes[..segment_field::CHECKSUM]);
    forge.put(segment_field::CHECKSUM, &checksum.to_le_bytes());
    forge.place.chain = checksum;
}

/// Minor versions, compatible features and reserved bytes must be ignored: otherwise they would be useless.
#[test]
fn what_an_older_reader_may_ignore_is_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let mut forge = Forge::new(256 << 10);
    forge.put(segment_field::MINOR, &9_u16.to_le_bytes());
    forge.put(segment_field::COMPATIBLE, &u32::MAX.to_le_bytes());
    forge.put(segment_field::RESERVED + 100, b"later");
    repair_header(&mut forge);
    forge.push(FrameKind::Data, &[settings()]);
    forge.write(dir.path());
    assert_eq!(read(dir.path()).unwrap().1.records.len(), 1);
}

/// The same for a frame: a right checksum shows that it was written on purpose, so it is no torn tail either.
#[test]
fn a_newer_formats_frame_is_refused_as_newer() {
    for blocks_behind in [0, 3] {
        let dir = tempfile::tempdir().unwrap();
        let mut forge = Forge::new(256 << 10);
        forge.push(FrameKind::Data, &[settings()]);
        let (mut frame, _) = forge.frame(FrameKind::Idle, &[], &forge.place);
        frame[frame_field::VERSION] = 2;
        let salted = crc32c::crc32c(&forge.header.salt.to_le_bytes());
        let checksum = crc32c::crc32c_append(salted, &frame[..frame_field::CHECKSUM]);
        frame[frame_field::CHECKSUM..FRAME_HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
        forge.put(forge.end + blocks_behind * BLOCK_BYTES, &frame);
        forge.write(dir.path());
        assert!(newer(dir.path()).contains("version 2"));
    }
}

/// Wrong records with a right checksum come from a bug or an edit, not from a crash. Never a torn tail.
#[test]
fn a_frame_whose_records_cannot_be_is_corruption() {
    type Change = fn(&mut Forge);
    type Check = fn(&Damage) -> bool;
    let changes: [(Change, Check); 4] = [
        // Fewer or more records than the header says.
        (|forge| push_raw(forge, 1, &[settings(), settings()]), |damage| *damage == Damage::Record),
        (|forge| push_raw(forge, 2, &[settings()]), |damage| *damage == Damage::Record),
        // No DISCOVERED before it.
        (|forge| forge.push(FrameKind::Data, &[moved(Lsn(9))]), |damage| matches!(damage, Damage::Transition(_))),
        (|forge| forge.push(FrameKind::Data, &[discovered(1, "/a")]), |damage| matches!(damage, Damage::Transition(_))),
    ];
    for (change, is_expected) in changes {
        let dir = tempfile::tempdir().unwrap();
        let mut forge = Forge::new(256 << 10);
        change(&mut forge);
        let file = forge.write(dir.path());
        let corrupt = corrupt(dir.path());
        assert!(is_expected(&corrupt.damage), "{corrupt}");
        assert_eq!((corrupt.file, corrupt.offset), (file, BLOCK_BYTES as u64));
    }
}

fn push_raw(forge: &mut Forge, count: u32, records: &[csv_ingestor::journal::record::Record]) {
    let mut frame = vec![0; FRAME_HEADER_BYTES];
    records.iter().for_each(|record| record.encode(&mut frame));
    let written_at = csv_ingestor::types::UnixMillis(0);
    let salt = forge.header.salt;
    csv_ingestor::journal::frame::seal_frame(&mut frame, FrameKind::Data, count, &forge.place, written_at, salt);
    forge.put(forge.end, &frame);
}

/// Numbers at the end of their range, with right checksums, must be refused and not make the reader panic.
// FAILS when this was written: `next_lsn.0 - 1` for a first LSN of 0, and `number + 1`, overflow.
#[test]
fn numbers_out_of_range_are_refused_without_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let mut header = Forge::new(256 << 10).header;
    header.first_lsn = Lsn(0);
    Forge::with(header).write(dir.path());
    let outcome = std::panic::catch_unwind(|| corrupt(dir.path()));
    assert!(outcome.is_ok(), "a first LSN of 0");

    let dir = tempfile::tempdir().unwrap();
    two_segments(dir.path(), |first, _| {
        let header = csv_ingestor::journal::segment::SegmentHeader { number: u64::MAX, ..first.header.clone() };
        *first = Forge::with(header);
    });
    let outcome = std::panic::catch_unwind(|| corrupt(dir.path()));
    assert!(outcome.is_ok(), "the greatest segment number");
}
