//! The file system that is measured: where it is, its type, its speed.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FsWord, statfs};

use crate::interrupt::on_interrupt;
use crate::rounds::median;

/// `TMPFS_MAGIC` of statfs(2): memory, where a sync costs nothing and proves nothing.
const TMPFS: FsWord = 0x0102_1994;
const BLOCK_BYTES: usize = 4096;
/// Blocks that are written to measure the cost of a sync.
const PACE_BLOCKS: usize = 200;

/// From this load on, the times include waits for a processor.
const BUSY_LOAD: f64 = 1.0;
const BUSY: &str = "\nThe machine is busy: after its sync, a thread may wait for a processor for milliseconds.";

/// Time for processes that still write into a directory to notice the end.
const REMOVE_TRIES: usize = 10;
const REMOVE_PAUSE: Duration = Duration::from_millis(50);

/// A directory for everything that is written; removed afterwards, also after a signal.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// Creates it in `dir`, by default in cargo's build directory, or else in the current directory.
    pub fn new(dir: Option<PathBuf>) -> Scratch {
        let exe = std::env::current_exe().unwrap();
        let built = exe.parent().unwrap().to_path_buf();
        let is_memory = |path: &Path| statfs(path).unwrap().f_type == TMPFS;
        let dir = dir.unwrap_or_else(|| if is_memory(&built) { PathBuf::from(".") } else { built });
        let dir = std::path::absolute(dir).unwrap();
        if is_memory(&dir) {
            eprintln!("  {} is in memory: measurements there say nothing about a disk", dir.display());
        }
        Scratch::within(&dir)
    }

    /// Creates it in `dir`.
    pub fn within(dir: &Path) -> Scratch {
        let scratch = tempfile::Builder::new().prefix("csv-ingestor-bench-").tempdir_in(dir).unwrap();
        let path = scratch.path().to_path_buf();
        on_interrupt(move || {
            for _ in 0..REMOVE_TRIES {
                if fs::remove_dir_all(&path).is_ok() {
                    break;
                }
                std::thread::sleep(REMOVE_PAUSE);
            }
        });
        Scratch(scratch)
    }

    /// The path of a name in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// A mounted file system.
pub struct Mount {
    /// The device, or its substitute.
    pub device: String,
    /// `ext4`, `tmpfs`, ...
    pub kind: String,
}

impl Mount {
    /// The mount of a path.
    pub fn of(path: &Path) -> Mount {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let of_path = |line: &&str| line.split(' ').nth(1).is_some_and(|point| path.starts_with(point));
        let longest = |line: &&str| line.split(' ').nth(1).map(str::len);
        let mount = mounts.lines().filter(of_path).max_by_key(longest).unwrap_or("? ? ?");
        let fields: Vec<&str> = mount.split(' ').collect();
        Mount { device: fields[0].to_owned(), kind: fields[2].to_owned() }
    }
}

/// Describes the place of the measurement: file system, device, and the cost of a sync.
pub fn describe(scratch: &Scratch) -> String {
    let mount = Mount::of(scratch.0.path());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let load = fs::read_to_string("/proc/loadavg").unwrap();
    let load = load.split(' ').next().unwrap();
    let busy = if load.parse::<f64>().unwrap() < BUSY_LOAD { "" } else { BUSY };
    let pace_ms = sync_ms(&scratch.path("pace"));
    format!(
        "{} on {}, Linux {}, {threads} processors, load {load} before; pwrite of 4 KiB over zeros and fdatasync: \
         {pace_ms:.2} ms (median){busy}",
        mount.kind,
        mount.device,
        kernel.trim()
    )
}

/// The cost of replacing one block durably: the least that any commit can cost.
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
