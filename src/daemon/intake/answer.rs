//! Answers questions about the files in staging.
//!
//! Invariant: an answer costs a limited time, however many files wait: it is about one file, or about a limited number of
//! names and rows.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel;
use memchr::memmem::Finder;

use super::Intake;
use crate::control::StagedStatus;
use crate::limits::WAITING_PART_NAMES;
use crate::metrics::seconds;
use crate::page::ask::{Asked, Part, Search, Staged};
use crate::pipeline::group::is_group_file;
use crate::pipeline::settle::Age;

impl Intake {
    /// Answers a question. The channel has room for the answer; whether it is read does not matter here.
    pub(super) fn answer(&mut self, asked: Option<Asked>, now: Duration) {
        match asked {
            None => self.asked = channel::never(),
            Some(Asked::File { name, answer }) => drop(answer.try_send(self.status_of(&name, now))),
            Some(Asked::Search { search, answer }) => drop(answer.try_send(self.search(&search, now))),
        }
    }

    /// What is known about a file.
    fn status_of(&self, name: &OsStr, now: Duration) -> Option<StagedStatus> {
        let tracked = self.settle.tell(name, now)?;
        let group = if is_group_file(name) { Some(name) } else { self.settle.group_of(name).map(|group| &**group) };
        let status = group.and_then(|group| self.settle.group_status(group, now));
        let turn = |order: &str| format!("it is complete, and waits for its turn (--order {order})");
        let in_order = self.settle.order().filter(|_| tracked.phase == "ready").map(|order| turn(order.text()));
        let has_failed = tracked.failures.is_some_and(|failures| failures > 0);
        let errors = self.errors.iter().rev().filter(|_| has_failed);
        Some(StagedStatus {
            phase: tracked.phase.to_owned(),
            reason: tracked.why.map(|why| why.text().to_owned()).or(in_order),
            unchanged_seconds: tracked.unchanged.map(seconds),
            window_seconds: self.settle.window().map(seconds),
            retry_in_seconds: tracked.retry_in.map(seconds),
            failures: tracked.failures,
            group: status.as_ref().map(|status| status.name.to_string_lossy().into_owned()),
            missing: status.map(|status| status.texts).unwrap_or_default(),
            error: errors.clone().find(|(of, _)| **of == *name).map(|(_, error)| error.clone()),
        })
    }

    /// Some of the files that match.
    fn search(&self, search: &Search, now: Duration) -> Part {
        let began = Instant::now();
        let name = search.name.to_ascii_lowercase();
        let (finder, mut lower) = (Finder::new(&name), Vec::new());
        let (mut found, mut looked_at, mut next) = (Vec::new(), 0, None);
        for (age, name) in self.settle.by_age(search.after) {
            if looked_at >= WAITING_PART_NAMES || found.len() >= search.rows {
                break;
            }
            // Places that are given anew are later ones: files of the same second may come again, but none is left out.
            let second = search.after.map_or(0, |after| after.second);
            (looked_at, next) = (looked_at + 1, Some(Age { second: age.second.max(second), ..age }));
            if age.second < second {
                continue;
            }
            lower.clear();
            lower.extend(name.as_bytes().iter().map(u8::to_ascii_lowercase));
            if finder.find(&lower).is_some() {
                found.push((age, name.clone()));
            }
        }
        let is_last = next.is_none_or(|last| self.settle.by_age(Some(last)).next().is_none());
        let staged = |(age, name): (Age, Arc<OsStr>)| {
            let status = self.status_of(&name, now)?;
            Some(Staged { waited: now.saturating_sub(Duration::from_secs(age.second.into())), name, status })
        };
        let files = found.into_iter().filter_map(staged).collect();
        Part { files, next: next.filter(|_| !is_last), known: self.settle.known(), took: began.elapsed() }
    }
}
