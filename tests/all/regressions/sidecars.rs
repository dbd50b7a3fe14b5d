//! Sidecars and group files that are replaced, or cannot be removed, while the files are ingested that they have released.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use csv_ingestor::fs::sim::{Call, Fault, Odd, Op, Upstream};
use csv_ingestor::journal::record::Validation;

use super::histories::before_first;
use super::view;
use crate::crash::act::{self, Act, MALFORMED, content_of, path_of_group};
use crate::crash::model::Model;
use crate::crash::play::Play;
use crate::crash::scenario::{MANIFESTS, STAGING, Scenario};
use crate::crash::view::digest;

const HIDDEN: &str = ".new";

fn staged(name: &str) -> PathBuf {
    Path::new(STAGING).join(name)
}

fn renumbers() -> Odd {
    Odd { renumbers: true, ..Odd::default() }
}

/// Gives what is at `path` the mtime that the file there had before, in place or, if `replaces`, in a new file.
fn disguise(upstream: &mut Upstream<'_>, path: &Path, replaces: bool, act: impl FnOnce(&mut Upstream<'_>)) {
    let before = upstream.stat(path).unwrap().identity;
    act(upstream);
    if replaces {
        let content = upstream.read(path).unwrap();
        upstream.write(staged(HIDDEN), &content).unwrap();
        upstream.sync_path(staged(HIDDEN)).unwrap();
        upstream.replace(staged(HIDDEN), path).unwrap();
    }
    upstream.set_mtime(path, before.mtime).unwrap();
    assert_eq!(
        upstream.stat(path).unwrap().identity.size,
        before.size,
        "the test is about files of equal size and mtime"
    );
}

/// The number of the first operation, undisturbed, that meets the condition.
fn number_of_first(play: &Play<'_>, condition: impl Fn(&Call<'_>) -> bool + Send + 'static) -> u64 {
    let (mut undisturbed, number) = (play.fork(), Arc::new(Mutex::new(None)));
    let found = number.clone();
    undisturbed.fs.set_hook(Box::new(move |call, _| {
        let mut found = found.lock().unwrap();
        if found.is_none() && condition(call) {
            *found = Some(call.number);
        }
    }));
    undisturbed.run().unwrap();
    number.lock().unwrap().expect("there is such an operation")
}

/// The name is moved aside, or lines are written.
fn is_moment(path: &Path, replaces: bool) -> impl Fn(&Call<'_>) -> bool + Send + use<> {
    let path = path.to_owned();
    move |call| match replaces {
        true => call.op == Op::Rename && call.path == path,
        false => call.op == Op::WriteAt && call.path.starts_with(MANIFESTS) && call.path.ends_with("manifest.jsonl"),
    }
}

