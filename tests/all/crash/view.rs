//! What everybody can see of a machine at one moment.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread::LocalKey;

use csv_ingestor::fs::FileKind;
use csv_ingestor::fs::sim::Upstream;
use csv_ingestor::pipeline::quarantine::REASON_SUFFIX;
use csv_ingestor::types::Sha256;
use hashbrown::HashMap;
use serde_json::Value;
use sha2::Digest as _;

use super::scenario::{DUPLICATES, MANIFESTS, QUARANTINE, STAGING, WAREHOUSE};

/// Of a content: its SHA-256 in hex, as the manifest has it.
pub type Digest = String;

/// What other programs append to a manifest begins so.
pub const FOREIGN: &str = "{\"foreign\":";

/// How the names begin under which upstreams write what they rename into place, or throw away: no files that anybody has
/// to care for.
pub const UNFINISHED: &str = ".upstream";

/// One line of a manifest that has its end.
#[derive(Clone, Debug)]
pub struct Line {
    pub ingest_id: u64,
    pub sha256: Digest,
    pub warehouse_path: PathBuf,
    /// Of a file that was looked into: rows, or what is wrong with it.
    pub profile: Option<(Option<u64>, Option<String>)>,
}

/// All that matters of a machine's files.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Every file in staging, hidden ones too.
    pub staging: BTreeMap<PathBuf, Digest>,
    /// Files at their final names.
    pub warehouse: BTreeMap<PathBuf, Digest>,
    /// Files in the warehouse's hidden directory: unfinished copies.
    pub copies: Vec<PathBuf>,
    /// Duplicates that were moved away.
    pub duplicates: BTreeMap<PathBuf, Digest>,
    /// Files in quarantine.
    pub quarantine: BTreeMap<PathBuf, Digest>,
    /// What stands there beside them: reasons, and what is unfinished.
    pub reasons: BTreeMap<PathBuf, Vec<u8>>,
    /// The ingestor's lines, in order.
    pub lines: Vec<Line>,
    /// What stands in the manifests and is no whole line.
    pub torn: Vec<String>,
}

/// So many contents are remembered with what they are; then it begins anew.
const REMEMBERED_MAX: usize = 4096;

type Memory<T> = RefCell<HashMap<Box<[u8]>, T>>;

/// What `of` says of a content. The sweeps ask for the same few again and again, so a thread remembers.
fn remembered<T: Clone>(memory: &'static LocalKey<Memory<T>>, content: &[u8], of: impl FnOnce(&[u8]) -> T) -> T {
    memory.with_borrow_mut(|memory| {
        if let Some(known) = memory.get(content) {
            return known.clone();
        }
        if memory.len() >= REMEMBERED_MAX {
            memory.clear();
        }
        memory.entry(content.into()).or_insert(of(content)).clone()
    })
}

pub fn digest(content: &[u8]) -> Digest {
    thread_local!(static DIGESTS: Memory<Digest> = RefCell::default());
    remembered(&DIGESTS, content, |content| Sha256(sha2::Sha256::digest(content).into()).hex())
}

/// Every regular file below `dir`, with its content.
pub fn files(upstream: &mut Upstream<'_>, dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    match upstream.stat(dir) {
        Ok(stat) if stat.kind == FileKind::Directory => upstream.files(dir).unwrap().into_iter().collect(),
        _ => BTreeMap::new(),
    }
}

fn line_of(text: &[u8]) -> Option<Line> {
    thread_local!(static LINES: Memory<Option<Line>> = RefCell::default());
    remembered(&LINES, text, parse)
}

fn parse(text: &[u8]) -> Option<Line> {
    let value: Value = serde_json::from_slice(text).ok()?;
    Some(Line {
        ingest_id: value["ingest_id"].as_u64()?,
        sha256: value["sha256"].as_str()?.to_owned(),
        warehouse_path: value["warehouse_path"].as_str()?.into(),
        profile: value.get("rows").map(|rows| {
            let reason = value.get("malformed_reason").map(|reason| reason.as_str().unwrap_or_default().to_owned());
            (rows.as_u64(), reason)
        }),
    })
}

impl View {
    pub fn of(upstream: &mut Upstream<'_>) -> View {
        let mut view = View::default();
        let digests = |found: BTreeMap<PathBuf, Vec<u8>>| -> BTreeMap<PathBuf, Digest> {
            found.into_iter().map(|(path, content)| (path, digest(&content))).collect()
        };
        view.staging = digests(files(upstream, Path::new(STAGING)));
        view.staging.retain(|path, _| !path.file_name().unwrap().to_str().unwrap().starts_with(UNFINISHED));
        view.duplicates = digests(files(upstream, Path::new(DUPLICATES)));
        let is_beside = |path: &Path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.ends_with(REASON_SUFFIX) || name.starts_with('.')
        };
        let (reasons, quarantine): (BTreeMap<_, _>, BTreeMap<_, _>) =
            files(upstream, Path::new(QUARANTINE)).into_iter().partition(|(path, _)| is_beside(path));
        (view.reasons, view.quarantine) = (reasons, digests(quarantine));
        let hidden = Path::new(WAREHOUSE).join(".csv-ingestor");
        let (copies, warehouse): (BTreeMap<_, _>, BTreeMap<_, _>) =
            files(upstream, Path::new(WAREHOUSE)).into_iter().partition(|(path, _)| path.starts_with(&hidden));
        view.copies = copies.into_keys().collect();
        view.warehouse = digests(warehouse);
        let of_readers = |path: &PathBuf| !path.starts_with(Path::new(MANIFESTS).join(".csv-ingestor"));
        for (path, content) in files(upstream, Path::new(MANIFESTS)).into_iter().filter(|(path, _)| of_readers(path)) {
            for text in content.split_inclusive(|byte| *byte == b'\n') {
                if text.starts_with(FOREIGN.as_bytes()) && text.ends_with(b"}\n") {
                    continue;
                }
                match line_of(text).filter(|_| text.ends_with(b"\n")) {
                    Some(line) => view.lines.push(line),
                    None => view.torn.push(format!("{}: {:?}", path.display(), String::from_utf8_lossy(text))),
                }
            }
        }
        view
    }

    /// True for a content that stands in staging, at a final name in the warehouse, in quarantine, or was moved away as a
    /// duplicate (by mistake even, until that is noticed).
    pub fn holds(&self, digest: &Digest) -> bool {
        self.staging
            .values()
            .chain(self.warehouse.values())
            .chain(self.duplicates.values())
            .chain(self.quarantine.values())
            .any(|found| found == digest)
    }

    /// Files in staging under names that upstreams give.
    pub fn staged(&self) -> impl Iterator<Item = (&PathBuf, &Digest)> {
        self.staging.iter().filter(|(path, _)| !path.file_name().unwrap().to_str().unwrap().starts_with('.'))
    }
}
