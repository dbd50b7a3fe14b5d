//! `--metrics-listen`: a small HTTP server for `/metrics`, `/healthz` and `/readyz`.
//!
//! Invariants:
//! - Requests read only atomics: no request can wait for the pipeline or for a disk, or delay them.
//! - The number of connections at a time, the bytes of a request and the time for a connection are limited, and the
//!   time much more while all threads are busy. Each connection gets one of a few answers, and is closed.

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

    /// Answers requests from now on, until the process ends.
    pub fn serve(self, metrics: &Arc<Metrics>) -> io::Result<()> {
        let (listener, busy) = (Arc::new(self.listener), Arc::<AtomicUsize>::default());
        for index in 0..HTTP_THREADS {
            let (listener, metrics, busy) = (listener.clone(), metrics.clone(), busy.clone());
            thread::Builder::new().name(format!("http-{index}")).stack_size(HTTP_STACK_BYTES).spawn(move || {
                let exposition = Exposition::of_process(&metrics);
                loop {
                    match listener.accept() {
                        // A failed connection concerns only its client.
                        Ok((stream, _)) => {
                            busy.fetch_add(1, Ordering::Relaxed);
                            drop(converse(stream, &Deadline::begin(&busy), &metrics, &exposition));
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
fn converse(
    mut stream: TcpStream,
    patience: &Deadline<'_>,
    metrics: &Metrics,
    exposition: &Exposition,
) -> io::Result<()> {
    let answer = match read_request(&mut stream, patience)? {
        Ok(request) => answer(&request, metrics, exposition),
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

/// The request line.
struct Request {
    method: String,
    path: String,
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
            Ok(httparse::Status::Complete(_)) => {
                let path = request.path.unwrap_or_default();
                let path = path.split_once('?').map_or(path, |(path, _)| path).to_owned();
                return Ok(Ok(Request { method: request.method.unwrap_or_default().to_owned(), path }));
            }
            Err(httparse::Error::TooManyHeaders) => return Ok(Err(Response::text(431, "too many headers\n"))),
            Err(_) => return Ok(Err(Response::text(400, "this is not HTTP\n"))),
        }
    }
    Ok(Err(Response::text(431, "the request is too long\n")))
}

fn answer(request: &Request, metrics: &Metrics, exposition: &Exposition) -> Response {
    let is_known = ["/", "/metrics", "/healthz", "/readyz"].contains(&&*request.path);
    let is_head = request.method == "HEAD";
    let answer = match &*request.path {
        _ if !is_known => Response::text(404, "there are /metrics, /healthz and /readyz\n"),
        _ if !is_head && request.method != "GET" => Response::text(405, "only GET and HEAD\n"),
        "/metrics" => match text(exposition) {
            Ok(text) => Response { code: 200, content_type: CONTENT_TYPE, body: text, is_head: false },
            Err(_) => Response::text(500, "the metrics could not be written\n"),
        },
        "/healthz" => match metrics.stalled() {
            Some(stall) => Response::text(503, &format!("{stall}\n")),
            None => Response::text(200, "ok\n"),
        },
        "/readyz" => match metrics.not_ready() {
            Some(why) => Response::text(503, &format!("{why}\n")),
            None => Response::text(200, "ok\n"),
        },
        _ => Response::text(200, "csv-ingestor\n/metrics\n/healthz\n/readyz\n"),
    };
    Response { is_head, ..answer }
}

struct Response {
    code: u16,
    content_type: &'static str,
    body: String,
    is_head: bool,
}

impl Response {
    fn text(code: u16, body: &str) -> Response {
        Response { code, content_type: PLAIN, body: body.to_owned(), is_head: false }
    }

    fn bytes(&self) -> Vec<u8> {
        let reason = match self.code {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            431 => "Request Header Fields Too Large",
            500 => "Internal Server Error",
            _ => "Service Unavailable",
        };
        let allow = if self.code == 405 { "Allow: GET, HEAD\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n{allow}\
             Connection: close\r\n\r\n",
            self.code,
            self.content_type,
            self.body.len()
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
