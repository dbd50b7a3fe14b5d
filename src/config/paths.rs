//! The paths of a run, and whether they fit together.
//!
//! Invariant: nothing here creates or changes anything.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::error::Error;
use crate::fs::real::{RealFs, resolve};
use crate::fs::{Fs as _, mounts};
use crate::journal::format::PATH_BYTES_MAX;
use crate::pipeline::names::NAME_BYTES_MAX;
use crate::store::location::Location;

/// The paths that the user gave, not checked yet.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Staging directory.
    pub input: PathBuf,
    /// Warehouse root.
    pub warehouse: PathBuf,
    /// Manifests root.
    pub manifests: PathBuf,
    /// The journal's directory.
    pub state: PathBuf,
    /// Where duplicates are moved.
    pub duplicates: Option<PathBuf>,
    /// Where files that cannot be ingested are moved.
    pub quarantine: Option<PathBuf>,
    /// Where the metrics are written for node_exporter.
    pub metrics_textfile: Option<PathBuf>,
}

const INPUT: &str = "--input";
const WAREHOUSE: &str = "--warehouse";
const MANIFESTS: &str = "--manifests";
const STATE: &str = "--state-path";
const DUPLICATES: &str = "--duplicates-dir";
const QUARANTINE: &str = "--quarantine";
const TEXTFILE: &str = "--metrics-textfile";

