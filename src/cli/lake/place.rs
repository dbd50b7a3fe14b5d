//! Which lake: its URL, its manifests, and the settings of its stores.
//!
//! Invariant: a lake is opened only with manifests that say that they are its own.

use std::sync::Arc;

use clap::Args;

use crate::Error;
use crate::cli::store_options::StoreOptionArgs;
use crate::fs::Fs as _;
use crate::fs::real::RealFs;
use crate::lake;
use crate::lake::description::{check_manifests, read};
use crate::lake::format::Description;
use crate::lake::host::Host;
use crate::lake::progress::NoJournal;
use crate::lake::publish::Stores;
use crate::lake::system_clock::SystemClock;
use crate::store::Store;
use crate::store::location::Location;
use crate::store::open::open;

/// The warehouse of a lake.
#[derive(Debug, Args)]
pub(super) struct StoreArgs {
    /// The warehouse: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or file:///DIR
    #[arg(value_name = "URL", value_parser = Location::parse)]
    pub(super) url: Location,
    #[command(flatten)]
    options: StoreOptionArgs,
}

/// A lake with its manifests.
#[derive(Debug, Args)]
pub(super) struct LakeArgs {
    #[command(flatten)]
    pub(super) store: StoreArgs,
    /// The manifests [default: what the lake records]
    #[arg(long, value_name = "URL", value_parser = Location::parse)]
    manifests: Option<Location>,
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
        let opened = open(location, &self.options.options());
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
        Ok((store, description.ok_or_else(|| Error::NoLake(self.url.clone()))?))
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

impl Opened {
    /// A host that has read nothing yet.
    pub(super) fn host(self) -> Host {
        let (id, clock) = (RealFs::default().random(), Box::new(SystemClock::default()));
        Host::new(self.stores, self.description.lake, id, clock, Box::new(NoJournal), &[])
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
