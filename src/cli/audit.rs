//! `csv-ingestor audit`.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::file::FileArgs;
use super::findings::{FindingCounts, watched};
use super::lake_refused::must_be_dir;
use super::output::{json_line, print_lines};
use crate::Error;
use crate::audit::{self, Known, Plan, Sample, Summary};
use crate::fs::Fs as _;
use crate::fs::real::RealFs;
use crate::limits::{CONCURRENCY_MAX, GRACE, GRACE_MAX};
use crate::metrics::seconds;
use crate::types::UnixMillis;

/// Milliseconds in a day.
const DAY_MS: u64 = 24 * 3_600_000;

#[derive(Debug, Args)]
pub(super) struct AuditArgs {
    #[command(flatten)]
    _file: FileArgs,
    /// The journal's directory; without it, the journal is left out
    #[arg(long, value_name = "DIR", env = "CSV_INGESTOR_STATE_PATH")]
    state_path: Option<PathBuf>,
    /// The warehouse [default: the journal's]
    #[arg(long, value_name = "DIR", env = "CSV_INGESTOR_WAREHOUSE")]
    warehouse: Option<PathBuf>,
    /// The manifests [default: the journal's]
    #[arg(long, value_name = "DIR", env = "CSV_INGESTOR_MANIFESTS")]
    manifests: Option<PathBuf>,
    /// Only files ingested on that day (2026-01-31, UTC) or later, or that long ago (7d, 12h: from the beginning of
    /// that day)
    #[arg(long, value_name = "DATE|DURATION", value_parser = parse_since)]
    since: Option<UnixMillis>,
    /// Hash only N files, or a percentage, chosen at random. Names and sizes of all files are compared
    #[arg(long, value_name = "N|PERCENT%", value_parser = parse_sample)]
    sample: Option<Sample>,
    /// Choose the same files as an earlier audit, which printed this number
    #[arg(long, value_name = "N", requires = "sample")]
    seed: Option<u64>,
    /// How long other ingestors may take to list a file that has arrived; what is younger is looked at again
    #[arg(long, value_name = "DURATION", default_value_t = GRACE.into(), value_parser = parse_grace)]
    grace: humantime::Duration,
    /// Hashing threads [default: number of CPUs]
    #[arg(long, value_name = "N", value_parser = parse_concurrency, env = "CSV_INGESTOR_CONCURRENCY")]
    concurrency: Option<usize>,
    /// Print JSON Lines, also on a terminal
    #[arg(long)]
    json: bool,
}

/// Audits, and prints the findings.
pub(super) fn execute(arguments: AuditArgs) -> Result<(), Error> {
    let fs = RealFs::default();
    let started = Instant::now();
    let as_json = arguments.json || !io::stdout().is_terminal();
    let state = arguments.state_path.map(std::path::absolute).transpose()?;
    let known = match &state {
        Some(state) => {
            let absent = || Error::Usage(format!("--state-path {}: there is no journal", state.display()));
            Some(Known::read(&fs, state)?.ok_or_else(absent)?)
        }
        None => None,
    };
    let settings = known.as_ref().and_then(Known::settings);
    let given = |option: &str, path: Option<PathBuf>, known: Option<&PathBuf>| match (path, known) {
        (Some(path), _) => Ok(std::path::absolute(path)?),
        (None, Some(known)) => Ok(known.clone()),
        (None, None) if state.is_some() => {
            Err(Error::Usage(format!("the journal names no directories yet: give {option}")))
        }
        (None, None) => {
            Err(Error::Usage(format!("give --state-path, or both --warehouse and --manifests: {option} is missing")))
        }
    };
    let is_lake = arguments.warehouse.as_deref().or(settings.map(|settings| &*settings.warehouse));
    is_lake.map_or(Ok(()), |path| {
        must_be_dir(path, "csv-ingestor lake audit URL compares its entries, objects and lines")
    })?;
    let plan = Plan {
        warehouse: given("--warehouse", arguments.warehouse, settings.map(|settings| &settings.warehouse))?,
        manifests: given("--manifests", arguments.manifests, settings.map(|settings| &settings.manifests))?,
        state: state.clone(),
        since: arguments.since,
        sample: arguments.sample.unwrap_or(Sample::All),
        seed: arguments.seed.unwrap_or_else(|| random_seed(&fs)),
        compare_lines: true,
        grace: *arguments.grace,
        concurrency: concurrency(arguments.concurrency),
        relocations: known.as_ref().map(|known| known.relocations().clone()).unwrap_or_default(),
    };
    let (summary, counts) = watched(as_json, |watch| audit::run(&fs, &plan, watch, known))?;
    print_lines(match as_json {
        true => vec![json_summary(&plan, &summary, &counts, started.elapsed())],
        false => text_summary(&plan, &summary, &counts, started.elapsed()),
    })?;
    counts.verdict(&summary)
}

pub(super) fn random_seed(fs: &RealFs) -> u64 {
    let mut front = [0; 4];
    front.copy_from_slice(&fs.random()[..4]);
    // Short enough to type.
    u64::from(u32::from_le_bytes(front))
}

/// The given number of threads, or one per processor.
pub(super) fn concurrency(given: Option<usize>) -> usize {
    given.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).min(CONCURRENCY_MAX)
}

