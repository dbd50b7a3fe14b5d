//! The settings after validation.
//!
//! Invariants: making a [`Config`] has no side effects; every `Config` is consistent.

mod error;
pub mod file;
mod paths;
mod selection;

use std::path::PathBuf;
use std::time::Duration;

use crate::journal::record::{Identity, SameBy, Settings, Validation};
use crate::limits::{DURATION_MAX, REMEMBER_MAX, REMEMBER_MIN, SCAN_INTERVAL_MIN, SKIP_ROWS_MAX};
use crate::log::{LogFormat, LogLevel};
use crate::pipeline::places::Accepts;
use crate::pipeline::quarantine::Quarantine;
use crate::pipeline::scan::NameRules;
use crate::pipeline::settle::Mode;
use crate::pipeline::settle::bounds::Bounds;
use crate::pipeline::settle::order::Order;
use crate::pipeline::sidecar::SidecarNames;
use crate::store::location::Options;

pub use error::Error;
pub use paths::Paths;
pub use selection::{Placement, Selection};

/// How long `run` runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Until it is stopped.
    Forever,
    /// One scan, one window.
    Once,
    /// As once, but it only reports what would happen.
    DryRun,
}

/// The settings of `run`, validated.
#[derive(Clone, Debug)]
pub struct Config {
    /// Absolute, checked against each other.
    pub paths: Paths,
    /// Settings of the object store, if the warehouse is in one.
    pub store: Options,
    /// When a file counts as complete, and which ones stay.
    pub completeness: Completeness,
    /// The names of sidecars.
    pub sidecars: SidecarNames,
    /// The time between two scans.
    pub scan_interval: Duration,
    /// Hashing threads.
    pub concurrency: usize,
    /// Which names are ingested, and from which directories.
    pub selection: Selection,
    /// Where files go.
    pub placement: Placement,
    /// How files are validated, if they are.
    pub validate: Option<Validation>,
    /// Only files with a matching checksum in their sidecar are ingested.
    pub require_checksum: bool,
    /// How long contents are remembered; None: for ever.
    pub remember: Option<Duration>,
    /// How long to run.
    pub extent: Extent,
    /// The risks that the operator accepts.
    pub accepts: Accepts,
    /// What is logged, and how.
    pub logging: Logging,
    /// When and where metrics are published.
    pub metrics: MetricsOptions,
}

/// When a file counts as complete, which ones stay, and which are the same.
#[derive(Clone, Copy, Debug)]
pub struct Completeness {
    /// By what it counts as complete.
    pub mode: Mode,
    /// How old it has to be, and how large it may be.
    pub bounds: Bounds,
    /// After how long an incomplete group is reported; None: never.
    pub group_timeout: Option<Duration>,
    /// In which order files are ingested that one scan finds complete, if that is promised.
    pub order: Option<Order>,
    /// By what two files are one and the same, and what happens to empty ones.
    pub identity: Identity,
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct Logging {
    /// Least important level that is logged.
    pub level: LogLevel,
    /// None if the option was not given.
    pub format: Option<LogFormat>,
}

/// When and where the ingestor publishes its metrics.
#[derive(Clone, Debug)]
pub struct MetricsOptions {
    /// The time between two `metrics` events.
    pub interval: Duration,
    /// Where the metrics are served.
    pub listen: Option<String>,
    /// The page is served there too.
    pub has_page: bool,
}

impl Config {
    /// The settings that the journal records.
    pub fn settings(&self) -> Settings {
        Settings {
            input: self.paths.input.clone(),
            warehouse: self.paths.warehouse.clone(),
            manifests: self.paths.manifests.clone(),
            duplicates: self.placement.duplicates,
            duplicates_dir: self.paths.duplicates.clone(),
        }
    }

    /// Checks that nothing is asked for that a lake cannot do.
    ///
    /// # Errors
    /// The first option that does not fit.
    pub fn check_lake(&self) -> Result<(), Error> {
        if !self.paths.has_lake() {
            return Ok(());
        }
        let by_name = self.completeness.identity.same_by == SameBy::NameAndContent;
        let misfits = [(by_name, "--identity name+content: a lake has each content once")];
        match misfits.iter().find(|(is_asked_for, _)| *is_asked_for) {
            Some((_, why)) => Err(Error::Options(format!("--warehouse is a lake: {why}"))),
            None => Ok(()),
        }
    }

    /// What happens to files that cannot be ingested; None: they stay.
    pub fn quarantine(&self) -> Option<Quarantine> {
        let dir = self.paths.quarantine.clone()?;
        Some(match self.extent {
            Extent::Once => Quarantine::at_once(dir),
            _ => Quarantine::patiently(dir),
        })
    }

    /// The ingestor's own directories, which are never entered.
    pub fn own_places(&self) -> Vec<PathBuf> {
        self.paths.made().map(|(_, path)| path.to_path_buf()).collect()
    }

    /// The directories of this machine that it works with, by the names of their options: `state_path` for `--state-path`.
    pub fn places(&self) -> Vec<(String, PathBuf)> {
        let own = self.paths.made().map(|(option, path)| (option, path.to_path_buf()));
        let all = std::iter::once(("--input", self.paths.input.clone())).chain(own);
        all.map(|(option, path)| (option.trim_start_matches('-').replace('-', "_"), path)).collect()
    }

