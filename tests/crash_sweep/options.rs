//! The command line.

use super::case::Case;

pub const HELP: &str = "\
Kills the real program at every system call with which it changes something or makes it durable, and lets each of these
calls fail, one at a time; then starts it again and checks that nothing is lost and nothing is there twice.

crash_sweep [--quick] [--offset N] [--jobs N] [--only CALL] [--case CASE]

  --quick      one moment of ten, and every call and place at least once: a minute on two processors
  --offset N   which of the ten
  --jobs N     cases at a time; four for each processor by default, since most of the time is waiting
  --only CALL  only this system call
  --case CASE  only this one, as a failure names it: LAYOUT/VARIANT/PLACE/FAULT/CALL/N

The faults: SIGKILL on entering the call; EIO and ENOSPC from it, once; and for calls that sync, EIO from there on.
Prints a table of how many moments were tried, and PASS, or FAIL with the cases that failed. Needs strace.
";

/// Cases at a time, per processor.
const JOBS_PER_CPU: usize = 4;

#[derive(Debug, Default)]
pub struct Options {
    pub quick: bool,
    pub offset: usize,
    pub jobs: usize,
    pub only: Option<String>,
    pub case: Option<Case>,
}

pub enum Asked {
    Sweep(Options),
    Help,
    /// Started by `cargo test`, whose arguments are for other tests, too.
    Nothing,
}

impl Asked {
    /// After `--sweep` each argument must be known.
    pub fn parse(words: &[String]) -> Result<Asked, String> {
        let Some(("--sweep", words)) = words.split_first().map(|(first, rest)| (first.as_str(), rest)) else {
            return Ok(Asked::Nothing);
        };
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let mut options = Options { jobs: cpus * JOBS_PER_CPU, ..Options::default() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value; see --help"));
            match word.as_str() {
                "--quick" => options.quick = true,
                "--offset" => options.offset = number(value()?)?,
                "--jobs" => options.jobs = number(value()?)?.max(1),
                "--only" => options.only = Some(value()?.clone()),
                "--case" => options.case = Some(value()?.parse()?),
                "-h" | "--help" => return Ok(Asked::Help),
                _ => return Err(format!("unknown argument {word}; see --help")),
            }
        }
        Ok(Asked::Sweep(options))
    }
}

fn number(word: &str) -> Result<usize, String> {
    word.parse().map_err(|_| format!("{word} is not a number; see --help"))
}
