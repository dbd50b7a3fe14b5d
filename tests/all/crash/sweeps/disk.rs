//! Disks that fill up, at every size that they can have.
