//! Moves complete CSV files from a staging directory into a date-partitioned warehouse, exactly once.
pub mod cli;
pub mod config;
pub mod daemon;
pub mod dry_run;
pub mod engine;
mod error;
pub mod fs;
pub mod journal;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod pipeline;
pub mod types;
pub use error::Error;
