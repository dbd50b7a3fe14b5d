//! The speed at which all staged files are ingested, compared with others.

use std::path::Path;

use crate::contender::Contender;
use crate::disk::{Mount, Scratch};
use crate::files::Set;
use crate::groups::MEMBERS;
use crate::place::{Place, lacks};
use crate::plot::Bar;
use crate::process::Ended;
use crate::rounds::{median, ratio, ratios, turns};
use crate::scale::Scale;
use crate::table::{Line, Table, count, per_second};

const SMALL_MIN: f64 = 0.8;
const MEDIUM_MIN: f64 = 0.92;
const LARGE_MIN: f64 = 0.99;
const ACROSS_SMALL_MIN: f64 = 0.95;
const ACROSS_MIN: f64 = 0.7;
/// Processor time a small file, of the floor's.
const CPU_MAX: f64 = 1.15;
/// Share of the speed without validation.
const VALIDATING_MIN: f64 = 0.8;
/// Share of the speed without groups.
const GROUPED_MIN: f64 = 0.5;
/// Groups in a full run, and in a quick one.
const GROUPS: u64 = 100;
const GROUPS_QUICK: u64 = 5;

/// From this size on, bytes determine the time, not files.
const LARGE_BYTES: u64 = 10_000;

/// The size of the files, and the wanted share of the floor's speed.
struct Kind {
    what: &'static str,
    set: Set,
    min: f64,
}

fn kind(name: &str, scale: &Scale) -> Kind {
    let is_across = name.starts_with("cross-");
    let (what, set, min) = match name.trim_start_matches("cross-") {
        "small" => ("small", scale.small, SMALL_MIN),
        "medium" => ("medium", scale.medium, MEDIUM_MIN),
        _ => ("large", scale.large, LARGE_MIN),
    };
    let min = match (is_across, what) {
        (false, _) => min,
        (true, "small") => ACROSS_SMALL_MIN,
        (true, _) => ACROSS_MIN,
    };
    Kind { what, set, min }
}

