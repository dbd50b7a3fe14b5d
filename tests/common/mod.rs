//! Used by both test binaries: how a test reports that it cannot run here, and the model of what must hold.

// Each binary uses only a part of it.
#![allow(dead_code)]

pub mod consumed;
pub mod groups;
pub mod line_group;
pub mod promises;
pub mod skip;
pub mod view;
