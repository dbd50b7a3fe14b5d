//! Which files are ingested, by their names and directories.
//!
//! Invariant: it holds what the options say, nothing more.

use std::path::PathBuf;

use super::{Config, Paths};
use crate::pipeline::scan::patterns::Patterns;
use crate::pipeline::scan::{NameRules, TreeRules};
use crate::pipeline::settle::Mode;
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

impl Config {
    /// The ingestor's own directories, which are never entered.
    pub fn own_places(&self) -> Vec<PathBuf> {
        let Paths { warehouse, manifests, state, duplicates, quarantine, .. } = &self.paths;
        [warehouse, manifests, state].into_iter().chain(duplicates).chain(quarantine).cloned().collect()
    }

    /// Which names are ingested.
    pub fn name_rules(&self) -> NameRules {
        let mut rules = self.selection.rules((self.completeness.mode == Mode::Sidecar).then(|| self.sidecars.clone()));
        rules.groups = matches!(self.completeness.mode, Mode::Group(_));
        rules
    }
}
