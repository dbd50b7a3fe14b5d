//! The socket through which `explain` and `status --watch` ask the running ingestor ([`crate::control`]): the side that
//! answers.
//!
//! Invariants:
//! - Any user who may enter the state directory (mode 0700) may ask; no question changes anything.
//! - One question at a time, of a bounded length, with a time limit on each step: no client can delay the ingestor, and
//!   the intake answers from memory.
//! - A failure is logged, and has no other effect.

use std::ffi::{OsStr, OsString};
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::control::{Question, RunningRules, STEP_TIME_MAX};
use crate::fs::Fs;
use crate::fs::real::{RealFs, bind_private};
use crate::journal::names;
use crate::log;
use crate::page::{Page, Wanted};

/// The longest question: a relative path of 4,096 bytes as base64, and the JSON around it.
const QUESTION_BYTES_MAX: usize = 8 << 10;
/// The pause after a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// The longest path of a socket: `sun_path` with its terminator (unix(7)).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// A socket that is removed when this is dropped.
pub(super) struct Control {
    path: PathBuf,
    /// (device, inode) of this process's socket.
    socket: Option<(u64, u64)>,
}

/// Begins to listen. The lock on the state directory must be held: a socket at this path then belongs to a process that
/// has ended.
pub(super) fn listen(state_path: &Path, rules: RunningRules, page: &Arc<Page>) -> Control {
    let path = state_path.join(names::CONTROL);
    match try_listen(&path, rules, page.clone()) {
        Ok(()) => Control { socket: identity(&path), path },
        Err(error) => {
            tracing::info!(
                event = "control_unavailable",
                path = log::path(&path),
                error,
                "`explain` and `status --watch` cannot ask the ingestor"
            );
            Control { path, socket: None }
        }
    }
}

fn try_listen(path: &Path, rules: RunningRules, page: Arc<Page>) -> Result<(), String> {
    if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        return Err(format!("the path has more than {SOCKET_PATH_BYTES_MAX} bytes"));
    }
    remove(path);
    let listener = bind_private(path).map_err(|error| error.to_string())?;
    let serve = move || {
        for stream in listener.incoming() {
            match stream {
                // A client that disconnects or asks nonsense gets no answer.
                Ok(stream) => drop(converse(&stream, &rules, &page)),
                // Out of descriptors, most likely: it would fail again at once.
                Err(_) => std::thread::sleep(ACCEPT_PAUSE),
            }
        }
    };
    let started = std::thread::Builder::new().name("control".to_owned()).spawn(serve);
    started.map(drop).map_err(|error| error.to_string())
}

fn converse(stream: &UnixStream, rules: &RunningRules, page: &Page) -> Option<()> {
    stream.set_write_timeout(Some(STEP_TIME_MAX)).ok()?;
    let mut text = match serde_json::from_slice(&question(stream)?).ok()? {
        Question::Rules => serde_json::to_string(rules).ok()?,
        Question::Explain(name) => {
            let name = OsString::from_vec(BASE64.decode(name).ok()?);
            serde_json::to_string(&page.asker().file(name)?).ok()?
        }
        Question::Status => page.status(),
        Question::Recent => page.recent(),
        Question::Waiting(limit) => page.waiting(&Wanted { limit: Some(limit), ..Wanted::default() }).ok()?,
    };
    text.push('\n');
    let mut stream = stream;
    stream.write_all(text.as_bytes()).ok()
}

/// One line, if all of it arrives in time: a client that sends a byte now and then would keep others waiting.
fn question(mut stream: &UnixStream) -> Option<Vec<u8>> {
    let until = Instant::now() + STEP_TIME_MAX;
    let (mut line, mut piece) = (Vec::new(), [0; 256]);
    while !line.ends_with(b"\n") {
        let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        stream.set_read_timeout(Some(left)).ok()?;
        match stream.read(&mut piece).ok()? {
            0 => return None,
            read => line.extend_from_slice(&piece[..read]),
        }
        if line.len() > QUESTION_BYTES_MAX {
            return None;
        }
    }
    Some(line)
}

impl Drop for Control {
    /// The lock is free by now: the socket at this path may belong to the next ingestor.
    fn drop(&mut self) {
        if self.socket.is_some() && self.socket == identity(&self.path) {
            remove(&self.path);
        }
    }
}

/// (device, inode) of the socket at this path.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let fs = RealFs::default();
    let dir = fs.open_dir(path.parent()?).ok()?;
    Some(fs.stat(&dir, OsStr::new(names::CONTROL)).ok()??.identity.key())
}

fn remove(path: &Path) {
    let fs = RealFs::default();
    if let Some(parent) = path.parent()
        && let Ok(dir) = fs.open_dir(parent)
    {
        let _ = fs.unlink(&dir, OsStr::new(names::CONTROL));
    }
}
