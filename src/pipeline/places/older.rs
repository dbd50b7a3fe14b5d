//! Checks whether the manifests list contents that the journal should know and does not. Then the journal is older than
//! they are (a state directory from a backup, a copied machine), or was newly created beside them, and content that they
//! list would be ingested again.
//!
//! Invariants:
//! - It only reads, except [`accept`].
//! - It checks the hours that are newest by name and those that are newest by the clock: either may be wrong. From each
//!   it reads the end, and more if all of that belongs to other journals. The cost does not grow with the manifests.
//! - A line counts if this journal wrote it, according to the UUID in it. A line without a UUID, or of another journal
//!   while this one has not begun yet, counts if its file came from this staging directory. A second ingestor with its
//!   own staging directory does not count, even if both use the same path for it.
//! - The journal need not know contents that it was told to forget or that expired.
//! - A manifest that cannot be read is skipped: one bad manifest must not keep the ingestor from starting.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use hashbrown::HashMap;

use super::make_private_dir;
use crate::fs::{self, FILE_MODE, Fs, Open};
use crate::journal;
use crate::journal::index::Index;
use crate::journal::record::Settings;
use crate::limits::{
    OLDER_ACCEPTED_MAX, OLDER_BYTES_MAX, OLDER_LOOKUPS_MAX, OLDER_MANIFESTS_MAX, OLDER_SPAN, OLDER_TAIL_BYTES,
};
use crate::pipeline::manifest::hours;
use crate::pipeline::manifest::read::{Lines, Listed};
use crate::pipeline::manifest::{MANIFEST_NAME, hour_dir};
use crate::types::{IngestId, Lsn, UnixMillis};

/// The prefix of the files that record what was accepted.
const ACCEPTED: &str = "accepted-";
/// The name of such a file before it is complete.
const UNFINISHED: &str = "accepted.tmp";
/// Bytes of such a file, at most: a line for each manifest.
const ACCEPTED_BYTES_MAX: usize = 64 << 10;

/// What is known of the journal.
pub struct Knowledge<'a> {
    /// The directories.
    pub settings: &'a Settings,
    /// The journal's index.
    pub index: &'a Index,
    /// The journal's UUID; None if there is none yet.
    pub store: Option<[u8; 16]>,
    /// The journal has not used ids from here on.
    pub next_lsn: Lsn,
    /// The journal was repaired, and the repair reported what was lost: it need not know that.
    pub is_mended: bool,
}

/// A line that the journal should know.
#[derive(Debug)]
pub struct Unknown {
    /// The manifest.
    pub manifest: PathBuf,
    /// Counted from 1; 0 if it could not be determined any more.
    pub number: u64,
    /// The parsed line.
    pub listed: Listed,
}

/// How far the manifests were accepted, by the hour's path below their root.
#[derive(Default)]
struct Accepted {
    /// Older hours were not checked.
    floor: Option<String>,
    ends: HashMap<String, u64>,
}

/// The result of the check.
#[derive(Debug)]
pub enum AgeVerdict {
    /// The journal knows everything that it should.
    Known,
    /// It does not, but a repair reported the loss. The caller should accept the manifests as they are, so that it does
    /// not matter at later starts.
    Mended,
    /// It does not know this line.
    Older(Box<Unknown>),
}

/// Searches for a line that the journal should know and does not.
///
/// # Errors
/// The journal's snapshot cannot be read.
pub fn judge<F: Fs>(fs: &F, known: &Knowledge<'_>) -> Result<AgeVerdict, journal::Error> {
    let root = &known.settings.manifests;
    let accepted = known.store.map_or_else(Vec::new, |store| read_accepted(fs, root, &store));
    let mut look = Search { fs, known, lookups: OLDER_LOOKUPS_MAX, is_here: HashMap::new(), staging: None, excused: 0 };
    look.staging =
        fs.open_dir(&known.settings.input).and_then(|dir| fs.stat_dir(&dir)).ok().map(|it| it.identity.key());
    let mut bytes = 0;
    for manifest in newest(fs, root) {
        let hour = hour_of(root, &manifest);
        let mut ours = Vec::new();
        for tail_bytes in OLDER_TAIL_BYTES {
            let (begin, end) = look.tail(&manifest, tail_bytes.min(OLDER_BYTES_MAX - bytes), &mut ours);
            bytes += end - begin;
            if !ours.is_empty() || begin == 0 {
                break;
            }
        }
        // Newest first: these are the most likely to be unknown, and the lookups may not suffice for all.
        for (offset, listed) in ours.into_iter().rev() {
            if !accepted.iter().any(|accepted| accepted.covers(&hour, offset)) && look.is_unknown(&listed)? {
                let number = number_of(fs, &manifest, offset);
                return Ok(AgeVerdict::Older(Box::new(Unknown { manifest, number, listed })));
            }
        }
        if bytes >= OLDER_BYTES_MAX {
            break;
        }
    }
    Ok(if look.excused > 0 { AgeVerdict::Mended } else { AgeVerdict::Known })
}

