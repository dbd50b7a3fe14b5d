//! Names that are no data, files that wait for ever, and what `--once` reports about them.

mod duplicates_dir;
mod ignored;
mod once;
mod patterns;
mod staging;
