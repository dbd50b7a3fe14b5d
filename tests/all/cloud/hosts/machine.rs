//! A host: the real program with a staging and a state directory of its own, and a way to the store of its own.

use std::path::PathBuf;
use std::process::{Child, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::plan::Plan;
use super::proxy::{Proxy, Rates};
use crate::harness::bare;

/// To start for the first time, and to end after SIGTERM.
const START_MAX: Duration = Duration::from_secs(120);

/// See the module. Its process ends with it.
pub struct Machine {
    pub name: String,
    pub proxy: Arc<Proxy>,
    dir: PathBuf,
    /// Arguments of its program.
    words: Vec<String>,
    child: Option<Child>,
    pub kills: u64,
}

impl Machine {
    /// Its directories, with nothing in them.
    pub fn new(plan: &Plan, number: usize) -> Machine {
        let name = format!("host-{number}");
        let dir = plan.dir.join(&name);
        std::fs::create_dir_all(dir.join("staging")).unwrap();
        let proxy = Arc::new(Proxy::of_host(&plan.gateways, plan.seed.wrapping_mul(31).wrapping_add(number as u64)));
        let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        let endpoint = format!("endpoint={}", plan.endpoint(proxy.port));
        let (warehouse, manifests) = (plan.warehouse.to_string(), plan.manifests.to_string());
        let (staging, state) = (path("staging"), path("state"));
        let words = [
            ("--input", staging.as_str()),
            ("--state-path", &state),
            ("--warehouse", &warehouse),
            ("--manifests", &manifests),
            ("--store-option", &endpoint),
            ("--duplicates", "remove"),
            ("--stability-seconds", "0"),
            ("--scan-interval", "200ms"),
        ];
        let words = words.iter().flat_map(|(option, value)| [(*option).to_owned(), (*value).to_owned()]).collect();
        Machine { name, proxy, dir, words, child: None, kills: 0 }
    }

    pub fn staging(&self) -> PathBuf {
        self.dir.join("staging")
    }

    /// Everything in staging, hidden names too.
    pub fn staged(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.staging()).unwrap();
        let mut names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    pub fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.dir.join("log")).unwrap();
        let words: Vec<&str> = std::iter::once("run").chain(self.words.iter().map(String::as_str)).collect();
        let child = bare(&words).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        assert!(self.child.replace(child).is_none(), "{} runs already", self.name);
    }

    /// With a journal that is new, the store is probed: an answer that is lost makes it begin again, so the weather has to
    /// be good.
    pub fn start_anew(&mut self) -> Result<(), String> {
        let started = |log: &str| log.matches("\"event\":\"started\"").count();
        let (before, until) = (started(&self.log()), Instant::now() + START_MAX);
        self.proxy.weather(Rates::CALM);
        self.start();
        while started(&self.log()) == before {
            self.check_alive()?;
            if Instant::now() > until {
                return Err(format!("{} does not start: {}", self.name, self.last_words()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.proxy.weather(Rates::STORM);
        Ok(())
    }

    fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// A host ends only if it is told to.
    pub fn check_alive(&mut self) -> Result<(), String> {
        match self.child.as_mut().map(|child| child.try_wait().unwrap()) {
            Some(Some(status)) => {
                self.child = None;
                Err(format!("{} has ended by itself, {status}: {}", self.name, self.last_words()))
            }
            _ => Ok(()),
        }
    }

    /// kill -9.
    pub fn kill(&mut self) -> Result<(), String> {
        self.check_alive()?;
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
            self.proxy.has_died();
            self.kills += 1;
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            kill_process(Pid::from_child(child), signal).unwrap();
        }
    }

    /// The process stands still for so long, in the middle of whatever it does.
    pub fn pause(&self, time: Duration) {
        self.signal(Signal::STOP);
        std::thread::sleep(time);
        self.signal(Signal::CONT);
    }

    /// SIGTERM; it must end with exit code 0.
    pub fn stop(&mut self) -> Result<(), String> {
        self.check_alive()?;
        self.signal(Signal::TERM);
        let until = Instant::now() + START_MAX;
        let Some(mut child) = self.child.take() else { return Ok(()) };
        loop {
            match child.try_wait().unwrap() {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("{} ends with {status}: {}", self.name, self.last_words())),
                None if Instant::now() > until => {
                    child.kill().unwrap();
                    child.wait().unwrap();
                    return Err(format!("{} does not end: {}", self.name, self.last_words()));
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// A host without a process loses its state directory.
    pub fn lose_state(&self) {
        assert!(self.child.is_none());
        let _ = std::fs::remove_dir_all(self.dir.join("state"));
    }

    /// A host without a process loses everything.
    pub fn lose_disk(&self) {
        self.lose_state();
        std::fs::remove_dir_all(self.staging()).unwrap();
    }

    /// `journal verify`.
    pub fn verify(&self) -> Output {
        bare(&["journal", "verify", "--state-path"]).arg(self.dir.join("state")).output().unwrap()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
