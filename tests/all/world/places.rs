//! Directories that are missing, replaced, older than each other, or used by several users.
