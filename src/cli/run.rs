//! `csv-ingestor run`.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgMatches, Args, FromArgMatches as _, ValueEnum};

use super::audit::parse_concurrency;
use super::file::FileArgs;
use super::layout::{self, LayoutArgs};
use super::outlook::{forecast_json, forecast_text, left_text};
use super::output::print_lines;
use super::patterns::{checked_exclude, checked_include, exclude, include};
use super::sidecars::SidecarArgs;
use super::store_options::StoreOptionArgs;
use super::tree::TreeArgs;
use crate::Error;
use crate::config::{
    self, Completeness, Config, Extent, Logging, MetricsOptions, Paths, Placement, Quote, Selection, parse_address,
    parse_age, parse_bytes, parse_comment, parse_delimiter, parse_duration, parse_quote, parse_remember, parse_seconds,
    parse_skip_rows,
};
use crate::daemon;
use crate::dry_run;
use crate::engine::lake::{Reach, sleeps};
use crate::fs::real::RealFs;
use crate::journal::record::{DuplicateAction, EmptyFiles, Identity, SameBy, Validation};
use crate::limits::CONCURRENCY_MAX;
use crate::log::{self, LogFormat, LogLevel};
use crate::pipeline::places::Accepts;
use crate::pipeline::settle::Mode;
use crate::pipeline::settle::bounds::Bounds;
use crate::pipeline::settle::order::Order;

// Each option also reads its environment variable. The groups exist only in the code: `--help` shows one list, and a
// doc comment on a group would replace the command's own text.

// The options of `run`.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    _file: FileArgs,
    #[command(flatten)]
    places: PlaceArgs,
    #[command(flatten)]
    layout: LayoutArgs,
    #[command(flatten)]
    intake: IntakeArgs,
    #[command(flatten)]
    content: ContentArgs,
    #[command(flatten)]
    running: RunningArgs,
    #[command(flatten)]
    output: OutputArgs,
}

// The directories.
#[derive(Debug, Args)]
struct PlaceArgs {
    /// Staging directory; must exist
    #[arg(long, value_name = "DIR", env = "CSV_INGESTOR_INPUT")]
    input: PathBuf,
    /// Warehouse; created if missing. Files go to DIR/ingest_date=YYYY-MM-DD/, or as --layout says. A lake that many hosts
    /// share: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or file:///DIR
    #[arg(long, value_name = "DIR|URL", env = "CSV_INGESTOR_WAREHOUSE")]
    warehouse: PathBuf,
    /// Manifests; created if missing. Lines go to DIR/YYYY/MM/DD/HH/manifest.jsonl; a lake's to an object for each entry
    #[arg(long, value_name = "DIR|URL", env = "CSV_INGESTOR_MANIFESTS")]
    manifests: PathBuf,
    /// The journal's directory; created if missing
    #[arg(long, value_name = "DIR", env = "CSV_INGESTOR_STATE_PATH")]
    state_path: PathBuf,
    #[command(flatten)]
    store: StoreOptionArgs,
}

// Which files are ingested, and when.
#[derive(Debug, Args)]
struct IntakeArgs {
    /// When a file counts as complete
    #[arg(long, value_enum, default_value = "stability", env = "CSV_INGESTOR_MODE")]
    mode: ModeName,
    /// Stability and group mode: size and mtime unchanged for N seconds; decimals allowed; 0: complete at first sight
    #[arg(long, value_name = "N", default_value = "10", value_parser = parse_seconds, allow_hyphen_values = true,
          env = "CSV_INGESTOR_STABILITY_SECONDS")]
    stability_seconds: Duration,
    #[command(flatten)]
    sidecars: SidecarArgs,
    /// Group mode: report a group that has been incomplete for so long, and what it lacks: 30m, 2h [default: never]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, env = "CSV_INGESTOR_GROUP_TIMEOUT")]
    group_timeout: Option<Duration>,
    #[command(flatten)]
    bounds: BoundArgs,
    /// Ingest the files that one scan finds complete in this order: their manifest lines come in it, and of equal files the
    /// first is ingested [default: no promise]
    #[arg(long, value_enum, env = "CSV_INGESTOR_ORDER")]
    order: Option<OrderName>,
    /// Time between two scans of the whole directory: 500ms, 5s, 1m. Where inotify misses nothing, it is longer after a
    /// scan that took long
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration,
          env = "CSV_INGESTOR_SCAN_INTERVAL")]
    scan_interval: Duration,
    /// Hashing (and copying) threads [default: number of CPUs]
    #[arg(long, value_name = "N", value_parser = parse_concurrency, env = "CSV_INGESTOR_CONCURRENCY")]
    concurrency: Option<usize>,
    /// Take only names that match; repeatable; {*.csv,*.tsv} gives alternatives [default: every regular file]. Case
    /// matters. Always ignored: hidden names, unfinished transfers (.tmp .part .filepart and the like), and files that
    /// desktops and editors create (Thumbs.db, NAME~)
    #[arg(long, value_name = "GLOB", value_parser = checked_include, env = "CSV_INGESTOR_INCLUDE")]
    include: Vec<String>,
    /// Never take names that match, whatever --include says; repeatable
    #[arg(long, value_name = "GLOB", value_parser = checked_exclude, env = "CSV_INGESTOR_EXCLUDE")]
    exclude: Vec<String>,
    #[command(flatten)]
    tree: TreeArgs,
}

