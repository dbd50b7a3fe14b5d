//! Files in the staging directory.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::thread;

use serde_json::Value;

use super::answer::{Answer, Context};
use super::groups;
use super::known::{history, of_duplicate, of_original};
use super::look::{self, identity, read};
use crate::Error;
use crate::control::StagedStatus;
use crate::fs::{FileKind, Fs, Lease, Open};
use crate::journal::lifecycle::FileState;
use crate::journal::record::{DuplicateAction, EmptyFiles, KeyRule, SameBy, Settings};
use crate::journal::report::FileReport;
use crate::pipeline::dirs::split;
use crate::pipeline::hash::sums_of;
use crate::pipeline::lake::batch::partition_of_dir;
use crate::pipeline::layout::NoMatch;
use crate::pipeline::scan::names::Ignored;
use crate::pipeline::settle::bounds::age;
use crate::pipeline::sidecar::{Demand, FoundSums, SIDECAR_BYTES_MAX, Statement, is_older, statement};
use crate::pipeline::{WhyNot, subdir};
use crate::store::location::Location;
use crate::types::{FileIdentity, Sha256};

/// Answers for a path in staging, in a directory that is entered; `known` contains the files that the journal knows at this path.
pub(super) fn explain<F: Fs>(
    context: &Context<'_, F>,
    settings: &Settings,
    path: &Path,
    known: &[&FileReport],
) -> Result<Answer, Error> {
    let Some((identity, kind)) = identity(context.fs, path)? else {
        return gone(context, path, known);
    };
    let answer = |status, summary: &str| Answer::new(path, status, summary);
    if let Some(why) = ignored(context, path, kind)? {
        let by_whom = context
            .are_rules_known
            .then_some("an ingestor runs: this follows from the options that it was started with");
        return Ok(answer("IGNORED", &why).with("ingestor", by_whom));
    }
    if kind == FileKind::Directory {
        return Ok(answer("UNKNOWN", "it is a directory in staging, and never removed: ask about the files in it"));
    }
    if let Some(kept) = context.report.index.kept_at(identity.key()).filter(|kept| kept.identity == identity) {
        let original = context.report.index.original(&kept.key)?;
        let summary = match settings.duplicates {
            DuplicateAction::Keep => "its content is in the warehouse already; it stays here (--duplicates keep)",
            _ => {
                "its content was in the warehouse already when it came; it stays here: --duplicates was keep then, or the \
                 file in the warehouse was not as published (event original_damaged; audit finds it)"
            }
        };
        return of_original(context, answer("DUPLICATE", summary), original.map(|original| original.ingest_id));
    }
    if let Some(open) = known.iter().find(|entry| is_open(context, entry)) {
        let summary = "it is being ingested, or was when a process ended";
        return Ok(answer("IN_FLIGHT", summary).with("state", open.state.text()).with("ingest_id", open.id.0));
    }
    let told = (context.ask)(subdir::name_in(&settings.input, path));
    let looked = match &told {
        Some(Some(told)) => by_the_ingestor(path, told),
        _ => None,
    };
    let answer = match looked {
        Some(answer) if answer.status != "WAITING" => answer,
        looked => by_a_look(context, settings, path, &identity, looked)?,
    };
    let running = match told {
        Some(Some(_)) => Value::Null,
        Some(None) => "an ingestor runs, and has not seen it yet".into(),
        None => "no ingestor answers: only the file itself was checked".into(),
    };
    Ok(answer.with("ingestor", running).with("history", history(known)))
}

fn is_open<F: Fs>(context: &Context<'_, F>, entry: &FileReport) -> bool {
    context.report.index.ingest(entry.id).is_some()
}

/// The file does not exist any more: what happened to it?
fn gone<F: Fs>(context: &Context<'_, F>, path: &Path, known: &[&FileReport]) -> Result<Answer, Error> {
    let Some(last) = known.last() else {
        return Ok(Answer::new(path, "GONE", "nothing is there, and the journal knows of nothing that was"));
    };
    let told = history(known);
    let summary = match last.state {
        FileState::Manifested => "it was ingested",
        FileState::SkippedDuplicate => "it was a duplicate, and was removed or moved away, or it was taken back",
        FileState::Quarantined => "it could not be ingested, and was moved to quarantine",
        FileState::Abandoned => "it vanished or changed while it was ingested",
        _ => "it is being ingested, or was when a process ended",
    };
    let answer = Answer::new(path, "GONE", summary);
    let answer = match last.state {
        FileState::Manifested => super::of_entry(context, answer, last)?,
        FileState::SkippedDuplicate => of_duplicate(context, answer, last)?,
        _ => answer,
    };
    Ok(answer.with("history", told))
}

