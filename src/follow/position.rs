//! How far each consumer has come: a small file for each, in one directory.
//!
//! Invariants:
//! - A position is replaced as a whole, and durable when [`Positions::store`] returns: a crash leaves the old one or the
//!   new one.
//! - A position that cannot be read is an error. It never counts as the beginning.
//! - One process follows for a consumer, and one process at a time stores its position.
//!
//! `NAME.json` is the position, `NAME.tmp` one that is not complete, and the locks are on `NAME.lock` (who follows) and
//! `NAME.ack` (who stores).

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::consumer::Consumer;
use super::cursor::Cursor;
use super::error::Error;
use crate::fs::{self, DIR_MODE, FILE_MODE, Fs, Open};
use crate::limits::{FOLLOW_CONSUMERS_MAX, FOLLOW_POSITION_BYTES_MAX};
use crate::types::UnixMillis;

/// Where positions are, below the manifests.
const BESIDE_MANIFESTS: [&str; 2] = [".csv-ingestor", "consumers"];
/// The version of the file's format.
const VERSION: u64 = 1;
/// The last member of the object: a checksum of all bytes before its comma.
const CHECKSUM: &str = ",\"crc32c\":\"";
/// What follows the checksum's eight digits.
const END: &str = "\"}\n";

/// How far a consumer has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Who.
    pub consumer: Consumer,
    /// All lines up to here are acknowledged.
    pub cursor: Cursor,
    /// When its first position was stored.
    pub since: UnixMillis,
    /// When this one was stored.
    pub stored_at: UnixMillis,
}

#[derive(Deserialize)]
struct Version {
    version: u64,
}

#[derive(Deserialize)]
struct Fields {
    consumer: String,
    cursor: String,
    since: String,
    stored_at: String,
}

impl Position {
    fn text(&self) -> String {
        let Position { consumer, cursor, since, stored_at } = self;
        // Nothing in it has to be escaped.
        let front = format!(
            "{{\"version\":{VERSION},\"consumer\":\"{consumer}\",\"cursor\":\"{cursor}\",\"since\":\"{}\",\"stored_at\":\"{}\"",
            since.display(),
            stored_at.display()
        );
        format!("{front}{CHECKSUM}{:08x}{END}", crc32c::crc32c(front.as_bytes()))
    }

    /// Reads the text of a consumer's position.
    fn parse(consumer: &Consumer, text: &[u8]) -> Result<Position, String> {
        let torn = "it is torn, or was edited: its checksum does not match";
        let text = std::str::from_utf8(text).map_err(|_| torn)?;
        if let Ok(Version { version }) = serde_json::from_str(text)
            && version != VERSION
        {
            return Err(format!("it has the version {version}, and this program knows {VERSION}"));
        }
        let (front, sum) = text.rsplit_once(CHECKSUM).ok_or(torn)?;
        if sum != format!("{:08x}{END}", crc32c::crc32c(front.as_bytes())) {
            return Err(torn.to_owned());
        }
        let fields: Fields = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if fields.consumer != consumer.text() {
            return Err(format!("it is the position of {:?}", fields.consumer));
        }
        let time = |text: &str| humantime::parse_rfc3339(text).map(UnixMillis::from_system_time);
        let time = |text: &str| time(text).map_err(|error| error.to_string());
        Ok(Position {
            consumer: consumer.clone(),
            cursor: fields.cursor.parse()?,
            since: time(&fields.since)?,
            stored_at: time(&fields.stored_at)?,
        })
    }
}

/// What a lock is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// To pass lines on to the consumer.
    Follow,
    /// To store its position.
    Store,
}

/// A lock that is held until this is dropped.
pub struct Held<F: Fs> {
    _file: F::File,
    role: Role,
}

/// The directory of positions.
pub struct Positions<F: Fs> {
    fs: F,
    dir: F::Dir,
}

/// Where positions are unless the operator names another directory.
pub fn default_dir(manifests: &Path) -> PathBuf {
    BESIDE_MANIFESTS.iter().fold(manifests.to_path_buf(), |path, part| path.join(part))
}

