//! What is sent: bytes and their checksums.
//!
//! Invariant: the bytes have been compared with the sender's SHA-256, after they were copied for sending. On their way, the
//! MD5 protects them, which every store compares with what arrives; S3 and Ceph compare the SHA-256, too. (SeaweedFS
//! compares the MD5 only.)

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use md5::Digest as _;
use object_store::PutPayload;

use crate::types::Sha256;

/// See the module.
pub(super) struct Body {
    /// In one piece.
    pub(super) payload: PutPayload,
    /// Of the payload.
    pub(super) sha256: Sha256,
    /// Of the payload, as HTTP has it.
    pub(super) md5: String,
}

impl Body {
    /// None if the bytes do not have this SHA-256. Takes as long as two checksums take: not for the worker.
    pub(super) fn new(bytes: &[u8], sha256: &Sha256) -> Option<Body> {
        let copy = bytes.to_vec();
        if sha2::Sha256::digest(&copy).as_slice() != sha256.0 {
            return None;
        }
        let md5 = BASE64_STANDARD.encode(md5::Md5::digest(&copy));
        Some(Body { payload: PutPayload::from(copy), sha256: *sha256, md5 })
    }
}