/// Why no ingestor will ever take an entry with this name.
fn ignored<F: Fs>(context: &Context<'_, F>, path: &Path, kind: FileKind) -> Result<Option<String>, Error> {
    let (_, name) = split(path)?;
    if kind == FileKind::Directory && context.rules.tree.is_some() {
        return Ok(context.rules.ignored_dir(name).map(|why| why.text().to_owned()));
    }
    let why = Ignored::of_kind(kind).or_else(|| context.rules.ignored(name));
    if why == Some(Ignored::Sidecar)
        && let Some(names) = context.rules.sidecars.as_ref().filter(|names| names.are_shared())
    {
        let belongs = |data: &OsStr| names.of(data) == name && context.rules.wants(data);
        return Ok(Some(of_shared(&look::names_beside(context.fs, path, &belongs)?)));
    }
    let of = context.rules.sidecars.as_ref().and_then(|names| names.data_name(name)).unwrap_or_default();
    if why == Some(Ignored::Sidecar) && super::stat(context.fs, &path.with_file_name(&of))?.is_none() {
        return Ok(Some(format!(
            "it is the sidecar of {0}, and an orphaned sidecar: {0} is not there. If that file comes now, this sidecar will not \
             release it, unless it contains a checksum or is written again",
            of.to_string_lossy()
        )));
    }
    Ok(why.map(|why| match why {
        Ignored::Sidecar => format!("it is the sidecar of {}", of.to_string_lossy()),
        Ignored::SidecarOfIgnored if of.is_empty() => why.text().to_owned(),
        Ignored::SidecarOfIgnored => format!("it is the sidecar of {}, which is ignored itself", of.to_string_lossy()),
        why => why.text().to_owned(),
    }))
}

/// The files that share a sidecar; there may be very many.
fn of_shared(names: &[OsString]) -> String {
    const NAMED_MAX: usize = 5;
    let named: Vec<_> = names.iter().take(NAMED_MAX).map(|name| name.to_string_lossy()).collect();
    match (named.is_empty(), names.len().saturating_sub(NAMED_MAX)) {
        (true, _) => "it is an orphaned sidecar: no file with its stem is there. If one comes now, this sidecar will not release \
                      it, unless it contains a checksum or is written again"
            .to_owned(),
        (false, 0) => format!("it is the sidecar of {}", named.join(", ")),
        (false, more) => format!("it is the sidecar of {} and {more} more", named.join(", ")),
    }
}

/// The running ingestor's answer.
fn by_the_ingestor(path: &Path, told: &StagedStatus) -> Option<Answer> {
    let (status, summary) = told.words()?;
    Some(told.facts().fold(Answer::new(path, status, summary), |answer, (key, value)| answer.with(key, value)))
}

/// The result of checking the file itself, in the ingestor's order.
fn by_a_look<F: Fs>(
    context: &Context<'_, F>,
    settings: &Settings,
    path: &Path,
    found: &FileIdentity,
    told: Option<Answer>,
) -> Result<Answer, Error> {
    let waiting = |summary: &str| {
        let told = told.clone().unwrap_or_else(|| Answer::new(path, "WAITING", ""));
        Answer { summary: summary.to_owned(), ..told }
    };
    if found.size > context.bounds.size_max {
        return Ok(waiting(WhyNot::TooLarge.text()));
    }
    if let Err(NoMatch(what)) = warehouse_dir(context, settings, path) {
        return Ok(waiting(WhyNot::NoMatch.text()).with("error", what));
    }
    let (dir, name) = split(path)?;
    let file = match context.fs.open(&context.fs.open_dir(dir)?, name, Open::Read) {
        Ok(file) => file,
        Err(error) => return Ok(waiting("it cannot be read").with("error", error.to_string())),
    };
    if context.fs.lease(&file)? == Lease::Writer {
        return Ok(waiting("another process has it open for writing"));
    }
    drop(file);
    if let Some(names) = &context.rules.sidecars {
        let sidecar = path.with_file_name(names.of(name));
        let Some(content) = read(context.fs, &sidecar, SIDECAR_BYTES_MAX + 1) else {
            return Ok(waiting("its sidecar is not there").with_path("sidecar", &sidecar));
        };
        // The ingestor knows more than this check: whether the sidecar was used already, and what is wrong.
        if let Some(told) = told {
            return Ok(told);
        }
        let demand = match statement(&content, name) {
            Statement::Demands(demand) => demand,
            Statement::Odd(what) => return Ok(waiting(WhyNot::SidecarOdd.text()).with("error", what)),
            _ if is_orphaned(context, path, &sidecar)? => return Ok(waiting(WhyNot::OrphanedSidecar.text())),
            _ if context.require_checksum => return Ok(waiting(WhyNot::NoChecksum.text())),
            _ => Demand::default(),
        };
        let sums = sums(context, path, &demand)?;
        if let Err(mismatch) = demand.check(&sums) {
            let why = WhyNot::ChecksumDiffers(mismatch.algorithm()).text();
            return Ok(waiting(&format!("its {why}")).with("error", mismatch.to_string()));
        }
        return complete(context, settings, path, found, sums.sha256);
    }
    if let Some(moving) = by_watching(context, path, found)? {
        return Ok(if moving.status == "WAITING" { waiting(&moving.summary) } else { moving });
    }
    match told {
        Some(told) => Ok(told),
        None => complete(context, settings, path, found, sums(context, path, &Demand::default())?.sha256),
    }
}

