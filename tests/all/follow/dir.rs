//! Lines from directories of manifests.

use std::path::Path;

use csv_ingestor::follow::{Error, Source as _};

use super::manifests::{Manifests, ONE, OTHER, ROOT, all, batch, cursor_of, hour, line, of_one, pass};

/// A large file's line goes to an earlier hour than the one before it.
#[test]
fn lines_come_in_the_order_of_their_numbers() {
    let mut manifests = Manifests::new();
    manifests.add(500_000, ONE, 1..=4);
    manifests.add(500_001, ONE, 5..=9);
    manifests.add(500_000, ONE, 10..=10);
    manifests.add(500_001, ONE, 11..=12);
    let mut dir = manifests.follow("beginning");
    assert_eq!(all(&mut dir).unwrap(), of_one(1..=12));
    assert_eq!(*dir.cursor(), cursor_of(&[(ONE, 12)]));
    // What comes later is found by the same follower, and by one that goes on.
    manifests.add(499_999, ONE, 13..=13);
    manifests.add(500_002, ONE, 14..=20);
    assert_eq!(all(&mut dir).unwrap(), of_one(13..=20));
    for passed in 1..20 {
        let mut dir = manifests.follow(&cursor_of(&[(ONE, passed)]).to_string());
        assert_eq!(all(&mut dir).unwrap(), of_one(passed + 1..=20), "from {passed}");
    }
    assert_eq!(dir.newest().unwrap(), cursor_of(&[(ONE, 20)]));
}

#[test]
fn without_an_index_all_manifests_are_read() {
    let mut manifests = Manifests::new();
    manifests.write(500_000, ONE, 1..=3);
    manifests.write(500_001, ONE, 4..=9);
    manifests.write(500_000, ONE, 10..=10);
    let mut dir = manifests.follow(&cursor_of(&[(ONE, 2)]).to_string());
    assert_eq!(all(&mut dir).unwrap(), of_one(3..=10));
    manifests.write(500_001, ONE, 11..=11);
    manifests.write(500_002, OTHER, 1..=2);
    pass(&manifests.fs, 3);
    assert_eq!(all(&mut dir).unwrap(), [(1, 11), (2, 1), (2, 2)]);
    // An index that begins later, and lacks what was written meanwhile.
    manifests.add(500_002, ONE, 12..=13);
    manifests.write(500_002, ONE, 14..=14);
    for cursor in ["beginning".to_owned(), cursor_of(&[(ONE, 12), (OTHER, 2)]).to_string()] {
        let mut dir = manifests.follow(&cursor);
        let mut found = all(&mut dir).unwrap();
        pass(&manifests.fs, 3);
        found.extend(all(&mut dir).unwrap());
        found.retain(|(journal, _)| *journal == 1);
        assert_eq!(found.last(), Some(&(1, 14)), "{cursor}");
        assert_eq!(found, of_one(found[0].1..=14));
    }
}

#[test]
fn journals_that_share_the_manifests_are_mixed_and_none_is_forgotten() {
    let mut manifests = Manifests::new();
    manifests.add(500_000, ONE, 1..=2);
    let mut dir = manifests.follow("beginning");
    assert_eq!(all(&mut dir).unwrap(), of_one(1..=2));
    // A batch of one, with lines of the other between its own.
    let offset = manifests.write(500_000, OTHER, 1..=1);
    manifests.write(500_000, ONE, 3..=3);
    manifests.write(500_000, OTHER, 2..=2);
    manifests.index(500_000, OTHER, 1..=2, offset);
    manifests.index(500_000, ONE, 3..=3, offset);
    let mut found = all(&mut dir).unwrap();
    pass(&manifests.fs, 3);
    found.extend(all(&mut dir).unwrap());
    found.sort_unstable();
    assert_eq!(found, [(1, 3), (2, 1), (2, 2)]);
    assert_eq!(*dir.cursor(), cursor_of(&[(ONE, 3), (OTHER, 2)]));
}

#[test]
fn half_a_line_is_none_and_zeros_are_passed_over() {
    let mut manifests = Manifests::new();
    manifests.add(500_000, ONE, 1..=1);
    let whole = line(ONE, 2, "");
    manifests.append(500_000, &whole[..20]);
    let mut dir = manifests.follow("beginning");
    assert_eq!(all(&mut dir).unwrap(), of_one(1..=1));
    manifests.append(500_000, &whole[20..]);
    pass(&manifests.fs, 3);
    assert_eq!(all(&mut dir).unwrap(), []);
    let offset = manifests.append(500_000, "\n\0\0\0\0\n");
    manifests.index(500_000, ONE, 2..=2, offset - whole.len() as u64);
    manifests.add(500_000, ONE, 3..=3);
    assert_eq!(all(&mut dir).unwrap(), of_one(2..=3));
}

