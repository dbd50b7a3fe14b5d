//! The options about names of sidecars.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser as _};

use crate::pipeline::sidecar::SidecarNames;

// How sidecars are named.
#[derive(Clone, Debug, Args)]
pub(super) struct SidecarArgs {
    /// Sidecar mode: the name of a file's sidecar. {name} is the file's name, {stem} the same without its extension:
    /// {stem}.done for foo.done beside foo.csv [default: {name}.ok]
    #[arg(long, value_name = "TEMPLATE", env = "CSV_INGESTOR_SIDECAR_NAME",
          value_parser = OsStringValueParser::new().try_map(checked_template))]
    sidecar_name: Option<SidecarNames>,
    /// The same as --sidecar-name {name}S
    #[arg(long, value_name = "S", env = "CSV_INGESTOR_SIDECAR_SUFFIX",
          value_parser = OsStringValueParser::new().try_map(checked_suffix))]
    sidecar_suffix: Option<SidecarNames>,
}

impl SidecarArgs {
    /// Why the two do not fit together.
    pub(super) fn conflict(&self) -> Option<&'static str> {
        let are_both = self.sidecar_name.is_some() && self.sidecar_suffix.is_some();
        are_both.then_some("--sidecar-name and --sidecar-suffix exclude each other")
    }

    /// The names of sidecars.
    pub(super) fn names(self) -> SidecarNames {
        self.sidecar_name.or(self.sidecar_suffix).unwrap_or_else(|| SidecarNames::from(".ok"))
    }
}

/// Reads `--sidecar-suffix`.
fn checked_suffix(suffix: OsString) -> Result<SidecarNames, &'static str> {
    let bytes = suffix.as_bytes();
    let is_end = !bytes.is_empty() && !bytes.contains(&b'/');
    if is_end { Ok(SidecarNames::suffix(&suffix)) } else { Err("must be the end of a file name") }
}

/// Reads `--sidecar-name`.
fn checked_template(template: OsString) -> Result<SidecarNames, &'static str> {
    SidecarNames::parse(&template)
}
