//! What the fuzz targets share: a journal to damage, and a second reader to compare with.

pub mod journal;
pub mod mutate;
pub mod oracle;
