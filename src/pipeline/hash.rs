//! Hashing, with guards against a file that changes meanwhile, and copying where a rename is not possible.
//!
//! Invariants:
//! - A file returned as [`HashedFile`] was, from before its first byte was read until now, the file that was settled:
//!   same identity before and after, on one descriptor, and with a lease held where leases exist.
//! - A copy is complete and durable before it is returned; a copy that is not returned is removed.
//! - One read of the data, whether it is copied or not.

mod vouched;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::csv::Profiler;
use super::layout::Layout;
use super::places::private_dir;
use super::scan::NameRules;
use super::sidecar::{Demand, FoundSums, Notes, SIDECAR_BYTES_MAX, Summer};
use super::{HashResult, HashedFile, Refusal, Refused, Settled, subdir};
use crate::fs::Syscall;
use crate::fs::{self, FileKind, Fs, Lease, Open, Stat};
use crate::journal::record::{Copy, EmptyFiles, Identity, Profile, Validation};
use crate::lake::parts::{Cut, PartSums};
use crate::log;
use crate::types::{Algorithm, Sha256};

/// The bits of its source's mode that a copy keeps.
const PERMISSIONS: u32 = 0o777;

/// Bytes read at once: few enough for the CPU cache, enough to make the cost of system calls negligible.
const READ_BYTES: usize = 256 << 10;
const _: () = assert!(SIDECAR_BYTES_MAX <= READ_BYTES, "a sidecar is read at once");

/// The private directory for unfinished copies: on the warehouse's file system, hidden from query engines.
pub fn copies_dir(warehouse: &Path, store: &[u8; 16]) -> PathBuf {
    private_dir(warehouse, store)
}

/// State that all workers share.
pub struct Shared<F: Fs> {
    /// The file system.
    pub fs: F,
    /// The staging directory.
    pub staging: Arc<F::Dir>,
    /// Where copies are made; None if nothing is copied here: in a dry run, or for a lake.
    pub copies: Option<Arc<F::Dir>>,
    /// Nothing may change, and no writer may have to wait.
    pub is_dry_run: bool,
    /// Which names are ingested, and in sidecar mode the names of sidecars.
    pub names: NameRules,
    /// Whether and how CSV files are validated while they are hashed.
    pub validate: Option<Validation>,
    /// Only files with a matching checksum in their sidecar are ingested.
    pub require_checksum: bool,
    /// In which directory of the warehouse a file is published.
    pub layout: Layout,
    /// By what two files are one and the same, and what happens to empty ones.
    pub identity: Identity,
    /// Which messages about sidecars were already logged.
    pub notes: Arc<Notes>,
    /// Set when renames into the warehouse cannot work: another device, or another mount of the same.
    pub copy_all: AtomicBool,
    /// Set once leases have turned out to be unsupported, so that it is logged once.
    pub leases_missing: AtomicBool,
    /// How many small files were handed to workers and not yet received by the committer.
    pub under_way: AtomicUsize,
    /// Set when the process is to stop.
    pub stop: AtomicBool,
    /// Set by the first signal, before `stop`.
    pub signalled: Arc<AtomicBool>,
}

/// One worker.
pub struct Hasher<F: Fs> {
    shared: Arc<Shared<F>>,
    buffer: Vec<u8>,
}

impl<F: Fs> Hasher<F> {
    /// A worker with a buffer of its own.
    pub fn new(shared: Arc<Shared<F>>) -> Hasher<F> {
        Hasher { shared, buffer: vec![0; READ_BYTES] }
    }

    /// Hashes a file. With `sync`, or if it is large, its bytes are durable on return; otherwise the committer syncs a
    /// whole batch at once.
    pub fn hash(&mut self, settled: Settled, sync: bool) -> HashResult<F> {
        self.hash_between(settled, sync, &mut || ())
    }

    /// The same. `between` is called after each piece, and may do other work.
    pub fn hash_between(&mut self, settled: Settled, sync: bool, between: &mut dyn FnMut()) -> HashResult<F> {
        match self.try_hash(&settled, sync, between) {
            Ok(content) => Ok(HashedFile {
                settled,
                file: content.file,
                leased: content.leased,
                sha256: content.sha256,
                durable: content.durable,
                partition: content.partition,
                copy: content.copy.map(Box::new),
                profile: content.profile.map(Box::new),
                parts: content.parts,
                verified_by: content.verified_by,
            }),
            // The sum that differs was not in a sidecar.
            Err(Refusal::ChecksumDiffers(mismatch)) if settled.group.is_some() => {
                Err(Box::new(Refused { settled, refusal: Refusal::OtherSum(mismatch) }))
            }
            Err(refusal) => Err(Box::new(Refused { settled, refusal })),
        }
    }

