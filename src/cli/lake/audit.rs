//! `csv-ingestor lake audit`.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::place::{LakeArgs, Opened};
use crate::Error;
use crate::audit::Sample;
use crate::audit::lake::{LakeSummary, Plan, run};
use crate::cli::audit::{parse_grace, parse_sample, parse_since, random_seed};
use crate::cli::findings::{FindingCounts, watched};
use crate::cli::output::{json_line, print_lines};
use crate::fs::Fs as _;
use crate::fs::real::RealFs;
use crate::limits::LAKE_GRACE;
use crate::metrics::seconds;
use crate::types::UnixMillis;

#[derive(Debug, Args)]
pub(in crate::cli) struct AuditArgs {
    #[command(flatten)]
    lake: LakeArgs,
    /// Only objects of contents ingested on that day (2026-01-31, UTC) or later, or that long ago (7d, 12h: from the
    /// beginning of that day)
    #[arg(long, value_name = "DATE|DURATION", value_parser = parse_since)]
    since: Option<UnixMillis>,
    /// Also read and hash N data objects, or a percentage, chosen at random; without it, sizes and checksums are compared
    /// as the store reports them
    #[arg(long, value_name = "N|PERCENT%", value_parser = parse_sample)]
    sample: Option<Sample>,
    /// Choose the same objects as an earlier audit, which printed this number
    #[arg(long, value_name = "N", requires = "sample")]
    seed: Option<u64>,
    /// How long hosts may take to finish an entry; what is older and not finished is a finding
    #[arg(long, value_name = "DURATION", default_value_t = LAKE_GRACE.into(), value_parser = parse_grace)]
    grace: humantime::Duration,
    /// Print JSON Lines, also on a terminal
    #[arg(long)]
    json: bool,
}

/// Audits, and prints the findings.
pub(super) fn execute(arguments: &AuditArgs) -> Result<(), Error> {
    let (fs, started) = (RealFs::default(), Instant::now());
    let as_json = arguments.json || !io::stdout().is_terminal();
    let place = &arguments.lake.store;
    let Opened { stores, description, manifests } = arguments.lake.open()?;
    let plan = Plan {
        lake: &description.lake,
        stores: &stores,
        places: [&place.url, &manifests],
        since: arguments.since,
        sample: arguments.sample.unwrap_or(Sample::Nothing),
        seed: arguments.seed.unwrap_or_else(|| random_seed(&fs)),
        now: fs.now(),
        grace: *arguments.grace,
    };
    let (summary, counts) = watched(as_json, |watch| run(&plan, watch).map_err(|error| place.failed(error)))?;
    print_lines(match as_json {
        true => vec![json_summary(&plan, &summary, &counts, started.elapsed())],
        false => text_summary(&plan, &summary, &counts, started.elapsed()),
    })?;
    counts.verdict(&summary.all)
}

fn text_summary(plan: &Plan<'_>, summary: &LakeSummary, counts: &FindingCounts, elapsed: Duration) -> Vec<String> {
    let LakeSummary { all, entries, skipped } = summary;
    let mut text = vec![format!(
        "{entries} entries, {} lines and {} data objects; {} bytes hashed, in {} s",
        all.lines,
        all.files,
        all.bytes,
        seconds(elapsed)
    )];
    if plan.sample != Sample::Nothing {
        text.push(format!("the same sample again: --seed {}", plan.seed));
    }
    for (count, what) in [
        (*skipped, "entries were skipped by an operator"),
        (all.on_their_way, "contents are on their way: a host finishes their entries"),
        (all.undecided, "objects may belong to entries that cannot be read: not reported"),
    ] {
        text.extend((count > 0).then(|| format!("{count} {what}")));
    }
    text.push(match all.is_interrupted {
        true => format!("interrupted; so far {}", counts.text()),
        false => counts.text(),
    });
    text
}

fn json_summary(plan: &Plan<'_>, summary: &LakeSummary, counts: &FindingCounts, elapsed: Duration) -> String {
    let LakeSummary { all, entries, skipped } = summary;
    let summary = json!({
        "verdict": counts.verdict_text(all),
        "findings": counts.json(),
        "entries": entries,
        "lines": all.lines,
        "files": all.files,
        "bytes_hashed": all.bytes,
        "seconds": seconds(elapsed),
        "seed": (plan.sample != Sample::Nothing).then_some(plan.seed),
        "since": plan.since.map(UnixMillis::rfc3339),
        "skipped": skipped,
        "on_their_way": all.on_their_way,
        "undecided": all.undecided,
    });
    json_line(json!({ "summary": summary }), &[])
}
