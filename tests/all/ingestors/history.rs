//! Random histories of whole ingestors, and what must hold in them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csv_ingestor::engine;
use csv_ingestor::follow::Cursor;
use csv_ingestor::fs::sim::{Fault, SimFs};
use csv_ingestor::lake::format::{Description, Lake, LakeId};
use csv_ingestor::lake::keys;
use csv_ingestor::lake::parts::Cut;
use csv_ingestor::store::sim::{Faults, SimStore};

use super::life::{Arrival, STAGING, STATE, World, is_empty, live};
use super::model::{MANIFESTS, Model, WAREHOUSE, sha256};
use super::parts::Parts;
use crate::follow::lake::{all, follow};
use crate::lake::turns::{Death, Dice, Turns};

/// What a history is made of.
#[derive(Debug)]
struct Plan {
    seed: u64,
    faults: Faults,
    deaths: u64,
    pauses: u64,
    /// Of 1000 lives, so many end with an operation of the disk.
    disk_deaths: u64,
    /// Hosts may lose their state directory, or become a copy of another host.
    loses_state: bool,
    /// Files come in groups.
    groups: bool,
    /// Hosts let the lake forget all that is finished, when they begin.
    forgets: bool,
    /// From which size on contents are uploaded in parts.
    cut: Cut,
}

/// A content of a history: from one part to many.
fn bytes_of(content: u64, seed: u64) -> Vec<u8> {
    format!("content {content} of {seed}{}", ", and more".repeat(content as usize % 4)).into_bytes()
}

/// How the lives of a host went.
#[derive(Debug, Default)]
struct Lives {
    is_alive: bool,
    deaths: u64,
    /// Lives that began with an upload of an earlier one.
    resumed: u64,
    /// The uploads that its journal named when its last life began.
    begun: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
struct Played {
    violations: Vec<String>,
    requests: u64,
    effects: u64,
    deaths: u64,
    resumed: u64,
    /// Entries that forget something, and those of groups.
    forgets: u64,
    groups: u64,
}

impl Plan {
    fn random(seed: u64) -> Plan {
        let mut dice = Dice(seed);
        let mut plan = Plan {
            seed,
            faults: if dice.chance(200) { Faults::NONE } else { Faults::MANY },
            deaths: [0, 10, 25][dice.below(3) as usize],
            pauses: [0, 10, 25][dice.below(3) as usize],
            disk_deaths: [0, 300, 600][dice.below(3) as usize],
            loses_state: dice.chance(500),
            groups: dice.chance(300),
            forgets: dice.chance(300),
            cut: match dice.chance(600) {
                true => Cut { packed_max: 10 + dice.below(30), part: 3 + dice.below(12) },
                false => Cut::USUAL,
            },
        };
        // A host that has lost its journal, and whose lake has forgotten the files of a group, waits for them in vain if only
        // the group file is left.
        plan.forgets &= !plan.groups || !plan.loses_state;
        plan
    }

    fn world(&self, dice: &mut Dice) -> World {
        let hosts = 2 + dice.below(3) as usize;
        let chaos = 100 + dice.below(500);
        let mut arrivals = if self.groups { self.groups(dice, hosts, chaos) } else { Vec::new() };
        let contents = if self.groups { 0 } else { 2 + dice.below(5) };
        for content in 0..contents {
            let bytes = bytes_of(content, self.seed);
            for copy in 0..1 + dice.below(3) {
                let (at, host) = (dice.below(chaos), dice.below(hosts as u64) as usize);
                arrivals.push(Arrival { at, host, name: format!("c{content}-{copy}.csv"), bytes: bytes.clone() });
            }
        }
        let store = SimStore::new(self.seed, self.faults);
        let checkpoint_entries = 1 + dice.below(4) as u32;
        let lake = Lake { id: LakeId([7; 16]), shards: 1, checkpoint_entries };
        let description = Description { lake, manifests: None };
        store.below(WAREHOUSE).put_foreign(keys::LAKE, &description.encode());
        store.below(MANIFESTS).put_foreign(keys::LAKE, &description.encode());
        let model = Arc::new(Mutex::new(Model::new(!self.loses_state)));
        let watched = model.clone();
        store.set_watch(Box::new(move |effect| watched.lock().unwrap().see(effect)));
        let disk = |host: usize| {
            let fs = SimFs::new(self.seed.wrapping_mul(31).wrapping_add(host as u64));
            fs.upstream().mkdir_all(STAGING).unwrap();
            fs.upstream().sync();
            Mutex::new(fs)
        };
        let disks: Vec<Mutex<SimFs>> = (0..hosts).map(disk).collect();
        let journals = disks.iter().map(|disk| disk.lock().unwrap().clone()).collect();
        World {
            store,
            turns: Turns::new(self.seed ^ 0x5eed, hosts, chaos, self.deaths, self.pauses),
            model,
            cut: self.cut,
            parts: Arc::new(Mutex::new(Parts::of(journals))),
            disks,
            groups: self.groups,
            remember: self.forgets.then_some(Duration::from_secs(1)),
            arrivals: Mutex::new(arrivals),
        }
    }

