//! From a location to a store.
//!
//! Invariant: opening a store sends no request; whether it is there, the first request says.

use std::path::Path;
use std::sync::Arc;

use super::Store;
#[cfg(feature = "object-store")]
use super::cloud;
use super::dir::DirStore;
use super::location::{Location, Options, Scheme};
use crate::fs;
use crate::fs::real::RealFs;

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Unopened {
    /// The directory cannot be opened.
    #[error("{0}")]
    Directory(#[from] fs::Error),
    /// Options, certificates or the processor do not allow it.
    #[cfg(feature = "object-store")]
    #[error("{0}: {1}")]
    Cloud(Location, cloud::Fault),
    /// This program was built without this kind of store.
    #[error("{0}: this program was built without object stores; only file:///PATH can be used")]
    NotBuilt(Location),
}

/// Opens the store at this location. Its keys are those below the location's prefix.
///
/// # Errors
/// See [`Unopened`].
pub fn open(location: &Location, options: &Options) -> Result<Arc<dyn Store>, Unopened> {
    match location.scheme {
        Scheme::File => Ok(Arc::new(DirStore::open(&RealFs::default(), Path::new(&location.prefix))?)),
        Scheme::S3 | Scheme::Gs | Scheme::Az => elsewhere(location, options),
    }
}

#[cfg(feature = "object-store")]
fn elsewhere(location: &Location, options: &Options) -> Result<Arc<dyn Store>, Unopened> {
    match cloud::open(location, options) {
        Ok(store) => Ok(Arc::new(store)),
        Err(fault) => Err(Unopened::Cloud(location.clone(), fault)),
    }
}

#[cfg(not(feature = "object-store"))]
fn elsewhere(location: &Location, _options: &Options) -> Result<Arc<dyn Store>, Unopened> {
    Err(Unopened::NotBuilt(location.clone()))
}
