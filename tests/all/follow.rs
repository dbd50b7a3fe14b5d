//! Following the manifests: the source of lines, printing, delivering, positions of consumers.

mod batches;
mod deliveries;
mod dir;
mod documented;
mod exec;
pub mod lake;
mod manifests;
mod memory;
mod positions;
mod printed;
mod real;
mod real_lake;
mod together;
#[cfg(feature = "object-store")]
mod webhook;

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{BINARY, PATIENCE, err, out};

/// The journal whose lines the tests follow.
pub const JOURNAL: &str = "00112233445566778899aabbccddeeff";

/// Manifests that a test writes itself.
pub struct OwnManifests {
    pub dir: tempfile::TempDir,
}

impl OwnManifests {
    pub fn new() -> OwnManifests {
        let dir = tempfile::Builder::new().prefix("csv-ingestor-test-").tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("manifests/2026/01/31/09")).unwrap();
        OwnManifests { dir }
    }

    /// With lines 1 to `count`.
    pub fn with(count: u64) -> OwnManifests {
        let manifests = OwnManifests::new();
        manifests.append(1..=count);
        manifests
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn append(&self, numbers: impl IntoIterator<Item = u64>) {
        let lines: String = numbers.into_iter().map(line).collect();
        let path = self.path("manifests/2026/01/31/09/manifest.jsonl");
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        std::io::Write::write_all(&mut file, lines.as_bytes()).unwrap();
    }

    /// `follow` on them.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.arg("follow").arg("--manifests").arg(self.path("manifests")).args(words).stdin(Stdio::null());
        command
    }

    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// As `run`, and it must succeed. Returns the lines on standard output.
    #[track_caller]
    pub fn ok(&self, words: &[&str]) -> Vec<Value> {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", err(&output));
        json_lines(&out(&output))
    }

    /// The consumer's cursor, as `--list` shows it.
    pub fn cursor(&self, consumer: &str) -> Option<String> {
        let lines = self.ok(&["--list"]);
        let line = lines.into_iter().find(|line| line["consumer"] == consumer)?;
        Some(line["cursor"].as_str().unwrap().to_owned())
    }
}

/// A line as an ingestor writes it, with its newline.
pub fn line(number: u64) -> String {
    let sha256 = format!("{number:064x}");
    format!(
        "{{\"path\":\"/in/{number}.csv\",\"sha256\":\"{sha256}\",\"device\":1,\"inode\":{number},\"size\":46,\"mtime\":-5,\
         \"warehouse_path\":\"/wh/{number}.csv\",\"ingest_id\":{number},\"journal\":\"{JOURNAL}\",\
         \"ingested_at\":\"2026-01-31T09:00:00.000Z\",\"seq\":{number}}}\n"
    )
}

pub fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// The numbers of lines.
pub fn numbers(lines: &[Value]) -> Vec<u64> {
    lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect()
}

pub fn cursor(number: u64) -> String {
    format!("{JOURNAL}:{number}")
}

/// The events of a log.
pub fn events(log: &str, name: &str) -> Vec<Value> {
    let mut events = json_lines(log);
    events.retain(|event| event["event"] == name);
    events
}

/// The text of a file that a command appends to; empty before it exists.
pub fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// As `Command::output`. Why: a delivery that never succeeds is tried for ever; that has to fail its test, not hang it.
#[track_caller]
pub fn output_in_time(command: &mut Command) -> Output {
    let [mut out, mut log] = [(); 2].map(|()| tempfile::tempfile().unwrap());
    command.stdout(out.try_clone().unwrap()).stderr(log.try_clone().unwrap());
    let (mut child, deadline) = (command.spawn().unwrap(), Instant::now() + PATIENCE);
    let mut is_late = false;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() >= deadline && !is_late => {
                child.kill().unwrap();
                is_late = true;
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let output = Output { status, stdout: whole(&mut out), stderr: whole(&mut log) };
    assert!(!is_late, "it does not end: {}", err(&output));
    output
}

fn whole(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}
