//! Files as JSON.

use std::path::Path;

use serde_json::{Map, Value};

use super::ask::Staged;
use crate::metrics::recent::{Facts, Happened};
use crate::metrics::seconds;
use crate::pipeline::manifest::json_path;

/// Adds a path, and its exact bytes if it is not UTF-8.
pub(super) fn put_path(object: &mut Map<String, Value>, key: &str, path: &Path) {
    let (text, exact) = json_path(path);
    object.insert(key.to_owned(), text.into_owned().into());
    if let Some(exact) = exact {
        object.insert(format!("{key}_base64"), exact.into());
    }
}

/// An event, with the keys that it has in the log.
pub(super) fn happened(event: &Happened) -> Value {
    let mut told = Map::new();
    told.insert("at".to_owned(), event.at.rfc3339().into());
    put_path(&mut told, "path", &event.path);
    let mut put = |key: &str, value: Value| drop(told.insert(key.to_owned(), value));
    match &event.facts {
        Facts::Ingested { warehouse_path, bytes, ingest_id, took } => {
            put("bytes", (*bytes).into());
            put("ingest_id", (*ingest_id).into());
            put("seconds", seconds(*took).into());
            put_path(&mut told, "warehouse_path", warehouse_path);
        }
        Facts::Duplicate { original, action } => {
            put("action", (*action).into());
            put("duplicate_of", original.as_ref().map(|(_, id)| *id).into());
            match original {
                Some((path, _)) => put_path(&mut told, "original", path),
                None => put("original", Value::Null),
            }
        }
        Facts::Failed { reason, error, retry_in } => {
            put("reason", (*reason).into());
            put("error", error.as_str().into());
            put("retry_in_seconds", retry_in.map(seconds).into());
        }
        Facts::Quarantined { target, reason, line, error } => {
            put("reason", (*reason).into());
            put("line", (*line).into());
            put("error", error.as_str().into());
            put_path(&mut told, "target", target);
        }
    }
    told.into()
}

/// A file that waits, in the words of `explain`.
pub(super) fn waits(input: &Path, staged: &Staged) -> Value {
    let mut told = Map::new();
    put_path(&mut told, "path", &input.join(&*staged.name));
    let (status, summary) = staged.status.words().unwrap_or(("WAITING", staged.status.phase.clone()));
    told.insert("status".to_owned(), status.into());
    told.insert("summary".to_owned(), summary.into());
    told.insert("waiting_seconds".to_owned(), staged.waited.as_secs().into());
    told.extend(staged.status.facts().map(|(key, value)| (key.to_owned(), value)));
    told.into()
}
