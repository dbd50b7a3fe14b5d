//! What comes together.

use csv_ingestor::follow::batch::{Batch, Batcher, Most};
use csv_ingestor::follow::{Error, Source as _, Stream};

use super::memory::MemorySource;

const STREAM: Stream = Stream { id: [7; 16], shard: None };

fn unit(from: u64, count: u64, bytes: usize) -> Vec<(Stream, u64, Vec<u8>)> {
    let text = |number: u64| format!("{{\"seq\":{number},\"x\":\"{}\"}}", "x".repeat(bytes)).into_bytes();
    (from..from + count).map(|number| (STREAM, number, text(number))).collect()
}

fn all(source: &mut MemorySource, most: Most) -> Vec<Batch> {
    let mut batcher = Batcher::new(most);
    let mut batches = Vec::new();
    loop {
        let batch = batcher.next(source).unwrap();
        if batch.is_empty() {
            return batches;
        }
        batches.push(batch);
    }
}

fn sizes(batches: &[Batch]) -> Vec<usize> {
    batches.iter().map(Batch::len).collect()
}

#[test]
fn a_group_is_never_cut() {
    let source = || {
        let mut source = MemorySource::default();
        let mut from = 1;
        for count in [1, 1, 3, 1, 7, 2, 2, 2] {
            source.push(unit(from, count, 10));
            from += count;
        }
        source
    };
    assert_eq!(sizes(&all(&mut source(), Most { lines: 4, bytes: 1 << 20 })), [2, 4, 7, 4, 2]);
    assert_eq!(sizes(&all(&mut source(), Most { lines: 1, bytes: 1 << 20 })), [1, 1, 3, 1, 7, 2, 2, 2]);
    assert_eq!(sizes(&all(&mut source(), Most { lines: 100, bytes: 1 << 20 })), [19]);
    // A line has some 30 bytes.
    assert_eq!(sizes(&all(&mut source(), Most { lines: 100, bytes: 100 })), [2, 3, 1, 7, 2, 2, 2]);
}

#[test]
fn batches_have_every_line_in_order_with_its_cursor() {
    let mut source = MemorySource::with_lines(STREAM, 1, 10);
    let batches = all(&mut source, Most { lines: 4, bytes: 1 << 20 });
    let text: Vec<u8> = batches.iter().flat_map(Batch::spliced).collect();
    let expected: String =
        (1..=10).map(|number| format!("{{\"seq\":{number},\"cursor\":\"{STREAM}:{number}\"}}\n")).collect();
    assert_eq!(String::from_utf8(text).unwrap(), expected);
    for pair in batches.windows(2) {
        assert_eq!(pair[0].cursor(), pair[1].before());
    }
    assert_eq!(batches[2].cursor(), source.cursor());
}

/// The cursor after a batch must not pass a line that was read with it and did not fit.
#[test]
fn what_did_not_fit_is_not_acknowledged() {
    let mut source = MemorySource::default();
    source.push(unit(1, 2, 10));
    source.push(unit(3, 3, 10));
    let first = Batcher::new(Most { lines: 4, bytes: 1 << 20 }).next(&mut source).unwrap();
    assert_eq!(first.cursor().passed(&STREAM), 2);
}

#[test]
fn an_error_comes_after_the_lines_before_it() {
    let mut source = MemorySource::with_lines(STREAM, 1, 3);
    source.fails_at_end = Some(Error::Consumer("the end".to_owned()));
    let mut batcher = Batcher::new(Most { lines: 2, bytes: 1 << 20 });
    assert_eq!(batcher.next(&mut source).unwrap().len(), 2);
    assert_eq!(batcher.next(&mut source).unwrap().len(), 1);
    assert_eq!(batcher.next(&mut source).unwrap_err().to_string(), "the end");
}
