//! What must hold for groups: all of their files are ingested, or none, and their lines stand next to each other.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;

use csv_ingestor::pipeline::group::{self, is_group_file};

use super::promises::{Verdict, ensure};
use super::view::{Digest, View};

impl View {
    /// The groups whose files are in staging: the contents that each of them demands, by name.
    fn groups(&self) -> impl Iterator<Item = Vec<(&Path, Digest)>> {
        let files = self.staged_contents.iter().filter(|(path, _)| is_group_file(path.file_name().unwrap()));
        files.filter_map(|(path, content)| {
            let members = group::parse(OsStr::new("a.group"), content).ok()?;
            let dir = path.parent().unwrap();
            Some(members.into_iter().map(|member| (self.path_in(dir, &member.name), member.sha256.hex())).collect())
        })
    }

    fn path_in(&self, dir: &Path, name: &Path) -> &Path {
        self.staging.keys().find(|path| **path == dir.join(name)).map_or(Path::new(""), |path| path)
    }

    /// The contents of the groups of which every file is there: in staging under its name, or in the warehouse, and no
    /// other file has its name.
    pub fn due_in_groups(&self) -> BTreeSet<Digest> {
        self.due_without(&BTreeSet::new())
    }

    /// The same, if these contents do not count as there: they may change.
    pub fn due_without(&self, shaky: &BTreeSet<Digest>) -> BTreeSet<Digest> {
        let warehouse: BTreeSet<&Digest> = self.warehouse.values().collect();
        // If another file has taken its name, a group that is put back is not complete any more.
        let is_there = |(path, sum): &(&Path, Digest)| match self.staging.get(*path) {
            Some(staged) => staged == sum,
            None => warehouse.contains(sum),
        };
        let complete = self.groups().filter(|members| members.iter().all(|it| is_there(it) && !shaky.contains(&it.1)));
        complete.flatten().map(|(_, sum)| sum).collect()
    }

    /// True if a group is in staging that is not complete.
    pub fn has_incomplete_groups(&self) -> bool {
        let due = self.due_in_groups();
        self.groups().any(|members| members.iter().any(|(_, sum)| !due.contains(sum)))
    }

    /// Of each group, every member has a line or is named as known, and these lines stand together.
    pub fn groups_are_whole(&self) -> Verdict {
        let mut lines = self.lines.iter().peekable();
        while let Some(line) = lines.next() {
            let Some(group) = &line.group else { continue };
            ensure!(group.size > group.known, "a group that names too many: {line:?}");
            for number in 1..group.size - group.known {
                let next = lines.next_if(|next| next.group.as_ref().is_some_and(|of| of.name == group.name));
                ensure!(next.is_some(), "a group has only {number} lines together: {line:?}");
            }
        }
        Ok(())
    }

    /// True if a line has this content.
    pub fn lists(&self, digest: &Digest) -> bool {
        self.lines.iter().any(|line| line.sha256 == *digest)
    }

    /// No complete group is left.
    pub fn groups_are_done(&self) -> Verdict {
        let due = self.due_in_groups();
        let mut left = self.groups().filter(|members| members.iter().all(|(_, sum)| due.contains(sum)));
        ensure!(left.next().is_none(), "a complete group was left in staging: {:?}", self.staging);
        Ok(())
    }
}