// Which files wait or stay, in either mode.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct BoundArgs {
    /// A file also waits until it is this old, since its last change (mtime or ctime): 30s, 5m
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_age, env = "CSV_INGESTOR_MIN_AGE")]
    min_age: Duration,
    /// A file of more bytes is not ingested: it stays, and file_failed reports it, also while it is still growing.
    /// 1000000, 500MiB, 2GiB [default: no limit]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, env = "CSV_INGESTOR_MAX_SIZE")]
    max_size: Option<u64>,
}

impl BoundArgs {
    pub(super) fn bounds(self) -> Bounds {
        Bounds { min_age: self.min_age, size_max: self.max_size.unwrap_or(u64::MAX) }
    }
}

// What happens to files because of their content.
#[derive(Debug, Args)]
struct ContentArgs {
    /// What happens to a staged file whose content is in the warehouse already
    #[arg(long, value_enum, default_value = "keep", env = "CSV_INGESTOR_DUPLICATES")]
    duplicates: DuplicatesName,
    /// Where `--duplicates move` moves them; on the staging directory's file system
    #[arg(long, value_name = "DIR", env = "CSV_INGESTOR_DUPLICATES_DIR")]
    duplicates_dir: Option<PathBuf>,
    /// Where files are moved that cannot be ingested, each with its NAME.reason.json: unreadable or malformed files,
    /// and those whose sidecar has another checksum; on the staging directory's file system [default: they stay]
    #[arg(long, value_name = "DIR", env = "CSV_INGESTOR_QUARANTINE")]
    quarantine: Option<PathBuf>,
    /// What happens to a complete file of 0 bytes
    #[arg(long, value_enum, default_value = "ingest", env = "CSV_INGESTOR_EMPTY")]
    empty: EmptyName,
    /// By what two files are one and the same, so that the second is a duplicate. With name+content, a file whose content
    /// is the same every day is ingested each day under its own name. A change needs --new-identity
    #[arg(long, value_enum, default_value = "content", env = "CSV_INGESTOR_IDENTITY")]
    identity: IdentityName,
    /// Check files while they are hashed: UTF-8 without NUL, the same number of columns everywhere, quotes according to
    /// RFC 4180; .gz files are unpacked for it. Manifest lines get `rows`, `columns` and `header`
    #[arg(long, value_enum, value_name = "FORMAT", env = "CSV_INGESTOR_VALIDATE")]
    validate: Option<ValidateName>,
    /// What happens to a malformed file [default: quarantine if --quarantine is given, otherwise mark]
    #[arg(long, value_enum, env = "CSV_INGESTOR_MALFORMED")]
    malformed: Option<MalformedName>,
    /// The character between two fields, or tab; in .tsv and .tab files it is always a tab
    #[arg(long, value_name = "C", default_value = ",", value_parser = parse_delimiter,
          env = "CSV_INGESTOR_CSV_DELIMITER")]
    csv_delimiter: u8,
    /// The character around a field; none if a quote is a character like others
    #[arg(long, value_name = "CHAR|none", default_value = "\"", value_parser = parse_quote,
          env = "CSV_INGESTOR_CSV_QUOTE")]
    csv_quote: Quote,
    /// Lines that begin with this character are comments: no records [default: there are none]
    #[arg(long, value_name = "C", value_parser = parse_comment,
          env = "CSV_INGESTOR_CSV_COMMENT")]
    csv_comment: Option<u8>,
    /// Skip the first N lines of each file, such as a title or sep=; [default: 0]
    #[arg(long, value_name = "N", value_parser = parse_skip_rows,
          env = "CSV_INGESTOR_CSV_SKIP_ROWS")]
    csv_skip_rows: Option<u16>,
    /// Sidecar mode: take only files whose sidecar has a checksum that matches; others wait
    #[arg(long, env = "CSV_INGESTOR_REQUIRE_CHECKSUM", value_parser = BoolishValueParser::new())]
    require_checksum: bool,
}

