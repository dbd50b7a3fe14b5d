//! One random history: how the ingestor is configured, what upstreams do, and how each of its runs ends.

use std::path::{Path, PathBuf};

use csv_ingestor::engine;
use csv_ingestor::fs::sim::{Fault, Odd, Op};
use csv_ingestor::journal::lifecycle::FileState;
use csv_ingestor::journal::record::{DuplicateAction, SameBy, Validation};
use csv_ingestor::pipeline::settle::order::Order;
use csv_ingestor::types::FileTime;

use crate::crash::act::{self, Act, BAG, IN_TREE};
use crate::crash::follower::{Go, Ways};
use crate::crash::layouts::Layouts;
use crate::crash::play::Play;
use crate::crash::scenario::{Compacts, Failing, STATE, Scenario, Seldom};
use crate::crash::watch::Watch;

/// How one run of the ingestor ends, and at which moment.
#[derive(Clone, Debug)]
pub enum End {
    AtRest,
    Killed { at: u16, happened: bool },
    Cut { at: u16, seed: u64 },
    Fails { at: u16, errno: u8, for_ever: bool, then_cut: Option<u64> },
    Short { at: u16 },
}

/// One run, and what other processes do meanwhile.
#[derive(Clone, Debug)]
pub struct Part {
    pub acts: Vec<(u16, Act)>,
    pub end: End,
    /// When the consumer's follower goes on meanwhile, and after it.
    pub goes: Vec<(u16, Go)>,
    pub then: Vec<Go>,
}

/// How files are found and arranged.
#[derive(Clone, Debug, Default)]
pub struct Way {
    pub sidecars: bool,
    pub by_stem: bool,
    /// Files come in groups; then there are no sidecars, and no order.
    pub groups: bool,
    /// Directories in staging are entered.
    pub recursive: bool,
    /// Two files are the same by name and content.
    pub by_name: bool,
    /// 0: by name, 1: the oldest first; more: no order is kept; 3: batches overlap.
    pub order: u8,
    /// 0: the layout has two levels, and changes at each start; 1: files keep their directories; more: a level for each day.
    pub layout: u8,
}

#[derive(Clone, Debug, Default)]
pub struct History {
    pub way: Way,
    pub cross: bool,
    pub syncs: bool,
    pub split_renames: bool,
    pub torn_syncs: bool,
    pub leases: bool,
    pub quarantines: bool,
    /// 0: files are validated, 1: and malformed ones are refused; more: files are not validated.
    pub validates: u8,
    pub duplicates: u8,
    pub compacts: u8,
    /// 0: links replace renames, 1: link counts are stale, 2: inode numbers change; more: nothing is odd.
    pub odd: u8,
    /// Each operation of the last run is checked.
    pub watched: bool,
    /// A consumer follows the manifests.
    pub consumer: Option<Ways>,
    pub parts: Vec<Part>,
}

const ERRNOS: [i32; 3] = [libc::EIO, libc::ENOSPC, libc::EINTR];
/// All operations that need the disk; first those that make content durable.
const FALLIBLE: [Op; 19] = [
    Op::SyncFs,
    Op::SyncData,
    Op::SyncAll,
    Op::OpenDir,
    Op::StatDir,
    Op::CreateDir,
    Op::List,
    Op::Stat,
    Op::Rename,
    Op::Unlink,
    Op::SyncDir,
    Op::FreeBytes,
    Op::Open,
    Op::StatFile,
    Op::ReadAt,
    Op::WriteAt,
    Op::SetLen,
    Op::SetMeta,
    Op::Lease,
];
const SYNCS: usize = 3;
/// Calls that report one link too many, where link counts are stale.
const STALE_LINKS: u64 = 3;
/// Moments of a run are drawn in thousandths of an undisturbed run.
pub const WHOLE: u16 = 1000;

impl Way {
    /// The files that are there at the beginning.
    fn before(&self) -> Vec<Act> {
        let mut before = vec![Act::Write(0, 1), Act::Write(1, 3), Act::Write(2, 2)];
        if self.recursive {
            before.extend([Act::Write(IN_TREE, 4), Act::Write(IN_TREE + 1, 1), Act::Write(IN_TREE + 3, 6)]);
        }
        if self.groups {
            before.push(Act::Group(0, vec![(0, 1), (1, 3), (2, 2)]));
        }
        if self.groups && self.recursive {
            before.extend([Act::Write(IN_TREE + 6, 5), Act::Write(IN_TREE + 7, 1)]);
            before.push(Act::Group(BAG, vec![(IN_TREE + 6, 5), (IN_TREE + 7, 1)]));
        }
        before
    }

