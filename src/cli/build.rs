//! `medallion build`, and the verbs of dbt that do part of it: `run`, `seed`, `snapshot` and `test`.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::project::{Chosen, Deferral, ProjectArguments, write_manifest};
use super::{World, grouped, stop_signal};
use crate::build::{self, Keep, LineageTarget, NodeResult, Options, Status, Summary, write_run_results};
use crate::config::Secret;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::models::{NodeKind, Project};

mod plan;

#[derive(Args)]
pub struct Arguments {
    /// Bring this schema up to date, with whatever above it is stale
    #[arg(long, value_name = "SCHEMA")]
    layer: Option<String>,
    #[command(flatten)]
    chosen: Chosen,
    #[command(flatten)]
    deferral: Deferral,
    /// Build every selected model from all of its inputs' rows
    #[arg(long)]
    full_refresh: bool,
    /// Stop at the first failure
    #[arg(short = 'x', long)]
    fail_fast: bool,
    /// Build so many nodes at the same time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    #[command(flatten)]
    at: ProjectArguments,
    #[command(flatten)]
    more: MoreOfBuild,
}

/// What `build` alone can do.
#[derive(Args)]
pub struct MoreOfBuild {
    /// Tell what would be built, why, and from how much; nothing is written
    #[arg(long, conflicts_with = "prove_incremental")]
    plan: bool,
    /// How the plan is told
    #[arg(long, value_enum, value_name = "FORMAT", requires = "plan")]
    output: Option<PlanFormat>,
    /// Afterwards compare each incremental model with a full build of it, of which nothing is published
    #[arg(long)]
    prove_incremental: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    Text,
    Json,
}

/// What dbt calls it when only some kinds of nodes are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Build,
    Run,
    Seed,
    Snapshot,
    Test,
}

impl Verb {
    const ALL: [Verb; 5] = [Verb::Build, Verb::Run, Verb::Seed, Verb::Snapshot, Verb::Test];

    pub fn name(self) -> &'static str {
        match self {
            Verb::Build => "build",
            Verb::Run => "run",
            Verb::Seed => "seed",
            Verb::Snapshot => "snapshot",
            Verb::Test => "test",
        }
    }

    pub fn named(name: &str) -> Option<Verb> {
        Verb::ALL.into_iter().find(|verb| verb.name() == name)
    }

    pub fn kinds(self) -> Option<&'static [NodeKind]> {
        match self {
            Verb::Build => None,
            Verb::Run => Some(&[NodeKind::Model]),
            Verb::Seed => Some(&[NodeKind::Seed]),
            Verb::Snapshot => Some(&[NodeKind::Snapshot]),
            Verb::Test => Some(&[NodeKind::Test, NodeKind::UnitTest]),
        }
    }
}

pub async fn run(world: &World, verb: Verb, arguments: Arguments) -> Result<()> {
    let selection = arguments.chosen.selection()?;
    let mut project = arguments.at.load(world, arguments.full_refresh)?;
    arguments.deferral.apply(world, &mut project, &selection).await?;
    // A layer is more than a selection: it takes whatever above it is stale, and its tests.
    let nodes = match (selection.is_words(), &arguments.layer) {
        (true, _) => None,
        (false, None) => Some(project.selected(&selection)?),
        (false, Some(_)) => {
            return Err(Error::input("--layer goes with --select and --exclude alone"));
        }
    };
    let project = Arc::new(project);
    let options = Options {
        select: arguments.chosen.select.clone(),
        exclude: arguments.chosen.exclude.clone(),
        layer: arguments.layer.clone(),
        full_refresh: arguments.full_refresh,
        fail_fast: arguments.fail_fast,
        kinds: verb.kinds(),
        nodes,
        threads: threads(world, &project, arguments.threads),
        prove: arguments.more.prove_incremental,
        ..settings(world)?
    };
    if verb != Verb::Build && (arguments.more.plan || arguments.more.prove_incremental) {
        return Err(Error::input(format!("{} has no plan and no proof", verb.name()))
            .hint("medallion build --plan, medallion build --prove-incremental"));
    }
    if arguments.more.plan {
        return plan::show(world, &project, options, arguments.more.output).await;
    }
    let mut said = arguments.chosen.as_given();
    said.insert("which".into(), verb.name().into());
    said.insert("vars".into(), arguments.at.vars_as_given());
    said.insert("full_refresh".into(), arguments.full_refresh.into());
    run_with(world, &project, options, Value::Object(said)).await
}

