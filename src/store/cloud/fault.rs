//! Why a store cannot be opened.
//!
//! Invariant: no text holds a secret.

/// Why a store cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is no such option.
    #[error("{scheme}:// has no option {name}; it has: {known}")]
    UnknownOption {
        /// As in a URL.
        scheme: &'static str,
        /// As it was given.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// An option has a value that it cannot have.
    #[error("the option {name} is not {expected}")]
    BadValue {
        /// The option.
        name: &'static str,
        /// What it can be.
        expected: &'static str,
    },
    /// The endpoint is not encrypted, and not on this host.
    #[error(
        "the endpoint {0} is plain HTTP: whoever is on the network in between reads and changes what is sent; use https://, \
         or --store-option allow_http=true"
    )]
    PlainHttp(String),
    /// The endpoint is no URL.
    #[error("the endpoint is not a URL that begins with https:// or http://, without a user, a query or a fragment")]
    Endpoint,
    /// TLS does not work on this processor.
    #[error(
        "this processor lacks {0}, without which TLS does not work here: use a newer one, or plain HTTP on a network that you \
         trust (--store-option allow_http=true)"
    )]
    Processor(String),
    /// The file with the authority's certificate cannot be used.
    #[error("ca_file: {0}")]
    Authority(String),
    /// The client cannot be set up.
    #[error("{0}")]
    Client(String),
}

/// The text of an error and of all its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        let further = error.to_string();
        if !text.contains(&further) {
            text = format!("{text}: {further}");
        }
        cause = error.source();
    }
    text
}