    /// Groups of few contents, some of which others have, too.
    fn groups(&self, dice: &mut Dice, hosts: usize, chaos: u64) -> Vec<Arrival> {
        let mut arrivals = Vec::new();
        let contents = 2 + dice.below(5);
        for group in 0..1 + dice.below(5) {
            let (at, host) = (dice.below(chaos), dice.below(hosts as u64) as usize);
            let mut text = String::new();
            for member in 0..1 + dice.below(4) {
                let bytes = bytes_of(dice.below(contents), self.seed);
                let name = format!("g{group}-{member}.csv");
                text += &format!("{}  {name}\n", sha256(&bytes).hex());
                arrivals.push(Arrival { at, host, name, bytes });
            }
            arrivals.push(Arrival { at, host, name: format!("g{group}.group"), bytes: text.into_bytes() });
        }
        arrivals
    }

    fn play(&self) -> Played {
        let mut dice = Dice(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let world = Arc::new(self.world(&mut dice));
        let fates: Vec<Dice> = world.disks.iter().map(|_| Dice(dice.below(u64::MAX))).collect();
        let hosts = fates.into_iter().enumerate().map(|(host, dice)| {
            let world = &world;
            move || self.lives(world, host, dice)
        });
        let ends = world.turns.run(hosts.collect());
        let violations = self.end(&world, &ends);
        let model = world.model.lock().unwrap();
        let (requests, effects) = (world.store.requests(), model.effects);
        let sum = |count: fn(&Lives) -> u64| ends.iter().map(count).sum();
        let (deaths, resumed) = (sum(|it| it.deaths), sum(|it| it.resumed));
        Played { violations, requests, effects, deaths, resumed, forgets: model.forgets, groups: model.groups }
    }

    /// All lives of a host.
    fn lives(&self, world: &Arc<World>, host: usize, mut dice: Dice) -> Lives {
        let (dies_for_ever, mut lives) = (dice.chance(300), Lives::default());
        lives.is_alive = loop {
            let seed = dice.below(u64::MAX);
            lives.begun = begun(&world.disk(host));
            lives.resumed += u64::from(!lives.begun.is_empty());
            if self.groups {
                // A group that was overtaken starts again: until then, its uploads are in memory only. Whether they are
                // recorded when it does, the next part shows.
                world.parts.lock().unwrap().retain(host, &lives.begun);
            }
            if world.turns.may_die() && dice.chance(self.disk_deaths) {
                let fs = world.disk(host);
                fs.inject(Fault::crash().at(fs.operations() + dice.below(150)));
            }
            let ended = catch_unwind(AssertUnwindSafe(|| live(world, host, seed)));
            let fs = world.disk(host);
            fs.clear_faults();
            match ended {
                Ok(Ok(())) => break true,
                Ok(Err(_)) if fs.is_dead() => fs.crash(dice.below(u64::MAX)),
                Ok(Err(error)) => {
                    // The store stayed away until the history had ended.
                    if world.turns.phase() < crate::lake::turns::Phase::Ended {
                        world.model.lock().unwrap().wrong(format!("host {host} has stopped: {error}"));
                        world.turns.end();
                    }
                    break false;
                }
                Err(payload) if payload.is::<Death>() => {
                    if dice.chance(500) {
                        fs.kill();
                    } else {
                        fs.crash(dice.below(u64::MAX));
                    }
                }
                Err(payload) => {
                    let text = payload.downcast_ref::<String>().cloned();
                    let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                    world.model.lock().unwrap().wrong(text.unwrap_or_default());
                    world.turns.end();
                    break false;
                }
            }
            lives.deaths += 1;
            if dies_for_ever {
                break false;
            }
            if self.loses_state && dice.chance(300) {
                lose_state(&world.disk(host));
                world.parts.lock().unwrap().forget(host);
            }
        };
        world.turns.leave(host);
        lives
    }

    /// Where no request fails, an upload is left only by hosts that are dead, or died before its record was durable.
    fn check_uploads(&self, world: &World, ends: &[Lives], model: &mut Model) {
        let (left, nobody_died) = (world.store.uploads(), ends.iter().all(|lives| lives.deaths == 0));
        if self.faults != Faults::NONE {
            return;
        }
        for (host, lives) in ends.iter().enumerate().filter(|(_, lives)| lives.is_alive) {
            for upload in left.iter().filter(|left| nobody_died || lives.begun.contains(left)) {
                model.wrong(format!("{upload} is left, and host {host} is alive"));
            }
        }
    }

    fn end(&self, world: &World, ends: &[Lives]) -> Vec<String> {
        world.store.flush();
        let alive: Vec<bool> = ends.iter().map(|lives| lives.is_alive).collect();
        let mut model = world.model.lock().unwrap();
        if world.turns.is_stuck() {
            model.wrong("the history does not end".to_owned());
            for (host, disk) in world.disks.iter().enumerate() {
                let mut upstream = disk.lock().unwrap().upstream();
                let staged: Vec<_> = upstream.files(STAGING).unwrap().into_iter().map(|(path, _)| path).collect();
                let state = upstream.list(STATE);
                model.wrong(format!("host {host}: alive {}, staged {staged:?}, state {state:?}", alive[host]));
            }
        }
        if !alive.contains(&true) || !model.violations.is_empty() {
            return std::mem::take(&mut model.violations);
        }
        model.check_finished();
        model.check_consumed(&consumed(world));
        model.violations.append(&mut world.parts.lock().unwrap().wrong);
        self.check_uploads(world, ends, &mut model);
        let mut staged = Vec::new();
        for (host, is_alive) in alive.iter().enumerate() {
            for (path, bytes) in world.disk(host).upstream().files(STAGING).unwrap() {
                if *is_alive && !is_empty(&world.disk(host)) {
                    model.wrong(format!("{} is stuck in host {host}", path.display()));
                }
                staged.push(bytes);
            }
        }
        let came = self.world(&mut Dice(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))).arrivals.into_inner().unwrap();
        for Arrival { name, bytes, .. } in came.into_iter().filter(|it| !it.name.ends_with(".group")) {
            if !staged.contains(&bytes) && !model.is_listed(&sha256(&bytes)) {
                model.wrong(format!("{name} is lost"));
            }
        }
        std::mem::take(&mut model.violations)
    }
}

/// All lines that a consumer gets from the beginning on.
fn consumed(world: &World) -> Vec<(u64, Vec<u8>)> {
    let lake = Lake { id: LakeId([7; 16]), shards: 1, checkpoint_entries: 1 };
    world.store.set_faults(Faults::NONE);
    all(&mut follow(&world.store, lake, Cursor::default()))
}

/// The uploads that a host's journal names.
fn begun(fs: &SimFs) -> Vec<String> {
    let Ok(index) = engine::read_state(fs, Path::new(STATE)) else { return Vec::new() };
    let targets = index.open().filter_map(|ingest| ingest.target.as_ref());
    targets.filter_map(|target| Some(target.upload.as_ref()?.id.clone())).collect()
}

fn lose_state(fs: &SimFs) {
    let mut upstream = fs.upstream();
    for (path, _) in upstream.files(STATE).unwrap_or_default() {
        upstream.remove(Path::new(&path)).unwrap();
    }
    upstream.sync();
}

/// How many histories each test plays; `LAKE_HISTORIES` says another number, and `LAKE_SEED` another beginning.
fn histories(from: u64) -> std::ops::Range<u64> {
    let setting = |name: &str, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let from = setting("LAKE_SEED", from);
    from..from + setting("LAKE_HISTORIES", 150)
}

/// Returns how often hosts have died and gone on with an upload, and how many entries forgot something and were of a group.
fn check(seeds: std::ops::Range<u64>) -> [u64; 4] {
    let mut counts = [0; 4];
    for seed in seeds {
        let plan = Plan::random(seed);
        let played = plan.play();
        assert!(played.violations.is_empty(), "{plan:?}: {:#?}", played.violations);
        let more = [played.deaths, played.resumed, played.forgets, played.groups];
        counts.iter_mut().zip(more).for_each(|(count, more)| *count += more);
    }
    counts
}

#[test]
fn ingestors_on_one_lake_ingest_each_content_once() {
    let [deaths, resumed, forgets, groups] = check(histories(0));
    assert!(deaths >= 100 && resumed >= 10, "{deaths} deaths, {resumed} starts with uploads");
    assert!(forgets >= 20 && groups >= 50, "{forgets} forgets, {groups} groups");
}

#[test]
fn a_history_of_ingestors_depends_on_its_seed_alone() {
    for seed in 0..3 {
        assert_eq!(Plan::random(seed).play(), Plan::random(seed).play());
    }
    assert_ne!(Plan::random(0).play(), Plan::random(1).play());
}