/// Watches the file for a moment: what happened to it meanwhile, if anything did.
fn by_watching<F: Fs>(context: &Context<'_, F>, path: &Path, found: &FileIdentity) -> Result<Option<Answer>, Error> {
    let waiting = |summary: &str| Answer::new(path, "WAITING", summary);
    thread::sleep(context.watch);
    Ok(match identity(context.fs, path)? {
        None => Some(Answer::new(path, "GONE", "it has just disappeared")),
        Some((now, _)) if now.size != found.size => {
            let (more, time) = (now.size.abs_diff(found.size), context.watch.as_secs_f64());
            let how = if now.size > found.size { "growing" } else { "shrinking" };
            Some(waiting(&format!("it is {how}: {more} bytes in {time} s")))
        }
        Some((now, _)) if now.mtime != found.mtime => Some(waiting("it is being written to")),
        _ => None,
    })
}

fn sums<F: Fs>(context: &Context<'_, F>, path: &Path, demand: &Demand) -> Result<FoundSums, Error> {
    let (dir, name) = split(path)?;
    let file = context.fs.open(&context.fs.open_dir(dir)?, name, Open::Read)?;
    Ok(sums_of(context.fs, &file, demand)?)
}

/// The sidecar existed before its file, as far as their times show.
fn is_orphaned<F: Fs>(context: &Context<'_, F>, path: &Path, sidecar: &Path) -> Result<bool, Error> {
    let (dir, name) = split(path)?;
    let dir = context.fs.open_dir(dir)?;
    let born = context.fs.stat(&dir, name)?.and_then(|stat| stat.born);
    let sidecar = context.fs.stat(&dir, split(sidecar)?.1)?;
    Ok(sidecar.is_some_and(|sidecar| is_older(&sidecar.identity, born)))
}

/// No check has failed: is its content new?
fn complete<F: Fs>(
    context: &Context<'_, F>,
    settings: &Settings,
    path: &Path,
    found: &FileIdentity,
    sha256: Sha256,
) -> Result<Answer, Error> {
    if context.rules.groups
        && let Some(answer) = groups::waits(context, &settings.input, path)?
    {
        return Ok(answer);
    }
    if age(found, context.fs.now()) < context.bounds.min_age {
        return Ok(Answer::new(path, "WAITING", WhyNot::TooYoung.text()));
    }
    let identity = context.report.index.identity().unwrap_or_default();
    if found.size == 0 && identity.empty != EmptyFiles::Ingest {
        let goes = match identity.empty {
            EmptyFiles::Quarantine => "; an ingestor moves it to quarantine once it has been unchanged for long enough",
            _ => "; it stays here until it grows",
        };
        return Ok(Answer::new(path, "WAITING", format!("{}{goes}", WhyNot::Empty.text())));
    }
    let key = KeyRule::new(identity.same_by, &settings.input, path).key(path, &sha256);
    if let Some(original) = context.report.index.original(&key)? {
        let action = settings.duplicates.text();
        let what = match identity.same_by {
            SameBy::Content => "its content is",
            SameBy::NameAndContent => "a file of its name and content is",
        };
        let summary = format!("{what} in the warehouse already; an ingestor will {action} it");
        return of_original(context, Answer::new(path, "DUPLICATE", summary), Some(original.ingest_id));
    }
    let summary = match context.report.index.rules().validation {
        Some(_) => "an ingestor takes it when it has been unchanged for long enough, and validates it (--validate)",
        None => "it passes all checks: an ingestor takes it when it has been unchanged for long enough",
    };
    let others = settings.is_lake().then_some("other hosts may have its content: run --dry-run reads the lake's log");
    let answer = Answer::new(path, "READY", summary).with("sha256", sha256.hex()).with("lake", others);
    Ok(match warehouse_dir(context, settings, path) {
        Ok(dir) => answer.with_path("warehouse_dir", &dir),
        Err(_) => answer,
    })
}

/// The directory in which the file would be published if it were complete now.
fn warehouse_dir<F: Fs>(context: &Context<'_, F>, settings: &Settings, path: &Path) -> Result<PathBuf, NoMatch> {
    let below = path.strip_prefix(&settings.input).unwrap_or(path);
    let dir = context.layout.dir(below.as_os_str(), context.fs.now())?;
    let escaped = settings.warehouse.to_str().and_then(|url| Location::parse(url).ok());
    Ok(settings.warehouse.join(escaped.map_or(dir.clone(), |lake| partition_of_dir(&lake, &dir).into())))
}
