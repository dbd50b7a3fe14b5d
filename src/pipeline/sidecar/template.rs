//! The names of sidecars: a template, applied to the last component of a file's name.
//!
//! Invariants:
//! - A name that fits the template is a sidecar's and never a data file's, so a sidecar never has its file's own name.
//! - With `{name}` a sidecar belongs to one file; with `{stem}` to every file that has this stem.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use crate::pipeline::names::stem;

/// What is replaced in a template.
const PLACES: [(&[u8], bool); 2] = [(b"{name}", false), (b"{stem}", true)];

/// How sidecars are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarNames {
    before: Vec<u8>,
    after: Vec<u8>,
    by_stem: bool,
}

impl SidecarNames {
    /// Reads a template: text with one `{name}` or one `{stem}` in it.
    ///
    /// # Errors
    /// It is no template, in words that follow the option's name.
    pub fn parse(template: &OsStr) -> Result<SidecarNames, &'static str> {
        let bytes = template.as_bytes();
        let found = PLACES.iter().find_map(|(place, by_stem)| {
            let at = memchr::memmem::find(bytes, place)?;
            Some((&bytes[..at], &bytes[at + place.len()..], *by_stem))
        });
        let (before, after, by_stem) = found.ok_or("must have {name} or {stem} in it, such as {stem}.done")?;
        let text = [before, after].concat();
        if text.is_empty() {
            return Err("must differ from the file's own name: add text, such as {name}.ok");
        }
        if text.iter().any(|byte| b"{}".contains(byte)) {
            return Err("must have {name} or {stem} in it once, and no other braces");
        }
        if text.iter().any(|byte| b"/\0".contains(byte)) {
            return Err("must be a file name: sidecars are beside their files");
        }
        Ok(SidecarNames { before: before.to_vec(), after: after.to_vec(), by_stem })
    }

    /// The file's name with `suffix` behind it: `{name}SUFFIX`.
    pub fn suffix(suffix: &OsStr) -> SidecarNames {
        SidecarNames { before: Vec::new(), after: suffix.as_bytes().to_vec(), by_stem: false }
    }

    /// The template of a sidecar that several files may share, as their names show it. None if the sidecar's name has the
    /// file's whole name in it.
    pub fn shared_by(name: &OsStr, sidecar: &OsStr) -> Option<SidecarNames> {
        let ((_, name), (_, sidecar)) = (parts(name), parts(sidecar));
        let stem = stem(OsStr::from_bytes(name)).as_bytes();
        if stem.is_empty() || memchr::memmem::find(sidecar, name).is_some() {
            return None;
        }
        let at = memchr::memmem::find(sidecar, stem)?;
        let (before, after) = (sidecar[..at].to_vec(), sidecar[at + stem.len()..].to_vec());
        Some(SidecarNames { before, after, by_stem: true })
    }

    /// The template, as [`SidecarNames::parse`] reads it.
    pub fn template(&self) -> OsString {
        let place = PLACES[usize::from(self.by_stem)].0;
        OsString::from_vec([&self.before[..], place, &self.after[..]].concat())
    }

    /// True if several files may share a sidecar.
    pub fn are_shared(&self) -> bool {
        self.by_stem
    }

    /// The name of `name`'s sidecar, in the same directory.
    pub fn of(&self, name: &OsStr) -> OsString {
        let (dir, last) = parts(name);
        let core = if self.by_stem { stem(OsStr::from_bytes(last)).as_bytes() } else { last };
        OsString::from_vec([dir, &self.before[..], core, &self.after[..]].concat())
    }

    /// What stands for `{name}` or `{stem}` in the name of a sidecar; None if it is not one.
    pub fn core<'a>(&self, name: &'a OsStr) -> Option<&'a [u8]> {
        let (_, last) = parts(name);
        let core = last.strip_prefix(&self.before[..])?.strip_suffix(&self.after[..])?;
        (!core.is_empty()).then_some(core)
    }

    /// The name of the only data file whose sidecar `name` may be; None if it is not a sidecar, or may be shared.
    pub fn data_name(&self, name: &OsStr) -> Option<OsString> {
        let core = self.core(name).filter(|_| !self.by_stem)?;
        Some(OsString::from_vec([parts(name).0, core].concat()))
    }
}

/// A suffix.
impl From<&str> for SidecarNames {
    fn from(suffix: &str) -> SidecarNames {
        SidecarNames::suffix(OsStr::new(suffix))
    }
}

/// The directories of a relative path, with the last slash, and its last component.
fn parts(name: &OsStr) -> (&[u8], &[u8]) {
    let bytes = name.as_bytes();
    bytes.split_at(memchr::memrchr(b'/', bytes).map_or(0, |slash| slash + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(template: &str) -> SidecarNames {
        SidecarNames::parse(OsStr::new(template)).unwrap()
    }

    #[test]
    fn a_template_names_one_file_or_a_stem() {
        for (template, name, sidecar) in [
            ("{name}.ok", "a.csv", "a.csv.ok"),
            ("{stem}.done", "a.csv", "a.done"),
            ("{stem}.done", "a.2026.csv.gz", "a.2026.done"),
            ("{stem}.done", "a", "a.done"),
            ("done-{name}", "a.csv", "done-a.csv"),
            ("_{stem}_.ok", "sub/dir/a.csv", "sub/dir/_a_.ok"),
            (".{name}.ok", "sub/a.csv", "sub/.a.csv.ok"),
        ] {
            let names = names(template);
            let (name, sidecar) = (OsStr::new(name), OsStr::new(sidecar));
            assert_eq!(names.of(name), sidecar, "{template}");
            assert_eq!((names.core(sidecar).is_some(), names.core(name)), (true, None), "{template}");
            assert_eq!(names.data_name(sidecar).as_deref(), Some(name).filter(|_| !names.are_shared()), "{template}");
            assert_eq!(names.template(), template);
        }
        assert_eq!(names("{name}.ok"), SidecarNames::from(".ok"));
        assert_eq!(names("{name}.ok").core(OsStr::new(".ok")), None);
    }

    /// Why: `{name}` alone would have each file release itself, and with a slash the sidecar would be in another directory.
    #[test]
    fn what_is_no_template_is_refused() {
        for bad in
            ["", ".ok", "{name}", "{stem}", "{name}{stem}", "{name}.{name}", "{nam}.ok", "ok/{name}", "{name}}.ok"]
        {
            assert!(SidecarNames::parse(OsStr::new(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_show_whether_a_sidecar_is_shared() {
        let shared = |name, sidecar| SidecarNames::shared_by(OsStr::new(name), OsStr::new(sidecar));
        assert_eq!(shared("a.csv", "a.done"), Some(names("{stem}.done")));
        assert_eq!(shared("d/a.csv", "d/done-a"), Some(names("done-{stem}")));
        assert_eq!((shared("a.csv", "a.csv.ok"), shared("a", "a.done"), shared("a.csv", "b.ok")), (None, None, None));
    }
}
