//! How far a consumer has come.
//!
//! Invariants:
//! - A cursor has a text, and the text gives the same cursor.
//! - Of a stream that a cursor does not name, nothing was passed on.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::journal::{from_hex, hex};
use crate::limits::FOLLOW_STREAMS_MAX;

/// Lines that are numbered together: those of one journal, or of one shard of a lake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream {
    /// The journal's UUID, or the lake's id.
    pub id: [u8; 16],
    /// The shard, in a lake.
    pub shard: Option<u16>,
}

impl Stream {
    /// The lines of a journal.
    pub fn of_journal(id: [u8; 16]) -> Stream {
        Stream { id, shard: None }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&hex(&self.id))?;
        self.shard.map_or(Ok(()), |shard| write!(out, ".{shard}"))
    }
}

impl FromStr for Stream {
    type Err = String;

    fn from_str(text: &str) -> Result<Stream, String> {
        let (id, shard) = text.split_once('.').map_or((text, None), |(id, shard)| (id, Some(shard)));
        let id = from_hex(id).ok_or_else(|| format!("{id:?} is not the id of a journal: 32 hex digits"))?;
        let shard = shard.map(|shard| number(shard).ok_or_else(|| format!("{shard:?} is no shard"))).transpose()?;
        Ok(Stream { id, shard })
    }
}

/// A number in its only spelling: a cursor has one text.
fn number<N: FromStr + fmt::Display>(text: &str) -> Option<N> {
    text.parse().ok().filter(|number: &N| number.to_string() == text)
}

/// The number of the last line of each stream that was passed on.
///
/// Its text is `STREAM:NUMBER`, one for each stream in their order, with commas between them. The text of one from which
/// nothing was passed on is `beginning`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    passed: BTreeMap<Stream, u64>,
}

impl Cursor {
    /// The number of the last line of a stream that was passed on; 0 if none was.
    pub fn passed(&self, stream: &Stream) -> u64 {
        self.passed.get(stream).copied().unwrap_or(0)
    }

    /// All lines of a stream up to this number were passed on, or are not wanted.
    pub fn pass(&mut self, stream: Stream, number: u64) {
        if number > 0 {
            self.passed.insert(stream, number);
        } else {
            self.passed.remove(&stream);
        }
    }

    /// The streams from which something was passed on, with the number of the last line.
    pub fn streams(&self) -> impl Iterator<Item = (&Stream, u64)> {
        self.passed.iter().map(|(stream, number)| (stream, *number))
    }

    /// Takes over what another cursor says about the streams that it names.
    pub fn merge(&mut self, other: &Cursor) {
        self.passed.extend(other.passed.iter().map(|(stream, number)| (*stream, *number)));
    }

    /// True if no stream of this one is behind that of the other.
    pub fn is_at_least(&self, other: &Cursor) -> bool {
        other.streams().all(|(stream, number)| self.passed(stream) >= number)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.passed.is_empty() {
            return out.write_str("beginning");
        }
        for (place, (stream, number)) in self.streams().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(out, "{comma}{stream}:{number}")?;
        }
        Ok(())
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Cursor, String> {
        let mut cursor = Cursor::default();
        if text == "beginning" {
            return Ok(cursor);
        }
        for one in text.split(',') {
            let (stream, passed) = one.split_once(':').ok_or_else(|| format!("{one:?} is not STREAM:NUMBER"))?;
            let passed = number(passed).filter(|passed| *passed > 0);
            let passed = passed.ok_or_else(|| format!("{one:?} does not end with a number from 1"))?;
            if cursor.passed.insert(stream.parse()?, passed).is_some() {
                return Err(format!("{stream} is there twice"));
            }
            if cursor.passed.len() > FOLLOW_STREAMS_MAX {
                return Err(format!("more than {FOLLOW_STREAMS_MAX} streams"));
            }
        }
        Ok(cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "00112233445566778899aabbccddeeff";
    const OTHER: &str = "ff112233445566778899aabbccddeeff";

    #[test]
    fn a_cursor_is_its_text() {
        let both = format!("{ONE}:7,{OTHER}:18446744073709551615");
        for text in ["beginning", &format!("{ONE}:1"), &both, &format!("{ONE}.0:3,{ONE}.11:4")] {
            let cursor: Cursor = text.parse().unwrap();
            assert_eq!(cursor.to_string(), text);
        }
        let mut cursor: Cursor = both.parse().unwrap();
        cursor.pass(Stream::of_journal([0xee; 16]), 3);
        cursor.merge(&format!("{ONE}:9").parse().unwrap());
        let named: Vec<u64> = cursor.streams().map(|(_, number)| number).collect();
        assert_eq!(named, [9, 3, u64::MAX]);
        assert!(cursor.is_at_least(&both.parse().unwrap()) && !both.parse::<Cursor>().unwrap().is_at_least(&cursor));
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let many = (0..=FOLLOW_STREAMS_MAX).map(|n| format!("{ONE}.{n}:1")).collect::<Vec<_>>().join(",");
        let twice = format!("{ONE}:1,{ONE}:2");
        let bad =
            ["", "1", ":", &format!("{ONE}:0"), &format!("{ONE}:01"), &format!("{ONE}:+1"), &format!("{ONE}.x:1")];
        for text in bad.into_iter().chain([&*many, &*twice, &*format!("{ONE}:1,")]) {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }
}
