//! The group of a staged file, where no ingestor can be asked.

use std::ffi::OsStr;
use std::path::Path;

use super::answer::{Answer, Context};
use crate::Error;
use crate::fs::{FileKind, Fs};
use crate::limits::{GROUP_MISSING_NAMED_MAX, GROUPS_WATCHED_MAX};
use crate::pipeline::WhyNot;
use crate::pipeline::dirs::split;
use crate::pipeline::group::{self, Member, NotRead, is_group_file};
use crate::pipeline::hash::sums_of;
use crate::pipeline::sidecar::Demand;
use crate::types::Key;

/// Why a file waits for its group; None if the group is complete, as far as its names and this file's content show.
pub(super) fn waits<F: Fs>(context: &Context<'_, F>, path: &Path) -> Result<Option<Answer>, Error> {
    let waiting = |why: WhyNot| Answer::new(path, "WAITING", why.text());
    let (dir_path, name) = split(path)?;
    let dir = context.fs.open_dir(dir_path)?;
    if is_group_file(name) {
        return match members(context, &dir, name)? {
            Err(fault) => Ok(Some(waiting(WhyNot::GroupFaulty).with("error", fault))),
            Ok(members) => lacks(context, &dir, (path, name), &members),
        };
    }
    let mut groups = 0;
    for entry in context.fs.list(&dir)? {
        let entry = entry?;
        groups += usize::from(is_group_file(&entry.name));
        if !is_group_file(&entry.name) || groups > GROUPS_WATCHED_MAX {
            continue;
        }
        let Ok(members) = members(context, &dir, &entry.name)? else { continue };
        let Some(member) = members.iter().find(|member| *member.staged == *name) else { continue };
        if let Some(answer) = lacks(context, &dir, (path, &entry.name), &members)? {
            return Ok(Some(answer));
        }
        let file = context.fs.open(&dir, name, crate::fs::Open::Read)?;
        let is_it = sums_of(context.fs, &file, &Demand::default())?.sha256 == member.sha256;
        let group = entry.name.to_string_lossy().into_owned();
        return Ok((!is_it).then(|| waiting(WhyNot::OtherSum).with("group", group)));
    }
    Ok(Some(waiting(WhyNot::NoGroup)))
}

/// The members that a group file names, or why it cannot be used.
fn members<F: Fs>(context: &Context<'_, F>, dir: &F::Dir, name: &OsStr) -> Result<Result<Vec<Member>, String>, Error> {
    let Some(stat) = context.fs.stat(dir, name)?.filter(|stat| stat.kind == FileKind::Regular) else {
        return Ok(Err("it is not a regular file".to_owned()));
    };
    Ok(group::read(context.fs, dir, name, &stat.identity).map_err(|not_read| match not_read {
        NotRead::Faulty(why) => why,
        NotRead::Busy => WhyNot::OpenForWriting.text().to_owned(),
        NotRead::Failed(error) => error.to_string(),
    }))
}

/// The answer for a group of which members are neither in staging nor in the warehouse.
fn lacks<F: Fs>(
    context: &Context<'_, F>,
    dir: &F::Dir,
    (path, group): (&Path, &OsStr),
    members: &[Member],
) -> Result<Option<Answer>, Error> {
    let mut missing = Vec::new();
    for member in members {
        let is_staged = context.fs.stat(dir, &member.staged)?.is_some();
        let same_by = context.report.index.identity().unwrap_or_default().same_by;
        let key = Key::by(same_by, &member.staged, &member.sha256);
        if !is_staged && context.report.index.original(&key)?.is_none() {
            missing.push(format!("{} (not there)", member.name.display()));
        }
    }
    if missing.is_empty() {
        return Ok(None);
    }
    missing.truncate(GROUP_MISSING_NAMED_MAX);
    let answer = Answer::new(path, "WAITING", WhyNot::GroupIncomplete.text());
    Ok(Some(answer.with("group", group.to_string_lossy().into_owned()).with("missing", missing)))
}
