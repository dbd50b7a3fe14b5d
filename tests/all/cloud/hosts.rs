//! Many hosts, each a real process, on a real store: they are killed at random moments, one of them for ever, and so are
//! gateways and disks of the store; answers are lost, and requests arrive after their senders' death. In the end each
//! content is there once.
//!
//! scripts/check_lake starts the store, and says in the environment how much there is to do (`plan`).

mod judge;
mod machine;
mod outage;
mod plan;
mod proxy;
mod upstream;
mod watch;
mod wire;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use csv_ingestor::lake::description::{check_manifests, make};
use csv_ingestor::lake::entry::Entry;
use csv_ingestor::lake::format::{Description, Lake, LakeId};
use csv_ingestor::store::Store as _;
use csv_ingestor::types::Sha256;

use self::machine::Machine;
use self::plan::Plan;
use self::proxy::{Counts, Proxy, Rates, Trap};
use self::upstream::Upstream;
use self::watch::Watch;
use super::sha256;
use crate::harness::{err, out};
use crate::lake::turns::Dice;

/// Hosts at the beginning. The last one dies for ever, and another one comes, unless there is no time for it.
const HOSTS: usize = 3;
/// A host that is to die waits so long for a request that is its last one.
const TRAP_MAX: Duration = Duration::from_secs(4);
/// So does the one that dies for ever: it has to have claimed something.
const LAST_TRAP_MAX: Duration = Duration::from_secs(60);
/// In good weather, everything is at rest after so long: patience with others' entries, and the longest pause before
/// another try.
const REST_MAX: Duration = Duration::from_secs(420);
/// From one look at everything to the next.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// What the threads of a run share.
struct Run<'a> {
    plan: &'a Plan,
    upstream: Upstream,
    until: Instant,
    wrong: Mutex<Vec<String>>,
}

/// What a host that died for ever has left.
struct Remains {
    /// What its last entry claims.
    claimed: BTreeSet<Sha256>,
    /// Of these, what nobody else has ever got.
    only_there: BTreeSet<Sha256>,
    resent: u64,
}

