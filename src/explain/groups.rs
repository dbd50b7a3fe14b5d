//! The group of a staged file, where no ingestor can be asked.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::answer::{Answer, Context};
use crate::Error;
use crate::fs::{FileKind, Fs, Stat};
use crate::limits::{GROUP_MISSING_NAMED_MAX, GROUPS_WATCHED_MAX};
use crate::pipeline::WhyNot;
use crate::pipeline::dirs::split;
use crate::pipeline::group::{self, Member, NotRead, bags_above, is_group_file};
use crate::pipeline::hash::sums_of;
use crate::pipeline::sidecar::Demand;
use crate::pipeline::subdir;
use crate::types::Key;

/// Why a file waits for its group; None if the group is complete, as far as its names and this file's content show.
pub(super) fn waits<F: Fs>(context: &Context<'_, F>, input: &Path, path: &Path) -> Result<Option<Answer>, Error> {
    let waiting = |why: WhyNot| Answer::new(path, "WAITING", why.text());
    let name = subdir::name_in(input, path);
    let staging = context.fs.open_dir(input)?;
    if is_group_file(name) {
        return match members(context, &staging, name)? {
            Err(fault) => Ok(Some(waiting(WhyNot::GroupFaulty).with("error", fault))),
            Ok(members) => lacks(context, &staging, (path, name), &members),
        };
    }
    for group in groups_near(context, path, name)? {
        let Ok(members) = members(context, &staging, &group)? else { continue };
        let Some(member) = members.iter().find(|member| *member.staged == *name) else { continue };
        if let Some(answer) = lacks(context, &staging, (path, &group), &members)? {
            return Ok(Some(answer));
        }
        let (dir, own) = split(path)?;
        let file = context.fs.open(&context.fs.open_dir(dir)?, own, crate::fs::Open::Read)?;
        let is_it = sums_of(context.fs, &file, &Demand::default())?.sha256 == member.sha256;
        let group = group.to_string_lossy().into_owned();
        return Ok((!is_it).then(|| waiting(WhyNot::OtherSum).with("group", group)));
    }
    Ok(Some(waiting(WhyNot::NoGroup)))
}

/// The names in staging of the group files that may name a file.
fn groups_near<F: Fs>(context: &Context<'_, F>, path: &Path, name: &OsStr) -> Result<Vec<OsString>, Error> {
    let mut groups: Vec<OsString> = bags_above(name).map(PathBuf::into_os_string).collect();
    for entry in context.fs.list(&context.fs.open_dir(split(path)?.0)?)? {
        let entry = entry?;
        if is_group_file(&entry.name) && groups.len() < GROUPS_WATCHED_MAX {
            groups.push(subdir::beside(name, &entry.name));
        }
    }
    Ok(groups)
}

/// The file of that name in staging.
fn stat<F: Fs>(context: &Context<'_, F>, staging: &F::Dir, name: &OsStr) -> Result<Option<Stat>, Error> {
    let (dir, own) = (subdir::dir_of(name), subdir::file_name(name));
    if dir.as_os_str().is_empty() {
        return Ok(context.fs.stat(staging, own)?);
    }
    match context.fs.open_beneath(staging, dir, true) {
        Err(error) if error.is_not_found() || error.is_no_directory() => Ok(None),
        dir => Ok(context.fs.stat(&dir?, own)?),
    }
}

/// The members that a group file names, or why it cannot be used.
fn members<F: Fs>(
    context: &Context<'_, F>,
    staging: &F::Dir,
    name: &OsStr,
) -> Result<Result<Vec<Member>, String>, Error> {
    let Some(stat) = stat(context, staging, name)?.filter(|stat| stat.kind == FileKind::Regular) else {
        return Ok(Err("it is not a regular file".to_owned()));
    };
    Ok(group::read(context.fs, staging, name, &stat.identity).map_err(|not_read| match not_read {
        NotRead::Faulty(why) => why,
        NotRead::Busy => WhyNot::OpenForWriting.text().to_owned(),
        NotRead::Failed(error) => error.to_string(),
    }))
}

/// The answer for a group of which members are neither in staging nor in the warehouse.
fn lacks<F: Fs>(
    context: &Context<'_, F>,
    staging: &F::Dir,
    (path, group): (&Path, &OsStr),
    members: &[Member],
) -> Result<Option<Answer>, Error> {
    let mut missing = Vec::new();
    for member in members {
        let same_by = context.report.index.identity().unwrap_or_default().same_by;
        let key = Key::by(same_by, &member.staged, &member.sha256);
        let is_staged = stat(context, staging, &member.staged)?.is_some();
        if !is_staged && context.report.index.original(&key)?.is_none() {
            missing.push(format!("{} (not there)", member.name.display()));
        }
    }
    if missing.is_empty() {
        return Ok(None);
    }
    missing.truncate(GROUP_MISSING_NAMED_MAX);
    let answer = Answer::new(path, "WAITING", WhyNot::GroupIncomplete.text());
    let is_lake = context.report.index.settings().is_some_and(|settings| settings.is_lake());
    let others = is_lake.then_some("what other hosts have brought counts as there: run --dry-run reads the lake's log");
    Ok(Some(answer.with("group", group.to_string_lossy().into_owned()).with("missing", missing).with("lake", others)))
}
