//! The proof by crashing: the whole ingestor on a disk that may do anything a disk may do.
//!
//! - A [`scenario`] says what lies in staging, by what rules it is ingested, and what upstreams do meanwhile.
//! - A [`play`] is one history of it on a simulated machine: it can be forked, killed and cut off, and goes on.
//! - The [`model`] knows what was promised, and looks after each crash, each recovery and at the end whether it was kept.
//! - A [`watch`] looks before every single operation, and follows the manifests as a reader would.
//! - The [`sweeps`] crash at every operation, at every operation of the recovery, and let every operation fail.
//! - [`random`] histories do all of that in any order, for as long as you like (`scripts/crash_simulation`).

pub mod act;
pub mod ingestor;
pub mod model;
pub mod play;
mod random;
pub mod scenario;
mod sweeps;
mod turns;
pub mod view;
mod watch;
