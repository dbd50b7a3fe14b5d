//! Names that are no data, files that wait for ever, and what `--once` says of all that.