    fn try_hash(
        &mut self,
        settled: &Settled,
        sync: bool,
        between: &mut dyn FnMut(),
    ) -> Result<HashedContent<F>, Refusal> {
        let shared = self.shared.clone();
        if shared.stop.load(Ordering::Relaxed) {
            return Err(Refusal::Interrupted);
        }
        // Decided by the name alone, so before anything is read.
        let partition = match &settled.partition {
            Some(recorded) => recorded.clone(),
            None => shared.layout.dir(&settled.name, settled.complete_at).map_err(Refusal::NoMatch)?,
        };
        let (file, leased) = self.open(settled)?;
        let vouched = self.vouched(settled)?;
        let demand = &vouched.demand;
        let copies = shared.copies.as_ref();
        let empty = Some(shared.identity.empty).filter(|_| settled.identity.size == 0);
        let stays_out = empty.is_some_and(|empty| empty != EmptyFiles::Ingest);
        let mut look = Look::into(settled, shared.validate.filter(|_| !stays_out));
        let is_for_lake = copies.is_none() && !shared.is_dry_run;
        let mut parts = is_for_lake.then(|| PartSums::of(settled.identity.size, &Cut::USUAL)).flatten();
        let mut per_piece = PerPiece { look: &mut look, parts: parts.as_mut(), between };
        let (sums, copy) =
            match copies.filter(|_| !stays_out && (shared.copy_all.load(Ordering::Relaxed) || settled.links > 1)) {
                Some(copies) => self.copy(&file, settled, demand, copies, &mut per_piece)?,
                None => (self.digest(&file, settled, demand, None, &mut per_piece)?, None),
            };
        let verified_by = checked(demand, &sums)?;
        if stays_out {
            return Err(Refusal::Empty { leaves: empty == Some(EmptyFiles::Quarantine) });
        }
        let sync = copy.is_none() && copies.is_some() && (sync || !settled.is_small());
        if sync {
            self.sync(&file)?;
        }
        self.say(settled, &vouched);
        let durable = sync || copy.is_some();
        let (sha256, profile) = (sums.sha256, look.profile);
        let parts = parts.map(PartSums::finish).unwrap_or_default();
        Ok(HashedContent { file, leased, sha256, durable, partition, copy, profile, verified_by, parts })
    }

