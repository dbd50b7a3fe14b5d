//! Pieces there and back.

use super::*;
use crate::types::Sha256;

fn row(byte: u8) -> (Mark, u32) {
    (Mark::of(&Sha256([byte; 32])), u32::from(byte))
}

fn checkpoint() -> Checkpoint {
    let log = Log::at(LakeId([7; 16]), 3, 12, Sha256([5; 32]));
    let (mut kept, mut odd) = (Kept::default(), BTreeMap::new());
    [1, 4, 9].iter().for_each(|byte| kept.push(row(*byte).0, row(*byte).1));
    odd.insert(row(1).0, Odd { generation: 2, is_forgotten: true });
    odd.insert(row(4).0, Odd { generation: 1, is_forgotten: false });
    Checkpoint { log, contents: Contents::restored(kept, odd, 7, 8) }
}

fn whole(bytes: &[u8]) -> Option<Checkpoint> {
    let piece = decode(bytes)?;
    let mut joined = Joined::new(piece.whole.clone());
    joined.add(piece)?;
    joined.finish()
}

#[test]
fn checkpoints_go_there_and_back() {
    for checkpoint in [checkpoint(), Checkpoint { contents: Contents::default(), ..checkpoint() }] {
        let bytes = encode(&checkpoint.log, &checkpoint.contents, 0);
        assert_eq!(whole(&bytes), Some(checkpoint));
    }
}

#[test]
fn no_flipped_bit_and_no_missing_byte_goes_unseen() {
    let good = encode(&checkpoint().log, &checkpoint().contents, 0);
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
    let good = encode(&checkpoint().log, &checkpoint().contents, 0);
    let sections = [3 * ROW_BYTES, 2 * ODD_BYTES];
    let mut accepted = 0;
    for at in 0..good.len() {
        for value in [0, 1, 2, 0x2f, 0xff] {
            let mut bad = good.clone();
            bad[at] = value;
            let mut begin = HEADER_BYTES;
            for (index, length) in sections.iter().enumerate() {
                let checksum = crc32c::crc32c(&bad[begin..begin + length]);
                bad[104 + index * 4..108 + index * 4].copy_from_slice(&checksum.to_le_bytes());
                begin += length;
            }
            let checksum = crc32c::crc32c(&bad[..HEADER_BYTES - 4]);
            bad[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
            if let Some(read) = whole(&bad) {
                accepted += 1;
                assert_eq!(encode(&read.log, &read.contents, 0), bad, "byte {at}");
            }
        }
    }
    assert!(accepted > 100, "{accepted} accepted");
}

/// Contents of several pieces: each is small, and they belong together.
#[test]
fn large_checkpoints_have_pieces() {
    let contents = 3 * LAKE_CHECKPOINT_ROWS / 2;
    let mark = |number: usize| {
        let mut mark = [0x5a; MARK_BYTES];
        mark[..8].copy_from_slice(&(number as u64 * (u64::MAX / contents as u64)).to_be_bytes());
        Mark(mark)
    };
    let mut kept = Kept::new(contents, 10);
    (0..contents).for_each(|number| kept.push(mark(number), number as u32 % 10));
    let odd = BTreeMap::from([(mark(5), Odd { generation: 1, is_forgotten: false })]);
    let contents = Contents::restored(kept, odd, 0, 3);
    let log = checkpoint().log;
    assert_eq!(pieces(contents.len()), 2);
    let both = [0, 1].map(|piece| decode(&encode(&log, &contents, piece)).unwrap());
    let join = |pieces: &[&Piece]| {
        let mut joined = Joined::new(pieces[0].whole.clone());
        pieces.iter().try_for_each(|piece| joined.add((*piece).clone()))?;
        joined.finish()
    };
    assert_eq!(join(&[&both[0], &both[1]]), Some(Checkpoint { log: log.clone(), contents: contents.clone() }));
    for wrong in [&[&both[0]][..], &[&both[1], &both[0]], &[&both[0], &both[0]], &[&both[0], &both[1], &both[1]]] {
        assert_eq!(join(wrong), None);
    }
    let other = Log::at(log.lake(), log.shard(), log.next() + 1, log.chain());
    let other = decode(&encode(&other, &contents, 1)).unwrap();
    assert_eq!(join(&[&both[0], &other]), None, "a piece of another checkpoint");
}
