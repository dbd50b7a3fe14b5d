//! A lake that `csv-ingestor follow` reads.

use std::sync::Arc;

use crate::Error;
use crate::follow::lake::LakeLines;
use crate::follow::{self, Cursor};
use crate::lake::clock::Clock as _;
use crate::lake::description::{check_manifests, read};
use crate::lake::publish::Stores;
use crate::lake::system_clock::SystemClock;
use crate::limits::LAKE_TRY_PAUSE;
use crate::store::Store;
use crate::store::location::{Location, Options};
use crate::store::patient::Patient;

/// Where it is.
pub(super) struct LakePlace {
    pub(super) warehouse: Location,
    pub(super) manifests: Location,
    pub(super) options: Options,
}

impl LakePlace {
    /// The lines behind a cursor. Who only looks once does not wait for a store that is away.
    pub(super) fn source(&self, cursor: Cursor, once: bool) -> Result<LakeLines, Error> {
        let open = |location: &Location| -> Result<Arc<dyn Store>, Error> {
            let pause = |tries: u32| SystemClock::default().pause(LAKE_TRY_PAUSE * tries);
            Ok(Arc::new(Patient::new(crate::store::open::open(location, &self.options)?, Arc::new(pause))))
        };
        let stores = Stores::new(open(&self.warehouse)?, open(&self.manifests)?);
        let failed = |at: &Location| {
            let at = at.clone();
            move |source| Error::Lake { at, source: Box::new(source) }
        };
        let description = read(stores.warehouse.as_ref()).map_err(failed(&self.warehouse))?;
        let description = description.ok_or_else(|| Error::NoLake(self.warehouse.clone()))?;
        check_manifests(stores.manifests.as_ref(), &description, false).map_err(failed(&self.manifests))?;
        Ok(LakeLines::new(stores, description.lake, Box::new(SystemClock::default()), cursor, once))
    }

    /// The cursor behind all lines that are there now.
    pub(super) fn newest(&self) -> Result<Cursor, Error> {
        Ok(self.source(Cursor::default(), true)?.newest().map_err(|error: follow::Error| error)?)
    }
}
