//! `csv-ingestor journal rebuild`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Map, Value, json};

use super::audit::{concurrency, parse_concurrency, parse_grace};
use super::findings::{FindingCounts, watched};
use super::lake_refused::must_be_dir;
use super::output::{json_line, print_lines};
use crate::audit::{Plan, Sample};
use crate::fs::real::RealFs;
use crate::journal::relocations::Relocations;
use crate::limits::GRACE;
use crate::log::path_text;
use crate::metrics::seconds;
use crate::pipeline::manifest::json_path;
use crate::rebuild::Rebuilt;
use crate::{Error, rebuild};

#[derive(Debug, Args)]
pub(super) struct RebuildArgs {
    /// The directory of the journal that was lost; created if missing
    #[arg(long, value_name = "DIR", env = "CSV_INGESTOR_STATE_PATH")]
    state_path: PathBuf,
    /// The manifests whose lines are to be remembered
    #[arg(long, value_name = "DIR", env = "CSV_INGESTOR_MANIFESTS")]
    manifests: PathBuf,
    /// The warehouse; files there that no line lists are reported
    #[arg(long, value_name = "DIR", env = "CSV_INGESTOR_WAREHOUSE")]
    warehouse: PathBuf,
    /// Then hash every listed file, and report missing or altered ones. Their contents are remembered all the same
    #[arg(long)]
    verify: bool,
    /// How long other ingestors may take to list a file that has arrived; what is younger is looked at again
    #[arg(long, value_name = "DURATION", default_value_t = GRACE.into(), value_parser = parse_grace)]
    grace: humantime::Duration,
    /// Hashing threads [default: number of CPUs]
    #[arg(long, value_name = "N", value_parser = parse_concurrency, env = "CSV_INGESTOR_CONCURRENCY")]
    concurrency: Option<usize>,
    /// Print JSON Lines: one line per finding, and the summary last
    #[arg(long)]
    json: bool,
}

/// Makes a journal from the manifests.
pub(super) fn execute(arguments: RebuildArgs) -> Result<(), Error> {
    let fs = RealFs::default();
    let state = std::path::absolute(arguments.state_path)?;
    must_be_dir(
        &arguments.warehouse,
        "a host whose state directory is lost starts with an empty one, and reads the lake",
    )?;
    let plan = Plan {
        state: None,
        warehouse: std::path::absolute(arguments.warehouse)?,
        manifests: std::path::absolute(arguments.manifests)?,
        since: None,
        sample: if arguments.verify { Sample::All } else { Sample::Nothing },
        seed: 0,
        compare_lines: false,
        grace: *arguments.grace,
        concurrency: concurrency(arguments.concurrency),
        relocations: Relocations::default(),
    };
    let started = Instant::now();
    let (rebuilt, counts) = watched(arguments.json, |watch| rebuild::run(&fs, &state, &plan, watch))?;
    print_lines(match arguments.json {
        true => vec![json_summary(&state, arguments.verify, &rebuilt, &counts, started.elapsed())],
        false => text_summary(arguments.verify, &rebuilt, &counts),
    })?;
    counts.verdict(&rebuilt.summary)
}

fn text_summary(verify: bool, rebuilt: &Rebuilt, counts: &FindingCounts) -> Vec<String> {
    let mut lines = vec![format!("{} lines: {} contents are remembered", rebuilt.summary.lines, rebuilt.contents)];
    for (count, what) in [
        (rebuilt.older, "lines are older ones of a content that a newer line lists: the newest counts"),
        (
            rebuilt.renumbered,
            "contents got a new ingest id: another line has the same one, as when several ingestors share manifests",
        ),
    ] {
        lines.extend((count > 0).then(|| format!("{count} {what}")));
    }
    lines.push(format!("wrote {}; the journal continues at LSN {}", path_text(&rebuilt.snapshot), rebuilt.lsn.plus(1)));
    if verify {
        lines.push(format!("{} files checked, {} bytes hashed", rebuilt.summary.files, rebuilt.summary.bytes));
    }
    lines.push(match rebuilt.summary.is_interrupted {
        true => format!("interrupted, but the journal is complete; so far {}", counts.text()),
        false => counts.text(),
    });
    lines
}

/// Uses the keys of an audit's summary where both have the same values.
fn json_summary(state: &Path, verify: bool, rebuilt: &Rebuilt, counts: &FindingCounts, elapsed: Duration) -> String {
    let summary = &rebuilt.summary;
    let mut keys = Map::new();
    let mut put = |key: &str, value: Value| keys.insert(key.to_owned(), value);
    put("verdict", json!(counts.verdict_text(summary)));
    put("findings", counts.json());
    put("lines", json!(summary.lines));
    put("contents", json!(rebuilt.contents));
    put("older_lines", json!(rebuilt.older));
    put("renumbered", json!(rebuilt.renumbered));
    for (key, path) in [("state_path", state), ("snapshot", &rebuilt.snapshot)] {
        let (text, exact) = json_path(path);
        put(key, json!(text));
        if let Some(exact) = exact {
            put(&format!("{key}_base64"), json!(exact));
        }
    }
    put("next_lsn", json!(rebuilt.lsn.plus(1).0));
    put("verified", json!(verify));
    put("files", json!(summary.files));
    put("bytes_hashed", json!(summary.bytes));
    put("seconds", json!(seconds(elapsed)));
    json_line(json!({ "summary": keys }), &[])
}
