//! Reads what a file's sidecar demands, before the file is read.

use super::Hasher;
use crate::fs::{self, Fs, Lease, Open};
use crate::pipeline::sidecar::{Demand, SIDECAR_BYTES_MAX, Statement, statement};
use crate::pipeline::{Refusal, Settled, subdir};

/// What a file's sidecar says about it.
#[derive(Default)]
pub(super) struct Vouched {
    /// The checksums that the file must have.
    pub(super) demand: Demand,
    /// The sidecar has content, but no checksum.
    is_other: bool,
}

impl<F: Fs> Hasher<F> {
    /// The demands of the sidecar, or of the group file. The sidecar must be the sidecar that released the file, and complete itself: `sha256sum foo.csv
    /// > foo.csv.ok` leaves it empty until the sum is known, and this must not count as a marker.
    pub(super) fn vouched(&mut self, settled: &Settled) -> Result<Vouched, Refusal> {
        if let Some(group) = &settled.group {
            let member = group.member(&settled.name).ok_or(Refusal::Group)?;
            return Ok(Vouched { demand: Demand::sha256(&member.sha256), is_other: false });
        }
        let vouched = match self.statement(settled)? {
            Statement::Demands(demand) => return Ok(Vouched { demand, is_other: false }),
            Statement::Odd(what) => return Err(Refusal::SidecarOdd(what)),
            statement => Vouched { demand: Demand::default(), is_other: statement == Statement::Other },
        };
        if settled.orphaned {
            if let Some((identity, path)) = settled.sidecar.zip(self.sidecar_path(settled)) {
                self.shared.notes.orphaned(&identity, &path);
            }
            return Err(Refusal::OrphanedSidecar);
        }
        if self.shared.require_checksum {
            self.say(settled, &vouched);
            return Err(Refusal::NoChecksum);
        }
        Ok(vouched)
    }

    /// Logs, once, that a file's sidecar is not understood.
    pub(super) fn say(&self, settled: &Settled, vouched: &Vouched) {
        if let Some((identity, path)) = settled.sidecar.zip(self.sidecar_path(settled)).filter(|_| vouched.is_other) {
            self.shared.notes.not_understood(&identity, &path);
        }
    }

    fn sidecar_path(&self, settled: &Settled) -> Option<std::path::PathBuf> {
        let name = settled.sidecar_name(self.shared.names.sidecars.as_ref())?;
        Some(self.shared.fs.dir_path(&self.shared.staging).join(name))
    }

    fn statement(&mut self, settled: &Settled) -> Result<Statement, Refusal> {
        let name = settled.sidecar_name(self.shared.names.sidecars.as_ref());
        let (Some(identity), Some(name)) = (settled.sidecar, name) else { return Ok(Statement::Silent) };
        let fs = &self.shared.fs;
        let opened = self.dir_of(settled).and_then(|dir| fs.open(&dir, subdir::file_name(&name), Open::Read));
        let file = match opened {
            Err(error) if error.is_not_found() => return Err(Refusal::SidecarChanged),
            // An empty sidecar has no content to read, so it counts as a marker even without read permission.
            Err(error) if error.is_denied() && identity.size == 0 => return Ok(Statement::Silent),
            file => file?,
        };
        // The lease ends with the descriptor. A writer that opens the sidecar later changes it too late.
        if fs.lease(&file)? == Lease::Writer {
            return Err(Refusal::OpenForWriting);
        }
        let is_whole = identity.size <= SIDECAR_BYTES_MAX as u64;
        let content = &mut self.buffer[..SIDECAR_BYTES_MAX];
        let read = if is_whole { fs::read_full_at(fs, &file, content, 0)? } else { 0 };
        if fs.stat_file(&file)?.identity != identity {
            return Err(Refusal::SidecarChanged);
        }
        Ok(if is_whole { statement(&content[..read], subdir::file_name(&settled.name)) } else { Statement::too_long() })
    }
}
