//! `csv-ingestor man`: the manual pages, made from the same definitions as `--help`, so that they cannot become
//! outdated.

use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::output::{print, print_lines};
use crate::Error;

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// The page [default: csv-ingestor]
    #[arg(value_name = "PAGE", conflicts_with = "list")]
    page: Option<String>,
    /// Print the names of all pages, one per line
    #[arg(long)]
    list: bool,
}

/// Prints a page.
pub(super) fn execute(arguments: &ManArgs, program: Command) -> Result<(), Error> {
    let pages = pages(program);
    if arguments.list {
        return Ok(print_lines(pages.iter().map(|page| name(page).to_owned()))?);
    }
    let wanted = arguments.page.as_deref().unwrap_or(PROGRAM);
    let Some(page) = pages.iter().find(|page| name(page) == wanted) else {
        return Err(Error::Usage(format!("there is no page {wanted}; csv-ingestor man --list lists all")));
    };
    Ok(print(&render(page, &pages)?)?)
}

const PROGRAM: &str = env!("CARGO_PKG_NAME");

/// The pages, as commands: the program's, then one per subcommand, a group's before those of its members.
fn pages(program: Command) -> Vec<Command> {
    fn collect(command: &Command, pages: &mut Vec<Command>) {
        pages.push(command.clone().disable_help_subcommand(true));
        command.get_subcommands().for_each(|command| collect(command, pages));
    }
    // Without this, clap's own `help` subcommand would have a page for each subcommand.
    let mut program = program.disable_help_subcommand(true);
    program.build();
    let mut pages = Vec::new();
    collect(&program, &mut pages);
    pages
}

fn name(page: &Command) -> &str {
    page.get_display_name().unwrap_or_else(|| page.get_name())
}

fn render(page: &Command, pages: &[Command]) -> Result<Vec<u8>, Error> {
    let own = name(page).to_owned();
    let (title, version) = (own.to_uppercase(), env!("CARGO_PKG_VERSION"));
    // The date is empty: a page with the date of its creation would be different each time.
    let mut text = format!(".TH {title} 1 \"\" \"{PROGRAM} {version}\" \"User Commands\"\n").into_bytes();
    let man = Man::new(page.clone());
    man.render_name_section(&mut text)?;
    let usage = page.clone().render_usage().to_string();
    let mut synopsis = Roff::new();
    synopsis.control("SH", ["SYNOPSIS"]).text([roman(usage.trim_start_matches("Usage:").trim())]);
    synopsis.to_writer(&mut text)?;
    man.render_description_section(&mut text)?;
    if page.get_arguments().next().is_some() {
        man.render_options_section(&mut text)?;
    }
    if page.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    let mut rest = Roff::new();
    rest.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXIT_CODES {
        rest.control("TP", []).text([bold(*code)]).text([roman(*meaning)]);
    }
    if [PROGRAM, "csv-ingestor-run"].contains(&own.as_str()) {
        for (title, entries) in [("ENVIRONMENT", ENVIRONMENT), ("FILES", FILES)] {
            rest.control("SH", [title]);
            for (what, meaning) in entries {
                rest.control("TP", []).text([bold(*what)]).text([roman(*meaning)]);
            }
        }
    }
    rest.control("SH", ["SEE ALSO"]);
    let others = pages.iter().map(name).filter(|other| *other != own);
    let others: Vec<_> = others.flat_map(|other| [bold(other), roman("(1), ")]).collect();
    rest.text(others.into_iter().chain([bold("systemd.service"), roman("(5)")]).collect::<Vec<_>>());
    rest.to_writer(&mut text)?;
    Ok(text)
}

/// The exit codes of `src/error.rs`.
const EXIT_CODES: &[(&str, &str)] = &[
    ("0", "Done; also after SIGTERM or SIGINT: the current batch is finished, and nothing new begins."),
    ("1", "Failed at run time (an I/O error, a full disk with --once). Nothing is lost; the next start resumes."),
    ("2", "Wrong usage or configuration."),
    ("3", "The journal, or the log of a lake, is corrupt, or written by a newer version. Nothing was modified."),
    (
        "4",
        "Another process holds the state directory or the staging directory, or follows for the same consumer; the message \
         names its pid.",
    ),
    ("5", "An audit, or the check of manifests and warehouse in journal rebuild, had findings."),
    ("6", "run --once has finished, but some file failed; or lake roll-forward, and entries stay unfinished."),
    (
        "7",
        "The store of a lake does not answer. Nothing is lost; it can be tried again. Or lines that follow was to pass on are \
         gone.",
    ),
    (
        "130",
        "Ended at once by a second signal; the next start resumes. Or an audit was ended by a signal: there is no verdict.",
    ),
];

const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "CSV_INGESTOR_*",
        "Each option of run can be given by the variable CSV_INGESTOR_ followed by its name, such as \
         CSV_INGESTOR_SCAN_INTERVAL for --scan-interval. The command line takes precedence, and both over the file of \
         --config.",
    ),
    (
        "NOTIFY_SOCKET, WATCHDOG_USEC",
        "Set by systemd. If they are, readiness (after recovery), status, stopping and signs of life are reported to it.",
    ),
];

const FILES: &[(&str, &str)] = &[
    (
        "The file of --config",
        "TOML: a key is an option of run without the two hyphens, as in stability-seconds = 30; options that can be repeated \
         take a list, flags true or false. The options once, dry-run, new-journal, new-warehouse and config cannot be in it. \
         Relative paths begin at the current directory. csv-ingestor config check finds mistakes.",
    ),
    ("WAREHOUSE/ingest_date=YYYY-MM-DD/NAME", "An ingested file, or where --layout puts it."),
    ("MANIFESTS/YYYY/MM/DD/HH/manifest.jsonl", "A line of JSON for each ingested file."),
    (
        "/etc/csv-ingestor/NAME.env",
        "The settings of the service csv-ingestor@NAME, where the Debian package is installed.",
    ),
    ("/var/lib/csv-ingestor/NAME", "Its journal."),
];
