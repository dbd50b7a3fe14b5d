//! Following the manifests.

mod dir;
mod manifests;
mod real;
