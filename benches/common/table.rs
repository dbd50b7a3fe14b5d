//! The table of all results.

use std::fmt;

/// Whether a number reaches its target.
enum Verdict {
    Ok,
    Short,
    /// There is no target.
    Information,
    Skipped,
}

/// One line of the table.
pub struct Line {
    what: String,
    ours: String,
    other: String,
    ratio: String,
    target: String,
    verdict: Verdict,
}

impl Line {
    /// A measurement, and our result.
    pub fn new(what: impl Into<String>, ours: impl Into<String>) -> Line {
        let (other, ratio, target) = (String::new(), String::new(), String::new());
        Line { what: what.into(), ours: ours.into(), other, ratio, target, verdict: Verdict::Information }
    }

    /// A measurement that cannot be made here.
    pub fn skipped(what: impl Into<String>, why: &str) -> Line {
        Line { verdict: Verdict::Skipped, ..Line::new(what, format!("SKIPPED: {why}")) }
    }

    /// The other contender's result.
    pub fn other(self, other: impl Into<String>) -> Line {
        Line { other: other.into(), ..self }
    }

    /// Our result divided by the other's.
    pub fn ratio(self, ratio: f64) -> Line {
        Line { ratio: format!("{ratio:.2}x"), ..self }
    }

    /// The target, and whether it was reached.
    pub fn target(self, target: impl Into<String>, is_reached: bool) -> Line {
        Line { target: target.into(), verdict: if is_reached { Verdict::Ok } else { Verdict::Short }, ..self }
    }

    fn cells(&self) -> [&str; 6] {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Short => "short",
            Verdict::Information => "",
            Verdict::Skipped => "skipped",
        };
        [&self.what, &self.ours, &self.other, &self.ratio, &self.target, verdict]
    }
}

const HEADINGS: [&str; 6] = ["what", "ours", "other", "ratio", "target", ""];

/// All lines.
pub struct Table {
    place: String,
    is_full: bool,
    lines: Vec<Line>,
}

impl Table {
    /// An empty table; `place` describes where it was measured, `is_full` is true if the numbers are meaningful.
    pub fn new(place: String, is_full: bool) -> Table {
        Table { place, is_full, lines: Vec::new() }
    }

    /// Adds a line.
    pub fn add(&mut self, line: Line) {
        progress(&format!("{}: {} {} {}", line.what, line.ours, line.other, line.ratio));
        self.lines.push(line);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}", self.place)?;
        if !self.is_full {
            writeln!(f, "A quick run: it shows that everything works, and its verdicts mean nothing.")?;
        }
        let cells = || std::iter::once(HEADINGS).chain(self.lines.iter().map(Line::cells));
        let width = |column: usize| cells().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 6] = std::array::from_fn(width);
        writeln!(f)?;
        for (index, row) in cells().enumerate() {
            for (cell, width) in row.iter().zip(widths) {
                write!(f, "| {cell:width$} ")?;
            }
            writeln!(f, "|")?;
            if index == 0 {
                widths.iter().try_for_each(|width| write!(f, "|{:-<1$}", "", width + 2))?;
                writeln!(f, "|")?;
            }
        }
        let count = |wanted: fn(&Verdict) -> bool| self.lines.iter().filter(|line| wanted(&line.verdict)).count();
        let (ok, short) = (count(|it| matches!(it, Verdict::Ok)), count(|it| matches!(it, Verdict::Short)));
        writeln!(f, "\n{ok} of {} targets reached", ok + short)
    }
}

/// Reports the progress.
pub fn progress(text: &str) {
    eprintln!("  {}", text.trim_end());
}

/// 1234567 as 1,234,567.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate per second.
pub fn per_second(rate: f64) -> String {
    format!("{}/s", count(rate.round() as u64))
}

/// Bytes as MiB.
pub fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
