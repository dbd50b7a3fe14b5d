//! Very many directories: time and memory of the scan that enters and watches them, and how soon a new file in the last
//! one is seen, with its watch and by the scan alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::daemon::Daemon;
use crate::disk::Scratch;
use crate::files::{self, Set};
use crate::manifest::Manifest;
use crate::ours;
use crate::place::{Place, lacks};
use crate::rounds::{median, ratio, turns};
use crate::scale::Scale;
use crate::table::{Line, Table, count, mib};

/// Files in each directory.
const FILES_A_DIR: u64 = 10;
const FILE_BYTES: u64 = 100;
const RESIDENT_BYTES_MAX: u64 = 400 << 20;
/// A directory's share of the time, compared with a tenth of the directories.
const OVER_FEW_MAX: f64 = 1.2;
/// With its watch, a new file is seen at once.
const WATCHED_MS_MAX: f64 = 100.0;
/// New files, one after the other, that are seen by a watch, and by the scan.
const DROPS: [u64; 2] = [21, 3];
/// Numbers of the new files begin here.
const DROPS_FROM: u64 = 1 << 32;
/// All staged files wait for their sidecars, so that they stay, and a new one comes with its own.
const OPTIONS: [&str; 5] = ["--recursive", "--mode", "sidecar", "--metrics-interval", "200ms"];
/// The pause between two scans: in a quick run, and in a full one.
const SCAN_INTERVALS: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(5)];
const LOOK_PAUSE: Duration = Duration::from_micros(200);
const PATIENCE: Duration = Duration::from_secs(600);
/// Sets the limit of watches of a new user namespace to staging's own, and runs the rest there.
const ONE_WATCH: &str = r#"echo 1 > /proc/sys/user/max_inotify_watches && exec "$@""#;

/// What one start has shown.
struct Seen {
    scan_seconds: f64,
    /// The longest of the scans that new files have waited for.
    slowest_seconds: f64,
    peak_bytes: u64,
    /// The times of the new files, each from its drop to its line.
    drops_ms: Vec<f64>,
    misses_watches: bool,
}

/// Measures both numbers of directories.
pub fn measure(scale: &Scale, scratch: &Scratch, table: &mut Table) {
    let sets = scale.dirs.map(|dirs| Set { count: dirs * FILES_A_DIR, bytes: FILE_BYTES });
    let what = |text: &str, dirs: u64| format!("{text}, {} directories with {FILES_A_DIR} files", count(dirs));
    let [few, many] = scale.dirs;
    if let Some(why) = lacks(&scratch.path("."), sets.iter().map(|set| set.disk_bytes()).sum()) {
        return table.add(Line::skipped(what("the first scan", many), &why));
    }
    let places = scale.dirs.map(|dirs| Place::within(scratch.path(&format!("wide-{dirs}"))));
    for (set, place) in sets.iter().zip(&places) {
        (0..set.count / FILES_A_DIR).for_each(|number| fs::create_dir_all(dir(place, number)).unwrap());
        set.make_at(&|number| dir(place, number / FILES_A_DIR).join(files::name(number)));
    }
    let mut seen: [Vec<Seen>; 2] = Default::default();
    for round in 0..scale.rounds {
        for turn in turns(round, sets.len()) {
            places[turn].renew();
            let number = DROPS_FROM + round as u64 * DROPS[0];
            let daemon = |place: &Place| Daemon::spawn(&mut command(scale, place), &place.log());
            seen[turn].push(look(daemon, &places[turn], scale.dirs[turn] - 1, number..number + DROPS[0]));
        }
    }
    let [of_few, of_many] = &seen;
    let per_dir =
        |seen: &[Seen], dirs| seen.iter().map(|seen| seen.scan_seconds * 1e6 / dirs as f64).collect::<Vec<_>>();
    let (one, other) = (per_dir(of_many, many), per_dir(of_few, few));
    let over_few = ratio(&one, &other);
    let line = Line::new(what("the first scan", many), format!("{:.2} s", median(&one) * many as f64 / 1e6));
    let line = line.other(format!("{:.1} us a directory, with {} {:.1} us", median(&one), count(few), median(&other)));
    table.add(line.ratio(over_few).target(format!("<= {OVER_FEW_MAX}x"), over_few <= OVER_FEW_MAX));
    let peak = of_many.iter().map(|seen| seen.peak_bytes).max().unwrap();
    let line = Line::new(what("the most memory, all files waiting", many), mib(peak));
    table.add(line.target(format!("<= {}", mib(RESIDENT_BYTES_MAX)), peak <= RESIDENT_BYTES_MAX));
    let text = what("from drop to line in the last directory, watched", many);
    table.add(match of_many.iter().any(|seen| seen.misses_watches) {
        true => Line::skipped(text, "fs.inotify.max_user_watches is too small"),
        false => watched(text, of_many),
    });
    table.add(scanned(scale, what("from drop to line in the last directory, by the scan", many), &places[1]));
    places.into_iter().for_each(Place::remove);
}

