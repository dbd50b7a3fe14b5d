//! Files in very many directories, compared with the same files in one.

use crate::contender::Contender;
use crate::disk::Scratch;
use crate::files::{self, Set};
use crate::place::{Place, lacks};
use crate::rounds::{median, ratios, turns};
use crate::scale::Scale;
use crate::table::{Line, Table, count, per_second};
use crate::throughput::spread;

/// Files in each directory.
const FILES_A_DIR: u64 = 20;
/// Share of the speed with all files in one directory.
const TREE_MIN: f64 = 0.9;

/// Compares with the same files in one directory.
pub fn measure(scale: &Scale, scratch: &Scratch, table: &mut Table) {
    let set = scale.small;
    let dirs = set.count / FILES_A_DIR;
    let what = format!("tree: {} directories with {FILES_A_DIR} files of {} bytes", count(dirs), set.bytes);
    if let Some(why) = lacks(&scratch.path("."), 2 * set.disk_bytes()) {
        return table.add(Line::skipped(what, &why));
    }
    let places = ["tree", "flat"].map(|name| Place::within(scratch.path(name)));
    let mut rates: [Vec<f64>; 2] = Default::default();
    for round in 0..scale.rounds {
        for turn in turns(round, rates.len()) {
            let (place, is_tree) = (&places[turn], turn == 0);
            place.renew();
            stage(set, place, is_tree);
            place.settle();
            let contender = if is_tree { Contender::OursRecursive } else { Contender::Ours };
            let seconds = contender.run(place).seconds;
            place.check(set.count);
            rates[turn].push(set.count as f64 / seconds);
        }
    }
    places.into_iter().for_each(Place::remove);
    let [tree, flat] = rates;
    let ratios = ratios(&tree, &flat);
    let ratio = median(&ratios);
    let other = format!("in one directory {} ({})", per_second(median(&flat)), spread(&ratios));
    let line = Line::new(what, per_second(median(&tree))).other(other).ratio(ratio);
    table.add(line.target(format!(">= {TREE_MIN:.2}x"), ratio >= TREE_MIN));
}

fn stage(set: Set, place: &Place, is_tree: bool) {
    if !is_tree {
        return set.make(&place.staging);
    }
    let dir = |number: u64| place.staging.join(format!("dir-{:05}", number / FILES_A_DIR));
    (0..set.count).step_by(FILES_A_DIR as usize).for_each(|first| std::fs::create_dir_all(dir(first)).unwrap());
    set.make_at(&|number| dir(number).join(files::name(number)));
}
