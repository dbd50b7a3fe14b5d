//! `--metrics-listen`: a small HTTP server for `/metrics`, `/healthz` and `/readyz`, and for more that its caller knows.
//!
//! Invariants:
//! - These three read only atomics: they cannot wait for the pipeline or for a disk, or delay them.
//! - The number of connections at a time, the bytes of a request and the time for a connection are limited, and the
//!   time much more while all threads are busy. Each connection gets one of a few answers, and is closed.

use std::borrow::Cow;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::exposition::CONTENT_TYPE;
use super::{Exposition, Metrics, text};
use crate::limits::{
    HTTP_CROWDED_TIME_MAX, HTTP_HEADERS_MAX, HTTP_LINGER_BYTES_MAX, HTTP_REQUEST_BYTES_MAX, HTTP_REQUEST_TIME_MAX,
    HTTP_STACK_BYTES, HTTP_THREADS,
};

/// The pause after a connection could not be accepted, as when the process has no descriptors left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

const PLAIN: &str = "text/plain; charset=utf-8";

/// A listening socket whose connections are not answered yet.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds `address`, such as `127.0.0.1:9464`, `[::1]:9464` or `localhost:9464`; port 0 takes a free one.
    pub fn bind(address: &str) -> io::Result<Listener> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        Ok(Listener { listener, address })
    }

    /// True if only this machine can connect.
    pub fn is_loopback(&self) -> bool {
        self.address.ip().to_canonical().is_loopback()
    }

    /// Answers requests from now on, until the process ends.
    pub fn serve(self, metrics: &Arc<Metrics>, more: &Arc<dyn Answers>) -> io::Result<()> {
        let (listener, busy) = (Arc::new(self.listener), Arc::<AtomicUsize>::default());
        for index in 0..HTTP_THREADS {
            let (listener, metrics, busy, more) = (listener.clone(), metrics.clone(), busy.clone(), more.clone());
            thread::Builder::new().name(format!("http-{index}")).stack_size(HTTP_STACK_BYTES).spawn(move || {
                let exposition = Exposition::of_process(&metrics);
                let site = Site { metrics: &metrics, exposition: &exposition, more: &*more };
                loop {
                    match listener.accept() {
                        // A failed connection concerns only its client.
                        Ok((stream, _)) => {
                            busy.fetch_add(1, Ordering::Relaxed);
                            drop(converse(stream, &Deadline::begin(&busy), &site));
                            busy.fetch_sub(1, Ordering::Relaxed);
                        }
                        Err(_) => thread::sleep(ACCEPT_RETRY),
                    }
                }
            })?;
        }
        tracing::info!(event = "metrics_listening", address = %self.address);
        Ok(())
    }
}

/// Further answers. None of them changes anything.
pub trait Answers: Send + Sync {
    /// True if there is something at this path.
    fn knows(&self, path: &str) -> bool;
    /// The answer to a GET of such a path.
    fn answer(&self, request: &Request) -> Response;
}

/// No further answers.
pub struct Nothing;

impl Answers for Nothing {
    fn knows(&self, _: &str) -> bool {
        false
    }

    fn answer(&self, _: &Request) -> Response {
        not_found(self)
    }
}

fn not_found(more: &dyn Answers) -> Response {
    let links = if more.knows("/") { "/ has links" } else { "/metrics, /healthz and /readyz are here" };
    Response::text(404, format!("there is nothing here; {links}\n"))
}

/// All that answers.
struct Site<'a> {
    metrics: &'a Metrics,
    exposition: &'a Exposition,
    more: &'a dyn Answers,
}

/// The time limit of a connection.
struct Deadline<'a> {
    began: Instant,
    /// The number of threads that have a connection, out of [`HTTP_THREADS`].
    busy: &'a AtomicUsize,
}

impl Deadline<'_> {
    fn begin(busy: &AtomicUsize) -> Deadline<'_> {
        Deadline { began: Instant::now(), busy }
    }

    /// The time that is left at the current load; an error if there is none.
    fn left(&self) -> io::Result<Duration> {
        let is_crowded = self.busy.load(Ordering::Relaxed) >= HTTP_THREADS;
        let limit = if is_crowded { HTTP_CROWDED_TIME_MAX } else { HTTP_REQUEST_TIME_MAX };
        let left = limit.saturating_sub(self.began.elapsed());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }

    /// Repeats a call that waits for the client, each time for a part of the time that is left: the limit may become
    /// shorter.
    fn spend<T>(&self, mut call: impl FnMut(Duration) -> io::Result<T>) -> io::Result<T> {
        loop {
            match call(self.left()?.min(HTTP_CROWDED_TIME_MAX)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted || is_late(&error) => {}
                result => return result,
            }
        }
    }
}

/// One request and its answer.
fn converse(mut stream: TcpStream, patience: &Deadline<'_>, site: &Site<'_>) -> io::Result<()> {
    let answer = match read_request(&mut stream, patience)? {
        Ok(request) => site.answer(&request),
        Err(refusal) => refusal,
    };
    write_all(&mut stream, &answer.bytes(), patience)?;
    // A socket that is closed while it contains unread bytes is reset, and the client may lose the answer.
    stream.shutdown(Shutdown::Write)?;
    let (mut buffer, mut drained) = ([0; 1024], 0);
    while drained < HTTP_LINGER_BYTES_MAX {
        match read(&mut stream, &mut buffer, patience)? {
            0 => break,
            read => drained += read,
        }
    }
    Ok(())
}