    /// Opens the file that was settled, and no other; the flag is true if a lease is held.
    fn open(&self, settled: &Settled) -> Result<(F::File, bool), Refusal> {
        let shared = &self.shared;
        let dir = self.dir_of(settled).map_err(refuse_open)?;
        let name = subdir::file_name(&settled.name);
        let file = shared.fs.open(&dir, name, Open::Read).map_err(refuse_open)?;
        let leased = match shared.fs.lease(&file)? {
            Lease::Held => true,
            Lease::Writer => return Err(Refusal::OpenForWriting),
            Lease::Unsupported => {
                if !shared.leases_missing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        event = "leases_unsupported",
                        path = log::path(shared.fs.dir_path(&shared.staging)),
                        "no read leases here: a silent writer is noticed by size and times only"
                    );
                }
                false
            }
        };
        check_unchanged(&shared.fs.stat_file(&file)?, settled)?;
        if leased && shared.is_dry_run {
            // A dry run only checks whether there is a writer; it must not keep one waiting.
            drop(file);
            return Ok((shared.fs.open(&dir, name, Open::Read).map_err(refuse_open)?, false));
        }
        Ok((file, leased))
    }

    /// The directory of a staged file. It is opened for each file: an upstream may rename or replace it at any moment.
    /// Whether it is on another mount was decided when it was scanned.
    fn dir_of(&self, settled: &Settled) -> fs::Result<Arc<F::Dir>> {
        let (fs, staging) = (&self.shared.fs, &self.shared.staging);
        match subdir::dir_of(&settled.name) {
            path if path.as_os_str().is_empty() => Ok(staging.clone()),
            path => fs.open_beneath(staging, path, true).map(Arc::new),
        }
    }

    /// The open file, whether it is leased, and the digest of its content. Copies and syncs nothing.
    pub fn verify(&mut self, settled: &Settled) -> Result<(F::File, bool, Sha256), Refusal> {
        let (file, leased) = self.open(settled)?;
        let sums = self.digest(
            &file,
            settled,
            &Demand::default(),
            None,
            &mut PerPiece { look: &mut Look::none(), parts: None, between: &mut || () },
        )?;
        Ok((file, leased, sums.sha256))
    }

    /// Makes a staged file's bytes durable. If that fails, the pages that never reached the disk are dropped from the
    /// page cache, so that the next attempt hashes what is on the disk instead of trusting a second fsync.
    fn sync(&self, file: &F::File) -> Result<(), Refusal> {
        self.shared.fs.sync_data(file).map_err(|error| {
            let _ = self.shared.fs.drop_cache(file);
            Refusal::Failed(error)
        })
    }

    /// The checksums of the file's content, which must have the settled size and not change meanwhile. Each piece is also
    /// written to `target`, and validated.
    fn digest(
        &mut self,
        file: &F::File,
        settled: &Settled,
        demand: &Demand,
        target: Option<&F::File>,
        per_piece: &mut PerPiece<'_>,
    ) -> Result<FoundSums, Refusal> {
        let fs = self.shared.fs.clone();
        let mut summer = Summer::new(demand);
        let mut offset = 0;
        while offset < settled.identity.size {
            let read = fs.read_at(file, &mut self.buffer, offset)?;
            if read == 0 {
                return Err(Refusal::Changed);
            }
            let piece = &self.buffer[..read];
            summer.update(piece);
            per_piece.look.at(piece);
            if let Some(parts) = &mut per_piece.parts {
                parts.update(piece);
            }
            if let Some(target) = target {
                fs::write_all_at(&fs, target, piece, offset)?;
            }
            offset += read as u64;
            if self.shared.stop.load(Ordering::Relaxed) && offset < settled.identity.size {
                return Err(Refusal::Interrupted);
            }
            (per_piece.between)();
        }
        check_unchanged(&fs.stat_file(file)?, settled)?;
        per_piece.look.finish()?;
        Ok(summer.finish())
    }

    /// Copies the file while hashing it. The copy keeps mode and mtime. It is durable on return, except for its name.
    fn copy(
        &mut self,
        file: &F::File,
        settled: &Settled,
        demand: &Demand,
        copies: &F::Dir,
        per_piece: &mut PerPiece<'_>,
    ) -> Result<(FoundSums, Option<Copy>), Refusal> {
        let fs = &self.shared.fs.clone();
        if !settled.is_small() && fs.free_bytes(copies)? < settled.identity.size {
            // Copying until the disk is full would use the room that journal and manifest need.
            let source = std::io::Error::from_raw_os_error(libc::ENOSPC);
            return Err(fs::Error { op: Syscall::Copy, path: fs.dir_path(copies).to_path_buf(), source }.into());
        }
        let name = OsString::from(format!("{}.copy", crate::journal::hex(&fs.random())));
        let target = fs.open(copies, &name, Open::Create { mode: 0o600 })?;
        let made = self.digest(file, settled, demand, Some(&target), per_piece).and_then(|sums| {
            // A copy whose checksum differs would only be discarded.
            checked(demand, &sums)?;
            // The copy belongs to the user that runs this program: with the source's setuid bit, the file's author could
            // run code as that user.
            let mode = fs.stat_file(file)?.mode & PERMISSIONS;
            match fs.set_meta(&target, mode, settled.identity.mtime) {
                // A file system that cannot set modes or times still holds a valid copy.
                Err(error) if is_unsupported(&error) => {}
                set => set?,
            }
            fs.sync_all(&target)?;
            Ok((sums, fs.stat_file(&target)?.identity))
        });
        match made {
            Ok((sums, identity)) => {
                let path = fs.dir_path(copies).join(&name);
                Ok((sums, Some(Copy { identity, path })))
            }
            Err(refusal) => {
                let _ = fs.unlink(copies, &name);
                Err(refusal)
            }
        }
    }
}

/// The digest of an open file's whole content.
pub fn digest_of<F: Fs>(fs: &F, file: &F::File) -> fs::Result<Sha256> {
    sums_of(fs, file, &Demand::default()).map(|sums| sums.sha256)
}

/// The SHA-256 and the demanded checksums of an open file's whole content.
pub fn sums_of<F: Fs>(fs: &F, file: &F::File, demand: &Demand) -> fs::Result<FoundSums> {
    let mut summer = Summer::new(demand);
    let (mut buffer, mut offset) = (vec![0; READ_BYTES], 0);
    loop {
        let read = fs.read_at(file, &mut buffer, offset)?;
        if read == 0 {
            return Ok(summer.finish());
        }
        summer.update(&buffer[..read]);
        offset += read as u64;
    }
}

