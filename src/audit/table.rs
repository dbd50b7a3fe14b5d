//! All manifest lines, in as little memory as their comparison needs: the texts of a line are read again from its
//! position when they have to be reported.
//!
//! Invariants:
//! - Entries are sorted by key, equal ones by age, the oldest first; a table does not change after it is built.
//! - A place in the warehouse is identified by its directory (the same by whatever path; by its path if it must not be
//!   opened) and its name, as a keyed hash of 64 bits. Two places with the same hash are distinguished before anything
//!   is reported about them.

use std::path::{Path, PathBuf};

use hashbrown::{HashMap, HashSet, HashTable};

use super::places::{KnownDirectories, PlaceFinder, split};
use super::warehouse::WarehouseView;
use crate::fs::Fs;
use crate::journal::relocations::Relocations;
use crate::pipeline::manifest::hours::Unread;
use crate::pipeline::manifest::read::{self, Line, LinePlace, Lines, Listed};
use crate::types::{IngestId, Key, Sha256, UnixMillis};

/// The number of lines between two remembered offsets, so that a line's number is found without counting from the
/// beginning.
const LINES_A_MARK: u64 = 256;
/// Bits of an offset in a manifest; the rest of the 64 bits is the manifest's number.
const OFFSET_BITS: u32 = 40;
/// Bits of an instant in milliseconds; the rest of the 64 bits is the staging directory's number.
const INSTANT_BITS: u32 = 48;
/// All staging directories from this number on count as one.
const INPUTS_MAX: usize = u16::MAX as usize;

/// One line.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The file's key.
    pub key: Key,
    /// The place in the warehouse.
    pub(super) place: u64,
    /// Bytes.
    pub size: u64,
    /// The file's ingest id.
    pub id: IngestId,
    /// Staging directory, and instant.
    found: u64,
    /// Manifest, and offset in it.
    at: u64,
}

impl Entry {
    /// When the file was found complete.
    pub fn ingested_at(&self) -> UnixMillis {
        UnixMillis(self.found & ((1 << INSTANT_BITS) - 1))
    }

    /// The number of the staging directory that it came from.
    pub(super) fn input(&self) -> usize {
        (self.found >> INSTANT_BITS) as usize
    }

    fn manifest(&self) -> usize {
        (self.at >> OFFSET_BITS) as usize
    }

    fn offset(&self) -> u64 {
        self.at & ((1 << OFFSET_BITS) - 1)
    }
}

/// A manifest that was read.
pub(super) struct Manifest {
    pub(super) path: PathBuf,
    /// The end of the last complete line.
    pub(super) end: u64,
    /// Offsets of the first line and of every [`LINES_A_MARK`]-th line after it.
    marks: Vec<u64>,
}

impl Manifest {
    /// The last mark at or before an offset: the number of lines before it, and its offset.
    fn mark_before(&self, offset: u64) -> (u64, u64) {
        let mark = self.marks.partition_point(|mark| *mark <= offset).saturating_sub(1);
        (mark as u64 * LINES_A_MARK, self.marks.get(mark).copied().unwrap_or(0))
    }
}

/// All lines.
pub struct Table {
    entries: Vec<Entry>,
    by_place: HashTable<u32>,
    pub(super) manifests: Vec<Manifest>,
    inputs: Vec<PathBuf>,
    input_numbers: HashMap<PathBuf, usize>,
    /// The SHA-256 of each content whose key is another one: that of lines with a `name`.
    contents: HashMap<Key, Sha256>,
    /// Ingest ids that occur in several lines.
    pub(super) repeated_ids: HashSet<u64>,
    /// Pairs of lines with the same place.
    pub(super) same_place: Vec<(u32, u32)>,
    pub(super) directories: KnownDirectories,
    last_input: Option<(PathBuf, usize)>,
    last_dir: Option<(PathBuf, u64)>,
    /// Directories that were moved: lines contain the old paths.
    pub(super) relocations: Relocations,
    /// Warehouses that do not exist any more, and how often their files were looked up.
    pub(super) looked_for: HashMap<PathBuf, u32>,
}

impl Default for Table {
    fn default() -> Table {
        Table {
            entries: Vec::new(),
            by_place: HashTable::new(),
            manifests: Vec::new(),
            inputs: Vec::new(),
            input_numbers: HashMap::new(),
            contents: HashMap::new(),
            repeated_ids: HashSet::new(),
            same_place: Vec::new(),
            directories: KnownDirectories::new(),
            last_input: None,
            last_dir: None,
            relocations: Relocations::default(),
            looked_for: HashMap::new(),
        }
    }
}

