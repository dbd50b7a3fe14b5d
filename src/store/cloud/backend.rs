//! The requests of each kind of store, as far as the client library has them.
//!
//! Invariants:
//! - The client library tries nothing again: `max_retries` is 0.
//! - Credentials are marked in the trace while they are fetched ([`Marked`]): whatever fails then has not reached the
//!   store.

use std::sync::Arc;

use async_trait::async_trait;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{HttpRequest, HttpRequestBody, HttpService as _};
use object_store::gcp::{GoogleCloudStorage, GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer as _};
use object_store::{
    Attribute, AttributeValue, Attributes, CredentialProvider, GetOptions, GetRange, GetResult, ObjectStore, PutMode,
    PutOptions, RetryConfig,
};
use reqwest::Method;

use super::azure::Azure;
use super::body::Body;
use super::crypto::Crypto;
use super::fault::{Fault, chain};
use super::outcome::Failure;
use super::settings::Settings;
use super::trace;
use super::transport::{Connector, Transport, client_options, element};
use super::work::{Work, unreadable, within};
use crate::limits::{STORE_ANSWER_TIMEOUT, STORE_LISTED_MAX, STORE_OBJECT_BYTES_MAX, STORE_PART_PAGES_MAX};
use crate::store::{Head, Kind, Part};
use crate::types::{Sha256, UnixMillis};

/// The name of the metadata that holds an object's SHA-256, in hex digits.
pub(super) const METADATA: &str = "sha256";
/// How long a signed URL is valid: it is used at once.
const SIGNED_FOR: std::time::Duration = std::time::Duration::from_secs(300);

/// A kind of store.
pub(super) enum Backend {
    S3(AmazonS3),
    Google(GoogleCloudStorage),
    Azure(Azure),
}

/// Credentials that are marked in the trace while they are fetched.
struct Marked<T>(Arc<dyn CredentialProvider<Credential = T>>);

impl<T> std::fmt::Debug for Marked<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Marked")
    }
}

#[async_trait]
impl<T: Send + Sync + 'static> CredentialProvider for Marked<T> {
    type Credential = T;

    async fn get_credential(&self) -> object_store::Result<Arc<T>> {
        trace::with(|trace| trace.for_credentials = true);
        let found = self.0.get_credential().await?;
        trace::with(|trace| {
            trace.for_credentials = false;
            trace.last = trace::Last::Nothing;
        });
        Ok(found)
    }
}

fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// An error of the client library's builders, without secrets.
fn unbuilt(settings: &Settings, error: &object_store::Error) -> Fault {
    Fault::Client(settings.secrets.clean(&chain(error)))
}

impl Backend {
    pub(super) fn s3(bucket: &str, settings: &Settings, connector: Connector, plain: bool) -> Result<Backend, Fault> {
        let build = || -> object_store::Result<AmazonS3> {
            let mut builder = AmazonS3Builder::new().with_bucket_name(bucket);
            for (name, value) in settings.for_library() {
                builder = builder.with_config(name.parse()?, value);
            }
            let builder = builder
                .with_client_options(client_options(plain))
                .with_retry(no_retries())
                .with_crypto_provider(Arc::new(Crypto))
                .with_http_connector(connector)
                .with_disable_bulk_delete(true);
            let unmarked = builder.clone().build()?;
            builder.with_credentials(Arc::new(Marked(Arc::clone(unmarked.credentials())))).build()
        };
        build().map(Backend::S3).map_err(|error| unbuilt(settings, &error))
    }

    pub(super) fn google(
        bucket: &str,
        settings: &Settings,
        connector: Connector,
        plain: bool,
    ) -> Result<Backend, Fault> {
        let build = || -> object_store::Result<GoogleCloudStorage> {
            let mut builder = GoogleCloudStorageBuilder::new().with_bucket_name(bucket);
            for (name, value) in settings.for_library() {
                let key = if name == "endpoint" { GoogleConfigKey::BaseUrl } else { name.parse()? };
                builder = builder.with_config(key, value.trim_end_matches('/'));
            }
            let builder = builder
                .with_client_options(client_options(plain))
                .with_retry(no_retries())
                .with_crypto_provider(Arc::new(Crypto))
                .with_http_connector(connector);
            let unmarked = builder.clone().build()?;
            builder.with_credentials(Arc::new(Marked(Arc::clone(unmarked.credentials())))).build()
        };
        build().map(Backend::Google).map_err(|error| unbuilt(settings, &error))
    }

