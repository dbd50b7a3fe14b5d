//! Bytes on the disk for each remembered file.

use crate::data::{SOURCE_BYTES, WAREHOUSE_BYTES};
use crate::disk::{Scratch, allocated_bytes};
use crate::ours::{Ours, compact_until};
use crate::scale::Scale;
use crate::table::{Line, Table, count};

const OVER_SQLITE_MAX: f64 = 0.75;

pub fn measure(scale: &Scale, scratch: &Scratch, database_bytes: u64, table: &mut Table) {
    let path = scratch.path("bytes");
    let mut ours = Ours::open(&path);
    let mut snapshot_bytes = 0;
    // Twice, so that there is a spare generation, as always but in the beginning.
    for files in [0..scale.rows - scale.new, scale.rows - scale.new..scale.rows] {
        ours.add(files);
        ours.journal.seal().unwrap();
        let (compacted, _) = compact_until(&path, ours.journal.active_first_lsn());
        snapshot_bytes = compacted.snapshot.header().file_bytes;
    }
    let directory_bytes = allocated_bytes(&path);
    ours.shut_down();
    let each = |bytes: u64| bytes as f64 / scale.rows as f64;
    let paths = format!("{} remembered, paths of {SOURCE_BYTES} and {WAREHOUSE_BYTES}", count(scale.rows));
    for (what, bytes) in [("in the snapshot", snapshot_bytes), ("in all, with the spare", directory_bytes)] {
        let ratio = bytes as f64 / database_bytes as f64;
        let line = Line::new(format!("bytes a file {what}, {paths}"), format!("{:.0}", each(bytes)));
        let line = line.other(format!("SQLite {:.0}", each(database_bytes))).ratio(ratio);
        table.add(line.target(format!("<= {OVER_SQLITE_MAX}x"), ratio <= OVER_SQLITE_MAX));
    }
}
