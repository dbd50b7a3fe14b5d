//! Other programs that take files from a directory, and the jobs that people write instead: the same files in turn.
//!
//! Each is a script in `peers/`, which ends when all files are there. None is installed from here: one that is missing is
//! skipped, and its line says how to get it.

use std::process::Command;

use crate::contender::Contender;
use crate::disk::Scratch;
use crate::place::{Place, lacks};
use crate::rounds::{median, ratios};
use crate::scale::Scale;
use crate::table::{Line, Table, count, per_second};
use crate::throughput::{rates, spread};

/// Rounds of a full run: most of them take ten seconds or more for each.
const ROUNDS: usize = 3;

/// Another way to do the job.
struct Peer {
    name: &'static str,
    contender: Contender,
    /// The program that it needs, and a shell command that prints its version.
    program: &'static str,
    version: &'static str,
    /// How the program is installed.
    install: &'static str,
    /// What it does not do.
    lacks: &'static str,
}

const DEBIAN: &str = "apt-get install inoticoming inotify-tools rsync python3";

/// It has no option for it; the Python that it was installed with knows.
const FILEDGE_VERSION: &str =
    r#""$(dirname "$(command -v filedge)")/python" -c 'import importlib.metadata as it; print(it.version("filedge"))'"#;

const PEERS: [Peer; 5] = [
    Peer {
        name: "SQLite design",
        contender: Contender::SqliteDesign,
        program: "python3",
        version: "python3 --version",
        install: DEBIAN,
        lacks: "completeness, recovery",
    },
    Peer {
        name: "filedge",
        contender: Contender::Peer { script: "filedge", fills_warehouse: false },
        program: "filedge",
        version: FILEDGE_VERSION,
        install: "pip install filedge, in a venv whose bin is in PATH",
        lacks: "completeness; it loads rows, and leaves the files",
    },
    Peer {
        name: "inoticoming",
        contender: Contender::Peer { script: "inoticoming", fills_warehouse: true },
        program: "inoticoming",
        version: "inoticoming --version",
        install: DEBIAN,
        lacks: "sync, dedupe, recovery; completeness at its start",
    },
    Peer {
        name: "inotifywait and a loop",
        contender: Contender::Peer { script: "inotifywait", fills_warehouse: true },
        program: "inotifywait",
        version: "inotifywait --help",
        install: DEBIAN,
        lacks: "sync, dedupe, recovery; what comes while it is down",
    },
    Peer {
        name: "cron, rsync, sha256sum",
        contender: Contender::Peer { script: "cron", fills_warehouse: true },
        program: "rsync",
        version: "rsync --version",
        install: DEBIAN,
        lacks: "sync, dedupe, completeness, recovery",
    },
];

/// Compares with each of them; returns the ratio to the SQLite design.
pub fn measure(scale: &Scale, scratch: &Scratch, table: &mut Table) -> Option<f64> {
    let mut to_sqlite = None;
    for peer in &PEERS {
        let ratio = measure_one(peer, scale, scratch, table);
        if peer.contender == Contender::SqliteDesign {
            to_sqlite = ratio;
        }
    }
    to_sqlite
}

fn measure_one(peer: &Peer, scale: &Scale, scratch: &Scratch, table: &mut Table) -> Option<f64> {
    let set = scale.peers;
    let what = format!("{}: {} files of {} KiB", peer.name, count(set.count), set.bytes >> 10);
    let Some(version) = version(peer.version) else {
        let why = format!("there is no {}; {}", peer.program, peer.install);
        table.add(Line::skipped(what, &why));
        return None;
    };
    if let Some(why) = lacks(&scratch.path("."), 2 * set.disk_bytes()) {
        table.add(Line::skipped(what, &why));
        return None;
    }
    let places = ["ours", "peer"].map(|name| Place::within(scratch.path(name)));
    let contenders = [(Contender::Ours, set), (peer.contender, set)];
    let [ours, theirs] = rates(contenders, [&places[0], &places[1]], scale.rounds.min(ROUNDS));
    places.into_iter().for_each(Place::remove);
    let ratios = ratios(&ours, &theirs);
    let ratio = median(&ratios);
    let speed = per_second(median(&theirs));
    let other = format!("{speed} ({}); {version}; lacks {}", spread(&ratios), peer.lacks);
    table.add(Line::new(what, per_second(median(&ours))).other(other).ratio(ratio));
    Some(ratio)
}

/// The first number that a command prints; None if there is none, since the program is not installed.
fn version(command: &str) -> Option<String> {
    let output = Command::new("sh").args(["-c", command]).output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit())).map(str::to_owned)
}
