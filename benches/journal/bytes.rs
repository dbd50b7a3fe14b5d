//! Bytes on the disk per remembered file.

use crate::data::{SOURCE_BYTES, WAREHOUSE_BYTES};
use crate::disk::Scratch;
use crate::files::allocated_bytes;
use crate::ours::{self, Ours, compact_until};
use crate::scale::Scale;
use crate::table::{Line, Table, count};

const OVER_SQLITE_MAX: f64 = 0.75;

pub fn measure(scale: &Scale, scratch: &Scratch, database_bytes: u64, table: &mut Table) {
    for rows in [scale.rows, scale.large] {
        bytes_of(rows, scale, scratch, database_bytes, table);
        std::fs::remove_dir_all(scratch.path("bytes")).unwrap();
    }
}

/// Measures with `rows` remembered files. The database's size per file is that at `scale.rows`; more files change
/// little.
fn bytes_of(rows: u64, scale: &Scale, scratch: &Scratch, database_bytes: u64, table: &mut Table) {
    let path = scratch.path("bytes");
    // A snapshot, new files, and a compaction of both: so there is a spare generation, as in operation.
    ours::create(&path, rows - scale.new);
    let mut ours = Ours::open(&path);
    ours.add(rows - scale.new..rows);
    ours.journal.seal().unwrap();
    let (compacted, _) = compact_until(&path, ours.journal.active_first_lsn());
    let snapshot_bytes = compacted.snapshot.header().file_bytes;
    let directory_bytes = allocated_bytes(&path);
    ours.shut_down();
    let (each, other) = (|bytes: u64| bytes as f64 / rows as f64, database_bytes as f64 / scale.rows as f64);
    let paths = format!("{} remembered, paths of {SOURCE_BYTES} and {WAREHOUSE_BYTES}", count(rows));
    for (what, bytes) in [("in the snapshot", snapshot_bytes), ("in all, with the spare", directory_bytes)] {
        let ratio = each(bytes) / other;
        let line = Line::new(format!("bytes a file {what}, {paths}"), format!("{:.0}", each(bytes)));
        let line = line.other(format!("SQLite {other:.0}")).ratio(ratio);
        table.add(line.target(format!("<= {OVER_SQLITE_MAX}x"), ratio <= OVER_SQLITE_MAX));
    }
}