impl Table {
    /// Begins a manifest.
    pub(super) fn begin_manifest(&mut self, path: PathBuf) {
        self.manifests.push(Manifest { path, end: 0, marks: Vec::new() });
    }

    /// Ends the last manifest: `end` is the end of its last complete line.
    pub(super) fn end_manifest(&mut self, end: u64) {
        if let Some(manifest) = self.manifests.last_mut() {
            manifest.end = end;
        }
    }

    /// Lines by place, for places with several lines.
    pub(super) fn rivals(&self) -> std::collections::HashMap<u64, Vec<u32>> {
        let mut rivals: std::collections::HashMap<u64, Vec<u32>> = std::collections::HashMap::new();
        for (one, other) in &self.same_place {
            rivals.entry(self.entry(*one).place).or_insert_with(|| vec![*one]).push(*other);
        }
        rivals
    }

    /// Records the offset of a line, valid or not.
    pub(super) fn mark(&mut self, line: &Line<'_>) {
        if let Some(manifest) = self.manifests.last_mut()
            && (line.number - 1).is_multiple_of(LINES_A_MARK)
        {
            manifest.marks.push(line.offset);
        }
    }

    /// Adds a line of the last manifest.
    pub(super) fn push<F: Fs>(&mut self, warehouse: &WarehouseView<F>, offset: u64, listed: &Listed) {
        let manifest = self.manifests.len().saturating_sub(1) as u64;
        let input = self.input(listed.input().unwrap_or(&listed.source_path)) as u64;
        let (dir, name) = split(&listed.warehouse_path);
        let number = match &self.last_dir {
            Some((last, number)) if last == dir => *number,
            _ => {
                let number = self.directories.number(warehouse, dir);
                self.last_dir = Some((dir.to_path_buf(), number));
                number
            }
        };
        let place = self.directories.place_in(number, name);
        let key = listed.key();
        if listed.name.is_some() {
            self.contents.insert(key, listed.sha256);
        }
        self.entries.push(Entry {
            key,
            place,
            size: listed.size,
            id: listed.ingest_id,
            found: input << INSTANT_BITS | listed.ingested_at.0 & ((1 << INSTANT_BITS) - 1),
            at: manifest << OFFSET_BITS | offset & ((1 << OFFSET_BITS) - 1),
        });
    }

    fn input(&mut self, dir: &Path) -> usize {
        if let Some((last, number)) = &self.last_input
            && last == dir
        {
            return *number;
        }
        let number = match self.input_numbers.get(dir) {
            Some(number) => *number,
            None if self.inputs.len() >= INPUTS_MAX => INPUTS_MAX,
            None => {
                self.inputs.push(dir.to_path_buf());
                self.input_numbers.insert(dir.to_path_buf(), self.inputs.len() - 1);
                self.inputs.len() - 1
            }
        };
        self.last_input = Some((dir.to_path_buf(), number));
        number
    }

    /// Sorts the entries, and finds places and ids that occur more than once.
    pub(super) fn build(&mut self) {
        self.entries.shrink_to_fit();
        self.entries.sort_unstable_by(|one, other| {
            let age = |entry: &Entry| (entry.ingested_at(), entry.id, entry.at);
            one.key.cmp(&other.key).then_with(|| age(one).cmp(&age(other)))
        });
        let mut ids: Vec<u64> = self.entries.iter().map(|entry| entry.id.0).collect();
        ids.sort_unstable();
        self.repeated_ids = ids.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        drop(ids);
        let entries = &self.entries;
        let place = |index: &u32| entries[*index as usize].place;
        self.by_place.reserve(entries.len(), place);
        for (index, entry) in entries.iter().enumerate() {
            let index = index as u32;
            match self.by_place.find(entry.place, |other| place(other) == entry.place) {
                Some(other) => self.same_place.push((*other, index)),
                None => drop(self.by_place.insert_unique(entry.place, index, place)),
            }
        }
    }

    /// All entries.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry with that index.
    pub(super) fn entry(&self, index: u32) -> &Entry {
        &self.entries[index as usize]
    }

    /// The SHA-256 that the entry's line says.
    pub(super) fn sha256(&self, entry: &Entry) -> Sha256 {
        self.contents.get(&entry.key).copied().unwrap_or(Sha256(entry.key.0))
    }

