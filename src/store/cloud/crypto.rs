//! The cryptography with which requests are signed, for the client library.
//!
//! Invariants:
//! - It is written in Rust and assembly; nothing is compiled from C.
//! - SHA-256 and HMAC run on every processor. Only the RSA signature of a Google service account needs what TLS needs
//!   ([`super::tls::check_processor`]).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use graviola::signing::rsa::SigningKey;
use hmac::{Hmac, KeyInit as _, Mac as _};
use object_store::client::{CryptoProvider, DigestAlgorithm, DigestContext, HmacContext, Signer, SigningAlgorithm};
use object_store::{Error, Result};
use sha2::Digest as _;

use super::{tls, trace};

/// See the module.
#[derive(Debug)]
pub(super) struct Crypto;

fn fails<T>(why: &'static str) -> Result<T> {
    Err(Error::Generic { store: "crypto", source: why.into() })
}

impl CryptoProvider for Crypto {
    fn digest(&self, algorithm: DigestAlgorithm) -> Result<Box<dyn DigestContext>> {
        match algorithm {
            DigestAlgorithm::Sha256 => Ok(Box::new(Digest { hasher: sha2::Sha256::new(), known: None, sum: [0; 32] })),
            _ => fails("this digest is not supported"),
        }
    }

    fn hmac(&self, algorithm: DigestAlgorithm, secret: &[u8]) -> Result<Box<dyn HmacContext>> {
        match (algorithm, Hmac::<sha2::Sha256>::new_from_slice(secret)) {
            (DigestAlgorithm::Sha256, Ok(mac)) => Ok(Box::new(Code { mac, sum: [0; 32] })),
            _ => fails("this HMAC is not supported"),
        }
    }

    fn sign(&self, algorithm: SigningAlgorithm, pem: &[u8]) -> Result<Box<dyn Signer>> {
        if !matches!(algorithm, SigningAlgorithm::RS256) || tls::check_processor().is_err() {
            return fails("this signature is not supported");
        }
        let Some((label, der)) = decode_pem(pem) else { return fails("the private key is not in PEM format") };
        let key = match label.as_str() {
            "RSA PRIVATE KEY" => SigningKey::from_pkcs1_der(&der),
            _ => SigningKey::from_pkcs8_der(&der),
        };
        match key {
            Ok(key) => Ok(Box::new(Rsa(key))),
            Err(_) => fails("the private key is not an RSA key that can be used"),
        }
    }
}

/// The label and the bytes of the first block of a PEM text.
fn decode_pem(pem: &[u8]) -> Option<(String, Vec<u8>)> {
    let text = std::str::from_utf8(pem).ok()?;
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once("-----END ")?;
    let packed: String = body.split_whitespace().collect();
    Some((label.to_owned(), BASE64_STANDARD.decode(packed).ok()?))
}

/// The SHA-256 of a payload is known already; that of anything else is computed.
struct Digest {
    hasher: sha2::Sha256,
    known: Option<[u8; 32]>,
    sum: [u8; 32],
}

impl DigestContext for Digest {
    fn update(&mut self, data: &[u8]) {
        match trace::known(data) {
            // The client library hands a payload over in one piece, and nothing else in the same context.
            Some(known) => self.known = Some(known),
            None => self.hasher.update(data),
        }
    }

    fn finish(&mut self) -> Result<&[u8]> {
        self.sum = match self.known {
            Some(known) => known,
            None => std::mem::take(&mut self.hasher).finalize().into(),
        };
        Ok(&self.sum)
    }
}

struct Code {
    mac: Hmac<sha2::Sha256>,
    sum: [u8; 32],
}

impl HmacContext for Code {
    fn update(&mut self, data: &[u8]) {
        self.mac.update(data);
    }

    fn finish(&mut self) -> Result<&[u8]> {
        self.sum = self.mac.clone().finalize().into_bytes().into();
        Ok(&self.sum)
    }
}

struct Rsa(SigningKey);

impl Signer for Rsa {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let mut signature = vec![0; self.0.modulus_len_bytes()];
        match self.0.sign_pkcs1_sha256(&mut signature, message) {
            Ok(signed) => Ok(signed.to_vec()),
            Err(_) => fails("the private key does not sign"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::cloud::trace::Shared;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn sums_are_those_of_the_standards() {
        let mut digest = Crypto.digest(DigestAlgorithm::Sha256).unwrap();
        digest.update(b"a");
        digest.update(b"bc");
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(digest.finish().unwrap()), abc);
        // RFC 4231, test case 2.
        let mut code = Crypto.hmac(DigestAlgorithm::Sha256, b"Jefe").unwrap();
        code.update(b"what do ya want ");
        code.update(b"for nothing?");
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex(code.finish().unwrap()), expected);
    }

    #[test]
    fn only_the_payload_itself_has_the_known_sum() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (payload, same) = (b"payload".to_vec(), b"payload".to_vec());
        runtime.block_on(Shared::default().scope(async {
            trace::know(&payload, [7; 32]);
            for (bytes, is_known) in [(payload.as_slice(), true), (&same, false), (&payload[1..], false)] {
                let mut digest = Crypto.digest(DigestAlgorithm::Sha256).unwrap();
                digest.update(bytes);
                assert_eq!(digest.finish().unwrap() == [7; 32], is_known);
            }
        }));
    }

    #[test]
    fn service_accounts_sign_with_rsa() {
        use graviola::signing::rsa::{KeySize, SigningKey};
        let key = SigningKey::generate(KeySize::Rsa2048).unwrap();
        let mut der = [0; 4096];
        for (label, der) in [
            ("RSA PRIVATE KEY", key.to_pkcs1_der(&mut der).unwrap().to_vec()),
            ("PRIVATE KEY", key.to_pkcs8_der(&mut [0; 4096]).unwrap().to_vec()),
        ] {
            let pem = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der));
            let signature = Crypto.sign(SigningAlgorithm::RS256, pem.as_bytes()).unwrap().sign(b"claims").unwrap();
            key.public_key().verify_pkcs1_sha256(&signature, b"claims").unwrap();
        }
        assert!(Crypto.sign(SigningAlgorithm::RS256, b"nothing").is_err());
    }
}
