//! The staged files of a host.

use std::collections::BTreeMap;

use csv_ingestor::lake::host::{Content, Decided, Staging};
use csv_ingestor::lake::parts::Cut;
use csv_ingestor::lake::publish::AtHand;
use csv_ingestor::types::{Sha256, UnixMillis};

use super::model::sha256;

/// The files, as they are now, by content.
#[derive(Clone, Default)]
pub struct Files(pub BTreeMap<Sha256, Vec<u8>>);

/// The SHA-256 of each part.
pub fn parts(bytes: &[u8], cut: &Cut) -> Vec<Sha256> {
    let size = bytes.len() as u64;
    let part = |part| {
        let (begin, length) = cut.range(size, part);
        sha256(&bytes[begin as usize..(begin + length) as usize])
    };
    (0..cut.parts(size)).map(part).collect()
}

impl AtHand for Files {
    fn bytes(&self, content: &Sha256) -> Option<Vec<u8>> {
        self.0.get(content).cloned()
    }
}

impl Staging for Files {
    fn line(&self, content: &Content, decided: &Decided<'_>) -> Vec<u8> {
        format!("{} {} {} {}", content.sha256, decided.generation, decided.key, decided.id).into_bytes()
    }
}

impl Files {
    pub fn of(texts: &[&str]) -> Files {
        Files(texts.iter().map(|text| (sha256(text.as_bytes()), text.as_bytes().to_vec())).collect())
    }

    pub fn contents(&self, ingested_at: UnixMillis) -> Vec<Content> {
        let content = |(sha256, bytes): (&Sha256, &Vec<u8>)| Content {
            sha256: *sha256,
            size: bytes.len() as u64,
            partition: ingested_at.date_partition(),
            name: b"a.csv".to_vec(),
            ingested_at,
            parts: None,
        };
        self.0.iter().map(content).collect()
    }
}
