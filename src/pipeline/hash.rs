//! Hashing, with the guards against a file that changes under us, and copying where a rename will not do.
//!
//! Invariants:
//! - What is returned as [`Hashed`] was, from before its first byte was read until now, the file that was settled:
//!   same identity before and after, on one descriptor, and with a lease held where leases exist.
//! - A copy is complete and durable before it is returned; a copy that is not returned is removed.
//! - One read of the data, whether it is copied or not.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sha2::Digest;

use super::profile::Profiler;
use super::sidecar::{SIDECAR_BYTES_MAX, expected_sha256};
use super::{HashResult, Hashed, Refusal, Refused, Settled};
use crate::fs::{self, FileKind, Fs, Lease, Open, Stat};
use crate::journal::record::{Copy, Profile, Validation};
use crate::log;
use crate::types::Sha256;

/// Bytes read at once: small enough for the cache, large enough that system calls do not count.
const READ_BYTES: usize = 256 << 10;

/// The private directory for unfinished copies: on the warehouse's file system, hidden from query engines.
pub fn copies_dir(warehouse: &Path, store: &[u8; 16]) -> std::path::PathBuf {
    warehouse.join(".csv-ingestor").join(crate::journal::hex(store))
}

/// What all workers share.
pub struct Shared<F: Fs> {
    /// The file system.
    pub fs: F,
    /// The staging directory.
    pub staging: Arc<F::Dir>,
    /// Where copies are made; None for a dry run, which copies and syncs nothing.
    pub copies: Option<Arc<F::Dir>>,
    /// In sidecar mode, the ending of sidecars.
    pub sidecar_suffix: Option<OsString>,
    /// Files are looked into while they are hashed.
    pub validate: Option<Validation>,
    /// Set when renames into the warehouse cannot work: another device, or another mount of the same.
    pub copy_all: AtomicBool,
    /// Set once leases have turned out to be unsupported, so that it is said once.
    pub leases_missing: AtomicBool,
    /// Small files on their way to the committer: handed to workers, and not yet received by it.
    pub under_way: AtomicUsize,
    /// Set when the process is to stop.
    pub stop: AtomicBool,
    /// Set by the first signal, ahead of that.
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

    /// Hashes a file. With `sync`, or if it is large, its bytes are durable afterwards; otherwise the committer sees
    /// to that for a whole batch at once.
    pub fn hash(&mut self, settled: Settled, sync: bool) -> HashResult<F> {
        self.hash_between(settled, sync, &mut || ())
    }

    /// The same. `between` is called behind each piece of it, and may do something else meanwhile.
    pub fn hash_between(&mut self, settled: Settled, sync: bool, between: &mut dyn FnMut()) -> HashResult<F> {
        match self.try_hash(&settled, sync, between) {
            Ok(content) => Ok(Hashed {
                settled,
                file: content.file,
                leased: content.leased,
                sha256: content.sha256,
                durable: content.durable,
                copy: content.copy,
                profile: content.profile,
            }),
            Err(refusal) => Err(Box::new(Refused { settled, refusal })),
        }
    }

    fn try_hash(&mut self, settled: &Settled, sync: bool, between: &mut dyn FnMut()) -> Result<Content<F>, Refusal> {
        let shared = self.shared.clone();
        if shared.stop.load(Ordering::Relaxed) {
            return Err(Refusal::Interrupted);
        }
        let (file, leased) = self.open(settled)?;
        let expected = self.expected(settled)?;
        let copies = shared.copies.as_ref();
        let mut look = Look::into(settled, shared.validate);
        let (sha256, copy) = match copies.filter(|_| shared.copy_all.load(Ordering::Relaxed) || settled.links > 1) {
            Some(copies) => self.copy(&file, settled, expected, copies, &mut look, between)?,
            None => (self.digest(&file, settled, None, &mut look, between)?, None),
        };
        if let Some(expected) = expected.filter(|expected| *expected != sha256) {
            return Err(Refusal::ChecksumDiffers { expected, actual: sha256 });
        }
        let sync = copy.is_none() && copies.is_some() && (sync || !settled.is_small());
        if sync {
            self.sync(&file)?;
        }
        let durable = sync || copy.is_some();
        Ok(Content { file, leased, sha256, durable, copy, profile: look.profile })
    }