// How it runs.
#[derive(Debug, Args)]
struct RunningArgs {
    /// Forget content that was ingested longer ago than this, whenever the journal is compacted: sent again, it is
    /// ingested again. With a lake, for all of its hosts. 90d, 12months, 5years [default: never forget]
    #[arg(long, value_name = "DURATION", value_parser = parse_remember, env = "CSV_INGESTOR_REMEMBER")]
    remember: Option<Duration>,
    /// Take what is there, wait for one window, ingest what became complete, print what was left, exit
    #[arg(long, env = "CSV_INGESTOR_ONCE", value_parser = BoolishValueParser::new())]
    once: bool,
    /// Start although the manifests list files that this journal does not know: it is from a backup, or new, and these
    /// files may be ingested again. It is remembered: give it once
    #[arg(long, env = "CSV_INGESTOR_NEW_JOURNAL", value_parser = BoolishValueParser::new())]
    new_journal: bool,
    /// Start although warehouse or manifests lack the marks of this journal: they are new, and mounted. Give it once
    #[arg(long, env = "CSV_INGESTOR_NEW_WAREHOUSE", value_parser = BoolishValueParser::new())]
    new_warehouse: bool,
    /// Start with another --identity than before: files are compared only with those that were ingested with it, so that
    /// contents in the warehouse may be ingested again. Give it once
    #[arg(long, env = "CSV_INGESTOR_NEW_IDENTITY", value_parser = BoolishValueParser::new())]
    new_identity: bool,
    /// Print what would happen, and write nothing at all, anywhere
    #[arg(long, env = "CSV_INGESTOR_DRY_RUN", value_parser = BoolishValueParser::new())]
    dry_run: bool,
}

