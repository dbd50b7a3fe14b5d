//! The files in staging, how they are ingested, and what upstreams do meanwhile.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use csv_ingestor::fs::Fs as _;
use csv_ingestor::fs::sim::{Odd, SimFs};
use csv_ingestor::journal::record::{DuplicateAction, Settings, Validation};
use csv_ingestor::pipeline::layout::Layout;
use csv_ingestor::pipeline::quarantine::Quarantine;
use csv_ingestor::pipeline::scan::{NameRules, TreeRules};
use csv_ingestor::pipeline::sidecar::SidecarNames;

use super::act::{self, Act, MALFORMED};
use super::layouts::{Layouts, UNMATCHED};
use super::model::Model;
use super::view::digest;
use crate::common::promises::Rules;

pub use super::places::{DUPLICATES, MANIFESTS, QUARANTINE, STAGING, STATE, WAREHOUSE};
pub use super::seldom::Seldom;

/// A moment in each round of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Scan,
    Hash,
    Commit,
    /// After the commit.
    Rest,
}

/// Round and phase, counted from the start of each run.
pub type Moment = (u32, Phase);

/// How the journal is compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compacts {
    Never,
    /// Between batches; contents older than a year are forgotten (there are none).
    Between,
    /// On its own thread, while batches are committed; the seed decides which thread's turn it is.
    Meanwhile {
        seed: u64,
    },
}

/// How a disk fails.
#[derive(Clone, Copy, Debug, Default)]
pub struct Failing {
    /// A power cut may keep either half of a rename.
    pub split_renames: bool,
    /// Some sectors reach the disk although the sync fails.
    pub torn_syncs: bool,
    /// A file system that fails to write names shuts down, as one with a journal does.
    pub aborts: bool,
}

/// A power cut may keep either half of a rename.
pub const HALVES: Failing = Failing { split_renames: true, torn_syncs: false, aborts: false };

#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub cross: bool,
    pub sidecars: bool,
    pub duplicates: DuplicateAction,
    /// Files are validated.
    pub validate: Option<Validation>,
    /// Files that cannot be ingested are moved to quarantine.
    pub quarantines: bool,
    /// Acts before the ingestor starts for the first time.
    pub before: Vec<Act>,
    /// Acts after that, in this order.
    pub acts: Vec<(Moment, Act)>,
    /// Upstreams fsync what they write.
    pub syncs: bool,
    pub seldom: Seldom,
    /// How the disk fails.
    pub failing: Failing,
    pub leases: bool,
    pub compacts: Compacts,
    /// The file systems are odd.
    pub odd: Odd,
    /// The operations at which it is crashed.
    pub crashed: Crashed,
}

/// The operations at which a scenario is crashed.
#[derive(Clone, Copy, Debug)]
pub struct Crashed {
    /// Only this many operations before the end; `None` for all.
    pub last: Option<u64>,
    /// One in this many of them, unless the sweep is thorough: for a long run.
    pub one_in: u64,
}

impl Crashed {
    /// One in this many of all operations.
    pub const fn one_in(one_in: u64) -> Crashed {
        Crashed { last: None, one_in }
    }
}

impl Scenario {
    /// Three files, one file system, nothing special.
    pub fn plain(name: &'static str) -> Scenario {
        Scenario {
            name,
            cross: false,
            sidecars: false,
            duplicates: DuplicateAction::Keep,
            validate: None,
            quarantines: false,
            before: vec![Act::Write(0, 1), Act::Write(1, 3), Act::Write(2, 2)],
            acts: Vec::new(),
            syncs: true,
            seldom: Seldom::default(),
            failing: Failing::default(),
            leases: true,
            compacts: Compacts::Never,
            odd: Odd::default(),
            crashed: Crashed::one_in(1),
        }
    }

    /// True if directories in staging are entered: if there are any at the beginning.
    fn is_tree(&self) -> bool {
        let mut before = self.before.iter();
        self.seldom.recursive || before.any(|act| matches!(act, Act::Write(name, _) if *name >= act::IN_TREE))
    }

    /// The scenarios that are swept.
    pub fn all() -> Vec<Scenario> {
        let of_files = [Scenario::places(), Scenario::of_duplicates(), Scenario::of_quarantine()].concat();
        [of_files, Scenario::of_upstreams(), Scenario::of_writers(), Scenario::of_the_journal()].concat()
    }

