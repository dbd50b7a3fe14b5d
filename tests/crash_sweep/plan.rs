//! Which moments are tried: as many as the program has calls when nothing disturbs it.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use super::case::{Combination, Fault, Variant};
use super::options::Options;

/// Of so many moments, a quick sweep tries one.
const QUICK_STEP: usize = 10;

/// In full sweeps, an end for calls that never stop.
const MOMENTS_MAX: usize = 500;

/// The log and the results of the program.
pub const STANDARD_STREAM: &str = "write to a standard stream";

/// How often which call is made in each combination.
pub type Counts = BTreeMap<(Combination, String), usize>;

/// The calls of a trace, with how often the thread that makes most of them makes each: strace counts them for each thread.
pub fn count_calls(trace: &str) -> BTreeMap<String, usize> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in trace.lines() {
        // With -f a line begins with the thread; what is resumed was counted when it began.
        let (thread, text) = match line.split_once(' ') {
            Some((first, rest)) if first.bytes().all(|byte| byte.is_ascii_digit()) => (first, rest.trim_start()),
            _ => ("", line),
        };
        let Some((call, arguments)) = text.split_once('(') else { continue };
        if call.is_empty() || !call.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue;
        }
        let is_stream = call == "write" && (arguments.starts_with("1,") || arguments.starts_with("2,"));
        *counts.entry((thread, if is_stream { STANDARD_STREAM } else { call })).or_default() += 1;
    }
    let mut most = BTreeMap::new();
    for ((_, call), count) in counts {
        let known: &mut usize = most.entry(call.to_owned()).or_default();
        *known = count.max(*known);
    }
    most
}

/// Moments of one fault in one call in one combination.
pub struct Sequence {
    pub combination: Combination,
    pub fault: Fault,
    pub call: String,
    pub moments: Vec<usize>,
    /// So many of them should be reached.
    pub expected: usize,
}

impl Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.combination, self.fault.name(), self.call)
    }
}

fn is_swept(combination: Combination, call: &str, options: &Options) -> bool {
    // Of a run that makes renames of links, only what differs from one that can rename without replacing.
    let is_other = combination.variant != Variant::Links || ["linkat", "unlinkat"].contains(&call);
    is_other && call != STANDARD_STREAM && options.only.as_ref().is_none_or(|only| only == call)
}

/// The longest first: at the end nobody should wait for one that was begun last.
pub fn sequences(counts: &Counts, options: &Options) -> Vec<Sequence> {
    let mut sequences = Vec::new();
    let swept = counts.iter().filter(|((combination, call), _)| is_swept(*combination, call, options));
    let faults = swept.flat_map(|(key, count)| Fault::of(&key.1).iter().map(move |fault| (key, *count, *fault)));
    for (index, ((combination, call), count, fault)) in (1..).zip(faults) {
        let (moments, expected) = match options.quick {
            true => quick_moments(index + options.offset, options.offset, count),
            // One more than there should be, to see the end.
            false => ((1..=MOMENTS_MAX).collect(), count),
        };
        if !moments.is_empty() {
            sequences.push(Sequence { combination: *combination, fault, call: call.clone(), moments, expected });
        }
    }
    sequences.sort_by_key(|sequence| std::cmp::Reverse(sequence.expected));
    sequences
}

fn quick_moments(at: usize, offset: usize, count: usize) -> (Vec<usize>, usize) {
    let mut moments: Vec<usize> = (1 + at % QUICK_STEP..=count).step_by(QUICK_STEP).collect();
    // Few calls: one of them all the same, but not for each fault.
    if moments.is_empty() && at.is_multiple_of(3) {
        moments.push(1 + offset % count);
    }
    let expected = moments.len();
    (moments, expected)
}
