//! A disk in memory that does all that a disk and a kernel are allowed to do to a program that crashes.
//!
//! It is harsher than any one real file system, on purpose: what survives here survives on ext4, xfs and btrfs, and
//! a test that passes because one of them is kind proves nothing for the others.
//!
//! # What a sync makes durable, and nothing else does
//!
//! - `sync_data`: the file's content and size. `sync_all`: also mode and times. Neither makes its *name* durable:
//!   fsync(2) says that this needs an fsync of the directory, though ext4 happens to do it for new files.
//! - `sync_dir`: every change of names in that directory, not the files behind them, and not that directory's own
//!   name in its parent. A rename is one change, so it takes the other directory's half with it (but not where the
//!   halves go apart); and a change takes what it waits for with it (below).
//! - `sync_fs`: everything on that device.
//!
//! # What a power cut does ([`SimFs::crash`])
//!
//! Of what was not synced any subset may be on the disk (Pillai et al., OSDI'14, found file systems to differ in
//! just which, and programs to break on the differences), drawn from a seed:
//!
//! - **Content**: each 512-byte sector by itself ends as the disk had it or as any one of the writes to it since left
//!   it. So a write of several sectors may be torn anywhere, and a later write may survive an earlier one.
//! - **Size**: as it was, or as at any time since. If it outruns the content the rest reads as zeros (delayed
//!   allocation); if it falls behind, the content is cut off.
//! - **Mode and times**: likewise, by themselves.
//! - **Names**: each creation, link, rename, removal and mkdir by itself, but
//!   - changes of one entry (directory and name) in order,
//!   - a rename whole: either the old name or the new one, as on every journaling file system; or, if
//!     [`SimFs::set_split_renames`] says so, the halves of a rename *across directories* apart (as without a journal),
//!     where both names may be there but never neither, unless the old directory was synced and the new one was not,
//!   - the removal of a directory after what was moved out of it, and moves of directories in order,
//!   - a file that got the inode number of a removed one after that removal.
//! - A directory whose own name did not survive is gone with all that is in it, even what was synced in it and even
//!   what was moved into it.
//! - Descriptors, locks, leases and everybody's open files are gone.
//!
//! [`SimFs::kill`] ends our process only: what it wrote stays, others go on.
//!
//! # What a failed sync does
//!
//! What ext4 does (Rebello et al., "Can Applications Recover from fsync Failures?", ATC'20): the dirty pages are
//! marked clean and stay in the cache. So everybody still reads the new content, the next sync succeeds, and the
//! content is not on the disk unless it is written again. The inode is still due: the size may become durable over
//! content that never will.
//!
//! Names are another matter. Where there is a journal, an error while it is written ends all writing: jbd2 aborts and
//! ext4 answers EROFS (fs/ext4/ext4_jbd2.c, `ext4_journal_check_start`), xfs shuts down (xfs_force_shutdown), btrfs
//! aborts the transaction and turns read-only, until somebody mounts it again. [`SimFs::set_aborts`] does the same; a syncfs
//! that fails is one that could not write data there (which it reports since Linux 5.8), and ends nothing.
//! Without it, names that a failed `sync_dir` did not write are seen and never written, and the next sync lies: what a
//! file system without a journal may do, and harsher than any that this program is meant for.
//!
//! [`SimFs::set_torn_syncs`] lets a part of the sectors reach the disk before the failure. EINTR is no such failure:
//! everything is still due after it. `drop_cache` makes clean pages show what the disk has; dirty ones stay.
//!
//! # Everything else
//!
//! Inode numbers are reused, lowest first. Space is charged in 4 KiB pages by size, a directory one page; holes are
//! charged too. Leases are as in fcntl(2): a writer waits until the lease goes or 45 s are over, then writes to the
//! inode, wherever that is named by then. Locks are as in flock(2), by descriptor. The umask is 022.
//!
//! # Invariants
//!
//! - The same seed and the same calls, in the same order, give the same answers.
//! - A fork ([`SimFs::fork`]) shares pages with its origin and nothing else: neither sees what the other does.
//! - No call blocks, but for a lock on the state that is held for the length of one operation.

mod content;
mod device;
mod door;
mod faults;
mod looks;
mod machine;
mod names;
mod node;
mod odd;
mod rng;
mod state;
#[cfg(test)]
mod tests;
mod units;
mod upstream;

