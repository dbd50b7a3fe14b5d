//! `csv-ingestor lake forget`.

use clap::Args;

use super::place::LakeArgs;
use crate::Error;
use crate::cli::output::print_lines;
use crate::types::Sha256;

#[derive(Debug, Args)]
pub(in crate::cli) struct ForgetArgs {
    #[command(flatten)]
    lake: LakeArgs,
    /// Contents that may be ingested again, by any host
    #[arg(value_name = "SHA256", required = true, value_parser = parse)]
    contents: Vec<Sha256>,
}

/// Writes an entry that forgets the contents.
pub(super) fn execute(arguments: &ForgetArgs) -> Result<(), Error> {
    let (opened, place) = (arguments.lake.open()?, &arguments.lake.store);
    let mut host = opened.host();
    let forgotten = host.start().and_then(|()| host.forget(&arguments.contents));
    let forgotten = forgotten.map_err(|error| place.failed(error))?;
    let given = arguments.contents.len() as u64;
    print_lines([format!("forgotten: {forgotten} of {given} contents; their objects and lines stay")])?;
    match given - forgotten {
        0 => Ok(()),
        others => Err(Error::Usage(format!(
            "{others} contents are unknown, forgotten already, or claimed by an entry that no later one calls finished yet"
        ))),
    }
}

fn parse(text: &str) -> Result<Sha256, &'static str> {
    Sha256::from_hex(text.as_bytes()).ok_or("expected 64 hex digits")
}
