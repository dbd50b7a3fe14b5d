//! Audit of a lake: every entry of its log, every object that the entries name, and every object that none names.
//!
//! Invariants:
//! - It only reads, and works beside running hosts.
//! - The log is read first and the listings afterwards: a data object is created after its entry, so whatever is listed and
//!   in no entry yet is looked for in the entries that came meanwhile before it is reported.
//! - An entry counts as finished if its manifest objects are there, or if a later entry says so.
//! - Memory: 16 bytes for each content, 8 for each manifest object, the contents of one shard, and some entries.
//!
//! Two keys with one 64-bit fingerprint would hide a foreign object: one in 2^64 for each pair.

mod context;
mod extra;
mod log;
mod objects;
mod picked;
mod seen;

use std::sync::Mutex;

pub use context::{LakeSummary, Plan};

use super::watch::Watch;
use crate::lake::Error;
use context::{Audit, lock};

/// Audits the lake.
///
/// # Errors
/// A store fails. Whatever is wrong with the lake is a finding.
pub fn run(plan: &Plan<'_>, watch: &Watch<'_>) -> Result<LakeSummary, Error> {
    let (summary, seen, picks) = (Mutex::default(), Mutex::default(), Mutex::default());
    let audit = Audit { plan, watch, summary, seen, picks };
    let mut tails = Vec::new();
    for number in 0..plan.lake.shards {
        tails.push(audit.read_shard(number)?);
    }
    audit.hash_picked()?;
    audit.look_for_extras(tails)?;
    let mut summary = *lock(&audit.summary);
    summary.all.is_interrupted = watch.is_stopped();
    Ok(summary)
}
