//! Which moments are tried: as many as an undisturbed run makes calls.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use super::case::{Combination, Fault, Variant};
use super::options::Options;

/// A quick sweep tries one of this many moments.
const QUICK_STEP: usize = 10;

/// Limit of a full sweep, for calls that never stop.
const MOMENTS_MAX: usize = 500;

/// Stands for the program's writes of its log and its results.
pub const STANDARD_STREAM: &str = "write to a standard stream";

/// Number of calls by combination and call.
pub type Counts = BTreeMap<(Combination, String), usize>;

/// The calls of a trace, with the number in the thread that makes most of them: strace counts each thread's calls by
/// themselves.
pub fn count_calls(trace: &str) -> BTreeMap<String, usize> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in trace.lines() {
        // With -f a line begins with the thread id. A resumed call was counted when it began.
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
    /// Number of them that should be reached.
    pub expected: usize,
}

impl Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.combination, self.fault.name(), self.call)
    }
}

fn is_swept(combination: Combination, call: &str, options: &Options) -> bool {
    // In the variant that replaces renames by links, only those calls differ from the other variants.
    let is_other = combination.variant != Variant::Links || ["linkat", "unlinkat"].contains(&call);
    is_other && call != STANDARD_STREAM && options.only.as_ref().is_none_or(|only| only == call)
}

/// The longest first, so that no long one is begun last and waited for.
pub fn sequences(counts: &Counts, options: &Options) -> Vec<Sequence> {
    let mut sequences = Vec::new();
    let swept = counts.iter().filter(|((combination, call), _)| is_swept(*combination, call, options));
    let faults = swept.flat_map(|(key, count)| Fault::of(&key.1).iter().map(move |fault| (key, *count, *fault)));
    for (index, ((combination, call), count, fault)) in (1..).zip(faults) {
        let (moments, expected) = match options.quick {
            true => quick_moments(index + options.offset, options.offset, count),
            // Goes on until a call is not reached, to see the end.
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
    // Few calls: still try one of them, but not for each fault.
    if moments.is_empty() && at.is_multiple_of(3) {
        moments.push(1 + offset % count);
    }
    let expected = moments.len();
    (moments, expected)
}