impl<F: Fs> Positions<F> {
    /// Opens the directory; None if there is none: nobody has a position there.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(fs: &F, path: &Path) -> fs::Result<Option<Positions<F>>> {
        match fs.open_dir(path) {
            Err(error) if error.is_not_found() => Ok(None),
            opened => Ok(Some(Positions { fs: fs.clone(), dir: opened? })),
        }
    }

    /// Opens the directory, and makes it below `top` if it is missing. Its name is durable afterwards.
    ///
    /// # Errors
    /// It cannot be made or opened.
    pub fn create(fs: &F, top: &Path, path: &Path) -> Result<Positions<F>, Error> {
        match fs::open_dir_durable(fs, top, path, DIR_MODE) {
            Ok(dir) => Ok(Positions { fs: fs.clone(), dir }),
            Err(error) if error.is_denied() || error.source.raw_os_error() == Some(libc::EROFS) => Err(
                Error::Consumer(format!("positions of consumers cannot be kept there: {error}; give --positions DIR")),
            ),
            Err(error) => Err(error.into()),
        }
    }

    fn named(consumer: &Consumer, extension: &str) -> OsString {
        format!("{consumer}.{extension}").into()
    }

    fn path(&self, name: &OsStr) -> PathBuf {
        self.fs.dir_path(&self.dir).join(name)
    }

    /// The consumers that have a position, by name; further ones than [`FOLLOW_CONSUMERS_MAX`] are left out.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub fn consumers(&self) -> fs::Result<Vec<Consumer>> {
        let mut found = Vec::new();
        for entry in self.fs.list(&self.dir)? {
            let name = entry?.name;
            found.extend(name.to_str().and_then(|name| name.strip_suffix(".json")?.parse().ok()));
        }
        found.sort_unstable();
        found.truncate(FOLLOW_CONSUMERS_MAX);
        Ok(found)
    }

    /// The consumer's position; None if it never had one.
    ///
    /// # Errors
    /// [`Error::Consumer`] if there is one that is torn, foreign or of another version.
    pub fn read(&self, consumer: &Consumer) -> Result<Option<Position>, Error> {
        let name = Self::named(consumer, "json");
        let file = match self.fs.open(&self.dir, &name, Open::Read) {
            Err(error) if error.is_not_found() => return Ok(None),
            opened => opened?,
        };
        let mut text = vec![0; FOLLOW_POSITION_BYTES_MAX];
        let length = fs::read_full_at(&self.fs, &file, &mut text, 0)?;
        let read = match Position::parse(consumer, &text[..length]) {
            _ if length == FOLLOW_POSITION_BYTES_MAX => Err("it is too long".to_owned()),
            parsed => parsed,
        };
        read.map(Some).map_err(|why| {
            Error::Consumer(format!("the position of {consumer} cannot be used: {}: {why}", self.path(&name).display()))
        })
    }

    /// Takes a lock, without waiting.
    ///
    /// # Errors
    /// [`Error::InUse`] if another process holds it.
    pub fn hold(&self, consumer: &Consumer, role: Role) -> Result<Held<F>, Error> {
        let name = Self::named(consumer, if role == Role::Follow { "lock" } else { "ack" });
        let file = match self.fs.open(&self.dir, &name, Open::Create { mode: FILE_MODE }) {
            Err(error) if error.is_taken() => self.fs.open(&self.dir, &name, Open::Write)?,
            created => created?,
        };
        if self.fs.try_lock_file(&file)? {
            return Ok(Held { _file: file, role });
        }
        let pid = self.fs.lock_holder(&self.fs.stat_file(&file)?.identity);
        Err(Error::InUse { consumer: consumer.clone(), lock: self.path(&name), pid })
    }

    /// Stores a consumer's position in place of the one before. It is durable on return.
    ///
    /// # Errors
    /// A file operation failed: the position is the old one or the new one. Or the consumer is new, and there are
    /// [`FOLLOW_CONSUMERS_MAX`] others.
    pub fn store(&self, held: &Held<F>, consumer: &Consumer, cursor: &Cursor) -> Result<Position, Error> {
        assert!(!crate::limits::IS_CHECKED || held.role == Role::Store);
        let now = self.fs.now();
        // A position that cannot be read is replaced here: an operator has said what the new one is.
        let before = self.read(consumer).ok().flatten();
        if before.is_none()
            && self.consumers()?.iter().filter(|other| *other != consumer).count() >= FOLLOW_CONSUMERS_MAX
        {
            return Err(Error::Consumer(format!(
                "{} has the positions of {FOLLOW_CONSUMERS_MAX} consumers, and keeps no more: remove those that nobody needs",
                self.fs.dir_path(&self.dir).display()
            )));
        }
        let since = before.map_or(now, |before| before.since);
        let position = Position { consumer: consumer.clone(), cursor: cursor.clone(), since, stored_at: now };
        let (unfinished, name) = (Self::named(consumer, "tmp"), Self::named(consumer, "json"));
        match self.fs.unlink(&self.dir, &unfinished) {
            Err(error) if !error.is_not_found() => return Err(error.into()),
            _ => {}
        }
        let file = self.fs.open(&self.dir, &unfinished, Open::Create { mode: FILE_MODE })?;
        fs::write_all_at(&self.fs, &file, position.text().as_bytes(), 0)?;
        self.fs.sync_all(&file)?;
        self.fs.replace(&self.dir, &unfinished, &name)?;
        self.fs.sync_dir(&self.dir)?;
        Ok(position)
    }

    /// Stores the position of a consumer that has acknowledged all lines up to there.
    ///
    /// # Errors
    /// [`Error::Consumer`] if that goes back, or the present position cannot be read; and as [`Positions::store`].
    pub fn acknowledge(&self, held: &Held<F>, consumer: &Consumer, cursor: &Cursor) -> Result<Position, Error> {
        let before = self.read(consumer)?.map(|before| before.cursor).unwrap_or_default();
        if !cursor.is_at_least(&before) {
            return Err(Error::Consumer(format!(
                "{consumer} has acknowledged more already, up to {before}; to go back: csv-ingestor follow --consumer {consumer} \
                 --from {cursor}"
            )));
        }
        self.store(held, consumer, cursor)
    }
}
