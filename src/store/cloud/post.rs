//! Posts to a server that is no store: a webhook.
//!
//! Invariants:
//! - A post sends one request, once: no redirect is followed, nothing is tried again, and no proxy of the environment is used.
//! - No error holds the URL: its path and its query may be secrets.
//! - An answer's body is read up to a limit, and not beyond.

use std::path::Path;
use std::time::Duration;

use reqwest::{Client, Url};
use tokio::runtime::Handle;

use super::fault::{Fault, chain};
use super::{tls, worker};
use crate::fs::operators;
use crate::limits::{STORE_CA_BYTES_MAX, STORE_CONNECT_TIMEOUT};

/// Connections to one URL.
pub struct Poster {
    client: Client,
    url: Url,
    worker: Handle,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header `Retry-After`.
    pub retry_after: Option<String>,
    /// The front of the body.
    pub body: Vec<u8>,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Post {
    /// Headers with their values.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How long everything may take.
    pub timeout: Duration,
    /// Bytes of the answer that are read, at most.
    pub answer_bytes_max: usize,
}

impl Poster {
    /// For this URL: HTTPS, or plain HTTP to this host. Sends nothing.
    ///
    /// # Errors
    /// The URL is another one, or has a user or a fragment; or the connections cannot be set up.
    pub fn open(url: &str, ca_file: Option<&Path>) -> Result<Poster, String> {
        let url = Url::parse(url).map_err(|error| format!("it is no URL: {error}"))?;
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err("a user, a password or a fragment in a URL is not sent".to_owned());
        }
        let is_plain = match url.scheme() {
            "https" => false,
            "http" if is_this_host(&url) => true,
            "http" => return Err("plain HTTP goes to 127.0.0.0/8, [::1] and localhost only: use https://".to_owned()),
            _ => return Err("it begins with neither https:// nor http://".to_owned()),
        };
        let authorities = match ca_file {
            None => Vec::new(),
            Some(path) => match operators::read(path, STORE_CA_BYTES_MAX) {
                Ok(pem) => tls::authorities(&pem).map_err(|fault| text(&fault))?,
                Err(error) => return Err(format!("{}: {error}", path.display())),
            },
        };
        if !is_plain {
            tls::check_processor().map_err(|fault| text(&fault))?;
        }
        let trust = tls::Trust { authorities, without_proxy: true };
        let client = tls::client(&trust, is_plain, STORE_CONNECT_TIMEOUT).map_err(|fault| text(&fault))?;
        Ok(Poster { client, url, worker: worker::worker().map_err(|fault| text(&fault))? })
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// Sends one request, and waits for its answer.
    ///
    /// # Errors
    /// There is none in time: the server may have got it.
    pub fn post(&self, post: Post) -> Result<Answer, String> {
        let mut request = self.client.post(self.url.clone()).body(post.body);
        for (name, value) in post.headers {
            request = request.header(name, value);
        }
        let (timeout, most) = (post.timeout, post.answer_bytes_max);
        let done = worker::wait(&self.worker, async move { tokio::time::timeout(timeout, send(request, most)).await });
        match done {
            Some(Ok(answer)) => answer,
            Some(Err(_)) => Err(format!("no answer after {}", humantime::format_duration(timeout))),
            None => Err("the thread for requests has ended".to_owned()),
        }
    }
}

async fn send(request: reqwest::RequestBuilder, most: usize) -> Result<Answer, String> {
    let mut response = request.send().await.map_err(|error| chain(&error.without_url()))?;
    let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut body = Vec::new();
    // The status says all that matters: a body that ends early, or is too long, changes nothing.
    while body.len() < most {
        let Ok(Some(chunk)) = response.chunk().await else { break };
        body.extend_from_slice(&chunk[..chunk.len().min(most - body.len())]);
    }
    Ok(Answer { status: response.status().as_u16(), retry_after, body })
}

/// True if a request to the URL does not leave this host.
fn is_this_host(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address: Option<std::net::IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    host == "localhost" || address.is_some_and(|address| address.is_loopback())
}

/// A fault in the words of this use.
fn text(fault: &Fault) -> String {
    match fault {
        Fault::Authority(why) => why.clone(),
        Fault::Processor(lacks) => format!("this processor lacks {lacks}, without which TLS does not work here"),
        fault => fault.to_string(),
    }
}
