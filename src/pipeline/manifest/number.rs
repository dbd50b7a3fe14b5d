//! The number of a line.
//!
//! Invariant: the text decides, not where it is; a line that holds a zero byte, or is no JSON object for another reason, has no
//! number.

use std::borrow::Cow;

use memchr::memmem;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::journal::from_hex;

const JOURNAL_KEY: &[u8] = b",\"journal\":\"";
const SEQ_KEY: &[u8] = b"\",\"seq\":";
/// Hex digits of a journal's id.
const JOURNAL_DIGITS: usize = 32;

#[derive(Deserialize)]
struct Numbered<'a> {
    #[serde(borrow)]
    journal: Cow<'a, str>,
    seq: u64,
}

/// The journal of a manifest line, and the line's number there. None for a line of an older version, and for what is no line.
pub fn number_of(line: &[u8]) -> Option<([u8; 16], u64)> {
    if line.first() != Some(&b'{') || memchr::memchr(0, line).is_some() {
        return None;
    }
    // As the ingestor writes it. Within a string, a quotation mark has a backslash before it, so these are keys.
    let journal = memmem::find(line, JOURNAL_KEY).map(|at| at + JOURNAL_KEY.len());
    let written = journal.and_then(|begin| {
        let rest = line.get(begin + JOURNAL_DIGITS..)?.strip_prefix(SEQ_KEY)?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let journal = std::str::from_utf8(&line[begin..begin + JOURNAL_DIGITS]).ok().and_then(from_hex)?;
        Some((journal, std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?))
    });
    let any_spelling = || {
        let numbered: Numbered<'_> = serde_json::from_slice(line).ok()?;
        Some((from_hex(&numbered.journal)?, numbered.seq))
    };
    // Another program may have written behind what a killed ingestor has left of a line.
    let is_whole = || serde_json::from_slice::<IgnoredAny>(line).is_ok();
    written.filter(|_| is_whole()).or_else(any_spelling).filter(|(_, seq)| *seq > 0 && line.ends_with(b"}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOURNAL: &str = "00112233445566778899aabbccddeeff";

    #[test]
    fn a_line_says_its_number_in_any_spelling() {
        let id = from_hex(JOURNAL).unwrap();
        for line in [
            format!(r#"{{"path":"/a","ingest_id":1,"journal":"{JOURNAL}","seq":17,"ingested_at":"x"}}"#),
            format!(r#"{{"path":"/,\"journal\":\"{JOURNAL}\",\"seq\":9","journal":"{JOURNAL}","seq":17}}"#),
            format!(r#"{{ "seq": 17, "journal": "{JOURNAL}", "path": "/a" }}"#),
            format!(r#"{{"seq":17,"path":"/a","journal":"{JOURNAL}"}}"#),
        ] {
            assert_eq!(number_of(line.as_bytes()), Some((id, 17)), "{line}");
        }
        for line in [
            format!(r#"{{"journal":"{JOURNAL}","ingest_id":1}}"#),
            format!(r#"{{"path":"/,\"journal\":\"{JOURNAL}\",\"seq\":9"}}"#),
            format!("{{\"path\":\"\0\",\"journal\":\"{JOURNAL}\",\"seq\":17}}"),
            format!(r#"{{"path":"/a","journal":"{JOURNAL}","seq":1"#),
            format!(r#"{{"path":"/a","journal":"{JOURNAL}","seq":17,"inge{{"another":"program"}}"#),
            format!(r#"{{"path":"/a","journal":"{JOURNAL}","seq":0}}"#),
            format!(r#"{{"path":"/a","journal":"{JOURNAL}","seq":-1}}"#),
            String::new(),
        ] {
            assert_eq!(number_of(line.as_bytes()), None, "{line}");
        }
    }
}
