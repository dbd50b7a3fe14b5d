//! The same transitions in redb, each a durable write transaction.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use redb::{Database, Durability, TableDefinition};

use crate::data::{File, Step};
use crate::side::Side;

/// The content of the SQL table, by device and inode.
const FILES: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("files");
/// Device and inode by content, like the SQL table's unique index.
const CONTENTS: TableDefinition<&[u8; 32], (u64, u64)> = TableDefinition::new("contents");

/// An open database.
pub struct Redb {
    database: Database,
    row: Vec<u8>,
}

impl Redb {
    /// Creates a database.
    pub fn create(path: &Path) -> Redb {
        Redb { database: Database::create(path).unwrap(), row: Vec::new() }
    }

    fn encode(&mut self, file: &File, step: Step) {
        let numbers = [step as u64, file.identity.size, file.identity.mtime.sec as u64, file.discovered_at.0];
        self.row.clear();
        numbers.iter().for_each(|number| self.row.extend_from_slice(&number.to_le_bytes()));
        self.row.extend_from_slice(file.source_path.as_os_str().as_bytes());
        if step != Step::Discovered {
            self.row.extend_from_slice(&file.sha256.0);
            self.row.extend_from_slice(file.warehouse_path.as_os_str().as_bytes());
        }
    }
}

impl Side for Redb {
    fn transition(&mut self, file: &File, step: Step) {
        self.encode(file, step);
        let mut transaction = self.database.begin_write().unwrap();
        transaction.set_durability(Durability::Immediate).unwrap();
        transaction.open_table(FILES).unwrap().insert(file.identity.key(), self.row.as_slice()).unwrap();
        if step == Step::Hashed {
            let mut contents = transaction.open_table(CONTENTS).unwrap();
            assert!(contents.insert(&file.sha256.0, file.identity.key()).unwrap().is_none(), "contents differ");
        }
        transaction.commit().unwrap();
    }
}
