//! Where `csv-ingestor follow` finds lines and positions.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::lake::LakePlace;
use crate::Error;
use crate::cli::output::print_lines;
use crate::cli::store_options::StoreOptionArgs;
use crate::follow::dir::Dir;
use crate::follow::position::{Held, Positions, Role, default_dir};
use crate::follow::wake::Notified;
use crate::follow::{self, Consumer, Cursor, Source};
use crate::fs::Fs as _;
use crate::fs::real::RealFs;
use crate::limits::{FOLLOW_ACK_WAIT_MAX, FOLLOW_STOP_LOOK};
use crate::log::json;
use crate::store::location::Location;

/// Where lines and positions are.
#[derive(Debug, Args)]
pub(in crate::cli) struct PlaceArgs {
    /// The manifests: a directory, or the URL of a lake's
    #[arg(long, value_name = "DIR|URL", env = "CSV_INGESTOR_MANIFESTS")]
    manifests: PathBuf,
    /// The warehouse of a lake, whose log says what comes next; needed with the URL of a lake's manifests
    #[arg(long, value_name = "URL")]
    warehouse: Option<PathBuf>,
    #[command(flatten)]
    store: StoreOptionArgs,
    /// A name for those who get the lines, for which it keeps a position, how far they have come, and goes on after it: 1 to
    /// 64 letters, digits, '.', '_' and '-'
    #[arg(long, value_name = "NAME")]
    consumer: Option<Consumer>,
    /// Where to begin: with the first line, with those that come from now on, or after the line that has this cursor; with
    /// --consumer, its position is set to that first [default: the consumer's position, or beginning]
    #[arg(long, value_name = "beginning|now|CURSOR")]
    from: Option<From>,
    /// The directory in which positions are kept [default: MANIFESTS/.csv-ingestor/consumers]
    #[arg(long, value_name = "DIR")]
    positions: Option<PathBuf>,
}

/// Where to begin.
#[derive(Clone, Debug)]
enum From {
    Now,
    After(Cursor),
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<From, String> {
        if text == "now" { Ok(From::Now) } else { text.parse().map(From::After) }
    }
}

/// The places, found and opened.
pub(super) struct Place {
    pub(super) fs: RealFs,
    lines: Lines,
    /// The manifests, for the log.
    pub(super) shown: PathBuf,
    pub(super) consumer: Option<Consumer>,
    from: Option<From>,
    positions: PathBuf,
}

/// Where lines are.
enum Lines {
    Dir(PathBuf),
    Lake(Box<LakePlace>),
}

/// Takes the lock to store a position. Another process holds it for a moment only, or it delivers to the consumer.
pub(super) fn store_lock(
    fs: &RealFs,
    positions: &Positions<RealFs>,
    consumer: &Consumer,
) -> Result<Held<RealFs>, Error> {
    let until = Instant::now() + FOLLOW_ACK_WAIT_MAX;
    loop {
        match positions.hold(consumer, Role::Store) {
            Err(follow::Error::InUse { .. }) if Instant::now() < until => fs.pause(FOLLOW_STOP_LOOK),
            held => return Ok(held?),
        }
    }
}

impl Place {
    /// `lists`: the positions are needed, whoever the consumer is.
    pub(super) fn of(arguments: PlaceArgs, lists: bool) -> Result<Place, Error> {
        let PlaceArgs { manifests, warehouse, store, consumer, from, positions } = arguments;
        let fs = RealFs::default();
        let positions = positions.map(std::path::absolute).transpose()?;
        if let Some(url) = manifests.to_str().filter(|text| Location::is_meant(text)) {
            let missing = |what: &str| Error::Usage(format!("{url} is a lake's: give {what}"));
            let warehouse =
                warehouse.ok_or_else(|| missing("its --warehouse URL as well, whose log says what comes next"))?;
            let of = |option: &str, text: &str| {
                Location::parse(text).map_err(|fault| Error::Usage(format!("{option} {text}: {fault}")))
            };
            let (warehouse, manifests_url) =
                (of("--warehouse", &warehouse.to_string_lossy())?, of("--manifests", url)?);
            let is_needed = (consumer.is_some() || lists) && positions.is_none();
            if is_needed {
                return Err(missing("--positions DIR, a directory of this host"));
            }
            let lake = LakePlace { warehouse, manifests: manifests_url, options: store.options() };
            let (lines, positions) = (Lines::Lake(Box::new(lake)), positions.unwrap_or_default());
            return Ok(Place { fs, lines, shown: manifests, consumer, from, positions });
        }
        if warehouse.is_some() {
            return Err(Error::Usage("--warehouse is for lakes: manifests in a directory are enough".to_owned()));
        }
        let manifests = std::path::absolute(manifests)?;
        fs.open_dir(&manifests).map_err(|error| Error::Usage(format!("--manifests: {error}")))?;
        let positions = positions.unwrap_or_else(|| default_dir(&manifests));
        Ok(Place { fs, lines: Lines::Dir(manifests.clone()), shown: manifests, consumer, from, positions })
    }

