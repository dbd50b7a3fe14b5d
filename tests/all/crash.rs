//! Crash tests: the whole ingestor on a simulated disk that may do anything that a real disk may do.
//!
//! - A [`scenario`] says which files are in staging, how they are ingested, and what upstreams do meanwhile.
//! - A [`play`] is one history of it on a simulated machine: it can be forked, killed and cut off, and continues.
//! - The [`model`] knows the promises, and checks them after each crash, after each recovery and at the end.
//! - A [`watch`] checks before every single operation, and follows the manifests as a reader would.
//! - A [`follower`] passes the lines of the manifests on to a consumer, between any two operations.
//! - The [`sweeps`] crash at every operation, at every operation of the recovery, and make every operation fail.
//! - [`random`] histories do all of that in any order, for as long as you like (`scripts/crash_simulation`).

pub mod act;
mod follower;
mod hands;
pub mod ingestor;
mod layouts;
pub mod model;
pub mod places;
pub mod play;
mod random;
mod reins;
pub mod scenario;
mod seldom;
pub mod sweeps;
mod turns;
pub mod view;
mod watch;
