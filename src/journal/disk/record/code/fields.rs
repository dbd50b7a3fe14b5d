//! What all fields are made of.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::journal::disk::format::{PATH_BYTES_MAX, TEXT_BYTES_MAX};
use crate::types::{FileIdentity, FileTime};

pub(super) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    assert!(!crate::limits::IS_CHECKED || text.len() <= TEXT_BYTES_MAX, "whoever makes a text cuts it");
    let text = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn put_option<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

pub(super) fn put_path(out: &mut Vec<u8>, path: &Path) {
    let bytes = path.as_os_str().as_bytes();
    assert!(
        !crate::limits::IS_CHECKED || bytes.len() <= PATH_BYTES_MAX,
        "configuration and scan let no longer path in"
    );
    let bytes = &bytes[..bytes.len().min(PATH_BYTES_MAX)];
    out.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_time(out: &mut Vec<u8>, time: FileTime) {
    out.extend_from_slice(&time.sec.to_le_bytes());
    out.extend_from_slice(&time.nsec.to_le_bytes());
}

pub(super) fn put_identity(out: &mut Vec<u8>, identity: &FileIdentity) {
    put_u64(out, identity.device);
    put_u64(out, identity.inode);
    put_u64(out, identity.size);
    put_time(out, identity.mtime);
    put_time(out, identity.ctime);
}

/// The unread rest of a record's payload.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (front, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*front)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn text(&mut self) -> Option<String> {
        let length = usize::from(u16::from_le_bytes(self.array()?));
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).ok().filter(|text| text.len() <= TEXT_BYTES_MAX)
    }

    pub(super) fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.byte()? {
            0 => Some(None),
            1 => read(self).map(Some),
            _ => None,
        }
    }
}
