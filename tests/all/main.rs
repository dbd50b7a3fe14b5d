//! Tests from outside: a module per topic, one binary. Where a new test goes:
//!
//! | what it shows | where | what it works with |
//! |---|---|---|
//! | the specification's section 6, and other uses by operators and upstreams | `scenarios` | the real program |
//! | when a file is complete, and which is taken first | `settle` | the real program |
//! | which directories are entered, and what a scan of them sees | `tree`; `world::tree` for real upstreams | the library on a simulated disk; the real program |
//! | exit codes, options, the configuration file, `--dry-run`, `explain`, `replay`, `journal ...`, logs | `cli` | the real program |
//! | bad input, paths, disks and processes, and the reaction to them | `bad_input` | the real program; as root small disks that fill up |
//! | faults that only a real system showed; each module opens with the report | `world` | the real program; as root mounts, users, clocks |
//! | what must survive kills at random moments | `kill` | the real program, `strace` |
//! | what must survive a fault at every system call | `tests/crash_sweep`, its own binary | the real program, `strace`, the model |
//! | what must survive power cuts, kills, faults and other processes at every operation | `crash`: a new use or disturbance is a scenario or an act, a new promise a line of the model | the simulated disk, the model |
//! | many hosts on one object store: what must hold whatever dies, pauses, is late or lost | `lake`: a new disturbance is a fault of `store::sim` or a field of a plan, a new promise a line of the model | the library on a simulated store |
//! | whole ingestors that share a lake, through crashes of their disks and faults of the store | `ingestors` | the simulated disk, the simulated store |
//! | what is sent to a real object store, and what its answers and failures mean | `cloud` | the library, a server that answers as the test says; `scripts/check_object_stores` for real servers |
//! | hosts that are killed on real servers, which are killed too | `cloud::hosts` | the real program, `scripts/check_lake` |
//! | a fault that a sweep, a history or a reviewer once found | `regressions`, and `world` if it needs a real system | the simulated disk; the real program |
//! | the manifest after any crash | `manifest` | the test's own files |
//! | one kind of finding of `audit` | `audit` | the real program on a warehouse that is damaged first; the simulated disk |
//! | a lost state directory | `rebuild` | the real program |
//! | the journal's bytes, as documented | `journal_format` | the example in `journal-format.md` |
//! | that a second reader sees the same | `second_reader` | the real program, `tests/read_journal` in Python |
//! | what the journal reads, repairs and compacts, whatever happened to its files | `journal_replay` | the library on real and simulated disks |
//! | files of released versions, read and continued by this one | `fixtures`: a situation in `fixtures/situations` | the real program on `tests/fixtures` |
//! | which lines consumers get, and in which order: printed, to a command, to a webhook; their positions | `follow` | the real program, a server that answers as the test says; the simulated disk |
//! | that the documents exist, are true and linked | `documents` | README.md, `docs/`, `--help`, `monitoring/` |
//! | a metric, its server and textfile, alerts and dashboard | `metrics` | the real program, `monitoring/` |
//! | messages to a service manager | `service` | the real program, a socket |
//! | a rule of style, or of where things belong | `tidy` | the source tree |
//! | the rules of one function or type | `mod tests` beside it in `src/` | |
//! | what must hold for every input, however odd | `fuzz/`, with a seed in its corpus | a target of `cargo fuzz` |
//! | that the tests notice a missing step | `tests/mutants/`, for `scripts/mutants` | a patch that removes the step |
//! | other programs: servers, readers, a package, a systemd | `scripts/check_*` | the installed programs, mostly as root |
//!
//! `harness` has directories, daemons and other helpers for tests of the real program; `common` is used by both binaries: the
//! model, and the only way in which a test is skipped.

// Clippy's exception for tests covers test functions only, not the helpers beside them.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
mod harness;

mod audit;
mod bad_input;
mod cli;
#[cfg(feature = "object-store")]
mod cloud;
mod crash;
mod documents;
mod fixtures;
mod follow;
mod ingestors;
mod journal_format;
mod journal_replay;
mod kill;
mod lake;
mod manifest;
mod metrics;
mod rebuild;
mod regressions;
mod scenarios;
mod second_reader;
mod service;
mod settle;
mod tidy;
mod tree;
mod world;
