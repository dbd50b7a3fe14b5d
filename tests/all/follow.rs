//! Following the manifests.

mod dir;
pub mod lake;
mod manifests;
mod real;
