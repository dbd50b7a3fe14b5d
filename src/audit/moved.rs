//! Lines that name a directory by an earlier path.
//!
//! Invariants: relocations in the journal take precedence. Without one, a warehouse counts as moved only if it is
//! missing at its old path, and a file that a line has there is found, with its content, below the audited warehouse.

use std::path::Path;

use super::table::Table;
use super::warehouse::WarehouseView;
use crate::fs::{Fs, Open};
use crate::limits::PARTITION_LEVELS_MAX;
use crate::pipeline::hash::digest_of;
use crate::pipeline::manifest::read::Listed;
use crate::types::Lsn;

/// Files of one old warehouse that are looked up, at most.
const LOOKS_MAX: u32 = 64;
/// Old warehouses that are looked up, at most.
const ROOTS_MAX: usize = 64;
/// Larger files are not read for this.
const BYTES_MAX: u64 = 64 << 20;

impl Table {
    /// The line with its paths as they are today.
    pub(super) fn understood(&self, mut listed: Listed) -> Listed {
        let lsn = Lsn(listed.ingest_id.0);
        self.relocations.renew(lsn, &mut listed.source_path);
        self.relocations.renew(lsn, &mut listed.warehouse_path);
        listed
    }

    /// The same, for a line that is read for the first time.
    pub(super) fn understand<F: Fs>(&mut self, fs: &F, warehouse: &WarehouseView<F>, listed: Listed) -> Listed {
        let listed = self.understood(listed);
        if listed.warehouse_path.starts_with(warehouse.path()) {
            return listed;
        }
        match self.is_moved(fs, warehouse, &listed) {
            true => self.understood(listed),
            false => listed,
        }
    }

    /// Finds out whether the line's warehouse is the audited one under an earlier path, and records that. Which of the
    /// directories above the file was the warehouse is not known: layouts have any number of levels.
    fn is_moved<F: Fs>(&mut self, fs: &F, warehouse: &WarehouseView<F>, listed: &Listed) -> bool {
        let Some(partition) = listed.warehouse_path.parent() else { return false };
        let Some(key) = partition.parent().filter(|_| listed.size <= BYTES_MAX) else { return false };
        let looks = self.looked_for.get(key).copied().unwrap_or(0);
        if looks >= LOOKS_MAX || looks == 0 && self.looked_for.len() >= ROOTS_MAX {
            return false;
        }
        self.looked_for.insert(key.to_path_buf(), looks + 1);
        for root in partition.ancestors().take(PARTITION_LEVELS_MAX + 1) {
            let is_gone = fs.open_dir(root).is_err_and(|error| error.is_not_found());
            let Some(below) = partition.strip_prefix(root).ok().filter(|_| is_gone) else { return false };
            if is_there(fs, warehouse, &warehouse.path().join(below), listed) {
                self.relocations.assume(root.to_path_buf(), warehouse.path().to_path_buf());
                return true;
            }
        }
        false
    }
}

fn is_there<F: Fs>(fs: &F, warehouse: &WarehouseView<F>, partition: &Path, listed: &Listed) -> bool {
    let (Ok(dir), Some(name)) = (warehouse.open_dir(partition), listed.warehouse_path.file_name()) else {
        return false;
    };
    let is_candidate = fs.stat(&dir, name).is_ok_and(|stat| stat.is_some_and(|it| it.identity.size == listed.size));
    let file = is_candidate.then(|| fs.open(&dir, name, Open::Read)).and_then(Result::ok);
    file.is_some_and(|file| digest_of(fs, &file).is_ok_and(|found| found == listed.sha256))
}
