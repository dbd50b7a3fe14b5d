//! The whole machine: devices and where they are mounted, open descriptors, locks, leases, the clock.
//!
//! Invariants: everything here is plain data, so a copy of it is a copy of the machine; operation numbers are only
//! counted here, and decide nothing.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path};

use super::device::Device;
use super::faults::{Fault, OPS};
use super::node::{Change, Meta, Node, NodeId};
use super::odd::Odd;
use super::rng::{Fate, Rng, Survival};
use super::units::errno;
use crate::fs::{FileKind, Lease, Stat};
use crate::types::{FileIdentity, FileTime};

/// The most symbolic links in the resolution of one path, as in Linux (path_resolution(7)).
const LINKS_FOLLOWED_MAX: u32 = 40;
/// How long a writer waits for a lease before the kernel breaks it (`/proc/sys/fs/lease-break-time`).
const LEASE_BREAK_NS: u64 = 45 * NS_PER_SECOND;
pub(super) const NS_PER_SECOND: u64 = 1_000_000_000;
/// 2025-11-18T09:30:00Z.
const CLOCK_START_NS: u64 = 1_763_458_200 * NS_PER_SECOND;
const TICK_NS: u64 = 10_000;
/// The first device's `st_dev`; any number works, but 0 and small ones hide mistakes.
const FIRST_DEVICE: u64 = 0x801;

/// An inode on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) device: usize,
    pub(super) node: NodeId,
}

/// A read lease as in fcntl(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeaseState {
    None,
    Held,
    /// A writer has been waiting since this time.
    Breaking(u64),
    /// The holder took too long.
    Gone,
}

/// An open descriptor of the program under test.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    pub(super) place: Place,
    pub(super) writable: bool,
    lease: LeaseState,
    /// Another program has it open.
    is_beside: bool,
}

/// The handle of locks of other programs.
const STRANGER: u64 = u64::MAX;

/// An flock(2), or a mark.
#[derive(Clone, Copy, Debug)]
struct Lock {
    handle: u64,
    process: u32,
}

/// The machine.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) devices: Vec<Device>,
    /// From the covered directory to the root mounted on it.
    mounts: BTreeMap<Place, Place>,
    handles: BTreeMap<u64, Handle>,
    /// Files that other programs have open for writing.
    writers: BTreeMap<u64, Place>,
    /// The last number given to a handle or a writer; never used again.
    handle_ids: u64,
    locks: BTreeMap<Place, Lock>,
    /// Directories that ingestors have marked.
    marks: BTreeMap<Place, Lock>,
    pub(super) clock: SimClock,
    pub(super) rng: Rng,
    pub(super) operations: u64,
    pub(super) counts: [u64; OPS],
    pub(super) faults: Vec<Fault>,
    /// The process is dead: every operation fails.
    pub(super) dead: bool,
    pub(super) process: u32,
    pub(super) behaviour: Behaviour,
}

/// The machine's time, in nanoseconds.
#[derive(Clone, Debug)]
pub(super) struct SimClock {
    now_ns: u64,
    /// Time that has passed, independent of settings of the clock.
    steady_ns: u64,
    /// The time that passes with each operation.
    pub(super) tick_ns: u64,
    /// The granularity of file times.
    pub(super) granularity_ns: u64,
}

/// The features of the file systems, and how they behave.
#[derive(Clone, Debug)]
pub(super) struct Behaviour {
    pub(super) leases: bool,
    pub(super) list_kinds: bool,
    pub(super) torn_syncs: bool,
    /// What happens now is done by another program.
    pub(super) is_beside: bool,
    pub(super) odd: Odd,
    /// For each file: how many further stats report one link too many.
    pub(super) stale: BTreeMap<Place, u64>,
}

impl State {
    pub(super) fn new(seed: u64) -> State {
        let mut state = State {
            devices: Vec::new(),
            mounts: BTreeMap::new(),
            handles: BTreeMap::new(),
            writers: BTreeMap::new(),
            handle_ids: 0,
            locks: BTreeMap::new(),
            marks: BTreeMap::new(),
            clock: SimClock { now_ns: CLOCK_START_NS, steady_ns: 0, tick_ns: TICK_NS, granularity_ns: 1 },
            rng: Rng::new(seed),
            operations: 0,
            counts: [0; OPS],
            faults: Vec::new(),
            dead: false,
            process: 1000,
            behaviour: Behaviour {
                leases: true,
                list_kinds: true,
                torn_syncs: false,
                is_beside: false,
                odd: Odd::default(),
                stale: BTreeMap::new(),
            },
        };
        state.devices.push(Device::new(FIRST_DEVICE, state.stamp()));
        state
    }

