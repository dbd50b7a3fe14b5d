//! `csv-ingestor lake skip`.

use clap::Args;

use super::place::StoreArgs;
use crate::Error;
use crate::cli::output::print_lines;
use crate::lake::care::skip::{Examined, examine};
use crate::lake::keys;
use crate::lake::shard::skip;

#[derive(Debug, Args)]
pub(in crate::cli) struct SkipArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The shard of the entry
    #[arg(value_name = "SHARD")]
    shard: u16,
    /// The number of the entry
    #[arg(value_name = "ENTRY")]
    entry: u64,
    /// Only say what is wrong with the entry
    #[arg(long)]
    dry_run: bool,
}

/// Says what is wrong with an entry, and lets all hosts pass it.
pub(super) fn execute(arguments: &SkipArgs) -> Result<(), Error> {
    let SkipArgs { store: place, shard, entry, dry_run } = arguments;
    let (store, description) = place.open()?;
    let (shard, entry) = (*shard, *entry);
    if shard >= description.lake.shards {
        return Err(Error::Usage(format!("{}: there is no shard {shard}", place.url)));
    }
    let slot = place.url.of(&keys::slot(shard, entry));
    let examined = examine(store.as_ref(), &description.lake, shard, entry).map_err(|error| place.failed(error))?;
    let (why, size, sha256) = match examined {
        Examined::Malformed { why, size, sha256 } => (why, size, sha256),
        Examined::Skipped => return Ok(print_lines([format!("{slot}: it is skipped already")])?),
        Examined::Good => return Err(Error::Usage(format!("{slot}: this is a good entry; it is not skipped"))),
        Examined::NotReached(next) => {
            return Err(Error::Usage(format!(
                "{slot}: hosts read this shard only up to entry {next}; nothing to skip"
            )));
        }
    };
    print_lines([format!("{slot}: {why}; {size} bytes, SHA-256 {sha256}")])?;
    if *dry_run {
        return Ok(());
    }
    skip(store.as_ref(), shard, entry, &sha256).map_err(|error| place.failed(error))?;
    Ok(print_lines([format!("skipped: {}", place.url.of(&keys::skip(shard, entry)))])?)
}
