//! One case and its name: LAYOUT/VARIANT/PLACE/FAULT/CALL/N.

use std::fmt::{self, Display};
use std::str::FromStr;

/// An enum whose variants have names.
macro_rules! named {
    ($(#[$about:meta])* $name:ident { $($(#[$what:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$what])* $variant,)* }

        impl $name {
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<$name, String> {
                match text {
                    $($text => Ok($name::$variant),)*
                    _ => Err(format!("{text} is not a {}", stringify!($name).to_lowercase())),
                }
            }
        }
    };
}

named!(
    /// Where the warehouse is.
    Layout {
        Same = "same",
        /// On another file system than staging.
        Cross = "cross",
    }
);

named!(
    /// How files are ingested.
    Variant {
        Keep = "keep",
        Remove = "remove",
        /// In sidecar mode, and duplicates are moved away.
        Sidecar = "sidecar",
        /// As on an old kernel, or on a file system that cannot rename without replacing.
        Links = "links",
        /// One file is malformed.
        Quarantine = "quarantine",
        /// Files in directories of two levels; one is malformed, and two are duplicates.
        Tree = "tree",
        /// A group, and a bag of which a file has a content of the group.
        Groups = "groups",
    }
);

impl Variant {
    /// One of its files is malformed, and goes to quarantine.
    pub fn quarantines(self) -> bool {
        matches!(self, Variant::Quarantine | Variant::Tree)
    }
}

named!(
    /// Where the fault strikes: in a thread of a daemon, or in a run.
    Place {
        /// A first start, which creates everything.
        Once = "once",
        Hash = "hash-0",
        Commit = "commit",
        /// The start after a crash between the renames into the warehouse.
        Moving = "moving",
        /// `replay` after a crash between manifest lines and clean-up, where the last line is cut off as by a power cut.
        Listing = "listing",
        /// The same, but another ingestor has left half a line.
        Garbled = "garbled",
        /// A compaction of the journal that a run left.
        Compact = "compact",
    }
);

impl Place {
    pub fn is_thread(self) -> bool {
        matches!(self, Place::Hash | Place::Commit)
    }
}

named!(
    Fault {
        /// No fault: the calls are counted.
        Count = "count",
        /// SIGKILL on entering the call.
        Kill = "kill",
        Eio = "EIO",
        Enospc = "ENOSPC",
        /// EIO from this call on.
        EioFromOn = "EIO+",
    }
);

impl Fault {
    /// The faults that are tried with a call.
    pub fn of(call: &str) -> &'static [Fault] {
        match call {
            "fsync" | "fdatasync" | "syncfs" => &[Fault::Kill, Fault::Eio, Fault::Enospc, Fault::EioFromOn],
            _ => &[Fault::Kill, Fault::Eio, Fault::Enospc],
        }
    }
}

/// What runs, and in which layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Combination {
    pub layout: Layout,
    pub variant: Variant,
    pub place: Place,
}

/// Starts do not depend on the variant, so they are swept once in each layout.
const COMBINATIONS: [&str; 35] = [
    "same/keep/once",
    "same/keep/hash-0",
    "same/keep/commit",
    "same/keep/moving",
    "same/keep/compact",
    "same/remove/commit",
    "same/remove/moving",
    "same/sidecar/commit",
    "same/sidecar/moving",
    "same/sidecar/listing",
    "same/sidecar/garbled",
    "same/links/commit",
    "same/links/moving",
    "same/quarantine/commit",
    "same/quarantine/moving",
    "cross/quarantine/commit",
    "cross/keep/once",
    "cross/keep/hash-0",
    "cross/keep/commit",
    "cross/keep/moving",
    "cross/keep/listing",
    "cross/keep/garbled",
    "cross/remove/commit",
    "cross/remove/moving",
    "cross/sidecar/hash-0",
    "cross/sidecar/commit",
    "cross/sidecar/moving",
    "same/tree/commit",
    "same/tree/moving",
    "cross/tree/commit",
    "same/groups/commit",
    "same/groups/moving",
    "same/groups/listing",
    "cross/groups/commit",
    "cross/groups/moving",
];

impl Combination {
    pub fn all() -> Vec<Combination> {
        COMBINATIONS.map(|name| name.parse().unwrap()).to_vec()
    }

    pub fn case(self, fault: Fault, call: &str, n: usize) -> Case {
        Case { combination: self, fault, call: call.to_owned(), n }
    }
}

impl FromStr for Combination {
    type Err = String;

    fn from_str(text: &str) -> Result<Combination, String> {
        let [layout, variant, place] = text.split('/').collect::<Vec<_>>()[..] else {
            return Err(format!("{text} is not LAYOUT/VARIANT/PLACE"));
        };
        Ok(Combination { layout: layout.parse()?, variant: variant.parse()?, place: place.parse()? })
    }
}

impl Display for Combination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.layout.name(), self.variant.name(), self.place.name())
    }
}

/// The fault strikes when any traced thread makes its N-th call of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub combination: Combination,
    pub fault: Fault,
    pub call: String,
    pub n: usize,
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Case, String> {
        let wrong = || format!("{text} is not LAYOUT/VARIANT/PLACE/FAULT/CALL/N");
        let mut words = text.rsplitn(4, '/');
        let n = words.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0).ok_or_else(wrong)?;
        let (Some(call), Some(fault), Some(combination)) = (words.next(), words.next(), words.next()) else {
            return Err(wrong());
        };
        Ok(combination.parse::<Combination>()?.case(fault.parse()?, call, n))
    }
}

impl Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.combination, self.fault.name(), self.call, self.n)
    }
}
