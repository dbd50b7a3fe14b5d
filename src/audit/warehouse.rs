//! The warehouse, and how its files are reached.
//!
//! Invariants:
//! - Whatever a line or the journal says, only the warehouse's own directory is opened and, from there, one directory
//!   below the other, none of them through a link.
//! - The warehouse's own path is chosen by the operator, and may be a link; and a line may name the same directory by
//!   another path. To find that out, the directories above the file that a line names are opened, but neither listed nor
//!   read.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::finding::Kind;
use crate::fs::{self, FileKind, Fs};
use crate::limits::PARTITION_LEVELS_MAX;

/// Directories kept open at a time, for files that come in no order.
const OPEN_DIRS_MAX: usize = 64;

/// Why a directory is not opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stray {
    /// It is not in the warehouse.
    #[error("its path leads out of the warehouse, and is not followed")]
    Elsewhere,
    /// There is a link on the way.
    #[error("{} is a symbolic link, and not followed", .0.display())]
    Linked(PathBuf),
    /// A file operation failed.
    #[error(transparent)]
    Io(#[from] fs::Error),
}

impl Stray {
    /// The kind of finding that this is for a file that should exist.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Stray::Elsewhere | Stray::Linked(_) => Kind::Outside,
            Stray::Io(error) if error.is_not_found() => Kind::Missing,
            Stray::Io(_) => Kind::Unreadable,
        }
    }
}

/// The warehouse.
pub(super) struct WarehouseView<F: Fs> {
    fs: F,
    path: PathBuf,
    root: Arc<F::Dir>,
    /// Device and inode.
    key: (u64, u64),
}

impl<F: Fs> WarehouseView<F> {
    /// Opens it at the operator's path.
    pub(super) fn open(fs: &F, path: &Path) -> fs::Result<WarehouseView<F>> {
        let root = Arc::new(fs.open_dir(path)?);
        let key = fs.stat_dir(&root)?.identity.key();
        Ok(WarehouseView { fs: fs.clone(), path: path.to_path_buf(), root, key })
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The open directory.
    pub(super) fn root(&self) -> &F::Dir {
        &self.root
    }

    /// Opens a directory in it.
    pub(super) fn open_dir(&self, path: &Path) -> Result<Arc<F::Dir>, Stray> {
        let mut dir = self.root.clone();
        for name in self.way_to(path).ok_or(Stray::Elsewhere)? {
            let kind = self.fs.stat(&dir, name)?.map(|stat| stat.kind);
            if kind == Some(FileKind::Symlink) {
                return Err(Stray::Linked(self.fs.dir_path(&dir).join(name)));
            }
            // A directory that has been replaced by a link is refused here.
            dir = Arc::new(self.fs.open_subdir(&dir, name)?);
        }
        Ok(dir)
    }

    /// The first name on the way to a directory, if it is below the warehouse.
    pub(super) fn top_of<'a>(&self, path: &'a Path) -> Option<&'a OsStr> {
        self.way_to(path)?.first().copied()
    }

    /// The names that lead from the warehouse to a directory; None if it is not in the warehouse.
    fn way_to<'a>(&self, path: &'a Path) -> Option<Vec<&'a OsStr>> {
        let below = path.strip_prefix(&self.path).ok().and_then(|rest| {
            let name = |step| if let Component::Normal(name) = step { Some(name) } else { None };
            rest.components().map(name).collect()
        });
        below.or_else(|| {
            // By another path: one of the directories above it is the warehouse.
            let mut names = Vec::new();
            let mut above = path;
            for _ in 0..PARTITION_LEVELS_MAX {
                let Some(Component::Normal(name)) = above.components().next_back() else { return None };
                names.insert(0, name);
                above = above.parent()?;
                if self.is(above) {
                    return Some(names);
                }
            }
            None
        })
    }

    /// True if this path leads to the warehouse.
    fn is(&self, path: &Path) -> bool {
        let stat = self.fs.open_dir(path).and_then(|dir| self.fs.stat_dir(&dir));
        stat.is_ok_and(|stat| stat.identity.key() == self.key)
    }

    /// Device and inode of the directory at a path; None if it cannot be opened, or must not be.
    pub(super) fn identity(&self, path: &Path) -> Option<(u64, u64)> {
        let stat = self.fs.stat_dir(&*self.open_dir(path).ok()?).ok()?;
        Some(stat.identity.key())
    }
}

