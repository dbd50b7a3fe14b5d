//! HTTP/1.1 messages, read from a connection and passed on byte by byte: signatures stay valid.

use std::io::{BufRead, Error, ErrorKind, Read as _, Result, Write};

/// Bytes of a line, or of a head.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// A request or an answer.
#[derive(Clone)]
pub struct Message {
    /// With the empty line behind it.
    head: Vec<u8>,
    /// As it was sent, with the sizes of its chunks if it has any.
    pub body: Vec<u8>,
}

fn broken<T>(why: &str) -> Result<T> {
    Err(Error::new(ErrorKind::InvalidData, why))
}

impl Message {
    pub fn send(&self, to: &mut dyn Write) -> Result<()> {
        to.write_all(&self.head)?;
        to.write_all(&self.body)?;
        to.flush()
    }

    fn word(&self, number: usize) -> &str {
        let line = self.head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        std::str::from_utf8(line).unwrap_or_default().split(' ').nth(number).unwrap_or_default()
    }

    /// Of a request.
    pub fn method(&self) -> &str {
        self.word(0)
    }

    /// Path and query of a request.
    pub fn target(&self) -> &str {
        self.word(1)
    }

    /// Of an answer; 0 if it has none.
    pub fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }

    fn header(&self, name: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.head);
        let value = |line: &str| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim().to_ascii_lowercase())
        };
        text.lines().skip(1).find_map(value)
    }

    fn is_chunked(&self) -> bool {
        self.header("transfer-encoding").is_some_and(|value| value.contains("chunked"))
    }

    fn length(&self) -> Result<Option<u64>> {
        match self.header("content-length").map(|value| value.parse()) {
            None => Ok(None),
            Some(Ok(length)) => Ok(Some(length)),
            Some(Err(_)) => broken("a Content-Length that is no number"),
        }
    }
}

/// None at the end of the connection.
pub fn read_request(from: &mut dyn BufRead) -> Result<Option<Message>> {
    let Some(mut message) = read_head(from)? else { return Ok(None) };
    if message.is_chunked() {
        message.body = read_chunks(from)?;
    } else {
        message.body = read_exactly(from, message.length()?.unwrap_or(0))?;
    }
    Ok(Some(message))
}

/// The answer to a request with this method.
pub fn read_answer(from: &mut dyn BufRead, method: &str) -> Result<Message> {
    let Some(mut message) = read_head(from)? else { return broken("no answer") };
    if method == "HEAD" || matches!(message.status(), 204 | 304) {
        return Ok(message);
    }
    if message.is_chunked() {
        message.body = read_chunks(from)?;
    } else if let Some(length) = message.length()? {
        message.body = read_exactly(from, length)?;
    } else {
        from.read_to_end(&mut message.body)?;
    }
    Ok(message)
}

fn read_head(from: &mut dyn BufRead) -> Result<Option<Message>> {
    let mut head = Vec::new();
    loop {
        let line = read_line(from)?;
        if line.is_empty() {
            return if head.is_empty() { Ok(None) } else { broken("half a head") };
        }
        head.extend_from_slice(&line);
        if line == b"\r\n" {
            return Ok(Some(Message { head, body: Vec::new() }));
        }
    }
}

/// With its end; empty at the end of the connection.
fn read_line(from: &mut dyn BufRead) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    from.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    if line.is_empty() || line.ends_with(b"\r\n") { Ok(line) } else { broken("half a line") }
}

fn read_exactly(from: &mut dyn BufRead, length: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length { Ok(bytes) } else { broken("half a body") }
}

fn read_chunks(from: &mut dyn BufRead) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let line = read_line(from)?;
        let text = String::from_utf8_lossy(&line).into_owned();
        let digits = text.trim_end().split(';').next().unwrap_or_default();
        let Ok(size) = u64::from_str_radix(digits, 16) else { return broken("a chunk without a size") };
        bytes.extend_from_slice(&line);
        if size == 0 {
            break;
        }
        bytes.extend(read_exactly(from, size + 2)?);
    }
    loop {
        let line = read_line(from)?;
        bytes.extend_from_slice(&line);
        match line.as_slice() {
            b"\r\n" => return Ok(bytes),
            b"" => return broken("half a body"),
            _ => {}
        }
    }
}
