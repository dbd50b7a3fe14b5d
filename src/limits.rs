//! Every limit of the running ingestor (P6). The journal's own limits are part of its format: `journal::format`.

use std::time::Duration;

/// Files in one batch of the committer, at most: the number of syncs depends on batches, so larger is faster, but
/// what a crash leaves half done grows with it.
pub const BATCH_FILES_MAX: usize = 2048;
/// Bytes of files in one batch, from which on nothing is added: to hash as much again takes longer than the batch's syncs,
/// so more in one would not be faster, and a recovery has to hash it again.
pub const BATCH_BYTES_MAX: u64 = 32 << 20;
/// Files handed to the workers and not yet reported, at most. Each holds a descriptor and a lease.
pub const IN_FLIGHT_FILES_MAX: usize = 8192;
/// Complete files that wait to be handed to the workers: with more, a scan goes on when there are fewer.
pub const READY_FILES_MAX: usize = 2 * IN_FLIGHT_FILES_MAX;
/// Descriptors that are not for files in flight.
pub const DESCRIPTORS_RESERVED: u64 = 64;
/// Files that travel together from stage to stage, at most.
pub const CHUNK_FILES_MAX: usize = 32;
/// From this size on a file is not small: it is made durable where it is hashed, so that its write-back overlaps other
/// work, and no batch waits for it.
pub const SMALL_BYTES_END: u64 = 1 << 20;
/// How long the committer waits for small files that are being hashed, before it takes what it has: as long as its syncs
/// take, more or less. What takes longer to hash would only keep it idle.
pub const GATHER_WAIT_MAX: Duration = Duration::from_millis(8);
/// Bytes of small files that travel together, at most. A large one travels alone.
pub const CHUNK_BYTES_MAX: u64 = 1 << 20;
/// Chunks that wait for a worker, at most.
pub const HASH_QUEUE_CHUNKS_MAX: usize = 128;
/// From this size on, a file's DISCOVERED is written before it is hashed.
pub const NOTE_BYTES_MIN: u64 = 16 << 20;
/// Kept duplicates that are gone of which the committer is told at once, at most.
pub const KEPT_GONE_BATCH_MAX: usize = 2048;
/// Bunches of inotify's hints that wait for the scan, at most; what does not fit leads to a full scan.
pub const HINTS_MAX: usize = 1024;
/// Staged files of which it is remembered what went wrong the last time, for who asks.
pub const ERRORS_REMEMBERED_MAX: usize = 1024;
/// Names in staging of which it is remembered, and said, that they are not taken; further ones are only counted.
pub const IGNORED_NAMES_MAX: usize = 4096;
/// With `--once`: a staging directory that cannot be looked at is tried so often, a scan's interval apart.
pub const ONCE_STAGING_TRIES: u32 = 4;
/// Entries in a queue of settling files that are stale, at most, on top of one for each file.
pub const STALE_ENTRIES_MAX: usize = 1024;
/// Originals of duplicates of which it is remembered that their content was read and is right, at most.
pub const VERIFIED_ORIGINALS_MAX: usize = 4096;
/// Files in a row that had a further name behind their rename, and none before: then this file system counts badly, and
/// all files are copied.
pub const LINKED_FILES_MAX: u32 = 3;
/// A file that had to begin anew so often in a row has failed, and waits longer each time.
pub const ABANDONED_TIMES_MAX: u32 = 3;
/// Files of which it is remembered how often that was, at most.
pub const ABANDONED_REMEMBERED_MAX: usize = 4096;
/// Quiet time after which the journal is marked idle.
pub const IDLE_MARK_DELAY: Duration = Duration::from_millis(50);
/// How often a full disk is tried again.
pub const FULL_DISK_RETRY: Duration = Duration::from_secs(1);
/// The longest time after which a file that found no room for its copy is tried again. Each try of a large one writes to
/// the journal, so it must not be each second for ever.
pub const FULL_DISK_RETRY_MAX: Duration = Duration::from_secs(30);
/// Bytes of full segments that wait to be folded into a snapshot, at least; and at least half as many as the snapshot has,
/// so that what is written twice stays in proportion to what is written once.
pub const COMPACTION_BYTES_MIN: u64 = 64 << 20;
/// Contents that came since the last snapshot, at most, before they are folded into a new one: each takes some 200 bytes
/// of memory, and in a snapshot 5.
pub const RECENT_CONTENTS_MAX: usize = 1 << 18;
/// Bytes by which the journal grows before a compaction that failed is tried again.
pub const COMPACTION_RETRY_BYTES: u64 = 16 << 20;
/// Up to so many files are synced each on its own; more are left to one `syncfs`, which waits for what others have written, too.
pub const FEW_FILES: usize = 4;
/// With quarantine: a file goes when its sidecar was found to have another SHA-256 so often. Twice, with a scan's interval
/// between: where there are no leases, it might have been on its way still.
pub const CHECKSUM_TRIES: u32 = 2;
/// With quarantine: a file goes that could not be read so often: 1, 2, 4, 8 and 16 seconds lie between.
pub const UNREADABLE_TRIES: u32 = 6;
/// How often the status line that the service manager shows is brought up to date, if it has changed.
pub const SERVICE_STATUS_INTERVAL: Duration = Duration::from_secs(5);
/// The threads that a watchdog watches turn so many times, at least, in the time that it waits for a sign of life.
pub const WATCHDOG_PARTS: u32 = 8;
/// Sidecars that were seen without their files and are remembered, at most.
pub const ORPHANS_REMEMBERED_MAX: usize = 4096;
/// Sidecars of which it is remembered that something was said, at most: with more, it is said again.
pub const SIDECARS_TOLD_MAX: usize = 4096;
/// A wall clock that was set back by more than this since a sidecar was seen without its file proves nothing about which of
/// them is older.
pub const CLOCK_SLACK: Duration = Duration::from_secs(1);
/// Most hashing threads.
pub const CONCURRENCY_MAX: usize = 256;
/// Longest durations that options take.
pub const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// Longest and shortest time for which contents are remembered, if not for ever.
pub const REMEMBER_MAX: Duration = Duration::from_secs(1000 * 366 * 24 * 3600);
/// See [`REMEMBER_MAX`].
pub const REMEMBER_MIN: Duration = Duration::from_secs(1);
/// After a scan, so many times as long as it took, nothing is scanned where inotify tells of everything: scans take half a
/// percent of one processor then.
pub const SCAN_REST_FACTOR: u32 = 200;
/// But no longer than this.
pub const SCAN_REST_MAX: Duration = Duration::from_secs(600);
/// Shortest time between two scans of the whole directory.
pub const SCAN_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// Threads that answer HTTP requests, and so connections that are looked at at a time: a scraper and two probes need three.
pub const HTTP_THREADS: usize = 8;
/// The stack of each of them: the buffer for a request, and what is called with it.
pub const HTTP_STACK_BYTES: usize = 256 << 10;
/// Bytes of a request's head, at most; that of a scrape has some 300.
pub const HTTP_REQUEST_BYTES_MAX: usize = 8 << 10;
/// Headers of a request, at most.
pub const HTTP_HEADERS_MAX: usize = 64;
/// Time for a request and its answer.
pub const HTTP_REQUEST_TIME_MAX: Duration = Duration::from_secs(5);
/// The same, while no thread is left for the next: a probe gives up after a second.
pub const HTTP_CROWDED_TIME_MAX: Duration = Duration::from_millis(100);
/// Bytes that are read from a client that has its answer already.
pub const HTTP_LINGER_BYTES_MAX: usize = 64 << 10;
/// The longest that the process's end waits for the last writing of `--metrics-textfile`.
pub const RECORDER_FINISH_MAX: Duration = Duration::from_secs(5);
/// Manifests whose ends are held against the journal at a start, newest first; twice as many where a clock was ahead.
pub const OLDER_MANIFESTS_MAX: usize = 24;
/// Those that are older than the newest by more than that are not looked at.
pub const OLDER_SPAN: Duration = Duration::from_secs(7 * 24 * 3600);
/// Bytes of one manifest's end, more than the longest line; and where these hold other journals' lines alone.
pub const OLDER_TAIL_BYTES: [u64; 2] = [1 << 20, 16 << 20];
/// Bytes in all: some 150,000 lines.
pub const OLDER_BYTES_MAX: u64 = 64 << 20;
/// Contents that are looked up in the snapshot then: each may take a read of the disk.
pub const OLDER_LOOKUPS_MAX: usize = 256;
/// Journals whose claims on staging directories are looked at, in one directory of manifests.
pub const CLAIMS_MAX: usize = 1024;
/// Files that say what `--new-journal` has accepted.
pub const OLDER_ACCEPTED_MAX: usize = 16;
/// Bytes of log lines that wait to be written, at most, and once more as many that the writer has taken: some 14,000 lines each.
pub const LOG_BUFFER_BYTES_MAX: usize = 4 << 20;
/// So many more for warnings and errors.
pub const LOG_URGENT_BYTES: usize = 256 << 10;
/// Bytes of whole log lines in one write. A pipe that nobody reads takes 64 KiB.
pub const LOG_WRITE_BYTES_MAX: usize = 16 << 10;
/// The longest that the process's end waits for a write of its log to return.
pub const LOG_FINISH_STALL_MAX: Duration = Duration::from_secs(2);
/// The longest that the process's end waits for its log to be written.
pub const LOG_FINISH_TIME_MAX: Duration = Duration::from_secs(10);
/// The longest that a message waits for a service manager that does not read.
pub const SERVICE_SEND_MAX: Duration = Duration::from_secs(2);
/// The shortest and the longest pause between two tries to take a lock that another ingestor holds for the length of an append.
pub const LOCK_PAUSE_MIN: Duration = Duration::from_millis(1);
/// See [`LOCK_PAUSE_MIN`].
pub const LOCK_PAUSE_MAX: Duration = Duration::from_millis(100);
/// After so long it is told that somebody holds it, and then every so often.
pub const LOCK_TOLD_FIRST: Duration = Duration::from_secs(5);
/// See [`LOCK_TOLD_FIRST`].
pub const LOCK_TOLD_NEXT: Duration = Duration::from_secs(300);
/// The longest that it is waited for once the process is to stop.
pub const LOCK_STOP_TIME_MAX: Duration = Duration::from_secs(1);
/// Files of the warehouse that are looked for at another path, to tell whether it was moved there.
pub const EVIDENCE_MAX: usize = 16;
/// Rows of a snapshot that are read to find such files.
pub const EVIDENCE_ROWS_MAX: u32 = 1024;
