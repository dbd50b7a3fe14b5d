//! `csv-ingestor lake forget`.

use std::time::Duration;

use clap::Args;

use super::place::LakeArgs;
use crate::Error;
use crate::cli::output::print_lines;
use crate::config::parse_remember;
use crate::fs::Fs as _;
use crate::fs::real::RealFs;
use crate::lake;
use crate::lake::host::{Age, Host};
use crate::types::Sha256;

#[derive(Debug, Args)]
pub(in crate::cli) struct ForgetArgs {
    #[command(flatten)]
    lake: LakeArgs,
    /// All contents that were listed longer ago than this: 90d, 12months, 5years
    #[arg(long, value_name = "DURATION", value_parser = parse_remember, conflicts_with = "contents")]
    older_than: Option<Duration>,
    /// Contents that may be ingested again, by any host
    #[arg(value_name = "SHA256", required_unless_present = "older_than", value_parser = parse)]
    contents: Vec<Sha256>,
}

/// Writes entries that forget the contents.
pub(super) fn execute(arguments: &ForgetArgs) -> Result<(), Error> {
    let (opened, place) = (arguments.lake.open()?, &arguments.lake.store);
    let mut host = opened.host();
    let begun = host.start().and_then(|()| host.read()).and_then(|()| host.look_at_ends());
    begun.map_err(|error| place.failed(error))?;
    if let Some(age) = arguments.older_than {
        let forgotten = forget_older(&mut host, age).map_err(|error| place.failed(error))?;
        return Ok(print_lines([format!("forgotten: {forgotten} contents; their objects and lines stay")])?);
    }
    let forgotten = host.forget(&arguments.contents).map_err(|error| place.failed(error))?;
    let given = arguments.contents.len() as u64;
    print_lines([format!("forgotten: {forgotten} of {given} contents; their objects and lines stay")])?;
    match given - forgotten {
        0 => Ok(()),
        others => Err(Error::Usage(format!(
            "{others} contents are unknown, forgotten already, or claimed by an entry that is not finished yet, or behind one"
        ))),
    }
}

/// One entry in each shard that has such contents.
fn forget_older(host: &mut Host, age: Duration) -> Result<u64, lake::Error> {
    let age = Age { now: RealFs::default().now(), age };
    let shards = u16::try_from(host.shards().len()).unwrap_or(u16::MAX);
    (0..shards).try_fold(0, |sum, shard| Ok(sum + host.forget_older(shard, &age, Duration::ZERO)?))
}

fn parse(text: &str) -> Result<Sha256, &'static str> {
    Sha256::from_hex(text.as_bytes()).ok_or("expected 64 hex digits")
}
