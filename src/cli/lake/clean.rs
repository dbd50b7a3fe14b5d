//! `csv-ingestor lake clean`.

use std::collections::HashMap;

use clap::Args;

use super::place::LakeArgs;
use crate::Error;
use crate::cli::output::print_lines;
use crate::fs::Fs as _;
use crate::fs::real::RealFs;
use crate::lake::keys;
use crate::limits::{LAKE_CLEAN_AGE, LAKE_CLEAN_PAGES_MAX};
use crate::store::{Result as Listed, Store};
use crate::types::UnixMillis;

#[derive(Debug, Args)]
pub(in crate::cli) struct CleanArgs {
    #[command(flatten)]
    lake: LakeArgs,
    /// Leave what is younger, by the store's clock. What is needed stays, whatever its age is
    #[arg(long, value_name = "DURATION", default_value_t = LAKE_CLEAN_AGE.into())]
    older_than: humantime::Duration,
}

/// Removes packs that no entry can need, and checkpoints that newer ones replace.
pub(super) fn execute(arguments: &CleanArgs) -> Result<(), Error> {
    let (opened, place) = (arguments.lake.open()?, &arguments.lake.store);
    let before = RealFs::default().now().minus(*arguments.older_than);
    let mut ages = HashMap::new();
    for shard in 0..opened.description.lake.shards {
        for prefix in [keys::packs(shard), keys::checkpoints(shard)] {
            note_ages(opened.stores.warehouse.as_ref(), &prefix, &mut ages)
                .map_err(|error| place.failed(error.into()))?;
        }
    }
    let mut host = opened.host();
    let started = host.start().and_then(|()| host.clean(&|key| ages.get(key).is_some_and(|at| *at <= before)));
    let cleaned = started.map_err(|error| place.failed(error))?;
    let line = format!("removed: {} packs, {} pieces of checkpoints", cleaned.packs, cleaned.checkpoints);
    Ok(print_lines([line])?)
}

/// When the objects with this prefix were written.
fn note_ages(store: &dyn Store, prefix: &str, ages: &mut HashMap<String, UnixMillis>) -> Listed<()> {
    let mut after = String::new();
    for _ in 0..LAKE_CLEAN_PAGES_MAX {
        let page = store.list_ages(prefix, &after)?;
        let Some((last, _)) = page.last() else { break };
        after.clone_from(last);
        ages.extend(page);
    }
    Ok(())
}
