//! Between the program and its store: every request passes here, and is counted without the program's help.
//!
//! Invariant: bytes pass as they are. A connection of the program has one of its own to the store.

use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

const COPY_BYTES: u64 = 1 << 16;

/// A request, and what came of it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub status: u16,
    /// When its answer began to arrive.
    pub answered: Instant,
}

/// A relay that runs until the benchmark ends.
pub struct Relay {
    pub endpoint: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Relay {
    /// Passes everything on to this address.
    pub fn start(endpoint: &str) -> Relay {
        let to = endpoint.strip_prefix("http://").expect("a store without TLS").trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let list = seen.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, to, list) = (stream.unwrap(), to.clone(), list.clone());
                thread::spawn(move || {
                    // Either side may close the connection at any time.
                    let _ = pass(&stream, &to, &list);
                });
            }
        });
        Relay { endpoint, seen }
    }

    /// How many requests there were so far.
    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// The requests since there were so many.
    pub fn since(&self, count: usize) -> Vec<Seen> {
        self.seen.lock().unwrap()[count..].to_vec()
    }
}

fn pass(ours: &TcpStream, to: &str, list: &Mutex<Vec<Seen>>) -> std::io::Result<()> {
    let theirs = TcpStream::connect(to)?;
    ours.set_nodelay(true)?;
    theirs.set_nodelay(true)?;
    let (mut requests, mut answers) = (BufReader::new(ours), BufReader::new(&theirs));
    let (mut there, mut back) = (&theirs, ours);
    loop {
        let request = Head::read(&mut requests)?;
        there.write_all(&request.bytes)?;
        request.pass_body(&mut requests, &theirs, true)?;
        let mut answer = Head::read(&mut answers)?;
        while answer.words[1] == "100" {
            back.write_all(&answer.bytes)?;
            answer = Head::read(&mut answers)?;
        }
        let (answered, status) = (Instant::now(), answer.words[1].parse().unwrap_or(0));
        let [method, target, _] = request.words;
        let has_body = method != "HEAD" && !matches!(status, 204 | 304);
        list.lock().unwrap().push(Seen { method, target, status, answered });
        back.write_all(&answer.bytes)?;
        if has_body {
            answer.pass_body(&mut answers, ours, false)?;
        }
    }
}

/// The lines before a body.
struct Head {
    bytes: Vec<u8>,
    /// Of the first line.
    words: [String; 3],
    length: Option<u64>,
    is_chunked: bool,
}

impl Head {
    fn read(from: &mut impl std::io::BufRead) -> std::io::Result<Head> {
        let (mut bytes, mut length, mut is_chunked) = (Vec::new(), None, false);
        let mut words: Option<[String; 3]> = None;
        loop {
            let begin = bytes.len();
            if from.read_until(b'\n', &mut bytes)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let line = String::from_utf8_lossy(&bytes[begin..]).trim_end().to_ascii_lowercase();
            if words.is_none() {
                let first = String::from_utf8_lossy(&bytes[begin..]).trim_end().to_owned();
                let mut all = first.splitn(3, ' ').map(str::to_owned);
                words = Some(std::array::from_fn(|_| all.next().unwrap_or_default()));
            } else if let Some(text) = line.strip_prefix("content-length:") {
                length = text.trim().parse().ok();
            } else if line.starts_with("transfer-encoding:") {
                is_chunked = line.contains("chunked");
            } else if line.is_empty() {
                return Ok(Head { bytes, words: words.unwrap_or_default(), length, is_chunked });
            }
        }
    }

    /// Passes the body on; one without a length is none in a request, and ends with the connection in an answer.
    fn pass_body(&self, from: &mut impl std::io::BufRead, to: &TcpStream, is_request: bool) -> std::io::Result<()> {
        if self.is_chunked {
            return pass_chunks(from, to);
        }
        match self.length {
            Some(length) => copy(from, to, length),
            None if is_request => Ok(()),
            None => copy(from, to, u64::MAX),
        }
    }
}

fn copy(from: &mut impl Read, mut to: &TcpStream, length: u64) -> std::io::Result<()> {
    let (mut buffer, mut left) = (vec![0; COPY_BYTES as usize], length);
    while left > 0 {
        let read = from.read(&mut buffer[..left.min(COPY_BYTES) as usize])?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        to.write_all(&buffer[..read])?;
        left -= read as u64;
    }
    Ok(())
}

fn pass_chunks(from: &mut impl std::io::BufRead, mut to: &TcpStream) -> std::io::Result<()> {
    loop {
        let mut line = Vec::new();
        from.read_until(b'\n', &mut line)?;
        to.write_all(&line)?;
        let digits = String::from_utf8_lossy(&line);
        let digits = digits.trim_end().split(';').next().unwrap_or_default();
        let length = u64::from_str_radix(digits, 16).map_err(|_| std::io::ErrorKind::InvalidData)?;
        // With the end of its line.
        copy(from, to, length + 2)?;
        if length == 0 {
            return Ok(());
        }
    }
}