impl Run<'_> {
    fn note(&self, result: Result<(), String>) {
        self.wrong.lock().unwrap().extend(result.err());
    }

    fn is_over(&self, until: Instant) -> bool {
        Instant::now() >= until || !self.wrong.lock().unwrap().is_empty()
    }

    /// Kills the host again and again, at random moments or at a certain request.
    fn torment(&self, machine: &mut Machine, until: Instant, dice: &mut Dice) {
        while !self.is_over(until) {
            let life = 200 + if dice.chance(300) { dice.below(1200) } else { dice.below(6000) };
            let left = until.saturating_duration_since(Instant::now());
            std::thread::sleep(Duration::from_millis(life).min(left));
            if dice.chance(100) {
                machine.pause(Duration::from_millis(500 + dice.below(4000)));
                continue;
            }
            let traps = [Trap::EntryHeld, Trap::EntryDone, Trap::OtherHeld];
            if let Some(trap) = traps.get(dice.below(6) as usize) {
                machine.proxy.trap(*trap, TRAP_MAX);
            }
            self.note(machine.kill());
            std::thread::sleep(Duration::from_millis(dice.below(1000)));
            // A probe of the store takes long where creates of one key are slow.
            if !self.plan.is_hurried && dice.chance(60) {
                machine.lose_state();
                self.note(machine.start_anew());
            } else {
                machine.start();
            }
        }
    }

    /// The host dies for ever, right after it has claimed something. What nobody has claimed is sent to others.
    fn die_for_ever(&self, machine: &mut Machine, number: usize, watch_port: u16) -> Remains {
        let last = machine.proxy.trap(Trap::EntryDone, LAST_TRAP_MAX);
        self.upstream.is_dead(number);
        self.note(machine.kill());
        machine.lose_disk();
        let claims = |bytes: &[u8]| -> BTreeSet<Sha256> {
            let entry = Entry::decode(bytes).expect("the host has sent an entry");
            entry.claims().iter().map(|claim| claim.sha256).collect()
        };
        let claimed = last.map(|request| claims(&request.body)).unwrap_or_default();
        if claimed.is_empty() {
            self.note(Err(format!("{} has made no entry before it was to die for ever", machine.name)));
        }
        let mut all = claimed.clone();
        let store = self.plan.open(&self.plan.warehouse, watch_port);
        let log = watch::keys(&store, ".csv-ingestor/log/").unwrap();
        for key in log {
            all.extend(claims(&store.get(&key).unwrap()));
        }
        let only_there = self.upstream.only_at(number, &claimed);
        let resent = self.upstream.resend(number, &all);
        Remains { claimed, only_there, resent }
    }

    /// Looks at everything until `is_seen`, or until the time is over. Returns true if it is seen.
    fn watch(&self, watch: &Mutex<Watch>, until: Instant, is_seen: &dyn Fn(&Watch) -> bool) -> bool {
        loop {
            let mut watch = watch.lock().unwrap();
            // The store does not have to answer all the time; in the end it does.
            let has_answered = watch.round().is_ok();
            if !watch.wrong.is_empty() || has_answered && is_seen(&watch) {
                return watch.wrong.is_empty();
            }
            drop(watch);
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(LOOK_PAUSE);
        }
    }

    /// The time in which everything is killed. Returns the hosts that live, what a dead one has left, and the processes
    /// of the store that were killed.
    fn storm(&self, machines: Vec<Machine>, watch: &Mutex<Watch>, port: u16) -> (Vec<Machine>, Remains, Vec<String>) {
        let (half, seed) = (self.until - self.plan.time / 2, self.plan.seed);
        std::thread::scope(|scope| {
            scope.spawn(|| self.upstream.run(self.plan.time));
            scope.spawn(|| self.watch(watch, self.until, &|_| Instant::now() >= self.until));
            let outage = scope.spawn(|| {
                let killed = outage::run(self.plan);
                killed.unwrap_or_else(|why| {
                    self.note(Err(why));
                    Vec::new()
                })
            });
            let keep = |(number, mut machine): (usize, Machine)| {
                scope.spawn(move || {
                    let mut dice = Dice(seed.wrapping_mul(97) + number as u64);
                    if number + 1 < HOSTS {
                        self.torment(&mut machine, self.until, &mut dice);
                        return (vec![machine], None);
                    }
                    self.torment(&mut machine, half, &mut dice);
                    let remains = self.die_for_ever(&mut machine, number, port);
                    if self.plan.is_hurried {
                        return (vec![machine], Some(remains));
                    }
                    let mut newcomer = Machine::new(self.plan, HOSTS);
                    self.note(newcomer.start_anew());
                    self.upstream.has_come(newcomer.staging());
                    self.torment(&mut newcomer, self.until, &mut dice);
                    (vec![machine, newcomer], Some(remains))
                })
            };
            let keepers: Vec<_> = machines.into_iter().enumerate().map(keep).collect();
            let (mut all, mut remains) = (Vec::new(), None);
            for keeper in keepers {
                let (machines, of_it) = keeper.join().unwrap();
                all.extend(machines);
                remains = remains.or(of_it);
            }
            (all, remains.unwrap(), outage.join().unwrap())
        })
    }

    /// Good weather, in which the living finish everything.
    fn calm(&self, machines: &mut [Machine], watch: &Mutex<Watch>, port: u16) {
        machines.iter().for_each(|machine| machine.proxy.weather(Rates::CALM));
        if self.plan.is_hurried {
            let output = judge::lake(self.plan, port, "roll-forward", &[]);
            if !output.status.success() {
                self.note(Err(format!("lake roll-forward: {}{}", out(&output), err(&output))));
            }
        }
        let sent = self.upstream.contents();
        let is_seen = |watch: &Watch| {
            let is_listed = sent.iter().all(|content| watch.lines.contains_key(content));
            is_listed && machines[..HOSTS - 1].iter().chain(&machines[HOSTS..]).all(|host| host.staged().is_empty())
        };
        if !self.watch(watch, Instant::now() + REST_MAX, &is_seen) {
            self.note(Err("not everything is finished".to_owned()));
        }
        machines.iter_mut().for_each(|machine| self.note(machine.stop()));
        // What arrives after everything has ended changes nothing.
        machines.iter().for_each(|machine| machine.proxy.deliver_all());
        self.watch(watch, Instant::now() + REST_MAX, &|_| true);
    }
}