// Logs and metrics.
#[derive(Debug, Args)]
struct OutputArgs {
    /// Least important level that is logged
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "info", env = "CSV_INGESTOR_LOG_LEVEL")]
    log_level: LogLevel,
    /// Format of log lines [default: json]
    #[arg(long, value_enum, env = "CSV_INGESTOR_LOG_FORMAT")]
    log_format: Option<LogFormat>,
    /// Time between two `metrics` events, and between two writes of --metrics-textfile
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration,
          env = "CSV_INGESTOR_METRICS_INTERVAL")]
    metrics_interval: Duration,
    /// Serve a page to look at on http://ADDR/, Prometheus metrics at /metrics, and /healthz and /readyz: 127.0.0.1:9464.
    /// Names of files are on the page. With port 0, the event metrics_listening has the port
    #[arg(long, value_name = "ADDR", value_parser = parse_address, env = "CSV_INGESTOR_METRICS_LISTEN")]
    metrics_listen: Option<String>,
    /// Serve no page and no /api/v1, which have names of files: only /metrics, /healthz and /readyz
    #[arg(long, env = "CSV_INGESTOR_NO_PAGE", value_parser = BoolishValueParser::new())]
    no_page: bool,
    /// Write the metrics to this file for node_exporter's textfile collector, also when --once ends. The name must end
    /// in .prom
    #[arg(long, value_name = "PATH", env = "CSV_INGESTOR_METRICS_TEXTFILE")]
    metrics_textfile: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ModeName {
    /// When size and mtime have not changed for a while
    Stability,
    /// When its sidecar exists
    Sidecar,
    /// When all files that a NAME.group names are there, unchanged for a while, with the SHA-256 that it gives: all of
    /// them are ingested, or none. Other files stay
    Group,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OrderName {
    /// By mtime, and files of one mtime by name
    Oldest,
    /// By the bytes of the name
    Name,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DuplicatesName {
    /// Stays where it is
    Keep,
    /// Is deleted
    Remove,
    /// Is moved to --duplicates-dir
    Move,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EmptyName {
    /// Is ingested
    Ingest,
    /// Stays where it is, reported once
    Keep,
    /// Is moved to --quarantine
    Quarantine,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum IdentityName {
    /// Their content
    Content,
    /// Their name and their content
    #[value(name = "name+content")]
    NameAndContent,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ValidateName {
    /// Text with a header and delimiters, according to RFC 4180
    Csv,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MalformedName {
    /// Is ingested; its manifest line has the error
    Mark,
    /// Is moved to --quarantine
    Quarantine,
}

impl ContentArgs {
    fn malformed(&self) -> MalformedName {
        self.malformed.unwrap_or(match self.quarantine {
            Some(_) => MalformedName::Quarantine,
            None => MalformedName::Mark,
        })
    }

    /// By what two files are one and the same, and what happens to empty ones.
    fn identity(&self) -> Identity {
        Identity {
            same_by: match self.identity {
                IdentityName::Content => SameBy::Content,
                IdentityName::NameAndContent => SameBy::NameAndContent,
            },
            empty: match self.empty {
                EmptyName::Ingest => EmptyFiles::Ingest,
                EmptyName::Keep => EmptyFiles::Keep,
                EmptyName::Quarantine => EmptyFiles::Quarantine,
            },
        }
    }

    /// How files are validated.
    fn validation(&self) -> Option<Validation> {
        self.validate.map(|ValidateName::Csv| Validation {
            delimiter: self.csv_delimiter,
            quote: self.csv_quote.0,
            refuse: self.malformed() == MalformedName::Quarantine,
            comment: self.csv_comment,
            skip_rows: self.csv_skip_rows.unwrap_or(0),
        })
    }
}

impl IntakeArgs {
    fn mode(&self) -> Mode {
        match self.mode {
            ModeName::Stability => Mode::Stability(self.stability_seconds),
            ModeName::Sidecar => Mode::Sidecar,
            ModeName::Group => Mode::Group(self.stability_seconds),
        }
    }

    fn order(&self) -> Option<Order> {
        self.order.map(|order| match order {
            OrderName::Oldest => Order::Oldest,
            OrderName::Name => Order::Name,
        })
    }
}

/// Checks options against each other.
fn check(intake: &IntakeArgs, content: &ContentArgs) -> Vec<&'static str> {
    let rules = [
        (
            (content.duplicates == DuplicatesName::Move) == content.duplicates_dir.is_some(),
            "--duplicates move and --duplicates-dir DIR go together",
        ),
        (
            intake.group_timeout.is_none() || matches!(intake.mode, ModeName::Group),
            "--group-timeout needs --mode group",
        ),
        (
            intake.order.is_none() || !matches!(intake.mode, ModeName::Group),
            "--order does not go with --mode group: a group's files come together",
        ),
        (content.malformed.is_none() || content.validate.is_some(), "--malformed needs --validate csv"),
        (
            content.malformed() == MalformedName::Mark || content.quarantine.is_some(),
            "--malformed quarantine needs --quarantine DIR",
        ),
        (
            content.empty != EmptyName::Quarantine || content.quarantine.is_some(),
            "--empty quarantine needs --quarantine DIR",
        ),
        (content.csv_quote.0 != Some(content.csv_delimiter), "--csv-quote and --csv-delimiter must differ"),
        (content.csv_comment.is_none() || content.validate.is_some(), "--csv-comment needs --validate csv"),
        (content.csv_skip_rows.is_none() || content.validate.is_some(), "--csv-skip-rows needs --validate csv"),
        (
            content.csv_comment.is_none() || content.csv_comment != content.csv_quote.0,
            "--csv-comment and --csv-quote must differ",
        ),
        (content.csv_comment != Some(content.csv_delimiter), "--csv-comment and --csv-delimiter must differ"),
        (intake.tree.is_consistent(), "--max-depth and --cross-mounts need --recursive"),
        (
            !content.require_checksum || !matches!(intake.mode, ModeName::Stability),
            "--require-checksum needs --mode sidecar: checksums are in sidecars",
        ),
        (intake.sidecars.conflict().is_none(), intake.sidecars.conflict().unwrap_or_default()),
    ];
    rules.into_iter().filter(|(holds, _)| !holds).map(|(_, text)| text).collect()
}

/// The options that do not fit together, of those that were given.
pub(super) fn conflicts(matches: &ArgMatches) -> Vec<&'static str> {
    let layout = LayoutArgs::from_arg_matches(matches).is_ok_and(|layout| layout.layout().is_err());
    let mut found: Vec<_> = layout.then_some(layout::CONFLICT).into_iter().collect();
    if let (Ok(intake), Ok(content)) = (IntakeArgs::from_arg_matches(matches), ContentArgs::from_arg_matches(matches)) {
        found.extend(check(&intake, &content));
    }
    found
}

impl IntakeArgs {
    fn selection(&self) -> Result<Selection, config::Error> {
        let (include, exclude) = (include(&self.include)?, exclude(&self.exclude)?);
        Ok(Selection { include, exclude, tree: self.tree.rules() })
    }
}

impl OutputArgs {
    fn metrics(&self) -> MetricsOptions {
        MetricsOptions { interval: self.metrics_interval, listen: self.metrics_listen.clone(), has_page: !self.no_page }
    }
}

impl RunArgs {
    fn validate(self) -> Result<Config, config::Error> {
        if let Some(conflict) = check(&self.intake, &self.content).first() {
            return Err(config::Error::Options((*conflict).to_owned()));
        }
        let (validate, identity, metrics) = (self.content.validation(), self.content.identity(), self.output.metrics());
        let RunArgs { places, layout, intake, content, running, output, .. } = self;
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let concurrency = intake.concurrency.unwrap_or(cpus.min(CONCURRENCY_MAX));
        let store = places.store.options();
        let paths = Paths {
            input: places.input,
            warehouse: places.warehouse,
            manifests: places.manifests,
            state: places.state_path,
            duplicates: content.duplicates_dir,
            quarantine: content.quarantine,
            metrics_textfile: output.metrics_textfile,
        };
        let config = Config {
            selection: intake.selection()?,
            paths: paths.check()?,
            store,
            completeness: Completeness {
                mode: intake.mode(),
                bounds: intake.bounds.bounds(),
                group_timeout: intake.group_timeout,
                order: intake.order(),
                identity,
            },
            sidecars: intake.sidecars.names(),
            scan_interval: intake.scan_interval,
            concurrency,
            placement: Placement {
                layout: layout.layout()?,
                duplicates: match content.duplicates {
                    DuplicatesName::Keep => DuplicateAction::Keep,
                    DuplicatesName::Remove => DuplicateAction::Remove,
                    DuplicatesName::Move => DuplicateAction::Move,
                },
            },
            validate,
            require_checksum: content.require_checksum,
            remember: running.remember,
            extent: match (running.dry_run, running.once) {
                (true, _) => Extent::DryRun,
                (false, true) => Extent::Once,
                (false, false) => Extent::Forever,
            },
            accepts: Accepts {
                journal: running.new_journal,
                warehouse: running.new_warehouse,
                identity: running.new_identity,
            },
            logging: Logging { level: output.log_level, format: output.log_format },
            metrics,
        };
        config.check_lake()?;
        Ok(config)
    }
}

/// Runs the ingestor.
pub(super) fn execute(arguments: RunArgs) -> Result<(), Error> {
    let config = arguments.validate()?;
    log::start(config.logging.level, config.logging.format.unwrap_or(LogFormat::Json));
    if config.extent == Extent::DryRun {
        let reach = Reach::real(config.store.clone(), sleeps(), true);
        let forecasts = dry_run::run(&RealFs::default(), &config, Some(reach))?;
        let as_json = config.logging.format == Some(LogFormat::Json);
        let line = |forecast| if as_json { forecast_json(forecast) } else { forecast_text(forecast) };
        return Ok(print_lines(forecasts.iter().map(line))?);
    }
    let ended = daemon::run(&config)?;
    print_lines(ended.left.iter().map(left_text))?;
    match ended.failures {
        0 => Ok(()),
        failures => Err(Error::NotEveryFile(failures)),
    }
}
