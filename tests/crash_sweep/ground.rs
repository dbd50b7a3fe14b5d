//! Where cases run: directories on one or two file systems, and the files that are staged in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use csv_ingestor::journal::record::{DuplicateAction, SameBy, Validation};

use super::case::{Case, Combination, Layout, Variant};
use super::common::promises::{Promises, Rules};
use super::common::skip::skip;
use super::common::view::{Files, Places, View, digest, is_data, sidecar_of};

const PREFIX: &str = "csv-ingestor-sweep-";

/// Directories on this and on another file system.
pub struct Ground {
    pub cases: PathBuf,
    /// None where there is only one file system.
    pub other: Option<PathBuf>,
    is_mounted: bool,
}

fn device(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|stat| stat.dev())
}

fn runs(program: &str, words: &[&str], path: &Path) -> bool {
    Command::new(program).args(words).arg(path).status().is_ok_and(|status| status.success())
}

impl Ground {
    pub fn new() -> Ground {
        let temporary = || tempfile::Builder::new().prefix(PREFIX).to_owned();
        let cases = temporary().tempdir().unwrap().keep();
        for dir in ["/dev/shm", "/tmp"].map(Path::new) {
            if device(dir).is_some_and(|device_of| Some(device_of) != device(&cases))
                && let Ok(other) = temporary().tempdir_in(dir)
            {
                return Ground { cases, other: Some(other.keep()), is_mounted: false };
            }
        }
        let mount = cases.join("mount");
        std::fs::create_dir(&mount).unwrap();
        if runs("mount", &["-t", "tmpfs", "-o", "size=256m", "tmpfs"], &mount) {
            return Ground { cases, other: Some(mount), is_mounted: true };
        }
        let ground = Ground { cases, other: None, is_mounted: false };
        skip("across file systems: /dev/shm is not another file system, and nothing can be mounted here");
        ground
    }

    pub fn remove(&self) {
        if let Some(other) = &self.other {
            if self.is_mounted && !runs("umount", &[], other) {
                runs("umount", &["-l"], other);
            }
            let _ = std::fs::remove_dir_all(other);
        }
        let _ = std::fs::remove_dir_all(&self.cases);
    }
}

/// The files that each case of a variant stages, and the expected result.
struct Template {
    /// By name.
    files: BTreeMap<String, Vec<u8>>,
    promises: Promises,
    /// Files that stay in staging.
    left: usize,
    /// Files that are moved to the duplicates directory or to quarantine, with their reasons.
    moved: usize,
}

/// Everything that cases stage, by variant.
pub struct Templates(BTreeMap<Variant, Template>);

/// A CSV file with this many rows; another tag makes another content.
fn csv(tag: &str, rows: usize) -> Vec<u8> {
    let mut text = format!("id,name,amount,{tag}\n");
    (1..=rows).for_each(|row| writeln!(text, "{row},customer {row},{row}.50,x").unwrap());
    text.into_bytes()
}

const MALFORMED: &str = "malformed.csv";
/// The directory of the bag.
const BAG: &str = "bag";
/// Two of the files.
const DUPLICATES: usize = 2;

fn plain_files() -> BTreeMap<String, Vec<u8>> {
    let (small, rows) = (csv("small", 3), csv("rows", 700));
    let files = [
        ("again-small.csv", small.clone()),
        ("empty.csv", Vec::new()),
        // Large enough that the hashing thread syncs it.
        ("large.csv", csv("large", 60_000)),
        ("rows.csv", rows.clone()),
        ("small.csv", small),
        ("zz-rows.csv", rows),
    ];
    files.map(|(name, content)| (name.to_owned(), content)).into()
}

/// The same files, some of them in directories.
fn files_in_a_tree() -> BTreeMap<String, Vec<u8>> {
    let place = |name: String| match name.as_str() {
        "small.csv" | "zz-rows.csv" => format!("north/{name}"),
        "rows.csv" | "large.csv" => format!("north/2026/{name}"),
        _ => name,
    };
    plain_files().into_iter().map(|(name, content)| (place(name), content)).collect()
}

