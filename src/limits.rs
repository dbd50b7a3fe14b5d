//! Every limit of the running ingestor (P6). The journal's own limits are part of its format: `journal::format`.

use std::time::Duration;

/// Files in one batch of the committer, at most. The number of syncs depends on the number of batches, so larger
/// batches are faster, but a crash leaves more half done.
pub const BATCH_FILES_MAX: usize = 2048;
/// Bytes of files in one batch, after which nothing is added. To hash as many bytes again takes longer than the batch's
/// syncs, so a larger batch would not be faster, and a recovery would have to hash more.
pub const BATCH_BYTES_MAX: u64 = 32 << 20;
/// While batches overlap: a batch takes about as long as so many syncs, so that its own few take a tenth of the time. A
/// larger one would only make the first and the last batch longer, which overlap with nothing.
pub const OVERLAP_SYNCS: u32 = 40;
/// What it takes to move a small file, about.
pub const MOVE_TIME: Duration = Duration::from_micros(12);
/// Files in such a batch, at least, and half as many when the next one is planned while the one before is still being
/// published.
pub const OVERLAP_FILES_MIN: usize = 256;
/// A batch of so many files or fewer is published by the committer itself, if nothing is under way: to pass it on would
/// take longer.
pub const ALONE_FILES_MAX: usize = 16;
/// Files that workers have and the committer has not reported yet, at most. Each holds a descriptor and a lease.
pub const IN_FLIGHT_FILES_MAX: usize = 8192;
/// Complete files that wait for a worker: a scan pauses while there are more.
pub const READY_FILES_MAX: usize = 2 * IN_FLIGHT_FILES_MAX;
/// Descriptors that are reserved for other uses than files in flight.
pub const DESCRIPTORS_RESERVED: u64 = 144;
/// Files that travel together from stage to stage, at most.
pub const CHUNK_FILES_MAX: usize = 32;
/// A file of this size or more is not small: it is synced where it is hashed, so that its write-back overlaps other
/// work, and no batch waits for it.
pub const SMALL_BYTES_END: u64 = 1 << 20;
/// How long the committer waits for small files that are being hashed before it takes what it has: about as long as its
/// syncs take. Waiting for files that take longer to hash would only leave it idle.
pub const GATHER_WAIT_MAX: Duration = Duration::from_millis(8);
/// Bytes of small files that travel together, at most. A large file travels alone.
pub const CHUNK_BYTES_MAX: u64 = 1 << 20;
/// Chunks that wait for a worker, at most.
pub const HASH_QUEUE_CHUNKS_MAX: usize = 128;
/// From this size on, a file's DISCOVERED is written before it is hashed.
pub const NOTE_BYTES_MIN: u64 = 16 << 20;
/// Removed kept duplicates in one message to the committer, at most.
pub const KEPT_GONE_BATCH_MAX: usize = 2048;
/// Lines at the beginning of a file that `--csv-skip-rows` skips, at most.
pub const SKIP_ROWS_MAX: u16 = 1000;
/// What each byte of a `.gz` may unpack to, on average. CSV files are compressed to a tenth or a hundredth, and deflate
/// reaches 1 : 1032 with nothing but repetition.
pub const UNPACKED_RATIO_MAX: u64 = 256;
/// What any `.gz` may unpack to, however small it is: that takes about a second.
pub const UNPACKED_FREE_BYTES: u64 = 256 << 20;
/// What a `.gz` may unpack to, however large it is: that takes about an hour.
pub const UNPACKED_BYTES_MAX: u64 = 1 << 40;
/// Gaps between the files in staging that are known, in the order of their arrival, at most, and an eighth of the files: a
/// gap takes as much memory as a file, and to close the gaps costs a look at each file.
pub const GAPS_MAX: usize = 4096;
/// Groups of inotify hints that wait for the scan, at most; a group that does not fit causes a full scan.
pub const HINTS_MAX: usize = 1024;
/// Staged files whose last error is remembered for `explain`, at most.
pub const ERRORS_REMEMBERED_MAX: usize = 1024;
/// Files of each kind (ingested, duplicates, failures, quarantined) that are remembered for the page, at most.
pub const RECENT_EVENTS_MAX: usize = 100;
/// Bytes of the files of one kind that are remembered, at most: with names of the usual length, all of them fit.
pub const RECENT_BYTES_MAX: usize = 512 << 10;
/// Bytes of an error that are remembered, at most.
pub const RECENT_ERROR_BYTES_MAX: usize = 1 << 10;
/// Minutes for which it is remembered what was ingested: an hour, and the one that is not over.
pub const HOUR_MINUTES: usize = 61;
/// Ignored names in staging that are remembered and reported, at most; further ones are only counted.
pub const IGNORED_NAMES_MAX: usize = 4096;
/// With `--once`: how often a staging directory that cannot be read is tried, one scan interval apart.
pub const ONCE_STAGING_TRIES: u32 = 4;
/// Bytes of `--layout` and of `--name-pattern`, at most: the journal records them.
pub const LAYOUT_TEXT_BYTES_MAX: usize = 1024;
/// Directories in a template, at most.
pub const LAYOUT_LEVELS_MAX: usize = 16;
/// Directories between the warehouse and a file, at most.
pub const PARTITION_LEVELS_MAX: usize = 32;
/// Groups, classes and repetitions inside each other in a name pattern, at most.
pub const NAME_PATTERN_NESTING_MAX: u32 = 32;
/// Bytes of a compiled name pattern, at most: a name is matched in a few milliseconds at the worst.
pub const NAME_PATTERN_PROGRAM_BYTES_MAX: usize = 128 << 10;
/// Bytes of all compiled patterns of one `--include` or `--exclude`, at most.
pub const GLOBS_PROGRAM_BYTES_MAX: usize = 10 << 20;
/// Stale entries in a queue of settling files, at most, in addition to one entry per file.
pub const STALE_ENTRIES_MAX: usize = 1024;
/// Originals of duplicates whose content was read and found right, and which are remembered as such, at most.
pub const VERIFIED_ORIGINALS_MAX: usize = 4096;
/// Files in a row that had a further link after their rename, and none before. After so many, the link counts of this
/// file system are wrong, and all files are copied.
pub const LINKED_FILES_MAX: u32 = 3;
/// Members of a group, at most: each holds a descriptor and a lease until all of them are in the warehouse.
pub const GROUP_MEMBERS_MAX: usize = 256;
/// Bytes of the names of a group's members, at most: some of them go into one record and into one line.
pub const GROUP_NAMES_BYTES_MAX: usize = 16 << 10;
/// Bytes of a group file, at most: room for its sums and names, escaped, and as many comments.
pub const GROUP_FILE_BYTES_MAX: usize = 128 << 10;
/// Groups that wait for members and are watched, at most; the group files of further ones are not read before.
pub const GROUPS_WATCHED_MAX: usize = 4096;
/// Missing members of a group that a message names, at most.
pub const GROUP_MISSING_NAMED_MAX: usize = 16;
/// A file that was abandoned so often in a row has failed, and waits longer each time.
pub const ABANDONED_TIMES_MAX: u32 = 3;
/// Files whose number of such failures is remembered, at most.
pub const ABANDONED_REMEMBERED_MAX: usize = 4096;
/// Quiet time after which the journal writes an idle mark.
pub const IDLE_MARK_DELAY: Duration = Duration::from_millis(50);
/// How often the ingestor tries again while the disk is full.
pub const FULL_DISK_RETRY: Duration = Duration::from_secs(1);
/// The longest time after which a file that found no room for its copy is tried again. Each try of a large file writes
/// to the journal, so it must not happen every second for ever.
pub const FULL_DISK_RETRY_MAX: Duration = Duration::from_secs(30);
/// Bytes of full segments that wait to be folded into a snapshot, at least; and at least half as many as the snapshot
/// has, so that the bytes written by compactions stay in proportion to the journal's own.
pub const COMPACTION_BYTES_MIN: u64 = 64 << 20;
/// Contents since the last snapshot, at most, before they are folded into a new one: each takes about 200 bytes of
/// memory, and 5 once it is in a snapshot.
pub const RECENT_CONTENTS_MAX: usize = 1 << 18;
/// Bytes by which the journal grows before a compaction that failed is tried again.
pub const COMPACTION_RETRY_BYTES: u64 = 16 << 20;
/// Up to so many files are synced one by one; for more, one `syncfs` is used, which also waits for the writes of other
/// programs.
pub const FEW_FILES: usize = 4;
/// With quarantine: a file is moved there after its sidecar was found to have another checksum so often. Twice, one scan
/// interval apart: where there are no leases, the file may still have been in transfer.
pub const CHECKSUM_TRIES: u32 = 2;
/// With quarantine: a file is moved there after so many failed reads, with pauses of 1, 2, 4, 8 and 16 seconds.
pub const UNREADABLE_TRIES: u32 = 6;
/// How often the status line for the service manager is updated, if it has changed.
pub const SERVICE_STATUS_INTERVAL: Duration = Duration::from_secs(5);
/// How many times a watched thread turns its loop, at least, within the watchdog's timeout.
pub const WATCHDOG_PARTS: u32 = 8;
/// Sidecars that were seen without their files and are remembered, at most.
pub const ORPHANS_REMEMBERED_MAX: usize = 4096;
/// Sidecars about which a message was logged and is remembered, at most: with more, it is logged again.
pub const SIDECARS_LOGGED_MAX: usize = 4096;
/// If the wall clock was set back by more than this after a sidecar was seen without its file, their times do not prove
/// which of them is older.
pub const CLOCK_SLACK: Duration = Duration::from_secs(1);
/// Names of files that share the sidecars of one batch, at most: with more, these sidecars stay.
pub const BESIDE_NAMES_MAX: usize = 2 * BATCH_FILES_MAX;
/// With `--order`: files that are hashed or wait for an earlier one, at most. Each holds a descriptor and a lease.
pub const ORDERED_FILES_MAX: usize = 1024;
/// With `--order`: the longest that a file found complete between two scans waits for others that belong before it.
pub const ORDERED_ROUND_MAX: Duration = Duration::from_secs(5);
/// With `--order`: bytes of the files that are hashed while an earlier one is on its way, at most. If they are copied, they
/// take that much room beside the warehouse; and a crash leaves them to be hashed again.
pub const ORDERED_BYTES_MAX: u64 = 1 << 30;
/// Hashing threads, at most.
pub const CONCURRENCY_MAX: usize = 256;
/// Bytes of a configuration file, at most: room for every option and as many comments.
pub const CONFIG_BYTES_MAX: usize = 64 << 10;
/// Problems of a configuration file that are reported, at most.
pub const CONFIG_PROBLEMS_MAX: usize = 100;
/// The longest duration that options accept.
pub const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// The longest and the shortest time for which contents are remembered, if not for ever.
pub const REMEMBER_MAX: Duration = Duration::from_secs(1000 * 366 * 24 * 3600);
/// See [`REMEMBER_MAX`].
pub const REMEMBER_MIN: Duration = Duration::from_secs(1);
/// Where inotify reports everything, no scan starts until so many times the last scan's duration have passed: then
/// scans take half a percent of one processor.
pub const SCAN_REST_FACTOR: u32 = 200;
/// The longest such pause.
pub const SCAN_REST_MAX: Duration = Duration::from_secs(600);
/// The shortest time between two scans of the whole directory.
pub const SCAN_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// Files in one answer about what waits, unless the request says how many; and at most: each has a name of up to 4 KiB and
/// a few sentences.
pub const WAITING_PAGE_DEFAULT: usize = 50;
/// See [`WAITING_PAGE_DEFAULT`].
pub const WAITING_PAGE_MAX: usize = 200;
/// Names that the intake looks at for one question about what waits, at most: a tenth of a millisecond.
pub const WAITING_PART_NAMES: usize = 1024;
/// Files in its answer, at most: for each, it may look for the last error and for what its group lacks.
pub const WAITING_PART_ROWS: usize = 32;
/// How long one request goes through the names, with its pauses; then it answers what it has found, and where to go on.
pub const WAITING_WALK_MAX: Duration = Duration::from_millis(400);
/// How long a request waits for its turn while another one goes through the names.
pub const WAITING_LOCK_MAX: Duration = Duration::from_millis(500);
/// Bytes of the text that names are searched for, at most: as long as a file name can be.
pub const WAITING_NAME_BYTES_MAX: usize = 255;
/// Bytes of a host's name that are read, at most (Linux has 64).
pub const HOST_NAME_BYTES_MAX: usize = 256;
/// Columns and rows of a terminal that `status --watch` fills, at most.
pub const WATCH_COLUMNS_MAX: usize = 1000;
/// See [`WATCH_COLUMNS_MAX`].
pub const WATCH_ROWS_MAX: usize = 500;
/// Threads that answer HTTP requests, and thus connections served at a time: a scraper and two probes need three.
pub const HTTP_THREADS: usize = 8;
/// The stack of each of these threads: the buffer for a request, and the functions that handle it.
pub const HTTP_STACK_BYTES: usize = 256 << 10;
/// Bytes of a request's head, at most; that of a scrape has about 300.
pub const HTTP_REQUEST_BYTES_MAX: usize = 8 << 10;
/// Headers of a request, at most.
pub const HTTP_HEADERS_MAX: usize = 64;
/// Time for a request and its answer.
pub const HTTP_REQUEST_TIME_MAX: Duration = Duration::from_secs(5);
/// The same, while all threads are busy: a probe gives up after a second.
pub const HTTP_CROWDED_TIME_MAX: Duration = Duration::from_millis(100);
/// Bytes that are read from a client after its answer was sent.
pub const HTTP_LINGER_BYTES_MAX: usize = 64 << 10;
/// The longest that the end of the process waits for the last write of `--metrics-textfile`.
pub const RECORDER_FINISH_MAX: Duration = Duration::from_secs(5);
/// Manifests whose ends are compared with the journal at a start, newest first; twice as many where a clock was ahead.
pub const OLDER_MANIFESTS_MAX: usize = 24;
/// Manifests older than the newest one by more than this are skipped.
pub const OLDER_SPAN: Duration = Duration::from_secs(7 * 24 * 3600);
/// Bytes of one manifest's end, more than the longest line; the second value applies where these contain only other
/// journals' lines.
pub const OLDER_TAIL_BYTES: [u64; 2] = [1 << 20, 16 << 20];
/// The same for all manifests together: about 150,000 lines.
pub const OLDER_BYTES_MAX: u64 = 64 << 20;
/// Contents that this comparison looks up in the snapshot, at most: each may cost a read of the disk.
pub const OLDER_LOOKUPS_MAX: usize = 256;
/// Journals whose claims on staging directories are read in one manifests directory, at most.
pub const CLAIMS_MAX: usize = 1024;
/// Files that record what `--new-journal` accepted, at most.
pub const OLDER_ACCEPTED_MAX: usize = 16;
/// Bytes of log lines that wait to be written, at most, and as many again that the writer has taken: about 14,000 lines
/// each.
pub const LOG_BUFFER_BYTES_MAX: usize = 4 << 20;
/// Additional bytes for warnings and errors.
pub const LOG_URGENT_BYTES: usize = 256 << 10;
/// Bytes of whole log lines in one write. A pipe without a reader holds 64 KiB.
pub const LOG_WRITE_BYTES_MAX: usize = 16 << 10;
/// The longest that the end of the process waits for one write of its log to return.
pub const LOG_FINISH_STALL_MAX: Duration = Duration::from_secs(2);
/// The longest that the end of the process waits for its log to be written.
pub const LOG_FINISH_TIME_MAX: Duration = Duration::from_secs(10);
/// The longest that a message waits for a service manager that does not read.
pub const SERVICE_SEND_MAX: Duration = Duration::from_secs(2);
/// By default, how long an ingestor may take between a file's arrival in the warehouse and its line, until an audit reports
/// the file: a few syncs of a busy disk, and the wait for the manifests' lock.
pub const GRACE: Duration = Duration::from_secs(30);
/// The longest grace that an audit can be given.
pub const GRACE_MAX: Duration = Duration::from_secs(3600);
/// The shortest and the longest pause between two tries to take a lock that another ingestor holds while it appends.
pub const LOCK_PAUSE_MIN: Duration = Duration::from_millis(1);
/// See [`LOCK_PAUSE_MIN`].
pub const LOCK_PAUSE_MAX: Duration = Duration::from_millis(100);
/// After so long the ingestor logs that the lock is held; [`LOCK_LOGGED_NEXT`] is the interval after that.
pub const LOCK_LOGGED_FIRST: Duration = Duration::from_secs(5);
/// See [`LOCK_LOGGED_FIRST`].
pub const LOCK_LOGGED_NEXT: Duration = Duration::from_secs(300);
/// The longest wait for the lock once the process is to stop.
pub const LOCK_STOP_TIME_MAX: Duration = Duration::from_secs(1);
/// Files of the warehouse that are looked up under another path, at most, to find out whether it was moved there.
pub const EVIDENCE_MAX: usize = 16;
/// Rows of a snapshot that are read to find such files, at most.
pub const EVIDENCE_ROWS_MAX: u32 = 1024;
/// Directories below staging that the committer keeps open during a batch, at most.
pub const STAGED_DIRS_OPEN_MAX: usize = 16;
/// `--max-depth`, at most, and levels of directories below staging that anything descends.
pub const TREE_DEPTH_MAX: u16 = 64;
/// Directories below staging that wait for the scan to list them, at most.
pub const DIRS_PENDING_MAX: usize = 1 << 20;
/// Directories that inotify reported and that wait to be listed, at most; with more, a scan finds them.
pub const NEWS_DIRS_MAX: usize = 1 << 16;
/// Directories that cannot be read and are remembered, at most.
pub const UNREAD_DIRS_MAX: usize = 1024;
/// Directories in quarantine that a start searches for unfinished reasons, at most: that takes about a second.
pub const QUARANTINE_DIRS_MAX: usize = 1 << 16;
/// Claims in one entry of a lake, and thus files in one pack, at most.
pub const LAKE_CLAIMS_MAX: usize = 2048;
/// Bytes of files in one batch for a lake, after which nothing is added. Requests take longer than syncs, so it is larger than
/// [`BATCH_BYTES_MAX`]: so many parts are under way before the entry is made.
pub const LAKE_BATCH_BYTES_MAX: u64 = 256 << 20;
/// Bytes of a content that goes into a pack, at most; a larger one is uploaded in parts.
pub const LAKE_PACKED_FILE_BYTES_MAX: u64 = 8 << 20;
/// Bytes of a content of a lake, at most: the limit of S3.
pub const LAKE_FILE_BYTES_MAX: u64 = 5 << 40;
/// Bytes of a part of an upload; more only where a content would have more than [`LAKE_PARTS_MAX`] of them.
pub const LAKE_PART_BYTES: u64 = 16 << 20;
/// Parts that are put at once, at most.
pub const LAKE_PARTS_IN_FLIGHT: usize = 4;
/// Bytes of all parts that are put at once, at most; a single part may be larger.
pub const LAKE_PARTS_BYTES_MAX: u64 = 64 << 20;
/// Bytes that are read at once to compute the checksums of parts.
pub const LAKE_HASH_CHUNK_BYTES: usize = 1 << 20;
/// Uploads into which parts are put in turn, at most.
pub const LAKE_UPLOADS_MAX: usize = 16;
/// So long parts are put before small files, and entries of others, have their turn.
pub const LAKE_UPLOAD_SLICE: Duration = Duration::from_secs(5);
/// An upload that was begun so long ago does not go on after a start. Some stores remove one after a week without new parts,
/// and an entry that names it could not be finished.
pub const LAKE_UPLOAD_AGE_MAX: Duration = Duration::from_secs(3 * 24 * 3600);
/// Requests of a host that are under way at once, at most: creates of data objects.
pub const LAKE_IN_FLIGHT: usize = 64;
/// The time between two looks of a host for contents that its lake is to forget.
pub const LAKE_FORGET_INTERVAL: Duration = Duration::from_secs(3600);
/// Entries that are read at once, at most: each may have [`LAKE_ENTRY_BYTES_MAX`].
pub const LAKE_READ_AHEAD: u64 = 8;
/// After so many entries in a row a host looks for the end of the log, to read several at once.
pub const LAKE_BACKLOG: u64 = 4;
/// Bytes of one pack, at most.
pub const LAKE_PACK_BYTES_MAX: u64 = 64 << 20;
/// Bytes of one entry, at most: its claims with their manifest lines.
pub const LAKE_ENTRY_BYTES_MAX: usize = 8 << 20;
/// Packs that one entry names, at most. A batch after a restart may use those of the process before.
pub const LAKE_ENTRY_PACKS_MAX: usize = 16;
/// Contents that one entry forgets by name, at most.
pub const LAKE_FORGET_MAX: usize = 1 << 16;
/// Bytes of the last part of a data object's key, at most.
pub const LAKE_NAME_BYTES_MAX: usize = 200;
/// Bytes of a key below the warehouse or the manifests, at most. Stores take 1,024, with the prefix.
pub const LAKE_KEY_BYTES_MAX: usize = 700;
/// Bytes of an extension that stays at the end of a key; a longer one counts as part of the name.
pub const LAKE_EXTENSION_BYTES_MAX: usize = 48;
/// Bytes of an upload's id, at most. Ceph's have 34, those of S3 up to some 200.
pub const LAKE_UPLOAD_ID_BYTES_MAX: usize = 1024;
/// Bytes of a part's name, at most.
pub const LAKE_ETAG_BYTES_MAX: usize = 256;
/// Parts of an upload, at most: the limit of S3.
pub const LAKE_PARTS_MAX: usize = 10_000;
/// Contents of one shard, at most.
pub const LAKE_CONTENTS_MAX: usize = 1 << 31;
/// Contents of a shard that were claimed last and are kept in a larger form, at most.
pub const LAKE_CONTENTS_LATER_MAX: usize = 1 << 15;
/// Contents in a piece of a checkpoint, on average at most: some 2 MB.
pub const LAKE_CHECKPOINT_ROWS: usize = 1 << 17;
/// Pieces of a checkpoint that are read at once.
pub const LAKE_CHECKPOINT_PIECES_AT_ONCE: usize = 2;
/// Checkpoints of a shard that stay when older ones are removed.
pub const LAKE_CHECKPOINTS_KEPT: usize = 4;
/// Pages of a listing of what can be removed, at most; the rest comes the next time.
pub const LAKE_CLEAN_PAGES_MAX: usize = 100;
/// Checkpoints that a host looks at when it starts, at most: the newest that it can read counts.
pub const LAKE_CHECKPOINTS_TRIED_MAX: usize = 4;
/// So many tries in a row fail before a store counts as away.
pub const LAKE_AWAY_FAILURES: u32 = 2;
/// Pages of a listing of checkpoints, at most.
pub const LAKE_CHECKPOINT_PAGES_MAX: usize = 1000;
/// Entries from one checkpoint of a shard to the next, in a new lake, at most.
pub const LAKE_CHECKPOINT_ENTRIES: u32 = 1024;
/// Where entries are large, a shard has further checkpoints, at multiples of this number.
pub const LAKE_CHECKPOINT_STEP: u64 = 64;
/// Bytes of entries from one checkpoint to the next, before that, or as many as a checkpoint has: what a start reads.
pub const LAKE_CHECKPOINT_APART_BYTES: u64 = 32 << 20;
/// Shards of a lake, at most.
pub const LAKE_SHARDS_MAX: u16 = 256;
/// Entries of one shard, at most: a number fits in four bytes, and a line's id, with shard and place, in 53 bits, as JSON
/// readers need. At one entry a second they last 136 years.
pub const LAKE_ENTRIES_MAX: u64 = 1 << 32;
/// Tries of one request that found no answer, until the caller gives up for now.
pub const LAKE_TRIES_MAX: u32 = 4;
/// The pause after the first of them; it doubles each time.
pub const LAKE_TRY_PAUSE: Duration = Duration::from_millis(200);
/// So long another host's entry may be unfinished, from when this host read it, until this host finishes it.
pub const LAKE_PATIENCE: Duration = Duration::from_secs(60);
/// Unfinished entries of a shard with which nobody appends a further one, at most; the oldest is helped at once then.
pub const LAKE_UNFINISHED_MAX: usize = 64;
/// The pause after the first try to finish an entry that failed; it doubles each time, up to the next.
pub const LAKE_RETRY_MIN: Duration = Duration::from_secs(1);
/// See [`LAKE_RETRY_MIN`].
pub const LAKE_RETRY_MAX: Duration = Duration::from_secs(300);
/// How long a host counts as active after its last entry.
pub const LAKE_ACTIVE_FOR: Duration = Duration::from_secs(60);
/// Hosts whose activity is followed, at most.
pub const LAKE_PACED_WRITERS_MAX: usize = 1024;
/// The shortest and the longest time between two entries of a host in one shard, while it is busy.
pub const LAKE_ENTRY_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// See [`LAKE_ENTRY_INTERVAL_MIN`].
pub const LAKE_ENTRY_INTERVAL_MAX: Duration = Duration::from_secs(60);
/// The first and the longest pause of an idle host between two reads of the log.
pub const LAKE_IDLE_READ_MIN: Duration = Duration::from_secs(5);
/// See [`LAKE_IDLE_READ_MIN`].
pub const LAKE_IDLE_READ_MAX: Duration = Duration::from_secs(300);
/// How often a probe lets requests race for a key.
pub const LAKE_PROBE_ROUNDS: usize = 8;
/// How many of them at the same time.
pub const LAKE_PROBE_ROUNDS_AT_ONCE: usize = 8;
/// How often each of these rounds is tried, if answers are lost.
pub const LAKE_PROBE_TRIES_MAX: u32 = 4;
/// The least time between two looks of an idle host at what is due.
pub const LAKE_TURN_MIN: Duration = Duration::from_millis(200);
/// How long a run that ends by itself waits for a store until it answers, and for entries of others until they are finished.
pub const LAKE_AWAY_MAX: Duration = Duration::from_secs(300);
/// How often a read of a store is tried before its caller hears of the error.
pub const STORE_READ_TRIES_MAX: u32 = 4;
/// Pages of a listing of a lake that are read, at most: objects of a warehouse, some 1,000 on each.
pub const LAKE_LISTED_PAGES_MAX: usize = 10_000_000;
/// Requests at once with which a probe races.
pub const LAKE_PROBE_HANDLES: usize = 16;
/// Newest entries of a shard that `lake status` reads: the hosts that wrote them are shown.
pub const LAKE_IN_SIGHT: u64 = 32;
/// Requests at once while a lake is looked at or audited.
pub const LAKE_LOOKS_AT_ONCE: usize = 32;
/// Bytes of a data object that an audit reads with one request.
pub const LAKE_READ_BYTES: u64 = 8 << 20;
/// Objects that no entry names, as far as the log was read: so many are gathered before the newest entries are read.
pub const LAKE_SUSPECTS_MAX: usize = 10_000;
/// How long the hosts of a lake may take to finish an entry, by default: their patience with each other, and then some.
pub const LAKE_GRACE: Duration = Duration::from_secs(300);
/// Until a connection to an object store is there, with TLS.
pub const STORE_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A request to an object store and its answer, without their bodies.
pub const STORE_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A body travels at this rate at least, or its request is given up.
pub const STORE_BYTES_PER_SECOND_MIN: u64 = 512 << 10;
/// How long a connection without a request is kept.
pub const STORE_IDLE_CONNECTION: Duration = Duration::from_secs(50);
/// Connections without a request that are kept for one store, at most.
pub const STORE_IDLE_CONNECTIONS_MAX: usize = 64;
/// Bytes of an object that is read as a whole, at most.
pub const STORE_OBJECT_BYTES_MAX: u64 = 1 << 30;
/// Keys of one listing, at most.
pub const STORE_LISTED_MAX: usize = 1000;
/// Pages of one list of parts, at most; stores have 1,000 parts on a page and allow 10,000.
pub const STORE_PART_PAGES_MAX: usize = 64;
/// Bytes of a store's own words in an error, at most.
pub const STORE_DETAIL_BYTES_MAX: usize = 400;
/// Bytes of a file with certificates of authorities, at most.
pub const STORE_CA_BYTES_MAX: usize = 4 << 20;
/// Bytes that a store in a directory reads at once.
pub const STORE_CHUNK_BYTES: usize = 256 << 10;
/// Age of a temporary file, in a directory that is a store, from which on nobody can be at work on it.
pub const STORE_LEFTOVER_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// From here on, a start warns that the store's clock differs from this host's.
pub const LAKE_SKEW_WARNED: Duration = Duration::from_secs(60);
/// From here on, a start refuses: partitions would be those of another time.
pub const LAKE_SKEW_MAX: Duration = Duration::from_secs(300);
/// What `lake clean` leaves alone, by default: younger objects.
pub const LAKE_CLEAN_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Entries in one file of the index of lines: 1 MiB.
pub const LINE_INDEX_ENTRIES_MAX: u64 = (1 << 15) - 1;
/// Entries of it that are read at once.
pub const LINE_INDEX_ENTRIES_READ: u64 = 1024;
/// Manifests that a start reads, at most, to mend the index of lines: the newest.
pub const LINE_INDEX_HOURS_MAX: usize = 72;
/// Bytes of a manifest that a follower reads at once.
pub const FOLLOW_READ_BYTES: usize = 256 << 10;
/// How often a follower looks for journals that are new, and for lines that are not in the index.
pub const FOLLOW_LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// How often a follower looks for an index while it knows no journal at all.
pub const FOLLOW_FIRST_LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// How long lines may be missing between others, where no index says that they were durable, before they count as gone: the
/// next start of a crashed ingestor writes them.
pub const FOLLOW_GAP_PATIENCE: Duration = Duration::from_secs(60);
/// The shortest and the longest pause of a follower between two looks at the ends of a lake's logs.
pub const FOLLOW_LAKE_PAUSE_MIN: Duration = Duration::from_secs(1);
/// See [`FOLLOW_LAKE_PAUSE_MIN`].
pub const FOLLOW_LAKE_PAUSE_MAX: Duration = Duration::from_secs(30);
/// How often in a row a follower waits for a store that is away, before it ends: about ten minutes.
pub const FOLLOW_LAKE_FAILURES_MAX: u32 = 24;
/// Journals, or shards of a lake, whose lines are followed at once, at most: a cursor names each of them.
pub const FOLLOW_STREAMS_MAX: usize = 256;
/// Bytes of a consumer's name, at most.
pub const FOLLOW_CONSUMER_BYTES_MAX: usize = 64;
/// Consumers with positions in one directory, at most: each is a series of the metrics.
pub const FOLLOW_CONSUMERS_MAX: usize = 64;
/// Bytes of a consumer's position, at most: a cursor of [`FOLLOW_STREAMS_MAX`] streams, and the rest.
pub const FOLLOW_POSITION_BYTES_MAX: usize = 32 << 10;
/// How long another process may take to store a consumer's position, until `--ack` gives up.
pub const FOLLOW_ACK_WAIT_MAX: Duration = Duration::from_secs(5);
/// Lines that are passed on at once, at most: `--batch`.
pub const FOLLOW_BATCH_MAX: usize = 10_000;
/// Lines that a command or a webhook gets at once, by default.
pub const FOLLOW_BATCH: usize = 100;
/// Bytes of lines in one batch, after which nothing is added; a group is never cut.
pub const FOLLOW_BATCH_BYTES: usize = 8 << 20;
/// The same for a webhook: servers limit what they take, and 1 MB is a usual limit.
pub const FOLLOW_WEBHOOK_BYTES: usize = 512 << 10;
/// Lines that are read at once to be printed.
pub const FOLLOW_PRINT_LINES: usize = 4096;
/// Bytes of printed lines that are written at once.
pub const FOLLOW_PRINT_BYTES: usize = 256 << 10;
/// How long printing waits for a reader that takes nothing, once the process is to stop.
pub const FOLLOW_PRINT_STOP_MAX: Duration = Duration::from_secs(2);
/// How long a look for new lines waits at most: then the process looks whether it is to stop.
pub const FOLLOW_WAIT_MAX: Duration = Duration::from_millis(500);
/// How often a process that waits for something else looks whether it is to stop.
pub const FOLLOW_STOP_LOOK: Duration = Duration::from_millis(50);
/// How long a command or a webhook may take for a batch, by default.
pub const FOLLOW_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a command may take to end after SIGTERM, until SIGKILL.
pub const FOLLOW_KILL_AFTER: Duration = Duration::from_secs(10);
/// The pause after the first attempt to deliver a batch that failed; it doubles each time, up to the next.
pub const FOLLOW_RETRY_MIN: Duration = Duration::from_secs(1);
/// See [`FOLLOW_RETRY_MIN`].
pub const FOLLOW_RETRY_MAX: Duration = Duration::from_secs(300);
/// The longest pause that a webhook can ask for (`Retry-After`).
pub const FOLLOW_RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// Bytes of an error that the log and the dead letters have, at most.
pub const FOLLOW_ERROR_BYTES_MAX: usize = 400;
/// Bytes of a webhook's answer that are read, at most.
pub const FOLLOW_ANSWER_BYTES_MAX: usize = 64 << 10;
/// Bytes of a webhook's answer that an error has, at most.
pub const FOLLOW_ANSWER_SHOWN_BYTES: usize = 200;
/// Bytes of the type of a webhook's events, at most: `--event-type`.
pub const FOLLOW_EVENT_TYPE_BYTES_MAX: usize = 256;
/// Bytes of the file with a webhook's secrets, at most.
pub const FOLLOW_SECRET_FILE_BYTES_MAX: usize = 4096;
/// Secrets in that file, at most: the present one, and those before it that receivers may still know.
pub const FOLLOW_SECRETS_MAX: usize = 4;
/// True in builds for tests: there, an invariant that does not hold is a panic. What is released aborts on a panic, and tests
/// never do: hence the condition. `debug_assertions` would also turn on what the standard library checks, which is slow.
pub const IS_CHECKED: bool = cfg!(panic = "unwind");
