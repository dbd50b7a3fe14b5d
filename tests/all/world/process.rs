//! Locks, logs and signals: what others on the machine do to the process.

mod json;
mod locks;
mod log;
mod signals;