    pub(super) fn azure(
        container: &str,
        settings: &Settings,
        connector: Connector,
        plain: bool,
    ) -> Result<Backend, Fault> {
        let transport = connector.transport.clone();
        let build = || -> object_store::Result<_> {
            let mut builder = MicrosoftAzureBuilder::new().with_container_name(container);
            for (name, value) in settings.for_library() {
                builder = builder.with_config(name.parse()?, value);
            }
            let builder = builder
                .with_client_options(client_options(plain))
                .with_retry(no_retries())
                .with_crypto_provider(Arc::new(Crypto))
                .with_http_connector(connector);
            let unmarked = builder.clone().build()?;
            builder.with_credentials(Arc::new(Marked(Arc::clone(unmarked.credentials())))).build()
        };
        let store = build().map_err(|error| unbuilt(settings, &error))?;
        let account = settings.get("account_name").unwrap_or_default();
        let endpoint = match settings.get("endpoint") {
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
            None => format!("https://{account}.blob.core.windows.net"),
        };
        let base = format!("{endpoint}/{container}");
        Ok(Backend::Azure(Azure { store, transport, account: account.to_owned(), base }))
    }

    fn objects(&self) -> &dyn ObjectStore {
        match self {
            Backend::S3(store) => store,
            Backend::Google(store) => store,
            Backend::Azure(azure) => &azure.store,
        }
    }

    fn lists(&self) -> &dyn PaginatedListStore {
        match self {
            Backend::S3(store) => store,
            Backend::Google(store) => store,
            Backend::Azure(azure) => &azure.store,
        }
    }

    /// The library's uploads in parts; those of Azure are ours.
    fn uploads(&self) -> Result<&dyn MultipartStore, &Azure> {
        match self {
            Backend::S3(store) => Ok(store),
            Backend::Google(store) => Ok(store),
            Backend::Azure(azure) => Err(azure),
        }
    }

    pub(super) async fn create(&self, path: &Path, body: Body) -> Work<()> {
        if let Backend::Azure(azure) = self {
            return azure.create(path.as_ref(), body).await;
        }
        prepare(&body);
        let options =
            PutOptions { mode: PutMode::Create, attributes: attributes(&body.sha256), ..PutOptions::default() };
        self.objects().put_opts(path, body.payload, options).await?;
        Ok(())
    }

    /// Asks for the object, or for the bytes in this range; its bytes are still to be read.
    pub(super) async fn get(&self, path: &Path, range: Option<(u64, u64)>) -> Work<GetResult> {
        let range = range.map(|(begin, end)| GetRange::Bounded(begin..end));
        let answer = self.objects().get_opts(path, GetOptions { range, ..GetOptions::default() }).await?;
        if answer.range.end - answer.range.start > STORE_OBJECT_BYTES_MAX {
            let why = format!("{} bytes are more than are read at once", answer.range.end - answer.range.start);
            return Err(Failure::Known(Kind::Refused, why));
        }
        Ok(answer)
    }

    pub(super) async fn head(&self, path: &Path) -> Work<Head> {
        let answer = self.objects().get_opts(path, GetOptions { head: true, ..GetOptions::default() }).await?;
        let sha256 = answer.attributes.get(&Attribute::Metadata(METADATA.into()));
        let sha256 = sha256.and_then(|digits| Sha256::from_hex(digits.as_bytes()));
        Ok(Head { size: answer.meta.size, sha256 })
    }

    pub(super) async fn delete(&self, path: &Path) -> Work<()> {
        use object_store::ObjectStoreExt as _;
        match self {
            Backend::S3(store) => store.delete(path).await?,
            Backend::Google(store) => store.delete(path).await?,
            Backend::Azure(azure) => azure.delete(path.as_ref()).await?,
        }
        Ok(())
    }

    /// Keys that begin with `prefix` and sort after `after`, and when they were written: those of the first page that has
    /// any.
    pub(super) async fn list(&self, prefix: &str, after: Option<&str>) -> Work<Vec<(String, UnixMillis)>> {
        let mut options = PaginatedListOptions {
            offset: after.map(str::to_owned),
            max_keys: Some(STORE_LISTED_MAX),
            ..PaginatedListOptions::default()
        };
        loop {
            let prefix = Some(prefix).filter(|prefix| !prefix.is_empty());
            let page =
                within(STORE_ANSWER_TIMEOUT, async { Ok(self.lists().list_paginated(prefix, options.clone()).await?) });
            let page = page.await?;
            let objects = page.result.objects.into_iter().map(|object| {
                let modified = u64::try_from(object.last_modified.timestamp_millis()).unwrap_or(0);
                (object.location.to_string(), UnixMillis(modified))
            });
            // Not every store knows where to begin.
            let mut found: Vec<_> = objects.filter(|(key, _)| after.is_none_or(|after| key.as_str() > after)).collect();
            if !found.is_empty() || page.page_token.is_none() {
                found.sort_unstable();
                return Ok(found);
            }
            options.page_token = page.page_token;
        }
    }