    fn places() -> Vec<Scenario> {
        vec![
            Scenario::plain("same file system"),
            Scenario { failing: HALVES, ..Scenario::plain("same file system, renames in halves") },
            Scenario { cross: true, ..Scenario::plain("across file systems") },
            Scenario { sidecars: true, ..Scenario::plain("sidecars") },
            Scenario { sidecars: true, cross: true, ..Scenario::plain("sidecars across file systems") },
            Scenario { seldom: Seldom::strangers(&["a.csv", "b.csv"]), ..Scenario::plain("names taken") },
            Scenario {
                seldom: Seldom::strangers(&["a.csv"]),
                cross: true,
                ..Scenario::plain("names taken across file systems")
            },
            Scenario { leases: false, ..Scenario::plain("without leases") },
        ]
    }

    fn of_duplicates() -> Vec<Scenario> {
        use DuplicateAction::{Keep, Move, Remove};
        let batch = || vec![Act::Write(0, 1), Act::Write(1, 3), Act::Write(2, 2), Act::Write(3, 1), Act::Write(4, 3)];
        let later = || {
            vec![
                ((1, Phase::Scan), Act::Write(3, 1)),
                ((2, Phase::Scan), Act::Write(4, 3)),
                ((3, Phase::Scan), Act::Write(5, 7)),
            ]
        };
        let mut all = Vec::new();
        for (duplicates, names) in [
            (Keep, ["duplicates kept, in one batch", "duplicates kept, across batches"]),
            (Remove, ["duplicates removed, in one batch", "duplicates removed, across batches"]),
            (Move, ["duplicates moved, in one batch", "duplicates moved, across batches"]),
        ] {
            all.push(Scenario { before: batch(), duplicates, ..Scenario::plain(names[0]) });
            all.push(Scenario { acts: later(), duplicates, ..Scenario::plain(names[1]) });
        }
        let vanishes = vec![((0, Phase::Commit), Act::Remove(0)), ((1, Phase::Commit), Act::Write(0, 9))];
        all.push(Scenario {
            before: batch(),
            acts: vanishes.clone(),
            ..Scenario::plain("the first of two duplicates vanishes")
        });
        all.push(Scenario {
            before: batch(),
            acts: vanishes,
            cross: true,
            duplicates: Remove,
            ..Scenario::plain("the first of two duplicates vanishes, across file systems")
        });
        all.push(Scenario {
            before: batch(),
            duplicates: Move,
            cross: true,
            sidecars: true,
            ..Scenario::plain("duplicates moved, across file systems, with sidecars")
        });
        all
    }

    fn of_quarantine() -> Vec<Scenario> {
        let at = |round, phase, act| ((round, phase), act);
        let wrong = Scenario {
            sidecars: true,
            quarantines: true,
            before: vec![Act::Write(0, 1), Act::Write(1, 3), Act::Write(2, 2), Act::WrongSidecar(1)],
            // The right one comes, and another wrong one.
            acts: vec![
                at(1, Phase::Scan, Act::Write(1, 3)),
                at(2, Phase::Scan, Act::Write(3, 4)),
                at(2, Phase::Scan, Act::WrongSidecar(3)),
            ],
            ..Scenario::plain("wrong sidecars, with quarantine")
        };
        let malformed = Scenario {
            validate: Some(Validation { refuse: true, ..Validation::default() }),
            quarantines: true,
            before: vec![Act::Write(0, 1), Act::Write(1, MALFORMED), Act::Write(2, MALFORMED + 1)],
            // One under the same name, and one in another file's place while that is in flight.
            acts: vec![
                at(1, Phase::Scan, Act::Write(1, MALFORMED + 2)),
                at(1, Phase::Commit, Act::Replace(1, 4)),
                at(2, Phase::Scan, Act::Write(2, MALFORMED)),
            ],
            ..Scenario::plain("malformed files, with quarantine")
        };
        vec![
            Scenario {
                failing: HALVES,
                crashed: Crashed::one_in(2),
                name: "wrong sidecars, with quarantine, renames in halves",
                ..wrong.clone()
            },
            Scenario { crashed: Crashed::one_in(4), ..wrong },
            Scenario {
                cross: true,
                crashed: Crashed::one_in(4),
                name: "malformed files, with quarantine, across file systems",
                ..malformed.clone()
            },
            Scenario { crashed: Crashed::one_in(2), ..malformed },
            Scenario {
                validate: Some(Validation::default()),
                before: vec![Act::Write(0, 1), Act::Write(1, MALFORMED), Act::Write(2, 3)],
                crashed: Crashed::one_in(3),
                ..Scenario::plain("malformed files are marked")
            },
        ]
    }

