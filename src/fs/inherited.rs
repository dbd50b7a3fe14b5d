//! Properties inherited from the parent process that only `/proc` reports.
//!
//! Invariant: without `/proc` nothing counts as inherited.

/// True if the parent process set the signal to be ignored, as `nohup` does with SIGHUP. Call it before a handler is
/// installed.
pub fn is_signal_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    is_in_mask(&status, signal)
}

/// `SigIgn: 0000000000001000` (proc_pid_status(5)): the bit of signal n is n - 1.
fn is_in_mask(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    u32::try_from(signal - 1).is_ok_and(|bit| mask.checked_shr(bit).unwrap_or(0) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_is_read() {
        let status = "Name:\tx\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000002\n";
        let ignored: Vec<i32> = (0..70).filter(|signal| is_in_mask(status, *signal)).collect();
        assert_eq!(ignored, [1, 13]);
        assert!(!is_in_mask("", 1) && !is_in_mask("SigIgn: x", 1));
    }
}
