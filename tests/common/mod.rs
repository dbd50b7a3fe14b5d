//! What both test binaries use: how a test says that it cannot run here, and the model of what must hold.

// Each binary uses its part.
#![allow(dead_code)]

pub mod promises;
pub mod skip;
pub mod view;