/// A request's head.
pub struct Request {
    method: String,
    /// Without the query.
    pub path: String,
    /// What is behind the first question mark.
    pub query: String,
    /// Every `Host`; invalid UTF-8 is replaced.
    pub hosts: Vec<String>,
}

impl Request {
    fn of(request: &httparse::Request<'_, '_>) -> Request {
        let target = request.path.unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let hosts = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("host"));
        Request {
            method: request.method.unwrap_or_default().to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            hosts: hosts.map(|header| String::from_utf8_lossy(header.value).into_owned()).collect(),
        }
    }
}

/// Reads a request's head. The outer error is the connection's; the inner one is the answer to an invalid request.
fn read_request(stream: &mut TcpStream, patience: &Deadline<'_>) -> io::Result<Result<Request, Response>> {
    let mut buffer = [0; HTTP_REQUEST_BYTES_MAX];
    let mut filled = 0;
    while filled < buffer.len() {
        match read(stream, &mut buffer[filled..], patience) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(error) if is_late(&error) => return Ok(Err(Response::text(408, "the request did not come in time\n"))),
            Err(error) => return Err(error),
        }
        let mut headers = [httparse::EMPTY_HEADER; HTTP_HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&buffer[..filled]) {
            Ok(httparse::Status::Partial) => {}
            Ok(httparse::Status::Complete(_)) => return Ok(Ok(Request::of(&request))),
            Err(httparse::Error::TooManyHeaders) => return Ok(Err(Response::text(431, "too many headers\n"))),
            Err(_) => return Ok(Err(Response::text(400, "this is not HTTP\n"))),
        }
    }
    Ok(Err(Response::text(431, "the request is too long\n")))
}

impl Site<'_> {
    fn answer(&self, request: &Request) -> Response {
        let is_ours = ["/metrics", "/healthz", "/readyz"].contains(&&*request.path);
        let is_head = request.method == "HEAD";
        let answer = match &*request.path {
            path if !is_ours && !self.more.knows(path) => not_found(self.more),
            _ if !is_head && request.method != "GET" => Response::text(405, "only GET and HEAD\n"),
            _ if !is_ours => self.more.answer(request),
            "/metrics" => match text(self.exposition) {
                Ok(text) => Response::new(200, CONTENT_TYPE, text),
                Err(_) => Response::text(500, "the metrics could not be written\n"),
            },
            "/healthz" => match self.metrics.stalled() {
                Some(stall) => Response::text(503, format!("{stall}\n")),
                None => Response::text(200, "ok\n"),
            },
            _ => match self.metrics.not_ready() {
                Some(why) => Response::text(503, format!("{why}\n")),
                None => Response::text(200, "ok\n"),
            },
        };
        Response { is_head, ..answer }
    }
}

/// An answer.
pub struct Response {
    code: u16,
    content_type: &'static str,
    body: Cow<'static, str>,
    /// Further headers, each with its line end.
    headers: &'static str,
    is_head: bool,
}

impl Response {
    /// An answer of this type.
    pub fn new(code: u16, content_type: &'static str, body: impl Into<Cow<'static, str>>) -> Response {
        Response { code, content_type, body: body.into(), headers: "", is_head: false }
    }

    /// A sentence.
    pub fn text(code: u16, body: impl Into<Cow<'static, str>>) -> Response {
        Response::new(code, PLAIN, body)
    }

    /// The same, with these headers, each with its line end.
    pub fn with(self, headers: &'static str) -> Response {
        Response { headers, ..self }
    }

    fn bytes(&self) -> Vec<u8> {
        let reason = match self.code {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            421 => "Misdirected Request",
            431 => "Request Header Fields Too Large",
            500 => "Internal Server Error",
            _ => "Service Unavailable",
        };
        let allow = if self.code == 405 { "Allow: GET, HEAD\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n{}{allow}\
             Connection: close\r\n\r\n",
            self.code,
            self.content_type,
            self.body.len(),
            self.headers
        );
        let mut bytes = head.into_bytes();
        if !self.is_head {
            bytes.extend_from_slice(self.body.as_bytes());
        }
        bytes
    }
}

fn read(stream: &mut TcpStream, buffer: &mut [u8], patience: &Deadline<'_>) -> io::Result<usize> {
    patience.spend(|time| {
        stream.set_read_timeout(Some(time))?;
        stream.read(buffer)
    })
}

/// Like `Write::write_all`, but the time limit applies to the whole answer, however few bytes the client accepts at a
/// time.
fn write_all(stream: &mut TcpStream, bytes: &[u8], patience: &Deadline<'_>) -> io::Result<()> {
    // Most answers fit into the socket's buffer: a client whose request was late still gets an answer.
    stream.set_write_timeout(Some(ACCEPT_RETRY))?;
    let mut written = match stream.write(bytes) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
        written => written?,
    };
    while written < bytes.len() {
        written += patience.spend(|time| {
            stream.set_write_timeout(Some(time))?;
            match stream.write(&bytes[written..]) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                wrote => wrote,
            }
        })?;
    }
    Ok(())
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}