use std::path::Path;
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

    /// The other programs of this machine: what they do costs no operation and meets no fault. Also for setting up
    /// and looking at files in tests.
    pub fn upstream(&self) -> Upstream<'static> {
        Upstream::outside(self.clone())
    }

    /// Calls `hook` before each operation from now on.
    pub fn set_hook(&self, hook: Hook) {
        self.world().hook = Some(hook);
    }

    /// Calls no hook any more.
    pub fn clear_hook(&self) {
        self.world().hook = None;
    }

    /// The same machine by a handle whose operations, and those of its clones, pass this gate.
    pub fn gated(&self, gate: Gate) -> SimFs {
        SimFs { world: self.world.clone(), gate: Some(gate) }
    }

    /// A machine of its own in the same state, for the price of a few pointers: with the same faults and the same
    /// clock, without hook and gate and with an empty log. Descriptors of the one give EBADF on the other; those that are open
    /// now count as open on the fork until it is killed or crashes.
    pub fn fork(&self) -> SimFs {
        machine(self.world().state.clone())
    }

    /// A power cut; what survives of the unsynced is drawn from `seed`. The faults stay.
    pub fn crash(&self, seed: u64) {
        self.crash_to(Survival::Seed(seed));
    }

    /// A power cut after which exactly this is left.
    pub fn crash_to(&self, survival: Survival) {
        self.world().state.crash(survival);
    }

    /// Our process dies, the machine goes on: what was written stays, our descriptors, locks and leases go.
    pub fn kill(&self) {
        self.world().state.kill();
    }

    /// True after a [`Fault::crash`], until [`SimFs::crash`] or [`SimFs::kill`].
    pub fn is_dead(&self) -> bool {
        self.world().state.dead
    }

    /// Lets something go wrong. Of several faults that strike one operation the first added counts.
    pub fn inject(&self, fault: Fault) {
        self.world().state.faults.push(fault);
    }

    /// Nothing goes wrong any more.
    pub fn clear_faults(&self) {
        self.world().state.faults.clear();
    }

    /// How many operations there were. Those of a dead process do not count.
    pub fn operations(&self) -> u64 {
        self.world().state.operations
    }

    /// How many of one kind there were.
    pub fn count(&self, op: Op) -> u64 {
        self.world().state.counts[op as usize]
    }

    /// How many syncs of all kinds there were.
    pub fn syncs(&self) -> u64 {
        [Op::SyncData, Op::SyncAll, Op::SyncDir, Op::SyncFs].map(|op| self.count(op)).iter().sum()
    }

    /// The last 10,000 operations, oldest first.
    pub fn log(&self) -> Vec<Logged> {
        self.world().log.lines()
    }

    /// Puts a new, empty device at a directory, which is made if need be. The way to it is durable.
    pub fn mount(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let mounted = self.world().state.mount(path);
        mounted.map(drop).map_err(|source| Error { op: Syscall::Mount, path: path.to_path_buf(), source })
    }

    /// Limits the device that holds `path`, in bytes; None for no limit. What is there already stays.
    pub fn set_capacity(&self, path: impl AsRef<Path>, bytes: Option<u64>) -> Result<()> {
        let (path, mut world) = (path.as_ref(), self.world());
        match world.state.walk(path, true) {
            Ok(place) => world.state.device(place).capacity = bytes,
            Err(source) => return Err(Error { op: Syscall::SetCapacity, path: path.to_path_buf(), source }),
        }
        Ok(())
    }

    /// Whether the halves of a rename across directories may survive apart, on all devices there are.
    pub fn set_split_renames(&self, split: bool) {
        self.world().state.devices.iter_mut().for_each(|device| device.journal.split = split);
    }

    /// Whether a sync of a directory that fails ends all writing to its device, with EROFS, until a power cut, on all devices
    /// there are.
    pub fn set_aborts(&self, aborts: bool) {
        self.world().state.devices.iter_mut().for_each(|device| device.aborts = aborts);
    }

    /// Whether some sectors reach the disk before a sync fails; otherwise none does.
    pub fn set_torn_syncs(&self, torn: bool) {
        self.world().state.manners.torn_syncs = torn;
    }

    /// In what way all file systems there are are odd, from now on.
    pub fn set_odd(&self, odd: Odd) {
        self.world().state.manners.odd = odd;
    }

    /// Whether leases are to be had; otherwise [`super::Lease::Unsupported`].
    pub fn set_leases(&self, supported: bool) {
        self.world().state.manners.leases = supported;
    }

    /// Whether listings tell kinds.
    pub fn set_list_kinds(&self, told: bool) {
        self.world().state.manners.list_kinds = told;
    }

    /// The process that takes locks from now on.
    pub fn set_process(&self, process: u32) {
        self.world().state.process = process;
    }

    /// Lets time pass.
    pub fn advance(&self, time: Duration) {
        self.world().state.advance(nanos(time));
    }

    /// Sets the clock, backwards too.
    pub fn set_clock(&self, now: UnixMillis) {
        self.world().state.set_clock(now.0.saturating_mul(NS_PER_MS));
    }

    /// How much time passes with each operation; 10 µs at first.
    pub fn set_tick(&self, time: Duration) {
        self.world().state.clock.tick_ns = nanos(time);
    }

    /// How coarse file times are; 1 ns at first. Linux before 6.13 takes them from the timer's tick, 1 to 10 ms.
    pub fn set_granularity(&self, time: Duration) {
        self.world().state.clock.granularity_ns = nanos(time);
    }
}
