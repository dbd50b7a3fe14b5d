//! Signatures as "Standard Webhooks" 1.0 describes them: HMAC-SHA256 over the message's id, its time and its body.
//!
//! Invariants:
//! - Secrets are in a file that other users cannot read. It is read for each attempt, so a new secret needs no restart.
//! - No message says anything of a secret, not even its length.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};

use crate::fs::operators;
use crate::limits::{FOLLOW_SECRET_FILE_BYTES_MAX, FOLLOW_SECRETS_MAX};

/// What a secret's text begins with.
const PREFIX: &str = "whsec_";
/// The bytes of a secret.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The keys with which a request is signed, each once: receivers that know one of them take it.
pub struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    /// Reads a file with a secret on each line: `whsec_` and base64.
    ///
    /// # Errors
    /// It cannot be read, others can read it, or there is something else in it.
    pub fn read(path: &Path) -> Result<Secrets, String> {
        let told = |why: String| format!("--secret-file {}: {why}", path.display());
        let text = operators::read_private(path, FOLLOW_SECRET_FILE_BYTES_MAX).map_err(|why| told(why.to_string()))?;
        let text = String::from_utf8(text).unwrap_or_default();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let secrets: Option<Vec<Vec<u8>>> = lines.map(secret).collect();
        match secrets.filter(|secrets| (1..=FOLLOW_SECRETS_MAX).contains(&secrets.len())) {
            Some(secrets) => Ok(Secrets(secrets)),
            None => Err(told(format!(
                "it must hold 1 to {FOLLOW_SECRETS_MAX} lines, each of them {PREFIX} and {} to {} bytes in base64",
                BYTES.start(),
                BYTES.end()
            ))),
        }
    }

    /// The value of the header `webhook-signature`.
    pub fn sign(&self, id: &str, seconds: u64, body: &[u8]) -> String {
        let mut signatures = Vec::new();
        for secret in &self.0 {
            let Ok(mut mac) = Hmac::<sha2::Sha256>::new_from_slice(secret) else { continue };
            mac.update(format!("{id}.{seconds}.").as_bytes());
            mac.update(body);
            signatures.push(format!("v1,{}", BASE64.encode(mac.finalize().into_bytes())));
        }
        signatures.join(" ")
    }
}

fn secret(line: &str) -> Option<Vec<u8>> {
    let secret = BASE64.decode(line.strip_prefix(PREFIX)?).ok()?;
    BYTES.contains(&secret.len()).then_some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's own libraries.
    #[test]
    fn a_signature_is_that_of_the_standard() {
        let secrets = Secrets(vec![secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap(); 2]);
        let signed = secrets.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b"{\"test\": 2432232314}");
        let one = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signed, format!("{one} {one}"));
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let of = |bytes: usize| format!("whsec_{}", BASE64.encode(vec![7; bytes]));
        assert!(secret(&of(24)).is_some() && secret(&of(64)).is_some());
        for text in [of(23), of(65), "whsec_".to_owned(), "whsec_?".to_owned(), of(32)[6..].to_owned()] {
            assert!(secret(&text).is_none(), "{text}");
        }
    }
}
