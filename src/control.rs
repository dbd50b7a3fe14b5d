//! The questions that `explain` and `status --watch` ask a running ingestor, and its answers, through a socket in the state
//! directory.
//!
//! Invariants:
//! - Questions and answers are single lines of JSON, each of a bounded length.
//! - Without an answer, everything works except what only the running ingestor knows.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Config;
use crate::journal::names;
use crate::pipeline::scan::patterns::Patterns;
use crate::pipeline::scan::{NameRules, TreeRules};
use crate::pipeline::settle::bounds::Bounds;
use crate::pipeline::sidecar::SidecarNames;

/// The longest answer that is read: patterns come from a command line, which cannot be longer.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// The time limit for each step of a conversation.
pub const STEP_TIME_MAX: Duration = Duration::from_secs(2);

/// What the ingestor knows about a staged file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StagedStatus {
    /// `waiting`, `held` (refused, until it changes or for a while), `ready` or `in_flight`.
    pub phase: String,
    /// Why it waits or is held.
    pub reason: Option<String>,
    /// How long it has been unchanged, as the ingestor observed it.
    pub unchanged_seconds: Option<f64>,
    /// How long it has to stay unchanged in stability mode.
    pub window_seconds: Option<f64>,
    /// When it is checked again at the latest, if that is certain.
    pub retry_in_seconds: Option<f64>,
    /// How often it has failed in this state.
    pub failures: Option<u32>,
    /// The last error.
    pub error: Option<String>,
    /// The group file that names it, or that it is.
    #[serde(default)]
    pub group: Option<String>,
    /// Some of the members that this group lacks, and why.
    #[serde(default)]
    pub missing: Vec<String>,
}

impl StagedStatus {
    /// In the words of `explain`: `IN_FLIGHT`, `READY` or `WAITING`, and why, in a sentence. None if this program does not
    /// know the phase: the ingestor has another version.
    pub fn words(&self) -> Option<(&'static str, String)> {
        Some(match (self.phase.as_str(), &self.reason) {
            ("in_flight", _) => ("IN_FLIGHT", "it is being hashed or moved at this moment".to_owned()),
            ("ready", Some(reason)) => ("READY", reason.clone()),
            ("ready", _) => ("READY", "it is complete, and waits for its turn".to_owned()),
            (_, Some(reason)) => ("WAITING", reason.clone()),
            _ => return None,
        })
    }

    /// The facts behind that, as far as there are any.
    pub fn facts(&self) -> impl Iterator<Item = (&'static str, Value)> {
        let about_the_last_failure = self.failures.is_some_and(|failures| failures > 0);
        let facts = [
            ("unchanged_seconds", self.unchanged_seconds.into()),
            ("window_seconds", self.window_seconds.filter(|_| self.phase == "waiting").into()),
            ("retry_in_seconds", self.retry_in_seconds.into()),
            ("failures", self.failures.filter(|_| about_the_last_failure).into()),
            ("error", self.error.clone().filter(|_| about_the_last_failure).into()),
            ("group", self.group.clone().into()),
            ("missing", (!self.missing.is_empty()).then(|| self.missing.clone()).into()),
        ];
        facts.into_iter().filter(|(_, value): &(_, Value)| !value.is_null())
    }
}

/// The rules by which the ingestor checks names and sidecars: the options that it was started with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunningRules {
    include: Vec<String>,
    exclude: Vec<String>,
    /// In sidecar mode, as base64; behind [`TEMPLATE`], a template that is more than a suffix.
    sidecar_suffix: Option<String>,
    /// Only files with a matching checksum in their sidecar are ingested.
    pub require_checksum: bool,
    /// How old a file has to be.
    #[serde(default)]
    min_age_ms: u64,
    /// How large it may be.
    #[serde(default)]
    size_max: Option<u64>,
    /// Files are ingested in groups.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    groups: bool,
    /// How many levels of directories are entered; None: directories are not entered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_depth: Option<u16>,
    /// Also those on other mounts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    cross_mounts: bool,
}

