//! The state of a machine's files at one moment, as any process can see it, on a simulated or a real disk.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread::LocalKey;

use csv_ingestor::pipeline::quarantine::REASON_SUFFIX;
use csv_ingestor::types::Sha256;
use hashbrown::HashMap;
use serde_json::Value;
use sha2::Digest as _;

use super::line_group::LineGroup;

/// SHA-256 of a content in hex, as in the manifest.
pub type Digest = String;

/// Lines that other programs append to a manifest begin like this.
pub const FOREIGN: &str = "{\"foreign\":";

/// The ingestor's own directory in the warehouse and in the manifests directory.
const PRIVATE: &str = ".csv-ingestor";

/// Prefix of the names under which upstreams write files that they then rename into place or remove. Such files are ignored.
pub const UNFINISHED: &str = ".upstream";

/// The directories of a machine.
#[derive(Clone, Copy)]
pub struct Places<'a> {
    pub staging: &'a Path,
    pub warehouse: &'a Path,
    pub manifests: &'a Path,
    pub duplicates: &'a Path,
    pub quarantine: &'a Path,
}

/// Regular files, with their bytes.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Keys that every manifest line has, in this order.
const LINE_KEYS: [&str; 5] = ["path", "sha256", "warehouse_path", "ingest_id", "ingested_at"];

/// One complete line of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub ingest_id: u64,
    pub seq: Option<u64>,
    /// The manifest that has it.
    pub manifest: PathBuf,
    pub sha256: Digest,
    pub warehouse_path: PathBuf,
    /// The path in staging.
    pub path: PathBuf,
    /// The name that counts, where names do.
    pub name: Option<String>,
    /// Of a validated file: the number of rows, and what is wrong with it.
    pub profile: Option<(Option<u64>, Option<String>)>,
    /// Of a file of a group.
    pub group: Option<LineGroup>,
}

/// Text in a manifest that is not a complete line of the ingestor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    pub manifest: PathBuf,
    pub text: String,
}

/// Everything about a machine's files that the checks need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Every file in staging, hidden ones too.
    pub staging: BTreeMap<PathBuf, Digest>,
    /// Their bytes.
    pub staged_contents: Files,
    /// Files at their final names.
    pub warehouse: BTreeMap<PathBuf, Digest>,
    /// Files in the warehouse's hidden directory: unfinished copies.
    pub copies: Vec<PathBuf>,
    /// Duplicates that were moved away.
    pub duplicates: BTreeMap<PathBuf, Digest>,
    /// Files in quarantine.
    pub quarantine: BTreeMap<PathBuf, Digest>,
    /// The files beside them: reasons, and unfinished files.
    pub reasons: Files,
    /// The ingestor's lines, in order.
    pub lines: Vec<Line>,
    pub torn: Vec<Torn>,
}

/// Contents that a thread remembers, with their results, before it forgets all of them.
const REMEMBERED_MAX: usize = 4096;

type Memory<T> = RefCell<HashMap<Box<[u8]>, T>>;

/// Returns `of(content)`. The sweeps use the same few contents again and again, so each thread caches the results.
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

/// The sidecar of a file in staging. A compressed file shares that of the plain one.
pub fn sidecar_of(path: &Path) -> PathBuf {
    let name = path.display().to_string();
    PathBuf::from(format!("{}.ok", name.strip_suffix(".gz").unwrap_or(&name)))
}

pub fn is_hidden(path: &Path) -> bool {
    begins_with(path, ".")
}

fn begins_with(path: &Path, prefix: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_str().is_some_and(|name| name.starts_with(prefix)))
}

/// True for a file that is to be ingested, false for a sidecar.
pub fn is_data(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "csv")
}

fn line_of(text: &[u8]) -> Option<Line> {
    thread_local!(static LINES: Memory<Option<Line>> = RefCell::default());
    remembered(&LINES, text, parse)
}

