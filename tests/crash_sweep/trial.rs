//! A case while it is tried: what runs in its directories, and what is wrong with it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::Value;

use super::case::{Case, Fault, Variant};
use super::ground::{Ground, Site, Templates};
use super::process::Running;

/// A step that takes longer hangs.
pub const STEP: Duration = Duration::from_secs(60);

/// What changes something durable or makes it durable, in this program and in others: which of them it really uses is
/// counted. Opening is not in the list: a file that was only created is the same to the next start as one that is not there,
/// and the call that comes next on that thread is.
pub const CHANGING_CALLS: [&str; 38] = [
    "pwrite64",
    "write",
    "fsync",
    "fdatasync",
    "syncfs",
    "renameat2",
    "unlinkat",
    "mkdirat",
    "ftruncate",
    "linkat",
    "fchmod",
    "utimensat",
    "writev",
    "pwritev",
    "pwritev2",
    "sync",
    "sync_file_range",
    "msync",
    "fallocate",
    "truncate",
    "copy_file_range",
    "sendfile",
    "splice",
    "rename",
    "renameat",
    "unlink",
    "rmdir",
    "mkdir",
    "link",
    "symlink",
    "symlinkat",
    "chmod",
    "fchmodat",
    "chown",
    "fchown",
    "fchownat",
    "setxattr",
    "fsetxattr",
];

/// The program: that of this build, or the one in the environment.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let named = std::env::var_os("CSV_INGESTOR_BIN");
    named.map_or_else(|| env!("CARGO_BIN_EXE_csv-ingestor").into(), |path| std::fs::canonicalize(path).unwrap())
});

pub struct Trial<'a> {
    pub case: Case,
    pub site: Site<'a>,
    /// What is wrong.
    pub problems: Vec<String>,
    /// The exit code of the last run.
    pub status: i32,
}

impl<'a> Trial<'a> {
    pub fn new(ground: &Ground, templates: &'a Templates, case: Case) -> Trial<'a> {
        let site = Site::new(ground, templates, &case);
        Trial { case, site, problems: Vec::new(), status: 0 }
    }

    pub fn wrong(&mut self, what: impl Into<String>) {
        self.problems.push(what.into());
    }

    /// Notes the message unless the condition holds.
    pub fn must(&mut self, condition: bool, what: impl Into<String>) {
        if !condition {
            self.wrong(what);
        }
    }

    pub fn out(&self) -> PathBuf {
        self.site.dir.join("out")
    }

    pub fn log_path(&self) -> PathBuf {
        self.site.dir.join("log")
    }

    pub fn trace(&self) -> PathBuf {
        self.site.dir.join("trace")
    }

    /// What all runs have logged so far.
    pub fn log(&self) -> String {
        std::fs::read(self.log_path()).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }

    pub fn logged(&self, event: &str) -> bool {
        self.log().contains(&format!("\"event\":\"{event}\""))
    }

    /// The contents that were reported as ingested so far.
    pub fn reported(&self) -> Vec<String> {
        let log = self.log();
        let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events
            .filter(|event| event["event"] == "file_ingested")
            .filter_map(|event| event["sha256"].as_str().map(str::to_owned))
            .collect()
    }

    /// The program with these words, and nothing of what the environment of the person who sweeps says.
    pub fn program<S: AsRef<str>>(&self, words: &[S]) -> Command {
        without_settings(Command::new(&*PROGRAM), words)
    }

    pub fn start(&self, command: Command) -> Running {
        Running::start(command, &self.out(), &self.log_path())
    }

    /// Waits for the end of the run.
    pub fn finish(&mut self, running: Running) {
        let ended = running.wait(STEP);
        self.must(ended.is_some(), "it hung");
        self.status = ended.unwrap_or(137);
    }

    /// Runs the program with these words to its end.
    pub fn run_plain<S: AsRef<str>>(&mut self, words: &[S]) {
        let running = self.start(self.program(words));
        self.finish(running);
    }

    /// The same under strace. When any one thread comes to its N-th call, the fault strikes.
    pub fn run_traced<S: AsRef<str>>(&mut self, words: &[S]) {
        let mut strace = Command::new("strace");
        // It stops the program at the calls in question only; but then a signal does not come.
        if self.case.fault != Fault::Kill {
            strace.arg("--seccomp-bpf");
        }
        strace.args(["-f", "-qq", "-o"]).arg(self.trace()).args(self.strace_options()).arg("--").arg(&*PROGRAM);
        let running = self.start(without_settings(strace, words));
        self.finish(running);
    }

    /// strace's options for the fault.
    pub fn strace_options(&self) -> Vec<String> {
        let Case { combination, fault, call, n } = &self.case;
        let is_linked = combination.variant == Variant::Links;
        let trace = match fault {
            // On processors that lack an old call, strace ignores its name after the question mark.
            Fault::Count => CHANGING_CALLS.map(|call| format!("?{call}")).join(","),
            _ if is_linked => format!("{call},renameat2"),
            _ => call.clone(),
        };
        let inject = match fault {
            Fault::Count => None,
            Fault::Kill => Some(format!("inject={call}:signal=SIGKILL:when={n}")),
            Fault::Eio | Fault::Enospc => Some(format!("inject={call}:error={}:when={n}", fault.name())),
            Fault::EioFromOn => Some(format!("inject={call}:error=EIO:when={n}+")),
        };
        let also = is_linked.then(|| "inject=renameat2:error=EINVAL".to_owned());
        let options = [Some(format!("trace={trace}")), also, inject];
        options.into_iter().flatten().flat_map(|option| ["-e".to_owned(), option]).collect()
    }

    /// `run --once` with all options.
    pub fn once(&self) -> Vec<String> {
        [&["run".to_owned(), "--once".to_owned()], &self.site.options[..]].concat()
    }

    /// A subcommand on the journal.
    pub fn on_journal(&self, words: &[&str]) -> Vec<String> {
        [words, &["--state-path", self.site.state.to_str().unwrap()]].concat().iter().map(|&word| word.into()).collect()
    }

    /// True if the last run came to its end. Not every file comes in where some are malformed (exit code 6).
    pub fn is_through(&self) -> bool {
        self.status == 0 || self.status == 6 && self.case.combination.variant == Variant::Quarantine
    }

    pub fn manifests(&self) -> Vec<PathBuf> {
        let mut found = super::disk::paths_below(&self.site.manifests);
        found.retain(|path| path.file_name() == Some("manifest.jsonl".as_ref()));
        found
    }
}

fn without_settings<S: AsRef<str>>(mut command: Command, words: &[S]) -> Command {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CSV_INGESTOR_")) {
        command.env_remove(name);
    }
    command.args(words.iter().map(AsRef::as_ref));
    command
}

pub fn read(path: &Path) -> String {
    std::fs::read(path).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
}
