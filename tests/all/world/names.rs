//! Names that are no data, files that wait for ever, and what `--once` says of all that.

mod duplicates_dir;
mod ignored;
mod once;
mod patterns;
mod staging;
