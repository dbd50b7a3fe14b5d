//! `csv-ingestor lake init`.

use std::path::Path;

use clap::Args;

use super::check::check;
use super::place::{StoreArgs, failed};
use crate::Error;
use crate::cli::output::print_lines;
use crate::fs::real::RealFs;
use crate::fs::{self, DIR_MODE, Fs as _};
use crate::lake::description::{check_manifests, make};
use crate::lake::format::{Description, Lake, LakeId};
use crate::limits::{LAKE_CHECKPOINT_ENTRIES, LAKE_SHARDS_MAX};
use crate::store::location::{Location, Scheme};

#[derive(Debug, Args)]
pub(in crate::cli) struct InitArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Where the manifests are, beside the warehouse. The lake records it; without it, each host must be told
    #[arg(long, value_name = "URL", value_parser = Location::parse)]
    manifests: Option<Location>,
    /// Independent logs, a power of two up to 256: more than one only for more than some 5 entries a second. It never
    /// changes [default: 1]
    #[arg(long, value_name = "N", value_parser = parse_shards)]
    shards: Option<u16>,
    /// Entries of a shard from one checkpoint to the next; it never changes [default: 1024]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    checkpoint_entries: Option<u32>,
}

/// Makes the lake, or says that there is one.
pub(super) fn execute(arguments: &InitArgs) -> Result<(), Error> {
    let InitArgs { store, manifests, shards, checkpoint_entries } = arguments;
    let url = &store.url;
    if let Some(manifests) = manifests.as_ref().filter(|manifests| manifests.overlaps(url)) {
        return Err(Error::Usage(format!("--manifests {manifests}: it and {url} must not contain each other")));
    }
    for location in [Some(url), manifests.as_ref()].into_iter().flatten() {
        if location.scheme == Scheme::File {
            fs::open_dir_durable(&RealFs::default(), Path::new("/"), Path::new(&location.prefix), DIR_MODE)?;
        }
        check(store, location)?;
    }
    let lake = Lake {
        id: LakeId(RealFs::default().random()),
        shards: shards.unwrap_or(1),
        checkpoint_entries: checkpoint_entries.unwrap_or(LAKE_CHECKPOINT_ENTRIES),
    };
    let warehouse = store.open_at(url)?;
    let made = make(warehouse.as_ref(), &Description { lake, manifests: manifests.clone() });
    let made = made.map_err(|error| store.failed(error))?;
    let there = &made.description;
    if !fits(arguments, there) {
        let text = format!("{url}: there is one already, and it never changes: {}", text(there));
        return Err(Error::Usage(text));
    }
    if let Some(manifests) = manifests.as_ref().or(there.manifests.as_ref()) {
        let marked = check_manifests(store.open_at(manifests)?.as_ref(), there, true);
        marked.map_err(|error| failed(manifests, error))?;
    }
    let what = if made.is_new { "made" } else { "there is one already" };
    Ok(print_lines([format!("{url}: {what}: {}", text(there))])?)
}

/// True if the lake is as the options want it.
fn fits(arguments: &InitArgs, there: &Description) -> bool {
    let Lake { shards, checkpoint_entries, .. } = there.lake;
    arguments.shards.is_none_or(|wanted| wanted == shards)
        && arguments.checkpoint_entries.is_none_or(|wanted| wanted == checkpoint_entries)
        && (arguments.manifests.is_none() || there.manifests.is_none() || arguments.manifests == there.manifests)
}

fn text(description: &Description) -> String {
    let Lake { id, shards, checkpoint_entries } = description.lake;
    let manifests = description.manifests.as_ref().map_or("not recorded".to_owned(), Location::to_string);
    format!("lake {id}, shards: {shards}, entries between checkpoints: {checkpoint_entries}, manifests: {manifests}")
}

/// Reads `--shards`.
fn parse_shards(text: &str) -> Result<u16, String> {
    let shards = text.parse().ok().filter(|shards| Lake::is_count_of_shards(*shards));
    shards.ok_or_else(|| format!("must be a power of two up to {LAKE_SHARDS_MAX}"))
}
