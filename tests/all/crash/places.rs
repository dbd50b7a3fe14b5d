//! Where everything is on a simulated machine.

pub const STAGING: &str = "/staging";
pub const WAREHOUSE: &str = "/warehouse";
pub const MANIFESTS: &str = "/manifests";
pub const STATE: &str = "/state";
pub const DUPLICATES: &str = "/duplicates";
pub const QUARANTINE: &str = "/quarantine";
