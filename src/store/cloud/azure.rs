//! The requests of Azure Blob Storage that the client library does not have as they are needed here: a create with a
//! checksum, one delete at a time, and uploads whose object has metadata and is not replaced.
//!
//! Invariants:
//! - Azure has no uploads, only blocks at a key that belong to no object yet. An upload's id is drawn here, is part of its
//!   blocks' names, and holds the object's SHA-256: it is all that must be remembered.
//! - To complete an upload is a create: it fails if there is an object.
//! - The names of all blocks at a key have the same length, as Azure requires.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use object_store::PutPayload;
use object_store::azure::{AzureAuthorizer, MicrosoftAzure};
use object_store::client::{HttpRequest, HttpResponse, HttpService as _};
use reqwest::Method;
use reqwest::header::HeaderValue;

use super::body::Body;
use super::crypto::Crypto;
use super::outcome::Failure;
use super::transport::{Transport, element};
use super::work::{Work, unreadable};
use crate::fs::Fs as _;
use crate::fs::real::RealFs;
use crate::store::{Kind, Part};
use crate::types::Sha256;

/// Hex digits of an upload's own name.
const NAME_DIGITS: usize = 32;

/// A container.
pub(super) struct Azure {
    pub(super) store: MicrosoftAzure,
    pub(super) transport: Transport,
    pub(super) account: String,
    /// The container's URL.
    pub(super) base: String,
}

/// A header and its value.
type Header = (&'static str, String);

impl Azure {
    async fn send(&self, method: Method, target: &str, headers: &[Header], body: PutPayload) -> Work<HttpResponse> {
        let bad = |_| Failure::Known(Kind::Refused, "it has a name or metadata that cannot be sent".to_owned());
        let length = body.content_length();
        let mut request = HttpRequest::new(body.into());
        *request.method_mut() = method;
        let url: Result<_, ()> = format!("{}/{target}", self.base).parse().map_err(|_| ());
        *request.uri_mut() = url.map_err(bad)?;
        let length = [("content-length", length.to_string())];
        for (name, value) in headers.iter().chain(&length) {
            let value = HeaderValue::from_str(value).map_err(|_| ()).map_err(bad)?;
            request.headers_mut().insert(*name, value);
        }
        let credential = self.store.credentials().get_credential().await?;
        AzureAuthorizer::new(&credential, &self.account).with_crypto(&Crypto).try_authorize(&mut request)?;
        match self.transport.call(request).await {
            Ok(answer) if answer.status().is_success() => Ok(answer),
            _ => Err(Failure::Answered),
        }
    }

    pub(super) async fn create(&self, key: &str, body: Body) -> Work<()> {
        let headers = [
            ("x-ms-blob-type", "BlockBlob".to_owned()),
            ("if-none-match", "*".to_owned()),
            ("content-md5", body.md5),
            ("x-ms-meta-sha256", body.sha256.hex()),
        ];
        self.send(Method::PUT, &encoded(key), &headers, body.payload).await.map(drop)
    }

    pub(super) async fn delete(&self, key: &str) -> Work<()> {
        self.send(Method::DELETE, &encoded(key), &[], PutPayload::new()).await.map(drop)
    }

    /// Draws an id. Nothing is sent.
    pub(super) fn begin_upload(&self, sha256: &Sha256) -> String {
        let name: String = RealFs::default().random().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{name}-{}", sha256.hex())
    }

    pub(super) async fn put_part(&self, key: &str, upload: &str, number: u16, body: Body) -> Work<String> {
        let (name, _) = parse(upload)?;
        let block = BASE64_STANDARD.encode(format!("{name}-{number:05}"));
        let headers = [("content-md5", body.md5)];
        let target = format!("{}?comp=block&blockid={}", encoded(key), encoded(&block));
        self.send(Method::PUT, &target, &headers, body.payload).await?;
        Ok(block)
    }

    pub(super) async fn complete(&self, key: &str, upload: &str, blocks: &[String]) -> Work<()> {
        let (_, sha256) = parse(upload)?;
        let mut list = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
        for block in blocks {
            if !block.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')) {
                return Err(unknown());
            }
            list.push_str(&format!("<Uncommitted>{block}</Uncommitted>"));
        }
        list.push_str("</BlockList>");
        let headers = [("if-none-match", "*".to_owned()), ("x-ms-meta-sha256", sha256.hex())];
        let target = format!("{}?comp=blocklist", encoded(key));
        self.send(Method::PUT, &target, &headers, PutPayload::from(list)).await.map(drop)
    }

    pub(super) async fn list_parts(&self, key: &str, upload: &str) -> Work<Vec<Part>> {
        let (name, _) = parse(upload)?;
        let target = format!("{}?comp=blocklist&blocklisttype=uncommitted", encoded(key));
        let answer = self.send(Method::GET, &target, &[], PutPayload::new()).await?;
        let bytes = answer.into_body().bytes().await.map_err(|_| unreadable("the answer"))?;
        let page = String::from_utf8_lossy(&bytes);
        let mut parts = Vec::new();
        for text in page.split("<Block>").skip(1) {
            let etag = element(text, "Name");
            let block = BASE64_STANDARD.decode(&etag).ok().and_then(|block| String::from_utf8(block).ok());
            let Some((of, number)) = block.as_deref().and_then(|block| block.rsplit_once('-')) else { continue };
            let (Ok(number), Ok(size)) = (number.parse(), element(text, "Size").parse()) else { continue };
            if of == name {
                parts.push(Part { number, size, etag });
            }
        }
        parts.sort_unstable_by_key(|part| part.number);
        Ok(parts)
    }
}

fn unknown() -> Failure {
    Failure::Known(Kind::NotFound, "there is no such upload".to_owned())
}

/// The name and the object's SHA-256 in an upload's id.
fn parse(upload: &str) -> Work<(&str, Sha256)> {
    let (name, sha256) = upload.split_once('-').ok_or_else(unknown)?;
    let is_name = name.len() == NAME_DIGITS && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let sha256 = Sha256::from_hex(sha256.as_bytes()).filter(|_| is_name).ok_or_else(unknown)?;
    Ok((name, sha256))
}

/// The text in a URL's path or query.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_holds_the_sha256() {
        let (digits, sum) = ("0123456789abcdef".repeat(2), Sha256([7; 32]));
        let upload = format!("{digits}-{}", sum.hex());
        assert_eq!(parse(&upload).unwrap(), (digits.as_str(), sum));
        for upload in ["", "x", &digits, &format!("{digits}-00"), &format!("abc-{}", sum.hex())] {
            assert!(matches!(parse(upload), Err(Failure::Known(Kind::NotFound, _))), "{upload}");
        }
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(encoded("a/b=c%20.csv"), "a/b%3Dc%2520.csv");
        assert_eq!(encoded("YWJj+/=="), "YWJj%2B/%3D%3D");
    }
}
