//! Whole ingestors that share one lake: each has a simulated disk of its own, all have one simulated store.

mod dry_run;
mod forgotten;
mod groups;
mod history;
mod life;
mod model;
mod one;
mod parts;
mod refusals;
mod stops;
mod uploads;
