//! The socket in the state directory by which `explain` asks the running ingestor what it knows of a staged file,
//! and by which rules it goes.
//!
//! Invariants:
//! - Whoever may enter the state directory (mode 0700) may ask; nothing can be changed by it.
//! - One question at a time, of a bounded length, with a time limit on each step: nobody can hold up the ingestor, and the
//!   intake answers from memory.
//! - Without it everything works but that one answer: a failure is logged, and no more.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crossbeam::channel::{self, Receiver, Sender};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::fs::Fs;
use crate::fs::real::{RealFs, bind_private};
use crate::journal::names;
use crate::log;
use crate::pipeline::patterns::Patterns;
use crate::pipeline::scan::NameRules;

/// The longest question: a name of 255 bytes as base64, and its frame.
const QUESTION_BYTES_MAX: usize = 1024;
/// The longest answer that is read: patterns come from a command line, which holds no more.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// For each step of a conversation.
const STEP_TIME_MAX: Duration = Duration::from_secs(2);
/// After a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// The longest path of a socket: `sun_path` with its terminator (unix(7)).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// What the ingestor knows of a staged file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// `waiting`, `held` (refused, until it changes or for a while), `ready` or `in_flight`.
    pub phase: String,
    /// Why it waits or is held.
    pub reason: Option<String>,
    /// Unchanged, by its own observation, for so long.
    pub unchanged_seconds: Option<f64>,
    /// How long it has to stay so in stability mode.
    pub window_seconds: Option<f64>,
    /// When it is looked at again at the latest, if that is certain.
    pub retry_in_seconds: Option<f64>,
    /// How often it has failed in this state.
    pub failures: Option<u32>,
    /// What went wrong the last time.
    pub error: Option<String>,
}

/// By what the ingestor judges names and sidecars: the options that it was started with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    include: Vec<String>,
    exclude: Vec<String>,
    /// In sidecar mode, as base64.
    sidecar_suffix: Option<String>,
    /// Only those are taken that a checksum in their sidecar vouches for.
    pub require_checksum: bool,
}

impl Rules {
    /// Of these settings.
    pub fn of(config: &Config) -> Rules {
        let names = config.name_rules();
        let texts = |patterns: &Option<Patterns>| patterns.as_ref().map_or(Vec::new(), |it| it.texts().to_vec());
        Rules {
            include: texts(&names.include),
            exclude: texts(&names.exclude),
            sidecar_suffix: names.sidecar_suffix.map(|suffix| BASE64.encode(suffix.as_bytes())),
            require_checksum: config.require_checksum,
        }
    }

    /// Which names are for it. None if this program does not understand them: the ingestor is of another version.
    pub fn names(&self) -> Option<NameRules> {
        let suffix = self.sidecar_suffix.as_ref().map(|suffix| BASE64.decode(suffix)).transpose().ok()?;
        Some(NameRules {
            include: Patterns::new(&self.include).ok()?,
            exclude: Patterns::new(&self.exclude).ok()?,
            sidecar_suffix: suffix.map(OsString::from_vec),
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Question {
    /// What is known of the file of this name, which is base64.
    Explain(String),
    /// By which rules it goes.
    Rules,
}

/// A question on its way to the intake.
pub(super) struct Asked {
    pub(super) name: OsString,
    pub(super) answer: Sender<Option<Told>>,
}

/// A socket that is removed when nobody listens any more.
pub(super) struct Control {
    path: PathBuf,
    /// Which one is ours.
    socket: Option<(u64, u64)>,
    pub(super) asked: Receiver<Asked>,
}

/// Begins to listen. The lock on the state directory must be held: what stands at the name is a dead process's.
pub(super) fn listen(state_path: &Path, rules: Rules) -> Control {
    let path = state_path.join(names::CONTROL);
    match try_listen(&path, rules) {
        Ok(asked) => Control { socket: identity(&path), path, asked },
        Err(error) => {
            tracing::info!(event = "control_unavailable", path = log::path(&path), error, "`explain` cannot ask");
            Control { path, socket: None, asked: channel::never() }
        }
    }
}

fn try_listen(path: &Path, rules: Rules) -> Result<Receiver<Asked>, String> {
    if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        return Err(format!("the path has more than {SOCKET_PATH_BYTES_MAX} bytes"));
    }
    remove(path);
    let listener = bind_private(path).map_err(|error| error.to_string())?;
    let (sender, asked) = channel::bounded(0);
    let serve = move || {
        for stream in listener.incoming() {
            match stream {
                // Whoever goes away, or asks nonsense, gets no answer.
                Ok(stream) => drop(converse(&stream, &rules, &sender)),
                // Out of descriptors, most likely: it would fail again at once.
                Err(_) => std::thread::sleep(ACCEPT_PAUSE),
            }
        }
    };
    let started = std::thread::Builder::new().name("control".to_owned()).spawn(serve);
    started.map(|_| asked).map_err(|error| error.to_string())
}

fn converse(stream: &UnixStream, rules: &Rules, intake: &Sender<Asked>) -> Option<()> {
    stream.set_write_timeout(Some(STEP_TIME_MAX)).ok()?;
    let mut text = match serde_json::from_slice(&question(stream)?).ok()? {
        Question::Rules => serde_json::to_string(rules).ok()?,
        Question::Explain(name) => {
            let name = OsString::from_vec(BASE64.decode(name).ok()?);
            let (answer, answered) = channel::bounded(1);
            intake.send_timeout(Asked { name, answer }, STEP_TIME_MAX).ok()?;
            serde_json::to_string(&answered.recv_timeout(STEP_TIME_MAX).ok()?).ok()?
        }
    };
    text.push('\n');
    let mut stream = stream;
    stream.write_all(text.as_bytes()).ok()
}

/// A line, if it comes in time as a whole: who sends a byte now and then keeps others waiting.
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
    /// The lock is free by now: what stands there may be the next ingestor's.
    fn drop(&mut self) {
        if self.socket.is_some() && self.socket == identity(&self.path) {
            remove(&self.path);
        }
    }
}

/// (device, inode) of what stands there.
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

/// Asks the ingestor that runs on this state directory. None if nobody answers; inside, None if it does not know the file.
pub fn ask(state_path: &Path, name: &OsStr) -> Option<Option<Told>> {
    answer(state_path, &Question::Explain(BASE64.encode(name.as_bytes())))
}

/// By which rules the ingestor goes that runs on this state directory. None if nobody answers.
pub fn rules(state_path: &Path) -> Option<Rules> {
    answer(state_path, &Question::Rules)
}

fn answer<T: DeserializeOwned>(state_path: &Path, question: &Question) -> Option<T> {
    let mut stream = UnixStream::connect(state_path.join(names::CONTROL)).ok()?;
    stream.set_read_timeout(Some(2 * STEP_TIME_MAX)).ok()?;
    stream.set_write_timeout(Some(STEP_TIME_MAX)).ok()?;
    let mut text = serde_json::to_string(question).ok()?;
    text.push('\n');
    stream.write_all(text.as_bytes()).ok()?;
    let mut line = String::new();
    BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}
