//! Which lake: its URL, its manifests, and the settings of its stores.
//!
//! Invariant: settings may be secrets, so they are never printed.

use std::fmt;
use std::sync::Arc;

use clap::Args;

use crate::Error;
use crate::lake;
use crate::lake::description::{check_manifests, read};
use crate::lake::format::Description;
use crate::lake::publish::Stores;
use crate::store::Store;
use crate::store::location::{Location, Options};
use crate::store::open::open;

/// The warehouse of a lake.
#[derive(Debug, Args)]
pub(super) struct StoreArgs {
    /// The warehouse: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or file:///DIR
    #[arg(value_name = "URL", value_parser = Location::parse)]
    pub(super) url: Location,
    /// A setting of the store, such as aws_region=eu-central-1; counts more than the environment; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_option)]
    store_option: Vec<Setting>,
}

/// A lake with its manifests.
#[derive(Debug, Args)]
pub(super) struct LakeArgs {
    #[command(flatten)]
    pub(super) store: StoreArgs,
    /// The manifests [default: where the lake was made with]
    #[arg(long, value_name = "URL", value_parser = Location::parse)]
    manifests: Option<Location>,
}

#[derive(Clone)]
struct Setting(String, String);

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads `--store-option`.
fn parse_option(text: &str) -> Result<Setting, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok(Setting(key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// A lake that was found.
pub(super) struct Opened {
    pub(super) stores: Stores,
    pub(super) description: Description,
    pub(super) manifests: Location,
}

impl StoreArgs {
    /// Opens the store at this location.
    pub(super) fn open_at(&self, location: &Location) -> Result<Arc<dyn Store>, Error> {
        let options = self.store_option.iter().map(|Setting(key, value)| (key.clone(), value.clone()));
        let opened = open(location, &Options(options.collect()));
        opened.map_err(|error| Error::Usage(format!("{location}: {error}")))
    }

    /// An error of the lake, with its place.
    pub(super) fn failed(&self, error: lake::Error) -> Error {
        failed(&self.url, error)
    }

    /// Opens the warehouse, and reads what lake it is.
    pub(super) fn open(&self) -> Result<(Arc<dyn Store>, Description), Error> {
        let store = self.open_at(&self.url)?;
        let description = read(store.as_ref()).map_err(|error| self.failed(error))?;
        let no_lake = || Error::Usage(format!("{0}: there is no lake; csv-ingestor lake init {0} makes one", self.url));
        Ok((store, description.ok_or_else(no_lake)?))
    }
}

impl LakeArgs {
    /// Opens the lake.
    pub(super) fn open(&self) -> Result<Opened, Error> {
        let (warehouse, description) = self.store.open()?;
        let absent = || Error::Usage("the lake does not say where its manifests are: give --manifests".to_owned());
        let manifests = self.manifests.as_ref().or(description.manifests.as_ref()).ok_or_else(absent)?.clone();
        let store = self.store.open_at(&manifests)?;
        check_manifests(store.as_ref(), &description, false).map_err(|error| failed(&manifests, error))?;
        Ok(Opened { stores: Stores::new(warehouse, store), description, manifests })
    }
}

/// An error of a lake, with its place.
pub(super) fn failed(at: &Location, error: lake::Error) -> Error {
    Error::Lake { at: at.clone(), source: Box::new(error) }
}

/// A host's id, for people and in JSON.
pub(super) fn host_text(host: &[u8; 16]) -> String {
    host.iter().map(|byte| format!("{byte:02x}")).collect()
}