    /// True if the entry's line has a name.
    pub fn has_name(&self, entry: &Entry) -> bool {
        self.contents.contains_key(&entry.key)
    }

    /// True if the line's id is not good, or another line has it as well.
    pub fn has_doubtful_id(&self, line: u32, is_good: impl Fn(u64) -> bool) -> bool {
        let id = self.entry(line).id.0;
        !is_good(id) || self.repeated_ids.contains(&id)
    }

    /// The line of the file at a place; the first if there are several.
    pub(super) fn at_place(&self, place: u64) -> Option<u32> {
        self.by_place.find(place, |index| self.entry(*index).place == place).copied()
    }

    /// Finds the places of paths.
    pub(super) fn places<'a, F: Fs>(&'a self, warehouse: &'a WarehouseView<F>) -> PlaceFinder<'a, F> {
        PlaceFinder::new(warehouse, &self.directories)
    }

    /// The staging directories, by number.
    pub(super) fn inputs(&self) -> &[PathBuf] {
        &self.inputs
    }

    /// The staging directory with this number.
    pub(super) fn input_path(&self, number: usize) -> Option<&Path> {
        self.inputs.get(number).map(PathBuf::as_path)
    }

    /// Reads the entry's line again. None if it is not there any more.
    ///
    /// # Errors
    /// The manifest cannot be read any more.
    pub(super) fn read<F: Fs>(&self, fs: &F, entry: &Entry) -> Result<Option<Listed>, read::Error> {
        let mut lines = Lines::open(fs, &self.manifests[entry.manifest()].path, entry.offset())?;
        Ok(lines.next_line()?.and_then(|line| line.parse().ok()).map(|listed| self.understood(listed)))
    }

    /// The position of the entry's line, for people.
    ///
    /// # Errors
    /// The manifest cannot be read any more.
    pub(super) fn line_place<F: Fs>(&self, fs: &F, entry: &Entry) -> Result<LinePlace, read::Error> {
        let manifest = &self.manifests[entry.manifest()];
        let (mut number, begin) = manifest.mark_before(entry.offset());
        let mut lines = Lines::open(fs, &manifest.path, begin)?;
        while let Some(line) = lines.next_line()? {
            number += 1;
            if line.offset >= entry.offset() {
                break;
            }
        }
        Ok(LinePlace { manifest: manifest.path.clone(), number })
    }

    /// The manifest of an entry's line.
    pub(super) fn manifest_of(&self, entry: &Entry) -> &Path {
        &self.manifests[entry.manifest()].path
    }

    /// Reads the lines of many entries again, each manifest once and in order. Lines that are not there any more are
    /// left out; `each` returns whether to continue. Returns the manifests that cannot be read any more.
    pub fn read_all<F: Fs>(
        &self,
        fs: &F,
        mut wanted: Vec<u32>,
        each: &mut dyn FnMut(u32, Listed, u64) -> bool,
    ) -> Vec<Unread> {
        let mut unread = Vec::new();
        wanted.sort_unstable_by_key(|index| self.entry(*index).at);
        for of_one in wanted.chunk_by(|one, other| self.entry(*one).manifest() == self.entry(*other).manifest()) {
            match self.read_some(fs, of_one, each) {
                Ok(true) => {}
                Ok(false) => break,
                Err(why) => unread.push(Unread { path: self.manifest_of(self.entry(of_one[0])).to_path_buf(), why }),
            }
        }
        unread
    }

    /// The same for entries of one manifest, in order; false if `each` returned false.
    fn read_some<F: Fs>(
        &self,
        fs: &F,
        wanted: &[u32],
        each: &mut dyn FnMut(u32, Listed, u64) -> bool,
    ) -> Result<bool, read::Error> {
        let first = self.entry(wanted[0]);
        let manifest = &self.manifests[first.manifest()];
        let (mut number, begin) = manifest.mark_before(first.offset());
        let mut lines = Lines::open(fs, &manifest.path, begin)?;
        let mut wanted = wanted.iter().copied().peekable();
        while let (Some(index), Some(line)) = (wanted.peek().copied(), lines.next_line()?) {
            number += 1;
            if line.offset < self.entry(index).offset() {
                continue;
            }
            wanted.next();
            if let Ok(listed) = line.parse()
                && !each(index, self.understood(listed), number)
            {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
