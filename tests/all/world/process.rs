//! Locks, logs and signals: what others on the machine do to the process.

mod log;
mod signals;
