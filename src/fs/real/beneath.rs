//! Opens directories below another one.
//!
//! Invariant: no link is followed. Without openat2(2), the directories of the path are opened one by one, each without
//! following a link.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::atomic::Ordering;

use rustix::fs::{self as sys, AtFlags, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

use super::calls::retry;
use super::{RealDir, RealFs};
use crate::fs::{Fs as _, Result, Syscall};

impl RealFs {
    pub(super) fn beneath(&self, dir: &RealDir, path: &Path, crosses: bool) -> Result<RealDir> {
        if !self.steps.load(Ordering::Relaxed) {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            how.set(ResolveFlags::NO_XDEV, !crosses);
            match retry(|| sys::openat2(&dir.file, path, flags, Mode::empty(), how)) {
                Ok(fd) => return Ok(RealDir { file: fd.into(), path: dir.path.join(path).into() }),
                Err(Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::TOOBIG) => {
                    self.steps.store(true, Ordering::Relaxed);
                }
                Err(errno) => return Err(dir.error_at(Syscall::OpenDir, path.as_os_str(), errno)),
            }
        }
        self.step_by_step(dir, path, crosses)
    }

    fn step_by_step(&self, dir: &RealDir, path: &Path, crosses: bool) -> Result<RealDir> {
        let mut names = path.iter();
        let mut here = self.open_subdir(dir, names.next().unwrap_or(OsStr::new(".")))?;
        let home = mount(dir);
        loop {
            if !crosses && mount(&here) != home {
                return Err(dir.error_at(Syscall::OpenDir, path.as_os_str(), Errno::XDEV));
            }
            let Some(name) = names.next() else { return Ok(here) };
            here = self.open_subdir(&here, name)?;
        }
    }
}

/// The mount that a directory is on, and its device: `mount --bind` gives another mount of the same device. Kernels
/// before 5.8 report the device only.
fn mount(dir: &RealDir) -> (u64, u32, u32) {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    retry(|| sys::statx(&dir.file, "", AtFlags::EMPTY_PATH, wanted)).map_or((0, 0, 0), |raw| {
        let id = if raw.stx_mask & StatxFlags::MNT_ID.bits() == 0 { 0 } else { raw.stx_mnt_id };
        (id, raw.stx_dev_major, raw.stx_dev_minor)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Why: an upstream may put a link in the place of a directory at any moment.
    #[test]
    fn links_are_not_followed_with_openat2_and_without() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path();
        std::fs::create_dir_all(top.join("in/a/b")).unwrap();
        std::fs::create_dir_all(top.join("out/b")).unwrap();
        std::os::unix::fs::symlink(top.join("out"), top.join("in/link")).unwrap();
        std::os::unix::fs::symlink("a", top.join("in/near")).unwrap();
        std::fs::write(top.join("in/file"), "").unwrap();
        for steps in [false, true] {
            let fs = RealFs::default();
            fs.steps.store(steps, Ordering::Relaxed);
            let dir = fs.open_dir(&top.join("in")).unwrap();
            for crosses in [false, true] {
                let opened = fs.open_beneath(&dir, Path::new("a/b"), crosses).unwrap();
                assert_eq!(fs.dir_path(&opened), top.join("in/a/b"));
                for path in ["link", "link/b", "near", "near/b", "file", "file/b", "c", "a/c"] {
                    let Err(error) = fs.open_beneath(&dir, Path::new(path), crosses) else {
                        panic!("{path} is opened")
                    };
                    assert!(error.is_no_directory(), "{error}");
                }
            }
        }
    }

    /// Why: /proc is another mount on every machine.
    #[test]
    fn other_mounts_are_told() {
        for steps in [false, true] {
            let fs = RealFs::default();
            fs.steps.store(steps, Ordering::Relaxed);
            let root = fs.open_dir(Path::new("/")).unwrap();
            assert!(fs.open_beneath(&root, Path::new("proc/self"), false).is_err());
            let error = fs.open_beneath(&root, Path::new("proc/sys"), false).err().unwrap();
            assert!(error.is_cross_device(), "{error}");
            fs.open_beneath(&root, Path::new("proc/sys"), true).unwrap();
        }
    }
}
