//! What happens to directories in staging.

use std::path::{Path, PathBuf};

use csv_ingestor::fs::FileKind;
use csv_ingestor::fs::sim::Upstream;

use crate::crash::model::Model;
use crate::crash::places::STAGING;

/// Names below directories.
pub const NAMES: [&str; 9] = [
    "d/a.csv",
    "d/e/b.csv",
    "d/e/c.csv",
    "f/a.csv",
    "f/g/h/d.csv",
    "d/d.csv",
    "bag/data/a.csv",
    "bag/data/x/b.csv",
    "bag/data/x/c.csv",
];

/// The directories that acts rename or remove.
pub const DIRS: [&str; 8] = ["d", "d/e", "f", "f/g", "k", "k/l", "bag", "bag/data"];

/// Where directories are moved out of staging.
const ELSEWHERE: &str = "/elsewhere";

/// Number of one of the directories; any number is valid.
pub type Dir = u8;

/// One action on a directory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DirAct {
    /// It is renamed within staging.
    Rename(Dir, Dir),
    /// It is moved out of staging, with everything in it.
    TakeOut(Dir),
    /// It comes back.
    BringIn(Dir),
    /// It is moved out of staging, and a link to it gets its name.
    Link(Dir),
    /// Everything in it is removed, and then itself.
    Remove(Dir),
}

pub fn path_of(name: u8) -> PathBuf {
    Path::new(STAGING).join(NAMES[usize::from(name) % NAMES.len()])
}

fn dir_of(dir: Dir) -> PathBuf {
    Path::new(STAGING).join(DIRS[usize::from(dir) % DIRS.len()])
}

fn outside(dir: Dir) -> PathBuf {
    Path::new(ELSEWHERE).join(format!("{}", usize::from(dir) % DIRS.len()))
}

/// A directory that is missing is made, with those above it.
pub fn make_parent(upstream: &mut Upstream<'_>, model: &Model, path: &Path) {
    let parent = path.parent().unwrap();
    if parent == Path::new(STAGING) || upstream.exists(parent) {
        return;
    }
    upstream.mkdir_all(parent).unwrap();
    sync(upstream, model, parent);
}

/// Makes a directory's name, and those of the directories above it, durable, if upstreams do so.
fn sync(upstream: &mut Upstream<'_>, model: &Model, dir: &Path) {
    if model.rules.syncs {
        for above in dir.ancestors().take_while(|above| above.parent().is_some()) {
            upstream.sync_path(above).unwrap();
        }
    }
}

/// Performs the act. Where there is no such directory, or its new name is taken, nothing happens.
pub fn perform(act: DirAct, upstream: &mut Upstream<'_>, model: &mut Model) {
    // Half a rename that a power cut keeps leaves a second name in the directory, wherever that is by then.
    let may = model.may.clone();
    model.sent_again.extend(may);
    match act {
        DirAct::Rename(from, to) => {
            let to = dir_of(to);
            if upstream.exists(dir_of(from)) && !upstream.exists(&to) {
                make_parent(upstream, model, &to);
                if upstream.rename(dir_of(from), &to).is_ok() {
                    sync(upstream, model, &to);
                }
            }
        }
        DirAct::TakeOut(dir) => take_out(upstream, model, dir),
        DirAct::BringIn(dir) => {
            make_parent(upstream, model, &dir_of(dir));
            if upstream.rename(outside(dir), dir_of(dir)).is_ok() {
                sync(upstream, model, &dir_of(dir));
            }
        }
        DirAct::Link(dir) => {
            take_out(upstream, model, dir);
            if upstream.exists(outside(dir)) {
                let _ = upstream.symlink(outside(dir), dir_of(dir));
            }
        }
        DirAct::Remove(dir) => remove(upstream, &dir_of(dir)),
    }
}

fn take_out(upstream: &mut Upstream<'_>, model: &Model, dir: Dir) {
    upstream.mkdir_all(ELSEWHERE).unwrap();
    sync(upstream, model, Path::new(ELSEWHERE));
    let is_there = upstream.stat(dir_of(dir)).is_ok_and(|stat| stat.kind == FileKind::Directory);
    if is_there && upstream.rename(dir_of(dir), outside(dir)).is_ok() {
        sync(upstream, model, &outside(dir));
    }
}

fn remove(upstream: &mut Upstream<'_>, dir: &Path) {
    for name in upstream.list(dir).unwrap_or_default() {
        let path = dir.join(name);
        match upstream.stat(&path).is_ok_and(|stat| stat.kind == FileKind::Directory) {
            true => remove(upstream, &path),
            false => drop(upstream.remove(&path)),
        }
    }
    let _ = upstream.remove(dir);
}