impl RunningRules {
    /// The rules of these settings.
    pub fn of(config: &Config) -> RunningRules {
        let (names, bounds) = (config.name_rules(), config.completeness.bounds);
        let texts = |patterns: &Option<Patterns>| patterns.as_ref().map_or(Vec::new(), |it| it.texts().to_vec());
        RunningRules {
            include: texts(&names.include),
            exclude: texts(&names.exclude),
            sidecar_suffix: names.sidecars.map(|names| encoded(&names)),
            require_checksum: config.require_checksum,
            min_age_ms: u64::try_from(bounds.min_age.as_millis()).unwrap_or(u64::MAX),
            size_max: Some(bounds.size_max).filter(|max| *max != u64::MAX),
            groups: names.groups,
            max_depth: names.tree.map(|tree| tree.max_depth),
            cross_mounts: names.tree.is_some_and(|tree| tree.cross_mounts),
        }
    }

    /// How old a file has to be, and how large it may be.
    pub fn bounds(&self) -> Bounds {
        let size_max = self.size_max.unwrap_or(u64::MAX);
        Bounds { min_age: Duration::from_millis(self.min_age_ms), size_max }
    }

    /// Which names the ingestor takes. None if this program does not understand the rules: the ingestor has another
    /// version.
    pub fn names(&self) -> Option<NameRules> {
        let sidecars = match &self.sidecar_suffix {
            Some(encoded) => Some(decoded(encoded)?),
            None => None,
        };
        Some(NameRules {
            include: Patterns::new(&self.include).ok()?,
            exclude: Patterns::new(&self.exclude).ok()?,
            groups: self.groups,
            sidecars,
            tree: self.max_depth.map(|max_depth| TreeRules { max_depth, cross_mounts: self.cross_mounts }),
        })
    }
}

/// Before the base64 of a template. An earlier version, which knows only suffixes, does not take it for base64.
const TEMPLATE: &str = "template:";

fn encoded(names: &SidecarNames) -> String {
    let template = names.template();
    match template.as_bytes().strip_prefix(b"{name}") {
        Some(suffix) => BASE64.encode(suffix),
        None => TEMPLATE.to_owned() + &BASE64.encode(template.as_bytes()),
    }
}

fn decoded(encoded: &str) -> Option<SidecarNames> {
    let bytes = |text: &str| BASE64.decode(text).ok().map(OsString::from_vec);
    match encoded.strip_prefix(TEMPLATE) {
        Some(template) => SidecarNames::parse(&bytes(template)?).ok(),
        None => Some(SidecarNames::suffix(&bytes(encoded)?)),
    }
}

/// A question, as it is sent.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// What the ingestor knows about the file with this name, in base64.
    Explain(String),
    /// The rules that the ingestor applies.
    Rules,
    /// What the page shows about the process as a whole.
    Status,
    /// What happened last.
    Recent,
    /// The files that have waited longest: so many.
    Waiting(usize),
}

/// Asks the ingestor that runs on this state directory. None if there is no answer; inside, None if it does not know
/// the file.
pub fn ask(state_path: &Path, name: &OsStr) -> Option<Option<StagedStatus>> {
    answer(state_path, &Question::Explain(BASE64.encode(name.as_bytes())))
}

/// The rules of the ingestor that runs on this state directory. None if there is no answer.
pub fn rules(state_path: &Path) -> Option<RunningRules> {
    answer(state_path, &Question::Rules)
}

/// Asks what the page shows. None if there is no answer: no ingestor runs, or it is one of an earlier version.
pub fn view(state_path: &Path, question: &Question) -> Option<Value> {
    answer(state_path, question)
}

fn answer<T: DeserializeOwned>(state_path: &Path, question: &Question) -> Option<T> {
    let mut stream = UnixStream::connect(state_path.join(names::CONTROL)).ok()?;
    stream.set_read_timeout(Some(2 * STEP_TIME_MAX)).ok()?;
    stream.set_write_timeout(Some(STEP_TIME_MAX)).ok()?;
    let mut text = serde_json::to_string(question).ok()?;
    text.push('\n');
    stream.write_all(text.as_bytes()).ok()?;
    let mut line = String::new();
    BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}
