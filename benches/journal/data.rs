//! Files as upstreams might send them: each is a function of its number.

use std::path::PathBuf;

use csv_ingestor::journal::record::{Discovered, DuplicateAction, Hashed, Moved, Record, Settings};
use csv_ingestor::journal::snapshot::Row;
use csv_ingestor::types::{FileIdentity, FileTime, IngestId, Lsn, Sha256, UnixMillis};

/// Length of every path in staging.
pub const SOURCE_BYTES: usize = 60;
/// Length of every path in the warehouse.
pub const WAREHOUSE_BYTES: usize = 70;
/// Numbers from here on belong to files that no store contains at the beginning.
pub const UNKNOWN_FROM: u64 = 1 << 32;

/// When the first file was discovered: 2026-11-25.
const BEGIN_MS: u64 = 1_795_564_800_000;
/// The interval between two files: 100,000 a day.
const INTERVAL_MS: u64 = 864;
const DEVICE: u64 = 0xfe00;

/// A step of a file, each a durable transition.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Discovered,
    Hashed,
    Moved,
    Manifested,
}

/// All steps in their order.
pub const STEPS: [Step; 4] = [Step::Discovered, Step::Hashed, Step::Moved, Step::Manifested];

impl Step {
    /// The name in the database.
    pub fn text(self) -> &'static str {
        match self {
            Step::Discovered => "DISCOVERED",
            Step::Hashed => "HASHED",
            Step::Moved => "MOVED",
            Step::Manifested => "MANIFESTED",
        }
    }
}

/// A file.
#[derive(Clone)]
pub struct File {
    pub identity: FileIdentity,
    pub sha256: Sha256,
    pub discovered_at: UnixMillis,
    pub source_path: PathBuf,
    pub warehouse_path: PathBuf,
}

/// Scatters numbers over all 64 bits; no two give the same result (`SplitMix64`'s output function).
fn scatter(number: u64) -> u64 {
    let mut bits = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The first 8 bytes of a file's SHA-256.
pub fn prefix(number: u64) -> u64 {
    scatter(number)
}

/// A pseudo-random digest: uniformly distributed, and different for each number.
pub fn sha256(number: u64) -> Sha256 {
    let mut digest = [0; 32];
    for (index, part) in digest.chunks_exact_mut(8).enumerate() {
        part.copy_from_slice(&scatter(number ^ (index as u64) << 56).to_be_bytes());
    }
    Sha256(digest)
}

/// The file with this number.
pub fn file(number: u64) -> File {
    let discovered_at = UnixMillis(BEGIN_MS + number % UNKNOWN_FROM * INTERVAL_MS);
    let mtime = FileTime { sec: (discovered_at.0 / 1000) as i64 - 20, nsec: 0 };
    let name = format!("orders_20261125_{number:011}.csv");
    let source_path = PathBuf::from(format!("/data/staging/upstream-eu-01/{name}"));
    let warehouse_path = PathBuf::from(format!("/data/warehouse/{}/{name}", discovered_at.date_partition()));
    debug_assert!(source_path.as_os_str().len() == SOURCE_BYTES && warehouse_path.as_os_str().len() == WAREHOUSE_BYTES);
    let (inode, size) = (131_072 + number, 500 + scatter(number) % 2_000_000);
    let identity = FileIdentity { device: DEVICE, inode, size, mtime, ctime: mtime };
    File { identity, sha256: sha256(number), discovered_at, source_path, warehouse_path }
}

impl File {
    /// The journal's record of a step.
    pub fn record(&self, id: IngestId, step: Step) -> Record {
        match step {
            Step::Discovered => Record::Discovered(Discovered {
                identity: self.identity,
                discovered_at: self.discovered_at,
                source_path: self.source_path.clone(),
                sidecar: None,
            }),
            Step::Hashed => Record::Hashed(Hashed {
                ingest_id: id,
                sha256: self.sha256,
                warehouse_path: self.warehouse_path.clone(),
                copy: None,
                verified_by: None,
            }),
            Step::Moved => Record::Moved(Moved { ingest_id: id, published: Some(self.identity), seq: None }),
            Step::Manifested => Record::Manifested(id),
        }
    }

    /// The row of the file in a snapshot.
    pub fn row(&self, id: IngestId) -> Row {
        Row {
            key: self.sha256.into(),
            sha256: self.sha256,
            ingest_id: id,
            lsn: Lsn(id.0 + 3),
            device: self.identity.device,
            inode: self.identity.inode,
            size: self.identity.size,
            mtime_sec: self.identity.mtime.sec,
            discovered_at: self.discovered_at,
            manifested_at: UnixMillis(self.discovered_at.0 + 250),
            source_path: self.source_path.clone(),
            warehouse_path: self.warehouse_path.clone(),
            published: Some(self.identity),
        }
    }
}

/// The first record of every journal.
pub fn settings() -> Record {
    Record::Settings(Settings {
        input: "/data/staging/upstream-eu-01".into(),
        warehouse: "/data/warehouse".into(),
        manifests: "/data/manifests".into(),
        duplicates: DuplicateAction::Keep,
        duplicates_dir: None,
    })
}
