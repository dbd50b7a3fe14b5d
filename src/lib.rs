//! Moves complete CSV files from a staging directory into a date-partitioned warehouse, exactly once.
//!
//! ```text
//! staging ─▶ scan ─▶ settle ─▶ hash ×N ─▶ commit ─▶ warehouse + manifest
//!            names    complete?  SHA-256    one thread, in batches:
//!                                (+ copy)   journal → publish → journal → manifest → clean up
//! ```
//!
//! Everything that reads data runs on many threads; every ordered, durable effect is the committer's, which is one.
//! Each step's records are durable in the journal before the step, so whatever is cut off, the next start knows what
//! was intended and finds out how far it came ([`pipeline::recover`]).
//!
//! The modules, from the top down; each uses only those below it:
//!
//! - [`cli`]: arguments, a file per subcommand
//! - [`explain`]: why a file is where it is
//! - [`daemon`], [`dry_run`]: threads, channels and signals; the same without any effect
//! - [`rebuild`]: a journal from the manifests, where it was lost
//! - [`audit`]: warehouse, manifests and journal held against each other
//! - [`engine`]: locks, journal, recovery: how everything begins
//! - [`config`]: validated settings
//! - [`pipeline`]: the stages of the picture, and recovery
//! - [`metrics`], [`log`]: counters and events
//! - [`journal`]: the write-ahead journal, and what it adds up to
//! - [`fs`]: the one door to the operating system's files, and the simulator that takes its place in tests
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
pub mod forget;
pub mod fs;
pub mod heartbeat;
pub mod journal;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod pipeline;
pub mod rebuild;
pub mod relocate;
pub mod types;

pub use error::Error;
