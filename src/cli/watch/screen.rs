//! The lines that `status --watch` shows.
//!
//! Invariant: no line is wider than the terminal, and there are no more lines than it has; characters that control a
//! terminal are escaped.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::log::{escaped_line, path_text};
use crate::metrics::units::{bytes_text, lasting_text};

/// Files that wait and are asked for, at most.
pub(super) const WAITING_ROWS_MAX: usize = 200;
/// Lines of the part above the lists.
const HEAD_LINES: usize = 8;

/// What is shown.
#[derive(Default)]
pub(super) struct Picture {
    /// None: no ingestor answers.
    pub(super) status: Option<Value>,
    /// None: it does not answer this at this moment.
    pub(super) waiting: Option<Value>,
    /// As above.
    pub(super) recent: Option<Value>,
}

/// The lines. `silent` is the time since the last answer, if there was one.
pub(super) fn screen(
    picture: &Picture,
    state_path: &Path,
    silent: Option<Duration>,
    (columns, rows): (usize, usize),
) -> Vec<String> {
    let mut lines = match &picture.status {
        Some(status) => head(status, columns),
        None => silence(state_path, silent),
    };
    if let Some(status) = &picture.status {
        lists(picture, status, rows.saturating_sub(HEAD_LINES), &mut lines);
    }
    lines.truncate(rows);
    lines.iter().map(|line| cut(line, columns)).collect()
}

fn silence(state_path: &Path, silent: Option<Duration>) -> Vec<String> {
    let since = silent.map_or(String::new(), |time| format!(" for {}", lasting_text(time.as_secs())));
    vec![
        format!(
            "No ingestor answers{since}: it does not run, has an earlier version, or the path of its socket is too long."
        ),
        format!("State directory: {}", path_text(state_path)),
        "csv-ingestor status shows what its journal says. Ctrl-C ends this.".to_owned(),
    ]
}

