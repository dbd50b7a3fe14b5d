//! The warehouse.

pub mod names;
