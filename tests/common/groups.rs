//! What must hold for groups: all of their files are ingested, or none, and their lines stand next to each other.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use csv_ingestor::pipeline::group::{self, is_group_file};

use super::promises::{Verdict, ensure};
use super::view::{Digest, View};

impl View {
    /// The groups whose files are in staging: the contents that each of them demands, by name.
    fn groups(&self) -> impl Iterator<Item = Vec<(PathBuf, Digest)>> {
        let files = self.staged_contents.iter().filter(|(path, _)| is_group_file(path.file_name().unwrap()));
        files.filter_map(|(path, content)| {
            let members = group::parse(path.file_name().unwrap(), content).ok()?;
            let dir = path.parent().unwrap();
            Some(members.into_iter().map(|member| (dir.join(&member.name), member.sha256.hex())).collect())
        })
    }

    /// The files, and contents, of the groups of which every file is there: in staging under its name, or in the
    /// warehouse, and no other file has its name. What is in `shaky` does not count as there. With `names_count`, a content
    /// in the warehouse counts under its name only.
    pub fn due_files(&self, shaky: &BTreeSet<Digest>, names_count: bool) -> BTreeSet<(PathBuf, Digest)> {
        let warehouse: BTreeSet<&Digest> = self.warehouse.values().collect();
        let is_known = |path: &Path, sum: &Digest| match names_count {
            true => self.lines.iter().any(|line| line.path == path && line.sha256 == *sum),
            false => warehouse.contains(sum),
        };
        // If another file has taken its name, a group that is put back is not complete any more.
        let is_there = |(path, sum): &(PathBuf, Digest)| match self.staging.get(path) {
            Some(staged) => staged == sum,
            None => is_known(path, sum),
        };
        let complete = self.groups().filter(|members| members.iter().all(|it| is_there(it) && !shaky.contains(&it.1)));
        complete.flatten().collect()
    }

    /// Only their contents.
    pub fn due_without(&self, shaky: &BTreeSet<Digest>, names_count: bool) -> BTreeSet<Digest> {
        self.due_files(shaky, names_count).into_iter().map(|(_, sum)| sum).collect()
    }

    /// True if a group is in staging that is not complete.
    pub fn has_incomplete_groups(&self, shaky: &BTreeSet<Digest>, names_count: bool) -> bool {
        let due = self.due_files(shaky, names_count);
        self.groups().any(|members| members.iter().any(|member| !due.contains(member)))
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
    pub fn groups_are_done(&self, shaky: &BTreeSet<Digest>, names_count: bool) -> Verdict {
        let due = self.due_files(shaky, names_count);
        let mut left = self.groups().filter(|members| members.iter().all(|member| due.contains(member)));
        ensure!(left.next().is_none(), "a complete group was left in staging: {:?}", self.staging);
        Ok(())
    }
}
