//! Paths below directories in staging: whether the ingestor enters these directories.

use std::path::Path;

use super::answer::{Answer, Context, text};
use crate::Error;
use crate::fs::{self, Fs};
use crate::journal::record::Settings;
use crate::pipeline::scan::names::Ignored;
use crate::pipeline::subdir;

/// The answer for a path that the ingestor does not get to; None if it does, or would, if the path is there.
pub(super) fn not_entered<F: Fs>(
    context: &Context<'_, F>,
    settings: &Settings,
    path: &Path,
) -> Result<Option<Answer>, Error> {
    let dir = subdir::dir_of(subdir::name_in(&settings.input, path));
    if dir.as_os_str().is_empty() {
        return Ok(None);
    }
    let Some(rules) = context.rules.tree else {
        let summary =
            "it is below a directory in staging; only files directly in staging are ingested (without --recursive)";
        return Ok(Some(Answer::new(path, "UNKNOWN", summary)));
    };
    let ignored = |dir: &Path, why: Ignored| {
        let dir = settings.input.join(dir);
        Some(Answer::new(path, "IGNORED", format!("it is below {}: {}", text(&dir), why.text())))
    };
    let mut depth = 0;
    for above in dir.ancestors().collect::<Vec<_>>().into_iter().rev().skip(1) {
        depth += 1;
        if let Some(why) = above.file_name().and_then(|name| context.rules.ignored_dir(name)) {
            return Ok(ignored(above, why));
        }
        if depth > usize::from(rules.max_depth) {
            return Ok(ignored(above, Ignored::TooDeep));
        }
        match is_entered(context, settings, above, rules.cross_mounts) {
            // A link, or another kind of file.
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) if error.is_no_directory() => return Ok(ignored(above, Ignored::Link)),
            Err(error) if error.is_cross_device() => return Ok(ignored(above, Ignored::OtherMount)),
            Err(error) if error.is_denied() => return Ok(ignored(above, Ignored::Unreadable)),
            Ok(false) => return Ok(ignored(above, Ignored::Own)),
            Ok(true) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// False for one of the ingestor's own directories.
fn is_entered<F: Fs>(context: &Context<'_, F>, settings: &Settings, dir: &Path, crosses: bool) -> fs::Result<bool> {
    let fs = context.fs;
    let opened = fs.open_beneath(&fs.open_dir(&settings.input)?, dir, crosses)?;
    let key = fs.stat_dir(&opened)?.identity.key();
    let quarantine = &context.report.index.rules().quarantine;
    let own = [&settings.warehouse, &settings.manifests].into_iter().chain(&settings.duplicates_dir).chain(quarantine);
    let is_it = |own: &std::path::PathBuf| {
        let there = fs.open_dir(own).and_then(|own| fs.stat_dir(&own)).is_ok_and(|own| own.identity.key() == key);
        there || crosses && fs.is_mounted_from(&settings.input.join(dir), own)
    };
    Ok(!own.into_iter().any(is_it))
}
