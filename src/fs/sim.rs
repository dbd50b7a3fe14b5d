//! A disk in memory that does everything that a disk and a kernel may do to a program that crashes.
//!
//! It is deliberately harsher than any single real file system: data that survives here survives on ext4, xfs and
//! btrfs, while a test that passes because one of them is lenient proves nothing for the others.
//!
//! # What a sync makes durable
//!
//! - `sync_data`: the file's content and size. `sync_all`: also mode and times. Neither makes its *name* durable:
//!   according to fsync(2) this needs an fsync of the directory, though ext4 happens to do it for new files.
//! - `sync_dir`: every change of names in that directory, but not the files themselves, and not that directory's own
//!   name in its parent. A rename is one change, so its half in the other directory becomes durable, too (unless
//!   renames are split); so do the changes for which a change waits (below).
//! - `sync_fs`: everything on that device.
//!
//! # What a power cut does ([`SimFs::crash`])
//!
//! Any subset of the unsynced changes may be on the disk, drawn from a seed (Pillai et al., OSDI'14, found that file
//! systems differ in the possible subsets, and that programs break on the differences):
//!
//! - **Content**: each 512-byte sector independently ends in its durable state or in the state after any one of the
//!   later writes to it. So a write of several sectors may be torn anywhere, and a later write may survive without an
//!   earlier one.
//! - **Size**: the durable size, or any size since. If it is larger than the surviving content, the rest reads as zeros
//!   (delayed allocation); if it is smaller, the content is cut off.
//! - **Mode and times**: likewise, independently.
//! - **Names**: each creation, link, rename, removal and mkdir independently, but
//!   - changes of one entry (directory and name) in order,
//!   - a rename as a whole: either the old name or the new one, as on every journaling file system; or, with
//!     [`SimFs::set_split_renames`], the halves of a rename *across directories* separately (as without a journal),
//!     where both names may exist but never neither, unless the old directory was synced and the new one was not,
//!   - the removal of a directory after the moves out of it, and moves of directories in order,
//!   - a file that got the inode number of a removed one after that removal.
//! - A directory whose own name did not survive is gone with everything in it, even files that were synced in it or
//!   moved into it.
//! - Descriptors, locks, leases and the open files of all programs are gone.
//!
//! [`SimFs::kill`] ends only the program under test: its writes stay, other programs continue.
//!
//! # What a failed sync does
//!
//! It does what ext4 does (Rebello et al., "Can Applications Recover from fsync Failures?", ATC'20): the dirty pages
//! are marked clean and stay in the cache. So every program still reads the new content, the next sync succeeds, and
//! the content is not on the disk unless it is written again. The inode is still dirty: its size may become durable
//! although the content never does.
//!
//! Names differ. On a file system with a journal, an error while the journal is written ends all writing: jbd2 aborts
//! and ext4 returns EROFS (fs/ext4/ext4_jbd2.c, `ext4_journal_check_start`), xfs shuts down (xfs_force_shutdown), btrfs
//! aborts the transaction and turns read-only, until it is mounted again. [`SimFs::set_aborts`] does the same; a failed
//! syncfs then means that data could not be written (which it reports since Linux 5.8), and ends nothing. Without
//! `set_aborts`, names that a failed `sync_dir` did not write stay visible and are never written, although the next
//! sync succeeds: a file system without a journal may do this, and it is harsher than any for which this program is
//! meant.
//!
//! [`SimFs::set_torn_syncs`] lets some sectors reach the disk before the failure. EINTR is not such a failure:
//! everything is still dirty after it. `drop_cache` makes clean pages show the content of the disk; dirty ones stay.
//!
//! # Everything else
//!
//! Inode numbers are reused, lowest first. Space is charged in 4 KiB pages according to the size, one page for a
//! directory; holes are charged too. Leases are as in fcntl(2): a writer waits until the lease is released or 45 s have
//! passed, then writes to the inode, whatever its name is by then. Locks are as in flock(2), by descriptor. The umask
//! is 022.
//!
//! # Invariants
//!
//! - The same seed and the same calls, in the same order, give the same results.
//! - A fork ([`SimFs::fork`]) shares only pages with its origin: neither sees changes of the other.
//! - No call blocks, except on a lock on the state that is held during one operation.

mod content;
mod device;
mod door;
mod faults;
mod looks;
mod machine;
mod names;
mod node;
mod odd;
mod opens;
pub(crate) mod rng;
mod state;
#[cfg(test)]
mod tests;
mod units;
mod upstream;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Error, Result};

use self::machine::machine;
use self::state::State;
use self::units::{NS_PER_MS, nanos};
use crate::fs::Syscall;
use crate::types::UnixMillis;

pub use self::door::{SimDir, SimFile, SimListing};
pub use self::faults::{Fault, Logged, Op};
pub use self::machine::{Call, Gate, Hook, SimFs, Upstream};
pub use self::odd::{Odd, RefusedName};
pub use self::rng::Survival;
pub use self::upstream::WriterId;

impl SimFs {
    /// A machine with one empty, unlimited device at `/`, and a clock that starts in November 2025.
    pub fn new(seed: u64) -> SimFs {
        machine(State::new(seed))
    }

