//! What was typed: arguments in, a call, a printed answer, an exit code. One file a command.

mod build;
mod compact;
mod demo;
mod generate;
mod ingest;
mod load;
mod project;
mod replay;
mod sql;
mod status;
mod vacuum;
mod validate;
mod verify;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use chrono::Utc;
use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use self::build::Verb;
use crate::config::Config;
use crate::contracts::{self, Contract};
use crate::engine::Engine;
use crate::engine::functions::PiiKey;
use crate::error::{Error, Kind, Result};
use crate::lake::Lake;

/// A lakehouse in one binary: Kafka to Bronze exactly once, models to Silver and Gold, SQL over all of it.
#[derive(Parser)]
#[command(name = "medallion", version, max_term_width = 110)]
struct Cli {
    /// The lake: a folder, or s3://bucket/prefix
    #[arg(long, global = true, value_name = "URL")]
    lake: Option<String>,
    /// The configuration [default: medallion.toml, searched upwards]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How log lines are written to standard error
    #[arg(long, global = true, value_enum, default_value = "text")]
    log_format: LogFormat,
    /// Only warnings and errors
    #[arg(short, long, global = true)]
    quiet: bool,
    /// More of what happens; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Takes warnings of a project or of its tests for errors
    #[arg(long, global = true)]
    warn_error: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// The whole main job on an embedded broker and a local folder
    Demo(demo::Arguments),
    /// The daemon: Kafka to Bronze
    Ingest(ingest::Arguments),
    /// Files to Bronze
    Load(load::Arguments),
    /// Models and their tests in graph order, published only when tested
    Build(build::Arguments),
    /// Models alone, without their tests
    Run(build::Arguments),
    /// Seeds alone, without their tests
    Seed(build::Arguments),
    /// Snapshots alone, without their tests
    Snapshot(build::Arguments),
    /// Tests alone, of what is published
    Test(build::Arguments),
    /// What the last run left undone, once more
    Retry(project::retry::Arguments),
    /// Whether the sources still get their rows
    Source(project::source::Arguments),
    /// The SQL of models and tests, into the target folder
    Compile(project::sql::CompileArguments),
    /// Some rows of a model's query
    Show(project::sql::ShowArguments),
    /// A macro, called by hand
    RunOperation(project::operation::Arguments),
    /// The nodes of the project
    #[command(visible_alias = "list")]
    Ls(project::list::Arguments),
    /// Whether the project can be read
    Parse(project::list::ParseArguments),
    /// The documentation of the project and its tables
    Docs(project::docs::Arguments),
    /// What the project needs of others
    Deps(project::folder::FolderArguments),
    /// Deletes what runs have left in the project's folder
    Clean(project::folder::FolderArguments),
    /// What is read from where, and whether the lake answers
    Debug(project::folder::FolderArguments),
    /// A new project that builds as it is
    Init(project::folder::InitArguments),
    /// The SQL shell
    Sql(sql::Arguments),
    /// Tables, lag, builds and the current release
    Status,
    /// Proves that nothing is missing and nothing is double
    Verify,
    /// Decodes rejected rows again under the present contract
    Replay(replay::Arguments),
    /// Puts small files together, writes checkpoints and shortens logs
    Compact(compact::Arguments),
    /// Deletes files that no version needs any more
    Vacuum(vacuum::Arguments),
    /// Checks the configuration, the contracts, the project, the broker and the store
    Validate,
    /// Synthetic streams to Kafka or files
    Generate(generate::Arguments),
}

/// What every command works with.
pub(crate) struct World {
    config: Config,
    quiet: bool,
    warn_error: bool,
}

impl World {
    fn lake(&self) -> Result<Lake> {
        Lake::open(&self.config.lake)
    }

    fn key(&self) -> Result<Option<PiiKey>> {
        PiiKey::find(self.config.privacy.key_file.as_deref())
    }

    fn engine(&self) -> Result<Engine> {
        let build = &self.config.build;
        Engine::new(&self.lake()?, build.memory, build.threads(), Utc::now(), self.key()?)
    }

    /// The contracts on disk, or else those that are compiled in.
    fn contracts(&self) -> Result<Vec<Contract>> {
        let folder = &self.config.ingest.contracts;
        if folder.is_dir() { contracts::load(folder) } else { contracts::defaults() }
    }
}

