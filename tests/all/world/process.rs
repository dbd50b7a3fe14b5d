//! Locks, logs and signals: how other processes on the machine affect this one.

mod json;
mod locks;
mod log;
mod signals;