/// Builds, tells how it went, and keeps it for tools and for `retry`; `said` is how it was asked for.
pub async fn run_with(world: &World, project: &Arc<Project>, options: Options, said: Value) -> Result<()> {
    let stop = stop_signal("giving up what is not published yet, and leaving")?;
    let mut report = |result: &NodeResult| report(result, world.quiet);
    let summary = execute(world, project, options, Utc::now(), stop, &mut report).await?;
    let said = match said {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    write_run_results(&summary, &project.target_path, said)?;
    let compiled = summary.results.iter().filter_map(|r| Some((r.unique_id.clone(), r.compiled.clone()?)));
    write_manifest(project, &summary.invocation(), &compiled.collect())?;
    println!("{}", closing(&summary));
    summary.proofs.iter().for_each(|proof| println!("{}", proved(proof)));
    match summary.failure() {
        None if world.warn_error && summary.count(|r| r.status == Status::Warned) > 0 => {
            Err(Error::failed("a test warned, which is an error because of --warn-error"))
        }
        None => Ok(()),
        Some(kind) => Err(Error::new(kind, failures(&summary))),
    }
}

/// How many nodes are built at the same time: as asked for, as the profile says, or as the configuration does.
pub fn threads(world: &World, project: &Project, asked_for: Option<u16>) -> usize {
    asked_for.map(usize::from).or(project.target.threads).unwrap_or_else(|| world.config.build.threads())
}

/// What the configuration says of every build.
pub fn settings(world: &World) -> Result<Options> {
    let build = &world.config.build;
    let webhook = match (&build.webhook, &build.webhook_file) {
        (Some(_), Some(_)) => {
            return Err(Error::input("build.webhook and build.webhook_file are both set").hint("keep one of them"));
        }
        (Some(url), None) => Some(url.clone()),
        (None, Some(file)) => Some(Secret::from_file("build.webhook_file", file)?),
        (None, None) => None,
    };
    Ok(Options {
        releases: Keep { number: build.releases_keep, age: build.releases_age },
        retries: build.retries,
        openlineage: build.openlineage.as_ref().map(|target| LineageTarget::of(target.reveal())),
        webhook,
        ..Options::default()
    })
}

/// The build itself, as `demo` runs it too.
pub async fn execute(
    world: &World,
    project: &Arc<Project>,
    options: Options,
    now: DateTime<Utc>,
    stop: watch::Receiver<bool>,
    done: &mut dyn FnMut(&NodeResult),
) -> Result<Summary> {
    let engine = engine(world, now).await?;
    build::run(&engine, project, &world.contracts()?, options, now, stop, done).await
}

/// An engine on a lake that answers.
async fn engine(world: &World, now: DateTime<Utc>) -> Result<Arc<Engine>> {
    let lake = world.lake()?;
    lake.ensure_reachable().await?;
    let settings = &world.config.build;
    Ok(Arc::new(Engine::new(&lake, settings.memory, settings.threads(), now, world.key()?)?))
}

fn proved(proof: &NodeResult) -> String {
    match proof.status {
        Status::Success => format!("proved: {} is what a full build gives", proof.relation),
        _ => format!("not proved: {}: {}", proof.relation, proof.message),
    }
}

fn report(result: &NodeResult, quiet: bool) {
    let quietly = matches!(result.status, Status::Success | Status::Fresh);
    let test = result.kind.is_test();
    // That a test of a skipped model is skipped says nothing that the model's own line does not.
    if (quietly && (quiet || test)) || (test && result.status == Status::Skipped) {
        return;
    }
    let word = match result.status {
        Status::Success => "ok",
        Status::Fresh => "fresh",
        Status::Warned => "warn",
        Status::Failed => "FAIL",
        Status::Error(_) => "ERROR",
        Status::Skipped => "skip",
    };
    let name = if result.relation.is_empty() { &result.name } else { &result.relation };
    let rows = result.rows.map(|n| format!("{} rows", grouped(n))).unwrap_or_default();
    let seconds = result.elapsed.as_secs_f64();
    eprintln!("{word:>5}  {name:<45} {:<13} {rows:>16} {seconds:>7.2} s", result.how);
    if !quietly && !result.message.is_empty() {
        for line in result.message.lines() {
            eprintln!("         {line}");
        }
    }
}

pub fn closing(summary: &Summary) -> String {
    let nodes = |status: Status| summary.count(|r| !r.kind.is_test() && r.status == status);
    let (built, fresh) = (nodes(Status::Success), nodes(Status::Fresh));
    let tests = summary.count(|r| r.kind.is_test() && r.status != Status::Skipped);
    let warned = summary.count(|r| r.status == Status::Warned);
    let failed = summary.count(|r| r.status.is_failure());
    let skipped = summary.count(|r| r.status == Status::Skipped);
    let seconds = summary.elapsed.as_secs_f64();
    let release = match &summary.release {
        Some(r) if r.new => format!("release {}", r.id),
        Some(r) => format!("release {} stands", r.id),
        None => "no release: medallion build tests and releases".to_owned(),
    };
    let mut said = if summary.results.iter().all(|r| r.kind.is_test()) {
        format!("{tests} tests: {} passed, {warned} warnings, {failed} failed; {seconds:.1} s", tests - warned - failed)
    } else if summary.changed_nothing() && failed == 0 && skipped == 0 {
        format!("nothing changed: {fresh} tables are up to date; {release}; {seconds:.1} s")
    } else {
        format!(
            "{built} built, {fresh} up to date, {tests} tests, {warned} warnings, {failed} failed, {skipped} skipped; {release}; {seconds:.1} s"
        )
    };
    if summary.interrupted {
        said = format!("stopped before its end: {said}; the next build goes on from here");
    }
    if let Some(r) = &summary.release
        && !r.held_back.is_empty()
    {
        said += &format!("\nheld back for readers until mended: {}", r.held_back.join(", "));
    }
    said
}

fn failures(summary: &Summary) -> String {
    let failed: Vec<&str> = summary
        .results
        .iter()
        .chain(&summary.proofs)
        .filter(|r| matches!(r.status, Status::Failed | Status::Error(_)))
        .map(|r| r.name.as_str())
        .collect();
    match summary.failure() {
        Some(Kind::Failed) => format!("failed: {}", failed.join(", ")),
        _ => format!("did not build: {}", failed.join(", ")),
    }
}