struct Search<'a, F: Fs> {
    fs: &'a F,
    known: &'a Knowledge<'a>,
    /// How many contents may still be looked up on the disk.
    lookups: usize,
    /// For the directory of a line's file: whether it is this staging directory.
    is_here: HashMap<PathBuf, bool>,
    staging: Option<(u64, u64)>,
    /// How many lines a repair has lost.
    excused: usize,
}

impl<F: Fs> Search<'_, F> {
    /// Adds to `ours` the lines at a manifest's end that count, each with its offset. Returns the range that was read.
    fn tail(&mut self, manifest: &Path, bytes: u64, ours: &mut Vec<(u64, Listed)>) -> (u64, u64) {
        let read = Lines::open_tail(self.fs, manifest, bytes).and_then(|mut lines| {
            let mut first = None;
            while let Some(line) = lines.next_line()? {
                first.get_or_insert(line.offset);
                let counts = line.parse().ok().filter(|listed| self.counts(listed));
                ours.extend(counts.map(|listed| (line.offset, listed)));
            }
            Ok((first.unwrap_or(lines.lines_end()), lines.lines_end()))
        });
        read.unwrap_or_else(|error| {
            if !error.is_not_found() {
                let manifest = manifest.display();
                tracing::warn!(event = "manifest_unread", path = %manifest, %error, "not compared with the journal");
            }
            (0, 0)
        })
    }

    fn is_own(&self, listed: &Listed) -> bool {
        listed.journal.is_some() && listed.journal == self.known.store
    }

    /// True if this journal should know the line.
    fn counts(&mut self, listed: &Listed) -> bool {
        // A line of another journal is usually a neighbour's, which may have the same path for its staging directory:
        // hosts and containers do. Only a journal that has not begun yet may replace one that was lost here.
        let may_be_ours = listed.journal.is_none() || self.known.index.settings().is_none();
        self.is_own(listed) || may_be_ours && self.is_from_here(listed)
    }

    fn is_unknown(&mut self, listed: &Listed) -> Result<bool, journal::Error> {
        let Knowledge { index, next_lsn, is_mended, .. } = *self.known;
        let IngestId(id) = listed.ingest_id;
        if self.is_own(listed) && id >= next_lsn.0 {
            return Ok(true);
        }
        // No exception for files in flight: a line is written only after MOVED, and from MOVED on the index knows the
        // content.
        let key = listed.key();
        if index.may_have_forgotten(&key, listed.ingest_id, listed.ingested_at) {
            return Ok(false);
        }
        if index.is_looked_up(&key) {
            if self.lookups == 0 {
                return Ok(false);
            }
            self.lookups -= 1;
        }
        let is_unknown = index.original(&key)?.is_none();
        let is_excused = is_unknown && is_mended && id < next_lsn.0;
        self.excused += usize::from(is_excused);
        Ok(is_unknown && !is_excused)
    }

    /// True if the line's file came from this staging directory, by whatever path.
    fn is_from_here(&mut self, listed: &Listed) -> bool {
        let Some(dir) = listed.input() else { return false };
        if dir == self.known.settings.input {
            // A directory below staging may be on another device.
            return listed.levels > 0
                || self.staging.is_none_or(|(device, _)| listed.journal.is_none() || listed.device == device);
        }
        if let Some(known) = self.is_here.get(dir) {
            return *known;
        }
        let key = self.fs.open_dir(dir).and_then(|dir| self.fs.stat_dir(&dir)).ok().map(|stat| stat.identity.key());
        let is_here = key.is_some() && key == self.staging;
        if self.is_here.len() < OLDER_LOOKUPS_MAX {
            self.is_here.insert(dir.to_path_buf(), is_here);
        }
        is_here
    }
}

/// The manifests to be checked, newest first.
fn newest<F: Fs>(fs: &F, root: &Path) -> Vec<PathBuf> {
    let mut found = newest_until(fs, root, None);
    // A clock was ahead once: for a long time no newer hours come after those.
    found.extend(newest_until(fs, root, Some(fs.now())));
    found.sort_unstable();
    found.dedup();
    found.reverse();
    found
}

/// Hours that are much older than the newest were written before any content could become unknown.
fn newest_until<F: Fs>(fs: &F, root: &Path, until: Option<UnixMillis>) -> Vec<PathBuf> {
    let mut found = hours::newest(fs, root, until, OLDER_MANIFESTS_MAX);
    let newest = found.first().and_then(|manifest| instant_of(&hour_of(root, manifest)));
    if let Some(begin) = newest.map(|newest| hour_dir(root, newest.minus(OLDER_SPAN))) {
        found.retain(|manifest| *manifest >= begin);
    }
    found
}

