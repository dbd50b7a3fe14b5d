//! Groups in a dry run: found, asked about and hashed as in a real run.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::lake::View;
use crate::Error;
use crate::fs::Fs;
use crate::journal::index::Index;
use crate::lake::host::State;
use crate::pipeline::group::{self, Member, NotRead};
use crate::pipeline::hash::Shared;
use crate::pipeline::scan::Scanner;
use crate::pipeline::settle::Settle;
use crate::pipeline::{Outcome, Refusal, Report, Settled};
use crate::types::{Key, Sha256};

/// A file that was handed out, and its content with its directory in the warehouse.
type Hashed = (Settled, Result<(Sha256, PathBuf), Refusal>);

/// Hands out the groups that are complete. Returns the group files that cannot be used, and why.
pub(super) fn find<F: Fs>(
    shared: &Shared<F>,
    (scanner, settle): (&mut Scanner<F>, &mut Settle),
    (index, lake): (&Index, Option<&View>),
    now: Duration,
) -> Result<Vec<(Arc<OsStr>, String)>, Error> {
    let mut faulty = Vec::new();
    while let Some((name, identity)) = settle.take_group_to_read() {
        let read = group::read(&shared.fs, &shared.staging, &name, &identity)
            .and_then(|members| scanner.check_members(members).map_err(NotRead::Faulty));
        settle.read_group((&name, identity), read.as_ref().map(Clone::clone), now);
        match read {
            Err(NotRead::Faulty(why)) => faulty.push((name, why)),
            Err(NotRead::Failed(error)) => faulty.push((name, error.to_string())),
            Ok(_) | Err(NotRead::Busy) => {}
        }
    }
    release(shared, settle);
    if settle.groups_want_scan() {
        // Only a whole scan proves that a member is not there.
        scanner.begin(settle)?;
        while scanner.is_scanning() {
            scanner.slice(settle, now)?;
        }
        release(shared, settle);
    }
    while let Some(group) = settle.take_to_ask() {
        let key = |member: &Member| Key::by(shared.identity.same_by, &member.staged, &member.sha256);
        let known = |member: &Member| match lake {
            Some(lake) => Ok(lake.state(&member.sha256) == State::Listed),
            None => Ok(index.original(&key(member))?.is_some()),
        };
        let known: Result<Vec<bool>, Error> = group.members.iter().map(known).collect();
        settle.report(&Report { name: group.name.clone(), outcome: Outcome::Known(known?) }, now);
        release(shared, settle);
    }
    Ok(faulty)
}

fn release<F: Fs>(shared: &Shared<F>, settle: &mut Settle) {
    while settle.release_group(shared.fs.now(), usize::MAX) {}
}

/// A member whose content an entry claims, and not for this file, keeps its group waiting until it is listed; one that no entry
/// can claim, for ever.
pub(super) fn refuse_claimed(
    hashed: &mut [Hashed],
    lake: &mut View,
    (index, input): (&Index, &Path),
) -> Result<(), Error> {
    for (settled, result) in hashed.iter_mut().filter(|(settled, _)| settled.group.is_some()) {
        let path = input.join(&*settled.name);
        let Ok((sha256, dir)) = result else { continue };
        let refusal = match lake.state(sha256) {
            State::New => lake.unfit(settled, sha256, dir).map(Refusal::GroupUnfit),
            State::Claimed if lake.half_done(index, (settled, &path), sha256)?.is_none() => {
                Some(Refusal::ClaimedElsewhere)
            }
            State::Claimed | State::Listed => None,
        };
        if let Some(refusal) = refusal {
            *result = Err(refusal);
        }
    }
    Ok(())
}

/// If one file of a group was refused, so are the others.
pub(super) fn all_or_none<T>(
    hashed: Vec<(Settled, Result<T, Refusal>)>,
) -> impl Iterator<Item = (Settled, Result<T, Refusal>)> {
    let ticket = |settled: &Settled| settled.group.as_ref().map(|group| group.ticket);
    let refused = hashed.iter().filter(|(_, hashed)| hashed.is_err()).filter_map(|(settled, _)| ticket(settled));
    let broken: HashSet<u64> = refused.collect();
    hashed.into_iter().map(move |(settled, hashed)| match ticket(&settled) {
        Some(group) if broken.contains(&group) => (settled, hashed.and(Err(Refusal::Group))),
        _ => (settled, hashed),
    })
}