    /// Opens the file that was settled, and no other, with a lease if leases exist.
    fn open(&self, settled: &Settled) -> Result<(F::File, bool), Refusal> {
        let shared = &self.shared;
        let file = shared.fs.open(&shared.staging, &settled.name, Open::Read).map_err(refuse_open)?;
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
        if leased && shared.copies.is_none() {
            // A dry run only asks whether there is a writer; it must not keep one waiting.
            drop(file);
            return Ok((shared.fs.open(&shared.staging, &settled.name, Open::Read).map_err(refuse_open)?, false));
        }
        Ok((file, leased))
    }

    /// The open file, whether it is leased, and the digest of its content: nothing is copied or synced.
    pub fn verify(&mut self, settled: &Settled) -> Result<(F::File, bool, Sha256), Refusal> {
        let (file, leased) = self.open(settled)?;
        let sha256 = self.digest(&file, settled, None, &mut Look::none(), &mut || ())?;
        Ok((file, leased, sha256))
    }

    /// Makes a staged file's bytes durable. If that fails, the page cache is emptied of what never reached the disk,
    /// so that the next attempt hashes what is really there instead of trusting a second fsync.
    fn sync(&self, file: &F::File) -> Result<(), Refusal> {
        self.shared.fs.sync_data(file).map_err(|error| {
            let _ = self.shared.fs.drop_cache(file);
            Refusal::Failed(error)
        })
    }

    /// The digest of the file's content, which must be as long as it was and not change meanwhile. Each piece is also
    /// written to `target`, and looked into.
    fn digest(
        &mut self,
        file: &F::File,
        settled: &Settled,
        target: Option<&F::File>,
        look: &mut Look,
        between: &mut dyn FnMut(),
    ) -> Result<Sha256, Refusal> {
        let fs = self.shared.fs.clone();
        let mut hasher = sha2::Sha256::new();
        let mut offset = 0;
        while offset < settled.identity.size {
            let read = fs.read_at(file, &mut self.buffer, offset)?;
            if read == 0 {
                return Err(Refusal::Changed);
            }
            let piece = &self.buffer[..read];
            hasher.update(piece);
            look.at(piece);
            if let Some(target) = target {
                fs::write_all_at(&fs, target, piece, offset)?;
            }
            offset += read as u64;
            if self.shared.stop.load(Ordering::Relaxed) && offset < settled.identity.size {
                return Err(Refusal::Interrupted);
            }
            between();
        }
        check_unchanged(&fs.stat_file(file)?, settled)?;
        look.finish()?;
        Ok(Sha256(hasher.finalize().into()))
    }

    /// Copies the file while hashing it. The copy keeps mode and mtime, and is durable but for its name.
    fn copy(
        &mut self,
        file: &F::File,
        settled: &Settled,
        expected: Option<Sha256>,
        copies: &F::Dir,
        look: &mut Look,
        between: &mut dyn FnMut(),
    ) -> Result<(Sha256, Option<Copy>), Refusal> {
        let fs = &self.shared.fs.clone();
        if !settled.is_small() && fs.free_bytes(copies)? < settled.identity.size {
            // Copying it until the disk is full would take the room that journal and manifest need.
            let source = std::io::Error::from_raw_os_error(libc::ENOSPC);
            return Err(fs::Error { op: "copy", path: fs.dir_path(copies).to_path_buf(), source }.into());
        }
        let name = OsString::from(format!("{}.copy", crate::journal::hex(&fs.random())));
        let target = fs.open(copies, &name, Open::Create { mode: 0o600 })?;
        let made = self.digest(file, settled, Some(&target), look, between).and_then(|sha256| {
            // A copy that the sidecar disowns would only be thrown away.
            if let Some(expected) = expected.filter(|expected| *expected != sha256) {
                return Err(Refusal::ChecksumDiffers { expected, actual: sha256 });
            }
            let mode = fs.stat_file(file)?.mode;
            fs.set_meta(&target, mode, settled.identity.mtime)?;
            fs.sync_all(&target)?;
            Ok((sha256, fs.stat_file(&target)?.identity))
        });
        match made {
            Ok((sha256, identity)) => {
                let path = fs.dir_path(copies).join(&name);
                Ok((sha256, Some(Copy { identity, path })))
            }
            Err(refusal) => {
                let _ = fs.unlink(copies, &name);
                Err(refusal)
            }
        }
    }