/// Makes the lake without a probe: each host probes the store, too. Checkpoints are many, so that hosts start from them, and
/// packs grow old.
fn make_lake(plan: &Plan, port: u16) {
    let id = LakeId(sha256(plan.warehouse.prefix.as_bytes()).0[..16].try_into().unwrap());
    let lake = Lake { id, shards: 1 + (plan.seed % 2) as u16, checkpoint_entries: 16 };
    let description = Description { lake, manifests: Some(plan.manifests.clone()) };
    make(&plan.open(&plan.warehouse, port), &description).unwrap();
    check_manifests(&plan.open(&plan.manifests, port), &description, true).unwrap();
}

fn sum(machines: &[Machine], of: fn(&Counts) -> &AtomicU64) -> u64 {
    machines.iter().map(|machine| of(machine.proxy.counts()).load(Ordering::Relaxed)).sum()
}

/// What has not happened, though there was time for it: then the rest proves little.
fn too_easy(plan: &Plan, machines: &[Machine], killed: &[String]) -> Vec<String> {
    let mut missing = Vec::new();
    let mut expect =
        |happened: bool, what: &str| missing.extend((!happened).then(|| format!("{what} has not happened")));
    expect(sum(machines, |counts| &counts.unanswered) > 0, "a lost answer");
    if !plan.is_hurried {
        expect(sum(machines, |counts| &counts.entries_after_death) > 0, "an entry after its sender's death");
        expect(plan.gateways.len() == 1 || !killed.is_empty(), "a kill in the store");
    }
    missing
}

fn figures(run: &Run<'_>, machines: &[Machine], remains: &Remains, killed: &[String]) -> String {
    let count = |of: fn(&Counts) -> &AtomicU64| sum(machines, of);
    format!(
        "{} files sent, {} contents; {} kills of hosts, one for ever, which left {} claims, {} of them for contents that \
         nobody else had; {} contents sent again to others\n{} requests: {} lost, {} without an answer, {} delayed, {} of \
         them past their sender's death, {} new entries; {} failed at a gateway\nkilled in the store: {}",
        run.upstream.files(),
        run.upstream.contents().len(),
        machines.iter().map(|machine| machine.kills).sum::<u64>(),
        remains.claimed.len(),
        remains.only_there.len(),
        remains.resent,
        count(|counts| &counts.requests),
        count(|counts| &counts.lost),
        count(|counts| &counts.unanswered),
        count(|counts| &counts.held),
        count(|counts| &counts.after_death),
        count(|counts| &counts.entries_after_death),
        count(|counts| &counts.no_gateway),
        if killed.is_empty() { "nothing".to_owned() } else { killed.join(" ") },
    )
}

#[test]
#[ignore = "needs a server: scripts/check_lake"]
fn many_hosts_ingest_each_content_once() {
    let (plan, began) = (Plan::read(), Instant::now());
    let done = |what: &str| println!("{what}: at {:.1} s", began.elapsed().as_secs_f64());
    let observer = Proxy::of_observer(&plan.gateways);
    make_lake(&plan, observer.port);
    let mut machines: Vec<Machine> = (0..HOSTS).map(|number| Machine::new(&plan, number)).collect();
    std::thread::scope(|scope| {
        machines.iter_mut().for_each(|machine| _ = scope.spawn(|| machine.start_anew().unwrap()));
    });
    done("hosts started");
    let upstream = Upstream::new(plan.seed, plan.files, machines.iter().map(Machine::staging).collect());
    let until = Instant::now() + plan.time;
    let run = Run { plan: &plan, upstream, until, wrong: Mutex::new(Vec::new()) };
    let watch = Mutex::new(Watch::new(&plan, observer.port));
    let (mut machines, remains, killed) = run.storm(machines, &watch, observer.port);
    done("everything sent");
    run.calm(&mut machines, &watch, observer.port);
    done("everything finished");
    let mut watch = watch.into_inner().unwrap();
    println!("{}", figures(&run, &machines, &remains, &killed));
    println!("{} looks at everything", watch.rounds);
    let mut wrong = run.wrong.lock().unwrap().clone();
    wrong.extend(too_easy(&plan, &machines, &killed));
    wrong.extend(judge::judge(&plan, observer.port, &mut watch, &run.upstream.contents()));
    let living = machines.iter().filter(|machine| machine.name != format!("host-{}", HOSTS - 1));
    wrong.extend(living.flat_map(judge::on_host));
    done("judged");
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong[..wrong.len().min(40)].join("\n"));
}