fn sample_text(sample: Sample) -> Option<String> {
    match sample {
        Sample::Count(count) => Some(count.to_string()),
        Sample::Percent(percent) => Some(format!("{percent}%")),
        Sample::All | Sample::Nothing => None,
    }
}

fn text_summary(plan: &Plan, summary: &Summary, counts: &FindingCounts, elapsed: Duration) -> Vec<String> {
    let Summary { lines, files, bytes, on_their_way, forgotten, of_others, undecided, .. } = *summary;
    let mut text = vec![format!("{lines} lines and {files} files; {bytes} bytes hashed, in {} s", seconds(elapsed))];
    if let Some(sample) = sample_text(plan.sample) {
        text.push(format!("the same sample again: --sample {sample} --seed {}", plan.seed));
    }
    if plan.state.is_none() {
        text.push(
            "the journal was left out: without --state-path, only warehouse and manifests are compared".to_owned(),
        );
    }
    for (count, what) in [
        (on_their_way, "files have no line yet: the running ingestor, or its next start, finishes them"),
        (forgotten, "lines are of contents that the journal was told to forget"),
        (of_others, "lines belong to other ingestors, and this journal does not know them"),
        (
            undecided,
            "rows of the journal or names in the warehouse may be listed in an unreadable manifest: not compared",
        ),
    ] {
        text.extend((count > 0).then(|| format!("{count} {what}")));
    }
    text.push(match summary.is_interrupted {
        true => format!("interrupted; so far {}", counts.text()),
        false => counts.text(),
    });
    text
}

fn json_summary(plan: &Plan, summary: &Summary, counts: &FindingCounts, elapsed: Duration) -> String {
    let sample = sample_text(plan.sample);
    let summary = json!({
        "verdict": counts.verdict_text(summary),
        "findings": counts.json(),
        "lines": summary.lines,
        "files": summary.files,
        "bytes_hashed": summary.bytes,
        "seconds": seconds(elapsed),
        "seed": sample.as_ref().map(|_| plan.seed),
        "sample": sample,
        "since": plan.since.map(UnixMillis::rfc3339),
        "with_journal": plan.state.is_some(),
        "on_their_way": summary.on_their_way,
        "forgotten": summary.forgotten,
        "of_others": summary.of_others,
        "undecided": summary.undecided,
    });
    json_line(json!({ "summary": summary }), &[])
}

/// Reads `--concurrency`.
pub(super) fn parse_concurrency(text: &str) -> Result<usize, String> {
    let threads = text.parse().ok().filter(|threads| (1..=CONCURRENCY_MAX).contains(threads));
    threads.ok_or_else(|| format!("must be between 1 and {CONCURRENCY_MAX}"))
}

/// Reads `--grace`.
pub(super) fn parse_grace(text: &str) -> Result<humantime::Duration, String> {
    let grace: humantime::Duration = text.parse().map_err(|error| format!("{error}; write 0s, 30s or 5m"))?;
    if *grace > GRACE_MAX {
        return Err(format!("must be at most {}", humantime::format_duration(GRACE_MAX)));
    }
    Ok(grace)
}

/// Reads `--since`: the beginning of a day.
pub(super) fn parse_since(text: &str) -> Result<UnixMillis, String> {
    let day = |time| UnixMillis(UnixMillis::from_system_time(time).0 / DAY_MS * DAY_MS);
    if let Ok(time) = humantime::parse_rfc3339(&format!("{text}T00:00:00Z")) {
        return Ok(day(time));
    }
    let ago = humantime::parse_duration(text);
    let ago = ago.map_err(|_| "must be a day, such as 2026-01-31, or a duration, such as 7d or 12h".to_owned())?;
    let now = UnixMillis::from_system_time(std::time::SystemTime::now()).minus(ago);
    Ok(UnixMillis(now.0 / DAY_MS * DAY_MS))
}

/// Reads `--sample`.
pub(super) fn parse_sample(text: &str) -> Result<Sample, String> {
    match text.strip_suffix('%') {
        Some(percent) => {
            let percent = percent.parse().ok().filter(|percent| *percent > 0.0 && *percent <= 100.0);
            percent.map(Sample::Percent).ok_or_else(|| "must be more than 0% and at most 100%".to_owned())
        }
        None => {
            let count = text.parse().ok().filter(|count| *count > 0);
            count.map(Sample::Count).ok_or_else(|| "must be a number of files, such as 1000, or 5%".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_the_beginning_of_a_day() {
        assert_eq!(parse_since("2026-01-31").unwrap().rfc3339(), "2026-01-31T00:00:00.000Z");
        assert!(parse_since("7d").unwrap().rfc3339().ends_with("T00:00:00.000Z"));
        assert_eq!(parse_since("10000years").unwrap(), UnixMillis(0));
        for bad in ["", "2026-02-30", "7", "yesterday", "2026-01-31T00:00:00Z"] {
            assert!(parse_since(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn samples_are_numbers_or_percents() {
        assert_eq!(parse_sample("7"), Ok(Sample::Count(7)));
        assert_eq!(parse_sample("0.5%"), Ok(Sample::Percent(0.5)));
        for bad in ["", "0", "-1", "1.5", "0%", "101%", "NaN%", "%"] {
            assert!(parse_sample(bad).is_err(), "{bad}");
        }
    }
}
