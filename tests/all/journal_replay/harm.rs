//! Damage to a journal of two generations before a repair, and what is left of it: computed from the undamaged journal less
//! the damaged parts, without the code that repairs.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use csv_ingestor::fs::Fs as _;
use csv_ingestor::fs::sim::SimFs;
use csv_ingestor::journal::format::FrameKind;
use csv_ingestor::journal::record::{Moved, Record, Settings};
use csv_ingestor::journal::salvage::Lost;
use csv_ingestor::journal::snapshot::{Row, Snapshot};
use csv_ingestor::types::{FileIdentity, IngestId, Lsn, Sha256, UnixMillis};

use super::generations::{Generations, JournalFile, Part, STATE};

/// The damage to a part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum How {
    /// This bit, counted from the beginning of the part, is flipped.
    Bit(usize),
    Zeroed,
}

/// All damage to a journal: to files and their parts, by their numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Harm {
    pub(super) hits: Vec<(usize, usize, How)>,
    pub(super) gone: Vec<usize>,
    pub(super) cut: Vec<(usize, usize)>,
}

impl Harm {
    pub(super) fn apply(&self, fs: &SimFs, files: &[JournalFile]) {
        let mut upstream = fs.upstream();
        for (file, part, how) in &self.hits {
            let file = &files[*file];
            let range = file.parts[*part].0.clone();
            let (at, bytes) = match how {
                How::Zeroed => (range.start, vec![0; range.len()]),
                How::Bit(bit) => {
                    let bit = bit % (8 * range.len());
                    let at = range.start + bit / 8;
                    (at, vec![file.bytes[at] ^ 1 << (bit % 8)])
                }
            };
            upstream.write_at(Path::new(STATE).join(&file.name), at as u64, &bytes).unwrap();
        }
        for (file, length) in &self.cut {
            upstream.truncate(Path::new(STATE).join(&files[*file].name), *length as u64).unwrap();
        }
        for file in &self.gone {
            upstream.remove(Path::new(STATE).join(&files[*file].name)).unwrap();
        }
        upstream.sync();
    }

    /// True if nothing is left of that part.
    fn hits(&self, files: &[JournalFile], file: usize, part: usize) -> bool {
        let end = files[file].parts[part].0.end;
        self.gone.contains(&file)
            || self.hits.iter().any(|(hit, of, _)| (*hit, *of) == (file, part))
            || self.cut.iter().any(|(cut, length)| *cut == file && *length < end)
    }

    /// True if the file's header or length is damaged.
    fn hits_header(&self, files: &[JournalFile], file: usize) -> bool {
        self.hits(files, file, 0) || self.cut.iter().any(|(cut, _)| *cut == file)
    }

    /// True if the file is undamaged.
    fn spares(&self, file: usize) -> bool {
        !self.gone.contains(&file)
            && !self.hits.iter().any(|(hit, ..)| *hit == file)
            && !self.cut.iter().any(|(cut, _)| *cut == file)
    }
}

/// A snapshot of the undamaged journal.
struct Known {
    survivors: Vec<(Lsn, Record)>,
    rows: HashMap<Sha256, Row>,
}

/// The undamaged journal and its content.
pub(super) struct Truth {
    pub(super) generations: Generations,
    snapshots: BTreeMap<usize, Known>,
    /// Every ingest that has moved a content into the warehouse.
    pub(super) moved: HashMap<Sha256, HashSet<IngestId>>,
    pub(super) found: HashMap<IngestId, FileIdentity>,
    pub(super) last_lsn: Lsn,
}

