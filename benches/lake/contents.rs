//! A host that comes to a lake with many contents: how long it takes to start, and its memory.
//!
//! The lake is written here, as its hosts would have written it in entries that are as large as they can be: the newest
//! checkpoint, the entry before it, and all entries since, as many as there can be: the next entry would bring the next
//! checkpoint. Earlier ones are left out: nobody reads them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use csv_ingestor::lake::claims::Contents;
use csv_ingestor::lake::due::Due;
use csv_ingestor::lake::entry::{Body, Claim, Claims, Entry, Header, Place};
use csv_ingestor::lake::format::Lake as Format;
use csv_ingestor::lake::log::Log;
use csv_ingestor::lake::{checkpoint, description, keys};
use csv_ingestor::limits::LAKE_CLAIMS_MAX;
use csv_ingestor::store::Store;
use csv_ingestor::types::{Sha256, UnixMillis};
use sha2::Digest as _;

use crate::bench::Bench;
use crate::lake::Lake;
use crate::table::{Line, count, mib, progress};

const SECONDS_MAX: f64 = 10.0;
const RESIDENT_BYTES_MAX: u64 = 160 << 20;
const FILE_BYTES: u64 = 1 << 10;
/// Objects that are written at once.
const AT_ONCE: usize = 4;
/// When the contents were ingested.
const INSTANT: UnixMillis = UnixMillis(1_763_508_600_000);

fn sha256(bytes: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(bytes).into())
}

fn content(number: u64) -> Sha256 {
    sha256(&number.to_le_bytes())
}

fn header(lake: &Format, number: u64, predecessor: Sha256) -> Header {
    Header { lake: lake.id, shard: 0, number, predecessor, floor: number, host: [7; 16], serial: number }
}

/// What matters of an entry for what it adds up to.
fn bare(number: u64) -> Claim {
    Claim {
        sha256: content(number),
        generation: 0,
        size: FILE_BYTES,
        ingested_at: INSTANT,
        key: String::new(),
        bytes: Place::Pack { pack: 0, offset: number % LAKE_CLAIMS_MAX as u64 * FILE_BYTES },
        line: Vec::new(),
    }
}

/// A claim as a host makes it.
fn whole(number: u64, url: &str) -> Claim {
    let bare = bare(number);
    let name = format!("part-{number:09}.csv");
    let key = keys::data(&INSTANT.date_partition(), name.as_bytes(), &bare.sha256, 0);
    let line = format!(
        "{{\"path\":\"{url}/{key}\",\"source_path\":\"/var/lib/ingest/staging/{name}\",\"size\":{FILE_BYTES},\
         \"sha256\":\"{}\",\"ingested_at\":\"2025-11-18T23:30:00.000Z\",\"ingest_id\":{number},\
         \"journal\":\"07070707070707070707070707070707\"}}",
        bare.sha256.hex()
    );
    Claim { key, line: line.into_bytes(), ..bare }
}

/// The entry of this number, of so many contents in all.
fn entry(lake: &Format, number: u64, predecessor: Sha256, of: u64, claim: &dyn Fn(u64) -> Claim) -> Entry {
    let begin = number * LAKE_CLAIMS_MAX as u64;
    let claims = (begin..(begin + LAKE_CLAIMS_MAX as u64).min(of)).map(claim).collect();
    let packs = vec![keys::pack(0, number, &[0; 16], &content(number))];
    Entry { header: header(lake, number, predecessor), body: Body::Claims(Claims { packs, claims }) }
}

/// Writes objects, several at once.
fn write(store: &dyn Store, objects: usize, object: &(dyn Fn(usize) -> (String, Vec<u8>) + Sync)) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= objects {
                        return;
                    }
                    let (key, bytes) = object(number);
                    store.create(&key, &bytes, &sha256(&bytes)).unwrap();
                }
            });
        }
    });
}

