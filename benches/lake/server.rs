//! The object store that is measured: one that runs, or one that is started here and stopped at the end.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use csv_ingestor::store::Store;
use csv_ingestor::store::cloud::open_in;
use csv_ingestor::store::location::{Location, Options};

use crate::disk::Scratch;
use crate::interrupt::on_interrupt;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/object_store");
/// The exit code of the script if the server cannot be had here.
const UNAVAILABLE: i32 = 3;
/// The URL of an empty bucket.
const URL: &str = "CSV_INGESTOR_TEST_STORE";
const ENDPOINT: &str = "AWS_ENDPOINT_URL";
/// What S3's clients read.
const NAMES: [&str; 4] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", ENDPOINT];

/// How a store is reached.
#[derive(Clone)]
pub struct Reach {
    /// Names and values.
    environment: Vec<(String, String)>,
    /// The bucket's URL.
    pub url: String,
}

/// A store.
pub struct Server {
    /// For people.
    pub name: String,
    pub reach: Reach,
    /// Where its data are, if it was started here.
    dir: Option<PathBuf>,
}

impl Reach {
    /// The value of a variable, or nothing.
    pub fn get(&self, name: &str) -> Option<String> {
        self.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    /// Where the server listens.
    pub fn endpoint(&self) -> String {
        self.get(ENDPOINT).expect("AWS_ENDPOINT_URL is set")
    }

    /// The same store by way of another address.
    pub fn by_way_of(&self, endpoint: &str) -> Reach {
        let mut reach = self.clone();
        reach.environment.iter_mut().filter(|(name, _)| name == ENDPOINT).for_each(|(_, value)| {
            endpoint.clone_into(value);
        });
        reach
    }

    /// Gives a command this store.
    pub fn give<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.envs(self.environment.iter().map(|(name, value)| (name, value)))
    }

    /// The store below a URL, with the program's own client.
    pub fn open(&self, url: &str) -> impl Store + use<> {
        open_in(&Location::parse(url).unwrap(), &Options::default(), &|name: &str| self.get(name)).unwrap()
    }
}

impl Server {
    /// The store that the environment names.
    pub fn of_environment() -> Option<Server> {
        let url = std::env::var(URL).ok()?;
        let value = |name: &str| Some((name.to_owned(), std::env::var(name).ok()?));
        let environment = NAMES.into_iter().filter_map(value).collect();
        Some(Server { name: "the environment's store".to_owned(), reach: Reach { environment, url }, dir: None })
    }

    /// Starts one of this kind, with its data in the scratch directory; or says why it cannot be had.
    pub fn start(kind: &str, scratch: &Scratch) -> Result<Server, String> {
        let dir = scratch.path(&format!("store-{kind}"));
        let stopped = dir.clone();
        on_interrupt(move || stop(&stopped));
        let output = Command::new(SCRIPT).arg("start").arg(kind).arg(&dir).stdin(Stdio::null()).output().unwrap();
        if !output.status.success() {
            stop(&dir);
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().last().unwrap_or("it says nothing").to_owned();
            assert_eq!(output.status.code(), Some(UNAVAILABLE), "{SCRIPT} start {kind}: {said}");
            return Err(said);
        }
        let said = String::from_utf8(output.stdout).unwrap();
        let words = said.lines().filter_map(|line| line.strip_prefix("export ")).flat_map(|line| line.split(' '));
        let pairs = words.filter_map(|word| word.split_once('='));
        let environment: Vec<_> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let url = environment.iter().find(|(name, _)| name == URL).unwrap().1.clone();
        Ok(Server { name: kind.to_owned(), reach: Reach { environment, url }, dir: Some(dir) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(dir) = &self.dir {
            stop(dir);
        }
    }
}

fn stop(dir: &Path) {
    let _ = Command::new(SCRIPT).arg("stop").arg(dir).stdout(Stdio::null()).stderr(Stdio::null()).status();
}