    /// The other programs of this machine: their actions count as no operation and meet no fault. Also for preparing
    /// and reading files in tests.
    pub fn upstream(&self) -> Upstream<'static> {
        Upstream::outside(self.clone())
    }

    /// Calls `hook` before each operation from now on.
    pub fn set_hook(&self, hook: Hook) {
        self.world().hook = Some(hook);
    }

    /// Removes the hook.
    pub fn clear_hook(&self) {
        self.world().hook = None;
    }

    /// A handle of the same machine whose operations, and those of its clones, call this gate first, and then that of this
    /// handle, if it has one.
    pub fn gated(&self, gate: Gate) -> SimFs {
        let gate: Gate = match self.gate.clone() {
            None => gate,
            Some(own) => Arc::new(move || {
                gate();
                own();
            }),
        };
        SimFs { gate: Some(gate), ..self.clone() }
    }

    /// A handle of the same machine for another program, which reads while the program under test is at work: its operations
    /// have no number and meet neither fault nor hook, and no death but a power cut closes its files.
    pub fn beside(&self) -> SimFs {
        SimFs { is_beside: true, ..self.clone() }
    }

    /// A separate machine in the same state, at the cost of a few pointers: with the same faults and the same clock,
    /// without hook and gate and with an empty log. Descriptors of one machine give EBADF on the other; those that are
    /// open now count as open on the fork until it is killed or crashes.
    pub fn fork(&self) -> SimFs {
        machine(self.world().state.clone())
    }

    /// A power cut; the surviving unsynced changes are drawn from `seed`. The faults stay.
    pub fn crash(&self, seed: u64) {
        self.crash_to(Survival::Seed(seed));
    }

    /// A power cut with this choice of surviving changes.
    pub fn crash_to(&self, survival: Survival) {
        self.world().state.crash(survival);
    }

    /// Kills the program under test; the machine continues: its writes stay, its descriptors, locks and leases are
    /// released.
    pub fn kill(&self) {
        self.world().state.kill();
    }

    /// True after a [`Fault::crash`], until [`SimFs::crash`] or [`SimFs::kill`].
    pub fn is_dead(&self) -> bool {
        self.world().state.dead
    }

    /// Adds a fault. If several match one operation, the first added counts.
    pub fn inject(&self, fault: Fault) {
        self.world().state.faults.push(fault);
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.world().state.faults.clear();
    }

    /// The number of operations so far. Those of a dead process do not count.
    pub fn operations(&self) -> u64 {
        self.world().state.operations
    }

    /// The number of operations of one kind.
    pub fn count(&self, op: Op) -> u64 {
        self.world().state.counts[op as usize]
    }

    /// The number of syncs of all kinds.
    pub fn syncs(&self) -> u64 {
        [Op::SyncData, Op::SyncAll, Op::SyncDir, Op::SyncFs].map(|op| self.count(op)).iter().sum()
    }

    /// The last 10,000 operations, oldest first.
    pub fn log(&self) -> Vec<Logged> {
        self.world().log.lines()
    }

    /// Mounts a new, empty device at a directory, which is created durably if it does not exist.
    pub fn mount(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let mounted = self.world().state.mount(path);
        mounted.map(drop).map_err(|source| Error { op: Syscall::Mount, path: path.to_path_buf(), source })
    }

    /// Limits the device that holds `path`, in bytes; None for no limit. Existing data stays.
    pub fn set_capacity(&self, path: impl AsRef<Path>, bytes: Option<u64>) -> Result<()> {
        let (path, mut world) = (path.as_ref(), self.world());
        match world.state.walk(path, true) {
            Ok(place) => world.state.device(place).capacity = bytes,
            Err(source) => return Err(Error { op: Syscall::SetCapacity, path: path.to_path_buf(), source }),
        }
        Ok(())
    }

    /// Whether the halves of a rename across directories may survive separately, on all existing devices.
    pub fn set_split_renames(&self, split: bool) {
        self.world().state.devices.iter_mut().for_each(|device| device.journal.split = split);
    }

    /// Whether a failed sync of a directory ends all writing to its device, with EROFS, until a power cut; on all
    /// existing devices.
    pub fn set_aborts(&self, aborts: bool) {
        self.world().state.devices.iter_mut().for_each(|device| device.aborts = aborts);
    }

    /// Whether some sectors may reach the disk before a sync fails; otherwise none do.
    pub fn set_torn_syncs(&self, torn: bool) {
        self.world().state.behaviour.torn_syncs = torn;
    }

    /// How all file systems deviate, from now on.
    pub fn set_odd(&self, odd: Odd) {
        self.world().state.behaviour.odd = odd;
    }

    /// Whether leases are supported; otherwise [`super::Lease::Unsupported`].
    pub fn set_leases(&self, supported: bool) {
        self.world().state.behaviour.leases = supported;
    }

    /// Whether listings report types.
    pub fn set_list_kinds(&self, told: bool) {
        self.world().state.behaviour.list_kinds = told;
    }

    /// The process that takes locks from now on.
    pub fn set_process(&self, process: u32) {
        self.world().state.process = process;
    }

    /// Lets time pass.
    pub fn advance(&self, time: Duration) {
        self.world().state.advance(nanos(time));
    }

    /// Sets the clock; it may go backwards.
    pub fn set_clock(&self, now: UnixMillis) {
        self.world().state.set_clock(now.0.saturating_mul(NS_PER_MS));
    }

    /// The time that passes with each operation; initially 10 µs.
    pub fn set_tick(&self, time: Duration) {
        self.world().state.clock.tick_ns = nanos(time);
    }

    /// The granularity of file times; initially 1 ns. Linux before 6.13 takes them from the timer tick, 1 to 10 ms.
    pub fn set_granularity(&self, time: Duration) {
        self.world().state.clock.granularity_ns = nanos(time);
    }
}