/// The same files in a group and in a bag, which share a content.
fn files_in_groups() -> BTreeMap<String, Vec<u8>> {
    let of_the_bag = |name: &str| matches!(name, "zz-rows.csv" | "large.csv" | "empty.csv");
    let place = |name: String| match of_the_bag(&name) {
        true => format!("{BAG}/data/2026/{name}"),
        false => name,
    };
    let mut files: BTreeMap<_, _> = plain_files().into_iter().map(|(name, content)| (place(name), content)).collect();
    let (mut group, mut manifest) = (String::new(), String::new());
    for (name, content) in &files {
        match name.strip_prefix(BAG) {
            Some(below) => writeln!(manifest, "{}  {}", digest(content), &below[1..]).unwrap(),
            None => writeln!(group, "{}  {name}", digest(content)).unwrap(),
        }
    }
    files.insert("close.group".to_owned(), group.into_bytes());
    files.insert(format!("{BAG}/manifest-sha256.txt"), manifest.into_bytes());
    files
}

/// Some are mere markers, some have the checksum.
fn sidecars_of(files: &BTreeMap<String, Vec<u8>>) -> Vec<(String, Vec<u8>)> {
    let sidecar = |(name, content): (&String, &Vec<u8>)| {
        let text = match name.as_str() {
            "large.csv" | "zz-rows.csv" => format!("{}  {name}\n", digest(content)),
            _ => String::new(),
        };
        (format!("{name}.ok"), text.into_bytes())
    };
    files.iter().map(sidecar).collect()
}

impl Template {
    fn new(variant: Variant) -> Template {
        let mut files = match variant {
            Variant::Tree => files_in_a_tree(),
            Variant::Groups => files_in_groups(),
            _ => plain_files(),
        };
        let duplicates = match variant {
            Variant::Keep | Variant::Links | Variant::Quarantine | Variant::Groups => DuplicateAction::Keep,
            Variant::Remove | Variant::Tree => DuplicateAction::Remove,
            Variant::Sidecar => DuplicateAction::Move,
        };
        let (left, moved) = match variant {
            Variant::Keep | Variant::Links | Variant::Groups => (DUPLICATES, 0),
            Variant::Remove => (0, 0),
            Variant::Sidecar => (0, DUPLICATES),
            // The file, and its reason.
            Variant::Quarantine => (DUPLICATES, 2),
            Variant::Tree => (0, 2),
        };
        match variant {
            Variant::Sidecar => files.extend(sidecars_of(&files)),
            Variant::Quarantine => {
                files.insert(MALFORMED.to_owned(), b"id,name\n1\n".to_vec());
            }
            Variant::Tree => {
                files.insert(format!("north/2026/{MALFORMED}"), b"id,name\n1\n".to_vec());
            }
            _ => {}
        }
        let quarantines = variant.quarantines();
        let groups = variant == Variant::Groups;
        let validate = quarantines.then_some(Validation { refuse: true, ..Validation::default() });
        let sidecars = variant == Variant::Sidecar;
        // A killed process loses nothing that it has written, so it does not matter whether upstreams sync.
        let (staging, same_by, unmatched) = (PathBuf::new(), SameBy::default(), None);
        let rules =
            Rules { staging, syncs: true, sidecars, groups, duplicates, validate, quarantines, same_by, unmatched };
        let promises = promises(rules, &files);
        Template { files, promises, left, moved }
    }
}

/// Promises for files that are all complete and durable.
fn promises(rules: Rules, files: &BTreeMap<String, Vec<u8>>) -> Promises {
    let mut promises = Promises::new(rules);
    let staged_contents: Files = files.iter().map(|(name, content)| (name.into(), content.clone())).collect();
    let staging = staged_contents.iter().map(|(path, content)| (path.clone(), digest(content))).collect();
    let view = View { staging, staged_contents, ..View::default() };
    for (path, content) in view.staged_contents.iter().filter(|(path, _)| is_data(path)) {
        let digest = digest(content);
        // A mere marker releases it, too.
        if view.staged_contents.contains_key(&sidecar_of(path)) {
            promises.released.insert(digest.clone());
        }
        let is_wanted = promises.is_wanted(&view, path, &digest) || promises.released.contains(&digest);
        assert_eq!(is_wanted, !path.ends_with(MALFORMED), "{}", path.display());
        if !promises.may.insert(digest.clone()) {
            promises.sent_again.insert(digest.clone());
        }
        match is_wanted {
            true => drop(promises.must.insert(digest, true)),
            false => drop(promises.quarantined.insert(digest)),
        }
    }
    assert_eq!(promises.sent_again.len(), DUPLICATES);
    promises
}

