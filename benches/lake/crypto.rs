//! What the client library needs to sign requests, for the floor: as little as possible.

use hmac::{Hmac, KeyInit as _, Mac as _};
use object_store::Result;
use object_store::client::{CryptoProvider, DigestAlgorithm, DigestContext, HmacContext, Signer, SigningAlgorithm};
use sha2::{Digest as _, Sha256};

#[derive(Debug)]
pub struct Crypto;

struct Digest(Sha256, [u8; 32]);

struct Code(Hmac<Sha256>, [u8; 32]);

impl CryptoProvider for Crypto {
    fn digest(&self, _: DigestAlgorithm) -> Result<Box<dyn DigestContext>> {
        Ok(Box::new(Digest(Sha256::new(), [0; 32])))
    }

    fn hmac(&self, _: DigestAlgorithm, secret: &[u8]) -> Result<Box<dyn HmacContext>> {
        Ok(Box::new(Code(Hmac::new_from_slice(secret).unwrap(), [0; 32])))
    }

    fn sign(&self, _: SigningAlgorithm, _: &[u8]) -> Result<Box<dyn Signer>> {
        unreachable!("only Google's stores need it")
    }
}

impl DigestContext for Digest {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finish(&mut self) -> Result<&[u8]> {
        self.1 = self.0.clone().finalize().into();
        Ok(&self.1)
    }
}

impl HmacContext for Code {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finish(&mut self) -> Result<&[u8]> {
        self.1 = self.0.clone().finalize().into_bytes().into();
        Ok(&self.1)
    }
}
