//! Which files are ingested, by their names and directories, and where they go.
//!
//! Invariant: it holds what the options say, nothing more.

use crate::journal::record::DuplicateAction;
use crate::pipeline::layout::Layout;
use crate::pipeline::scan::patterns::Patterns;
use crate::pipeline::scan::{NameRules, TreeRules};
use crate::pipeline::sidecar::SidecarNames;

/// Which names are ingested, and from which directories.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Which names are ingested; None: all.
    pub include: Option<Patterns>,
    /// Which of these names are not; also of directories that are not entered.
    pub exclude: Option<Patterns>,
    /// How far directories are entered; None: not at all.
    pub tree: Option<TreeRules>,
}

impl Selection {
    /// The rules for names; `sidecars` in sidecar mode.
    pub fn rules(&self, sidecars: Option<SidecarNames>) -> NameRules {
        let Selection { include, exclude, tree } = self.clone();
        NameRules { include, exclude, sidecars, tree, groups: false }
    }
}

/// Where files go.
#[derive(Clone, Debug)]
pub struct Placement {
    /// In which directory of the warehouse a file is published.
    pub layout: Layout,
    /// What happens to duplicates.
    pub duplicates: DuplicateAction,
}