    fn order(&self) -> Option<Order> {
        if self.groups {
            return None;
        }
        [Some(Order::Name), Some(Order::Oldest), None, None][usize::from(self.order) % 4]
    }

    fn seldom(&self) -> Seldom {
        Seldom {
            by_stem: self.by_stem,
            order: self.order(),
            layouts: [Layouts::Changing, Layouts::Subdirs, Layouts::Days][usize::from(self.layout).min(2)],
            recursive: self.recursive,
            groups: self.groups,
            same_by: if self.by_name { SameBy::NameAndContent } else { SameBy::Content },
            relay: (self.order == 3).then_some(u64::from(self.layout)),
            ..Seldom::default()
        }
    }
}

impl History {
    fn scenario(&self) -> Scenario {
        Scenario {
            cross: self.cross,
            sidecars: self.way.sidecars && !self.way.groups,
            before: self.way.before(),
            seldom: self.way.seldom(),
            syncs: self.syncs,
            failing: Failing { split_renames: self.split_renames, torn_syncs: self.torn_syncs, aborts: true },
            // `aborts`, since otherwise the next start would have to find out by itself which names a failed sync has lost.
            leases: self.leases,
            quarantines: self.quarantines,
            validate: (self.validates < 2)
                .then_some(Validation { refuse: self.quarantines && self.validates == 1, ..Validation::default() }),
            duplicates: [DuplicateAction::Keep, DuplicateAction::Remove, DuplicateAction::Move]
                [usize::from(self.duplicates) % 3],
            compacts: match self.compacts {
                0 => Compacts::Between,
                1 => Compacts::Meanwhile { seed: self.parts.len() as u64 },
                _ => Compacts::Never,
            },
            odd: Odd {
                links: self.odd == 0,
                stale_links: if self.odd == 1 { STALE_LINKS } else { 0 },
                renumbers: self.odd == 2,
                ..Odd::default()
            },
            ..Scenario::plain("a random history")
        }
    }

    /// Plays the history and checks its end. Returns the number of states in which the machine was left.
    pub fn check(&self) -> u64 {
        let scenario = self.scenario();
        let mut play = Play::new(&scenario);
        if let Some(ways) = self.consumer {
            play.follow(ways);
        }
        for part in &self.parts {
            part.play(&mut play);
        }
        if play.model().writer.is_some() {
            act::perform(&Act::Close(0), &mut play.fs.upstream(), &mut play.model.lock().unwrap());
        }
        self.end(&mut play);
        play.check_follower_at_the_end();
        self.parts.len() as u64
    }

    /// The last run, which nothing disturbs.
    fn end(&self, play: &mut Play<'_>) {
        let order = Ordered::of(play, self.way.order());
        let is_sure = play.model().is_sure();
        // Where the clock jumps, hours do not follow each other, and a view's lines are sorted by hour.
        let jumps = self.parts.iter().flat_map(|part| &part.acts).any(|(_, act)| matches!(act, Act::Jump(_)));
        if self.watched && is_sure && !jumps {
            let (ended, _) = play.run_watched(Watch::default());
            play.check_ended(ended);
        } else {
            play.end();
        }
        order.check(play);
    }
}

/// The files that the last run finds, in the order in which their lines have to be.
struct Ordered {
    files: Vec<PathBuf>,
    abandoned: u64,
    lines: usize,
}

impl Ordered {
    /// Without an order, or if files are on their way already, no files.
    fn of(play: &Play<'_>, order: Option<Order>) -> Ordered {
        let none = Ordered { files: Vec::new(), abandoned: 0, lines: 0 };
        let (Some(order), Ok(state)) = (order, engine::read_state(&play.fs, Path::new(STATE))) else { return none };
        if state.open().next().is_some() {
            return none;
        }
        let view = play.view();
        let mut files: Vec<(FileTime, PathBuf)> = Vec::new();
        for path in view.staging.keys() {
            let mtime = play.fs.upstream().stat(path).unwrap().identity.mtime;
            let key = if order == Order::Oldest { mtime } else { FileTime { sec: 0, nsec: 0 } };
            files.push((key, path.clone()));
        }
        files.sort_by(|(one, path), (other, next)| {
            one.cmp(other).then_with(|| path.as_os_str().as_encoded_bytes().cmp(next.as_os_str().as_encoded_bytes()))
        });
        let files = files.into_iter().map(|(_, path)| path).collect();
        Ordered { files, abandoned: state.count(FileState::Abandoned), lines: view.lines.len() }
    }