/// The strongest demanded checksum; refused if one that decides differs.
fn checked(demand: &Demand, sums: &FoundSums) -> Result<Option<Algorithm>, Refusal> {
    demand.check(sums).map_err(|mismatch| Refusal::ChecksumDiffers(Box::new(mismatch)))
}

/// The result of hashing.
struct HashedContent<F: Fs> {
    file: F::File,
    leased: bool,
    sha256: Sha256,
    durable: bool,
    partition: PathBuf,
    copy: Option<Copy>,
    profile: Option<Profile>,
    verified_by: Option<Algorithm>,
    parts: Vec<Sha256>,
}

/// What else is done with each piece of a file.
struct PerPiece<'a> {
    look: &'a mut Look,
    parts: Option<&'a mut PartSums>,
    /// Other work of the caller.
    between: &'a mut dyn FnMut(),
}

/// Validation of a file while it is hashed.
struct Look {
    profiler: Option<Profiler>,
    refuse: bool,
    profile: Option<Profile>,
}

impl Look {
    fn none() -> Look {
        Look { profiler: None, refuse: false, profile: None }
    }

    fn into(settled: &Settled, validate: Option<Validation>) -> Look {
        let of = |validate| Profiler::of(subdir::file_name(&settled.name).as_bytes(), &validate, settled.identity.size);
        let profiler = validate.and_then(of);
        Look { profiler, refuse: validate.is_some_and(|validate| validate.refuse), profile: None }
    }

    fn at(&mut self, piece: &[u8]) {
        if let Some(profiler) = &mut self.profiler {
            profiler.feed(piece);
        }
    }

    /// A fault counts only after the last fstat has shown that the file did not change: until then it may be a fault of a
    /// half-written file.
    fn finish(&mut self) -> Result<(), Refusal> {
        self.profile = self.profiler.take().map(Profiler::finish);
        match self.profile.as_ref().and_then(|profile| profile.fault.clone()).filter(|_| self.refuse) {
            Some(fault) => Err(Refusal::Malformed(fault)),
            None => Ok(()),
        }
    }
}

impl From<fs::Error> for Refusal {
    fn from(error: fs::Error) -> Refusal {
        Refusal::Failed(error)
    }
}

fn refuse_open(error: fs::Error) -> Refusal {
    let not_regular = [libc::ELOOP, libc::ENXIO, libc::ENODEV, libc::ENOTDIR];
    if error.source.kind() == std::io::ErrorKind::WouldBlock {
        // Another program holds a lease for writing, as Samba does for its clients (fcntl(2), F_SETLEASE).
        Refusal::OpenForWriting
    } else if error.is_not_found() {
        Refusal::Vanished
    } else if error.source.raw_os_error().is_some_and(|errno| not_regular.contains(&errno)) {
        Refusal::Changed
    } else {
        Refusal::Failed(error)
    }
}

/// True if the file system does not support such modes or times, or does not permit setting them.
fn is_unsupported(error: &fs::Error) -> bool {
    let errnos = [libc::EPERM, libc::EACCES, libc::EINVAL, libc::EOPNOTSUPP, libc::ENOSYS];
    error.source.raw_os_error().is_some_and(|errno| errnos.contains(&errno))
}

/// Checks that the open file is the one that was settled, in the same state.
fn check_unchanged(now: &Stat, settled: &Settled) -> Result<(), Refusal> {
    let unchanged = now.kind == FileKind::Regular && now.identity == settled.identity;
    if unchanged { Ok(()) } else { Err(Refusal::Changed) }
}

/// Empties the private directory, except for the names in `needed`: recovery has moved every other useful copy to the
/// warehouse. A file that cannot be removed takes room, and is no reason to stop.
pub fn remove_leftovers<F: Fs>(fs: &F, copies: &F::Dir, needed: &[OsString]) -> fs::Result<()> {
    let entries: fs::Result<Vec<_>> = fs.list(copies)?.collect();
    for entry in entries? {
        if needed.contains(&entry.name) {
            continue;
        }
        let removed = match fs.stat(copies, &entry.name) {
            Ok(Some(stat)) if stat.kind == FileKind::Regular => fs.unlink(copies, &entry.name),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.spares_others() => {
                tracing::warn!(event = "copy_not_removed", path = log::path(&error.path), error = %error);
            }
            removed => removed?,
        }
    }
    Ok(())
}
