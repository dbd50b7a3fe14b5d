//! The stores of the clouds, and what speaks their protocols: S3, Google Cloud Storage, Azure Blob Storage.
//!
//! Invariants:
//! - A call sends one request to the store, once; a listing and a list of parts send one for each page. Fetching
//!   credentials takes further requests, to others.
//! - A create carries its condition: `If-None-Match: *` (S3, Azure), `x-goog-if-generation-match: 0` (Google). The store
//!   decides, not this client.
//! - What is sent has the SHA-256 that the caller says, and carries checksums that the store compares (`body`).
//! - No async outside of this directory: a call waits for the thread in `worker`.
//!
//! What a store must guarantee itself is in [`Store`]; a probe finds out whether it does.

mod azure;
mod backend;
mod body;
mod crypto;
mod fault;
mod outcome;
pub mod post;
mod secrets;
mod settings;
mod skew;
mod tls;
mod trace;
mod transport;
mod work;
mod worker;

use std::path::Path as FilePath;
use std::sync::Arc;

use object_store::path::Path;
use tokio::runtime::Handle;

use self::backend::Backend;
use self::body::Body;
pub use self::fault::Fault;
use self::outcome::Failure;
use self::secrets::Secrets;
pub use self::settings::Environment;
use self::settings::Settings;
pub use self::skew::seconds as http_date;
use self::transport::{Connector, Transport};
use self::work::{Work, limit, within};
use super::location::{Location, Options, Scheme};
use super::{Error, Head, Kind, Part, Result, Store, Verb};
use crate::fs::operators;
use crate::limits::{STORE_ANSWER_TIMEOUT, STORE_CA_BYTES_MAX};
use crate::types::{Sha256, UnixMillis};

/// A store of a cloud.
pub struct CloudStore {
    inner: Arc<Inner>,
    /// What all keys begin with, with a slash at its end; or nothing.
    prefix: String,
    secrets: Secrets,
    worker: Handle,
}

/// What the worker needs of a store.
struct Inner {
    backend: Backend,
    transport: Transport,
}

/// Opens the store at this location with the environment of this process. Sends no request.
///
/// # Errors
/// See [`Fault`].
pub fn open(location: &Location, options: &Options) -> std::result::Result<CloudStore, Fault> {
    open_in(location, options, &|name| std::env::var(name).ok())
}

/// Opens the store at this location with this environment. Sends no request.
///
/// # Errors
/// See [`Fault`].
pub fn open_in(
    location: &Location,
    options: &Options,
    environment: Environment<'_>,
) -> std::result::Result<CloudStore, Fault> {
    let settings = Settings::read(location.scheme, options, environment)?;
    let endpoint = Endpoint::of(&settings)?;
    let trust = tls::Trust {
        authorities: match settings.get("ca_file") {
            Some(path) => match operators::read(FilePath::new(path), STORE_CA_BYTES_MAX) {
                Ok(pem) => tls::authorities(&pem)?,
                Err(error) => return Err(Fault::Authority(format!("{path}: {error}"))),
            },
            None => Vec::new(),
        },
        without_proxy: endpoint.is_loopback,
    };
    if !endpoint.is_plain {
        tls::check_processor()?;
    }
    let transport = Transport::new(&trust, endpoint.is_plain)?;
    let connector = Connector { transport: transport.clone(), trust };
    let backend = match location.scheme {
        Scheme::Gs => Backend::google(&location.bucket, &settings, connector, endpoint.is_plain)?,
        Scheme::Az => Backend::azure(&location.bucket, &settings, connector, endpoint.is_plain)?,
        Scheme::S3 | Scheme::File => Backend::s3(&location.bucket, &settings, connector, endpoint.is_plain)?,
    };
    let prefix = if location.prefix.is_empty() { String::new() } else { format!("{}/", location.prefix) };
    let inner = Arc::new(Inner { backend, transport });
    Ok(CloudStore { inner, prefix, secrets: settings.secrets, worker: worker::worker()? })
}

/// What matters of an endpoint for how it is spoken to.
struct Endpoint {
    is_plain: bool,
    is_loopback: bool,
}

