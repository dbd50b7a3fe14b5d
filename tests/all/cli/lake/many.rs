//! An audit of many objects needs few bytes for each: a store that makes them up as they are read.
//!
//! `LAKE_AUDIT_ENTRIES=500` audits a million contents; the peak of the process's memory is printed.

use std::path::PathBuf;
use std::sync::Arc;

use csv_ingestor::audit::Sample;
use csv_ingestor::lake::entry::{Body, Claim, Claims, Entry, Header, Place};
use csv_ingestor::lake::keys;
use csv_ingestor::lake::publish::{Stores, manifests};
use csv_ingestor::store::{Error, Head, Kind, Part, Result, Store, Verb};
use csv_ingestor::types::{Sha256, UnixMillis};

use super::audit::audited_on;
use crate::lake::desk::{LAKE, day};
use crate::lake::model::sha256;

const CLAIMS: u64 = 2_000;
const SIZE: u64 = 1;

/// Entries of a fixed number of claims. Only their chain is kept.
struct MadeUp {
    chain: Vec<Sha256>,
}

fn content(number: u64) -> Sha256 {
    sha256(&number.to_le_bytes())
}

fn data_key(number: u64) -> String {
    keys::data("ingest_date=2025-11-18", format!("c{number:09}.csv").as_bytes(), &content(number), 0)
}

fn claim(number: u64) -> Claim {
    let part = Part { number: 1, size: SIZE, etag: String::new() };
    Claim {
        sha256: content(number),
        generation: 0,
        size: SIZE,
        ingested_at: day(0),
        key: data_key(number),
        bytes: Place::Upload { id: "u".to_owned(), parts: vec![part] },
        line: format!("line {number}").into_bytes(),
    }
}

impl MadeUp {
    fn new(entries: u64) -> MadeUp {
        let mut made = MadeUp { chain: vec![Sha256([0; 32])] };
        for number in 0..entries {
            let bytes = made.entry(number).encode();
            made.chain.push(sha256(&bytes));
        }
        made
    }

    fn entries(&self) -> u64 {
        self.chain.len() as u64 - 1
    }

    fn entry(&self, number: u64) -> Entry {
        let predecessor = self.chain[number as usize];
        let header =
            Header { lake: LAKE.id, shard: 0, number, predecessor, floor: number, host: [1; 16], serial: number };
        let claims = (number * CLAIMS..(number + 1) * CLAIMS).map(claim).collect();
        Entry { header, body: Body::Claims(Claims { packs: Vec::new(), claims }) }
    }

    fn manifest(&self, key: &str) -> Option<Vec<u8>> {
        let number = key.strip_suffix(".jsonl")?.rsplit_once("0-")?.1.parse().ok()?;
        let mut objects = (number < self.entries()).then(|| manifests(&self.entry(number)))?;
        objects.remove(key)
    }

    /// The page of keys behind `after`, of which there are so many.
    fn page(after: &str, count: u64, key: &dyn Fn(u64) -> String) -> Vec<(String, UnixMillis)> {
        let (mut from, mut to) = (0, count);
        while from < to {
            let middle = from + (to - from) / 2;
            (from, to) = if key(middle).as_str() > after { (from, middle) } else { (middle + 1, to) };
        }
        (from..count.min(from + 1000)).map(|number| (key(number), day(0))).collect()
    }
}

fn fails<T>(verb: Verb, key: &str, kind: Kind) -> Result<T> {
    Err(Error { verb, key: key.to_owned(), kind, detail: String::new() })
}

/// The warehouse, or the manifests.
struct Side(Arc<MadeUp>, bool);

impl Store for Side {
    fn create(&self, key: &str, _: &[u8], _: &Sha256) -> Result<()> {
        fails(Verb::Create, key, Kind::Denied)
    }

    fn get(&self, key: &str) -> Result<Vec<u8>> {
        let number = key.strip_prefix(".csv-ingestor/log/0/").and_then(|number| number.parse().ok());
        match number.filter(|number| *number < self.0.entries()) {
            Some(number) => Ok(self.0.entry(number).encode()),
            None => fails(Verb::Get, key, Kind::NotFound),
        }
    }

    fn get_range(&self, key: &str, _: u64, _: u64) -> Result<Vec<u8>> {
        fails(Verb::Get, key, Kind::Denied)
    }

    fn head(&self, key: &str) -> Result<Head> {
        let bytes = if self.1 { self.0.manifest(key) } else { None };
        if let Some(bytes) = bytes {
            return Ok(Head { size: bytes.len() as u64, sha256: Some(sha256(&bytes)) });
        }
        let number = key.strip_prefix("ingest_date=2025-11-18/c").and_then(|rest| rest.get(..9)?.parse().ok());
        let number = number.filter(|number| *number < self.0.entries() * CLAIMS && data_key(*number) == key);
        let slot = key.strip_prefix(".csv-ingestor/log/0/").and_then(|number| number.parse::<u64>().ok());
        match number {
            Some(number) => Ok(Head { size: SIZE, sha256: Some(content(number)) }),
            None if slot.is_some_and(|number| number < self.0.entries()) => Ok(Head { size: 1, sha256: None }),
            None => fails(Verb::Head, key, Kind::NotFound),
        }
    }

    fn delete(&self, key: &str) -> Result<()> {
        fails(Verb::Delete, key, Kind::Denied)
    }

    fn list_ages(&self, _: &str, after: &str) -> Result<Vec<(String, UnixMillis)>> {
        let entries = self.0.entries();
        Ok(match self.1 {
            true => MadeUp::page(after, entries, &|number| keys::manifest(&day(0).hour_partition(), 0, number)),
            false => MadeUp::page(after, entries * CLAIMS, &data_key),
        })
    }

    fn begin_upload(&self, key: &str, _: &Sha256) -> Result<String> {
        fails(Verb::BeginUpload, key, Kind::Denied)
    }

    fn put_part(&self, key: &str, _: &str, _: u16, _: &[u8], _: &Sha256) -> Result<Part> {
        fails(Verb::PutPart, key, Kind::Denied)
    }

    fn complete(&self, key: &str, _: &str, _: &[Part]) -> Result<()> {
        fails(Verb::Complete, key, Kind::Denied)
    }

    fn abort(&self, key: &str, _: &str) -> Result<()> {
        fails(Verb::Abort, key, Kind::Denied)
    }

    fn list_parts(&self, key: &str, _: &str) -> Result<Vec<Part>> {
        fails(Verb::ListParts, key, Kind::Denied)
    }
}

#[test]
fn many_objects_are_all_looked_at() {
    let entries = std::env::var("LAKE_AUDIT_ENTRIES").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let made = Arc::new(MadeUp::new(entries));
    let stores = Stores::new(Arc::new(Side(made.clone(), false)), Arc::new(Side(made, true)));
    let (summary, found) = audited_on(&stores, day(0), Sample::Nothing);
    assert_eq!(found, Vec::<(csv_ingestor::audit::Kind, PathBuf)>::new());
    assert_eq!((summary.entries, summary.all.files, summary.all.lines), (entries, entries * CLAIMS, entries * CLAIMS));
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
}