/// The same before the name is moved aside; in place, as soon as lines are written.
fn meets(
    play: &Play<'_>,
    path: &Path,
    replaces: bool,
    mut act: impl FnMut(&mut Upstream<'_>, &mut Model) + Send + 'static,
) {
    let (model, is_it, path) = (play.model.clone(), is_moment(path, replaces), path.to_owned());
    before_first(play, is_it, move |upstream| {
        disguise(upstream, &path, replaces, |upstream| act(upstream, &mut model.lock().unwrap()));
    });
}

/// A file and its sidecar come while the sidecar before it, of equal size and mtime, is about to be removed. The new one was
/// removed in its place where a rename changes inode numbers, or where it was written in place, as `cp -p` does; so its file
/// waited for ever.
#[test]
fn a_new_sidecar_is_not_removed_in_place_of_the_old_one() {
    for (odd, replaces) in [(Odd::default(), true), (Odd::default(), false), (renumbers(), true), (renumbers(), false)]
    {
        let scenario = Scenario { sidecars: true, odd, ..Scenario::plain("a sidecar of equal size and mtime") };
        let mut play = Play::new(&scenario);
        meets(&play, &staged("a.csv.ok"), replaces, |upstream, model| {
            act::perform(&Act::Replace(0, 8), upstream, model);
        });
        play.run().unwrap();
        play.fs.clear_hook();
        play.end();
        let is_new = |found: &String| *found == digest(&content_of(8));
        assert!(view(&play).warehouse.values().any(is_new), "{replaces}: {:?}", view(&play).staging.keys());
    }
}

/// The same, and the process ends just after the name was moved aside.
#[test]
fn a_new_sidecar_is_not_removed_by_a_recovery() {
    for (odd, replaces) in [(Odd::default(), false), (renumbers(), true), (renumbers(), false)] {
        let scenario = Scenario { sidecars: true, odd, ..Scenario::plain("a sidecar of equal size and mtime, killed") };
        let mut play = Play::new(&scenario);
        let at = number_of_first(&play, is_moment(&staged("a.csv.ok"), replaces));
        meets(&play, &staged("a.csv.ok"), replaces, |upstream, model| {
            act::perform(&Act::Replace(0, 8), upstream, model);
        });
        play.fs.inject(Fault::crash().at(at).happened());
        play.run().unwrap_err();
        play.fs.clear_hook();
        play.fs.clear_faults();
        play.kill();
        play.end();
        let is_new = |found: &String| *found == digest(&content_of(8));
        assert!(view(&play).warehouse.values().any(is_new), "{replaces}: {:?}", view(&play).staging.keys());
    }
}

/// Why: the sums of a group file do not change its size. One that named other contents, put in place while the group before it
/// was ingested, was removed with it where a rename changes inode numbers.
#[test]
fn a_new_group_file_is_not_removed_in_place_of_the_old_one() {
    for (odd, replaces) in [(Odd::default(), false), (renumbers(), true), (renumbers(), false)] {
        let first = Act::Group(0, vec![(0, 1), (1, 3)]);
        let before = vec![Act::Write(0, 1), Act::Write(1, 3), first];
        let scenario = Scenario { before, odd, ..Scenario::plain("a group file of equal size and mtime") };
        let mut play = Play::new(&scenario);
        meets(&play, &path_of_group(0), replaces, |upstream, model| {
            let second = Act::Group(0, vec![(0, 8), (1, 9)]);
            [Act::Write(0, 8), Act::Write(1, 9), second].iter().for_each(|act| act::perform(act, upstream, model));
        });
        play.run().unwrap();
        play.fs.clear_hook();
        play.end();
        let is_new = |found: &String| *found == digest(&content_of(8));
        assert!(view(&play).warehouse.values().any(is_new), "{replaces}: {:?}", view(&play).staging.keys());
    }
}

/// Why: a sidecar that cannot be removed gets its name back, and a rename changes the ctime. It looked like a new one, and
/// released the half of a file that had come meanwhile.
#[test]
fn a_sidecar_that_cannot_be_removed_releases_nothing_more() {
    let scenario = Scenario { sidecars: true, ..Scenario::plain("a sidecar that cannot be removed") };
    let mut play = Play::new(&scenario);
    play.fs.upstream().write(staged("a.csv.ok"), b"").unwrap();
    play.fs.upstream().sync_path(staged("a.csv.ok")).unwrap();
    let is_removal = |call: &Call<'_>| call.op == Op::Rename && call.path == staged("a.csv.ok");
    let removed_at = number_of_first(&play, is_removal);
    let model = play.model.clone();
    let came = before_first(&play, is_removal, move |upstream| {
        act::perform(&Act::Half(0, 8), upstream, &mut model.lock().unwrap());
    });
    play.fs.inject(Fault::errno(libc::EPERM).only(&[Op::Unlink]).under(STAGING).from(removed_at));
    play.run().unwrap();
    assert!(*came.lock().unwrap());
    let half = content_of(8);
    let half = digest(&half[..half.len() / 2]);
    assert!(!view(&play).warehouse.values().any(|found| *found == half), "half a file was ingested");
}

/// Why: a rename by link was cut off after another file of equal size and mtime had been set aside in the source's place. The
/// file in quarantine could not be read, so identity alone decided, and the other one was removed.
#[test]
fn a_file_is_not_removed_because_the_one_in_quarantine_cannot_be_read() {
    let odd = Odd { renumbers: true, links: true, ..Odd::default() };
    let scenario = Scenario {
        validate: Some(Validation { refuse: true, ..Validation::default() }),
        quarantines: true,
        before: vec![Act::Write(1, MALFORMED)],
        odd,
        ..Scenario::plain("an unreadable file in quarantine")
    };
    let mut play = Play::new(&scenario);
    let model = play.model.clone();
    let is_set_aside = |call: &Call<'_>| call.op == Op::Rename && call.path == staged("b.csv");
    let came = before_first(&play, is_set_aside, move |upstream| {
        act::perform(&Act::Disguise(1), upstream, &mut model.lock().unwrap());
    });
    play.fs.inject(Fault::crash().only(&[Op::Rename]).under(staged("b.csv")).nth(1).happened());
    play.run().unwrap_err();
    assert!(*came.lock().unwrap());
    play.fs.clear_hook();
    play.fs.clear_faults();
    play.kill();
    let other: Vec<u8> = content_of(MALFORMED).iter().map(|byte| byte ^ 1).collect();
    assert!(view(&play).staging.values().any(|found| *found == digest(&other)), "the test is about a file aside");
    for path in view(&play).quarantine.into_keys() {
        play.fs.upstream().set_unreadable(&path, true).unwrap();
    }
    play.run().unwrap();
    assert!(view(&play).holds(&digest(&other)), "it is lost: {:?}", view(&play).staging.keys());
}

/// Why: where a rename changes inode numbers, another file of equal size and mtime got the number that had just become free,
/// which was that of the file that was hashed, and was taken for it.
#[test]
fn a_file_that_gets_the_old_ones_inode_number_is_not_taken_for_it() {
    for cross in [false, true] {
        let scenario = Scenario { cross, odd: renumbers(), ..Scenario::plain("an inode number that is used again") };
        let mut play = Play::new(&scenario);
        let (model, path) = (play.model.clone(), staged("a.csv"));
        let other: Vec<u8> = content_of(1).iter().map(|byte| byte ^ 1).collect();
        let is_move = |call: &Call<'_>| call.op == Op::Rename && call.path == staged("a.csv");
        let content = other.clone();
        let came = before_first(&play, is_move, move |upstream| {
            let mut model = model.lock().unwrap();
            model.before_act(upstream);
            model.may_become(&content);
            let before = upstream.stat(&path).unwrap().identity;
            upstream.write(staged(HIDDEN), &content).unwrap();
            upstream.sync_path(staged(HIDDEN)).unwrap();
            upstream.replace(staged(HIDDEN), &path).unwrap();
            upstream.set_mtime(&path, before.mtime).unwrap();
            model.after_act(upstream);
        });
        play.run().unwrap();
        play.fs.clear_hook();
        assert!(*came.lock().unwrap());
        play.end();
        assert!(view(&play).warehouse.values().any(|found| *found == digest(&other)), "across: {cross}");
    }
}