    pub(super) fn device(&mut self, place: Place) -> &mut Device {
        &mut self.devices[place.device]
    }

    pub(super) fn node(&self, place: Place) -> io::Result<&Node> {
        self.devices[place.device].node(place.node)
    }

    // --- the clock

    pub(super) fn clock_ns(&self) -> u64 {
        self.clock.now_ns
    }

    /// The clock, rounded as file times are.
    pub(super) fn stamp(&self) -> FileTime {
        let ns = self.clock.now_ns - self.clock.now_ns % self.clock.granularity_ns.max(1);
        FileTime { sec: (ns / NS_PER_SECOND) as i64, nsec: (ns % NS_PER_SECOND) as u32 }
    }

    pub(super) fn steady_ns(&self) -> u64 {
        self.clock.steady_ns
    }

    pub(super) fn tick(&mut self) {
        self.advance(self.clock.tick_ns);
    }

    /// Sets the clock; no time passes.
    pub(super) fn set_clock(&mut self, ns: u64) {
        self.clock.now_ns = ns;
    }

    /// Lets time pass; breaks leases whose holders took too long.
    pub(super) fn advance(&mut self, passed_ns: u64) {
        self.clock.now_ns = self.clock.now_ns.saturating_add(passed_ns);
        self.clock.steady_ns = self.clock.steady_ns.saturating_add(passed_ns);
        let ns = self.clock.steady_ns;
        let late = |lease| matches!(lease, LeaseState::Breaking(since) if ns.saturating_sub(since) >= LEASE_BREAK_NS);
        let mut places = Vec::new();
        for handle in self.handles.values_mut().filter(|handle| late(handle.lease)) {
            handle.lease = LeaseState::Gone;
            places.push(handle.place);
        }
        places.into_iter().for_each(|place| self.release_blocked(place));
    }

    pub(super) fn new_meta(&self, mode: u32) -> Meta {
        Meta { mode, mtime: self.stamp(), ctime: self.stamp(), born: self.stamp() }
    }

    // --- paths

    fn root(&self) -> Place {
        Place { device: 0, node: self.devices[0].root }
    }

    /// The inode of a name in a directory, or the root of the device mounted there.
    pub(super) fn child(&self, dir: Place, name: &OsStr) -> io::Result<Option<Place>> {
        if name == "." {
            return Ok(Some(dir));
        }
        let found = self.devices[dir.device].find(dir.node, name)?;
        Ok(found.map(|node| {
            let place = Place { node, ..dir };
            self.mounts.get(&place).copied().unwrap_or(place)
        }))
    }

    /// EBUSY for a name on which a device is mounted.
    pub(super) fn check_not_mount(&self, dir: Place, name: &OsStr) -> io::Result<()> {
        let found = self.devices[dir.device].find(dir.node, name)?;
        let busy = found.is_some_and(|node| self.mounts.contains_key(&Place { node, ..dir }));
        if busy { Err(errno(libc::EBUSY)) } else { Ok(()) }
    }

    /// Resolves a path from the root; links in it are followed, one at its end only with `follow_last`.
    pub(super) fn walk(&self, path: &Path, follow_last: bool) -> io::Result<Place> {
        let mut todo = steps(path);
        let mut trail = vec![self.root()];
        let mut links_left = LINKS_FOLLOWED_MAX;
        while let Some(name) = todo.pop() {
            if name == ".." {
                trail.truncate(trail.len().saturating_sub(1).max(1));
                continue;
            }
            let here = trail.last().copied().unwrap_or(self.root());
            let next = self.child(here, &name)?.ok_or_else(|| errno(libc::ENOENT))?;
            match &self.node(next)?.target {
                Some(target) if follow_last || !todo.is_empty() => {
                    links_left = links_left.checked_sub(1).ok_or_else(|| errno(libc::ELOOP))?;
                    if target.is_absolute() {
                        trail.truncate(1);
                    }
                    todo.extend(steps(target));
                }
                _ => trail.push(next),
            }
        }
        Ok(trail.last().copied().unwrap_or(self.root()))
    }