    fn of_upstreams() -> Vec<Scenario> {
        let at = |round, phase, act| ((round, phase), act);
        vec![
            Scenario {
                acts: vec![at(1, Phase::Scan, Act::Write(0, 4)), at(2, Phase::Scan, Act::Replace(0, 6))],
                ..Scenario::plain("the same name with other content")
            },
            Scenario {
                before: vec![Act::Write(0, 1), Act::Write(1, 1), Act::Write(2, 2)],
                // In the second round the duplicate is still held open.
                acts: vec![
                    at(1, Phase::Scan, Act::Disguise(1)),
                    at(3, Phase::Scan, Act::Write(1, 2)),
                    at(6, Phase::Scan, Act::Disguise(1)),
                ],
                ..Scenario::plain("an inode used again, with equal size and mtime")
            },
            Scenario { syncs: false, ..Scenario::plain("nobody synced the sources") },
            Scenario { syncs: false, cross: true, ..Scenario::plain("nobody synced the sources, across file systems") },
            Scenario {
                acts: vec![
                    at(0, Phase::Hash, Act::Append(1, 5)),
                    at(0, Phase::Commit, Act::Replace(2, 5)),
                    at(1, Phase::Commit, Act::Rename(2, 3)),
                ],
                ..Scenario::plain("files change while they are ingested")
            },
            Scenario {
                before: vec![Act::Write(0, 1), Act::Write(1, 3), Act::Link(0, 3), Act::Link(1, 4)],
                // Through another name an upstream must not reach a file in the warehouse.
                acts: vec![at(1, Phase::Scan, Act::Append(3, 5)), at(2, Phase::Scan, Act::Append(4, 6))],
                ..Scenario::plain("hard links")
            },
        ]
    }

    fn of_writers() -> Vec<Scenario> {
        let at = |round, phase, act| ((round, phase), act);
        vec![
            Scenario {
                acts: vec![
                    at(0, Phase::Commit, Act::Open(0, 5)),
                    at(1, Phase::Scan, Act::Wait(1)),
                    at(2, Phase::Scan, Act::Close(6)),
                    at(2, Phase::Rest, Act::Wait(24)),
                    at(3, Phase::Scan, Act::Write(5, 8)),
                ],
                ..Scenario::plain("a slow writer, and the day changes")
            },
            Scenario {
                acts: vec![
                    at(1, Phase::Scan, Act::Foreign { whole: true }),
                    at(1, Phase::Scan, Act::Write(3, 4)),
                    at(1, Phase::Commit, Act::Foreign { whole: false }),
                    at(2, Phase::Scan, Act::Write(4, 6)),
                ],
                ..Scenario::plain("a manifest that others write to")
            },
            Scenario {
                sidecars: true,
                acts: vec![
                    at(0, Phase::Scan, Act::WrongSidecar(1)),
                    at(1, Phase::Scan, Act::Write(0, 9)),
                    at(1, Phase::Commit, Act::WrongSidecar(0)),
                    at(2, Phase::Scan, Act::Write(1, 5)),
                    at(3, Phase::Scan, Act::Write(0, 4)),
                ],
                ..Scenario::plain("wrong sidecars")
            },
        ]
    }

    fn of_the_journal() -> Vec<Scenario> {
        let more = || {
            vec![
                ((1, Phase::Scan), Act::Write(3, 4)),
                ((2, Phase::Scan), Act::Write(4, 1)),
                ((3, Phase::Scan), Act::Write(5, 6)),
            ]
        };
        vec![
            Scenario {
                duplicates: DuplicateAction::Remove,
                acts: more(),
                compacts: Compacts::Between,
                crashed: Crashed::one_in(3),
                ..Scenario::plain("compaction between batches")
            },
            Scenario {
                acts: more(),
                compacts: Compacts::Meanwhile { seed: 1 },
                crashed: Crashed::one_in(3),
                ..Scenario::plain("compaction while ingesting")
            },
            Scenario {
                cross: true,
                acts: more(),
                compacts: Compacts::Meanwhile { seed: 2 },
                crashed: Crashed::one_in(5),
                ..Scenario::plain("compaction while ingesting, across file systems")
            },
            Scenario {
                acts: (1..=ROTATION_ROUNDS)
                    .map(|round| ((round, Phase::Scan), Act::Write(round as u8, round as u8 + 9)))
                    .collect(),
                crashed: Crashed { last: Some(240), one_in: 3 },
                ..Scenario::plain(ROTATION)
            },
            Scenario {
                failing: Failing { torn_syncs: true, ..Failing::default() },
                acts: more(),
                ..Scenario::plain("syncs that fail half-way")
            },
        ]
    }