impl Truth {
    pub(super) fn new(generations: Generations) -> Truth {
        let fs = generations.machine();
        let dir = fs.open_dir(Path::new(STATE)).unwrap();
        let mut snapshots = BTreeMap::new();
        for (index, file) in generations.files.iter().enumerate().filter(|(_, file)| file.is_snapshot()) {
            let snapshot = Snapshot::open(&fs, &dir, file.lsn).unwrap();
            let (mut survivors, mut rows) = (Vec::new(), HashMap::new());
            snapshot
                .survivors(&mut |lsn, _, record| {
                    survivors.push((lsn, record));
                    Ok(())
                })
                .unwrap();
            let mut reader = snapshot.rows();
            while let Some(row) = reader.next_row().unwrap() {
                rows.insert(row.sha256, row);
            }
            snapshots.insert(index, Known { survivors, rows });
        }
        let (moved, found) = (HashMap::new(), HashMap::new());
        let last_lsn = generations.files.last().unwrap().frames.last().unwrap().next_lsn();
        let mut truth = Truth { generations, snapshots, moved, found, last_lsn: Lsn(last_lsn.0 - 1) };
        truth.learn();
        truth
    }

    fn learn(&mut self) {
        let mut records: Vec<(Lsn, Record)> = self.snapshots.values().flat_map(|it| it.survivors.clone()).collect();
        records.extend(self.generations.files.iter().flat_map(records_of));
        let mut hashed: HashMap<IngestId, Sha256> = HashMap::new();
        for (lsn, record) in &records {
            match record {
                Record::Discovered(found) => drop(self.found.insert(IngestId(lsn.0), found.identity)),
                Record::Hashed(it) => drop(hashed.insert(it.ingest_id, it.sha256)),
                Record::Moved(it) => {
                    self.moved.entry(hashed[&it.ingest_id]).or_default().insert(it.ingest_id);
                }
                _ => {}
            }
        }
        for known in self.snapshots.values() {
            for (sha256, row) in &known.rows {
                self.moved.entry(*sha256).or_default().insert(row.ingest_id);
            }
        }
    }

    /// What is left of the journal after that damage.
    pub(super) fn left(&self, harm: &Harm) -> Left {
        let files = &self.generations.files;
        let mut left = Left::default();
        let mut base = None;
        for (index, known) in self.snapshots.iter().rev().filter(|(index, _)| !harm.gone.contains(*index)) {
            let file = &files[*index];
            let (is_whole, has_header) = (harm.spares(*index), !harm.hits_header(files, *index));
            let part = |wanted: Part| file.parts.iter().position(|(_, part)| *part == wanted).unwrap();
            if left.begun.is_none() && has_header && !harm.hits(files, *index, part(Part::List(4))) {
                left.begun = Some(file.lsn);
                left.records = known.survivors.clone();
            }
            left.directories_lost |= !has_header || harm.hits(files, *index, part(Part::List(3)));
            self.rows_left(harm, *index, has_header, &mut left);
            if is_whole {
                base = Some(file.lsn);
                break;
            }
        }
        let begun = left.begun.unwrap_or_default();
        left.all_behind = left.records.clone();
        let mut history = Vec::new();
        for (index, file) in files.iter().enumerate().filter(|(_, file)| file.is_segment()) {
            let records = self.records_left(harm, index);
            match file.lsn > begun {
                true => {
                    left.is_unsure |= !harm.gone.contains(&index) && !self.knows_salt(harm, index);
                    left.all_behind.extend(records_of(file));
                    left.records.extend(records);
                }
                false if base.is_some_and(|base| file.lsn > base) => history.extend(records),
                false => {}
            }
        }
        if let Some(base) = base.filter(|base| *base < begun) {
            let before =
                &self.snapshots[&files.iter().position(|file| file.is_snapshot() && file.lsn == base).unwrap()];
            history.splice(0..0, before.survivors.iter().cloned());
        }
        left.ingested(&history, false);
        left.ingested(&left.records.clone(), true);
        left.lost = self.lost(harm, begun);
        left
    }

    /// True if the salt of that segment is certain: from its header, from two frames that agree, or from the frame that
    /// must be the first one.
    fn knows_salt(&self, harm: &Harm, index: usize) -> bool {
        let files = &self.generations.files;
        let good: Vec<usize> = (1..files[index].parts.len()).filter(|part| !harm.hits(files, index, *part)).collect();
        !harm.hits(files, index, 0) || good.len() >= 2 || good.contains(&1)
    }

