//! `csv-ingestor follow --exec` and `--webhook`.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;

use super::place::{Place, store_lock};
use crate::Error;
use crate::config::parse_duration;
use crate::daemon::signals;
use crate::follow::batch::Most;
use crate::follow::dead_letter::DeadLetters;
use crate::follow::deliver::{self, Places, Rules, Sink};
use crate::follow::exec::Exec;
use crate::follow::position::Role;
use crate::follow::{Consumer, EventType, events};
use crate::limits::{FOLLOW_BATCH, FOLLOW_BATCH_BYTES, FOLLOW_TIMEOUT, FOLLOW_WEBHOOK_BYTES};
use crate::log::{LogFormat, LogLevel};

/// What lines are delivered to, and how.
#[derive(Debug, Args)]
pub(super) struct DeliveryArgs {
    /// Start the command behind -- for each batch, with the lines on its standard input; exit code 0 acknowledges them
    #[arg(long, requires_all = ["consumer", "command"], conflicts_with_all = ["webhook", "ack", "list"])]
    exec: bool,
    /// Post each batch to this URL, as CloudEvents; a status of 200 to 299 acknowledges them. https://, or http:// to this
    /// host
    #[arg(long, value_name = "URL", requires = "consumer", conflicts_with_all = ["ack", "list"])]
    webhook: Option<String>,
    /// The CloudEvents type of what is posted, which should begin with the reversed name of your domain [default:
    /// csv-ingestor.file_ingested]
    #[arg(long, value_name = "TYPE", requires = "webhook")]
    event_type: Option<EventType>,
    /// How long the command or the webhook may take for a batch
    #[arg(long, value_name = "DURATION", default_value_t = FOLLOW_TIMEOUT.into(), value_parser = parse_timeout)]
    timeout: humantime::Duration,
    /// Attempts after which a batch goes to --dead-letter, and is acknowledged [default: no limit]
    #[arg(long, value_name = "N", requires = "dead_letter")]
    max_attempts: Option<NonZeroU32>,
    /// The file to which lines are appended that were not delivered in --max-attempts
    #[arg(long, value_name = "FILE", requires = "max_attempts")]
    dead_letter: Option<PathBuf>,
    /// Sign what is posted with the secrets in this file: whsec_ and base64, one on a line
    #[arg(long, value_name = "FILE", requires = "webhook")]
    secret_file: Option<PathBuf>,
    /// Trust the certificates in this file instead of the system's
    #[arg(long, value_name = "FILE", requires = "webhook")]
    ca_file: Option<PathBuf>,
    /// Least important events that are logged [default: info]
    #[arg(long, value_name = "LEVEL", value_enum)]
    pub(super) log_level: Option<LogLevel>,
    /// The format of log lines [default: json with --exec and --webhook, otherwise text]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub(super) log_format: Option<LogFormat>,
    /// The command of --exec and its arguments; no shell reads them
    #[arg(last = true, value_name = "COMMAND", requires = "exec")]
    command: Vec<OsString>,
}

fn parse_timeout(text: &str) -> Result<humantime::Duration, String> {
    parse_duration(text).map(Into::into)
}

impl DeliveryArgs {
    /// Whether lines are delivered, and not printed.
    pub(super) fn check(&self) -> Result<bool, Error> {
        let delivers = self.exec || self.webhook.is_some();
        if !delivers && self.max_attempts.is_some() {
            return Err(Error::Usage("--max-attempts and --dead-letter need --exec or --webhook".to_owned()));
        }
        // clap does not ask for an option that another one rules out, as --exec does.
        let of_webhook = [
            ("--event-type", self.event_type.is_some()),
            ("--secret-file", self.secret_file.is_some()),
            ("--ca-file", self.ca_file.is_some()),
        ];
        match of_webhook.into_iter().find(|(_, is_given)| *is_given && self.webhook.is_none()) {
            Some((option, _)) => Err(Error::Usage(format!("{option} needs --webhook"))),
            None => Ok(delivers),
        }
    }

    /// Delivers lines until there are no more, or a signal comes.
    pub(super) fn run(&self, place: &Place, batch: Option<usize>, once: bool) -> Result<(), Error> {
        let Some(consumer) = &place.consumer else {
            return Err(Error::Usage("--exec and --webhook need --consumer".to_owned()));
        };
        let stop = signals::flag()?;
        let mut sink = self.sink(consumer, &stop)?;
        let positions = place.make_positions()?;
        let _follows = positions.hold(consumer, Role::Follow)?;
        let held = store_lock(&place.fs, &positions, consumer)?;
        let letters = self.dead_letter.as_deref().map(std::path::absolute).transpose()?;
        let letters = letters.map(|path| DeadLetters::open(&place.fs, &path)).transpose()?;
        let cursor = place.begin(&positions, consumer, Some(&held))?;
        let mut source = place.source(cursor, once)?;
        events::started(consumer, sink.kind(), &place.shown, source.cursor());
        let bytes = if self.exec { FOLLOW_BATCH_BYTES } else { FOLLOW_WEBHOOK_BYTES };
        let rules = Rules {
            consumer: consumer.clone(),
            most: Most { lines: batch.unwrap_or(FOLLOW_BATCH), bytes },
            max_attempts: self.max_attempts.map(NonZeroU32::get),
            once,
            stop,
        };
        let places = Places { fs: &place.fs, positions: &positions, held: &held, dead_letters: letters.as_ref() };
        deliver::run(&mut *source, &mut *sink, &rules, &places)?;
        events::stopped(consumer);
        Ok(())
    }

    fn sink(&self, consumer: &Consumer, stop: &Arc<AtomicBool>) -> Result<Box<dyn Sink>, Error> {
        let timeout = Duration::from(self.timeout);
        let (ca_file, secret_file) = (self.ca_file.as_deref(), self.secret_file.as_deref());
        match &self.webhook {
            Some(url) => {
                let event_type = self.event_type.clone().unwrap_or_default();
                webhook(url, (ca_file, secret_file), (consumer, &event_type), timeout)
            }
            None => Ok(Box::new(Exec {
                command: self.command.clone(),
                consumer: consumer.clone(),
                timeout,
                stop: Arc::clone(stop),
            })),
        }
    }
}

/// Opens a webhook. The files are that of authorities, and that of secrets.
#[cfg(feature = "object-store")]
fn webhook(
    url: &str,
    (ca_file, secret_file): (Option<&Path>, Option<&Path>),
    of: (&Consumer, &EventType),
    timeout: Duration,
) -> Result<Box<dyn Sink>, Error> {
    Ok(Box::new(crate::follow::webhook::Webhook::open(url, ca_file, secret_file, of, timeout)?))
}

/// The client is that of object stores.
#[cfg(not(feature = "object-store"))]
fn webhook(
    _: &str,
    _: (Option<&Path>, Option<&Path>),
    _: (&Consumer, &EventType),
    _: Duration,
) -> Result<Box<dyn Sink>, Error> {
    Err(Error::Usage(
        "--webhook: this program was built without object stores, whose HTTP client it needs; use --exec".to_owned(),
    ))
}
