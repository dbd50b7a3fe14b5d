//! The command line as documented: options, their environment variables and the configuration file, logs, dry run, `replay`,
//! and the commands for the journal and for lakes.

mod compact;
mod config;
mod documents;
mod dry_run;
mod explain;
mod forget;
mod inspect;
mod lake;
mod logs;
mod options;
mod repair;
mod replay;
mod snapshots;
mod status;
mod verify;

use crate::harness::{Place, wait_until};

/// A place whose journal has exactly one file, DISCOVERED: the ingestor was killed while it hashed `large.csv`.
fn killed_while_hashing() -> Place {
    const BYTES: u64 = 1 << 29;
    // The file may be ingested already; then the test tries again.
    for _ in 0..20 {
        let place = Place::new();
        place.stage_large("large.csv", 1, BYTES);
        let daemon = place.start(&["--stability-seconds", "0", "--scan-interval", "100ms"]);
        daemon.wait_started();
        wait_until("the file is in the journal", || !place.inspect().is_empty());
        daemon.kill();
        if place.inspect()[0]["state"] == "DISCOVERED" {
            return place;
        }
    }
    panic!("never caught it while it was hashing");
}