    pub(super) async fn begin_upload(&self, path: &Path, sha256: &Sha256) -> Work<String> {
        match self.uploads() {
            Ok(uploads) => Ok(uploads.create_multipart_opts(path, attributes(sha256).into()).await?),
            Err(azure) => Ok(azure.begin_upload(sha256)),
        }
    }

    /// Returns the store's name for the part's content.
    pub(super) async fn put_part(&self, path: &Path, upload: &str, number: u16, body: Body) -> Work<String> {
        match self.uploads() {
            Ok(uploads) => {
                prepare(&body);
                let number = usize::from(number) - 1;
                Ok(uploads.put_part(path, &upload.to_owned(), number, body.payload).await?.content_id)
            }
            Err(azure) => azure.put_part(path.as_ref(), upload, number, body).await,
        }
    }

    pub(super) async fn complete(&self, path: &Path, upload: &str, etags: Vec<String>) -> Work<()> {
        match self.uploads() {
            Ok(uploads) => {
                let parts = etags.into_iter().map(|content_id| PartId { content_id }).collect();
                uploads.complete_multipart(path, &upload.to_owned(), parts).await?;
                Ok(())
            }
            Err(azure) => azure.complete(path.as_ref(), upload, &etags).await,
        }
    }

    pub(super) async fn abort(&self, path: &Path, upload: &str) -> Work<()> {
        match self.uploads() {
            Ok(uploads) => Ok(uploads.abort_multipart(path, &upload.to_owned()).await?),
            // Azure has no uploads, only parts that belong to nothing yet: it removes them after a week.
            Err(_) => Ok(()),
        }
    }

    pub(super) async fn list_parts(&self, transport: &Transport, path: &Path, upload: &str) -> Work<Vec<Part>> {
        match self {
            Backend::S3(store) => list_parts(store, transport, path, upload).await,
            Backend::Google(_) => {
                let why = "the parts of an upload cannot be listed in this kind of store";
                Err(Failure::Known(Kind::Refused, why.to_owned()))
            }
            Backend::Azure(azure) => within(STORE_ANSWER_TIMEOUT, azure.list_parts(path.as_ref(), upload)).await,
        }
    }
}

/// The metadata of an object.
fn attributes(sha256: &Sha256) -> Attributes {
    Attributes::from_iter([(Attribute::Metadata(METADATA.into()), AttributeValue::from(sha256.hex()))])
}

/// Gives the request that is about to be sent its checksums.
fn prepare(body: &Body) {
    body.payload.iter().take(1).for_each(|bytes| trace::know(bytes, body.sha256.0));
    trace::add_header("content-md5", body.md5.clone());
}

/// The client library cannot list parts, but it signs URLs.
async fn list_parts(store: &AmazonS3, transport: &Transport, path: &Path, upload: &str) -> Work<Vec<Part>> {
    let (mut parts, mut behind) = (Vec::new(), "0".to_owned());
    for _ in 0..STORE_PART_PAGES_MAX {
        let page = within(STORE_ANSWER_TIMEOUT, async {
            let query = [("part-number-marker", behind.as_str()), ("uploadId", upload)];
            let options = SignedUrlOptions::default().with_query(query);
            let url = store.signed_url_opts(Method::GET, path, SIGNED_FOR, &options).await?;
            let mut request = HttpRequest::new(HttpRequestBody::empty());
            *request.uri_mut() = url.as_str().parse().map_err(|_| unreadable("the URL"))?;
            let answer = transport.call(request).await.map_err(|_| Failure::Answered)?;
            if !answer.status().is_success() {
                return Err(Failure::Answered);
            }
            let bytes = answer.into_body().bytes().await.map_err(|_| unreadable("the answer"))?;
            String::from_utf8(bytes.to_vec()).map_err(|_| unreadable("the list of parts"))
        });
        let page = page.await?;
        for text in page.split("<Part>").skip(1) {
            let number = element(text, "PartNumber").parse().map_err(|_| unreadable("the list of parts"))?;
            let size = element(text, "Size").parse().map_err(|_| unreadable("the list of parts"))?;
            parts.push(Part { number, size, etag: element(text, "ETag") });
        }
        behind = element(&page, "NextPartNumberMarker");
        if element(&page, "IsTruncated") != "true" || behind.is_empty() {
            parts.sort_unstable_by_key(|part| part.number);
            return Ok(parts);
        }
    }
    Err(Failure::Known(Kind::Refused, "the list of parts does not end".to_owned()))
}