/// The time at which an hour begins, from its path.
fn instant_of(hour: &str) -> Option<UnixMillis> {
    let parts: Vec<&str> = hour.split('/').collect();
    let [year, month, day, hour] = parts[..] else { return None };
    let instant = humantime::parse_rfc3339(&format!("{year}-{month}-{day}T{hour}:00:00Z")).ok()?;
    Some(UnixMillis::from_system_time(instant))
}

/// The line's number, counted only for the message.
fn number_of<F: Fs>(fs: &F, manifest: &Path, offset: u64) -> u64 {
    let number = Lines::open(fs, manifest, 0).and_then(|mut lines| {
        while let Some(line) = lines.next_line()? {
            if line.offset == offset {
                return Ok(line.number);
            }
        }
        Ok(0)
    });
    number.unwrap_or(0)
}

/// The hour's path below the manifests' root.
fn hour_of(root: &Path, manifest: &Path) -> String {
    let dir = manifest.parent().and_then(|dir| dir.strip_prefix(root).ok());
    dir.map_or_else(String::new, |dir| dir.to_string_lossy().into_owned())
}

impl Accepted {
    fn covers(&self, hour: &str, offset: u64) -> bool {
        self.floor.as_deref().is_some_and(|floor| hour < floor) || self.ends.get(hour).is_some_and(|end| offset < *end)
    }

    fn read(text: &str) -> Accepted {
        let mut accepted = Accepted::default();
        for (hour, end) in text.lines().filter_map(|line| line.split_once(' ')) {
            match end.parse() {
                Ok(end) => drop(accepted.ends.insert(hour.to_owned(), end)),
                Err(_) if end == "floor" => accepted.floor = Some(hour.to_owned()),
                Err(_) => {}
            }
        }
        accepted
    }
}

fn accepted_name(number: usize) -> OsString {
    format!("{ACCEPTED}{number}").into()
}

fn read_accepted<F: Fs>(fs: &F, root: &Path, store: &[u8; 16]) -> Vec<Accepted> {
    let Ok(dir) = fs.open_dir(&super::private_dir(root, store)) else { return Vec::new() };
    let read = |number| {
        let file = fs.open(&dir, &accepted_name(number), Open::Read).ok()?;
        let mut text = vec![0; ACCEPTED_BYTES_MAX];
        let length = fs::read_full_at(fs, &file, &mut text, 0).ok()?;
        Some(Accepted::read(&String::from_utf8_lossy(&text[..length])))
    };
    (1..=OLDER_ACCEPTED_MAX).map_while(read).collect()
}

/// Records, durably, that the manifests as they are now may list contents that the journal does not know.
///
/// # Errors
/// A file operation failed.
pub fn accept<F: Fs>(fs: &F, root: &Path, store: &[u8; 16]) -> fs::Result<()> {
    let dir = make_private_dir(fs, root, store)?;
    let manifests = newest(fs, root);
    // By the clock: while it is right, older hours are not checked.
    let by_clock = newest_until(fs, root, Some(fs.now()));
    let mut text = by_clock.last().map_or_else(String::new, |oldest| format!("{} floor\n", hour_of(root, oldest)));
    for manifest in manifests {
        let hour = manifest.parent().unwrap_or(root).to_path_buf();
        let there = fs.open_dir(&hour).and_then(|dir| fs.stat(&dir, OsStr::new(MANIFEST_NAME)));
        let size = there?.map_or(0, |stat| stat.identity.size);
        text += &format!("{} {size}\n", hour_of(root, &manifest));
    }
    match fs.unlink(&dir, OsStr::new(UNFINISHED)) {
        Err(error) if error.is_not_found() => {}
        removed => removed?,
    }
    let file = fs.open(&dir, OsStr::new(UNFINISHED), Open::Create { mode: FILE_MODE })?;
    fs::write_all_at(fs, &file, text.as_bytes(), 0)?;
    fs.sync_all(&file)?;
    // There need not be more files: only the newest counts, so the last name is reused.
    for number in 1..=OLDER_ACCEPTED_MAX {
        if number == OLDER_ACCEPTED_MAX && fs.stat(&dir, &accepted_name(number))?.is_some() {
            fs.unlink(&dir, &accepted_name(number))?;
        }
        match fs.rename(&dir, OsStr::new(UNFINISHED), &dir, &accepted_name(number)) {
            Err(error) if error.is_taken() => {}
            renamed => {
                renamed?;
                break;
            }
        }
    }
    fs.sync_dir(&dir)
}
