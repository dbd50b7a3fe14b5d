//! Every operation fails: once and for ever, with each of the errors that disks give, or half-way.

use csv_ingestor::fs::sim::{Fault, Op};

use super::{operations, sweep};
use crate::crash::play::Play;
use crate::crash::scenario::Scenario;

/// An operation that fails, and how.
#[derive(Clone, Copy, Debug)]
enum How {
    Once(i32),
    /// This one, and all of its kind after it.
    ForEver(i32),
    Short,
}

impl How {
    fn fault(self, operation: u64, op: Op) -> Fault {
        match self {
            How::Once(errno) => Fault::errno(errno).at(operation),
            How::ForEver(errno) => Fault::errno(errno).only(&[op]).from(operation),
            How::Short => Fault::short().at(operation),
        }
    }
}

/// P5 and the rest: the run may fail, but nothing is lost, and the next one finishes: on the same machine, and after a
/// power cut.
#[test]
fn every_operation_fails() {
    let hows = [
        How::Once(libc::EIO),
        How::Once(libc::ENOSPC),
        How::Once(libc::EINTR),
        How::ForEver(libc::EIO),
        How::ForEver(libc::ENOSPC),
        How::Short,
    ];
    sweep("faults", operations(Scenario::all()), 50_000, |scenario, operation, op| {
        for how in hows {
            let mut play = Play::new(scenario);
            play.story.push(format!("{how:?} at operation {operation}, {op:?}"));
            play.model().lossy = op.is_sync() && !scenario.syncs;
            play.fs.inject(how.fault(operation, op));
            let ended = play.run();
            play.fs.clear_faults();
            if matches!(how, How::Short) && !matches!(op, Op::List) {
                // A transfer that was short is no error; its rest follows.
                play.check_ended(ended);
                continue;
            }
            if op.is_sync() {
                let verdict = play.model().after_failed_sync(&mut play.fs.upstream());
                verdict.unwrap_or_else(|wrong| panic!("{}: {wrong}", play.told()));
            }
            play.kill();
            let mut cut = play.fork();
            cut.cut_power(operation);
            for mut play in [play, cut] {
                play.end();
            }
        }
        2 * hows.len() as u64 - 1
    });
}
