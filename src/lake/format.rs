//! What holds for the whole lake: its id and its shards, where its manifests are, and the constants of its format.
//!
//! Invariants:
//! - `lake.json` is written once, when the lake is made, and never changes: the shard of a content is fixed.
//! - A change here changes the format, and needs a new version.

use serde::Deserialize;

use super::error::Error;
pub use super::id::LakeId;
use super::keys;
use crate::limits::LAKE_SHARDS_MAX;
use crate::store::location::Location;
use crate::types::Sha256;

/// The version of this program's lakes.
pub const VERSION: u16 = 1;
/// The first bytes of an entry.
pub const ENTRY_MAGIC: [u8; 4] = *b"CSVL";
/// The first bytes of a checkpoint.
pub const CHECKPOINT_MAGIC: [u8; 8] = *b"CSVLCHKP";

/// What a host needs to know of its lake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lake {
    /// Its id.
    pub id: LakeId,
    /// Its shards: a power of two, up to 256.
    pub shards: u16,
    /// A shard has a checkpoint at each multiple of this number of entries, or fewer.
    pub checkpoint_entries: u32,
}

/// A lake, as `lake.json` describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The lake.
    pub lake: Lake,
    /// Where its manifests are, as seen by the host that made it; None if each host must know.
    pub manifests: Option<Location>,
}

/// `lake.json`. A key that is not known here belongs to a later version, and is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    format: u16,
    lake: String,
    shards: u16,
    checkpoint_entries: u32,
    manifests: Option<String>,
}

impl Lake {
    /// The shard of a content: the first bits of its SHA-256.
    pub fn shard_of(&self, content: &Sha256) -> u16 {
        u16::from(content.0[0]) * self.shards / LAKE_SHARDS_MAX
    }

    /// True for a number of shards that a lake may have.
    pub fn is_count_of_shards(shards: u16) -> bool {
        shards.is_power_of_two() && shards <= LAKE_SHARDS_MAX
    }
}

impl Description {
    /// The bytes of `lake.json`.
    pub fn encode(&self) -> Vec<u8> {
        let Lake { id, shards, checkpoint_entries } = self.lake;
        let manifests = self.manifests.as_ref().map(Location::to_string);
        let manifests = serde_json::Value::from(manifests);
        let text = format!(
            "{{\"format\":{VERSION},\"lake\":\"{id}\",\"shards\":{shards},\
             \"checkpoint_entries\":{checkpoint_entries},\"manifests\":{manifests}}}\n"
        );
        text.into_bytes()
    }

    /// Reads `lake.json`.
    ///
    /// # Errors
    /// It is none, or a later version's, or says what no lake has.
    pub fn decode(bytes: &[u8]) -> Result<Description, Error> {
        let wrong = |why: String| Error::Description { key: keys::LAKE.to_owned(), why };
        let read: Fields = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        if read.format != VERSION {
            return Err(wrong(format!("format {}, this program knows {VERSION}", read.format)));
        }
        let id = LakeId::from_hex(&read.lake).ok_or_else(|| wrong("its id is not 32 hex digits".to_owned()))?;
        if !Lake::is_count_of_shards(read.shards) {
            return Err(wrong(format!("{} shards", read.shards)));
        }
        if read.checkpoint_entries == 0 {
            return Err(wrong("checkpoints after 0 entries".to_owned()));
        }
        let manifests = read.manifests.as_deref().map(Location::parse).transpose();
        let manifests = manifests.map_err(|fault| wrong(format!("its manifests: {fault}")))?;
        let lake = Lake { id, shards: read.shards, checkpoint_entries: read.checkpoint_entries };
        Ok(Description { lake, manifests })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_goes_there_and_back() {
        let lake = Lake { id: LakeId(std::array::from_fn(|at| at as u8 * 17)), shards: 16, checkpoint_entries: 1024 };
        let begin = "{\"format\":1,\"lake\":\"00112233445566778899aabbccddeeff\",\"shards\":16,\
                     \"checkpoint_entries\":1024,\"manifests\":";
        for (manifests, written) in [(None, "null"), (Some("s3://bucket/m"), "\"s3://bucket/m\"")] {
            let manifests = manifests.map(|text| Location::parse(text).unwrap());
            let description = Description { lake, manifests };
            let bytes = description.encode();
            assert_eq!(String::from_utf8_lossy(&bytes), format!("{begin}{written}}}\n"));
            assert_eq!(Description::decode(&bytes).unwrap(), description);
        }
        let odd = Description { lake, manifests: Some(Location::parse("file:///a \"b\" \\c").unwrap()) };
        assert_eq!(Description::decode(&odd.encode()).unwrap(), odd);
        let text = format!("{begin}null}}\n");
        for (from, to) in [
            (":1,", ":2,"),
            ("16", "3"),
            ("16", "512"),
            ("16", "0"),
            ("1024", "0"),
            ("ccdd", "CCDD"),
            ("null", "\"here\""),
            ("}", ",\"more\":1}"),
            (text.as_str(), ""),
            (text.as_str(), "{}"),
        ] {
            assert!(Description::decode(text.replacen(from, to, 1).as_bytes()).is_err(), "{to}");
        }
    }

    #[test]
    fn each_content_has_one_shard() {
        let lake = |shards| Lake { id: LakeId([0; 16]), shards, checkpoint_entries: 1 };
        let content = |first| Sha256([first; 32]);
        assert_eq!([0, 255].map(|first| lake(1).shard_of(&content(first))), [0, 0]);
        assert_eq!([0, 63, 64, 255].map(|first| lake(4).shard_of(&content(first))), [0, 0, 1, 3]);
        assert_eq!([0, 1, 255].map(|first| lake(256).shard_of(&content(first))), [0, 1, 255]);
    }
}
