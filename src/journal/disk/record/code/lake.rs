//! The encoding of records about files that go to a lake.
//!
//! Invariant: that of [`super`].

use super::fields::{Fields, put_text, put_u64};
use crate::journal::disk::record::{Claimed, Upload, Uploading};
use crate::limits::{LAKE_KEY_BYTES_MAX, LAKE_UPLOAD_ID_BYTES_MAX};
use crate::types::UnixMillis;

pub(super) const KIND_CLAIMED: u8 = 27;
pub(super) const KIND_UPLOADING: u8 = 28;

pub(super) fn put_claimed(out: &mut Vec<u8>, claimed: &Claimed) -> u8 {
    put_u64(out, claimed.ingest_id.0);
    out.extend_from_slice(&claimed.shard.to_le_bytes());
    put_u64(out, claimed.entry);
    KIND_CLAIMED
}

pub(super) fn put_uploading(out: &mut Vec<u8>, uploading: &Uploading) -> u8 {
    put_u64(out, uploading.ingest_id.0);
    out.extend_from_slice(&uploading.upload.generation.to_le_bytes());
    put_u64(out, uploading.upload.since.0);
    put_text(out, &uploading.upload.key);
    put_text(out, &uploading.upload.id);
    KIND_UPLOADING
}

impl Fields<'_> {
    pub(super) fn claimed(&mut self) -> Option<Claimed> {
        Some(Claimed { ingest_id: self.id()?, shard: u16::from_le_bytes(self.array()?), entry: self.u64()? })
    }

    pub(super) fn uploading(&mut self) -> Option<Uploading> {
        let ingest_id = self.id()?;
        let (generation, since) = (u32::from_le_bytes(self.array()?), UnixMillis(self.u64()?));
        let upload = Upload { generation, since, key: self.text()?, id: self.text()? };
        let is_in = |text: &str, most: usize| (1..=most).contains(&text.len());
        let fits = is_in(&upload.key, LAKE_KEY_BYTES_MAX) && is_in(&upload.id, LAKE_UPLOAD_ID_BYTES_MAX);
        fits.then_some(Uploading { ingest_id, upload })
    }
}
