//! Dates in names of files.
//!
//! Invariant: what is accepted is a day of the calendar, and has one form: YYYY-MM-DD.

/// How a date is written: `%Y%m%d`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DateFormat {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Four digits.
    Year,
    /// Two digits.
    Month,
    /// Two digits.
    Day,
    /// This byte.
    Byte(u8),
}

impl DateFormat {
    /// Reads a format. An error has the offset of the byte at which it is wrong.
    pub(super) fn new(text: &str) -> Result<DateFormat, (usize, &'static str)> {
        let mut parts = Vec::new();
        let mut bytes = text.bytes().enumerate();
        while let Some((at, byte)) = bytes.next() {
            let part = match (byte, if byte == b'%' { bytes.next() } else { None }) {
                (b'%', Some((_, b'Y'))) => Part::Year,
                (b'%', Some((_, b'm'))) => Part::Month,
                (b'%', Some((_, b'd'))) => Part::Day,
                (b'%', Some((_, b'%'))) => Part::Byte(b'%'),
                (b'%', _) => return Err((at, "a date's format has %Y, %m and %d, and %% for a %")),
                (byte, _) => Part::Byte(byte),
            };
            if !matches!(part, Part::Byte(_)) && parts.contains(&part) {
                return Err((at, "a date's format has each of %Y, %m and %d once"));
            }
            parts.push(part);
        }
        match [Part::Year, Part::Month, Part::Day].iter().all(|part| parts.contains(part)) {
            true => Ok(DateFormat { text: text.to_owned(), parts }),
            false => Err((0, "a date's format has each of %Y, %m and %d once")),
        }
    }

    /// The format, as it was given.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// YYYY-MM-DD; None if this is no day of that form.
    pub(super) fn read(&self, value: &[u8]) -> Option<String> {
        let (mut year, mut month, mut day) = (0, 0, 0);
        let mut rest = value;
        for part in &self.parts {
            let (target, digits) = match part {
                Part::Year => (&mut year, 4),
                Part::Month => (&mut month, 2),
                Part::Day => (&mut day, 2),
                Part::Byte(byte) => {
                    rest = rest.strip_prefix(&[*byte])?;
                    continue;
                }
            };
            let (number, after) = rest.split_at_checked(digits)?;
            *target = number.iter().try_fold(0_u16, |sum, digit| match digit {
                b'0'..=b'9' => Some(sum * 10 + u16::from(digit - b'0')),
                _ => None,
            })?;
            rest = after;
        }
        let is_day = rest.is_empty() && year > 0 && day > 0 && day <= days_of(year, month);
        is_day.then(|| format!("{year:04}-{month:02}-{day:02}"))
    }
}

/// Days of a month in the Gregorian calendar; 0 if there is no such month.
fn days_of(year: u16, month: u16) -> u16 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: &str, value: &str) -> Option<String> {
        DateFormat::new(format).unwrap().read(value.as_bytes())
    }

    #[test]
    fn a_date_is_a_day_of_the_calendar() {
        for (format, value, expected) in [
            ("%Y%m%d", "20260228", Some("2026-02-28")),
            ("%Y%m%d", "20240229", Some("2024-02-29")),
            ("%Y%m%d", "20000229", Some("2000-02-29")),
            ("%d.%m.%Y", "01.12.0001", Some("0001-12-01")),
            ("%m/%d/%Y", "12/31/9999", Some("9999-12-31")),
            ("%%%Y-%m-%d", "%2026-01-02", Some("2026-01-02")),
            ("%Y%m%d", "20260229", None),
            ("%Y%m%d", "19000229", None),
            ("%Y%m%d", "20261301", None),
            ("%Y%m%d", "20260001", None),
            ("%Y%m%d", "20260431", None),
            ("%Y%m%d", "20260100", None),
            ("%Y%m%d", "00000101", None),
            ("%Y%m%d", "2026010", None),
            ("%Y%m%d", "202601011", None),
            ("%Y%m%d", "2026-1-1", None),
            ("%Y%m%d", "+2260101", None),
            ("%Y-%m-%d", "2026/01/01", None),
            ("%Y%m%d", "", None),
        ] {
            assert_eq!(read(format, value).as_deref(), expected, "{value} as {format}");
        }
    }

    #[test]
    fn a_format_has_each_part_once() {
        for (bad, at) in [("", 0), ("%Y%m", 0), ("%Y%m%d%Y", 6), ("%Y%m%e", 4), ("%Y-%m-%d%", 8), ("%y%m%d", 0)] {
            assert_eq!(DateFormat::new(bad).unwrap_err().0, at, "{bad}");
        }
    }
}
