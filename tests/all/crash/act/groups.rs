//! Group files, in staging, in a directory, and of a bag.

use std::path::{Path, PathBuf};

use csv_ingestor::fs::sim::Upstream;

use super::{IN_TREE, dirs};
use crate::crash::model::Model;
use crate::crash::places::STAGING;
use crate::crash::view::{Digest, UNFINISHED};

/// The number of the group in the directory `d`, and of the bag. Lower ones are in staging itself.
pub const IN_DIR: u8 = 3;
pub const BAG: u8 = 4;

/// The path of a group file: from [`IN_TREE`] on, beside the file of that number.
pub fn path_of_group(number: u8) -> PathBuf {
    if let Some(name) = number.checked_sub(IN_TREE) {
        return dirs::path_of(name).with_extension("group");
    }
    let name = match number {
        IN_DIR => format!("d/g{number}.group"),
        BAG => "bag/manifest-sha256.txt".to_owned(),
        _ => format!("g{number}.group"),
    };
    Path::new(STAGING).join(name)
}

/// A group file that names these files, with their contents, is renamed into place.
pub fn send(upstream: &mut Upstream<'_>, model: &mut Model, number: u8, members: &[(PathBuf, Digest)]) -> PathBuf {
    let (hidden, path) = (Path::new(STAGING).join(UNFINISHED), path_of_group(number));
    let dir = path.parent().unwrap();
    let line = |(member, sum): &(PathBuf, Digest)| {
        let name = member.strip_prefix(dir).unwrap_or_else(|_| panic!("{member:?} is not below {dir:?}"));
        format!("{sum}  {}\n", name.display())
    };
    let text: String = members.iter().map(line).collect();
    dirs::make_parent(upstream, model, &path);
    upstream.write(&hidden, text.as_bytes()).unwrap();
    if model.rules.syncs {
        upstream.sync_path(&hidden).unwrap();
    }
    upstream.replace(&hidden, &path).unwrap();
    path
}
