//! Why following ends.

use std::path::PathBuf;

use super::consumer::Consumer;
use super::cursor::{Cursor, Stream};
use crate::fs;
use crate::lake;
use crate::pipeline::manifest::read;

/// Lines that nobody can read any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// The journal or shard.
    pub stream: Stream,
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
    /// What is known about it: "MANIFESTS/2026/11/01/05/manifest.jsonl is not there".
    pub why: String,
    /// The cursor behind them, with which no other line is missed.
    pub go_on: Cursor,
}

/// The error that ends following.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Lines are gone.
    #[error(
        "lines {} to {} of {} are gone: {}. What they listed is in the warehouse; to go on without them: --from {}",
        .0.from, .0.to, .0.stream, .0.why, .0.go_on
    )]
    Gone(Box<Gone>),
    /// A file operation failed.
    #[error(transparent)]
    Io(#[from] fs::Error),
    /// A manifest cannot be read.
    #[error(transparent)]
    Manifest(#[from] read::Error),
    /// A lake cannot be read.
    #[error(transparent)]
    Lake(#[from] lake::Error),
    /// More journals write to the manifests than are followed at once.
    #[error("{}: {journals} journals have written to these manifests, and at most {most} are followed at once", manifests.display())]
    TooMany {
        /// The manifests.
        manifests: PathBuf,
        /// How many there are.
        journals: usize,
        /// The limit.
        most: usize,
    },
    /// Lines cannot be written to standard output.
    #[error("{0}")]
    Output(std::io::Error),
    /// Another process follows for the consumer, or stores its position.
    #[error(
        "another process{} uses the consumer {consumer}: it holds the lock on {}",
        pid.map_or(String::new(), |pid| format!(" (pid {pid})")), lock.display()
    )]
    InUse {
        /// Which.
        consumer: Consumer,
        /// The lock's file.
        lock: PathBuf,
        /// The process, if the kernel reports it.
        pid: Option<u32>,
    },
    /// A consumer is not known, its position is damaged, or something else about it is wrong: a message for the operator.
    #[error("{0}")]
    Consumer(String),
}
