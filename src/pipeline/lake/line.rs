//! Which file a line of an entry is about.
//!
//! Invariant: a line belongs to this journal's file only if it names both, the journal and the file's id.

use serde::Deserialize;

use crate::types::IngestId;

#[derive(Deserialize)]
struct Names<'a> {
    ingest_id: u64,
    journal: Option<&'a str>,
}

/// True if the manifest line is this file's.
pub fn is_of(line: &[u8], journal: &str, id: IngestId) -> bool {
    let names: Option<Names<'_>> = serde_json::from_slice(line).ok();
    names.is_some_and(|names| names.ingest_id == id.0 && names.journal == Some(journal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_of_the_file_that_it_names() {
        let line = br#"{"path":"a\u00e4.csv","ingest_id":7,"journal":"ab","more":[1]}"#;
        assert!(is_of(line, "ab", IngestId(7)));
        assert!(!is_of(line, "ac", IngestId(7)) && !is_of(line, "ab", IngestId(8)));
        assert!(!is_of(br#"{"ingest_id":7}"#, "ab", IngestId(7)) && !is_of(b"", "ab", IngestId(7)));
    }
}
