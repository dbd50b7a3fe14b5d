//! The records of files that go to a lake.

use csv_ingestor::journal::record::{Claimed, Record, Upload, Uploading};
use csv_ingestor::limits::{LAKE_KEY_BYTES_MAX, LAKE_UPLOAD_ID_BYTES_MAX};
use csv_ingestor::types::{IngestId, UnixMillis};

use super::assert_encoded;

fn uploading(key: &str, id: &str) -> Record {
    let upload = Upload { generation: 258, since: UnixMillis(772), key: key.to_owned(), id: id.to_owned() };
    Record::Uploading(Uploading { ingest_id: IngestId(9), upload })
}

#[test]
fn the_records_of_a_lake_are_encoded_as_specified() {
    let claimed = Claimed { ingest_id: IngestId(9), shard: 258, entry: 7 };
    assert_encoded(vec![
        (Record::Lake([0xab; 16]), format!("1a 00 1000 {}", "ab".repeat(16))),
        (Record::Claimed(claimed), "1b 00 1200 0900000000000000 0201 0700000000000000".to_owned()),
        (uploading("k/l", "u"), "1c 00 1c00 0900000000000000 02010000 0403000000000000 0300 6b2f6c 0100 75".to_owned()),
    ]);
    // What no store and no host accepts is no record either.
    let (key, id) = ("k".repeat(LAKE_KEY_BYTES_MAX), "u".repeat(LAKE_UPLOAD_ID_BYTES_MAX));
    let is_read = |key: &str, id: &str| {
        let mut bytes = Vec::new();
        uploading(key, id).encode(&mut bytes);
        Record::decode(&bytes).is_some()
    };
    assert!(is_read(&key, &id));
    assert!(!is_read("", "u") && !is_read("k", "") && !is_read(&(key + "k"), "u"));
}
