//! What other processes on the machine do while the ingestor runs.

mod dirs;
mod groups;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use csv_ingestor::fs::sim::Upstream;
use csv_ingestor::types::UnixMillis;

pub use dirs::{DIRS, DirAct, IN_TREE, NAMES as NAMES_IN_TREE};
pub use groups::{BAG, IN_DIR, path_of_group};

use super::model::{Model, Writer};
use super::places::{MANIFESTS, STAGING};
use super::view::{FOREIGN, UNFINISHED, View, digest, sidecar_of};
use crate::harness::csv;

/// Names in staging that acts use. The last one has the stem of the first.
pub const NAMES: [&str; 7] = ["a.csv", "b.csv", "c.csv", "d.csv", "e.csv", "f.csv", "a.csv.gz"];
/// Of these, the ones that random histories use.
pub const PLAIN_NAMES: u8 = 6;

/// Files that are created, at most, until one gets the same inode number again. It never does if the old file is still open.
const INODES_TAKEN_MAX: usize = 8;

const DAY_MS: u64 = 24 * 3_600_000;

/// Number of one of [`NAMES`]; any number is valid.
pub type Name = u8;
/// Number of a content.
pub type Body = u8;

/// One action of another process, between two operations of the ingestor.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// A whole file is written in place, over the existing one, and closed.
    Write(Name, Body),
    /// More is written to the end of a file, or to a new one.
    Append(Name, Body),
    /// A whole file is written under a hidden name and renamed into place, over the existing one.
    Replace(Name, Body),
    Rename(Name, Name),
    /// A file gets a second name.
    Link(Name, Name),
    Remove(Name),
    /// A file is removed, and another one of equal size and mtime gets its name and, if the file system reuses it, its
    /// inode.
    Disguise(Name),
    /// A file is opened for writing, something is appended, and it stays open. Only one file at a time.
    Open(Name, Body),
    /// A file is opened for writing, and nothing is written until it is closed.
    OpenSilently(Name),
    /// More is written to the open file, and it is closed.
    Close(Body),
    /// A sidecar with a wrong checksum appears.
    WrongSidecar(Name),
    /// A sidecar without a checksum appears, as a leftover one: empty, or with a word in it.
    Orphan(Name),
    /// The first half of a file is written in place, and the upstream does not release it.
    Half(Name, Body),
    /// A group file is renamed into place that names these files and contents, and `Write` has written or will write them.
    Group(u8, Vec<(Name, Body)>),
    /// A group file is removed.
    Ungroup(u8),
    /// So many hours pass.
    Wait(u8),
    /// Another program appends a line to the newest manifest, or half of one.
    Foreign {
        whole: bool,
    },
    /// Clean pages are dropped.
    DropCaches,
    /// The clock is set by so many days; no time passes.
    Jump(i32),
    /// So many days pass.
    Sleep(u16),
    /// Something happens to a directory in staging.
    Dir(DirAct),
    /// Every file in staging whose content is in the warehouse is removed.
    DeleteDuplicates,
}

pub fn path_of(name: Name) -> PathBuf {
    match name.checked_sub(IN_TREE) {
        Some(name) => dirs::path_of(name),
        None => Path::new(STAGING).join(NAMES[usize::from(name) % NAMES.len()]),
    }
}

/// Contents with this number or a higher one are malformed.
pub const MALFORMED: Body = 100;

/// Sizes around a sector, a page and several of both.
pub fn content_of(body: Body) -> Vec<u8> {
    let mut content = csv(u64::from(body), [100, 3_000, 700, 5_000, 512][usize::from(body) % 5]);
    if body >= MALFORMED {
        content.extend_from_slice(b"1,2,3\n");
    }
    content
}

