//! What sidecars say, and what CSV files are made of.