    /// Which names are ingested.
    pub fn name_rules(&self) -> NameRules {
        let mut rules = self.selection.rules((self.completeness.mode == Mode::Sidecar).then(|| self.sidecars.clone()));
        rules.groups = matches!(self.completeness.mode, Mode::Group(_));
        rules
    }
}

/// Reads `--stability-seconds`.
pub fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "must be a number of seconds, such as 10 or 0.5".to_owned())?;
    if !seconds.is_finite() || seconds.is_sign_negative() && seconds != 0.0 {
        return Err("must be a number of seconds that is not negative".to_owned());
    }
    if seconds > DURATION_MAX.as_secs_f64() {
        return Err("must be at most a year".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Reads the delimiter of fields.
pub fn parse_delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !byte.is_ascii_alphanumeric() && !b"\"\r\n".contains(byte) => Ok(*byte),
        _ => Err("must be one character, such as ; or |, or tab".to_owned()),
    }
}

/// Reads the quote character; None for none.
pub fn parse_quote(text: &str) -> Result<Quote, String> {
    match text.as_bytes() {
        b"none" => Ok(Quote(None)),
        [byte] if byte.is_ascii_graphic() && !byte.is_ascii_alphanumeric() => Ok(Quote(Some(*byte))),
        _ => Err("must be one character, such as \" or ', or none".to_owned()),
    }
}

/// Reads the character with which comments begin.
pub fn parse_comment(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [byte] if byte.is_ascii_graphic() && !byte.is_ascii_alphanumeric() => Ok(*byte),
        _ => Err("must be one character, such as # or %".to_owned()),
    }
}

/// Reads how many lines at the beginning of a file are skipped.
pub fn parse_skip_rows(text: &str) -> Result<u16, String> {
    let count = text.parse().ok().filter(|count| *count <= SKIP_ROWS_MAX);
    count.ok_or_else(|| format!("must be a number of lines, at most {SKIP_ROWS_MAX}"))
}

/// The quote character of fields, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote(pub Option<u8>);

/// Reads a duration, at least [`SCAN_INTERVAL_MIN`].
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| format!("{error}; write 500ms, 5s or 1m"))?;
    if duration < SCAN_INTERVAL_MIN || duration > DURATION_MAX {
        return Err("must be between 10ms and a year".to_owned());
    }
    Ok(duration)
}

/// Reads an age: at most a year; 0s for none.
pub fn parse_age(text: &str) -> Result<Duration, String> {
    let age = humantime::parse_duration(text).map_err(|error| format!("{error}; write 30s, 5m or 1h"))?;
    if age > DURATION_MAX {
        return Err("must be at most a year".to_owned());
    }
    Ok(age)
}

/// Reads a number of bytes, at least 1: with a unit or without.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u32); 4] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
    let unit = UNITS.iter().find_map(|(unit, bits)| Some((text.strip_suffix(unit)?.trim_end(), *bits)));
    let (digits, bits) = unit.unwrap_or((text, 0));
    let bytes = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(1 << bits)).filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| "must be a number of bytes, such as 1000000, 500MiB or 2GiB".to_owned())
}

/// Checks the form of an address to listen on; whether it is available is found out when it is bound.
pub fn parse_address(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let is_bare_ipv6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    if host.is_empty() || is_bare_ipv6 || port.parse::<u16>().is_err() {
        return Err("write ADDRESS:PORT, such as 127.0.0.1:9464, [::1]:9464 or 0.0.0.0:9464".to_owned());
    }
    Ok(text.to_owned())
}

/// Reads how long contents are remembered.
pub fn parse_remember(text: &str) -> Result<Duration, String> {
    let duration =
        humantime::parse_duration(text).map_err(|error| format!("{error}; write 90d, 12months or 5years"))?;
    if duration < REMEMBER_MIN || duration > REMEMBER_MAX {
        return Err("must be between 1s and 1000years".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for good in ["127.0.0.1:9464", "localhost:0", "[::1]:9464", "host.example:65535"] {
            assert_eq!(parse_address(good).as_deref(), Ok(good));
        }
        for bad in ["", "9464", ":9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "::1:9464", "127.0.0.1:65536"] {
            assert!(parse_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_have_units_that_mean_one_thing() {
        for (text, bytes) in [("1", 1), ("2KiB", 2_048), ("3 MiB", 3 << 20), ("4GiB", 4 << 30), ("5TiB", 5 << 40)] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for bad in ["", "0", "-1", "1.5", "1KB", "1k", "KiB", "16777216TiB", "18446744073709551616", "1 000"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn seconds_are_refused_where_they_make_no_sense() {
        assert_eq!(parse_seconds("0"), Ok(Duration::ZERO));
        assert_eq!(parse_seconds("-0"), Ok(Duration::ZERO));
        assert_eq!(parse_seconds("0.25"), Ok(Duration::from_millis(250)));
        for bad in ["-1", "abc", "", "NaN", "inf", "1e300", "5s"] {
            assert!(parse_seconds(bad).is_err(), "{bad}");
        }
    }
}
