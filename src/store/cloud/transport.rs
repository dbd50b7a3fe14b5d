//! Where requests leave and answers arrive.
//!
//! Invariants:
//! - Every request to a store passes here, and so do those for credentials.
//! - What is known of its outcome goes into the call's trace before anybody else sees the answer.

use std::error::Error as _;
use std::sync::Arc;

use async_trait::async_trait;
use object_store::client::{
    ClientConfigKey, ClientOptions, HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService,
};
use object_store::{HeaderMap, HeaderValue, Result};
use reqwest::Client;

use super::fault::{Fault, chain};
use super::skew::Skew;
use super::tls::{self, Trust};
use super::trace::{self, Answer, Last};
use crate::limits::STORE_CONNECT_TIMEOUT;

/// The connections to one store.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    client: Client,
    /// The store's clock against ours.
    pub(super) skew: Arc<Skew>,
}

impl Transport {
    /// Connections that are made when they are needed.
    ///
    /// # Errors
    /// See [`tls::client`].
    pub(super) fn new(trust: &Trust, allows_http: bool) -> std::result::Result<Transport, Fault> {
        let client = tls::client(trust, allows_http, STORE_CONNECT_TIMEOUT)?;
        Ok(Transport { client, skew: Arc::new(Skew::default()) })
    }
}

#[async_trait]
impl HttpService for Transport {
    async fn call(&self, mut request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
        for (name, value) in trace::take_headers() {
            if let Ok(value) = HeaderValue::from_str(&value) {
                request.headers_mut().insert(name, value);
            }
        }
        trace::with(|trace| trace.last = Last::Begun);
        let response = match self.client.call(request).await {
            Ok(response) => response,
            Err(error) => return Err(note(error)),
        };
        let date = response.headers().get("date").and_then(|date| date.to_str().ok());
        if let Some(date) = date.filter(|_| trace::with(|trace| trace.for_credentials) != Some(true)) {
            self.skew.note(date);
        }
        let status = response.status();
        if status.is_success() {
            trace::with(|trace| trace.last = Last::Answered(Answer { status: status.as_u16(), ..Answer::default() }));
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        // An answer whose body is lost is an answer all the same: the status says most of it.
        let bytes: Vec<u8> = body.bytes().await.map(Into::into).unwrap_or_default();
        let answer = answer(status.as_u16(), &parts.headers, &bytes);
        trace::with(|trace| trace.last = Last::Answered(answer));
        Ok(HttpResponse::from_parts(parts, bytes.into()))
    }
}

/// Writes a request without an answer into the trace.
fn note(error: HttpError) -> HttpError {
    let cause = error.source().and_then(|source| source.downcast_ref::<reqwest::Error>());
    // A connection that could not be made, in time or at all: nothing of the request has left this host.
    let was_sent = !cause.is_some_and(|cause| cause.is_connect() || cause.is_builder());
    let text = chain(&error);
    trace::with(|trace| trace.last = if was_sent { Last::Lost(text) } else { Last::Unsent(text) });
    error
}

/// What the answer of an error says, whichever store has sent it.
fn answer(status: u16, headers: &HeaderMap, body: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(body);
    let (mut code, mut message) = (element(&text, "Code"), element(&text, "Message"));
    if let Ok(json) = serde_json::from_slice::<serde_json::Value>(body) {
        let error = &json["error"];
        let of = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let names = [of(&error["status"]), of(&error["code"]), of(error), of(&json["code"])];
        code = names.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
        let texts = [of(&error["message"]), of(&json["error_description"]), of(&json["message"])];
        message = texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default();
    }
    // Answers without a body have it in a header.
    if let Some(name) = headers.get("x-ms-error-code").and_then(|name| name.to_str().ok()) {
        name.clone_into(&mut code);
    }
    Answer { status, code, message }
}

/// The text of the first such element of an XML document.
pub(super) fn element(xml: &str, name: &str) -> String {
    let begin = xml.split_once(&format!("<{name}>"));
    let found = begin.and_then(|(_, rest)| rest.split_once(&format!("</{name}>"))).map(|(text, _)| text);
    let text = found.unwrap_or_default().trim();
    text.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&#34;", "\"").replace("&amp;", "&")
}

/// Gives the client library its connections.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    /// Those to the store, and to what gives out tokens.
    pub(super) transport: Transport,
    /// For further ones.
    pub(super) trust: Trust,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient> {
        let timeout = options.get_config_value(&ClientConfigKey::ConnectTimeout);
        if timeout == client_options(false).get_config_value(&ClientConfigKey::ConnectTimeout) {
            return Ok(HttpClient::new(self.transport.clone()));
        }
        // For the metadata service of a cloud's hosts: plain HTTP, and a second to find out that there is none.
        match tls::client(&self.trust, true, std::time::Duration::from_secs(1)) {
            Ok(client) => Ok(HttpClient::new(Transport { client, skew: Arc::clone(&self.transport.skew) })),
            Err(fault) => Err(object_store::Error::Generic { store: "HTTP", source: Box::new(fault) }),
        }
    }
}

/// What the client library has to know of the connections that it gets from [`Connector`].
pub(super) fn client_options(allows_http: bool) -> ClientOptions {
    ClientOptions::new().with_allow_http(allows_http).with_connect_timeout(STORE_CONNECT_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_read_in_every_stores_form() {
        let s3 = b"<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Message>no &quot;key&quot;</Message></Error>";
        let read = answer(404, &HeaderMap::new(), s3);
        assert_eq!((read.code.as_str(), read.message.as_str()), ("NoSuchKey", "no \"key\""));
        let google = br#"{"error":{"code":403,"message":"no access","status":"PERMISSION_DENIED"}}"#;
        let read = answer(403, &HeaderMap::new(), google);
        assert_eq!((read.code.as_str(), read.message.as_str()), ("PERMISSION_DENIED", "no access"));
        let entra = br#"{"error":"invalid_client","error_description":"bad secret"}"#;
        let read = answer(401, &HeaderMap::new(), entra);
        assert_eq!((read.code.as_str(), read.message.as_str()), ("invalid_client", "bad secret"));
        let mut headers = HeaderMap::new();
        headers.insert("x-ms-error-code", object_store::HeaderValue::from_static("BlobNotFound"));
        assert_eq!(answer(404, &headers, b"").code, "BlobNotFound");
        assert_eq!(answer(500, &HeaderMap::new(), b"\xff<Code>"), Answer { status: 500, ..Answer::default() });
    }
}
