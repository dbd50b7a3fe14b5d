//! Names in staging.

pub mod names;
