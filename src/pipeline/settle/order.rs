//! The order in which complete files are handed out.
//!
//! Invariant: with an order, files that became complete are handed out only after [`Settle::release`], which is called when
//! a scan is whole: all of them at once, so the first is the first of all.

use std::cmp::Reverse;
use std::ffi::OsStr;
use std::sync::Arc;

use super::{FOUND_FILES_MAX, Queues, Settle};
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

impl Queues {
    /// Adds a complete file.
    pub(super) fn add(&mut self, mtime: FileTime, name: &Arc<OsStr>) {
        let entry = Reverse((key(self.order, mtime), name.clone()));
        if !self.holds {
            return self.ready.push(entry);
        }
        self.found.push(entry);
        if self.order.is_none() && self.found.len() > FOUND_FILES_MAX {
            self.holds = false;
            self.ready.extend(self.found.drain(..));
        }
    }
}

impl Settle {
    /// Hands over the files that have become complete since the last call.
    pub fn release(&mut self) {
        self.queues.ready.extend(self.queues.found.drain(..));
    }

    /// The order that is promised.
    pub fn order(&self) -> Option<Order> {
        self.queues.order
    }

    /// True if complete files wait for [`Settle::release`], to be sorted.
    pub fn holds_back(&self) -> bool {
        self.queues.order.is_some() && !self.queues.found.is_empty()
    }
}
