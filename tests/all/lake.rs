//! Many hosts on one simulated store: random histories of the real protocol, and a model that says what must hold after
//! each effect and at the end.

mod cost;
mod dir;
mod files;
mod history;
mod life;
mod model;
mod one;
pub mod turns;
