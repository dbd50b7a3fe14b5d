//! A lake of its own for each measurement, and the hosts that write to it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use csv_ingestor::store::Store;

use crate::daemon::{self, Daemon, PROGRAM};
use crate::disk::Scratch;
use crate::process::Ended;
use crate::server::{Reach, Server};

/// What the lake's own objects begin with.
const OWN: &str = ".csv-ingestor/";

/// Objects that are removed when a lake is not needed any more.
const REMOVED_MAX: usize = 2000;

/// So that no two measurements use the same prefix of a bucket.
static LAKES: AtomicU32 = AtomicU32::new(0);

/// A prefix of a bucket that nobody has used.
pub fn prefix(server: &Server, what: &str) -> String {
    let number = LAKES.fetch_add(1, Ordering::Relaxed);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    format!("{}/bench-{now}-{number}-{what}", server.reach.url)
}

/// A lake.
pub struct Lake {
    pub reach: Reach,
    url: String,
    root: PathBuf,
}

impl Lake {
    /// Makes one that is reached in this way.
    pub fn make(server: &Server, reach: &Reach, scratch: &Scratch, what: &str) -> Lake {
        let (url, root) = (prefix(server, what), scratch.path(&format!("{what}-{}", server.name.replace(' ', "-"))));
        if root.exists() {
            fs::remove_dir_all(&root).unwrap();
        }
        fs::create_dir(&root).unwrap();
        let lake = Lake { reach: reach.clone(), url, root };
        let mut command = Command::new(PROGRAM);
        command.args(["lake", "init", &lake.warehouse(), "--manifests", &lake.manifests()]);
        let log = lake.root.join("init");
        let output = File::create(&log).unwrap();
        reach.give(&mut command).stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        daemon::run(&mut command, &log);
        lake
    }

    pub fn warehouse(&self) -> String {
        format!("{}/warehouse", self.url)
    }

    pub fn manifests(&self) -> String {
        format!("{}/manifests", self.url)
    }

    /// A host with a journal of its own.
    pub fn host(&self, number: usize) -> Host<'_> {
        let host = Host { lake: self, root: self.root.join(format!("host-{number}")) };
        for dir in [host.staging(), host.incoming()] {
            fs::create_dir_all(dir).unwrap();
        }
        host
    }

    /// Fails unless so many data objects and lines are there.
    pub fn check(&self, count: u64) {
        let warehouse = self.reach.open(&self.warehouse());
        let data = keys(&warehouse).into_iter().filter(|key| !key.starts_with(OWN)).count();
        assert_eq!(data as u64, count, "data objects");
        let manifests = self.reach.open(&self.manifests());
        let written = keys(&manifests).into_iter().filter(|key| !key.starts_with(OWN));
        let lines_of = |key: String| manifests.get(&key).unwrap().iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(written.map(lines_of).sum::<usize>() as u64, count, "lines");
    }

    /// Removes what is on this disk, and in the store unless it is so much that this takes minutes: large objects are few.
    pub fn remove(self) {
        let data = self.reach.open(&self.warehouse());
        let keys = keys(&data);
        if keys.len() <= REMOVED_MAX {
            keys.iter().for_each(|key| data.delete(key).unwrap());
        }
        fs::remove_dir_all(&self.root).unwrap();
    }
}

fn keys(store: &dyn Store) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    loop {
        let page = store.list("", all.last().map_or("", String::as_str)).unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// A host of a lake.
pub struct Host<'a> {
    lake: &'a Lake,
    root: PathBuf,
}

impl Host<'_> {
    pub fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    /// Where files are written before they are dropped into staging.
    pub fn incoming(&self) -> PathBuf {
        self.root.join("incoming")
    }

    fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("--input").arg(self.staging()).arg("--state-path").arg(self.root.join("state"));
        command.args(["--warehouse", &self.lake.warehouse(), "--manifests", &self.lake.manifests()]);
        command.args(["--log-level", "info"]).stdin(Stdio::null()).stdout(Stdio::null());
        self.lake.reach.give(&mut command);
        command
    }

    /// Ingests what is staged, and ends.
    pub fn once(&self) -> Ended {
        let mut command = self.command();
        command.args(["--once", "--stability-seconds", "0"]).stderr(File::create(self.log()).unwrap());
        daemon::run(&mut command, &self.log())
    }

    /// Starts it with further options, and waits until it is ready.
    pub fn start(&self, options: &[&str]) -> Daemon {
        Daemon::spawn(self.command().args(options), &self.log())
    }
}

/// Empties a directory.
pub fn empty(dir: &Path) {
    fs::remove_dir_all(dir).unwrap();
    fs::create_dir(dir).unwrap();
}
