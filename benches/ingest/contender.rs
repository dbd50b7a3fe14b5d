//! Contenders that take turns at the same files.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::floor;
use crate::groups;
use crate::ours;
use crate::place::Place;
use crate::process::{Ended, Process};

const SQLITE_DESIGN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/ingest/sqlite_design.py");
const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/ingest/peers");
const PYTHON: &str = "python3";

/// One contender.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    Ours,
    /// The ingestor with validation.
    OursValidating,
    /// The ingestor with groups of twelve files.
    OursInGroups,
    /// The ingestor, with files in directories.
    OursRecursive,
    /// The least work that any program could do.
    Floor,
    /// The obvious design without an own journal.
    SqliteDesign,
    /// Another program, or a job as people write it: a script of `peers/`.
    Peer {
        script: &'static str,
        /// False if it loads the rows elsewhere.
        fills_warehouse: bool,
    },
}

impl Contender {
    /// Whether all files are in the warehouse, and have their lines, when it has ended.
    pub fn fills_warehouse(self) -> bool {
        !matches!(self, Contender::Peer { fills_warehouse: false, .. })
    }

    /// Ingests all staged files, from the start of the process to its end.
    pub fn run(self, place: &Place) -> Ended {
        match self {
            Contender::Ours => ours::run(&mut ours::once(place), place),
            Contender::OursValidating => ours::run(ours::once(place).args(["--validate", "csv"]), place),
            Contender::OursInGroups => {
                groups::make(&place.staging);
                ours::run(ours::once(place).args(["--mode", "group"]), place)
            }
            Contender::OursRecursive => ours::run(ours::once(place).arg("--recursive"), place),
            Contender::Floor => {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.args([floor::CHILD_FLAG, floor::CHILD]).arg(&place.staging).arg(place.warehouse());
                ours::run(command.arg(place.manifests().join("manifest.jsonl")), place)
            }
            Contender::SqliteDesign => {
                let mut command = Command::new(PYTHON);
                command.arg(SQLITE_DESIGN).arg(&place.staging).arg(place.warehouse()).arg(place.manifests());
                let mut process = Process::start(command.arg(database(place)).stdout(Stdio::piped())).unwrap();
                let said = std::io::read_to_string(process.stdout.take().unwrap()).unwrap();
                let ended = process.wait();
                assert_eq!(ended.code, Some(0), "{command:?}");
                // Without the start of Python.
                Ended { seconds: said.trim().parse().unwrap(), ..ended }
            }
            Contender::Peer { script, .. } => {
                let mut command = Command::new(Path::new(PEERS).join(script));
                command.arg(&place.staging).arg(place.warehouse()).arg(place.manifests()).arg(place.state());
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(place.log()).unwrap());
                ours::run(&mut command, place)
            }
        }
    }
}

fn database(place: &Place) -> PathBuf {
    place.state().join("files.db")
}
