//! The host's name.

use crate::limits::HOST_NAME_BYTES_MAX;

/// The name that the kernel has for this host; None without `/proc`.
pub fn name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty() && name.len() <= HOST_NAME_BYTES_MAX)
}
