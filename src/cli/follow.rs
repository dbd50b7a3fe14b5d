//! `csv-ingestor follow`.

mod delivery;
mod lake;
mod place;

use std::sync::Arc;

use clap::Args;

use self::delivery::DeliveryArgs;
use self::place::{Place, PlaceArgs};
use crate::Error;
use crate::daemon::signals;
use crate::follow::Cursor;
use crate::follow::position::Role;
use crate::follow::print::{Output, Printing, print};
use crate::limits::{FOLLOW_BATCH_MAX, FOLLOW_PRINT_LINES};
use crate::log::{self, LogFormat, LogLevel};

#[derive(Debug, Args)]
pub(super) struct FollowArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Lines that are passed on at once, at most; a group is never cut [default: 100 with --exec and --webhook]
    #[arg(long, value_name = "N", value_parser = parse_batch)]
    batch: Option<usize>,
    /// End when there is nothing more, instead of waiting for new lines
    #[arg(long)]
    once: bool,
    /// Only store the position of --consumer: all lines up to this cursor are acknowledged
    #[arg(long, value_name = "CURSOR", requires = "consumer", conflicts_with_all = ["from", "once", "batch", "list"])]
    ack: Option<Cursor>,
    /// Only print the consumers with their positions
    #[arg(long, conflicts_with_all = ["from", "once", "batch"])]
    list: bool,
    /// What is printed: JSON Lines
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "json")]
    format: FormatName,
    #[command(flatten)]
    delivery: DeliveryArgs,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum FormatName {
    Json,
}

fn parse_batch(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=FOLLOW_BATCH_MAX).contains(count));
    count.ok_or_else(|| format!("expected a number from 1 to {FOLLOW_BATCH_MAX}"))
}

/// Passes lines on, or shows or stores positions.
pub(super) fn execute(arguments: FollowArgs) -> Result<(), Error> {
    let delivers = arguments.delivery.check()?;
    let logging = (arguments.delivery.log_level, arguments.delivery.log_format);
    let format = if delivers { LogFormat::Json } else { LogFormat::Text };
    log::start(logging.0.unwrap_or(LogLevel::Info), logging.1.unwrap_or(format));
    let FollowArgs { place, batch, once, ack, list, delivery, format: FormatName::Json } = arguments;
    let place = Place::of(place, list)?;
    if list {
        return place.list();
    }
    if let Some(cursor) = ack {
        return place.acknowledge(&cursor);
    }
    if delivers {
        return delivery.run(&place, batch, once);
    }
    let stop = signals::flag()?;
    let positions = place.consumer.as_ref().map(|_| place.make_positions()).transpose()?;
    let of = positions.as_ref().zip(place.consumer.as_ref());
    // Held until the end: nobody else follows for this consumer.
    let _follows = of.map(|(positions, consumer)| positions.hold(consumer, Role::Follow)).transpose()?;
    let cursor = match of {
        Some((positions, consumer)) => place.begin(positions, consumer, None)?,
        None => place.from()?.unwrap_or_default(),
    };
    let mut source = place.source(cursor, once)?;
    let mut out = Output::new(std::io::stdout(), Arc::clone(&stop))?;
    Ok(print(&mut *source, &mut out, &Printing { lines: batch.unwrap_or(FOLLOW_PRINT_LINES), once, stop })?)
}
