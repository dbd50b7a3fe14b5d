//! The records of each file, with their LSNs and times: for `inspect`, and for compaction.
//!
//! The running ingestor needs much less of a file ([`super::index`]); the history leaves nothing out.
//!
//! Invariants:
//! - The history is a function of the records in LSN order. Replaying a history's survivors gives the same result for
//!   every file.
//! - It holds the files that are not finished and the duplicates that stay in staging. A finished file is returned to
//!   the caller, once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hashbrown::{HashMap, HashSet};

use super::groups::{NOT_OPEN as GROUP_NOT_OPEN, check_members, must_be_closed};
use crate::journal::disk::expired::Expired;
use crate::journal::disk::lifecycle::{FileState, ON_ITS_WAY, StateCounts};
use crate::journal::disk::record::{
    Claimed, Discovered, DuplicateAction, Group, Hashed, Identity, KeyRule, LayoutRule, Moved, Profiled, Quarantined,
    Record, Rules, SameBy, Settings, SkippedDuplicate, Uploading,
};
use crate::journal::disk::relocations::Relocations;
use crate::journal::disk::snapshot::{Row, Survivor};
use crate::journal::log::clock::Clock;
use crate::types::{FileIdentity, IngestId, Key, Lsn, Sha256, UnixMillis};

/// A record's fields, its LSN, and when it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped<T> {
    /// The record's LSN.
    pub lsn: Lsn,
    /// When the record's frame was written.
    pub at: UnixMillis,
    /// The fields.
    pub value: T,
}

/// Everything known about one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its ingest id, which never changes.
    pub id: IngestId,
    /// Its state.
    pub state: FileState,
    /// The LSN of its newest record.
    pub lsn: Lsn,
    /// When its newest record was written.
    pub updated_at: UnixMillis,
    /// The LSN of the settings under which it was found.
    settings: Lsn,
    /// The LSN of the IDENTITY record then in force; 0 for none.
    identity: Lsn,
    key_rule: KeyRule,
    /// DISCOVERED, and when it was written.
    pub found: Stamped<Discovered>,
    /// The newest HASHED.
    pub hashed: Option<Stamped<Hashed>>,
    /// CLAIMED.
    pub claimed: Option<Stamped<Claimed>>,
    /// UPLOADING, while it holds.
    pub uploading: Option<Stamped<Uploading>>,
    /// MOVED.
    pub moved: Option<Stamped<Moved>>,
    /// The newest SKIPPED_DUPLICATE.
    pub skipped: Option<Stamped<SkippedDuplicate>>,
    /// The newest PROFILED.
    pub profiled: Option<Stamped<Profiled>>,
    /// The newest QUARANTINED.
    pub quarantined: Option<Stamped<Quarantined>>,
}

impl File {
    /// The hash of its content, if known.
    pub fn sha256(&self) -> Option<Sha256> {
        let skipped = self.skipped.as_ref().map(|skipped| skipped.value.sha256);
        skipped.or_else(|| self.hashed.as_ref().map(|hashed| hashed.value.sha256))
    }

    /// Its key, with this content. Without its DISCOVERED, its name in the warehouse stands in for that in staging.
    fn key_with(&self, sha256: &Sha256) -> Key {
        let source = &self.found.value.source_path;
        match self.warehouse_path().and_then(|path| path.file_name()).filter(|_| source.as_os_str().is_empty()) {
            Some(name) => Key::of(self.key_rule.name(source).map(|_| name), sha256),
            None => self.key_rule.key(source, sha256),
        }
    }

    /// Its key, if its content is known.
    pub fn key(&self) -> Option<Key> {
        self.sha256().map(|sha256| self.key_with(&sha256))
    }

    /// Its path in the warehouse, if one was chosen.
    pub fn warehouse_path(&self) -> Option<&PathBuf> {
        self.hashed.as_ref().map(|hashed| &hashed.value.warehouse_path)
    }

    /// The row that a snapshot keeps of it, once it is MANIFESTED. None without a HASHED.
    pub fn into_row(self) -> Option<Row> {
        let key = self.key_with(&self.hashed.as_ref()?.value.sha256);
        let hashed = self.hashed?.value;
        let Discovered { identity, discovered_at, source_path, .. } = self.found.value;
        Some(Row {
            key,
            sha256: hashed.sha256,
            ingest_id: self.id,
            lsn: self.lsn,
            device: identity.device,
            inode: identity.inode,
            size: identity.size,
            mtime_sec: identity.mtime.sec,
            discovered_at,
            manifested_at: self.updated_at,
            source_path,
            warehouse_path: hashed.warehouse_path,
            published: self.moved.and_then(|moved| moved.value.published),
        })
    }