impl Paths {
    /// Makes the paths absolute and checks that they fit together. Creates and changes nothing.
    ///
    /// # Errors
    /// A path cannot be used, or two of them do not fit together.
    pub fn check(self) -> Result<Paths, Error> {
        let absolute = |option: &'static str, path: PathBuf| {
            let absolute = std::path::absolute(&path).map_err(|source| Error::Path { option, path, source })?;
            if absolute.as_os_str().len() + 2 * NAME_BYTES_MAX > PATH_BYTES_MAX {
                return Err(Error::Options(format!("{option} is too long")));
            }
            Ok(absolute)
        };
        let (warehouse, manifests) = match check_urls(&self.warehouse, &self.manifests)? {
            Some((warehouse, manifests)) => (warehouse.to_string().into(), manifests.to_string().into()),
            None => (absolute(WAREHOUSE, self.warehouse)?, absolute(MANIFESTS, self.manifests)?),
        };
        let paths = Paths {
            input: absolute(INPUT, self.input)?,
            warehouse,
            manifests,
            state: absolute(STATE, self.state)?,
            duplicates: self.duplicates.map(|path| absolute(DUPLICATES, path)).transpose()?,
            quarantine: self.quarantine.map(|path| absolute(QUARANTINE, path)).transpose()?,
            metrics_textfile: self.metrics_textfile.map(|path| absolute(TEXTFILE, path)).transpose()?,
        };
        must_be_directory(INPUT, &paths.input)?;
        for (option, path) in paths.made() {
            match must_be_directory(option, path) {
                Err(Error::Path { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
                checked => checked?,
            }
        }
        paths.check_apart()?;
        for (option, path) in paths.renamed_to() {
            if device(INPUT, &paths.input)? != device(option, path)? {
                let text = format!("{option} must be on the file system of {INPUT}: files are renamed there");
                return Err(Error::Options(text));
            }
        }
        if let Some(textfile) = &paths.metrics_textfile {
            check_textfile(textfile)?;
            for outer in paths.made().chain([(INPUT, &*paths.input)]) {
                must_not_be_inside((TEXTFILE, textfile), (outer.0, outer.1))?;
            }
        }
        Ok(paths)
    }

    /// Checks that no directory is inside another one where its files would be mistaken for that one's, by whatever
    /// path it is reached. Creates and changes nothing.
    ///
    /// # Errors
    /// The first pair that does not fit together.
    pub fn check_apart(&self) -> Result<(), Error> {
        let read_by_others: Vec<_> = self.read_by_others().collect();
        for (option, path) in self.made() {
            must_not_be_inside((option, path), (INPUT, &self.input))?;
        }
        // Readers of these would find files that are still being written; and a file that a reader writes there would
        // be ingested.
        for outer in read_by_others.iter().copied() {
            must_not_be_inside((INPUT, &self.input), outer)?;
        }
        // Readers of these would find files there that do not belong to them.
        for (option, path) in self.renamed_to() {
            for outer in read_by_others.iter().copied() {
                must_not_be_inside((option, path), outer)?;
            }
        }
        if let (Some(quarantine), Some(duplicates)) = (&self.quarantine, &self.duplicates) {
            must_not_be_inside((QUARANTINE, quarantine), (DUPLICATES, duplicates))?;
        }
        for (option, path) in self.made().filter(|(option, _)| *option != STATE) {
            must_not_be_inside((option, path), (STATE, &self.state))?;
        }
        // Readers of the warehouse and of the manifests would find the journal there.
        for outer in read_by_others {
            must_not_be_inside((STATE, &self.state), outer)?;
        }
        Ok(())
    }

    /// True if warehouse and manifests are the same directory, by whatever paths.
    ///
    /// # Errors
    /// A path cannot be resolved.
    pub fn are_warehouse_and_manifests_one(&self) -> Result<bool, Error> {
        let (warehouse, manifests) = ((WAREHOUSE, &*self.warehouse), (MANIFESTS, &*self.manifests));
        Ok(is_inside(warehouse, manifests)? && is_inside(manifests, warehouse)?)
    }

    /// The directories that are created if they are missing.
    pub(super) fn made(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let renamed_to = self.renamed_to().map(|(option, path)| (option, &**path));
        self.read_by_others().chain([(STATE, &*self.state)]).chain(renamed_to)
    }

    /// Warehouse and manifests, if they are directories of this machine.
    fn read_by_others(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let both = [(WAREHOUSE, &*self.warehouse), (MANIFESTS, &*self.manifests)];
        both.into_iter().filter_map(|(option, path)| Some((option, of_this_machine(path)?)))
    }

    /// True if the warehouse is a lake.
    pub fn has_lake(&self) -> bool {
        is_url(&self.warehouse)
    }

    /// Directories into which staged files are renamed that do not get into the warehouse.
    fn renamed_to(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let both = [(DUPLICATES, &self.duplicates), (QUARANTINE, &self.quarantine)];
        both.into_iter().filter_map(|(option, path)| Some((option, path.as_ref()?)))
    }
}

fn is_url(path: &Path) -> bool {
    path.to_str().is_some_and(Location::is_meant)
}

/// The path of a directory, also of one that is given as `file://PATH`.
fn of_this_machine(path: &Path) -> Option<&Path> {
    match path.to_str() {
        Some(text) if Location::is_meant(text) => text.strip_prefix("file://").map(Path::new),
        _ => Some(path),
    }
}

/// Both as URLs, if they are such.
fn check_urls(warehouse: &Path, manifests: &Path) -> Result<Option<(Location, Location)>, Error> {
    if !is_url(warehouse) && !is_url(manifests) {
        return Ok(None);
    }
    let read = |option: &str, path: &Path| {
        let text = path.to_string_lossy();
        Location::parse(&text).map_err(|fault| Error::Options(format!("{option} {text}: {fault}")))
    };
    let (warehouse, manifests) = (read(WAREHOUSE, warehouse)?, read(MANIFESTS, manifests)?);
    let is_below = |one: &Location, other: &Location| format!("{one}/").starts_with(&format!("{other}/"));
    if is_below(&warehouse, &manifests) || is_below(&manifests, &warehouse) {
        let text = format!("{WAREHOUSE} {warehouse} and {MANIFESTS} {manifests}: give each a prefix of its own");
        return Err(Error::Options(text));
    }
    Ok(Some((warehouse, manifests)))
}

/// The file need not exist, but its directory must. node_exporter ignores files with other names, without a message.
fn check_textfile(path: &Path) -> Result<(), Error> {
    if path.extension() != Some(OsStr::new("prom")) {
        let text = format!("{TEXTFILE} {} must end in .prom: node_exporter reads no others", path.display());
        return Err(Error::Options(text));
    }
    if must_be_directory(TEXTFILE, path).is_ok() {
        return Err(Error::Options(format!("{TEXTFILE} {} is a directory", path.display())));
    }
    let dir = path.parent().unwrap_or(Path::new("/"));
    must_be_directory(TEXTFILE, dir)
}

fn must_be_directory(option: &'static str, path: &Path) -> Result<(), Error> {
    let opened = RealFs::default().open_dir(path);
    opened.map(drop).map_err(|error| Error::Path { option, path: path.to_path_buf(), source: error.source })
}

/// The device of a path, or of the directory in which it will be created.
fn device(option: &'static str, path: &Path) -> Result<u64, Error> {
    let fs = RealFs::default();
    let existing = path.ancestors().find_map(|ancestor| fs.open_dir(ancestor).ok());
    let Some(dir) = existing else { return Ok(0) };
    let stat = fs.stat_dir(&dir);
    stat.map(|stat| stat.identity.device).map_err(|error| Error::Path {
        option,
        path: path.to_path_buf(),
        source: error.source,
    })
}

fn resolved(option: &'static str, path: &Path) -> Result<PathBuf, Error> {
    resolve(path).map_err(|source| Error::Path { option, path: path.to_path_buf(), source })
}

fn must_not_be_inside(inner: (&'static str, &Path), outer: (&'static str, &Path)) -> Result<(), Error> {
    if is_inside(inner, outer)? {
        return Err(Error::Inside {
            inner: inner.0,
            inner_path: inner.1.to_path_buf(),
            outer: outer.0,
            outer_path: outer.1.to_path_buf(),
        });
    }
    Ok(())
}

/// True also if both are the same directory.
fn is_inside(inner: (&'static str, &Path), outer: (&'static str, &Path)) -> Result<bool, Error> {
    let (inside, outside) = (resolved(inner.0, inner.1)?, resolved(outer.0, outer.1)?);
    Ok(inside.starts_with(&outside) || is_reached_through(&inside, &outside) || mounts::is_inside(&inside, &outside))
}

/// True if `inner` or a directory above it is `outer` by another path, as where one is mounted a second time.
fn is_reached_through(inner: &Path, outer: &Path) -> bool {
    let fs = RealFs::default();
    let key = |path: &Path| fs.open_dir(path).and_then(|dir| fs.stat_dir(&dir)).ok().map(|stat| stat.identity.key());
    let Some(wanted) = key(outer) else { return false };
    inner.ancestors().any(|ancestor| key(ancestor) == Some(wanted))
}
