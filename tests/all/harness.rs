//! Directories for staging, warehouse, manifests and state, and the real program running on them.
//!
//! Tests end only processes that they started, by id; a daemon that a test leaves running is killed when it is dropped.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::Digest;

pub use crate::common::skip::{has, is_root, skip};

/// The longest time that a test waits for something that should happen. Not a measure of speed: machines are shared.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const BINARY: &str = env!("CARGO_BIN_EXE_csv-ingestor");

/// Waits until `condition` holds.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Directories for one test.
pub struct Place {
    pub root: tempfile::TempDir,
    pub staging: PathBuf,
    pub warehouse: PathBuf,
    pub manifests: PathBuf,
    pub state: PathBuf,
}

impl Place {
    /// All on one file system.
    pub fn new() -> Place {
        let root = tempfile::Builder::new().prefix("csv-ingestor-test-").tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let place = Place {
            staging: at("staging"),
            warehouse: at("warehouse"),
            manifests: at("manifests"),
            state: at("state"),
            root,
        };
        std::fs::create_dir(&place.staging).unwrap();
        place
    }

    /// Staging and warehouse on two file systems; skips and returns `None` where there is only one.
    pub fn across_file_systems() -> Option<(Place, tempfile::TempDir)> {
        let mut place = Place::new();
        let device = |path: &Path| std::fs::metadata(path).unwrap().dev();
        let other = tempfile::Builder::new().prefix("csv-ingestor-test-").tempdir_in("/dev/shm");
        let other = other.ok().filter(|other| device(other.path()) != device(place.root.path()));
        let Some(other) = other else {
            skip("/dev/shm is not another file system than the temporary directory");
            return None;
        };
        place.warehouse = other.path().join("warehouse");
        Some((place, other))
    }

    /// Writes a file into staging, with one call.
    pub fn stage(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.staging.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The same, but the file is visible only when it is whole: for ingestors that may take no lease on it.
    pub fn stage_whole(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let hidden = self.stage(format!(".{}", name.as_ref().display()), content);
        let path = self.staging.join(name);
        std::fs::rename(hidden, &path).unwrap();
        path
    }

    /// `run` with this place's directories; more arguments may follow.
    pub fn command(&self) -> Command {
        let mut command = Command::new(BINARY);
        for (option, path) in [
            ("--input", &self.staging),
            ("--warehouse", &self.warehouse),
            ("--manifests", &self.manifests),
            ("--state-path", &self.state),
        ] {
            command.arg(option).arg(path);
        }
        // The settings of the person who runs the tests are not for them.
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CSV_INGESTOR_")).for_each(
            |(name, _)| {
                command.env_remove(name);
            },
        );
        command.stdin(Stdio::null());
        command
    }

    /// Runs `--once --stability-seconds 0` plus `more`.
    pub fn once(&self, more: &[&str]) -> Output {
        self.command().args(["--once", "--stability-seconds", "0"]).args(more).output().unwrap()
    }

