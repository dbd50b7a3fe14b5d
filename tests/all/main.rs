//! Everything that is tested from outside: a module per topic, one binary.

mod harness;

mod bad_input;
mod cli;
mod journal_format;
mod journal_replay;
mod kill;
mod manifest;
mod recovery;
mod scenarios;
mod settle;
mod tidy;
