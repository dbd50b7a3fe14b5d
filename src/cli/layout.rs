//! The options that say where files are put in the warehouse.

use clap::Args;

use crate::journal::record::{DEFAULT_TEMPLATE, LayoutRule};
use crate::pipeline::layout::{Error, Layout};

/// The message for `config check`, where both options are valid, but not together.
pub(super) const CONFLICT: &str = "--layout names a group that --name-pattern does not have";

// A doc comment would replace the command's own text.
#[derive(Debug, Args)]
pub(super) struct LayoutArgs {
    /// The directory of a file in the warehouse: {ingest_date}, {ingest_hour} (UTC), {subdir}, and the named groups of
    /// --name-pattern; with a date format, as {day:%Y%m%d}, a group becomes YYYY-MM-DD
    #[arg(long, value_name = "TEMPLATE", default_value = DEFAULT_TEMPLATE, value_parser = checked_template,
          env = "CSV_INGESTOR_LAYOUT")]
    layout: String,
    /// Regular expression that files' names must match; its named groups can be used in --layout:
    /// ^(?<source>[a-z]+)_(?<day>\d{8})\. A file that does not match fails, or goes to --quarantine
    #[arg(long, value_name = "REGEX", value_parser = checked_pattern, env = "CSV_INGESTOR_NAME_PATTERN")]
    name_pattern: Option<String>,
}

impl LayoutArgs {
    /// The layout that both options describe.
    pub(super) fn layout(&self) -> Result<Layout, Error> {
        Layout::new(LayoutRule { template: self.layout.clone(), name_pattern: self.name_pattern.clone() })
    }
}

/// Reads `--layout`.
fn checked_template(text: &str) -> Result<String, Error> {
    Layout::check_template(text).map(|()| text.to_owned())
}

/// Reads `--name-pattern`.
fn checked_pattern(text: &str) -> Result<String, Error> {
    Layout::check_pattern(text).map(|()| text.to_owned())
}