    /// As `once`, and it must succeed.
    #[track_caller]
    pub fn once_ok(&self, more: &[&str]) -> Output {
        let output = self.once(more);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// As `once`, and it must finish with some file that failed (exit code 6).
    #[track_caller]
    pub fn once_failing(&self, more: &[&str]) -> Output {
        let output = self.once(more);
        assert_eq!(output.status.code(), Some(6), "{}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// A subcommand on this place's journal, such as `["journal", "inspect", "--json"]`.
    pub fn subcommand(&self, words: &[&str]) -> Output {
        Command::new(BINARY).args(words).arg("--state-path").arg(&self.state).output().unwrap()
    }

    /// Starts the daemon; its log goes to a file in this place.
    pub fn start(&self, more: &[&str]) -> Daemon {
        let mut command = self.command();
        command.args(more);
        self.spawn(command)
    }

    /// Starts a daemon with this command; its log goes to a file in this place.
    pub fn spawn(&self, mut command: Command) -> Daemon {
        let log = self.root.path().join("log.jsonl");
        let file = std::fs::File::options().create(true).append(true).open(&log).unwrap();
        let child = command.stdout(Stdio::null()).stderr(file).spawn().unwrap();
        Daemon { child, log }
    }

    /// Every file in the warehouse that readers see, with its content.
    pub fn warehouse_files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        visible_files(&self.warehouse, &mut files);
        files
    }

    /// Every manifest line, in no particular order.
    pub fn manifest_lines(&self) -> Vec<Value> {
        let mut files = BTreeMap::new();
        visible_files(&self.manifests, &mut files);
        let mut lines = Vec::new();
        for (path, content) in files {
            assert!(path.ends_with("manifest.jsonl"), "{}", path.display());
            assert!(content.is_empty() || content.ends_with(b"\n"), "torn manifest {}", path.display());
            let text = String::from_utf8(content).unwrap();
            lines.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
        }
        lines
    }

    /// Names in staging, hidden ones too.
    pub fn staged_names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(&self.staging)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// `journal inspect --json`.
    pub fn inspect(&self) -> Vec<Value> {
        let output = self.subcommand(&["journal", "inspect", "--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Checks what must hold whenever nothing is half done: each content is in the warehouse once, with exactly one manifest
    /// line that is right, and the journal says the same. Returns the number of files.
    #[track_caller]
    pub fn check_consistent(&self) -> usize {
        let files = self.warehouse_files();
        let lines = self.manifest_lines();
        let mut by_hash = BTreeMap::new();
        for (path, content) in &files {
            let before = by_hash.insert(sha256_hex(content), path);
            assert!(before.is_none(), "one content twice: {} and {}", path.display(), before.unwrap().display());
        }
        let mut listed = BTreeMap::new();
        let mut ids = std::collections::BTreeSet::new();
        for line in &lines {
            let sha256 = line["sha256"].as_str().unwrap().to_owned();
            let path = by_hash.get(&sha256).unwrap_or_else(|| panic!("listed, but not in the warehouse: {line}"));
            if line.get("warehouse_path_base64").is_none() {
                assert_eq!(Path::new(line["warehouse_path"].as_str().unwrap()), path.as_path(), "{line}");
            }
            assert_eq!(line["size"].as_u64().unwrap(), files[*path].len() as u64, "{line}");
            assert!(ids.insert(line["ingest_id"].as_u64().unwrap()), "ingest id twice: {line}");
            assert!(listed.insert(sha256, line).is_none(), "listed twice: {line}");
        }
        assert_eq!(listed.len(), files.len(), "a file in the warehouse is not listed");
        check_numbers(&lines);
        if self.state.exists() {
            let manifested = self.inspect().into_iter().filter(|file| file["state"] == "MANIFESTED");
            let manifested: BTreeMap<String, Value> =
                manifested.map(|file| (file["sha256"].as_str().unwrap().to_owned(), file)).collect();
            assert_eq!(manifested.len(), listed.len(), "journal and manifests do not agree");
            for (sha256, line) in listed {
                assert_eq!(manifested[&sha256]["ingest_id"], line["ingest_id"], "{line}");
            }
        }
        files.len()
    }
}

/// Checks that each journal's lines have the numbers from 1 on.
#[track_caller]
pub fn check_numbers(lines: &[Value]) {
    let mut numbers: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    if lines.iter().any(|line| line.get("journal").is_none()) {
        // Made to look as those of a version that did not name the journal.
        return;
    }
    for line in lines {
        // Lines of earlier versions have none.
        if let (Some(journal), Some(seq)) = (line["journal"].as_str(), line["seq"].as_u64()) {
            numbers.entry(journal).or_default().push(seq);
        }
    }
    for (journal, mut numbers) in numbers {
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "{journal}: {numbers:?}");
    }
}

fn visible_files(dir: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            continue;
        }
        if path.is_dir() {
            visible_files(&path, files);
        } else if let Ok(content) = std::fs::read(&path) {
            files.insert(path, content);
        }
    }
}

pub fn sha256_hex(content: &[u8]) -> String {
    csv_ingestor::types::Sha256(sha2::Sha256::digest(content).into()).hex()
}

/// Distinct CSV content.
pub fn csv(seed: u64, bytes: usize) -> Vec<u8> {
    let mut content = format!("id,value\n{seed},{}\n", seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).into_bytes();
    let mut row = seed;
    while content.len() < bytes {
        row = row.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        content.extend_from_slice(format!("{row},{}\n", row >> 32).as_bytes());
    }
    content
}

/// A gzip file of this text.
pub fn packed(text: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, text.as_ref()).unwrap();
    encoder.finish().unwrap()
}

/// A running ingestor.
pub struct Daemon {
    pub child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Its log so far, one object per line (of all daemons started in this place).
    pub fn log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.log).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The events of that name so far.
    pub fn events(&self, name: &str) -> Vec<Value> {
        self.log().into_iter().filter(|line| line["event"] == name).collect()
    }

