//! Gateways and disks of the store itself that are killed, and started again.
//!
//! scripts/object_store knows their processes by id; it ends none but those.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::plan::Plan;
use crate::lake::turns::Dice;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/object_store");

/// Names of the processes without which the store goes on.
fn victims(servers: &Path) -> Vec<String> {
    let names = std::fs::read_dir(servers.join("run")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names = names.filter_map(|name| name.strip_suffix(".pid").map(str::to_owned));
    let mut victims: Vec<String> =
        names.filter(|name| name.starts_with("gateway") || name.starts_with("osd")).collect();
    victims.sort();
    victims
}

fn object_store(verb: &str, servers: &Path, name: &str) -> Result<(), String> {
    let status = Command::new(SCRIPT)
        .args([verb.as_ref(), servers.as_os_str(), name.as_ref()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    if status.unwrap().success() { Ok(()) } else { Err(format!("object_store {verb} {name} has failed")) }
}

/// Kills one after the other until the time is over, and starts each again after a while. Returns their names.
pub fn run(plan: &Plan) -> Result<Vec<String>, String> {
    let (mut dice, until, mut killed) = (Dice(plan.seed + 3), Instant::now() + plan.time, Vec::new());
    let victims = victims(&plan.servers);
    let share = plan.time / 20;
    // Each of them, in a random order, again and again.
    let mut left: Vec<&String> = Vec::new();
    while !victims.is_empty() {
        if left.is_empty() {
            left.extend(&victims);
        }
        let victim = left.swap_remove(dice.below(left.len() as u64) as usize);
        std::thread::sleep(share.mul_f64(1.0 + dice.below(100) as f64 / 50.0));
        if Instant::now() + 2 * share > until {
            break;
        }
        object_store("kill", &plan.servers, victim)?;
        std::thread::sleep((share / 2).mul_f64(1.0 + dice.below(100) as f64 / 50.0).min(Duration::from_secs(20)));
        object_store("restart", &plan.servers, victim)?;
        killed.push(victim.clone());
    }
    Ok(killed)
}