    fn rows_left(&self, harm: &Harm, index: usize, has_header: bool, left: &mut Left) {
        let file = &self.generations.files[index];
        let blocks = (0..file.parts.len()).filter(|part| file.parts[*part].1 == Part::Rows);
        let good: Vec<usize> = blocks.filter(|part| !harm.hits(&self.generations.files, index, *part)).collect();
        // Without a header, two blocks must agree on their salt.
        if !has_header && good.len() < 2 {
            return;
        }
        let directories = file.parts.iter().position(|(_, part)| *part == Part::List(3)).unwrap();
        let knows_directories = has_header && !harm.hits(&self.generations.files, index, directories);
        for sha256 in good.iter().flat_map(|part| file.rows(file.parts[*part].0.start)) {
            let row = &self.snapshots[&index].rows[&sha256];
            left.contents.entry(sha256).or_default().insert((row.ingest_id, row.warehouse_path.clone()));
            if knows_directories {
                left.rows.entry(sha256).or_insert_with(|| row.clone());
            }
        }
    }

    /// The records in a segment's intact frames.
    fn records_left(&self, harm: &Harm, index: usize) -> Vec<(Lsn, Record)> {
        let files = &self.generations.files;
        let file = &files[index];
        if harm.gone.contains(&index) || !self.knows_salt(harm, index) {
            return Vec::new();
        }
        let good = (1..file.parts.len()).filter(|part| !harm.hits(files, index, *part));
        good.flat_map(|part| frame_records(file, part - 1)).collect()
    }

    /// The ranges of LSNs whose records are lost; the last one may have no end.
    fn lost(&self, harm: &Harm, begun: Lsn) -> Vec<Lost> {
        let files = &self.generations.files;
        let (mut lost, mut witness, mut is_open) = (BTreeSet::new(), begun, false);
        let segments = files.iter().enumerate().filter(|(_, file)| file.is_segment() && file.lsn > begun);
        let segments: Vec<(usize, &JournalFile)> = segments.collect();
        lost.extend(begun.0 + 1..segments[0].1.lsn.0);
        for (at, (index, file)) in segments.iter().copied().enumerate() {
            // Only its seal and its successor's header show that a segment without records skips its LSN.
            let seal_is_hit = file.frames.len() == 1 && harm.hits(files, index, 1);
            if seal_is_hit && segments.get(at + 1).is_some_and(|(next, _)| harm.hits_header(files, *next)) {
                lost.insert(file.lsn.0);
            }
            let knows_header = !harm.hits_header(files, index);
            if knows_header {
                witness = file.lsn;
            }
            is_open = !knows_header;
            // If there are only zeros up to the end, nothing shows that there were frames.
            let is_zeroed = |number: &usize| harm.hits.contains(&(index, number + 1, How::Zeroed));
            let is_last = index + 1 == files.len();
            let zeroed = (0..file.frames.len()).rev().take_while(is_zeroed).count() * usize::from(is_last);
            for (number, frame) in file.frames[..file.frames.len() - zeroed].iter().enumerate() {
                is_open |= frame.kind == FrameKind::Seal;
                if harm.hits(files, index, number + 1) {
                    lost.extend(frame.first_lsn.0..frame.next_lsn().0);
                    is_open = true;
                } else if knows_header || !self.records_left(harm, index).is_empty() {
                    witness = frame.next_lsn();
                    is_open = !knows_header || frame.kind == FrameKind::Seal;
                } else {
                    lost.extend(frame.first_lsn.0..frame.next_lsn().0);
                }
            }
        }
        let mut ranges: Vec<Lost> = Vec::new();
        for lsn in lost.iter().copied().filter(|lsn| *lsn < witness.0) {
            match ranges.last_mut() {
                Some(range) if range.to == Some(Lsn(lsn - 1)) => range.to = Some(Lsn(lsn)),
                _ => ranges.push(Lost { from: Lsn(lsn), to: Some(Lsn(lsn)) }),
            }
        }
        if is_open || lost.iter().any(|lsn| *lsn >= witness.0) {
            ranges.push(Lost { from: witness, to: None });
        }
        normal(&ranges)
    }
}