/// Files per second, or bytes per second for large files.
fn speed(set: Set, seconds: f64) -> String {
    match set.bytes < LARGE_BYTES {
        true => per_second(set.count as f64 / seconds),
        false => format!("{:.0} MB/s", set.total_bytes() as f64 / seconds / 1e6),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 if bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        0..1_000_000 => format!("{} KB", bytes / 1000),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// Compares with the floor, on one file system.
pub fn measure(name: &str, scale: &Scale, scratch: &Scratch, table: &mut Table) -> Option<Bar> {
    let kind = kind(name, scale);
    let what = format!("{}: {} files of {}", kind.what, count(kind.set.count), size(kind.set.bytes));
    if let Some(why) = lacks(&scratch.path("."), kind.set.disk_bytes()) {
        table.add(Line::skipped(what, &why));
        return None;
    }
    let place = Place::within(scratch.path(name));
    Some(against_floor(name, what, &kind, &place, scale, table)).inspect(|_| place.remove())
}

/// The same, with a staging directory on another file system, if there is one.
pub fn measure_across(
    name: &str,
    scale: &Scale,
    scratch: &Scratch,
    other: Result<&Scratch, &str>,
    table: &mut Table,
) -> Option<Bar> {
    let kind = kind(name, scale);
    let what = format!("{} across: {} files of {}", kind.what, count(kind.set.count), size(kind.set.bytes));
    let has_room = |other: &Scratch| {
        let needed = kind.set.disk_bytes();
        lacks(&scratch.path("."), needed).or_else(|| lacks(&other.path("."), needed))
    };
    let why = match other {
        Err(why) => Some(why.to_owned()),
        Ok(other) => has_room(other),
    };
    if let Some(why) = why {
        table.add(Line::skipped(what, &why));
        return None;
    }
    let other = other.ok()?;
    let (from, to) = (Mount::of(&other.path(".")).kind, Mount::of(&scratch.path(".")).kind);
    let place = Place::new(other.path(name), scratch.path(name));
    let what = format!("{what}, {from} to {to}");
    Some(against_floor(name, what, &kind, &place, scale, table)).inspect(|_| place.remove())
}

fn against_floor(name: &str, what: String, kind: &Kind, place: &Place, scale: &Scale, table: &mut Table) -> Bar {
    let all = runs([(Contender::Ours, kind.set), (Contender::Floor, kind.set)], [place, place], scale.rounds);
    let [ours, floor] = all.each_ref().map(|all| of_each(all, |run| kind.set.count as f64 / run.seconds));
    let ratios = ratios(&ours, &floor);
    let ratio = median(&ratios);
    let shown = |rates: &[f64]| speed(kind.set, kind.set.count as f64 / median(rates));
    let other = format!("floor {} ({})", shown(&floor), spread(&ratios));
    let line = Line::new(what, shown(&ours)).other(other).ratio(ratio);
    table.add(line.target(format!(">= {:.2}x", kind.min), ratio >= kind.min));
    if name == "small" {
        let [ours, floor] = all.map(|all| of_each(&all, |run| run.cpu_seconds * 1e6 / kind.set.count as f64));
        let share = self::ratio(&ours, &floor);
        let line = Line::new("processor time a file of it".to_owned(), format!("{:.1} us", median(&ours)));
        let line = line.other(format!("floor {:.1} us", median(&floor))).ratio(share);
        table.add(line.target(format!("<= {CPU_MAX}x"), share <= CPU_MAX));
    }
    Bar { label: name.to_owned(), share: ratio, target: Some(kind.min) }
}

/// Compares runs with and without validation.
pub fn measure_validation(scale: &Scale, scratch: &Scratch, table: &mut Table) {
    let set = scale.medium;
    let what = format!("medium with --validate csv: {} files of {}", count(set.count), size(set.bytes));
    if let Some(why) = lacks(&scratch.path("."), set.disk_bytes()) {
        return table.add(Line::skipped(what, &why));
    }
    let place = Place::within(scratch.path("validate"));
    let [looking, plain] =
        rates([(Contender::OursValidating, set), (Contender::Ours, set)], [&place, &place], scale.rounds);
    place.remove();
    let ratios = ratios(&looking, &plain);
    let ratio = median(&ratios);
    let shown = |rates: &[f64]| speed(set, set.count as f64 / median(rates));
    let other = format!("without {} ({})", shown(&plain), spread(&ratios));
    let line = Line::new(what, shown(&looking)).other(other).ratio(ratio);
    table.add(line.target(format!(">= {VALIDATING_MIN:.2}x"), ratio >= VALIDATING_MIN));
}

/// Compares files in groups of twelve with files that are in none.
pub fn measure_groups(scale: &Scale, scratch: &Scratch, table: &mut Table) {
    let groups = if scale.is_full { GROUPS } else { GROUPS_QUICK };
    let set = Set { count: groups * MEMBERS, bytes: scale.small.bytes };
    let what = format!("{} groups of {MEMBERS} files of {}", count(groups), size(set.bytes));
    if let Some(why) = lacks(&scratch.path("."), set.disk_bytes()) {
        return table.add(Line::skipped(what, &why));
    }
    let places = ["groups", "alone"].map(|name| Place::within(scratch.path(name)));
    let contenders = [(Contender::OursInGroups, set), (Contender::Ours, set)];
    let [grouped, alone] = rates(contenders, [&places[0], &places[1]], scale.rounds);
    places.into_iter().for_each(Place::remove);
    let ratios = ratios(&grouped, &alone);
    let ratio = median(&ratios);
    let other = format!("without groups {} ({})", per_second(median(&alone)), spread(&ratios));
    let line = Line::new(what, per_second(median(&grouped))).other(other).ratio(ratio);
    table.add(line.target(format!(">= {GROUPED_MIN:.2}x"), ratio >= GROUPED_MIN));
}

pub fn spread(ratios: &[f64]) -> String {
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let most = ratios.iter().copied().fold(0.0, f64::max);
    format!("{least:.2}-{most:.2}x")
}

/// Files per second of two contenders in turn, each in its place; both may use the same place.
pub fn rates(contenders: [(Contender, Set); 2], places: [&Place; 2], rounds: usize) -> [Vec<f64>; 2] {
    let counts = contenders.map(|(_, set)| set.count as f64);
    let [one, other] = runs(contenders, places, rounds);
    [of_each(&one, |run| counts[0] / run.seconds), of_each(&other, |run| counts[1] / run.seconds)]
}

fn of_each(runs: &[Ended], what: impl Fn(&Ended) -> f64) -> Vec<f64> {
    runs.iter().map(what).collect()
}

/// Two contenders in turn.
fn runs(contenders: [(Contender, Set); 2], places: [&Place; 2], rounds: usize) -> [Vec<Ended>; 2] {
    let mut all: [Vec<Ended>; 2] = Default::default();
    for round in 0..rounds {
        for turn in turns(round, all.len()) {
            let ((contender, set), place) = (contenders[turn], places[turn]);
            stage(set, place);
            let ended = contender.run(place);
            if contender.fills_warehouse() {
                place.check(set.count);
            }
            all[turn].push(ended);
        }
    }
    all
}

/// Stages the files: moves them back if only their names have changed, writes them otherwise.
fn stage(set: Set, place: &Place) {
    if is_empty(&place.warehouse()) {
        set.make(&place.staging);
    } else if is_same_file_system(place) {
        place.move_back();
    } else {
        place.renew();
        set.make(&place.staging);
    }
    place.renew();
}

fn is_empty(dir: &Path) -> bool {
    dir.read_dir().unwrap().next().is_none()
}

/// Whether files can be renamed from staging to the warehouse.
fn is_same_file_system(place: &Place) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let [staging, warehouse] = [&place.staging, &place.warehouse()].map(|dir| dir.metadata().unwrap().dev());
    staging == warehouse
}