fn watched(text: String, seen: &[Seen]) -> Line {
    let mut times: Vec<f64> = seen.iter().flat_map(|seen| seen.drops_ms.clone()).collect();
    times.sort_by(f64::total_cmp);
    let (ms, most) = (times[times.len() / 2], times[times.len() - 1]);
    let line = Line::new(text, format!("{ms:.1} ms")).other(format!("longest {most:.1} ms"));
    line.target(format!("<= {WATCHED_MS_MAX:.0} ms"), ms <= WATCHED_MS_MAX)
}

/// Where only staging itself can be watched: the longest time, which a scan and the interval before it bound.
fn scanned(scale: &Scale, text: String, place: &Place) -> Line {
    let limited = |command: &mut Command| {
        command.args(["--user", "--map-root-user", "sh", "-c", ONE_WATCH, "sh"]).stdin(Stdio::null());
    };
    let mut probe = Command::new("unshare");
    limited(&mut probe);
    if !probe.arg("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return Line::skipped(text, "no user namespace can be made");
    }
    place.renew();
    let daemon = |place: &Place| {
        let program = command(scale, place);
        let mut command = Command::new("unshare");
        limited(&mut command);
        command.arg(program.get_program()).args(program.get_args());
        Daemon::spawn(command.stdout(Stdio::null()), &place.log())
    };
    let seen = look(daemon, place, scale.dirs[1] - 1, 0..DROPS[1]);
    assert!(seen.misses_watches, "the limit of watches is not in force");
    let longest = seen.drops_ms.iter().fold(0.0, |most: f64, ms| most.max(*ms)) / 1000.0;
    let interval = SCAN_INTERVALS[usize::from(scale.is_full)].as_secs_f64();
    let most = interval + seen.slowest_seconds;
    let line = Line::new(text, format!("{longest:.1} s"));
    let line = line.other(format!("scans take up to {:.1} s, {interval} s apart", seen.slowest_seconds));
    line.target(format!("<= {most:.1} s"), longest <= most)
}

/// Starts an ingestor, waits for its first scan, and drops new files with these numbers into the last directory.
fn look(start: impl Fn(&Place) -> Daemon, place: &Place, last: u64, numbers: std::ops::Range<u64>) -> Seen {
    let [_, textfile] = textfile(place);
    let _ = fs::remove_file(&textfile);
    let daemon = start(place);
    let begun = Instant::now();
    let value = |name: &str| metric(Path::new(&textfile), &format!("csv_ingestor_last_scan_{name}_seconds{{"));
    while value("duration").is_none() {
        assert!(begun.elapsed() < PATIENCE, "the first scan does not end");
        thread::sleep(LOOK_PAUSE * 100);
    }
    let (scan_seconds, mut manifest) = (value("duration").unwrap(), Manifest::new(place.manifests()));
    let (mut drops_ms, mut slowest_seconds) = (Vec::new(), scan_seconds);
    let misses_watches = daemon.has_logged("\"watch_limit\"");
    for number in numbers {
        drops_ms.push(drop_in(place, &dir(place, last), number, &mut manifest));
        // Without a watch, the scan that has found it is not over.
        let before = value("timestamp");
        while misses_watches && value("timestamp") == before {
            thread::sleep(LOOK_PAUSE * 100);
        }
        slowest_seconds = slowest_seconds.max(value("duration").unwrap_or_default());
    }
    let [_, peak_bytes] = daemon.memory_bytes();
    daemon.stop();
    Seen { scan_seconds, slowest_seconds, peak_bytes, drops_ms, misses_watches }
}

/// Renames a file and its sidecar into a directory; returns how long it takes until its line can be read.
fn drop_in(place: &Place, dir: &Path, number: u64, manifest: &mut Manifest) -> f64 {
    let name = format!("new-{number:011}.csv");
    let (path, sidecar) = (place.incoming().join(&name), format!("{name}.ok"));
    files::write(&path, number, FILE_BYTES);
    let begun = Instant::now();
    fs::rename(&path, dir.join(&name)).unwrap();
    fs::File::create(dir.join(sidecar)).unwrap();
    let mut is_seen = false;
    while !is_seen {
        assert!(begun.elapsed() < PATIENCE, "{name} is not ingested");
        thread::sleep(LOOK_PAUSE);
        manifest.for_each(|seen| is_seen |= seen == name);
    }
    begun.elapsed().as_secs_f64() * 1000.0
}

fn dir(place: &Place, number: u64) -> PathBuf {
    place.staging.join(format!("dir-{number:06}"))
}

fn command(scale: &Scale, place: &Place) -> Command {
    let mut command = ours::command(place);
    let interval = format!("{}ms", SCAN_INTERVALS[usize::from(scale.is_full)].as_millis());
    command.args(OPTIONS).args(["--scan-interval", &interval]).args(textfile(place));
    command
}

/// The option for the file of metrics, and its path.
fn textfile(place: &Place) -> [String; 2] {
    let path = place.incoming().with_file_name("metrics.prom");
    ["--metrics-textfile".to_owned(), path.to_str().unwrap().to_owned()]
}

/// The value of the first series that begins like this, as soon as there is one.
fn metric(textfile: &Path, series: &str) -> Option<f64> {
    let text = fs::read_to_string(textfile).ok()?;
    text.lines().find(|line| line.starts_with(series))?.rsplit(' ').next()?.parse().ok()
}
