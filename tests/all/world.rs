//! What the world does to a program that is right in its own model: clocks, users, strangers, odd file systems, lost state.
//! Each test is of one such report, and opens with what happened.

mod clock;
mod content;
mod files;
mod names;
mod places;
mod process;
