//! Moves complete CSV files from a staging directory into a date-partitioned warehouse, exactly once.
//!
//! ```text
//! staging ─▶ scan ─▶ settle ─▶ hash ×N ─▶ commit ─▶ warehouse + manifest
//!            names    complete?  SHA-256    in batches, two of them at a time:
//!                                (+ copy)   journal → publish → journal → manifest → clean up
//! ```
//!
//! Hashing runs on many threads. One thread, the committer, decides and records; a second one publishes its batches. The
//! records of a step are durable in the journal before the step begins, so after any crash the next start knows what was
//! intended, and finds out how far it came ([`pipeline::recover`]).
//!
//! The modules, from the top down; each uses only those below it:
//!
//! - [`cli`]: arguments, one file per subcommand
//! - [`explain`]: why a file is where it is
//! - [`daemon`], [`dry_run`]: threads, channels and signals; the same without any effect
//! - [`follow`]: passes each manifest line on, once and in order
//! - [`rebuild`]: rebuilds a lost journal from the manifests
//! - [`audit`]: compares warehouse, manifests and journal
//! - [`engine`]: locks, journal, recovery: the beginning of every run
//! - [`control`], [`forget`], [`relocate`]: questions to a running ingestor; what is recorded at an operator's request
//! - [`page`]: what a running ingestor shows of itself
//! - `error`: every error of a run, and its exit code
//! - [`config`]: validated settings
//! - [`pipeline`]: the stages of the picture above, and recovery
//! - [`metrics`], [`log`]: counters and events
//! - [`journal`]: the write-ahead journal, and the index of its records
//! - [`lake`], [`store`]: many hosts on one warehouse in an object store, and the way to such a store
//! - [`fs`]: the only way to the operating system's files, and the simulator that replaces it in tests
//! - [`heartbeat`]: signs of life of the threads, for a watchdog
//! - [`limits`], [`types`]: named limits, small values

pub mod audit;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod dry_run;
pub mod engine;
mod error;
pub mod explain;
pub mod follow;
pub mod forget;
pub mod fs;
pub mod glob;
pub mod heartbeat;
pub mod journal;
pub mod lake;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod page;
pub mod pipeline;
pub mod rebuild;
pub mod relocate;
pub mod store;
pub mod types;

pub use error::Error;
