//! `csv-ingestor lake status`.

use clap::Args;
use serde_json::{Value, json};

use super::place::{LakeArgs, Opened, host_text};
use crate::Error;
use crate::cli::output::{json_line, plain, print_lines};
use crate::lake::care::survey::{Note, ShardView, Survey, Unfinished, survey};
use crate::lake::format::Lake;
use crate::types::UnixMillis;

/// Entries of a shard that are shown, at most, of each sort.
const SHOWN_MAX: usize = 8;

#[derive(Debug, Args)]
pub(in crate::cli) struct StatusArgs {
    #[command(flatten)]
    lake: LakeArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints what is to be seen of the lake. A shard that is damaged is the command's error.
pub(super) fn execute(arguments: &StatusArgs) -> Result<(), Error> {
    let opened = arguments.lake.open()?;
    let place = &arguments.lake.store;
    let mut survey = survey(&opened.stores, &opened.description.lake).map_err(|error| place.failed(error))?;
    let lines = match arguments.json {
        true => vec![json_line(json(&place.url.to_string(), &opened, &survey), &[])],
        false => text(&place.url.to_string(), &opened, &survey),
    };
    print_lines(lines.iter().map(|line| plain(line)))?;
    let problem = survey.shards.iter_mut().find_map(|shard| shard.problem.take());
    problem.map_or(Ok(()), |error| Err(place.failed(error)))
}

fn json(url: &str, opened: &Opened, survey: &Survey) -> Value {
    let Lake { id, shards, checkpoint_entries } = opened.description.lake;
    let hosts = survey.hosts.iter().map(|(host, note)| {
        let at = note.at.map(UnixMillis::rfc3339);
        json!({ "host": host_text(host), "last_ingested_at": at, "shard": note.shard, "entry": note.number })
    });
    json!({
        "warehouse": url,
        "manifests": opened.manifests.to_string(),
        "lake": id.to_string(),
        "shards": shards,
        "checkpoint_entries": checkpoint_entries,
        "hosts": hosts.collect::<Vec<_>>(),
        "logs": survey.shards.iter().map(json_shard).collect::<Vec<_>>(),
        "packs_needed": survey.packs_needed,
        "packs_other": survey.packs_other,
    })
}

fn json_shard(view: &ShardView) -> Value {
    let unfinished = view.unfinished.iter().map(|unfinished| {
        let mut told = json_note(&unfinished.entry);
        let errors: Vec<String> = unfinished.errors.iter().map(|error| error.to_string()).collect();
        told["published"] = unfinished.published.into();
        told["errors"] = errors.into();
        told
    });
    json!({
        "shard": view.shard,
        "entries": view.entries,
        "contents": view.contents,
        "finished_below": view.floor,
        "checkpoints": view.checkpoints.len(),
        "newest_checkpoint": view.checkpoints.last(),
        "newest": view.newest.iter().take(SHOWN_MAX).map(json_note).collect::<Vec<_>>(),
        "unfinished": unfinished.collect::<Vec<_>>(),
        "problem": view.problem.as_ref().map(|error| error.to_string()),
    })
}

fn json_note(note: &Note) -> Value {
    json!({
        "entry": note.number,
        "kind": note.kind,
        "host": host_text(&note.host),
        "ingested_at": note.at.map(UnixMillis::rfc3339),
        "claims": note.claims,
    })
}

fn text(url: &str, opened: &Opened, survey: &Survey) -> Vec<String> {
    let Lake { id, shards, checkpoint_entries } = opened.description.lake;
    let mut lines = vec![
        format!("lake:       {id}; shards: {shards}, entries between checkpoints: {checkpoint_entries}"),
        format!("warehouse:  {url}"),
        format!("manifests:  {}", opened.manifests),
        format!("packs:      {} needed, {} others", survey.packs_needed, survey.packs_other),
    ];
    for (host, note) in &survey.hosts {
        lines.push(format!("host:       {}: {}", host_text(host), last(note)));
    }
    for view in &survey.shards {
        let ShardView { shard, entries, contents, floor, checkpoints, .. } = view;
        let newest = checkpoints.last().map_or("none".to_owned(), u64::to_string);
        lines.push(format!(
            "shard {shard}:    {entries} entries, finished below {floor}; {contents} contents; newest checkpoint: {newest}"
        ));
        lines.extend(view.newest.iter().take(SHOWN_MAX).map(|note| format!("  newest:     {}", note_text(note))));
        lines.extend(view.unfinished.iter().take(SHOWN_MAX).flat_map(unfinished_text));
        if view.unfinished.len() > SHOWN_MAX {
            lines.push(format!("  and {} more unfinished entries", view.unfinished.len() - SHOWN_MAX));
        }
        lines.extend(view.problem.as_ref().map(|error| format!("  problem:    {error}")));
    }
    lines
}

fn last(note: &Note) -> String {
    let at = note.at.map_or("at an unknown time".to_owned(), UnixMillis::rfc3339);
    format!("last seen {at}, entry {} of shard {}", note.number, note.shard)
}

fn note_text(note: &Note) -> String {
    let Note { number, host, claims, kind, .. } = note;
    let at = note.at.map(|at| format!(", {}", at.rfc3339())).unwrap_or_default();
    format!("entry {number}, {kind} of {claims} contents by {}{at}", host_text(host))
}

fn unfinished_text(unfinished: &Unfinished) -> Vec<String> {
    let Unfinished { entry, published, errors } = unfinished;
    let mut lines = vec![format!("  unfinished: {}; {published} data objects are there", note_text(entry))];
    lines.extend(errors.iter().map(|error| format!("              {error}")));
    lines
}
