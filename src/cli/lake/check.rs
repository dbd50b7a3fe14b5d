//! `csv-ingestor lake check`.

use clap::Args;

use super::place::{StoreArgs, failed};
use crate::Error;
use crate::cli::output::print_lines;
use crate::lake::probe::probe;
use crate::lake::system_clock::SystemClock;
use crate::limits::{LAKE_PROBE_HANDLES, LAKE_PROBE_ROUNDS};
use crate::store::location::Location;

#[derive(Debug, Args)]
pub(in crate::cli) struct CheckArgs {
    #[command(flatten)]
    store: StoreArgs,
}

/// Probes the store, and prints what it does wrong.
pub(super) fn execute(arguments: &CheckArgs) -> Result<(), Error> {
    let url = &arguments.store.url;
    check(&arguments.store, url)?;
    let raced = format!("{LAKE_PROBE_HANDLES} creates of one key at once had one winner, {LAKE_PROBE_ROUNDS} times");
    Ok(print_lines([format!("{url}: no defect found; {raced}")])?)
}

/// Fails if the store at this location does not keep what a lake rests on; then the defects are printed.
pub(super) fn check(store: &StoreArgs, location: &Location) -> Result<(), Error> {
    let handles = (0..LAKE_PROBE_HANDLES).map(|_| store.open_at(location)).collect::<Result<Vec<_>, Error>>()?;
    let defects = probe(&handles, &SystemClock::default()).map_err(|error| failed(location, error.into()))?;
    if defects.is_empty() {
        return Ok(());
    }
    print_lines(defects.iter().map(|defect| format!("{location}: {defect}")))?;
    Err(Error::StoreUnfit(location.clone()))
}
