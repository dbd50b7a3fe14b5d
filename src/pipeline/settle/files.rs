//! The tracked files, by name, and in the order in which they were first seen.
//!
//! Invariants:
//! - A hash table has up to twice as many slots as entries, and sooner or later touches all of them. So it holds numbers
//!   only; the entries lie one behind the other, and a million files take as much memory as their entries.
//! - The entries are in the order of their arrival, so the order costs no memory of its own. A file that leaves makes a
//!   gap; gaps at the front go at once, and the others when there are too many.
//! - Places only grow: a place that was given away never belongs to another file.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::tracked::Tracked;
use crate::limits::GAPS_MAX;

type Entry = (Arc<OsStr>, Tracked);

/// A map from names to what is known of their files.
#[derive(Default)]
pub(super) struct Files {
    hasher: DefaultHashBuilder,
    /// The lower half of each file's place: fewer than 2^32 places are in use at a time.
    table: HashTable<u32>,
    /// None: a gap.
    entries: VecDeque<Option<Entry>>,
    /// The place of the first entry.
    first: u64,
}

/// The position in `entries` of the place with this lower half.
fn position(first: u64, place: u32) -> usize {
    place.wrapping_sub(first as u32) as usize
}

impl Files {
    fn find(&self, name: &OsStr) -> Option<usize> {
        let place = self.table.find(self.hasher.hash_one(name), |place| self.is_at(*place, name));
        place.map(|place| position(self.first, *place))
    }

    fn is_at(&self, place: u32, name: &OsStr) -> bool {
        matches!(self.entries.get(position(self.first, place)), Some(Some((known, _))) if **known == *name)
    }

    pub(super) fn get(&self, name: &OsStr) -> Option<&Tracked> {
        self.entries.get(self.find(name)?)?.as_ref().map(|(_, tracked)| tracked)
    }

    pub(super) fn get_mut(&mut self, name: &OsStr) -> Option<&mut Tracked> {
        let place = self.find(name)?;
        self.entries.get_mut(place)?.as_mut().map(|(_, tracked)| tracked)
    }