/// A power cut has taken a line out of a batch, and the next start has written it behind the others.
#[test]
fn a_line_that_is_elsewhere_comes_in_its_turn() {
    let mut manifests = Manifests::new();
    let offset = manifests.write(500_000, ONE, 1..=1);
    manifests.append(500_000, &format!("{}\n", "\0".repeat(80)));
    manifests.write(500_000, ONE, 3..=4);
    manifests.write(500_000, ONE, 2..=2);
    manifests.index(500_000, ONE, 1..=4, offset);
    manifests.add(500_000, ONE, 5..=6);
    assert_eq!(all(&mut manifests.follow("beginning")).unwrap(), of_one(1..=6));
}

/// An index is a hint: whatever it says, the lines are the same.
#[test]
fn a_wrong_index_costs_time_only() {
    for damage in 0..6 {
        let mut manifests = Manifests::new();
        manifests.add(500_000, ONE, 1..=4);
        manifests.add(500_001, ONE, 5..=9);
        manifests.add(500_000, ONE, 10..=12);
        let index = Path::new(ROOT).join(".csv-ingestor/lines").join("01".repeat(16)).join(format!("{:020}.idx", 1));
        let mut upstream = manifests.fs.upstream();
        let mut bytes = upstream.read(&index).unwrap();
        assert_eq!(bytes.len(), 4 * 32);
        match damage {
            0 => bytes[70] ^= 1,
            1 => bytes.truncate(100),
            2 => bytes[96..].fill(0),
            3 => bytes[..8].fill(0),
            4 => bytes.clear(),
            _ => bytes[32..].fill(0xff),
        }
        upstream.write(&index, &bytes).unwrap();
        let mut dir = manifests.follow("beginning");
        let mut found = all(&mut dir).unwrap();
        for _ in 0..2 {
            pass(&manifests.fs, 3);
            found.extend(all(&mut dir).unwrap());
        }
        assert_eq!(found, of_one(1..=12), "damage {damage}");
    }
    // Entries that lead elsewhere.
    let mut manifests = Manifests::new();
    let offset = manifests.write(500_000, ONE, 1..=4);
    manifests.index(500_001, ONE, 1..=2, offset);
    manifests.index(500_000, ONE, 3..=4, offset + 5_000);
    assert_eq!(all(&mut manifests.follow("beginning")).unwrap(), of_one(1..=4));
}

#[test]
fn lines_that_are_gone_are_named_and_can_be_passed_over() {
    let mut manifests = Manifests::new();
    manifests.add(500_000, ONE, 1..=4);
    manifests.add(500_001, ONE, 5..=9);
    manifests.add(500_002, ONE, 10..=12);
    let remove = |at: u32| manifests.fs.upstream().remove(hour(at)).unwrap();
    remove(500_000);
    let gone = |dir: &mut _| match all(dir) {
        Err(Error::Gone(gone)) => *gone,
        other => panic!("{other:?}"),
    };
    let mut dir = manifests.follow(&cursor_of(&[(ONE, 2)]).to_string());
    let said = gone(&mut dir);
    assert_eq!((said.from, said.to), (3, 4));
    assert!(said.why.contains("manifest.jsonl is not there: it was removed"), "{}", said.why);
    assert_eq!(said.go_on, cursor_of(&[(ONE, 4)]));
    assert_eq!(all(&mut manifests.follow(&said.go_on.to_string())).unwrap(), of_one(5..=12));
    // Compressed, and all of them.
    remove(500_001);
    manifests.fs.upstream().write(hour(500_001).with_extension("jsonl.gz"), b"x").unwrap();
    let said = gone(&mut manifests.follow("beginning"));
    assert_eq!((said.from, said.to), (1, 9));
    remove(500_002);
    let said = gone(&mut manifests.follow(&cursor_of(&[(ONE, 6)]).to_string()));
    assert_eq!((said.from, said.to), (7, 12));
    assert!(said.why.contains("manifest.jsonl.gz beside it is"), "{}", said.why);
    assert_eq!(all(&mut manifests.follow(&said.go_on.to_string())).unwrap(), []);
}

/// After a power cut, a batch may lack lines between others until the ingestor starts again.
#[test]
fn a_gap_that_no_index_explains_is_waited_for() {
    let mut manifests = Manifests::new();
    manifests.add(500_000, ONE, 1..=2);
    manifests.write(500_000, ONE, 4..=5);
    let mut dir = manifests.follow("beginning");
    assert_eq!(all(&mut dir).unwrap(), of_one(1..=2));
    for _ in 0..8 {
        pass(&manifests.fs, 3);
        assert_eq!(all(&mut dir).unwrap(), []);
    }
    manifests.write(500_000, ONE, 3..=3);
    pass(&manifests.fs, 3);
    assert_eq!(all(&mut dir).unwrap(), of_one(3..=5));
    manifests.write(500_000, ONE, 9..=9);
    let ended = (0..60).find_map(|_| {
        pass(&manifests.fs, 3);
        all(&mut dir).err()
    });
    let Some(Error::Gone(said)) = ended else { panic!("{ended:?}") };
    assert_eq!((said.from, said.to), (6, 8));
}

