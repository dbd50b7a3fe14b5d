//! The options about directories in staging.

use clap::Args;
use clap::builder::BoolishValueParser;

use crate::limits::TREE_DEPTH_MAX;
use crate::pipeline::scan::TreeRules;

/// Levels below staging, unless `--max-depth` says otherwise.
const DEPTH_DEFAULT: u16 = 16;

// Which directories are entered.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct TreeArgs {
    /// Also take the files in the directories below the staging directory. Links to directories, hidden directories and
    /// those that --exclude matches are never entered, and no directory is ever removed
    #[arg(long, env = "CSV_INGESTOR_RECURSIVE", value_parser = BoolishValueParser::new())]
    recursive: bool,
    /// With --recursive: enter directories up to N levels below the staging directory [default: 16]
    #[arg(long, value_name = "N", env = "CSV_INGESTOR_MAX_DEPTH",
          value_parser = clap::value_parser!(u16).range(1..=i64::from(TREE_DEPTH_MAX)))]
    max_depth: Option<u16>,
    /// With --recursive: also enter directories on which something else is mounted
    #[arg(long, env = "CSV_INGESTOR_CROSS_MOUNTS", value_parser = BoolishValueParser::new())]
    cross_mounts: bool,
}

impl TreeArgs {
    pub(super) fn is_consistent(self) -> bool {
        self.recursive || self.max_depth.is_none() && !self.cross_mounts
    }

    pub(super) fn rules(self) -> Option<TreeRules> {
        let max_depth = self.max_depth.unwrap_or(DEPTH_DEFAULT);
        self.recursive.then_some(TreeRules { max_depth, cross_mounts: self.cross_mounts })
    }
}
