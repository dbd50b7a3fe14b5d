//! Rebuilds a lost journal from the manifests.
//!
//! Invariants:
//! - Every content that a line lists is known afterwards, whether its file is still in the warehouse or not, under its name
//!   if the line has one; if several lines list it, the newest counts.
//! - No ingest id occurs twice: where lines of several ingestors have the same id, the oldest keeps it.
//! - A manifest that cannot be read ends the rebuild: no journal is made that lacks what one of them lists.
//! - Manifests and warehouse are only read.

use std::path::PathBuf;

use hashbrown::{HashMap, HashSet};

use crate::Error;
use crate::audit::{self, Plan, Summary, Table, Watch};
use crate::fs::Fs;
use crate::journal::clock::instants_before;
use crate::journal::rebuild::Rebuild;
use crate::journal::record::SameBy;
use crate::journal::snapshot::Row;
use crate::pipeline::manifest::hours::Unread;
use crate::pipeline::manifest::read::Listed;
use crate::types::{IngestId, Lsn, UnixMillis};

/// From the LSN of a file's DISCOVERED record to that of its MANIFESTED, if they are as close together as possible:
/// DISCOVERED, HASHED, MOVED, MANIFESTED.
const RECORDS_A_FILE: u64 = 3;
/// Larger ids are not used: they would leave no room for new ones after them.
const ID_MAX: u64 = 1 << 52;

/// The result of a rebuild.
#[derive(Debug)]
pub struct Rebuilt {
    /// Contents that the journal knows now.
    pub contents: u64,
    /// Lines whose content a newer line lists as well.
    pub older: u64,
    /// Contents that got another ingest id, because several lines had theirs.
    pub renumbered: u64,
    /// The snapshot.
    pub snapshot: PathBuf,
    /// The journal continues after this LSN.
    pub lsn: Lsn,
    /// The result of the check of the warehouse.
    pub summary: Summary,
}

/// Rebuilds the journal in `state` from the plan's manifests, and then checks the warehouse as the plan says.
///
/// # Errors
/// A journal exists already, it is locked, or I/O failed. Until everything is written, no journal exists.
pub fn run<F: Fs>(fs: &F, state: &std::path::Path, plan: &Plan, watch: &Watch<'_>) -> Result<Rebuilt, Error> {
    fs.open_dir(&plan.warehouse)?;
    fs.open_dir(&plan.manifests)?;
    let mut rebuild = Rebuild::begin(fs, state)?;
    let filled = audit::read_manifests(fs, plan, watch).and_then(|mut read| {
        unless_unread(&mut read.doubts.unread)?;
        let counts = fill(fs, &read.table, &mut rebuild, watch)?;
        Ok((read, counts))
    });
    let (read, (older, renumbered)) = match filled {
        Ok(filled) => filled,
        Err(error) => {
            rebuild.abandon();
            return Err(error);
        }
    };
    let snapshot = rebuild.finish()?;
    let (contents, lsn) = (snapshot.header().rows, snapshot.header().lsn);
    let path = snapshot.path().to_path_buf();
    drop(snapshot);
    let summary = audit::audit(fs, plan, watch, None, read)?;
    Ok(Rebuilt { contents, older, renumbered, snapshot: path, lsn, summary })
}

/// A journal that lacks the lines of one manifest would allow their files to be ingested again, and there is no second
/// rebuild: so either all manifests are read, or no journal is made.
fn unless_unread(unread: &mut Vec<Unread>) -> Result<(), Error> {
    unread.pop().map_or(Ok(()), |unread| Err(Error::ManifestUnread(unread.why)))
}

/// Adds a row for each content; returns how many lines were older lines of the same content, and how many contents got
/// a new id.
fn fill<F: Fs>(fs: &F, table: &Table, rebuild: &mut Rebuild<F>, watch: &Watch<'_>) -> Result<(u64, u64), Error> {
    let entries = table.entries();
    let newest = |line: &usize| entries.get(line + 1).is_none_or(|next| next.key != entries[*line].key);
    let lines: Vec<u32> = (0..entries.len()).filter(newest).map(|line| line as u32).collect();
    // The newest line shows what the lost journal has worked with.
    let newest = entries.iter().max_by_key(|entry| (entry.ingested_at(), entry.id));
    if newest.is_some_and(|entry| table.has_name(entry)) {
        rebuild.set_same_by(SameBy::NameAndContent);
    }
    let new_ids = new_ids(table, &lines);
    let listed_at = listed_at(table, fs.now());
    let (count, mut added) = (lines.len(), 0);
    let mut unread = table.read_all(fs, lines, &mut |line, listed, _| {
        rebuild.number(listed.journal, listed.seq);
        rebuild.push(&row(listed, new_ids.get(&line).copied(), listed_at[line as usize]));
        added += 1;
        !watch.is_stopped()
    });
    unless_unread(&mut unread)?;
    if watch.is_stopped() {
        return Err(Error::Interrupted);
    }
    if added < count {
        return Err(Error::ManifestsChanged);
    }
    Ok(((entries.len() - count) as u64, new_ids.len() as u64))
}

/// New ids for the lines that have none, or one that another line has.
fn new_ids(table: &Table, lines: &[u32]) -> HashMap<u32, IngestId> {
    let entries = table.entries();
    let is_good = |id: u64| id > 0 && id <= ID_MAX;
    let mut next = entries.iter().map(|entry| entry.id.0).filter(|id| is_good(*id)).max().unwrap_or(0);
    let mut doubtful: Vec<u32> = lines.iter().copied().filter(|line| table.has_doubtful_id(*line, is_good)).collect();
    doubtful.sort_by_key(|line| (entries[*line as usize].ingested_at(), *line));
    let mut taken = HashSet::new();
    let mut new_ids = HashMap::new();
    for line in doubtful {
        let id = entries[line as usize].id.0;
        if !is_good(id) || !taken.insert(id) {
            next += 1;
            new_ids.insert(line, IngestId(next));
        }
    }
    new_ids
}

/// When each line was written, as far as it can be determined: nothing may look older than it is.
fn listed_at(table: &Table, now: UnixMillis) -> Vec<UnixMillis> {
    let entries = table.entries();
    let mut order: Vec<u32> = (0..entries.len() as u32).collect();
    order.sort_unstable_by_key(|line| (entries[*line as usize].id, *line));
    let times: Vec<UnixMillis> = order.iter().map(|line| entries[*line as usize].ingested_at()).collect();
    let mut listed_at = vec![now; entries.len()];
    for (line, at) in order.into_iter().zip(instants_before(now, &times)) {
        listed_at[line as usize] = at;
    }
    listed_at
}

fn row(listed: Listed, new_id: Option<IngestId>, manifested_at: UnixMillis) -> Row {
    let ingest_id = new_id.unwrap_or(listed.ingest_id);
    Row {
        key: listed.key(),
        sha256: listed.sha256,
        ingest_id,
        lsn: Lsn(ingest_id.0).plus(RECORDS_A_FILE),
        device: listed.device,
        inode: listed.inode,
        size: listed.size,
        mtime_sec: listed.mtime_sec,
        discovered_at: listed.ingested_at,
        manifested_at,
        source_path: listed.source_path,
        warehouse_path: listed.warehouse_path,
        // The file at that path may have another content by now.
        published: None,
    }
}
