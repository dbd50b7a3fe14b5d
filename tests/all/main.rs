//! Everything that is tested from outside: a module per topic, one binary.

// Clippy's exception for tests covers test functions only, not the helpers beside them.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

mod audit;
mod bad_input;
mod cli;
mod crash;
mod documents;
mod fixtures;
mod journal_format;
mod journal_replay;
mod kill;
mod manifest;
mod metrics;
mod rebuild;
mod regressions;
mod scenarios;
mod second_reader;
mod service;
mod settle;
mod tidy;
mod world;
