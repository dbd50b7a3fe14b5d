//! A lake of the simulated store, written to directories, as `file://` has it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use csv_ingestor::fs::real::RealFs;
use csv_ingestor::lake::format::{Description, Lake};
use csv_ingestor::lake::publish::Stores;
use csv_ingestor::store::Store;
use csv_ingestor::store::dir::DirStore;
use csv_ingestor::store::location::Location;
use csv_ingestor::store::sim::SimStore;

use super::model::{MANIFESTS, WAREHOUSE};

/// Two directories.
pub struct OnDisk {
    root: tempfile::TempDir,
    pub lake: Lake,
}

impl OnDisk {
    /// Every object of the store, and the description of the lake.
    pub fn of(store: &SimStore, lake: &Lake) -> OnDisk {
        let disk = OnDisk { root: tempfile::tempdir().unwrap(), lake: *lake };
        let manifests = Location::parse(&disk.url("manifests")).unwrap();
        let description = Description { lake: *lake, manifests: Some(manifests) }.encode();
        for place in ["warehouse", "manifests"] {
            disk.put(&format!("{place}/.csv-ingestor/lake.json"), &description);
        }
        for (prefix, place) in [(WAREHOUSE, "warehouse"), (MANIFESTS, "manifests")] {
            for key in store.keys(prefix) {
                let name = key.strip_prefix(prefix).unwrap_or(&key);
                disk.put(&format!("{place}/{name}"), &store.below(prefix).peek(name).unwrap());
            }
        }
        disk
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn url(&self, name: &str) -> String {
        format!("file://{}", self.path(name).display())
    }

    /// Writes, or writes over, a file.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        std::fs::read(self.path(name)).ok()
    }

    /// The files below a directory, with paths below it.
    pub fn files(&self, name: &str) -> Vec<String> {
        fn walk(dir: &Path, above: &str, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(dir).into_iter().flatten() {
                let entry = entry.unwrap();
                let name = format!("{above}{}", entry.file_name().to_str().unwrap());
                match entry.file_type().unwrap().is_dir() {
                    true => walk(&entry.path(), &format!("{name}/"), found),
                    false => found.push(name),
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.path(name), "", &mut found);
        found.sort();
        found
    }

    pub fn stores(&self) -> Stores {
        let open =
            |name: &str| -> Arc<dyn Store> { Arc::new(DirStore::open(&RealFs::default(), &self.path(name)).unwrap()) };
        Stores::new(open("warehouse"), open("manifests"))
    }
}
