//! The checksum that stores other than S3 compare with what arrives.
//!
//! Invariant: it is that of the payload in memory; whether the payload is right, its SHA-256 has shown before.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use md5::Digest as _;
use object_store::PutPayload;

/// The MD5 of a payload, as HTTP has it.
pub(super) fn md5_of(payload: &PutPayload) -> String {
    let mut hasher = md5::Md5::new();
    payload.iter().for_each(|bytes| hasher.update(bytes));
    BASE64_STANDARD.encode(hasher.finalize())
}
