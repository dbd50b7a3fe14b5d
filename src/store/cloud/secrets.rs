//! Texts that must not appear anywhere.
//!
//! Invariant: what comes from outside (a store's words, the client library's) is cleaned before it becomes a message.

use crate::limits::STORE_DETAIL_BYTES_MAX;
use crate::log::shortened;

/// See the module.
#[derive(Clone, Default)]
pub(super) struct Secrets(pub(super) Vec<String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

impl Secrets {
    /// The text without secrets, in one line, and not too long.
    pub(super) fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.0.iter().filter(|secret| !secret.is_empty()) {
            text = text.replace(secret.as_str(), "[secret]");
        }
        shortened(&text, STORE_DETAIL_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_short_and_hold_no_secret() {
        let secrets = Secrets(vec!["hush/hush".to_owned(), String::new()]);
        assert_eq!(secrets.clean("a\n  hush/hush\u{7}b"), "a [secret]b");
        assert_eq!(secrets.clean(&"ä".repeat(1000)).len(), STORE_DETAIL_BYTES_MAX + 4);
        assert_eq!(format!("{secrets:?}"), "Secrets(2)");
    }
}