    /// If none was abandoned, the new lines are in order, and so are their ids.
    fn check(&self, play: &Play<'_>) {
        let state = engine::read_state(&play.fs, Path::new(STATE)).unwrap();
        if self.files.is_empty() || state.count(FileState::Abandoned) > self.abandoned {
            return;
        }
        let lines = play.view().lines.split_off(self.lines);
        assert!(lines.is_sorted_by_key(|line| line.ingest_id), "{}: {lines:?}", play.told());
        let place = |path: &Path| self.files.iter().position(|file| file == path);
        // Others were given back by the recovery.
        let places: Vec<_> = lines.iter().filter_map(|line| place(&line.path)).collect();
        assert!(places.is_sorted(), "{}: lines {lines:?}, but {:?}", play.told(), self.files);
    }
}

impl Part {
    fn play(&self, play: &mut Play<'_>) {
        let (start, mut calm) = (play.fs.operations() + 1, play.fork());
        let _ = calm.run();
        let operations = calm.fs.operations() - start + 1;
        let moment = move |at: u16| start + operations * u64::from(at) / u64::from(WHOLE);
        let (model, mut acts) = (play.model.clone(), self.acts.clone().into_iter().peekable());
        play.fs.set_hook(Box::new(move |call, upstream| {
            while let Some((_, act)) = acts.next_if(|(at, _)| moment(*at) <= call.number) {
                act::perform(&act, upstream, &mut model.lock().unwrap());
            }
        }));
        if let Some(follower) = &play.follower {
            follower.plan(self.goes.iter().map(|(at, go)| (moment(*at), *go)));
        }
        self.run(play, moment);
        if let Some(follower) = &play.follower {
            follower.plan(std::iter::empty());
            self.then.iter().for_each(|go| follower.go(*go));
        }
        play.check_follower();
    }

    fn run(&self, play: &mut Play<'_>, moment: impl Fn(u16) -> u64) {
        match self.end {
            End::AtRest => {
                let ended = play.run();
                play.fs.clear_hook();
                assert!(ended.is_ok(), "{}: {:?}", play.told(), ended.err());
                play.kill();
            }
            End::Killed { at, happened } => {
                play.run_until(moment(at), happened);
                play.fs.clear_hook();
                play.kill();
            }
            End::Cut { at, seed } => {
                play.run_until(moment(at), false);
                play.fs.clear_hook();
                play.cut_power(seed);
            }
            End::Short { at } => {
                play.fs.inject(Fault::short().at(moment(at)));
                let _ = play.run();
                play.fs.clear_hook();
                play.fs.clear_faults();
                play.kill();
            }
            End::Fails { at, errno, for_ever, then_cut } => {
                self.fail(play, moment(at), ERRNOS[usize::from(errno) % ERRNOS.len()], for_ever);
                match then_cut {
                    Some(seed) => play.cut_power(seed),
                    // At least a new mount is needed, and that loses unsynced data just as a power cut does.
                    None if play.fs.upstream().is_aborted() => play.cut_power(u64::from(at)),
                    None => play.kill(),
                }
            }
        }
    }

    fn fail(&self, play: &mut Play<'_>, at: u64, errno: i32, for_ever: bool) {
        // Only the run itself determines the kind of the operation, so all kinds fail from there on. Except `DropCache`,
        // which needs no disk; and if it failed, nobody could know what a failed sync has left in the cache. Nor do syncs
        // fail for ever: if the file cannot even be opened after that, the cache shows data that exists nowhere else.
        let kinds = &FALLIBLE[if for_ever { SYNCS } else { 0 }..];
        let fault = Fault::errno(errno).only(kinds);
        let is_unsynced = !play.model().rules.syncs || play.model().writer.is_some();
        play.model().lossy |= is_unsynced;
        // A file that cannot be removed from staging stays there.
        play.model().withdrew |= for_ever;
        play.fs.inject(if for_ever { fault.from(at) } else { fault.at(at) });
        play.story.push(format!("errno {errno} at operation {at}, for ever: {for_ever}"));
        let _ = play.run();
        play.fs.clear_hook();
        play.fs.clear_faults();
        play.note_failed_sync();
    }
}
