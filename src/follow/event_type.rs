//! The type of a webhook's events.
//!
//! Invariant: a type is one word that a person can read, and short. What it means is decided by those who receive it.

use std::fmt;
use std::str::FromStr;

use crate::limits::FOLLOW_EVENT_TYPE_BYTES_MAX;

/// The type that events have unless an operator gives another one.
const DEFAULT: &str = "csv-ingestor.file_ingested";

/// The `type` of CloudEvents: visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventType(String);

impl Default for EventType {
    fn default() -> EventType {
        EventType(DEFAULT.to_owned())
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl FromStr for EventType {
    type Err = String;

    fn from_str(text: &str) -> Result<EventType, String> {
        let fits = (1..=FOLLOW_EVENT_TYPE_BYTES_MAX).contains(&text.len());
        if !fits || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!(
                "a type has 1 to {FOLLOW_EVENT_TYPE_BYTES_MAX} ASCII characters, and no blank, as {DEFAULT} or \
                 org.example.orders.arrived"
            ));
        }
        Ok(EventType(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_one_short_word() {
        let longest = "x".repeat(FOLLOW_EVENT_TYPE_BYTES_MAX);
        for text in [DEFAULT, "org.example.orders.arrived", "urn:x/1#\"\\", &longest] {
            assert_eq!(text.parse::<EventType>().unwrap().to_string(), text);
        }
        let longer = format!("{longest}x");
        for text in ["", " ", "a b", "a\n", "a\u{7}", "ä", &longer] {
            assert!(text.parse::<EventType>().is_err(), "{text:?}");
        }
    }
}
