//! Entries as bytes.

use super::*;
use crate::lake::bytes::sha256;

fn header() -> Header {
    Header {
        lake: LakeId([7; 16]),
        shard: 3,
        number: 42,
        predecessor: Sha256([5; 32]),
        floor: 40,
        host: [9; 16],
        serial: 11,
    }
}

fn claim(seed: u8, bytes: Place) -> Claim {
    let sha256 = sha256(&[seed]);
    let key = keys::data("ingest_date=2026-11-28", b"a.csv", &sha256, 0);
    let ingested_at = UnixMillis(1_763_458_200_123);
    Claim { sha256, generation: 0, size: 5, ingested_at, key, bytes, line: b"{}".to_vec() }
}

fn claims() -> Claims {
    let part = |number, size| Part { number, size, etag: format!("\"e{number}\"") };
    let packs = [1, 2].map(|random| keys::pack(3, 40, &[random; 16], &Sha256([8; 32])));
    Claims {
        packs: packs.to_vec(),
        claims: vec![
            claim(1, Place::Pack { pack: 0, offset: 0 }),
            claim(2, Place::Upload { id: "u".to_owned(), parts: vec![part(1, 4), part(2, 1)] }),
            claim(3, Place::Pack { pack: 1, offset: 9 }),
            claim(4, Place::Pack { pack: 0, offset: 5 }),
        ],
    }
}

fn pack(shard: u16, since: u64) -> String {
    keys::pack(shard, since, &[1; 16], &Sha256([8; 32]))
}

fn entry(body: Body) -> Entry {
    Entry { header: header(), body }
}

fn all() -> Vec<Entry> {
    let contents = vec![Sha256([1; 32]), Sha256([2; 32])];
    let forget = Forget { below: 40, contents };
    vec![entry(Body::Claims(claims())), entry(Body::Forget(forget)), entry(Body::Upgrade(VERSION + 1))]
}

/// The bytes with a checksum that is right for them.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() - 4);
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

#[test]
fn entries_go_there_and_back() {
    for entry in all() {
        assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
    }
}

#[test]
fn no_flipped_bit_goes_unseen() {
    for entry in all() {
        let good = entry.encode();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Entry::decode(&bad).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn what_is_cut_off_or_longer_is_refused() {
    for entry in all() {
        let good = entry.encode();
        for length in 0..good.len() {
            assert!(Entry::decode(&good[..length]).is_err(), "{length} bytes");
            if length >= 4 {
                assert!(Entry::decode(&sealed(good[..length].to_vec())).is_err(), "{length} bytes, sealed");
            }
        }
        assert!(Entry::decode(&sealed([good, vec![0]].concat())).is_err());
    }
}

/// Every byte is replaced by every value, with a checksum that is right: what is accepted encodes to the same bytes.
#[test]
fn whatever_is_accepted_is_canonical() {
    for entry in all() {
        let good = entry.encode();
        for at in 0..good.len() - 4 {
            for value in [0, 1, 2, 3, 0x2f, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                let bad = sealed(bad);
                if let Ok(read) = Entry::decode(&bad) {
                    assert_eq!(read.encode(), bad, "byte {at}");
                }
            }
        }
    }
}

#[test]
fn a_later_version_is_called_newer() {
    let mut bytes = entry(Body::Claims(claims())).encode();
    bytes[4] = 9;
    assert_eq!(Entry::decode(&sealed(bytes.clone())), Err(Fault::Newer(9)));
    assert!(matches!(Entry::decode(&bytes), Err(Fault::Malformed(_))));
}

#[test]
fn contradictions_within_an_entry_are_refused() {
    let refused = |what: &str, change: &dyn Fn(&mut Entry)| {
        let mut entry = entry(Body::Claims(claims()));
        change(&mut entry);
        assert!(matches!(Entry::decode(&entry.encode()), Err(Fault::Malformed(_))), "{what}");
    };
    let body = |change: &'static dyn Fn(&mut Claims)| {
        move |entry: &mut Entry| {
            if let Body::Claims(body) = &mut entry.body {
                change(body);
            }
        }
    };
    refused("a floor above the entry", &|entry| entry.header.floor = 43);
    refused("a number too large", &|entry| entry.header.number = LAKE_ENTRIES_MAX);
    refused("no claims", &body(&|body| body.claims.clear()));
    refused("a content twice", &body(&|body| body.claims[3].sha256 = body.claims[0].sha256));
    refused("a key twice", &body(&|body| body.claims[3].key = body.claims[0].key.clone()));
    refused("a key of the lake's own", &body(&|body| body.claims[0].key = keys::slot(0, 1)));
    refused("a line with an end", &body(&|body| body.claims[0].line.push(b'\n')));
    refused("no line", &body(&|body| body.claims[0].line.clear()));
    refused("bytes behind the pack's limit", &body(&|body| body.claims[0].size = u64::MAX));
    refused("an unknown pack", &body(&|body| body.claims[0].bytes = Place::Pack { pack: 2, offset: 0 }));
    refused("an unused pack", &body(&|body| drop(body.claims.remove(2))));
    refused("a pack twice", &body(&|body| body.packs[1] = body.packs[0].clone()));
    refused("a pack of another shard", &body(&|body| body.packs[0] = pack(2, 40)));
    refused("a pack of a later entry", &body(&|body| body.packs[0] = pack(3, 43)));
    refused("no key of a pack", &body(&|body| body.packs[0] = keys::slot(0, 1)));
    refused("parts that are too short", &body(&|body| body.claims[1].size = 6));
    refused("nothing forgotten", &|entry| entry.body = Body::Forget(Forget::default()));
    refused("unfinished forgotten", &|entry| entry.body = Body::Forget(Forget { below: 41, contents: Vec::new() }));
    let unsorted = vec![Sha256([2; 32]), Sha256([1; 32])];
    refused("disorder", &|entry| entry.body = Body::Forget(Forget { below: 0, contents: unsorted.clone() }));
    refused("an old format", &|entry| entry.body = Body::Upgrade(VERSION));
}