/// Performs the act. An act on a file that does not exist does nothing, as with real programs.
pub fn perform(act: &Act, upstream: &mut Upstream<'_>, model: &mut Model) {
    model.before_act(upstream);
    if upstream.is_aborted() {
        return;
    }
    let withdraws =
        matches!(act, Act::Dir(_) | Act::Rename(..) | Act::Remove(_) | Act::WrongSidecar(_) | Act::DeleteDuplicates);
    model.withdrew |= model.rules.sidecars && withdraws || matches!(act, Act::Ungroup(_));
    model.withdrew |= model.rules.groups && matches!(act, Act::Dir(_));
    let synced = match act {
        Act::Write(name, body) => write(upstream, model, &path_of(*name), &content_of(*body)),
        Act::Group(number, members) => Some(groups::send(upstream, model, *number, &named(members))),
        Act::Append(name, body) => append(upstream, model, &path_of(*name), &content_of(*body)),
        Act::Replace(name, body) => replace(upstream, model, &path_of(*name), &content_of(*body)),
        Act::Rename(from, to) => {
            let _ = upstream.rename(path_of(*from), path_of(*to));
            upstream.exists(path_of(*to)).then(|| path_of(*to))
        }
        Act::Link(from, to) => {
            let _ = upstream.link(path_of(*from), path_of(*to));
            upstream.exists(path_of(*to)).then(|| path_of(*to))
        }
        Act::Remove(name) => {
            let _ = upstream.remove(path_of(*name));
            let _ = upstream.remove(sidecar_of(&path_of(*name)));
            None
        }
        Act::Disguise(name) => disguise(upstream, model, &path_of(*name)),
        Act::Open(name, body) => open(upstream, model, &path_of(*name), &content_of(*body)),
        Act::OpenSilently(name) => match upstream.exists(path_of(*name)) {
            true => open(upstream, model, &path_of(*name), &[]),
            false => None,
        },
        Act::Close(body) => close(upstream, model, &content_of(*body)),
        Act::WrongSidecar(name) => {
            dirs::make_parent(upstream, model, &path_of(*name));
            upstream.write(sidecar_of(&path_of(*name)), digest(b"something else").as_bytes()).unwrap();
            Some(sidecar_of(&path_of(*name)))
        }
        Act::Orphan(name) => {
            let marker: &[u8] = if name % 2 == 0 { b"" } else { b"done\n" };
            upstream.write(sidecar_of(&path_of(*name)), marker).unwrap();
            Some(sidecar_of(&path_of(*name)))
        }
        Act::Half(name, body) => half(upstream, model, &path_of(*name), &content_of(*body)),
        _ => {
            happen(act, upstream, model);
            None
        }
    };
    if let Some(path) = synced.filter(|path| model.rules.syncs && upstream.exists(path)) {
        // A write that waits for a lease happens later, and is not synced.
        model.lossy |= upstream.waits(&path);
        upstream.sync_path(&path).unwrap();
    }
    model.after_act(upstream);
}

/// Acts that are not an upstream's.
fn happen(act: &Act, upstream: &mut Upstream<'_>, model: &mut Model) {
    match act {
        Act::Wait(hours) => {
            upstream.advance(Duration::from_secs(3600 * u64::from(*hours)));
        }
        Act::Foreign { whole } => {
            if let Some(path) = newest_manifest(upstream) {
                model.shares_manifests = true;
                let line = format!("{FOREIGN}\"{}\"}}\n", "x".repeat(600));
                upstream.append(path, if *whole { line.as_bytes() } else { &line.as_bytes()[..300] }).unwrap();
            }
        }
        Act::Ungroup(number) => drop(upstream.remove(groups::path_of_group(*number))),
        Act::DropCaches => {
            upstream.drop_caches();
        }
        Act::Jump(days) => {
            let by = DAY_MS.saturating_mul(u64::from(days.unsigned_abs()));
            let now = upstream.now().0;
            upstream.set_clock(UnixMillis(if *days < 0 { now.saturating_sub(by) } else { now + by }));
        }
        Act::Sleep(days) => {
            upstream.advance(Duration::from_millis(DAY_MS * u64::from(*days)));
        }
        Act::DeleteDuplicates => {
            delete_duplicates(upstream);
        }
        Act::Dir(act) => {
            model.moved_dirs = true;
            dirs::perform(*act, upstream, model);
        }
        _ => unreachable!("{act:?} is an act of an upstream"),
    }
}

fn named(members: &[(Name, Body)]) -> Vec<(PathBuf, String)> {
    members.iter().map(|(name, body)| (path_of(*name), digest(&content_of(*body)))).collect()
}

fn replace(upstream: &mut Upstream<'_>, model: &mut Model, path: &Path, content: &[u8]) -> Option<PathBuf> {
    let hidden = Path::new(STAGING).join(UNFINISHED);
    dirs::make_parent(upstream, model, path);
    model.may_become(content);
    upstream.write(&hidden, content).unwrap();
    if model.rules.syncs {
        upstream.sync_path(&hidden).unwrap();
    }
    with_sidecar(upstream, model, path, content);
    upstream.replace(&hidden, path).unwrap();
    Some(path.to_path_buf())
}

fn close(upstream: &mut Upstream<'_>, model: &mut Model, more: &[u8]) -> Option<PathBuf> {
    let writer = model.writer.take();
    if let Some(writer) = &writer {
        let content = [&writer.content[..], more].concat();
        model.may_become(&content);
        let _ = upstream.write_via(writer.id, more);
        upstream.close_writer(writer.id);
        // The file may have another name by now, in flight or given back beside a new one, or the write may wait for a
        // lease: then the sync below does not cover what was written.
        model.lossy |= upstream.read(&writer.path).ok().is_none_or(|found| found != content);
    }
    writer.map(|writer| writer.path)
}

