//! The store's clock against this host's, as far as the `Date` of its answers shows it.
//!
//! Invariant: only the last answer counts; a clock may be set while the program runs.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

const UNKNOWN: i64 = i64::MIN;

/// See the module.
#[derive(Debug)]
pub(super) struct Skew(AtomicI64);

impl Default for Skew {
    fn default() -> Skew {
        Skew(AtomicI64::new(UNKNOWN))
    }
}

impl Skew {
    /// Reads the `Date` of an answer that has just arrived. It is exact to a second, and as old as the answer.
    pub(super) fn note(&self, date: &str) {
        let ours = SystemTime::now().duration_since(UNIX_EPOCH).ok();
        let ours = ours.and_then(|since| i64::try_from(since.as_secs()).ok());
        if let (Some(theirs), Some(ours)) = (seconds(date), ours) {
            self.0.store(theirs - ours, Ordering::Relaxed);
        }
    }

    /// Seconds by which the store's clock is ahead of this host's; None before the first answer.
    pub(super) fn seconds(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|seconds| *seconds != UNKNOWN)
    }
}

/// Seconds since 1970 of a date in HTTP's own form: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn seconds(date: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = date.split_once(", ")?.1.split(' ');
    let day: i64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = MONTHS.iter().zip(1..).find(|(name, _)| **name == month)?.1;
    let year: i64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<i64>().ok());
    let (hours, minutes, rest) = (clock.next()??, clock.next()??, clock.next()??);
    if words.next() != Some("GMT") || !(1..=31).contains(&day) || !(1970..=9999).contains(&year) {
        return None;
    }
    // Years begin in March here, so that a leap day is a year's last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 719_469;
    Some(((days * 24 + hours) * 60 + minutes) * 60 + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read() {
        for (date, expected) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Thu, 29 Feb 2024 23:59:59 GMT", Some(1_709_251_199)),
            ("Fri, 01 Mar 2024 00:00:00 GMT", Some(1_709_251_200)),
            ("Mon, 30 Nov 2026 04:00:00 GMT", Some(1_796_011_200)),
            ("Mon, 30 Nov 2026 04:00:00 CET", None),
            ("yesterday", None),
            ("Mon, 99 Nov 2026 04:00:00 GMT", None),
        ] {
            assert_eq!(seconds(date), expected, "{date}");
        }
    }

    #[test]
    fn the_last_answer_counts() {
        let skew = Skew::default();
        skew.note("nonsense");
        assert_eq!(skew.seconds(), None);
        skew.note("Thu, 01 Jan 1970 00:00:00 GMT");
        assert!(skew.seconds().unwrap() < -1_000_000_000);
        skew.note("Fri, 01 Jan 2100 00:00:00 GMT");
        assert!(skew.seconds().unwrap() > 1_000_000);
    }
}