/// Directories that are opened once for many files.
pub(super) struct OpenDirs<'a, F: Fs> {
    warehouse: &'a WarehouseView<F>,
    open: HashMap<PathBuf, Arc<F::Dir>>,
}

impl<'a, F: Fs> OpenDirs<'a, F> {
    pub(super) fn new(warehouse: &'a WarehouseView<F>) -> OpenDirs<'a, F> {
        OpenDirs { warehouse, open: HashMap::new() }
    }

    pub(super) fn open(&mut self, path: &Path) -> Result<Arc<F::Dir>, Stray> {
        if let Some(dir) = self.open.get(path) {
            return Ok(dir.clone());
        }
        let dir = self.warehouse.open_dir(path)?;
        if self.open.len() >= OPEN_DIRS_MAX {
            self.open.clear();
        }
        self.open.insert(path.to_path_buf(), dir.clone());
        Ok(dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::sim::{Op, SimFs};

    /// Why: lines come from files to which other programs may write. Whatever a path leads to, no directory outside is
    /// listed, and no file there opened.
    #[test]
    fn no_path_leads_out_of_it() {
        let fs = SimFs::new(1);
        let mut upstream = fs.upstream();
        for dir in
            ["/data/wh/ingest_date=1/deep", "/data/away/ingest_date=1", "/data/wh/other", "/data/wh/source=1/day=2"]
        {
            upstream.mkdir_all(dir).unwrap();
        }
        for (target, link) in [
            ("/data/wh", "/link"),
            ("/data/away/ingest_date=1", "/data/wh/ingest_date=2"),
            ("ingest_date=1", "/data/wh/ingest_date=3"),
            ("/data/away", "/data/wh/source=1/linked"),
        ] {
            upstream.symlink(target, link).unwrap();
        }
        upstream.write("/data/wh/ingest_date=4", b"").unwrap();
        for path in ["/data/wh", "/link", "/data/away/../wh"] {
            let warehouse = WarehouseView::open(&fs, Path::new(path)).unwrap();
            let told = |dir: &str| warehouse.open_dir(Path::new(dir)).map_or_else(|stray| Some(stray.kind()), |_| None);
            for below in ["", "/ingest_date=1", "/ingest_date=1/deep", "/other", "//other/.", "/source=1/day=2"] {
                assert_eq!(told(&format!("{path}{below}")), None, "{path}{below}");
            }
            for (dir, expected) in [
                ("/data/wh/ingest_date=1", None),
                ("/link/ingest_date=1", None),
                ("/data/wh/other/../ingest_date=1", None),
                ("/link/source=1/day=2", None),
                ("/data/away/../wh/source=1/day=2", None),
                ("/link/source=1/../../away", Some(Kind::Outside)),
                ("/link/source=1/linked/ingest_date=1", Some(Kind::Outside)),
                ("/link/source=1/day=3", Some(Kind::Missing)),
                ("/data/away/ingest_date=1", Some(Kind::Outside)),
                ("/data/wh/../away/ingest_date=1", Some(Kind::Outside)),
                ("/data/wh/ingest_date=1/../../away/ingest_date=1", Some(Kind::Outside)),
                ("/data/wh/ingest_date=2", Some(Kind::Outside)),
                ("/data/wh/ingest_date=3", Some(Kind::Outside)),
                ("/data/wh/ingest_date=2/deep", Some(Kind::Outside)),
                ("/", Some(Kind::Outside)),
                ("/data", Some(Kind::Outside)),
                ("/data/wh/ingest_date=9", Some(Kind::Missing)),
                ("/data/wh/ingest_date=4", Some(Kind::Unreadable)),
            ] {
                assert_eq!(told(dir), expected, "{dir} in {path}");
            }
        }
        assert_eq!((fs.count(Op::List), fs.count(Op::Open)), (0, 0));
    }
}
