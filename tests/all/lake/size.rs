//! Many contents.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use csv_ingestor::lake::claims::Contents;
use csv_ingestor::lake::entry::{Body, Claim, Claims, Entry, Forget, Header, Place};
use csv_ingestor::lake::log::Log;
use csv_ingestor::lake::rows::{MARK_BYTES, Mark, Rows};
use csv_ingestor::lake::{checkpoint, keys, start};
use csv_ingestor::limits::LAKE_CLAIMS_MAX;
use csv_ingestor::store::sim::{Faults, SimStore};
use csv_ingestor::types::{Sha256, UnixMillis};

use super::desk::LAKE;
use super::model::sha256;

fn content(number: u64) -> Sha256 {
    sha256(&number.to_le_bytes())
}

fn header_of(number: u64) -> Header {
    let (host, predecessor) = ([0; 16], Sha256([0; 32]));
    Header { lake: LAKE.id, shard: 0, number, predecessor, floor: number, host, serial: 0 }
}

/// Claims of contents and generations.
fn claims_of(contents: &mut dyn Iterator<Item = (Sha256, u32)>) -> Body {
    let claims = contents.map(|(sha256, generation)| Claim {
        sha256,
        generation,
        size: 0,
        ingested_at: UnixMillis(0),
        key: String::new(),
        bytes: Place::Pack { pack: 0, offset: 0 },
        line: Vec::new(),
    });
    Body::Claims(Claims { packs: Vec::new(), claims: claims.collect() })
}

/// All contents, by entries that are as large as they can be.
fn contents(count: u64) -> (Contents, u64) {
    let (mut contents, mut next, mut entries) = (Contents::default(), 0, 0);
    while next < count {
        let end = (next + LAKE_CLAIMS_MAX as u64).min(count);
        let body = claims_of(&mut (next..end).map(|number| (content(number), 0)));
        let entry = Entry { header: header_of(entries), body };
        assert_eq!(contents.check(&entry), Ok(()));
        contents.add(&entry);
        (next, entries) = (end, entries + 1);
    }
    (contents, entries)
}

/// Adds the next entry, which says this.
fn add(contents: &mut Contents, body: Body) {
    let entry = Entry { header: header_of(contents.floor() + 1), body };
    assert_eq!(contents.check(&entry), Ok(()));
    contents.add(&entry);
}

/// `LAKE_CONTENTS=10000000` for ten million contents, with optimisation.
#[test]
fn many_contents_take_little_memory_and_a_start_is_quick() {
    let count = std::env::var("LAKE_CONTENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(150_000);
    let (whole, entries) = contents(count);
    assert_eq!(whole.len() as u64, count);
    let store = SimStore::new(0, Faults::NONE);
    let floor = entries - 1;
    let log = Log::at(LAKE.id, 0, entries, Sha256([9; 32]));
    let pieces = checkpoint::pieces(whole.len());
    let written = Instant::now();
    for piece in 0..pieces {
        let bytes = checkpoint::encode(&log, &whole, piece);
        assert!(bytes.len() < 4 << 20, "{} bytes", bytes.len());
        store.put_foreign(&keys::checkpoint_piece(0, entries, piece), &bytes);
    }
    let written = written.elapsed();
    let begin = Instant::now();
    let read = start::read(&store, &LAKE, 0, entries).unwrap().unwrap();
    let took = begin.elapsed();
    let bytes = read.contents.memory_bytes();
    println!("{count} contents, {pieces} pieces: written in {written:?}, read in {took:?}, {bytes} bytes of memory");
    assert!(bytes as u64 <= count * 13 + (1 << 18) + 4096, "{bytes} bytes");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!((read.contents.floor(), read.contents.len() as u64, &read.log), (floor, count, &log));
    for number in (0..count).step_by(997) {
        let known = read.contents.get(&content(number)).unwrap();
        assert_eq!((known.entry, known.generation, known.is_forgotten), (number / LAKE_CLAIMS_MAX as u64, 0, false));
    }
    assert_eq!(read.contents.get(&content(count)), None);
    assert!(read.contents == whole);
    // What comes later counts more than what was read, before and after it is merged.
    let (mut contents, again) = (read.contents, content(5));
    add(&mut contents, Body::Forget(Forget { below: 0, contents: vec![again] }));
    add(&mut contents, claims_of(&mut std::iter::once((again, 1))));
    let claimed = Some((floor + 2, 1, false));
    let known = |contents: &Contents| contents.get(&again).map(|it| (it.entry, it.generation, it.is_forgotten));
    assert_eq!(known(&contents), claimed);
    for number in 0..70 {
        let from = count + number * LAKE_CLAIMS_MAX as u64;
        add(&mut contents, claims_of(&mut (from..from + LAKE_CLAIMS_MAX as u64).map(|number| (content(number), 0))));
    }
    assert_eq!(known(&contents), claimed);
    assert_eq!(contents.len() as u64, count + 70 * LAKE_CLAIMS_MAX as u64);
    assert!(contents.memory_bytes() as u64 > count * 15 + 70 * 15, "they were merged");
}

#[test]
fn rows_are_found_wherever_they_lie() {
    // All in one bucket, and none where their first bytes say: at its beginning, at its end, and in two heaps.
    for places in [0..200_u16, 65_336..65_535, 0..1, 30_000..30_200] {
        let row = |place: u16| {
            let mut mark = [7; MARK_BYTES];
            mark[2..4].copy_from_slice(&place.to_be_bytes());
            Mark(mark)
        };
        let all: BTreeMap<Mark, u32> = places.clone().map(|place| (row(place), u32::from(place))).collect();
        let mut rows = Rows::default();
        rows.merge(&all);
        for place in 0..=u16::MAX {
            let expected = places.contains(&place).then_some(u32::from(place));
            assert_eq!(rows.get(row(place)), expected, "{place} in {places:?}");
        }
    }
}
