//! Names, file systems and disks that refuse one file, or do what they say in another way.