/// The last checkpoint of a lake with about so many contents, and the number of its entries.
fn places(lake: &Format, contents: u64, url: &str) -> (u64, u64) {
    let full = entry(lake, 0, Sha256([0; 32]), LAKE_CLAIMS_MAX as u64, &|number| whole(number, url)).encode();
    let (mut due, mut place, mut next) = (Due::new(lake.checkpoint_entries), 0, 0);
    loop {
        next += 1;
        let known = next * LAKE_CLAIMS_MAX as u64;
        if due.take(full.len() as u64, next, usize::try_from(known).unwrap()) {
            if known >= contents / 100 * 99 {
                return (place, next - 1);
            }
            place = next;
        }
    }
}

/// Fills a lake with about so many contents. Returns how many they are, the number of entries since its checkpoint, and
/// the bytes of these.
fn fill(store: &dyn Store, url: &str, contents: u64) -> (u64, u64, u64) {
    let lake = description::read(store).unwrap().unwrap().lake;
    let (place, entries) = places(&lake, contents, url);
    let contents = entries * LAKE_CLAIMS_MAX as u64;
    let (mut sum, mut chain) = (Contents::default(), Sha256([0; 32]));
    for number in 0..place {
        sum.add(&entry(&lake, number, chain, contents, &bare));
    }
    if place > 0 {
        // What is not finished below the checkpoint is read as well, and proves the chain: the last entry, as far as it says.
        let last = entry(&lake, place - 1, chain, contents, &|number| whole(number, url)).encode();
        chain = sha256(&last);
        store.create(&keys::slot(0, place - 1), &last, &chain).unwrap();
        let log = Log::at(lake.id, 0, place, chain);
        write(store, checkpoint::pieces(sum.len()), &|piece| {
            (keys::checkpoint_piece(0, place, piece), checkpoint::encode(&log, &sum, piece))
        });
    }
    drop(sum);
    let mut bytes = 0;
    for first in (place..entries).step_by(AT_ONCE) {
        let mut some = Vec::new();
        for number in first..(first + AT_ONCE as u64).min(entries) {
            let entry = entry(&lake, number, chain, contents, &|number| whole(number, url)).encode();
            (chain, bytes) = (sha256(&entry), bytes + entry.len() as u64);
            some.push((keys::slot(0, number), entry));
        }
        write(store, some.len(), &|number| some[number].clone());
    }
    (contents, entries - place, bytes)
}

pub fn measure(bench: &mut Bench<'_>) {
    let lake = Lake::make(bench.server, &bench.server.reach, bench.scratch, "contents");
    let begun = Instant::now();
    let store = lake.reach.open(&lake.warehouse());
    let (contents, behind, bytes) = fill(&store, &lake.warehouse(), bench.scale.contents);
    progress(&format!("a lake with {} contents, made in {:.0} s", count(contents), begun.elapsed().as_secs_f64()));
    let mut seconds = Vec::new();
    let mut memory = Vec::new();
    for number in 0..bench.scale.rounds {
        let begun = Instant::now();
        let daemon = lake.host(number).start(&[]);
        seconds.push(begun.elapsed().as_secs_f64());
        memory.push(daemon.memory_bytes());
        daemon.stop();
    }
    lake.remove();
    let seconds = crate::rounds::median(&seconds);
    let what = bench.what(&format!("start of a new host, {} contents", count(contents)));
    let other = format!("checkpoint, and {} entries after it: {}", count(behind), mib(bytes));
    let line = Line::new(what, format!("{seconds:.1} s")).other(other);
    bench.table.add(line.target(format!("< {SECONDS_MAX:.0} s"), seconds < SECONDS_MAX));
    let most = |at: usize| memory.iter().map(|both: &[u64; 2]| both[at]).max().unwrap_or_default();
    let (resident, peak) = (most(0), most(1));
    let what = bench.what(&format!("memory of that host, {} contents", count(contents)));
    let line = Line::new(what, mib(resident)).other(format!("at most {} during the start", mib(peak)));
    bench.table.add(line.target(format!("<= {}", mib(RESIDENT_BYTES_MAX)), resident <= RESIDENT_BYTES_MAX));
}