fn delete_duplicates(upstream: &mut Upstream<'_>) {
    let warehouse: BTreeSet<_> = View::of(upstream).warehouse.into_values().collect();
    let below = (0..NAMES_IN_TREE.len() as u8).map(|name| IN_TREE + name);
    for path in (0..NAMES.len() as u8).chain(below).map(path_of) {
        if upstream.read(&path).is_ok_and(|content| warehouse.contains(&digest(&content))) {
            let _ = upstream.remove(&path);
            let _ = upstream.remove(sidecar_of(&path));
        }
    }
}

/// In sidecar mode an upstream that writes a file writes its sidecar, too.
fn with_sidecar(upstream: &mut Upstream<'_>, model: &mut Model, path: &Path, content: &[u8]) {
    if model.rules.sidecars {
        model.release(content);
        let sidecar = sidecar_of(path);
        let text = format!("{}  {}\n", digest(content), path.display()) + &others_in(upstream, &sidecar, path);
        upstream.write(&sidecar, text.as_bytes()).unwrap();
        // The ingestor is reading the old sidecar; that one counts until it has finished.
        model.withdrew |= upstream.waits(&sidecar);
        if model.rules.syncs {
            upstream.sync_path(&sidecar).unwrap();
        }
    }
}

/// The lines of other files that share the sidecar, and are there.
fn others_in(upstream: &mut Upstream<'_>, sidecar: &Path, own: &Path) -> String {
    let text = String::from_utf8_lossy(&upstream.read(sidecar).unwrap_or_default()).into_owned();
    let mut others = String::new();
    for (line, path) in text.lines().filter_map(|line| Some((line, line.split_once("  ")?.1))) {
        if Path::new(path) != own && upstream.exists(path) {
            others += &format!("{line}\n");
        }
    }
    others
}

fn write(upstream: &mut Upstream<'_>, model: &mut Model, path: &Path, content: &[u8]) -> Option<PathBuf> {
    if upstream.waits(path) || model.is_open(path) {
        return None;
    }
    dirs::make_parent(upstream, model, path);
    model.may_become(content);
    upstream.write(path, content).unwrap();
    model.waited |= upstream.waits(path);
    with_sidecar(upstream, model, path, content);
    Some(path.to_path_buf())
}

fn half(upstream: &mut Upstream<'_>, model: &mut Model, path: &Path, content: &[u8]) -> Option<PathBuf> {
    dirs::make_parent(upstream, model, path);
    model.may_become(&content[..content.len() / 2]);
    upstream.write(path, &content[..content.len() / 2]).unwrap();
    Some(path.to_path_buf())
}

fn append(upstream: &mut Upstream<'_>, model: &mut Model, path: &Path, more: &[u8]) -> Option<PathBuf> {
    if upstream.waits(path) || model.is_open(path) {
        return None;
    }
    dirs::make_parent(upstream, model, path);
    let before = upstream.read(path).unwrap_or_default();
    let after = [&before[..], more].concat();
    model.may_become(&after);
    upstream.append(path, more).unwrap();
    with_sidecar(upstream, model, path, &after);
    Some(path.to_path_buf())
}

fn disguise(upstream: &mut Upstream<'_>, model: &mut Model, path: &Path) -> Option<PathBuf> {
    let stat = upstream.stat(path).ok()?;
    if model.is_open(path) {
        return None;
    }
    let other: Vec<u8> = upstream.read(path).unwrap().iter().map(|byte| byte ^ 1).collect();
    upstream.remove(path).unwrap();
    upstream.write(path, &other).unwrap();
    // The lowest free inode number is used first, so other files take the numbers before the wanted one.
    let hidden = |n: usize| Path::new(STAGING).join(format!("{UNFINISHED}-{n}"));
    let mut taken = 0;
    while taken < INODES_TAKEN_MAX && upstream.stat(path).unwrap().identity.inode != stat.identity.inode {
        upstream.replace(path, hidden(taken)).unwrap();
        upstream.write(path, &other).unwrap();
        taken += 1;
    }
    (0..taken).for_each(|n| upstream.remove(hidden(n)).unwrap());
    upstream.set_mtime(path, stat.identity.mtime).unwrap();
    with_sidecar(upstream, model, path, &other);
    Some(path.to_path_buf())
}

fn open(upstream: &mut Upstream<'_>, model: &mut Model, path: &Path, more: &[u8]) -> Option<PathBuf> {
    // Without leases a silent writer cannot be noticed: that is documented, and not promised.
    if model.writer.is_some() || upstream.waits(path) || !model.leases {
        return None;
    }
    dirs::make_parent(upstream, model, path);
    let before = upstream.read(path).unwrap_or_default();
    let content = [&before[..], more].concat();
    model.may_become(&content);
    let id = upstream.open_writer(path).unwrap();
    if !more.is_empty() {
        upstream.write_via(id, more).unwrap();
    }
    model.writer = Some(Writer { id, path: path.to_path_buf(), before: digest(&before), content });
    None
}

fn newest_manifest(upstream: &mut Upstream<'_>) -> Option<PathBuf> {
    super::view::files(upstream, Path::new(MANIFESTS)).into_keys().next_back()
}