fn head(status: &Value, columns: usize) -> Vec<String> {
    let text = |key: &str| escaped_line(status[key].as_str().unwrap_or("-"));
    let count = |key: &str| status[key].as_u64().unwrap_or(0);
    let sum = |key: &str| status[key].as_object().map_or(0, |all| all.values().filter_map(Value::as_u64).sum::<u64>());
    let stage = |key: &str| status["stages"][key].as_u64().unwrap_or(0);
    let since = lasting_text(status["uptime_seconds"].as_f64().unwrap_or(0.0) as u64);
    let (in_work, oldest) = (stage("hashing") + stage("committing"), &status["oldest_waiting_seconds"]);
    let oldest =
        oldest.as_f64().map_or(String::new(), |time| format!(", the oldest for {}", lasting_text(time as u64)));
    let minutes: Vec<u64> =
        status["minutes"].as_array().into_iter().flatten().filter_map(|it| it["files"].as_u64()).collect();
    let disks = status["disks"].as_array().into_iter().flatten().map(|disk| {
        let places = disk["places"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let places = places.map(|place| place.replace('_', "-")).collect::<Vec<_>>().join(", ");
        format!("{} free for {places}", bytes_text(disk["free_bytes"].as_u64().unwrap_or(0)))
    });
    let journal = bytes_text(status["journal"]["bytes"].as_u64().unwrap_or(0));
    let mut lines = vec![
        format!("csv-ingestor {} on {}, process {}, up {since}", text("version"), text("host"), count("pid")),
        doing(status),
        format!(
            "Staging:  {} not complete, {} held, {} ready, {in_work} in work{oldest}",
            stage("waiting"),
            stage("held"),
            stage("ready")
        ),
        format!(
            "Totals:   {} ingested ({}), {} duplicates, {} failures, {} quarantined",
            count("files"),
            bytes_text(count("bytes")),
            sum("duplicates"),
            sum("failures"),
            sum("quarantined")
        ),
        format!("Hour:     {} files  {}", minutes.iter().sum::<u64>(), bars(&minutes, columns.saturating_sub(30))),
        format!("Disk:     journal {journal}; {}", disks.collect::<Vec<_>>().join("; ")),
    ];
    let consumers = status["consumers"].as_array().into_iter().flatten();
    lines.extend(consumers.map(|consumer| {
        let name = escaped_line(consumer["name"].as_str().unwrap_or("-"));
        let behind = consumer["lag_lines"].as_u64().map_or("not known".to_owned(), |lines| format!("{lines} lines"));
        format!("Consumer: {name}, lag {behind}")
    }));
    lines
}

/// What it is doing.
fn doing(status: &Value) -> String {
    let text = |key: &str| status[key].as_str().map(escaped_line);
    if let Some(stalled) = text("stalled") {
        return format!("STALLED: {stalled}");
    }
    match text("not_ready") {
        Some(why) => why,
        None => "running".to_owned(),
    }
}

/// The last minutes as bars, one character each.
fn bars(minutes: &[u64], columns: usize) -> String {
    const BARS: [char; 9] = ['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = &minutes[minutes.len().saturating_sub(columns)..];
    let most = shown.iter().copied().max().unwrap_or(0).max(1);
    // From 1 for a minute with any file.
    shown.iter().map(|files| BARS[files.saturating_mul(8).div_ceil(most).min(8) as usize]).collect()
}

/// What waits gets half of the room, if there is more to show; the others share the rest.
fn lists(picture: &Picture, status: &Value, room: usize, lines: &mut Vec<String>) {
    let input = status["input"].as_str().unwrap_or("");
    let waiting = rows(&picture.waiting, "files", |file| {
        let time = lasting_text(file["waiting_seconds"].as_u64().unwrap_or(0));
        format!("{time:>12}  {}: {}", name(file, input), sentence(file))
    });
    let recent = |key: &str, told: &dyn Fn(&Value) -> String| {
        rows(&picture.recent, key, |event| {
            let at = event["at"].as_str().and_then(|at| at.get(11..19)).unwrap_or("");
            format!("{at:>11}Z  {}: {}", name(event, input), told(event))
        })
    };
    let error = |event: &Value| escaped_line(event["error"].as_str().unwrap_or(""));
    let lists = [
        ("Failures", recent("failures", &error)),
        ("Quarantined", recent("quarantined", &error)),
        ("Duplicates", recent("duplicates", &|event| event["action"].as_str().unwrap_or("").to_owned())),
        ("Ingested", recent("ingested", &|event| bytes_text(event["bytes"].as_u64().unwrap_or(0)))),
    ];
    let known = picture.waiting.as_ref().and_then(|waiting| waiting["known"].as_u64());
    let title = match known {
        Some(known) => format!("What waits ({known}), oldest first"),
        None => "What waits: the ingestor does not say at this moment".to_owned(),
    };
    let full: Vec<_> = lists.into_iter().filter(|(_, rows)| !rows.is_empty()).collect();
    let for_waiting = if full.is_empty() { room } else { room / 2 };
    section(&title, &waiting, for_waiting, lines);
    let each = (room - for_waiting.min(waiting.len() + 2)) / full.len().max(1);
    full.iter().for_each(|(title, rows)| section(title, rows, each, lines));
}

fn section(title: &str, rows: &[String], room: usize, lines: &mut Vec<String>) {
    lines.extend([String::new(), title.to_owned()]);
    lines.extend(rows.iter().take(room.saturating_sub(2)).cloned());
}

fn rows(answer: &Option<Value>, key: &str, told: impl Fn(&Value) -> String) -> Vec<String> {
    answer.as_ref().and_then(|answer| answer[key].as_array()).into_iter().flatten().map(told).collect()
}

/// The path below the staging directory.
fn name(file: &Value, input: &str) -> String {
    let path = file["path"].as_str().unwrap_or("");
    let below = path.strip_prefix(input).and_then(|below| below.strip_prefix('/')).unwrap_or(path);
    path_text(Path::new(below))
}

fn sentence(file: &Value) -> String {
    let text = |key: &str| escaped_line(file[key].as_str().unwrap_or(""));
    match file["error"].as_str() {
        Some(_) => format!("{} ({})", text("summary"), text("error")),
        None => text("summary"),
    }
}

/// As much as fits, with `…` at the end if something was cut off.
fn cut(line: &str, columns: usize) -> String {
    if line.chars().map(width).sum::<usize>() <= columns {
        return line.to_owned();
    }
    let (mut cut, mut used) = (String::new(), 1);
    for character in line.chars() {
        used += width(character);
        if used > columns {
            break;
        }
        cut.push(character);
    }
    if columns > 0 {
        cut.push('…');
    }
    cut
}

/// The columns of a character: wide ones of East Asia and emoji have two, marks that join the one before have none. This
/// follows the blocks of Unicode; a rare character may be counted as wider than it is.
fn width(character: char) -> usize {
    match u32::from(character) {
        0x300..=0x36f | 0x200b..=0x200d | 0xfe00..=0xfe0f | 0xfeff => 0,
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f => 2,
        0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn picture() -> Picture {
        let file = |number: usize| {
            json!({ "path": format!("/in/\u{1b}[2J{number}名前{}", "x".repeat(200)), "summary": "not stable yet",
                    "status": "WAITING", "waiting_seconds": 75 })
        };
        let failed = |number: usize| json!({ "at": "2026-01-31T10:20:30.000Z", "path": format!("/in/f{number}"), "error": "no\u{202e}room" });
        Picture {
            status: Some(json!({
                "version": "1", "host": "h", "pid": 7, "uptime_seconds": 61.5, "not_ready": null, "input": "/in",
                "stages": { "waiting": 3, "held": 0, "ready": 1, "hashing": 2, "committing": 0 },
                "files": 5, "bytes": 1500, "duplicates": { "keep": 2 }, "failures": {}, "quarantined": {},
                "minutes": [{ "files": 0 }, { "files": 1 }, { "files": 800 }],
                "consumers": [{ "name": "warehouse", "lag_lines": 12 }, { "name": "x", "lag_lines": null }],
                "disks": [{ "places": ["input", "state_path"], "free_bytes": 5_000_000 }], "journal": { "bytes": 10 },
            })),
            waiting: Some(json!({ "files": (0..60).map(file).collect::<Vec<_>>(), "known": 1234 })),
            recent: Some(json!({ "failures": (0..60).map(failed).collect::<Vec<_>>(), "ingested": [] })),
        }
    }

    #[test]
    fn every_size_is_filled_and_never_exceeded() {
        for (columns, rows) in [(0, 0), (1, 1), (20, 5), (80, 24), (133, 50), (1000, 500)] {
            let lines = screen(&picture(), Path::new("/state"), None, (columns, rows));
            assert!(lines.len() <= rows, "{} lines in {rows}", lines.len());
            for line in &lines {
                assert!(line.chars().map(width).sum::<usize>() <= columns, "{columns}: {line}");
                assert!(!line.chars().any(crate::log::is_dangerous), "{line:?}");
            }
        }
        let text = screen(&picture(), Path::new("/state"), None, (100, 40)).join("\n");
        for part in [
            "up 1 min 01 s",
            "3 not complete, 0 held, 1 ready, 2 in work",
            "5 ingested (1.5 kB), 2 duplicates",
            "801 files  ·▁█",
            "journal 10 B; 5.0 MB free for input, state-path",
            "What waits (1234), oldest first",
            "Consumer: warehouse, lag 12 lines",
            "Consumer: x, lag not known",
            "1 min 15 s  \"\\u001b[2J0名前",
            "10:20:30Z  f0: \"no\\u202eroom\"",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn silence_is_said() {
        let none = Picture::default();
        let text = screen(&none, Path::new("/state"), Some(Duration::from_secs(5)), (100, 40)).join("\n");
        assert!(text.contains("No ingestor answers for 5 s") && text.contains("/state"), "{text}");
    }
}