/// Merges adjacent ranges.
pub(super) fn normal(ranges: &[Lost]) -> Vec<Lost> {
    let mut merged: Vec<Lost> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if last.to.is_some_and(|to| to.plus(1) == range.from) => last.to = range.to,
            _ => merged.push(*range),
        }
    }
    merged
}

fn frame_records(file: &JournalFile, index: usize) -> Vec<(Lsn, Record)> {
    let frame = &file.frames[index];
    (0..).map(|place| frame.first_lsn.plus(place)).zip(frame.records.iter().cloned()).collect()
}

/// All records of a segment.
pub(super) fn records_of(file: &JournalFile) -> Vec<(Lsn, Record)> {
    (0..file.frames.len()).flat_map(|index| frame_records(file, index)).collect()
}

/// What is left.
#[derive(Default)]
pub(super) struct Left {
    /// The newest snapshot whose surviving records are left.
    pub(super) begun: Option<Lsn>,
    /// The surviving records of that snapshot, and the intact ones after it.
    pub(super) records: Vec<(Lsn, Record)>,
    /// As above, including the lost ones.
    pub(super) all_behind: Vec<(Lsn, Record)>,
    /// The ingests of each content, with the paths in the warehouse.
    pub(super) contents: HashMap<Sha256, HashSet<(IngestId, PathBuf)>>,
    /// The rows of intact blocks whose directories are known.
    pub(super) rows: HashMap<Sha256, Row>,
    pub(super) directories_lost: bool,
    /// The repair may report more than is certain.
    pub(super) is_unsure: bool,
    pub(super) lost: Vec<Lost>,
}

impl Left {
    /// Adds the contents that the records show as ingested, with their paths.
    fn ingested(&mut self, records: &[(Lsn, Record)], moved_suffices: bool) {
        let mut hashed = HashMap::new();
        for (_, record) in records {
            match record {
                Record::Hashed(it) => drop(hashed.insert(it.ingest_id, (it.sha256, it.warehouse_path.clone()))),
                Record::Moved(Moved { ingest_id: id, .. }) | Record::Manifested(id)
                    if moved_suffices || matches!(record, Record::Manifested(_)) =>
                {
                    let Some((sha256, path)) = hashed.get(id).cloned() else { continue };
                    self.contents.entry(sha256).or_default().insert((*id, path));
                }
                _ => {}
            }
        }
    }

    /// True if every record of that file is left.
    pub(super) fn is_untouched(&self, id: IngestId) -> bool {
        let of = |records: &[(Lsn, Record)]| -> Vec<Lsn> {
            let its = |(lsn, record): &&(Lsn, Record)| match record {
                Record::Discovered(_) => lsn.0 == id.0,
                record => record.ingest_id() == Some(id),
            };
            records.iter().filter(its).map(|(lsn, _)| *lsn).collect()
        };
        let (left, all) = (of(&self.records), of(&self.all_behind));
        left == all && left.first() == Some(&Lsn(id.0))
    }

    pub(super) fn settings(&self) -> Vec<&Settings> {
        let settings = self.records.iter().filter_map(|(_, record)| match record {
            Record::Settings(settings) => Some(settings),
            _ => None,
        });
        settings.collect()
    }

    pub(super) fn settings_lost(&self) -> bool {
        let count = |records: &[(Lsn, Record)]| {
            records.iter().filter(|(_, record)| matches!(record, Record::Settings(_))).count()
        };
        count(&self.records) < count(&self.all_behind) || self.begun.is_none()
    }

    pub(super) fn expired_before(&self) -> UnixMillis {
        let instants = self.records.iter().filter_map(|(_, record)| match record {
            Record::Expired(before) => Some(*before),
            _ => None,
        });
        instants.max().unwrap_or_default()
    }
}
