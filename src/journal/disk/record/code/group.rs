//! The encoding of groups.

use super::fields::{Fields, put_identity, put_path, put_u64};
use crate::journal::disk::record::{Group, KnownMember};
use crate::types::{IngestId, Sha256};

pub(super) fn put_group(out: &mut Vec<u8>, group: &Group) {
    put_path(out, &group.path);
    put_identity(out, &group.identity);
    out.extend_from_slice(&(group.moving.len() as u16).to_le_bytes());
    for (id, inode) in group.moving.iter().zip(&group.inodes) {
        put_u64(out, id.0);
        put_u64(out, *inode);
    }
    out.extend_from_slice(&(group.known.len() as u16).to_le_bytes());
    for known in &group.known {
        put_path(out, &known.name);
        out.extend_from_slice(&known.sha256.0);
        put_u64(out, known.of.0);
    }
}

impl Fields<'_> {
    pub(super) fn group(&mut self) -> Option<Group> {
        let (path, identity) = (self.path()?, self.identity()?);
        let count = u16::from_le_bytes(self.array()?);
        let files: Vec<_> = (0..count).map(|_| Some((IngestId(self.u64()?), self.u64()?))).collect::<Option<_>>()?;
        let (moving, inodes): (Vec<IngestId>, Vec<u64>) = files.into_iter().unzip();
        if !moving.is_sorted_by(|one, next| one < next) {
            return None;
        }
        let count = u16::from_le_bytes(self.array()?);
        let known = (0..count).map(|_| {
            Some(KnownMember { name: self.path()?, sha256: Sha256(self.array()?), of: IngestId(self.u64()?) })
        });
        Some(Group { path, identity, moving, inodes, known: known.collect::<Option<_>>()? })
    }
}
