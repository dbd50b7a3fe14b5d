//! Lines as CloudEvents 1.0: a batch in structured JSON.
//!
//! Invariants:
//! - `source` and `id` together are the same for a line in every attempt, and different for different lines.
//! - A line's text is the event's data as it is, byte by byte.

use serde::Deserialize;

use crate::follow::batch::Batch;
use crate::follow::cursor::Stream;
use crate::follow::event_type::EventType;
use crate::follow::source::Line;
use crate::journal::hex;
use crate::log::json;

/// What an event takes from a line.
#[derive(Deserialize)]
struct Fields {
    ingested_at: Option<String>,
}

/// A batch, as the body of a request. Its events have this type.
pub(super) fn body(batch: &Batch, event_type: &EventType) -> Vec<u8> {
    let event_type = json::text(&event_type.to_string());
    let mut body = vec![b'['];
    for line in batch.lines() {
        if body.len() > 1 {
            body.push(b',');
        }
        append(&line, &event_type, &mut body);
    }
    body.push(b']');
    body
}

/// Adds a line's event. The type is a string of JSON.
fn append(line: &Line<'_>, event_type: &str, out: &mut Vec<u8>) {
    let text = line.text.trim_ascii_end();
    let time = serde_json::from_slice::<Fields>(text).ok().and_then(|fields| fields.ingested_at);
    let time = time.map_or(String::new(), |time| format!(",\"time\":{}", json::text(&time)));
    let front = format!(
        "{{\"specversion\":\"1.0\",\"id\":\"{}:{}\",\"source\":\"{}\",\"type\":{event_type}{time},\
         \"datacontenttype\":\"application/json\",\"data\":",
        line.stream,
        line.number,
        source(&line.stream)
    );
    out.extend_from_slice(front.as_bytes());
    out.extend_from_slice(text);
    out.push(b'}');
}

/// The URI of the lines that are numbered together: the journal's UUID, or the lake's with the shard as a fragment.
fn source(stream: &Stream) -> String {
    let digits = hex(&stream.id);
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    let shard = stream.shard.map_or(String::new(), |shard| format!("#{shard}"));
    format!("urn:uuid:{}{shard}", parts.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_urn() {
        let id = 0x00112233_4455_6677_8899_aabbccddeeff_u128.to_be_bytes();
        let uuid = "urn:uuid:00112233-4455-6677-8899-aabbccddeeff";
        assert_eq!(source(&Stream::of_journal(id)), uuid);
        assert_eq!(source(&Stream { id, shard: Some(3) }), format!("{uuid}#3"));
    }
}