impl Templates {
    pub fn new() -> Templates {
        let variants: BTreeSet<Variant> = Combination::all().into_iter().map(|it| it.variant).collect();
        Templates(variants.into_iter().map(|variant| (variant, Template::new(variant))).collect())
    }
}

/// The directories of one case.
pub struct Site<'a> {
    template: &'a Template,
    /// Holds everything, except a warehouse on another file system.
    pub dir: PathBuf,
    elsewhere: Option<PathBuf>,
    pub staging: PathBuf,
    pub warehouse: PathBuf,
    pub manifests: PathBuf,
    pub state: PathBuf,
    /// Where duplicates or files for quarantine are moved.
    aside: PathBuf,
    pub left: usize,
    pub moved: usize,
    pub promises: Promises,
    /// Options of `run`.
    pub options: Vec<String>,
}

impl<'a> Site<'a> {
    pub fn new(ground: &Ground, templates: &'a Templates, case: &Case) -> Site<'a> {
        let variant = case.combination.variant;
        let template = &templates.0[&variant];
        let name = case.to_string().replace('/', ".");
        let dir = ground.cases.join(&name);
        let elsewhere = match case.combination.layout {
            Layout::Same => None,
            Layout::Cross => ground.other.as_ref().map(|other| other.join(&name)),
        };
        let mut site = Site {
            template,
            staging: dir.join("staging"),
            warehouse: elsewhere.as_ref().unwrap_or(&dir).join("warehouse"),
            manifests: dir.join("manifests"),
            state: dir.join("state"),
            aside: dir.join("aside"),
            elsewhere,
            left: template.left,
            moved: template.moved,
            promises: template.promises.clone(),
            options: Vec::new(),
            dir,
        };
        site.promises.rules.staging.clone_from(&site.staging);
        site.options = site.options_of(variant);
        std::fs::create_dir_all(&site.staging).unwrap();
        site
    }

    fn options_of(&self, variant: Variant) -> Vec<String> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let mut options =
            ["--stability-seconds", "0", "--concurrency", "1", "--scan-interval", "100ms"].map(str::to_owned).to_vec();
        for (option, path) in [
            ("--input", &self.staging),
            ("--warehouse", &self.warehouse),
            ("--manifests", &self.manifests),
            ("--state-path", &self.state),
        ] {
            options.extend([option.to_owned(), text(path)]);
        }
        let aside = text(&self.aside);
        let more: &[&str] = match variant {
            Variant::Keep | Variant::Links => &[],
            Variant::Remove => &["--duplicates", "remove"],
            Variant::Sidecar => &["--mode", "sidecar", "--duplicates", "move", "--duplicates-dir", &aside],
            Variant::Quarantine => &["--validate", "csv", "--quarantine", &aside],
            Variant::Tree => &["--recursive", "--validate", "csv", "--quarantine", &aside, "--duplicates", "remove"],
            Variant::Groups => &["--recursive", "--mode", "group"],
        };
        options.extend(more.iter().map(|&word| word.to_owned()));
        options
    }

    /// Writes the files into this directory.
    pub fn write_files(&self, dir: &Path) {
        for (name, content) in &self.template.files {
            std::fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
            std::fs::write(dir.join(name), content).unwrap();
        }
    }

    /// Renames them from that directory into staging, in the order of their names.
    pub fn move_files(&self, from: &Path) {
        for name in self.template.files.keys() {
            std::fs::create_dir_all(self.staging.join(name).parent().unwrap()).unwrap();
            std::fs::rename(from.join(name), self.staging.join(name)).unwrap();
        }
    }

    pub fn view(&self) -> View {
        let nowhere = Path::new("");
        let rules = &self.promises.rules;
        View::of_dirs(Places {
            staging: &self.staging,
            warehouse: &self.warehouse,
            manifests: &self.manifests,
            duplicates: if rules.quarantines { nowhere } else { &self.aside },
            quarantine: if rules.quarantines { &self.aside } else { nowhere },
        })
    }

    pub fn remove(&self) {
        std::fs::remove_dir_all(&self.dir).unwrap();
        if let Some(elsewhere) = &self.elsewhere {
            let _ = std::fs::remove_dir_all(elsewhere);
        }
    }
}
