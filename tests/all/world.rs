//! Conditions outside of the program's model: wrong clocks, other users and programs, odd file systems, lost state. Each
//! test covers one such report, and begins with the observed fault.

mod clock;
mod content;
mod files;
mod groups;
mod names;
mod places;
mod process;
mod tree;
