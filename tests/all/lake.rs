//! Many hosts on one simulated store: random histories of the real protocol, and a model that says what must hold after
//! each effect and at the end.

pub mod consumer;
mod cost;
pub mod desk;
mod dir;
pub mod door;
mod each;
pub mod files;
pub mod filled;
mod forget;
mod frozen;
mod history;
mod large;
mod life;
pub mod model;
pub mod on_disk;
pub mod one;
mod operate;
mod probe;
pub mod reads_only;
mod resumed;
pub mod second_reader;
mod size;
pub mod turns;
mod whole;
