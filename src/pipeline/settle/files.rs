//! The tracked files, by name.
//!
//! Invariant: a hash table has up to twice as many slots as entries, and sooner or later touches all of them. So it holds
//! numbers only; the entries lie one behind the other, and a million files take as much memory as their entries.

use std::ffi::OsStr;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::tracked::Tracked;

type Entry = (Arc<OsStr>, Tracked);

/// A map from names to what is known of their files.
#[derive(Default)]
pub(super) struct Files {
    hasher: DefaultHashBuilder,
    /// Places in `entries`.
    table: HashTable<u32>,
    /// None: free.
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
}

fn is_at(entries: &[Option<Entry>], place: u32, name: &OsStr) -> bool {
    matches!(entries.get(place as usize), Some(Some((known, _))) if **known == *name)
}

impl Files {
    fn find(&self, name: &OsStr) -> Option<usize> {
        let place = self.table.find(self.hasher.hash_one(name), |place| is_at(&self.entries, *place, name));
        place.map(|place| *place as usize)
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

    /// Adds a file, or replaces what is known of it.
    pub(super) fn insert(&mut self, name: Arc<OsStr>, tracked: Tracked) {
        self.remove(&name);
        let hash = self.hasher.hash_one(&*name);
        let place = self.free.pop().unwrap_or(self.entries.len() as u32);
        let entry = Some((name, tracked));
        match self.entries.get_mut(place as usize) {
            Some(free) => *free = entry,
            None => self.entries.push(entry),
        }
        let (hasher, entries) = (&self.hasher, &self.entries);
        let hash_of = |place: &u32| match entries.get(*place as usize) {
            Some(Some((name, _))) => hasher.hash_one(&**name),
            _ => 0,
        };
        self.table.insert_unique(hash, place, hash_of);
    }

    pub(super) fn remove(&mut self, name: &OsStr) -> Option<Tracked> {
        let (hash, entries) = (self.hasher.hash_one(name), &self.entries);
        let found = self.table.find_entry(hash, |place| is_at(entries, *place, name)).ok()?;
        let (place, _) = found.remove();
        let removed = self.entries.get_mut(place as usize)?.take();
        if self.table.is_empty() {
            // Very many files may have waited.
            *self = Files::default();
        } else {
            self.free.push(place);
        }
        removed.map(|(_, tracked)| tracked)
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
        for step in 0..20_000_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let name: Arc<OsStr> = Arc::from(OsStr::new(&format!("{}.csv", (random >> 33) % 300)));
            if random >> 62 == 0 {
                let removed = files.remove(&name).map(|tracked| tracked.identity.inode);
                assert_eq!(removed, expected.remove(&name));
            } else {
                files.insert(name.clone(), Tracked::new(&sighting(step, 0), 0, Duration::ZERO));
                expected.insert(name.clone(), step);
            }
            if step % 5_000 == 4_999 {
                files.retain(|_, tracked| tracked.identity.inode.is_multiple_of(3));
                expected.retain(|_, inode| inode.is_multiple_of(3));
            }
            assert_eq!(files.get(&name).map(|tracked| tracked.identity.inode), expected.get(&name).copied());
            assert_eq!(files.len(), expected.len());
        }
        let found: BTreeMap<_, _> =
            files.iter().map(|(name, tracked)| (name.clone(), tracked.identity.inode)).collect();
        assert_eq!(found, expected);
        assert!(files.entries.len() <= 300, "places are used again");
        expected.keys().for_each(|name| drop(files.remove(name)));
        assert_eq!((files.len(), files.entries.capacity()), (0, 0));
    }
}
