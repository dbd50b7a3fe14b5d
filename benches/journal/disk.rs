//! The file system that is measured: where, what kind, how fast.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use csv_ingestor::fs::real::RealFs;
use csv_ingestor::fs::{Fs as _, Open};
use rustix::fs::{FsWord, statfs};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::scale::median;

/// `TMPFS_MAGIC` of statfs(2): memory, where a sync costs nothing and says nothing.
const TMPFS: FsWord = 0x0102_1994;
const READ_BYTES: usize = 1 << 20;
const BLOCK_BYTES: usize = 4096;
/// Blocks that are written to find out what a sync costs.
const PACE_BLOCKS: usize = 200;

/// From this load on, times are those of waiting for a processor.
const BUSY_LOAD: f64 = 1.0;
const BUSY: &str = "\nThe machine is busy: a thread that its sync has woken may wait for others by the millisecond.";

/// A directory for all that is written; gone afterwards, after a signal too.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// Makes it in `dir`, by default where cargo builds, or else in the current directory.
    pub fn new(dir: Option<PathBuf>) -> Scratch {
        let exe = std::env::current_exe().unwrap();
        let built = exe.parent().unwrap().to_path_buf();
        let is_memory = |path: &Path| statfs(path).unwrap().f_type == TMPFS;
        let dir = dir.unwrap_or_else(|| if is_memory(&built) { PathBuf::from(".") } else { built });
        let dir = std::path::absolute(dir).unwrap();
        if is_memory(&dir) {
            eprintln!("  {} is in memory: what is measured there says nothing about a disk", dir.display());
        }
        let scratch = tempfile::Builder::new().prefix("journal-bench-").tempdir_in(dir).unwrap();
        let path = scratch.path().to_path_buf();
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).unwrap();
        std::thread::spawn(move || {
            let signal = signals.forever().next().unwrap_or(SIGINT);
            let _ = fs::remove_dir_all(path);
            std::process::exit(128 + signal);
        });
        Scratch(scratch)
    }

    /// A name in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// Where it is measured: file system, device, and what a sync costs there.
pub fn describe(scratch: &Scratch) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let of_path = |line: &&str| line.split(' ').nth(1).is_some_and(|point| scratch.0.path().starts_with(point));
    let longest = |line: &&str| line.split(' ').nth(1).map(str::len);
    let mount = mounts.lines().filter(of_path).max_by_key(longest).unwrap_or("? ? ?");
    let fields: Vec<&str> = mount.split(' ').collect();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let load = fs::read_to_string("/proc/loadavg").unwrap();
    let load = load.split(' ').next().unwrap();
    let busy = if load.parse::<f64>().unwrap() < BUSY_LOAD { "" } else { BUSY };
    let pace_ms = sync_ms(&scratch.path("pace"));
    format!(
        "{} on {}, Linux {}, {threads} processors, load {load} before; pwrite of 4 KiB over zeros and fdatasync: \
         {pace_ms:.2} ms (median){busy}",
        fields[2],
        fields[0],
        kernel.trim()
    )
}

/// What one block costs that replaces another, durably: the least that any commit can cost.
fn sync_ms(path: &Path) -> f64 {
    let file = File::create(path).unwrap();
    file.write_all_at(&vec![0; PACE_BLOCKS * BLOCK_BYTES], 0).unwrap();
    file.sync_all().unwrap();
    let times: Vec<f64> = (0..PACE_BLOCKS)
        .map(|block| {
            let begun = Instant::now();
            file.write_all_at(&[1; BLOCK_BYTES], (block * BLOCK_BYTES) as u64).unwrap();
            file.sync_data().unwrap();
            begun.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    median(&times)
}

/// Lets the next reads of a directory's files come from the disk.
pub fn drop_caches(dir: &Path) {
    let real = RealFs::default();
    let opened = real.open_dir(dir).unwrap();
    rustix::fs::sync();
    for entry in real.list(&opened).unwrap() {
        let file = real.open(&opened, &entry.unwrap().name, Open::Read).unwrap();
        real.drop_cache(&file).unwrap();
    }
}

/// Bytes a second at which the largest file in a directory is read from front to back.
pub fn read_rate(dir: &Path) -> f64 {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let largest = files.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    drop_caches(dir);
    let mut file = File::open(largest).unwrap();
    let (mut buffer, mut bytes) = (vec![0; READ_BYTES], 0);
    let begun = Instant::now();
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => break bytes as f64 / begun.elapsed().as_secs_f64(),
            read => bytes += read,
        }
    }
}

/// Bytes that a file, or a directory's files, take on the disk.
pub fn allocated_bytes(path: &Path) -> u64 {
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap();
        return entries.map(|entry| allocated_bytes(&entry.unwrap().path())).sum();
    }
    path.metadata().unwrap().blocks() * 512
}

/// A number of kB in `/proc/self/status`, in bytes.
pub fn status_bytes(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Time that this thread has been on a processor: with it, what others on this machine take is told from what we take.
pub fn processor_seconds() -> f64 {
    let nanoseconds = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    nanoseconds.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// Runs this program again, as a child that measures itself; the numbers that it prints.
pub fn child_numbers(command: &mut std::process::Command, what: &str, path: &Path) -> Result<Vec<u64>, String> {
    let output = command.args([crate::CHILD, what]).arg(path).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(said.lines().last().unwrap_or("it failed").to_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_whitespace().map(|number| number.parse().unwrap()).collect())
}