/// Parses the command line, runs it and says how it went.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging(&cli);
    leave_when_nobody_reads();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return ended(Err(Error::outside("no threads").because(e))),
    };
    // Whatever panics is a mistake of ours, and says so with its own exit code.
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(run(cli))));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match outcome {
        Ok(outcome) => ended(outcome),
        Err(_) => ExitCode::from(Kind::Bug.exit_code()),
    }
}

/// Whoever reads the answer may have seen enough, as `head` has; that is no mistake.
fn leave_when_nobody_reads() {
    let otherwise = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload_as_str().unwrap_or_default();
        if text.starts_with("failed printing to stdout") && text.contains("Broken pipe") {
            std::process::exit(0);
        }
        otherwise(panic);
    }));
}

fn ended(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::from(e.kind().exit_code())
        }
    }
}

async fn run(cli: Cli) -> Result<()> {
    let mut config = Config::load(cli.config.as_deref())?;
    if let Some(lake) = cli.lake {
        config.lake.url = lake;
    }
    let world = World { config, quiet: cli.quiet, warn_error: cli.warn_error };
    match cli.command {
        Command::Demo(arguments) => demo::run(world, arguments).await,
        Command::Ingest(arguments) => ingest::run(&world, arguments).await,
        Command::Load(arguments) => load::run(&world, arguments).await,
        Command::Build(arguments) => build::run(&world, Verb::Build, arguments).await,
        Command::Run(arguments) => build::run(&world, Verb::Run, arguments).await,
        Command::Seed(arguments) => build::run(&world, Verb::Seed, arguments).await,
        Command::Snapshot(arguments) => build::run(&world, Verb::Snapshot, arguments).await,
        Command::Test(arguments) => build::run(&world, Verb::Test, arguments).await,
        Command::Retry(arguments) => project::retry::run(&world, arguments).await,
        Command::Source(arguments) => project::source::run(&world, &arguments).await,
        Command::Compile(arguments) => project::sql::compile(&world, &arguments),
        Command::Show(arguments) => project::sql::show(&world, &arguments).await,
        Command::RunOperation(arguments) => project::operation::run(&world, &arguments),
        Command::Ls(arguments) => project::list::run(&world, &arguments),
        Command::Parse(arguments) => project::list::parse(&world, &arguments),
        Command::Docs(arguments) => project::docs::run(&world, &arguments).await,
        Command::Deps(arguments) => project::folder::deps(&world, &arguments),
        Command::Clean(arguments) => project::folder::clean(&world, &arguments),
        Command::Debug(arguments) => project::folder::debug(&world, &arguments).await,
        Command::Init(arguments) => project::folder::init(&arguments),
        Command::Sql(arguments) => sql::run(&world, arguments).await,
        Command::Status => status::run(&world).await,
        Command::Verify => verify::run(&world).await,
        Command::Replay(arguments) => replay::run(&world, arguments).await,
        Command::Compact(arguments) => compact::run(&world, arguments).await,
        Command::Vacuum(arguments) => vacuum::run(&world, arguments).await,
        Command::Validate => validate::run(&world).await,
        Command::Generate(arguments) => generate::run(&world, arguments).await,
    }
}

fn start_logging(cli: &Cli) {
    let level = match (cli.quiet, cli.verbose) {
        (true, _) => "warn",
        (false, 0) => "info",
        (false, 1) => "debug",
        (false, _) => "trace",
    };
    // Libraries speak up only when asked twice.
    let others = if cli.verbose > 1 { "debug" } else { "warn" };
    let filter = std::env::var("MEDALLION_LOG").unwrap_or_else(|_| format!("{others},medallion={level}"));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_target(false);
    match cli.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}

/// Turns true at the first SIGTERM or SIGINT. A second one ends the process at once.
fn stop_signal(answer: &'static str) -> Result<watch::Receiver<bool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |e| Error::outside("signals cannot be received").because(e);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("{answer}");
        // Nobody listens any more if the work is already done.
        let _ = stop.send(true);
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        std::process::exit(130);
    });
    Ok(stopped)
}

/// Counts in a way that people read: 1,234,567.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