impl Endpoint {
    fn of(settings: &Settings) -> std::result::Result<Endpoint, Fault> {
        let allows = settings.is_true("allow_http")?;
        let Some(text) = settings.get("endpoint") else {
            return Ok(Endpoint { is_plain: false, is_loopback: false });
        };
        let url = reqwest::Url::parse(text).map_err(|_| Fault::Endpoint)?;
        // A user or a query would be a secret that shows up in messages.
        let is_bare = url.username().is_empty() && url.password().is_none() && url.query().is_none();
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        if !matches!(url.scheme(), "http" | "https") || !is_bare || url.fragment().is_some() || host.is_empty() {
            return Err(Fault::Endpoint);
        }
        let address: Option<std::net::IpAddr> = host.parse().ok();
        let is_loopback = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        let is_plain = url.scheme() == "http";
        if is_plain && !is_loopback && !allows {
            return Err(Fault::PlainHttp(text.to_owned()));
        }
        Ok(Endpoint { is_plain, is_loopback })
    }
}

impl CloudStore {
    /// Does the work on the worker, and waits for it.
    fn call<T: Send + 'static>(
        &self,
        verb: Verb,
        key: &str,
        work: impl Future<Output = Work<T>> + Send + 'static,
    ) -> Result<T> {
        let trace = trace::Shared::default();
        let done = worker::wait(&self.worker, trace.scope(work));
        let failure = match done {
            Some(Ok(done)) => return Ok(done),
            Some(Err(failure)) => failure,
            None => Failure::Known(Kind::MayHaveHappened, "the thread for requests has ended".to_owned()),
        };
        let (kind, detail) = trace.with(|trace| outcome::outcome(verb, trace, &failure));
        Err(Error { verb, key: key.to_owned(), kind, detail: self.secrets.clean(&detail) })
    }

    /// The key's place in the bucket.
    fn path(&self, verb: Verb, key: &str) -> Result<Path> {
        let full = format!("{}{key}", self.prefix);
        let plain = Path::parse(&full).ok().filter(|path| path.as_ref() == full && !full.is_empty());
        plain.ok_or_else(|| refused(verb, key, "not a key: it has empty parts, or parts that are . or .."))
    }

    fn get_part(&self, key: &str, range: Option<(u64, u64)>) -> Result<Vec<u8>> {
        let (inner, path) = (Arc::clone(&self.inner), self.path(Verb::Get, key)?);
        self.call(Verb::Get, key, async move {
            let answer = within(STORE_ANSWER_TIMEOUT, inner.backend.get(&path, range)).await?;
            let length = usize::try_from(answer.range.end - answer.range.start).unwrap_or(usize::MAX);
            within(limit(length), async { Ok(answer.bytes().await?.to_vec()) }).await
        })
    }
}

/// Of a caller's mistake, or of bytes that have changed since they were hashed.
const OTHER_BYTES: &str = "the bytes do not have this SHA-256";

fn refused(verb: Verb, key: &str, why: &str) -> Error {
    Error { verb, key: key.to_owned(), kind: Kind::Refused, detail: why.to_owned() }
}

/// Succeeds if there was nothing to remove.
fn gone(removed: Result<()>) -> Result<()> {
    match removed {
        Err(error) if error.kind == Kind::NotFound => Ok(()),
        removed => removed,
    }
}

impl Store for CloudStore {
    fn create(&self, key: &str, bytes: &[u8], sha256: &Sha256) -> Result<()> {
        let (inner, path) = (Arc::clone(&self.inner), self.path(Verb::Create, key)?);
        let body = Body::new(bytes, sha256).ok_or_else(|| refused(Verb::Create, key, OTHER_BYTES))?;
        let limit = limit(bytes.len());
        self.call(Verb::Create, key, async move { within(limit, inner.backend.create(&path, body)).await })
    }

    fn get(&self, key: &str) -> Result<Vec<u8>> {
        self.get_part(key, None)
    }

    fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
        let short = || refused(Verb::Get, key, "shorter than that");
        let Some(end) = offset.checked_add(length) else { return Err(short()) };
        if length == 0 {
            // There is no way to ask for nothing.
            return if self.head(key)?.size >= end { Ok(Vec::new()) } else { Err(short()) };
        }
        let bytes = self.get_part(key, Some((offset, end)))?;
        if bytes.len() as u64 == length { Ok(bytes) } else { Err(short()) }
    }

    fn head(&self, key: &str) -> Result<Head> {
        let (inner, path) = (Arc::clone(&self.inner), self.path(Verb::Head, key)?);
        self.call(Verb::Head, key, async move { within(STORE_ANSWER_TIMEOUT, inner.backend.head(&path)).await })
    }

    fn delete(&self, key: &str) -> Result<()> {
        let (inner, path) = (Arc::clone(&self.inner), self.path(Verb::Delete, key)?);
        gone(self.call(
            Verb::Delete,
            key,
            async move { within(STORE_ANSWER_TIMEOUT, inner.backend.delete(&path)).await },
        ))
    }

    fn list_ages(&self, prefix: &str, after: &str) -> Result<Vec<(String, UnixMillis)>> {
        let inner = Arc::clone(&self.inner);
        let full = format!("{}{prefix}", self.prefix);
        let after = if after.is_empty() { None } else { Some(format!("{}{after}", self.prefix)) };
        let found = self.call(Verb::List, prefix, async move { inner.backend.list(&full, after.as_deref()).await })?;
        let own = |(key, modified): (String, UnixMillis)| Some((key.strip_prefix(&self.prefix)?.to_owned(), modified));
        Ok(found.into_iter().filter_map(own).collect())
    }

    fn begin_upload(&self, key: &str, sha256: &Sha256) -> Result<String> {
        let (inner, path, sha256) = (Arc::clone(&self.inner), self.path(Verb::BeginUpload, key)?, *sha256);
        self.call(Verb::BeginUpload, key, async move {
            within(STORE_ANSWER_TIMEOUT, inner.backend.begin_upload(&path, &sha256)).await
        })
    }

    fn put_part(&self, key: &str, upload: &str, number: u16, bytes: &[u8], sha256: &Sha256) -> Result<Part> {
        let (inner, path, upload) = (Arc::clone(&self.inner), self.path(Verb::PutPart, key)?, upload.to_owned());
        if number == 0 {
            return Err(refused(Verb::PutPart, key, "parts are numbered from 1"));
        }
        let body = Body::new(bytes, sha256).ok_or_else(|| refused(Verb::PutPart, key, OTHER_BYTES))?;
        let (limit, size) = (limit(bytes.len()), bytes.len() as u64);
        let etag = self.call(Verb::PutPart, key, async move {
            within(limit, inner.backend.put_part(&path, &upload, number, body)).await
        })?;
        Ok(Part { number, size, etag })
    }

    fn complete(&self, key: &str, upload: &str, parts: &[Part]) -> Result<()> {
        let (inner, path, upload) = (Arc::clone(&self.inner), self.path(Verb::Complete, key)?, upload.to_owned());
        if parts.is_empty() || !parts.iter().zip(1..).all(|(part, number)| part.number == number) {
            return Err(refused(Verb::Complete, key, "the parts are not numbered 1, 2, 3 and so on"));
        }
        let etags: Vec<String> = parts.iter().map(|part| part.etag.clone()).collect();
        // A store may put the parts together, byte by byte, before it answers.
        let size = parts.iter().map(|part| part.size).sum::<u64>();
        let limit = limit(usize::try_from(size).unwrap_or(usize::MAX));
        self.call(
            Verb::Complete,
            key,
            async move { within(limit, inner.backend.complete(&path, &upload, etags)).await },
        )
    }

    fn abort(&self, key: &str, upload: &str) -> Result<()> {
        let (inner, path, upload) = (Arc::clone(&self.inner), self.path(Verb::Abort, key)?, upload.to_owned());
        gone(self.call(Verb::Abort, key, async move {
            within(STORE_ANSWER_TIMEOUT, inner.backend.abort(&path, &upload)).await
        }))
    }

    fn list_parts(&self, key: &str, upload: &str) -> Result<Vec<Part>> {
        let (inner, path, upload) = (Arc::clone(&self.inner), self.path(Verb::ListParts, key)?, upload.to_owned());
        self.call(Verb::ListParts, key, async move { inner.backend.list_parts(&inner.transport, &path, &upload).await })
    }

    fn skew(&self) -> Option<i64> {
        self.inner.transport.skew.seconds()
    }
}
