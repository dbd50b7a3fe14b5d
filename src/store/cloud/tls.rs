//! Connections: certificates, timeouts, and what they require of the processor.
//!
//! Invariants:
//! - Certificates are always checked. A private authority's certificate is trusted in place of the system's, not beside
//!   them.
//! - A request is sent once: redirects are not followed, and the HTTP client tries nothing again that was sent.

use std::time::Duration;

use reqwest::{Certificate, Client, redirect, retry};

use super::fault::{Fault, chain};
use crate::limits::{STORE_IDLE_CONNECTION, STORE_IDLE_CONNECTIONS_MAX};

/// What all connections to a store have in common.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    /// Authorities instead of the system's; none: the system's.
    pub(super) authorities: Vec<Certificate>,
    /// No proxy of the environment is used: the store is on this host, or it is no store.
    pub(super) without_proxy: bool,
}

/// Features of the processor that the cryptography of TLS needs, and whether they are there.
#[cfg(target_arch = "x86_64")]
fn features() -> Vec<(&'static str, bool)> {
    vec![
        ("aes", is_x86_feature_detected!("aes")),
        ("pclmulqdq", is_x86_feature_detected!("pclmulqdq")),
        ("bmi1", is_x86_feature_detected!("bmi1")),
        ("bmi2", is_x86_feature_detected!("bmi2")),
        ("adx", is_x86_feature_detected!("adx")),
        ("avx", is_x86_feature_detected!("avx")),
        ("avx2", is_x86_feature_detected!("avx2")),
    ]
}

/// Features of the processor that the cryptography of TLS needs, and whether they are there.
#[cfg(target_arch = "aarch64")]
fn features() -> Vec<(&'static str, bool)> {
    use std::arch::is_aarch64_feature_detected;
    vec![
        ("neon", is_aarch64_feature_detected!("neon")),
        ("aes", is_aarch64_feature_detected!("aes")),
        ("pmull", is_aarch64_feature_detected!("pmull")),
        ("sha2", is_aarch64_feature_detected!("sha2")),
    ]
}

fn missing(features: &[(&'static str, bool)]) -> Result<(), Fault> {
    let missing: Vec<&str> = features.iter().filter(|(_, is_there)| !is_there).map(|(name, _)| *name).collect();
    if missing.is_empty() { Ok(()) } else { Err(Fault::Processor(missing.join(", "))) }
}

/// Whether TLS works on this processor.
///
/// # Errors
/// [`Fault::Processor`], which names what is missing.
pub(super) fn check_processor() -> Result<(), Fault> {
    missing(&features())
}

/// Reads the certificates of a PEM file.
///
/// # Errors
/// [`Fault::Authority`] if there is none.
pub(super) fn authorities(pem: &[u8]) -> Result<Vec<Certificate>, Fault> {
    match Certificate::from_pem_bundle(pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(Fault::Authority("no certificate in PEM format".to_owned())),
        Err(error) => Err(Fault::Authority(error.to_string())),
    }
}

/// A pool of connections. With `allows_http`, plain HTTP is possible, too.
///
/// # Errors
/// [`Fault::Client`] if the system's certificates cannot be read.
pub(super) fn client(trust: &Trust, allows_http: bool, connect_timeout: Duration) -> Result<Client, Fault> {
    // Another store has installed the same one before: no error.
    let _ = rustls_graviola::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("csv-ingestor/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .https_only(!allows_http)
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(STORE_IDLE_CONNECTION)
        .pool_max_idle_per_host(STORE_IDLE_CONNECTIONS_MAX);
    if !trust.authorities.is_empty() {
        builder = builder.tls_certs_only(trust.authorities.iter().cloned());
    }
    if trust.without_proxy {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| Fault::Client(chain(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_processor_lacks_is_named() {
        assert!(missing(&[("avx2", true), ("adx", true)]).is_ok());
        let fault = missing(&[("aes", true), ("avx2", false), ("adx", false)]).unwrap_err();
        assert_eq!(
            fault.to_string(),
            "this processor lacks avx2, adx, without which TLS does not work here: use a newer one, or plain HTTP on a \
             network that you trust (--store-option allow_http=true)"
        );
    }

    #[test]
    fn a_file_without_certificates_is_an_error() {
        assert!(authorities(b"").is_err());
        assert!(authorities(b"-----BEGIN CERTIFICATE-----\nAAAA\n").is_err());
    }
}
