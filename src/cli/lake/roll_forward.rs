//! `csv-ingestor lake roll-forward`.

use clap::Args;

use super::place::{LakeArgs, Opened};
use crate::Error;
use crate::cli::output::{plain, print_lines};
use crate::lake::care::finish::{Finished, finish};

#[derive(Debug, Args)]
pub(in crate::cli) struct RollForwardArgs {
    #[command(flatten)]
    lake: LakeArgs,
}

/// Finishes what can be finished, and says why the rest cannot.
pub(super) fn execute(arguments: &RollForwardArgs) -> Result<(), Error> {
    let Opened { stores, description, .. } = arguments.lake.open()?;
    let Finished { finished, unfinished, unread } = finish(&stores, &description.lake);
    let mut lines = vec![format!("finished: {finished} entries")];
    let stays = |(shard, entry, error): &(u16, u64, _)| format!("unfinished: shard {shard}, entry {entry}: {error}");
    lines.extend(unfinished.iter().map(stays));
    lines.extend(unread.iter().map(|(shard, error)| format!("not read to its end: shard {shard}: {error}")));
    print_lines(lines.iter().map(|line| plain(line)))?;
    if let Some((_, error)) = unread.into_iter().next() {
        return Err(arguments.lake.store.failed(error));
    }
    match unfinished.len() as u64 {
        0 => Ok(()),
        count => Err(Error::EntriesUnfinished(count)),
    }
}
