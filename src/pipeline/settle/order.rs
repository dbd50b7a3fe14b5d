//! The order in which complete files are handed out.
//!
//! Invariant: with an order, files that became complete are handed out only after `Settle::release`, which is called when
//! a scan is whole: all of them at once, so the first is the first of all.

use crate::types::FileTime;

/// The order that is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By mtime, and files of one mtime by name.
    Oldest,
    /// By the bytes of the name.
    Name,
}

impl Order {
    /// As in the option.
    pub fn text(self) -> &'static str {
        match self {
            Order::Oldest => "oldest",
            Order::Name => "name",
        }
    }
}

/// What decides before the name.
pub(super) fn key(order: Option<Order>, mtime: FileTime) -> FileTime {
    match order {
        Some(Order::Name) => FileTime { sec: 0, nsec: 0 },
        Some(Order::Oldest) | None => mtime,
    }
}
