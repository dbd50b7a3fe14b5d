//! What `--once` prints about the files that are left, and `--dry-run` about all of them.

use serde_json::json;

use super::output::json_line;
use crate::daemon::Left;
use crate::dry_run::{Forecast, ORPHAN_TEXT};
use crate::log::path_text;
use crate::pipeline::manifest::json_path;

pub(super) fn left_text(left: &Left) -> String {
    match left {
        Left::Waiting(path, why) => format!("WAITING: {} ({})", path_text(path), why.text()),
        Left::Orphan(path) => format!("WAITING: {} ({ORPHAN_TEXT})", path_text(path)),
        Left::Duplicate(path, Some(of)) => format!("DUPLICATE: {} = {}", path_text(path), path_text(of)),
        Left::Duplicate(path, None) => format!("DUPLICATE: {}", path_text(path)),
        Left::Ignored(path, why) => format!("IGNORED: {} ({})", path_text(path), why.text()),
        Left::MoreIgnored(more) => format!("IGNORED: {more} more"),
    }
}

pub(super) fn forecast_text(forecast: &Forecast) -> String {
    match forecast {
        Forecast::Ready { path, warehouse_path } => {
            format!("READY: {} -> {}", path_text(path), path_text(warehouse_path))
        }
        Forecast::Duplicate { path, of } => format!("DUPLICATE: {} = {}", path_text(path), path_text(of)),
        Forecast::Waiting { path, reason } => format!("WAITING: {} ({reason})", path_text(path)),
        Forecast::Ignored { path, why } => format!("IGNORED: {} ({})", path_text(path), why.text()),
        Forecast::MoreIgnored { path: _, more } => format!("IGNORED: {more} more"),
    }
}

pub(super) fn forecast_json(forecast: &Forecast) -> String {
    let path = json_path(forecast.path()).0;
    let mut paths = vec![("path", forecast.path())];
    let line = match forecast {
        Forecast::Ready { warehouse_path, .. } => {
            paths.push(("warehouse_path", warehouse_path));
            json!({ "status": "READY", "path": path, "warehouse_path": json_path(warehouse_path).0 })
        }
        Forecast::Duplicate { of, .. } => {
            paths.push(("original", of));
            json!({ "status": "DUPLICATE", "path": path, "original": json_path(of).0 })
        }
        Forecast::Waiting { reason, .. } => json!({ "status": "WAITING", "path": path, "reason": reason }),
        Forecast::Ignored { why, .. } => json!({ "status": "IGNORED", "path": path, "reason": why.text() }),
        Forecast::MoreIgnored { more, .. } => json!({ "status": "IGNORED", "path": path, "more": more }),
    };
    json_line(line, &paths)
}
