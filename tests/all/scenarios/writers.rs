//! Writers that size and mtime do not show: idle with the file open, or starting at the wrong moment.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};

use super::super::harness::{Place, csv, wait_until};
use super::{QUICK, assert_contents, stdout, stop, wait_until_taken};

/// A writer that pauses for longer than the window with its file open: only the lease shows it. After the close, the whole
/// file is ingested.
#[test]
fn an_open_file_is_held_back_until_it_is_closed() {
    let place = Place::new();
    let daemon = place.start(QUICK);
    daemon.wait_started();
    let path = place.staging.join("open.csv");
    let mut writer = File::create(&path).unwrap();
    let content = csv(1, 20_000);
    writer.write_all(&content[..9_000]).unwrap();
    for seed in 2..5 {
        // The window of each begins when that of the one before has ended.
        place.stage(format!("{seed}.csv"), csv(seed, 1000));
        daemon.wait_for("file_ingested", seed as usize - 1);
    }
    assert_eq!(place.staged_names(), ["open.csv"]);
    assert_eq!(place.warehouse_files().len(), 3);
    writer.write_all(&content[9_000..]).unwrap();
    drop(writer);
    daemon.wait_for("file_ingested", 4);
    stop(daemon);
    assert_contents(&place, (2..5).map(|seed| csv(seed, 1000)).chain([content]));
    assert_eq!(place.check_consistent(), 4);
}

/// The same without a window, with only the lease; and `--once` reports why it left the file.
#[test]
fn once_leaves_an_open_file_and_says_why() {
    let place = Place::new();
    let path = place.stage("open.csv", csv(1, 1000));
    place.stage("other.csv", csv(2, 1000));
    let writer = OpenOptions::new().append(true).open(&path).unwrap();
    let output = place.once_ok(&[]);
    assert_eq!(stdout(&output), format!("WAITING: {} (open for writing)\n", path.display()));
    assert_eq!(place.staged_names(), ["open.csv"]);
    drop(writer);
    assert_eq!(stdout(&place.once_ok(&[])), "");
    assert_eq!(place.check_consistent(), 2);
    assert!(place.staged_names().is_empty());
}

/// A file that another process has open for reading is ingested.
#[test]
fn a_reader_does_not_hold_a_file_back() {
    let place = Place::new();
    let reader = File::open(place.stage("read.csv", csv(1, 1000))).unwrap();
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 1);
    drop(reader);
}

const LARGE_BYTES: u64 = 256 << 20;

/// Opens a large file for appending while it is being hashed (or copied), and writes to it.
///
/// The kernel makes the writer wait for the lease. When the writer continues, the file still has its name in staging, and
/// its new bytes are ingested with the rest; or the file was ingested already, and the open fails. The writer's bytes never
/// get into the file in the warehouse.
fn a_writer_comes_while_a_file_is_read(place: &Place) {
    let name = place.staging.join("large.csv");
    let hidden = place.staging.join(".large");
    let mut large = File::create(&hidden).unwrap();
    large.write_all(&csv(1, 10_000)).unwrap();
    // Mostly a hole: quick to create, and as slow to hash as any other.
    large.set_len(LARGE_BYTES).unwrap();
    drop(large);
    let daemon = place.start(&["--stability-seconds", "0", "--scan-interval", "50ms"]);
    daemon.wait_started();
    std::fs::rename(&hidden, &name).unwrap();
    // A large file's DISCOVERED is in the journal while it is being hashed.
    wait_until("the large file to be discovered", || !place.inspect().is_empty());
    let grown = match OpenOptions::new().append(true).open(&name) {
        Ok(mut writer) => {
            writer.write_all(b"the last row\n").unwrap();
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::NotFound);
            eprintln!("the writer came too late");
            false
        }
    };
    wait_until_taken(place);
    stop(daemon);
    let expected = LARGE_BYTES + if grown { b"the last row\n".len() as u64 } else { 0 };
    let files = place.warehouse_files();
    let sizes: Vec<usize> = files.values().map(Vec::len).collect();
    assert_eq!(sizes, [usize::try_from(expected).unwrap()]);
    assert_eq!(grown, files.values().all(|content| content.ends_with(b"the last row\n")));
    drop(files);
    assert_eq!(place.check_consistent(), 1);
}

/// Where files are renamed: the file is put back into staging if a writer waits for it.
#[test]
fn a_writer_that_comes_while_a_file_is_hashed_loses_nothing() {
    a_writer_comes_while_a_file_is_read(&Place::new());
}

/// Where files are copied: the copy is removed.
#[test]
fn a_writer_that_comes_while_a_file_is_copied_loses_nothing() {
    let Some((place, _other)) = Place::across_file_systems() else { return };
    a_writer_comes_while_a_file_is_read(&place);
    assert!(super::leftover_copies(&place.warehouse).is_empty());
}

/// A file that is replaced by rename while the first one is being hashed: both are ingested, neither is lost.
#[test]
fn a_file_that_is_replaced_while_it_is_hashed() {
    for (place, _other) in
        [Some((Place::new(), None)), Place::across_file_systems().map(|(place, other)| (place, Some(other)))]
            .into_iter()
            .flatten()
    {
        let name = place.staging.join("large.csv");
        let large = place.staging.join(".large");
        std::fs::write(&large, csv(1, 10_000)).unwrap();
        OpenOptions::new().write(true).open(&large).unwrap().set_len(LARGE_BYTES / 4).unwrap();
        let next = place.stage(".next", csv(2, 1000));
        let daemon = place.start(&["--stability-seconds", "0", "--scan-interval", "50ms"]);
        daemon.wait_started();
        std::fs::rename(&large, &name).unwrap();
        wait_until("the large file to be discovered", || !place.inspect().is_empty());
        std::fs::rename(&next, &name).unwrap();
        wait_until_taken(&place);
        stop(daemon);
        let contents: Vec<Vec<u8>> = place.warehouse_files().into_values().collect();
        assert!(contents.contains(&csv(2, 1000)), "the successor was lost");
        // The first file was either ingested before it was replaced, or is gone like any replaced file.
        assert_eq!(place.check_consistent(), contents.len());
    }
}
