//! The client of real object stores, against a server that answers as a test has written down; and, on demand, against a
//! real server.

mod google_and_azure;
mod hosts;
mod outcomes;
mod real;
mod requests;
pub mod secure;
pub mod server;

use csv_ingestor::store::cloud::{self, CloudStore, Fault};
use csv_ingestor::store::location::{Location, Options};
use csv_ingestor::types::Sha256;
use sha2::Digest as _;

/// What must not show up anywhere.
pub const SECRET: &str = "the-secret-key-0123456789";

pub fn sha256(bytes: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(bytes).into())
}

pub fn options(pairs: &[(&str, &str)]) -> Options {
    Options(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

/// Opens a store without any environment.
pub fn open(url: &str, pairs: &[(&str, &str)]) -> Result<CloudStore, Fault> {
    cloud::open_in(&Location::parse(url).unwrap(), &options(pairs), &|_| None)
}

/// An S3 store at this endpoint: bucket `bucket`, prefix `lake`.
pub fn s3(endpoint: &str) -> CloudStore {
    let pairs = [("endpoint", endpoint), ("access_key_id", "the-key-id"), ("secret_access_key", SECRET)];
    open("s3://bucket/lake", &pairs).unwrap()
}
