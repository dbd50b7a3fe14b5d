//! Certificates, plain HTTP, and options.
//!
//! `tls/authority.pem` is a private authority, whose key is not kept; `store.pem` and `key.pem` are those of a server on
//! 127.0.0.1. They are valid for a hundred years.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use csv_ingestor::store::{Kind, Store as _};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::server::{Answer, Server};
use super::{SECRET, open, options};

pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/all/cloud/tls").join(name)
}

pub fn tls_server(script: impl IntoIterator<Item = Answer>) -> Server {
    let chain = vec![CertificateDer::from_pem_file(file("store.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(file("key.pem")).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls_graviola::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
    Server::wrapped(
        script,
        Arc::new(move |stream| Box::new(StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream))),
    )
}

fn deleted(endpoint: &str, further: &[(&str, &str)]) -> Result<(), csv_ingestor::store::Error> {
    let pairs = [("endpoint", endpoint), ("access_key_id", "x"), ("secret_access_key", SECRET)];
    open("s3://bucket", &[pairs.as_slice(), further].concat()).unwrap().delete("k")
}

#[test]
fn certificates_are_checked() {
    let server = tls_server([Answer::status(204, "")]);
    let (right, other) = (format!("https://127.0.0.1:{}", server.port), format!("https://localhost:{}", server.port));
    let authority = file("authority.pem");
    let authority = [("ca_file", authority.to_str().unwrap())];
    // Nobody vouches for the certificate; it is another host's; somebody else vouches for it.
    for (endpoint, further) in [(&right, [].as_slice()), (&other, &authority)] {
        let error = deleted(endpoint, further).unwrap_err();
        assert_eq!(error.kind, Kind::DidNotHappen, "{error}");
        assert!(error.detail.contains("certificate"), "{error}");
    }
    assert!(server.requests().is_empty());
    deleted(&right, &authority).unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_server_without_tls_gets_nothing() {
    let server = Server::start([]);
    let error = deleted(&format!("https://127.0.0.1:{}", server.port), &[]).unwrap_err();
    assert_eq!(error.kind, Kind::DidNotHappen, "{error}");
    assert!(!format!("{error:?}").contains(SECRET));
}

#[test]
fn plain_http_needs_loopback_or_the_option() {
    let open = |endpoint: &str, further: &[(&str, &str)]| {
        open("s3://bucket", &[&[("endpoint", endpoint)], further].concat()).map(drop)
    };
    for endpoint in ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1", "https://example.org"] {
        open(endpoint, &[]).unwrap();
    }
    for endpoint in ["http://example.org", "http://10.0.0.1:8333", "http://127.0.0.1.example.org"] {
        let fault = open(endpoint, &[]).unwrap_err().to_string();
        assert!(fault.contains("plain HTTP") && fault.contains("allow_http=true"), "{fault}");
        open(endpoint, &[("allow_http", "true")]).unwrap();
    }
    for endpoint in ["example.org", "ftp://example.org", "https://user:hush@example.org", "https://h/?sig=hush"] {
        let fault = open(endpoint, &[]).unwrap_err().to_string();
        assert!(!fault.contains("hush"), "{fault}");
    }
}

#[test]
fn options_that_are_unknown_or_wrong_are_errors() {
    let fault = |url: &str, pairs: &[(&str, &str)]| open(url, pairs).err().unwrap().to_string();
    assert!(fault("s3://b", &[("regoin", "x")]).contains("s3:// has no option regoin; it has: allow_http, ca_file"));
    assert!(fault("az://b", &[("region", "x")]).contains("account_key"));
    assert!(fault("gs://b", &[("account_key", "x")]).contains("service_account"));
    assert!(fault("s3://b", &[("allow_http", "maybe")]).contains("true or false"));
    assert!(fault("s3://b", &[("ca_file", "/no/such/file")]).contains("/no/such/file"));
    let key = fault("az://b", &[("account_name", "a"), ("account_key", "hush, not base64")]);
    assert!(!key.contains("hush"), "{key}");
    assert!(!format!("{:?}", options(&[("secret_access_key", "hush")])).contains("hush"));
}