    pub(super) fn contains(&self, name: &OsStr) -> bool {
        self.find(name).is_some()
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Adds a file behind all others, or replaces what is known of it.
    pub(super) fn insert(&mut self, name: Arc<OsStr>, tracked: Tracked) {
        self.remove(&name);
        self.push((name, tracked));
    }

    /// The file under this name is another one from now on, and was first seen after all others.
    pub(super) fn came_anew(&mut self, name: &OsStr) {
        if let Some(entry) = self.take(name) {
            self.push(entry);
        }
    }

    fn push(&mut self, entry: Entry) {
        let hash = self.hasher.hash_one(&*entry.0);
        let place = (self.first + self.entries.len() as u64) as u32;
        self.entries.push_back(Some(entry));
        let (hasher, entries, first) = (&self.hasher, &self.entries, self.first);
        self.table.insert_unique(hash, place, |place| hash_at(hasher, entries, position(first, *place)));
    }

    fn take(&mut self, name: &OsStr) -> Option<Entry> {
        let hash = self.hasher.hash_one(name);
        let (entries, first) = (&self.entries, self.first);
        let is_at =
            |place: &u32| matches!(entries.get(position(first, *place)), Some(Some((known, _))) if **known == *name);
        let found = self.table.find_entry(hash, is_at).ok()?;
        let (place, _) = found.remove();
        let taken = self.entries.get_mut(position(first, place))?.take();
        while let Some(None) = self.entries.front() {
            self.entries.pop_front();
            self.first += 1;
        }
        taken
    }

    pub(super) fn remove(&mut self, name: &OsStr) -> Option<Tracked> {
        let (_, removed) = self.take(name)?;
        if self.table.is_empty() {
            // Very many files may have waited.
            *self = Files { first: self.first, ..Files::default() };
        } else if self.entries.len() - self.len() > GAPS_MAX + self.len() / 8 {
            self.close_gaps();
        }
        Some(removed)
    }

    /// Gives each file a new place, in the same order: places that were given away are not used again.
    fn close_gaps(&mut self) {
        self.first += self.entries.len() as u64;
        self.entries.retain(Option::is_some);
        self.entries.shrink_to(self.entries.len() + self.entries.len() / 8);
        self.table.clear();
        let (hasher, entries, first) = (&self.hasher, &self.entries, self.first);
        for at in 0..entries.len() {
            let place = (first + at as u64) as u32;
            self.table.insert_unique(hash_at(hasher, entries, at), place, |place| {
                hash_at(hasher, entries, position(first, *place))
            });
        }
    }

    /// The files from this place on with their places, in the order of their arrival.
    pub(super) fn from(&self, place: u64) -> impl Iterator<Item = (u64, &Arc<OsStr>, &Tracked)> {
        let skipped = usize::try_from(place.saturating_sub(self.first)).unwrap_or(usize::MAX).min(self.entries.len());
        let entries = self.entries.range(skipped..).enumerate();
        let first = self.first + skipped as u64;
        entries.filter_map(move |(at, entry)| entry.as_ref().map(|(name, it)| (first + at as u64, name, it)))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<OsStr>, &Tracked)> {
        self.entries.iter().flatten().map(|(name, tracked)| (name, tracked))
    }

    /// Removes the files that do not stay.
    pub(super) fn retain(&mut self, mut stays: impl FnMut(&OsStr, &Tracked) -> bool) {
        let gone = self.iter().filter(|(name, tracked)| !stays(name, tracked)).map(|(name, _)| name.clone());
        for name in gone.collect::<Vec<_>>() {
            self.remove(&name);
        }
    }
}

fn hash_at(hasher: &DefaultHashBuilder, entries: &VecDeque<Option<Entry>>, at: usize) -> u64 {
    match entries.get(at) {
        Some(Some((name, _))) => hasher.hash_one(&**name),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::pipeline::settle::queue::tests::sighting;

    /// Why: places are used again, and a name must never lead to another file's entry.
    #[test]
    fn it_is_a_map() {
        let (mut files, mut expected, mut random) = (Files::default(), BTreeMap::new(), 1_u64);
        let mut came: Vec<Arc<OsStr>> = Vec::new();
        for step in 0..60_000_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let name: Arc<OsStr> = Arc::from(OsStr::new(&format!("{}.csv", (random >> 33) % 300)));
            came.retain(|known| *known != name);
            if random >> 62 == 0 {
                let removed = files.remove(&name).map(|tracked| tracked.identity.inode);
                assert_eq!(removed, expected.remove(&name));
            } else {
                came.push(name.clone());
                files.insert(name.clone(), Tracked::new(&sighting(step, 0), 0, Duration::ZERO));
                expected.insert(name.clone(), step);
            }
            if step % 5_000 == 4_999 {
                files.retain(|_, tracked| tracked.identity.inode.is_multiple_of(3));
                expected.retain(|_, inode| inode.is_multiple_of(3));
                came.retain(|name| expected.contains_key(name));
            }
            assert_eq!(files.get(&name).map(|tracked| tracked.identity.inode), expected.get(&name).copied());
            assert_eq!(files.len(), expected.len());
        }
        let found: BTreeMap<_, _> =
            files.iter().map(|(name, tracked)| (name.clone(), tracked.identity.inode)).collect();
        assert_eq!(found, expected);
        assert!(files.entries.len() <= 300 + 300 / 8 + GAPS_MAX, "gaps stay");
        let places: Vec<u64> = files.from(0).map(|(place, ..)| place).collect();
        assert!(places.is_sorted() && places.iter().all(|place| *place < 1 << 40));
        assert_eq!(files.from(0).map(|(_, name, _)| name.clone()).collect::<Vec<_>>(), came, "in order of arrival");
        assert_eq!(files.from(places[7] + 1).next().unwrap().0, places[8]);
        assert_eq!(files.from(places[places.len() - 1] + 1).count() + files.from(u64::MAX).count(), 0);
        files.came_anew(&came[3]);
        assert_eq!(files.from(0).last().unwrap().1, &came[3]);
        expected.keys().for_each(|name| drop(files.remove(name)));
        assert_eq!((files.len(), files.entries.capacity()), (0, 0));
        files.insert(came[0].clone(), Tracked::new(&sighting(1, 0), 0, Duration::ZERO));
        assert!(files.from(places[0]).next().unwrap().0 > places[0], "no place is given away twice");
    }
}
