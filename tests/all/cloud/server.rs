//! A server on loopback that answers requests in the order that a test has written down.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What happens to a request.
#[derive(Clone)]
pub enum Answer {
    /// It is answered: status, headers, body.
    Http(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// It is read, and the connection ends without an answer.
    Close,
    /// The answer has a longer `Content-Length` than body, and the connection ends.
    Cut(Vec<u8>),
    /// It is answered when so many requests are there at once.
    Together(usize),
}

impl Answer {
    pub fn status(status: u16, body: &str) -> Answer {
        Answer::Http(status, Vec::new(), body.as_bytes().to_vec())
    }

    /// An error as S3 has it.
    pub fn error(status: u16, code: &str) -> Answer {
        Answer::status(status, &format!("<Error><Code>{code}</Code><Message>as the test wants</Message></Error>"))
    }
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// From 0.
    pub connection: usize,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
struct State {
    script: VecDeque<Answer>,
    requests: Vec<Request>,
    waiting: usize,
}

/// Wraps a connection, for TLS.
pub type Wrap = Arc<dyn Fn(TcpStream) -> Box<dyn Stream> + Send + Sync>;

pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// See the module. Its threads end with the test's process.
pub struct Server {
    state: Arc<Mutex<State>>,
    pub port: u16,
}

impl Server {
    /// Begins to listen. A request beyond the script is answered with 418.
    pub fn start(script: impl IntoIterator<Item = Answer>) -> Server {
        Server::wrapped(script, Arc::new(|stream| Box::new(stream)))
    }

    pub fn wrapped(script: impl IntoIterator<Item = Answer>, wrap: Wrap) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State { script: script.into_iter().collect(), ..State::default() }));
        let server = Server { state: Arc::clone(&state), port };
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let (state, wrap) = (Arc::clone(&state), Arc::clone(&wrap));
                std::thread::spawn(move || serve(&state, wrap(stream.unwrap()), connection));
            }
        });
        server
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }
}

fn serve(state: &Mutex<State>, stream: Box<dyn Stream>, connection: usize) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream, connection) {
        let is_head = request.method == "HEAD";
        let answer = {
            let mut state = state.lock().unwrap();
            state.requests.push(request);
            state.script.pop_front().unwrap_or_else(|| Answer::status(418, ""))
        };
        let sent = match answer {
            Answer::Http(status, headers, body) => send(stream.get_mut(), status, &headers, &body, is_head, body.len()),
            Answer::Close => return,
            Answer::Cut(body) => {
                let _ = send(stream.get_mut(), 200, &[], &body, false, body.len() + 10);
                return;
            }
            Answer::Together(count) => {
                state.lock().unwrap().waiting += 1;
                while state.lock().unwrap().waiting < count {
                    std::thread::sleep(Duration::from_millis(2));
                }
                let modified =
                    [("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT".to_owned()), ("ETag", "\"e\"".to_owned())];
                send(stream.get_mut(), 200, &modified, b"x", is_head, 1)
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

fn send(
    stream: &mut dyn Stream,
    status: u16,
    headers: &[(&'static str, String)],
    body: &[u8],
    is_head: bool,
    length: usize,
) -> std::io::Result<()> {
    let mut text = format!("HTTP/1.1 {status} As written\r\n");
    if !headers.iter().any(|(name, _)| *name == "Content-Length") {
        text.push_str(&format!("Content-Length: {length}\r\n"));
    }
    headers.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
    text.push_str("\r\n");
    stream.write_all(text.as_bytes())?;
    if !is_head {
        stream.write_all(body)?;
    }
    stream.flush()
}

/// None at the end of the connection.
fn read(stream: &mut BufReader<Box<dyn Stream>>, connection: usize) -> Option<Request> {
    let mut line = String::new();
    if stream.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let of = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!(of("transfer-encoding"), None, "stores want to know the length in advance");
    let mut body = vec![0; of("content-length").map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).ok()?;
    Some(Request { method, target, headers, body, connection })
}
