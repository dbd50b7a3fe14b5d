//! What the entries name, as fingerprints.
//!
//! Invariant: a name that was added is found.

use crate::lake::entry::Entry;
use crate::lake::publish;
use crate::types::Sha256;
use sha2::Digest as _;

/// 64 bits of a text's SHA-256.
pub(super) fn fingerprint(text: &[u8]) -> u64 {
    let Sha256(digest) = Sha256(sha2::Sha256::digest(text).into());
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Fingerprints of keys and of lines.
#[derive(Default)]
pub(super) struct Seen {
    data: Vec<u64>,
    manifests: Vec<u64>,
    lines: Vec<u64>,
    is_sorted: bool,
}

impl Seen {
    /// Adds everything that an entry names.
    pub(super) fn add(&mut self, entry: &Entry) {
        self.is_sorted = false;
        for claim in entry.claims() {
            self.data.push(fingerprint(claim.key.as_bytes()));
            self.lines.push(fingerprint(&claim.line));
        }
        self.manifests.extend(publish::manifests(entry).keys().map(|key| fingerprint(key.as_bytes())));
    }

    fn find(&mut self, column: fn(&mut Seen) -> &mut Vec<u64>, text: &[u8]) -> bool {
        if !self.is_sorted {
            for column in [&mut self.data, &mut self.manifests, &mut self.lines] {
                column.sort_unstable();
            }
            self.is_sorted = true;
        }
        column(self).binary_search(&fingerprint(text)).is_ok()
    }

    pub(super) fn has_data(&mut self, key: &str) -> bool {
        self.find(|seen| &mut seen.data, key.as_bytes())
    }

    pub(super) fn has_manifest(&mut self, key: &str) -> bool {
        self.find(|seen| &mut seen.manifests, key.as_bytes())
    }

    pub(super) fn has_line(&mut self, line: &[u8]) -> bool {
        self.find(|seen| &mut seen.lines, line)
    }
}