    /// The SHA-256 that the sidecar demands. The sidecar must be the one that released the file, and complete itself:
    /// `sha256sum foo.csv > foo.csv.ok` shows an empty one until the sum is known, which must not count as a marker.
    fn expected(&mut self, settled: &Settled) -> Result<Option<Sha256>, Refusal> {
        let name = settled.sidecar_name(self.shared.sidecar_suffix.as_deref());
        let (Some(identity), Some(name)) = (settled.sidecar, name) else { return Ok(None) };
        let fs = &self.shared.fs;
        let file = match fs.open(&self.shared.staging, &name, Open::Read) {
            Err(error) if error.is_not_found() => return Err(Refusal::SidecarChanged),
            // Nothing is to be read in an empty one; so one that we may not read still is a marker.
            Err(error) if error.is_denied() && identity.size == 0 => return Ok(None),
            file => file?,
        };
        // The lease goes with the descriptor: whoever opens the sidecar later changes it, and is too late.
        if fs.lease(&file)? == Lease::Writer {
            return Err(Refusal::OpenForWriting);
        }
        let content = &mut self.buffer[..SIDECAR_BYTES_MAX];
        let read = fs::read_full_at(fs, &file, content, 0)?;
        if fs.stat_file(&file)?.identity != identity {
            return Err(Refusal::SidecarChanged);
        }
        Ok(expected_sha256(&content[..read], &settled.name))
    }
}

/// The digest of an open file's whole content.
pub fn digest_of<F: Fs>(fs: &F, file: &F::File) -> fs::Result<Sha256> {
    let mut hasher = sha2::Sha256::new();
    let (mut buffer, mut offset) = (vec![0; READ_BYTES], 0);
    loop {
        let read = fs.read_at(file, &mut buffer, offset)?;
        if read == 0 {
            return Ok(Sha256(hasher.finalize().into()));
        }
        hasher.update(&buffer[..read]);
        offset += read as u64;
    }
}

/// What hashing yields.
struct Content<F: Fs> {
    file: F::File,
    leased: bool,
    sha256: Sha256,
    durable: bool,
    copy: Option<Copy>,
    profile: Option<Profile>,
}

/// A look into a file while it is hashed.
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
        let profiler = validate.and_then(|validate| Profiler::of(settled.name.as_bytes(), validate.delimiter));
        Look { profiler, refuse: validate.is_some_and(|validate| validate.refuse), profile: None }
    }

    fn at(&mut self, piece: &[u8]) {
        if let Some(profiler) = &mut self.profiler {
            profiler.feed(piece);
        }
    }

    /// Only at the end it is certain that the file did not change meanwhile: what was seen of one that did says nothing.
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
    let not_regular = [libc::ELOOP, libc::ENXIO, libc::ENODEV];
    if error.source.kind() == std::io::ErrorKind::WouldBlock {
        // Another program holds a lease for writing: Samba gives such to its clients (fcntl(2), F_SETLEASE).
        Refusal::OpenForWriting
    } else if error.is_not_found() {
        Refusal::Vanished
    } else if error.source.raw_os_error().is_some_and(|errno| not_regular.contains(&errno)) {
        Refusal::Changed
    } else {
        Refusal::Failed(error)
    }
}

/// The file that is open is the one that was settled, in the same state.
fn check_unchanged(now: &Stat, settled: &Settled) -> Result<(), Refusal> {
    let unchanged = now.kind == FileKind::Regular && now.identity == settled.identity;
    if unchanged { Ok(()) } else { Err(Refusal::Changed) }
}

/// Empties the private directory: what recovery could use of it is in the warehouse by now.
pub fn remove_leftovers<F: Fs>(fs: &F, copies: &F::Dir) -> fs::Result<()> {
    let entries: fs::Result<Vec<_>> = fs.list(copies)?.collect();
    for entry in entries? {
        if fs.stat(copies, &entry.name)?.is_some_and(|stat| stat.kind == FileKind::Regular) {
            fs.unlink(copies, &entry.name)?;
        }
    }
    Ok(())
}