    /// Its records, without those that a later one replaced.
    fn survivors(&self) -> Vec<(Lsn, UnixMillis, Record)> {
        let mut records = vec![(self.found.lsn, self.found.at, Record::Discovered(self.found.value.clone()))];
        let profiled = self.profiled.as_ref();
        records.extend(profiled.map(|it| (it.lsn, it.at, Record::Profiled(it.value.clone()))));
        let quarantined = self.quarantined.as_ref();
        records.extend(quarantined.map(|it| (it.lsn, it.at, Record::Quarantined(it.value.clone()))));
        let hashed = self.hashed.as_ref();
        records.extend(hashed.map(|hashed| (hashed.lsn, hashed.at, Record::Hashed(hashed.value.clone()))));
        records.extend(self.claimed.as_ref().map(|it| (it.lsn, it.at, Record::Claimed(it.value))));
        let uploading = self.uploading.as_ref();
        records.extend(uploading.map(|it| (it.lsn, it.at, Record::Uploading(it.value.clone()))));
        records.extend(self.moved.as_ref().map(|moved| (moved.lsn, moved.at, Record::Moved(moved.value))));
        let skipped = self.skipped.as_ref();
        records
            .extend(skipped.map(|skipped| (skipped.lsn, skipped.at, Record::SkippedDuplicate(skipped.value.clone()))));
        records
    }
}

/// The history of all files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    settings: BTreeMap<Lsn, Stamped<Settings>>,
    expired: Expired,
    /// The EXPIRED record in force without an end.
    open_expiry: Option<Stamped<()>>,
    /// The last EXPIRED_RANGES.
    ranges: Option<Stamped<()>>,
    clock: Clock,
    relocations: Relocations,
    rules: Option<Stamped<Rules>>,
    /// Groups that are not done.
    groups: BTreeMap<Lsn, Stamped<Group>>,
    layout: Option<Stamped<LayoutRule>>,
    identities: BTreeMap<Lsn, Stamped<Identity>>,
    lake: Option<Stamped<[u8; 16]>>,
    /// Boxed, because each is inserted and removed once, and is about 500 bytes.
    open: HashMap<IngestId, Box<File>>,
    kept: HashMap<(u64, u64), Box<File>>,
    /// The last FORGOTTEN of each key: a file with it that finished earlier has expired.
    forgotten: BTreeMap<Key, Stamped<()>>,
    counts: Counts,
}

/// What of the records that are gone is still known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counts {
    /// Files that are finished and no longer in the history; contents that became rows are not counted.
    finished: StateCounts,
    /// The number of the last manifest line.
    last_seq: u64,
}

/// The error for a record about a file that is unknown or finished.
const NOT_OPEN: &str = "a record of a file that is not open";