    /// Scenarios with layouts, which have a sweep of their own.
    pub fn of_layouts() -> Vec<Scenario> {
        let changing = |name| Scenario { seldom: Seldom::layouts(Layouts::Changing), ..Scenario::plain(name) };
        vec![
            changing("a layout that changes"),
            Scenario { cross: true, ..changing("a layout that changes, across file systems") },
            Scenario {
                seldom: Seldom { strangers: vec!["a.csv"], ..Seldom::layouts(Layouts::Changing) },
                ..Scenario::plain("a layout that changes, names taken")
            },
            Scenario {
                seldom: Seldom::layouts(Layouts::NoMatch),
                quarantines: true,
                ..Scenario::plain("a name that does not match, with quarantine")
            },
        ]
    }

    /// The layout with which the ingestor starts on this machine.
    pub fn layout(&self, fs: &SimFs) -> Layout {
        self.seldom.layouts.now(&mut fs.upstream())
    }

    /// The machine before the ingestor's first start, and its model.
    pub fn machine(&self) -> (SimFs, Model) {
        let fs = SimFs::new(7);
        fs.set_leases(self.leases);
        let mut upstream = fs.upstream();
        upstream.mkdir_all(STAGING).unwrap();
        if self.cross {
            fs.mount(WAREHOUSE).unwrap();
        }
        let mut model = Model::new(self.rules(), self.leases);
        if !self.seldom.strangers.is_empty() {
            let layout = self.seldom.layouts.now(&mut upstream);
            for name in &self.seldom.strangers {
                let partition = Path::new(WAREHOUSE).join(layout.dir(OsStr::new(name), fs.now()).unwrap());
                upstream.mkdir_all(&partition).unwrap();
                upstream.write(partition.join(name), name.as_bytes()).unwrap();
                model.strangers.insert(digest(name.as_bytes()));
            }
        }
        upstream.sync();
        for act in &self.before {
            act::perform(act, &mut upstream, &mut model);
        }
        fs.set_split_renames(self.failing.split_renames);
        fs.set_torn_syncs(self.failing.torn_syncs);
        fs.set_aborts(self.failing.aborts);
        fs.set_odd(self.odd.clone());
        (fs, model)
    }

    /// Which names are ingested, and how sidecars are named.
    pub fn names(&self) -> NameRules {
        let template = if self.seldom.by_stem { "{stem}.csv.ok" } else { "{name}.ok" };
        let sidecars = self.sidecars.then(|| SidecarNames::parse(OsStr::new(template)).unwrap());
        let tree = self.is_tree().then_some(TreeRules { max_depth: 16, cross_mounts: false });
        NameRules { sidecars, tree, ..NameRules::default() }
    }

    fn rules(&self) -> Rules {
        Rules {
            staging: STAGING.into(),
            syncs: self.syncs,
            sidecars: self.sidecars,
            groups: self.groups(),
            duplicates: self.duplicates,
            validate: self.validate,
            quarantines: self.quarantines,
            same_by: self.seldom.same_by,
            unmatched: (self.seldom.layouts == Layouts::NoMatch).then_some(UNMATCHED),
        }
    }

    /// True if files are ingested in groups: some act sends one.
    pub fn groups(&self) -> bool {
        let mut acts = self.before.iter().chain(self.acts.iter().map(|(_, act)| act));
        self.seldom.groups || acts.any(|act| matches!(act, Act::Group(..)))
    }

    /// Quarantine at the first failure: later ones would give the same result. Two reasons count as many, so that both ways
    /// to sync them are used.
    pub fn quarantine(&self) -> Option<Quarantine> {
        self.quarantines.then(|| Quarantine {
            dir: QUARANTINE.into(),
            checksum_tries: 1,
            unreadable_tries: 2,
            few_reasons: 1,
        })
    }

    pub fn settings(&self) -> Settings {
        Settings {
            input: STAGING.into(),
            warehouse: WAREHOUSE.into(),
            manifests: MANIFESTS.into(),
            duplicates: self.duplicates,
            duplicates_dir: (self.duplicates == DuplicateAction::Move).then(|| DUPLICATES.into()),
        }
    }
}

/// The scenario in which the journal continues in a second segment, near the end.
pub const ROTATION: &str = "the journal goes on to another segment";
/// Rounds of one file each, with some frames each: enough to fill the first segment of a run.
const ROTATION_ROUNDS: u32 = 18;

/// How long contents are remembered where any are forgotten.
pub const REMEMBERED: Duration = Duration::from_secs(366 * 24 * 3600);
