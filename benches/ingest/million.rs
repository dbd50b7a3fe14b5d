//! Whether a file costs more time and memory when more files are staged, beside what the file system takes for them: the
//! floor's growth.

use crate::contender::Contender;
use crate::disk::Scratch;
use crate::files::Set;
use crate::place::{Place, lacks};
use crate::rounds::{median, ratio, turns};
use crate::scale::Scale;
use crate::table::{Line, Table, count, mib};

const FILE_BYTES: u64 = 100;
const RESIDENT_BYTES_MAX: u64 = 200 << 20;
/// A round takes two minutes.
const ROUNDS_MAX: usize = 3;
/// The ingestor, and the floor.
const CONTENDERS: [Contender; 2] = [Contender::Ours, Contender::Floor];

pub fn measure(scale: &Scale, scratch: &Scratch, table: &mut Table) {
    let sets = scale.staged.map(|count| Set { count, bytes: FILE_BYTES });
    let what = |set: &Set| format!("time for a file, {} staged", count(set.count));
    if let Some(why) = lacks(&scratch.path("."), sets.iter().map(|set| set.disk_bytes()).sum()) {
        return table.add(Line::skipped(what(&sets[sets.len() - 1]), &why));
    }
    let places = sets.map(|set| Place::within(scratch.path(&format!("staged-{}", set.count))));
    sets.iter().zip(&places).for_each(|(set, place)| set.make(&place.staging));
    let mut times: [[Vec<f64>; 3]; 2] = Default::default();
    let mut resident = [0; 3];
    for round in 0..scale.rounds.min(ROUNDS_MAX) {
        for turn in turns(round, sets.len()) {
            let (set, place) = (sets[turn], &places[turn]);
            for who in turns(round, CONTENDERS.len()) {
                place.move_back();
                place.renew();
                let ended = CONTENDERS[who].run(place);
                place.check(set.count);
                times[who][turn].push(ended.seconds * 1e6 / set.count as f64);
                if CONTENDERS[who] == Contender::Ours {
                    resident[turn] = resident[turn].max(ended.resident_bytes);
                }
            }
        }
    }
    places.into_iter().for_each(Place::remove);
    let [times, floor] = times;
    for (index, set) in sets.iter().enumerate() {
        let line = Line::new(what(set), format!("{:.1} us", median(&times[index])));
        let at = format!("floor {:.1} us; at most {} resident", median(&floor[index]), mib(resident[index]));
        let line = line.other(at);
        if index == 0 {
            table.add(line);
            continue;
        }
        let [over_few, floors] = [&times, &floor].map(|times| ratio(&times[index], &times[0]));
        let line = line.ratio(over_few);
        let is_most = index == sets.len() - 1;
        let target = format!("<= the floor's {floors:.2}x");
        table.add(if is_most { line.target(target, over_few <= floors) } else { line });
    }
    let (most, bytes) = (scale.staged[2], resident[2]);
    let line = Line::new(format!("the most memory, {} staged", count(most)), mib(bytes));
    table.add(line.target(format!("<= {}", mib(RESIDENT_BYTES_MAX)), bytes <= RESIDENT_BYTES_MAX));
}