impl History {
    /// The files that are not finished, and the duplicates that stay in staging.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.open.values().chain(self.kept.values()).map(|file| &**file)
    }

    /// Files that are finished and no longer here, without the MANIFESTED ones.
    pub fn finished(&self) -> StateCounts {
        self.counts.finished
    }

    /// The LSN of the last FORGOTTEN of each key.
    pub fn forgotten(&self) -> impl Iterator<Item = (Key, Lsn)> {
        self.forgotten.iter().map(|(key, stamped)| (*key, stamped.lsn))
    }

    fn count(&mut self, state: FileState, files: u64) {
        self.counts.finished[state as usize] += files;
    }

    /// The expiries so far.
    pub fn expired(&self) -> &Expired {
        &self.expired
    }

    /// The wall clock's jumps.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The directories that were moved.
    pub fn relocations(&self) -> &Relocations {
        &self.relocations
    }

    /// The number of the last manifest line that a record numbers, or a snapshot names; 0 if none does.
    pub fn last_seq(&self) -> u64 {
        self.counts.last_seq
    }

    /// Records are missing: those that numbered the lines before this one.
    pub fn skip_numbers(&mut self, last_seq: u64) {
        self.counts.last_seq = self.counts.last_seq.max(last_seq);
    }

    /// The keys that duplicates refer to: these do not expire.
    pub fn referred_to(&self) -> HashSet<Key> {
        self.files().filter(|file| file.skipped.is_some()).filter_map(File::key).collect()
    }

    /// Adds a record. Returns the file that it finished or replaced, if any.
    ///
    /// # Errors
    /// Says why the record cannot follow those before it.
    pub fn record(&mut self, lsn: Lsn, at: UnixMillis, record: Record) -> Result<Option<Box<File>>, &'static str> {
        let Some(id) = record.ingest_id() else { return self.begin(lsn, at, record) };
        let file = self.open.get_mut(&id).ok_or(NOT_OPEN)?;
        let state = file.state.after(&record)?;
        if file.claimed.is_some() && matches!(record, Record::Uploading(_)) {
            return Err("UPLOADING after CLAIMED");
        }
        (file.state, file.uploading) = (state, None);
        (file.lsn, file.updated_at) = (lsn, at);
        let mut is_finished = false;
        if let Record::Moved(moved) = &record {
            self.counts.last_seq = moved.number_after(self.counts.last_seq)?;
        }
        match record {
            Record::Hashed(hashed) => {
                (file.hashed, file.claimed) = (Some(Stamped { lsn, at, value: hashed }), None);
            }
            Record::Claimed(claimed) => file.claimed = Some(Stamped { lsn, at, value: claimed }),
            Record::Uploading(uploading) => file.uploading = Some(Stamped { lsn, at, value: uploading }),
            Record::Moved(moved) => file.moved = Some(Stamped { lsn, at, value: moved }),
            Record::SkippedDuplicate(skipped) => {
                let is_kept = skipped.action == DuplicateAction::Keep;
                file.skipped = Some(Stamped { lsn, at, value: skipped });
                if is_kept {
                    let file = self.open.remove(&id).ok_or(NOT_OPEN)?;
                    let before = self.kept.insert(file.found.value.identity.key(), file);
                    self.count(FileState::SkippedDuplicate, u64::from(before.is_some()));
                    return Ok(before);
                }
            }
            Record::Profiled(profiled) => file.profiled = Some(Stamped { lsn, at, value: profiled }),
            Record::Quarantined(quarantined) => file.quarantined = Some(Stamped { lsn, at, value: quarantined }),
            Record::Abandoned(_) | Record::DuplicateCleared(_) | Record::QuarantineDone(_) => {
                let state = file.state;
                self.count(state, 1);
                is_finished = true;
            }
            _ => is_finished = true,
        }
        if is_finished { self.open.remove(&id).ok_or(NOT_OPEN).map(Some) } else { Ok(None) }
    }

    /// As `record`, for one that a snapshot has kept: the numbers of lines between two of them are missing.
    ///
    /// # Errors
    /// As [`History::record`].
    pub fn survivor(&mut self, lsn: Lsn, at: UnixMillis, record: Record) -> Result<Option<Box<File>>, &'static str> {
        self.skip_numbers(record.seq().map_or(0, |seq| seq.saturating_sub(1)));
        self.record(lsn, at, record)
    }

    /// As `record`, for a journal with missing records: adds a record even if an earlier one of its file is missing, as
    /// far as the remaining records prove what the missing one said. A HASHED without DISCOVERED stands in for it
    /// (`close_incomplete` decides what becomes of the file), a MANIFESTED without MOVED for the MOVED.
    pub(in crate::journal) fn salvage(
        &mut self,
        lsn: Lsn,
        at: UnixMillis,
        record: Record,
    ) -> Result<Option<Box<File>>, &'static str> {
        self.skip_numbers(record.seq().map_or(0, |seq| seq.saturating_sub(1)));
        if let Some(id) = record.ingest_id() {
            match (&record, self.open.get(&id).map(|file| file.state)) {
                (Record::Hashed(_), None) if id.0 < lsn.0 => {
                    let identity = FileIdentity::default();
                    let found = Discovered { identity, discovered_at: at, source_path: PathBuf::new(), sidecar: None };
                    self.begin(Lsn(id.0), at, Record::Discovered(found))?;
                }
                // A file is listed only after it was moved.
                (Record::Manifested(_), Some(FileState::Hashed)) => {
                    let moved = Moved { ingest_id: id, published: None, seq: None };
                    drop(self.record(lsn, at, Record::Moved(moved))?);
                }
                _ => {}
            }
        }
        self.record(lsn, at, record)
    }

    /// The key of a file that is not finished. A HASHED that is about to be added says its content.
    pub(in crate::journal) fn key_of(&self, id: IngestId, hashed: Option<&Hashed>) -> Option<Key> {
        let Some(hashed) = hashed else { return self.open.get(&id).and_then(|file| file.key()) };
        let by_name = KeyRule::without_source(self.same_by());
        Some(match self.open.get(&id) {
            Some(file) if !file.found.value.source_path.as_os_str().is_empty() => file.key_with(&hashed.sha256),
            file => {
                let rule = file.map_or(by_name, |file| file.key_rule);
                let name = hashed.warehouse_path.file_name().unwrap_or_default();
                Key::of(rule.name(Path::new("")).map(|_| name), &hashed.sha256)
            }
        })
    }

    fn same_by(&self) -> SameBy {
        self.identities.last_key_value().map_or_else(SameBy::default, |(_, identity)| identity.value.same_by)
    }

    /// Removes a file that is finished according to another file's records.
    pub(in crate::journal) fn take(&mut self, id: IngestId) -> Option<File> {
        self.open.remove(&id).map(|file| *file)
    }

    /// For a journal with missing records: gives up the files that cannot continue, because their DISCOVERED is
    /// missing, or all SETTINGS are. Returns those known to be in the warehouse (MOVED); the others are counted as
    /// abandoned, and the ingestor finds them again.
    pub(in crate::journal) fn close_incomplete(&mut self) -> Vec<File> {
        let any_settings = self.settings.first_key_value().map(|(_, settings)| settings.clone());
        let cannot_go_on = |file: &File| any_settings.is_none() || file.found.value.source_path.as_os_str().is_empty();
        let incomplete: Vec<File> = self.open.extract_if(|_, file| cannot_go_on(file)).map(|(_, file)| *file).collect();
        if any_settings.is_none() {
            let kept = self.kept.drain().count() as u64;
            self.count(FileState::SkippedDuplicate, kept);
        }
        // Files that were found under lost settings continue under the earliest known ones.
        let without = self.open.values_mut().chain(self.kept.values_mut()).filter(|file| file.settings == Lsn(0));
        let mut earliest = None;
        for file in without {
            file.settings = Lsn(1);
            earliest = Some(Lsn(1));
        }
        if let (Some(lsn), Some(settings)) = (earliest, any_settings) {
            self.settings.entry(lsn).or_insert(Stamped { lsn, ..settings });
        }
        let (moved, others): (Vec<File>, Vec<File>) =
            incomplete.into_iter().partition(|file| file.state == FileState::Moved);
        self.count(FileState::Abandoned, others.len() as u64);
        moved
    }

    /// Adds a record that is about no known file. Returns the file that it replaces, if any.
    fn begin(&mut self, lsn: Lsn, at: UnixMillis, record: Record) -> Result<Option<Box<File>>, &'static str> {
        match record {
            Record::Settings(settings) => {
                self.settings.insert(lsn, Stamped { lsn, at, value: settings });
            }
            Record::Expired(before) => {
                let is_new = self.expired.take_open(lsn, before);
                let opened = is_new.then_some(Stamped { lsn, at, value: () });
                self.open_expiry = opened.or_else(|| self.open_expiry.take());
            }
            Record::ExpiredRanges(ranges) => {
                self.expired.take(lsn, &ranges)?;
                (self.open_expiry, self.ranges) = (None, Some(Stamped { lsn, at, value: () }));
            }
            Record::ClockJumped(jumped) => self.clock.take(lsn, at, &jumped),
            Record::KeptGone(gone) => {
                let gone = self.kept.remove(&(gone.device, gone.inode));
                self.count(FileState::SkippedDuplicate, u64::from(gone.is_some()));
                return Ok(gone);
            }
            Record::Relocated(roots) => {
                if !self.groups.is_empty() || self.open.values().any(|file| file.state != FileState::Discovered) {
                    return Err(ON_ITS_WAY);
                }
                self.relocations.take(lsn, at, &roots)?;
            }
            Record::Group(group) => {
                check_members(lsn, &group)?;
                self.groups.insert(lsn, Stamped { lsn, at, value: group });
            }
            Record::GroupDone(lsn) => self.end_group(lsn)?,
            Record::Rules(rules) => self.rules = Some(Stamped { lsn, at, value: rules }),
            Record::Layout(layout) => self.layout = Some(Stamped { lsn, at, value: layout }),
            Record::Identity(identity) => drop(self.identities.insert(lsn, Stamped { lsn, at, value: identity })),
            Record::Lake(id) => self.lake = Some(Stamped { lsn, at, value: id }),
            Record::Forgotten(key) => {
                self.forgotten.insert(key, Stamped { lsn, at, value: () });
                let dropped = self.kept.extract_if(|_, file| file.key() == Some(key)).count() as u64;
                self.count(FileState::SkippedDuplicate, dropped);
            }
            Record::Discovered(found) => return Ok(self.discover(lsn, at, found)),
            _ => {}
        }
        Ok(None)
    }

    fn end_group(&mut self, lsn: Lsn) -> Result<(), &'static str> {
        let group = self.groups.get(&lsn).ok_or(GROUP_NOT_OPEN)?;
        must_be_closed(&group.value, |id| self.open.get(id).map(|file| file.found.value.identity.inode))?;
        self.groups.remove(&lsn);
        Ok(())
    }

    /// Adds a file. Returns the kept duplicate that it was, if it was one.
    fn discover(&mut self, lsn: Lsn, at: UnixMillis, found: Discovered) -> Option<Box<File>> {
        let settings = self.settings.last_key_value().map_or(Lsn(0), |(lsn, _)| *lsn);
        let identity = self.identities.last_key_value().map_or(Lsn(0), |(lsn, _)| *lsn);
        let key_rule = match self.same_by() {
            SameBy::Content => KeyRule::default(),
            same_by => KeyRule::new(same_by, &self.input(), &found.source_path),
        };
        let superseded = self.kept.remove(&found.identity.key());
        self.count(FileState::SkippedDuplicate, u64::from(superseded.is_some()));
        let file = File {
            id: IngestId(lsn.0),
            state: FileState::Discovered,
            lsn,
            updated_at: at,
            settings,
            identity,
            key_rule,
            found: Stamped { lsn, at, value: found },
            hashed: None,
            claimed: None,
            uploading: None,
            moved: None,
            skipped: None,
            profiled: None,
            quarantined: None,
        };
        self.open.insert(file.id, Box::new(file));
        superseded
    }

    /// The staging directory, by its present path.
    fn input(&self) -> PathBuf {
        let newest = self.settings.last_key_value();
        newest.map_or_else(PathBuf::new, |(lsn, settings)| self.relocations.now(*lsn, &settings.value.input))
    }

    /// The IDENTITY records under which files here were found, and the last.
    fn identities(&self) -> impl Iterator<Item = &Stamped<Identity>> {
        let mut needed: BTreeSet<Lsn> = self.files().map(|file| file.identity).collect();
        needed.extend(self.identities.last_key_value().map(|(lsn, _)| *lsn));
        self.identities.values().filter(move |identity| needed.contains(&identity.lsn))
    }

    /// The records that still matter, encoded as in a snapshot, in LSN order: those of the files here, the settings
    /// under which they were found and the newest ones, the expiries, the FORGOTTEN records, the clock's jumps, the
    /// moved directories, the newest rules, and the IDENTITY records as the settings.
    pub fn survivors(&self) -> Vec<u8> {
        let mut records: Vec<(Lsn, UnixMillis, Record)> = self.files().flat_map(File::survivors).collect();
        let mut settings: BTreeSet<Lsn> = self.files().map(|file| file.settings).collect();
        settings.extend(self.settings.last_key_value().map(|(lsn, _)| *lsn));
        let settings = settings.iter().filter_map(|lsn| self.settings.get(lsn));
        records.extend(settings.map(|known| (known.lsn, known.at, Record::Settings(known.value.clone()))));
        let open = |it: &Stamped<()>| (it.lsn, it.at, Record::Expired(self.expired.open()));
        records.extend(self.open_expiry.iter().map(open));
        let ranges = |it: &Stamped<()>| (it.lsn, it.at, Record::ExpiredRanges(self.expired.ranges().clone()));
        records.extend(self.ranges.iter().map(ranges));
        records.extend(self.clock.records().map(|(lsn, at, jumped)| (lsn, at, Record::ClockJumped(jumped))));
        let moved = self.relocations.records();
        records.extend(moved.map(|(lsn, at, roots)| (lsn, at, Record::Relocated(roots.clone()))));
        records.extend(self.rules.iter().map(|it| (it.lsn, it.at, Record::Rules(it.value.clone()))));
        records.extend(self.groups.values().map(|it| (it.lsn, it.at, Record::Group(it.value.clone()))));
        records.extend(self.layout.iter().map(|it| (it.lsn, it.at, Record::Layout(it.value.clone()))));
        records.extend(self.lake.iter().map(|it| (it.lsn, it.at, Record::Lake(it.value))));
        records.extend(self.identities().map(|it| (it.lsn, it.at, Record::Identity(it.value))));
        records.extend(self.forgotten.iter().map(|(key, it)| (it.lsn, it.at, Record::Forgotten(*key))));
        records.sort_unstable_by_key(|(lsn, ..)| *lsn);
        let mut bytes = Vec::new();
        records.iter().for_each(|(lsn, at, record)| Survivor::encode(*lsn, *at, record, &mut bytes));
        bytes
    }
}