    /// The directory that holds the last name of a path, and that name.
    pub(super) fn parent<'a>(&self, path: &'a Path) -> io::Result<(Place, &'a OsStr)> {
        let name = path.file_name().ok_or_else(|| errno(libc::EINVAL))?;
        Ok((self.walk(path.parent().unwrap_or(Path::new("/")), true)?, name))
    }

    /// Mounts a new device at a directory, which is created durably if it does not exist.
    pub(super) fn mount(&mut self, path: &Path) -> io::Result<usize> {
        let mut here = self.root();
        for name in steps(path).into_iter().rev() {
            here = match self.child(here, &name)? {
                Some(place) => place,
                None => {
                    let meta = self.new_meta(0o755);
                    let node = self.device(here).make(here.node, &name, FileKind::Directory, meta)?;
                    self.device(here).sync_dir(here.node)?;
                    Place { node, ..here }
                }
            };
        }
        if self.node(here)?.kind != FileKind::Directory {
            return Err(errno(libc::ENOTDIR));
        }
        if here.node == self.devices[here.device].root {
            return Err(errno(libc::EBUSY));
        }
        let device = self.devices.len();
        self.devices.push(Device::new(FIRST_DEVICE + device as u64, self.stamp()));
        self.mounts.insert(here, Place { device, node: self.devices[device].root });
        Ok(device)
    }

    pub(super) fn stat(&self, place: Place) -> io::Result<Stat> {
        let node = self.node(place)?;
        let is_dir = node.kind == FileKind::Directory;
        let identity = FileIdentity {
            device: self.devices[place.device].number,
            inode: node.number,
            size: if is_dir { super::content::PAGE } else { node.size },
            mtime: node.meta.mtime,
            ctime: node.meta.ctime,
        };
        // A directory also has the link `.`.
        let links = node.links.seen + u64::from(is_dir && node.links.seen > 0);
        Ok(Stat { identity, kind: node.kind, links, mode: node.meta.mode, born: Some(node.meta.born) })
    }

    // --- descriptors

    pub(super) fn open(&mut self, place: Place, writable: bool) -> io::Result<u64> {
        self.device(place).opened(place.node)?;
        self.handle_ids += 1;
        let is_beside = self.behaviour.is_beside;
        self.handles.insert(self.handle_ids, Handle { place, writable, lease: LeaseState::None, is_beside });
        Ok(self.handle_ids)
    }

    /// The open descriptor; EIO if a crash has closed it.
    pub(super) fn handle(&self, id: u64) -> io::Result<&Handle> {
        self.handles.get(&id).ok_or_else(|| errno(libc::EIO))
    }

    pub(super) fn place(&self, id: u64) -> io::Result<Place> {
        self.handle(id).map(|handle| handle.place)
    }

    /// The place of a descriptor that is open for writing.
    pub(super) fn writable(&self, id: u64) -> io::Result<Place> {
        let handle = self.handle(id)?;
        if handle.writable { Ok(handle.place) } else { Err(errno(libc::EBADF)) }
    }

    /// Closes a descriptor and releases its lock and its lease; writers that waited for the lease continue.
    pub(super) fn close(&mut self, id: u64) {
        let Some(handle) = self.handles.remove(&id) else { return };
        self.locks.retain(|_, lock| lock.handle != id);
        self.marks.retain(|_, mark| mark.handle != id);
        self.release_blocked(handle.place);
        self.device(handle.place).closed(handle.place.node);
    }

    /// Another program opens a file for writing. A lease on it starts to break; the program waits only when it writes,
    /// which makes no difference to the others.
    pub(super) fn open_writer(&mut self, place: Place) -> io::Result<u64> {
        self.break_leases(place);
        self.device(place).opened(place.node)?;
        self.handle_ids += 1;
        self.writers.insert(self.handle_ids, place);
        Ok(self.handle_ids)
    }

    pub(super) fn writer(&self, id: u64) -> io::Result<Place> {
        self.writers.get(&id).copied().ok_or_else(|| errno(libc::EBADF))
    }

    pub(super) fn close_writer(&mut self, id: u64) {
        if let Some(place) = self.writers.remove(&id) {
            self.device(place).closed(place.node);
        }
    }

    // --- leases

    fn is_leased(&self, place: Place) -> bool {
        let holds = |handle: &Handle| matches!(handle.lease, LeaseState::Held | LeaseState::Breaking(_));
        self.handles.values().any(|handle| handle.place == place && holds(handle))
    }

    /// Starts to break the leases on a file; true if there is one.
    pub(super) fn break_leases(&mut self, place: Place) -> bool {
        let since = self.clock.steady_ns;
        for handle in self.handles.values_mut().filter(|handle| handle.place == place) {
            if handle.lease == LeaseState::Held {
                handle.lease = LeaseState::Breaking(since);
            }
        }
        self.is_leased(place)
    }

    /// Changes a file's content, now or when the lease on it is released.
    pub(super) fn change(&mut self, place: Place, change: Change) -> io::Result<()> {
        if self.break_leases(place) {
            self.device(place).node_mut(place.node)?.blocked.push(change);
            return Ok(());
        }
        let now = self.stamp();
        self.device(place).change(place.node, &change, now)
    }

    /// Carries out the writes that waited for the last lease on a file.
    fn release_blocked(&mut self, place: Place) {
        if self.is_leased(place) || self.node(place).map_or(true, |node| node.blocked.is_empty()) {
            return;
        }
        let now = self.stamp();
        let device = self.device(place);
        let blocked = device.node_mut(place.node).map(|node| std::mem::take(&mut node.blocked)).unwrap_or_default();
        for change in blocked {
            // The writer must handle a full disk; the part that fitted is in the file.
            let _ = device.change(place.node, &change, now);
        }
    }

    pub(super) fn lease(&mut self, id: u64) -> io::Result<Lease> {
        let place = self.place(id)?;
        let node = self.node(place)?;
        if !self.behaviour.leases || node.kind != FileKind::Regular {
            return Ok(Lease::Unsupported);
        }
        let written = self.writers.values().any(|writer| *writer == place)
            || self.handles.values().any(|handle| handle.place == place && handle.writable)
            || !node.blocked.is_empty();
        if written {
            return Ok(Lease::Writer);
        }
        if let Some(handle) = self.handles.get_mut(&id) {
            handle.lease = LeaseState::Held;
        }
        Ok(Lease::Held)
    }

    pub(super) fn lease_broken(&self, id: u64) -> io::Result<bool> {
        self.handle(id).map(|handle| handle.lease != LeaseState::Held)
    }

    // --- locks

    /// flock(2), exclusive, without waiting.
    pub(super) fn lock(&mut self, id: u64) -> io::Result<bool> {
        let place = self.place(id)?;
        let lock = Lock { handle: id, process: self.process };
        Ok(self.locks.entry(place).or_insert(lock).handle == id)
    }

    pub(super) fn unlock(&mut self, id: u64) -> io::Result<()> {
        self.handle(id)?;
        self.locks.retain(|_, lock| lock.handle != id);
        Ok(())
    }

    /// An ingestor's mark on a directory; it does not conflict with an flock.
    pub(super) fn mark(&mut self, id: u64) -> io::Result<bool> {
        let place = self.place(id)?;
        let mark = Lock { handle: id, process: self.process };
        Ok(self.marks.entry(place).or_insert(mark).handle == id)
    }

    pub(super) fn marked_by(&self, id: u64) -> Option<u32> {
        let place = self.place(id).ok()?;
        self.marks.get(&place).filter(|mark| mark.handle != id).map(|mark| mark.process)
    }

    /// flock(2), exclusive, by another program; does nothing if the file is locked.
    pub(super) fn lock_by_stranger(&mut self, place: Place, process: u32) {
        self.locks.entry(place).or_insert(Lock { handle: STRANGER, process });
    }

    /// Releases all locks of the other programs.
    pub(super) fn unlock_strangers(&mut self) {
        self.locks.retain(|_, lock| lock.handle != STRANGER);
    }

    pub(super) fn lock_holder(&self, identity: &FileIdentity) -> Option<u32> {
        let device = self.devices.iter().position(|device| device.number == identity.device)?;
        let node = self.devices[device].by_number(identity.inode)?;
        self.locks.get(&Place { device, node }).map(|lock| lock.process)
    }

    // --- the end

    /// The end of the program under test: its files are closed, its writes stay.
    pub(super) fn kill(&mut self) {
        self.dead = false;
        let own = self.handles.iter().filter(|(_, handle)| !handle.is_beside);
        let ids: Vec<u64> = own.map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.close(id));
    }

    /// A power cut: every process ends, and only synced data and the changes chosen by `survival` remain.
    pub(super) fn crash(&mut self, survival: Survival) {
        self.dead = false;
        self.handles.clear();
        self.writers.clear();
        self.locks.clear();
        self.marks.clear();
        let mut fate = Fate::new(survival);
        self.devices.iter_mut().for_each(|device| device.crash(&mut fate));
    }

    /// Decides which sectors reached the disk before a sync failed; None if none did.
    pub(super) fn failed_sync_fate(&mut self) -> Option<Fate> {
        if self.behaviour.torn_syncs { Some(Fate::new(Survival::Seed(self.rng.next()))) } else { None }
    }
}

/// The names of a path, last first.
fn steps(path: &Path) -> Vec<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    };
    path.components().rev().filter_map(name).collect()
}