fn parse(text: &[u8]) -> Option<Line> {
    let value: Value = serde_json::from_slice(text).ok()?;
    let mut keys = value.as_object()?.keys();
    if !LINE_KEYS.iter().all(|due| keys.any(|key| key == due)) {
        return None;
    }
    Some(Line {
        ingest_id: value["ingest_id"].as_u64()?,
        seq: value.get("seq").and_then(Value::as_u64),
        manifest: PathBuf::new(),
        sha256: value["sha256"].as_str()?.to_owned(),
        warehouse_path: value["warehouse_path"].as_str()?.into(),
        path: value["path"].as_str()?.into(),
        name: value.get("name").and_then(|name| name.as_str()).map(str::to_owned),
        profile: value.get("rows").map(|rows| {
            let reason = value.get("malformed_reason").map(|reason| reason.as_str().unwrap_or_default().to_owned());
            (rows.as_u64(), reason)
        }),
        group: LineGroup::of(&value),
    })
}

fn digests(files: Files) -> BTreeMap<PathBuf, Digest> {
    files.into_iter().map(|(path, content)| (path, digest(&content))).collect()
}

impl View {
    /// `files_below` returns the regular files below a directory, which need not exist.
    pub fn taken(places: Places<'_>, mut files_below: impl FnMut(&Path) -> Files) -> View {
        let mut view = View { staged_contents: files_below(places.staging), ..View::default() };
        view.staged_contents.retain(|path, _| !begins_with(path, UNFINISHED));
        view.staging = view.staged_contents.iter().map(|(path, content)| (path.clone(), digest(content))).collect();
        view.duplicates = digests(files_below(places.duplicates));
        let is_beside = |path: &Path| is_hidden(path) || path.to_string_lossy().ends_with(REASON_SUFFIX);
        let (reasons, quarantine): (Files, Files) =
            files_below(places.quarantine).into_iter().partition(|(path, _)| is_beside(path));
        (view.reasons, view.quarantine) = (reasons, digests(quarantine));
        let hidden = places.warehouse.join(PRIVATE);
        let (copies, warehouse): (Files, Files) =
            files_below(places.warehouse).into_iter().partition(|(path, _)| path.starts_with(&hidden));
        view.copies = copies.into_keys().collect();
        view.warehouse = digests(warehouse);
        let hidden = places.manifests.join(PRIVATE);
        for (path, content) in files_below(places.manifests).into_iter().filter(|(path, _)| !path.starts_with(&hidden))
        {
            view.read_manifest(&path, &content);
        }
        view
    }

    fn read_manifest(&mut self, manifest: &Path, content: &[u8]) {
        for text in content.split_inclusive(|byte| *byte == b'\n') {
            if text.starts_with(FOREIGN.as_bytes()) && text.ends_with(b"}\n") {
                continue;
            }
            match line_of(text).filter(|_| text.ends_with(b"\n")) {
                Some(line) => self.lines.push(Line { manifest: manifest.to_owned(), ..line }),
                None => {
                    let text = String::from_utf8_lossy(text).into_owned();
                    self.torn.push(Torn { manifest: manifest.to_owned(), text });
                }
            }
        }
    }

    /// True for a content that is in staging, at a final name in the warehouse, or in quarantine, or was moved away as a
    /// duplicate (even by mistake, until that is noticed).
    pub fn holds(&self, digest: &Digest) -> bool {
        self.staging
            .values()
            .chain(self.warehouse.values())
            .chain(self.duplicates.values())
            .chain(self.quarantine.values())
            .any(|found| found == digest)
    }

    /// Files in staging, without hidden ones.
    pub fn staged(&self) -> impl Iterator<Item = (&PathBuf, &Digest)> {
        self.staging.iter().filter(|(path, _)| !is_hidden(path))
    }

    /// Bytes of the sidecar of a file in staging, if it exists.
    pub fn sidecar(&self, path: &Path) -> Option<&[u8]> {
        self.staged_contents.get(&sidecar_of(path)).map(Vec::as_slice)
    }

    /// True if this file has a sidecar with the checksum of this content.
    pub fn is_released(&self, path: &Path, digest: &Digest) -> bool {
        let mut lines = self.sidecar(path).unwrap_or_default().split(|byte| *byte == b'\n');
        lines.any(|line| line.starts_with(digest.as_bytes()))
    }
}