    /// The lines behind a cursor.
    pub(super) fn source(&self, cursor: Cursor, once: bool) -> Result<Box<dyn Source>, Error> {
        Ok(match &self.lines {
            Lines::Dir(manifests) => Box::new(self.dir(manifests, cursor)?),
            Lines::Lake(lake) => Box::new(lake.source(cursor, once)?),
        })
    }

    fn dir(&self, manifests: &Path, cursor: Cursor) -> Result<Dir<RealFs>, Error> {
        Ok(Dir::open(&self.fs, manifests, cursor, Box::new(Notified::default()))?)
    }

    fn open_positions(&self) -> Result<Option<Positions<RealFs>>, Error> {
        Ok(Positions::open(&self.fs, &self.positions)?)
    }

    /// A directory that the operator names has to be in one that is there.
    pub(super) fn make_positions(&self) -> Result<Positions<RealFs>, Error> {
        let default = match &self.lines {
            Lines::Dir(manifests) => Some(manifests).filter(|manifests| self.positions == default_dir(manifests)),
            Lines::Lake(_) => None,
        };
        let above = default.map(PathBuf::as_path).or(self.positions.parent()).unwrap_or(Path::new("/"));
        Ok(Positions::create(&self.fs, above, &self.positions)?)
    }

    /// What --from says.
    pub(super) fn from(&self) -> Result<Option<Cursor>, Error> {
        Ok(match &self.from {
            Some(From::Now) => Some(match &self.lines {
                Lines::Dir(manifests) => self.dir(manifests, Cursor::default())?.newest()?,
                Lines::Lake(lake) => lake.newest()?,
            }),
            Some(From::After(cursor)) => Some(cursor.clone()),
            None => None,
        })
    }

    /// Where the consumer's lines begin. --from sets its position, with the lock that the caller has or that is taken here.
    /// So does the first start: a consumer that never acknowledges anything is seen to be behind.
    pub(super) fn begin(
        &self,
        positions: &Positions<RealFs>,
        consumer: &Consumer,
        held: Option<&Held<RealFs>>,
    ) -> Result<Cursor, Error> {
        let from = self.from()?;
        if from.is_none()
            && let Some(position) = positions.read(consumer)?
        {
            return Ok(position.cursor);
        }
        let store = |held: &Held<RealFs>| {
            let cursor = match from {
                Some(cursor) => cursor,
                // Another process may have acknowledged lines before the lock was taken.
                None => positions.read(consumer)?.map(|position| position.cursor).unwrap_or_default(),
            };
            positions.store(held, consumer, &cursor)
        };
        let position = match held {
            Some(held) => store(held)?,
            None => store(&store_lock(&self.fs, positions, consumer)?)?,
        };
        Ok(position.cursor)
    }

    pub(super) fn acknowledge(&self, cursor: &Cursor) -> Result<(), Error> {
        let Some(consumer) = &self.consumer else { return Err(Error::Usage("--ack needs --consumer".to_owned())) };
        let positions = self.make_positions()?;
        let held = store_lock(&self.fs, &positions, consumer)?;
        positions.acknowledge(&held, consumer, cursor)?;
        Ok(())
    }

    pub(super) fn list(&self) -> Result<(), Error> {
        let Some(positions) = self.open_positions()? else { return Ok(()) };
        let mut damaged = None;
        let mut lines = Vec::new();
        for consumer in positions.consumers()? {
            lines.push(match positions.read(&consumer) {
                Ok(None) => continue,
                Ok(Some(position)) => json::text(&json!({
                    "consumer": consumer.text(),
                    "cursor": position.cursor.to_string(),
                    "since": position.since.rfc3339(),
                    "stored_at": position.stored_at.rfc3339(),
                })),
                Err(error) => {
                    let line = json::text(&json!({"consumer": consumer.text(), "error": error.to_string()}));
                    damaged = Some(error);
                    line
                }
            });
        }
        print_lines(lines)?;
        damaged.map_or(Ok(()), |error| Err(error.into()))
    }
}
