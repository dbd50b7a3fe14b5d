//! The same transitions in SQLite: one table of files, WAL, `synchronous=FULL`.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use csv_ingestor::types::Sha256;
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::data::{self, File, STEPS, Step};
use crate::side::Side;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS files (
        device INTEGER, inode INTEGER, sha256 TEXT, size INTEGER, mtime INTEGER, source_path TEXT, warehouse_path TEXT,
        state TEXT, created_at INTEGER, updated_at INTEGER, PRIMARY KEY (device, inode));
    CREATE UNIQUE INDEX IF NOT EXISTS idx_sha256 ON files (sha256);";

const INSERT: &str = "INSERT INTO files (device, inode, size, mtime, source_path, state, created_at, updated_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)";
const HASHED: &str =
    "UPDATE files SET sha256 = ?3, warehouse_path = ?4, state = ?5, updated_at = ?6 WHERE device = ?1 AND inode = ?2";
const STATE: &str = "UPDATE files SET state = ?3, updated_at = ?4 WHERE device = ?1 AND inode = ?2";

/// As much as the index of a million files needs, so that no page is read twice; negative: KiB.
const CACHE_KIB: i64 = -(256 << 10);
/// For connections that share the memory with 63 others.
const SMALL_CACHE_KIB: i64 = -(8 << 10);
/// Longer than any connection waits for another.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

/// An open database.
pub struct Sqlite(Connection);

impl Sqlite {
    /// Opens a database with a large cache.
    pub fn open(path: &Path) -> Sqlite {
        Sqlite::open_with(path, CACHE_KIB)
    }

    /// Opens one of many connections, with a small cache.
    pub fn open_small(path: &Path) -> Sqlite {
        Sqlite::open_with(path, SMALL_CACHE_KIB)
    }

    fn open_with(path: &Path, cache_kib: i64) -> Sqlite {
        let connection = Connection::open(path).unwrap();
        connection.busy_timeout(BUSY_TIMEOUT).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.pragma_update(None, "synchronous", "FULL").unwrap();
        connection.pragma_update(None, "cache_size", cache_kib).unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        Sqlite(connection)
    }

    fn run(&self, sql: &str) {
        self.0.prepare_cached(sql).unwrap().execute([]).unwrap();
    }

    /// Makes all transitions in one transaction, which is durable afterwards.
    pub fn commit<'a>(&self, transitions: impl Iterator<Item = (&'a File, Step)>) {
        self.run("BEGIN IMMEDIATE");
        transitions.for_each(|(file, step)| self.write(file, step));
        self.run("COMMIT");
    }

    fn write(&self, file: &File, step: Step) {
        let (device, inode) = (file.identity.device as i64, file.identity.inode as i64);
        let now = file.discovered_at.0 as i64;
        let text = |path: &Path| String::from_utf8(path.as_os_str().as_bytes().to_vec()).unwrap();
        match step {
            Step::Discovered => {
                let (size, mtime) = (file.identity.size as i64, file.identity.mtime.sec);
                let values = params![device, inode, size, mtime, text(&file.source_path), step.text(), now];
                self.0.prepare_cached(INSERT).unwrap().execute(values).unwrap();
            }
            Step::Hashed => {
                let path = text(&file.warehouse_path);
                let values = params![device, inode, file.sha256.hex(), path, step.text(), now];
                self.0.prepare_cached(HASHED).unwrap().execute(values).unwrap();
            }
            Step::Moved | Step::Manifested => {
                self.0.prepare_cached(STATE).unwrap().execute(params![device, inode, step.text(), now]).unwrap();
            }
        }
    }

    /// The warehouse path of this content, if it is known.
    pub fn find(&self, sha256: &Sha256) -> Option<String> {
        let mut statement = self.0.prepare_cached("SELECT warehouse_path FROM files WHERE sha256 = ?1").unwrap();
        statement.query_row([sha256.hex()], |row| row.get(0)).optional().unwrap()
    }
}

impl Side for Sqlite {
    fn transition(&mut self, file: &File, step: Step) {
        self.commit(std::iter::once((file, step)));
    }
}

/// Makes a database in which the files from 0 to `rows` are remembered, written in batches; its log is empty.
pub fn create(path: &Path, rows: u64) {
    const BATCH: u64 = 50_000;
    let database = Sqlite::open(path);
    for begin in (0..rows).step_by(BATCH as usize) {
        let files: Vec<File> = (begin..rows.min(begin + BATCH)).map(data::file).collect();
        database.commit(STEPS.iter().flat_map(|step| files.iter().map(|file| (file, *step))));
    }
    database.0.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
}
