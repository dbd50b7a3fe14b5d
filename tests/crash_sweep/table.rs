//! How many moments were tried, as a table.

use std::collections::BTreeSet;

use super::case::Fault;
use super::plan::STANDARD_STREAM;
use super::sweep::Results;
use super::trial::CHANGING_CALLS;

/// One line per layout and call, one column per fault.
pub fn print(results: &Results) {
    println!("{:8} {:10} {:>6} {:>6} {:>6} {:>12}", "layout", "call", "kill", "EIO", "ENOSPC", "EIO from on");
    let rows: BTreeSet<_> = results.tallies.keys().map(|(layout, call, _)| (*layout, call)).collect();
    for (layout, call) in rows {
        let cell = |fault| {
            let tally = results.tallies.get(&(layout, call.clone(), fault));
            tally.map_or_else(|| "-".to_owned(), |tally| tally.moments.to_string())
        };
        let [kill, eio, enospc, on] = [Fault::Kill, Fault::Eio, Fault::Enospc, Fault::EioFromOn].map(cell);
        println!("{:8} {call:10} {kill:>6} {eio:>6} {enospc:>6} {on:>12}", layout.name());
    }
    let called: BTreeSet<&str> = results.counts.keys().map(|(_, call)| call.as_str()).collect();
    let never: Vec<&str> = CHANGING_CALLS.into_iter().filter(|call| !called.contains(call)).collect();
    println!("never called: {}", never.join(" "));
    if called.contains(STANDARD_STREAM) && !called.contains("write") {
        println!("write is called for the log and the results only");
    }
}