#[test]
fn the_lines_of_a_group_come_together() {
    let mut manifests = Manifests::new();
    let of = |seq: u64, group: &str, size: usize| {
        line(ONE, seq, &format!(r#","group":"{group}","group_size":{size}"#)) + "\n"
    };
    let first = [line(ONE, 1, "") + "\n", of(2, "a", 3), of(3, "a", 3), of(4, "a", 3), of(5, "b", 2), of(6, "b", 2)];
    let offset = manifests.append(500_000, &first.concat());
    manifests.index(500_000, ONE, 1..=6, offset);
    let mut dir = manifests.follow("beginning");
    assert_eq!(batch(&mut dir, 2).unwrap(), of_one(1..=1));
    assert_eq!(batch(&mut dir, 2).unwrap(), of_one(2..=4), "larger than the batch");
    assert_eq!(batch(&mut dir, 3).unwrap(), of_one(5..=6));
    assert_eq!(batch(&mut manifests.follow("beginning"), 5).unwrap(), of_one(1..=4));
    // Without an index, it is waited for until all of them are there.
    let manifests = Manifests::new();
    manifests.append(500_000, &[of(1, "a", 3), of(2, "a", 3)].concat());
    let mut dir = manifests.follow("beginning");
    assert_eq!(all(&mut dir).unwrap(), []);
    manifests.append(500_000, &of(3, "a", 3));
    pass(&manifests.fs, 3);
    assert_eq!(batch(&mut dir, 1).unwrap(), of_one(1..=3));
}

/// Whatever fails in a batch comes again.
#[test]
fn what_was_not_taken_comes_again() {
    let mut manifests = Manifests::new();
    manifests.add(500_000, ONE, 1..=5);
    let mut dir = manifests.follow("beginning");
    let failed = dir.read(10, &mut |line| match line.number {
        3 => Err(Error::Consumer("full".to_owned())),
        _ => Ok(()),
    });
    assert!(failed.is_err());
    assert_eq!(*dir.cursor(), cursor_of(&[(ONE, 2)]));
    assert_eq!(all(&mut dir).unwrap(), of_one(3..=5));
    assert_eq!(*dir.cursor(), cursor_of(&[(ONE, 5)]));
}

/// A batch is seen while it is being written, and the batches of the consumer are small.
#[test]
fn a_group_that_is_seen_in_parts_comes_when_it_is_whole() {
    let manifests = Manifests::new();
    let of = |seq: u64| line(ONE, seq, r#","group":"a","group_size":3"#) + "\n";
    manifests.append(500_000, &[line(ONE, 1, "") + "\n", of(2), of(3)].concat());
    let mut dir = manifests.follow("beginning");
    assert_eq!(batch(&mut dir, 1).unwrap(), of_one(1..=1));
    pass(&manifests.fs, 3);
    assert_eq!(batch(&mut dir, 1).unwrap(), []);
    manifests.append(500_000, &(of(4) + &line(ONE, 5, "") + "\n"));
    pass(&manifests.fs, 3);
    assert_eq!(batch(&mut dir, 1).unwrap(), of_one(2..=4));
    assert_eq!(batch(&mut dir, 1).unwrap(), of_one(5..=5));
    // The same, and the rest is seen before the line in front of the group has come.
    let manifests = Manifests::new();
    manifests.append(500_000, &[line(ONE, 1, "") + "\n", of(2), of(3)].concat());
    let mut dir = manifests.follow("beginning");
    manifests.append(500_000, &of(4));
    assert_eq!(batch(&mut dir, 1).unwrap(), of_one(1..=1));
    for _ in 0..3 {
        pass(&manifests.fs, 3);
        let found = batch(&mut dir, 1).unwrap();
        if !found.is_empty() {
            return assert_eq!(found, of_one(2..=4));
        }
    }
    panic!("the group does not come");
}

/// A reader may see any beginning of a batch.
#[test]
fn half_a_line_that_was_seen_comes_when_it_is_whole() {
    let manifests = Manifests::new();
    let whole = line(ONE, 1, "") + "\n";
    manifests.append(500_000, &whole[..30]);
    let mut dir = manifests.follow("beginning");
    assert_eq!(all(&mut dir).unwrap(), []);
    manifests.append(500_000, &whole[30..]);
    pass(&manifests.fs, 3);
    assert_eq!(all(&mut dir).unwrap(), of_one(1..=1));
}

/// Another program writes behind what a killed ingestor has left of a line. Why: a line that had its number, and the other
/// program's text at its end, was passed on.
#[test]
fn half_a_line_that_another_program_has_ended_is_none() {
    let mut manifests = Manifests::new();
    manifests.add(500_000, ONE, 1..=1);
    let whole = line(ONE, 2, "");
    manifests.append(500_000, &format!("{}{{\"foreign\":1}}\n", &whole[..whole.len() - 8]));
    let mut dir = manifests.follow("beginning");
    for _ in 0..4 {
        assert!(all(&mut dir).unwrap().iter().all(|line| *line == (1, 1)));
        pass(&manifests.fs, 3);
    }
    let offset = manifests.write(500_000, ONE, 2..=2);
    manifests.index(500_000, ONE, 2..=2, offset);
    manifests.add(500_000, ONE, 3..=3);
    assert_eq!(all(&mut dir).unwrap(), of_one(2..=3));
}

/// A power cut has taken a line, and there is no index that says what is durable. Why: `--from now` passed over the line, which
/// the next start of the ingestor wrote.
#[test]
fn now_does_not_pass_over_a_line_that_a_power_cut_has_taken() {
    let mut manifests = Manifests::new();
    manifests.write(500_000, ONE, 1..=4);
    // A retention job has removed the line 5.
    manifests.write(500_001, ONE, 6..=7);
    manifests.append(500_001, &format!("{}\n", "\0".repeat(80)));
    manifests.write(500_001, ONE, 9..=10);
    let mut dir = manifests.follow("beginning");
    let now = dir.newest().unwrap();
    assert_eq!(now, cursor_of(&[(ONE, 7)]));
    manifests.write(500_001, ONE, 8..=8);
    assert_eq!(dir.newest().unwrap(), cursor_of(&[(ONE, 10)]));
    assert_eq!(all(&mut manifests.follow(&now.to_string())).unwrap(), of_one(8..=10));
    // The index has files, and names nothing: it was lost with the power.
    manifests.add(500_001, ONE, 11..=11);
    let index = Path::new(ROOT).join(".csv-ingestor/lines").join("01".repeat(16)).join(format!("{:020}.idx", 11));
    manifests.fs.upstream().truncate(&index, 32).unwrap();
    assert_eq!(manifests.follow("beginning").newest().unwrap(), cursor_of(&[(ONE, 11)]));
}

/// A cursor may be committed between any two lines. Why: without an index, the rest of a group did not come if it was the last in
/// its manifest, nor anything behind it: it looked like the beginning of one that is being written.
#[test]
fn the_rest_of_a_group_comes_without_an_index() {
    let manifests = Manifests::new();
    let of = |seq: u64, group: &str, known: &str| {
        line(ONE, seq, &format!(r#","group":"{group}","group_size":3{known}"#)) + "\n"
    };
    let from = |passed| all(&mut manifests.follow(&cursor_of(&[(ONE, passed)]).to_string())).unwrap();
    manifests.append(500_000, &[line(ONE, 1, "") + "\n", of(2, "a", ""), of(3, "a", ""), of(4, "a", "")].concat());
    for passed in 1..4 {
        assert_eq!(from(passed), of_one(passed + 1..=4));
    }
    let known = r#","group_known":[{"name":"x","sha256":"x","ingest_id":1}]"#;
    manifests.append(500_000, &[of(5, "b", known), of(6, "b", "")].concat());
    assert_eq!(from(5), of_one(6..=6));
    // One that is being written is waited for, also if the same group came before, with other contents.
    manifests.append(500_000, &[of(7, "b", ""), of(8, "b", "")].concat());
    assert_eq!(from(6), []);
    assert_eq!(from(7), []);
    manifests.append(500_000, &of(9, "b", ""));
    manifests.write(500_001, ONE, 10..=10);
    assert_eq!(from(6), of_one(7..=10));
    assert_eq!(from(7), of_one(8..=10));
}

/// A power cut has taken the end of a group's last line, and the next start writes it. Why: the follower kept what it had read of
/// that line, did not see its end, and passed the other lines of the group on without it.
#[test]
fn a_line_whose_end_is_written_later_comes_with_its_group() {
    let manifests = Manifests::new();
    let of = |seq: u64| line(ONE, seq, r#","group":"a","group_size":3"#) + "\n";
    let text = [of(1), of(2), of(3)].concat();
    manifests.append(500_000, &format!("{}\0", &text[..text.len() - 1]));
    let mut dir = manifests.follow("beginning");
    assert_eq!(batch(&mut dir, 1).unwrap(), []);
    manifests.fs.upstream().write_at(hour(500_000), text.len() as u64 - 1, b"\n").unwrap();
    pass(&manifests.fs, 3);
    assert_eq!(batch(&mut dir, 1).unwrap(), of_one(1..=3));
}
