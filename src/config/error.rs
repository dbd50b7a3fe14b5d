//! Why settings are refused.
//!
//! Invariant: an error names the option.

use std::path::PathBuf;

use crate::pipeline::layout;

/// A setting that is not valid.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path does not exist, is not a directory, or cannot be read.
    #[error("{option} {}: {source}", path.display())]
    Path {
        /// The option.
        option: &'static str,
        /// Its value.
        path: PathBuf,
        /// The error that the kernel reported.
        source: std::io::Error,
    },
    /// One directory is inside another, where it must not be.
    #[error("{inner} {} is inside {outer} {} (or is the same): give it a directory of its own", inner_path.display(), outer_path.display())]
    Inside {
        /// The option.
        inner: &'static str,
        /// Its value.
        inner_path: PathBuf,
        /// The option that it conflicts with.
        outer: &'static str,
        /// Its value.
        outer_path: PathBuf,
    },
    /// The ingestor cannot listen on this address.
    #[error("--metrics-listen {address}: {source}")]
    Listen {
        /// The address, as it was given.
        address: String,
        /// The error that the kernel reported.
        source: std::io::Error,
    },
    /// A layout that cannot be used.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// Options that do not fit together, or a path that does not fit.
    #[error("{0}")]
    Options(String),
}