    /// Waits for the n-th event of that name.
    #[track_caller]
    pub fn wait_for(&self, name: &str, count: usize) -> Vec<Value> {
        wait_until(&format!("{count} × {name}"), || self.events(name).len() >= count);
        self.events(name)
    }

    /// Waits for the event `started`.
    #[track_caller]
    pub fn wait_started(&self) {
        self.wait_for("started", 1);
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Sends SIGTERM and returns the exit status.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.child.wait().unwrap()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Runs a program that must succeed.
#[track_caller]
pub fn sh(program: &str, arguments: &[&OsStr]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The binary with these arguments, without the settings in the environment of the person who runs the tests.
pub fn bare(words: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    let ours = |name: &OsStr| name.to_string_lossy().starts_with("CSV_INGESTOR_");
    std::env::vars_os().filter(|(name, _)| ours(name)).for_each(|(name, _)| {
        command.env_remove(name);
    });
    command.args(words).stdin(Stdio::null());
    command
}

pub fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The objects of a JSON log; every line must be one.
#[track_caller]
pub fn json_lines(text: &str) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"));
    text.lines().map(parse).collect()
}

/// Everything below `top`, itself included: kind, mode, inode, size, content, and all times except that of access. If two
/// results are equal, nothing was written in between.
pub fn snapshot(top: &Path) -> BTreeMap<PathBuf, String> {
    let mut seen = BTreeMap::new();
    let mut pending = vec![top.to_path_buf()];
    while let Some(path) = pending.pop() {
        let Ok(stat) = std::fs::symlink_metadata(&path) else { continue };
        let (mtime, ctime) = ((stat.mtime(), stat.mtime_nsec()), (stat.ctime(), stat.ctime_nsec()));
        let content = if stat.is_file() { sha256_hex(&std::fs::read(&path).unwrap()) } else { String::new() };
        if stat.is_dir() {
            pending.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let line = format!("{:o} {} {} {mtime:?} {ctime:?} {content}", stat.mode(), stat.ino(), stat.len());
        seen.insert(path, line);
    }
    seen
}

impl Place {
    /// A file that takes long to hash but needs no room: a hole after its first lines.
    pub fn stage_large(&self, name: &str, seed: u64, bytes: u64) -> PathBuf {
        let hidden = self.stage(format!(".{name}"), csv(seed, 0));
        std::fs::File::options().write(true).open(&hidden).unwrap().set_len(bytes).unwrap();
        let path = self.staging.join(name);
        std::fs::rename(hidden, &path).unwrap();
        path
    }

    /// The partitions of today and of tomorrow: a test may run at midnight, UTC.
    pub fn partitions(&self) -> [PathBuf; 2] {
        [0, 24].map(|hours| {
            let time = std::time::SystemTime::now() + Duration::from_secs(hours * 3600);
            let date = humantime::format_rfc3339(time).to_string();
            self.warehouse.join(format!("ingest_date={}", &date[..10]))
        })
    }

    /// Nothing can be moved into the warehouse until [`Place::unblock`]: a file is in the partition's place. Does not work
    /// with a daemon that has used the partition, and has it open.
    pub fn block(&self) {
        for (day, partition) in self.partitions().iter().enumerate() {
            std::fs::create_dir_all(&self.warehouse).unwrap();
            let _ = std::fs::rename(partition, self.root.path().join(format!("away-{day}")));
            std::fs::write(partition, "in the way").unwrap();
        }
    }

    /// Undoes [`Place::block`].
    pub fn unblock(&self) {
        for (day, partition) in self.partitions().iter().enumerate() {
            std::fs::remove_file(partition).unwrap();
            let _ = std::fs::rename(self.root.path().join(format!("away-{day}")), partition);
        }
    }

    /// Creates files with these names in the warehouse, in the partition that is used now, whichever that is.
    pub fn occupy(&self, names: &[String]) {
        for partition in self.partitions() {
            std::fs::create_dir_all(&partition).unwrap();
            names.iter().for_each(|name| std::fs::write(partition.join(name), format!("taken: {name}")).unwrap());
        }
    }
}

/// The names that a file of this name and content may get in the warehouse (`STEM.csv`), before one with its ingest id.
pub fn warehouse_names(stem: &str, content: &[u8]) -> Vec<String> {
    let sha256 = sha256_hex(content);
    let suffixed = |digits: usize| format!("{stem}-{}.csv", &sha256[..digits]);
    std::iter::once(format!("{stem}.csv")).chain([8, 16, 32, 64].map(suffixed)).collect()
}
