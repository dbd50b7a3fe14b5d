//! A case while it is tried: the runs in its directories, and the problems found.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::Value;

use super::case::{Case, Fault, Variant};
use super::ground::{Ground, Site, Templates};
use super::process::Running;

/// A step that takes longer counts as hung.
pub const STEP: Duration = Duration::from_secs(60);

/// System calls that change something durable or make it durable, in this program and in others; which of them it really
/// uses is counted. `open` is not in the list: for the next start, a file that was only created is the same as one that does
/// not exist, and the next call of that thread is in the list.
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

/// The program: the one of this build, or the one that the environment names.
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

    /// The log of all runs so far.
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

    /// The program with these arguments, without the caller's settings in the environment.
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

    /// Runs the program with these arguments to its end.
    pub fn run_plain<S: AsRef<str>>(&mut self, words: &[S]) {
        let running = self.start(self.program(words));
        self.finish(running);
    }

    /// The same under strace. The fault strikes when any thread makes its N-th call.
    pub fn run_traced<S: AsRef<str>>(&mut self, words: &[S]) {
        let mut strace = Command::new("strace");
        // With it, strace stops the program at the traced calls only; but then an injected signal does not arrive.
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
            // The question mark makes strace ignore a name that this processor does not have.
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

    /// Arguments of a subcommand that works on the journal.
    pub fn on_journal(&self, words: &[&str]) -> Vec<String> {
        [words, &["--state-path", self.site.state.to_str().unwrap()]].concat().iter().map(|&word| word.into()).collect()
    }

    /// True if the last run succeeded. Where a file is malformed, not every file is ingested (exit code 6).
    pub fn is_through(&self) -> bool {
        self.status == 0 || self.status == 6 && self.case.combination.variant.quarantines()
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
