//! Many hosts on one simulated store: random histories of the real protocol, and a model that says what must hold after
//! each effect and at the end.

mod cost;
mod desk;
mod dir;
mod door;
mod each;
mod files;
mod history;
mod large;
mod life;
mod model;
mod one;
mod operate;
mod size;
mod turns;
