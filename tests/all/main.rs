//! Everything that is tested from outside: a module per topic, one binary. Where a new test goes:
//!
//! | what it shows | where | what it works with |
//! |---|---|---|
//! | what the specification's section 6 asks for, and what operators and upstreams do besides | `scenarios` | the real program |
//! | when a file is complete, and which goes first | `settle` | the real program |
//! | exit codes, options, `--dry-run`, `explain`, `replay`, `journal ...`, logs | `cli` | the real program |
//! | input, paths, disks and processes that are bad in some way, and the answer to that | `bad_input` | the real program; as root small disks that fill up |
//! | what the world did to a program that was right in its own model; each opens with the report | `world` | the real program; as root mounts, users, clocks |
//! | what must survive kills at random moments | `kill` | the real program, `strace` |
//! | what must survive a fault at every system call | `tests/crash_sweep`, a binary of its own | the real program, `strace`, the model |
//! | what must survive power cuts, kills, faults and others at every operation | `crash`: a new use or disturbance is a scenario or an act, a new promise a line of the model | the simulated disk, the model |
//! | what a sweep, a history or a reviewer has found once | `regressions`, and `world` if it needs a real system | the simulated disk; the real program |
//! | what a manifest looks like after whatever crash | `manifest` | files of a test's own |
//! | one kind of finding of `audit` | `audit` | the real program on a warehouse that is damaged first; the simulated disk |
//! | a lost state directory | `rebuild` | the real program |
//! | the journal's bytes, as the document has them | `journal_format` | the example in `journal-format.md` |
//! | that a second reader sees the same | `second_reader` | the real program, `tests/read_journal` in Python |
//! | what the journal reads back, repairs and compacts, whatever was done to its files | `journal_replay` | the library on real and simulated disks |
//! | what released versions have written, read and continued by this one | `fixtures`: a situation in `fixtures/situations` | the real program on `tests/fixtures` |
//! | that the documents are there, true and linked | `documents` | README.md, `docs/`, `--help`, `monitoring/` |
//! | a metric, its server and textfile, alerts and dashboard | `metrics` | the real program, `monitoring/` |
//! | what a service manager is told | `service` | the real program, a socket |
//! | a rule of style, or of where things belong | `tidy` | the source tree |
//! | one function's or type's own rules | `mod tests` beside it in `src/` | |
//! | what must hold for every input, however odd | `fuzz/`, with a seed in its corpus | a target of `cargo fuzz` |
//! | that the proof notices a missing step | `tests/mutants/`, for `scripts/mutants` | a patch that takes the step away |
//! | other programs: servers, readers, a package, a systemd | `scripts/check_*` | what is installed, mostly as root |
//!
//! `harness` has places, daemons and what else tests of the real program share; `common` has what both binaries do: the model,
//! and the one way in which a test is skipped.

// Clippy's exception for tests covers test functions only, not the helpers beside them.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
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
