//! `medallion build`

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::Args;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::{World, grouped, stop_signal};
use crate::build::{self, NodeResult, Options, Status, Summary, write_run_results};
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::models::{self, NodeKind, Project};

#[derive(Args)]
pub struct Arguments {
    /// Bring this schema up to date, with whatever above it is stale
    #[arg(long, value_name = "SCHEMA")]
    layer: Option<String>,
    /// Only these nodes, in dbt's selector language
    #[arg(short, long, num_args = 1.., value_name = "SELECTOR")]
    select: Vec<String>,
    /// All but these
    #[arg(long, num_args = 1.., value_name = "SELECTOR")]
    exclude: Vec<String>,
    /// Build every selected model from all of its inputs' rows
    #[arg(long)]
    full_refresh: bool,
    /// Stop at the first failure
    #[arg(short = 'x', long)]
    fail_fast: bool,
    /// Variables as YAML or JSON, over those of the project
    #[arg(long, value_name = "YAML")]
    vars: Option<String>,
    /// The dbt project
    #[arg(long, value_name = "DIR")]
    project_dir: Option<PathBuf>,
    /// The target of the profile
    #[arg(short, long)]
    target: Option<String>,
}

pub async fn run(world: &World, arguments: Arguments) -> Result<()> {
    let now = Utc::now();
    let folder = arguments.project_dir.clone().unwrap_or_else(|| world.config.build.project.clone());
    let options = models::Options {
        vars: parse_vars(arguments.vars.as_deref())?,
        target: arguments.target.clone(),
        run_started_at: now,
        full_refresh: arguments.full_refresh,
    };
    let project = models::load(&folder, &options)?;
    project.warnings.iter().for_each(|w| tracing::warn!("{w}"));
    let options = Options {
        select: arguments.select.clone(),
        exclude: arguments.exclude.clone(),
        layer: arguments.layer.clone(),
        full_refresh: arguments.full_refresh,
        fail_fast: arguments.fail_fast,
    };
    let stop = stop_signal("giving up what is not published yet, and leaving")?;
    let summary = execute(world, &project, &options, now, stop, &mut |result| report(result, world.quiet)).await?;
    let said = json!({ "which": "build", "select": arguments.select, "exclude": arguments.exclude, "vars": options_vars(&arguments) });
    let said = match said {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    write_run_results(&summary, &project.target_path, said)?;
    println!("{}", closing(&summary));
    match summary.failure() {
        None => Ok(()),
        Some(kind) => Err(Error::new(kind, failures(&summary))),
    }
}

/// The build itself, as `demo` runs it too.
pub async fn execute(
    world: &World,
    project: &Project,
    options: &Options,
    now: DateTime<Utc>,
    stop: watch::Receiver<bool>,
    done: &mut dyn FnMut(&NodeResult),
) -> Result<Summary> {
    let lake = world.lake()?;
    lake.ensure_reachable().await?;
    let settings = &world.config.build;
    let engine = Engine::new(&lake, settings.memory, settings.threads(), now, world.key()?)?;
    build::run(&engine, project, &world.contracts()?, options, now, stop, done).await
}

fn options_vars(arguments: &Arguments) -> Value {
    arguments.vars.as_deref().map_or(Value::Null, Value::from)
}

fn parse_vars(text: Option<&str>) -> Result<Map<String, Value>> {
    let Some(text) = text else { return Ok(Map::new()) };
    match serde_yaml_ng::from_str(text) {
        Ok(Value::Object(vars)) => Ok(vars),
        Ok(_) => Err(Error::input("--vars takes a mapping, such as '{as_of: 2026-01-31}'")),
        Err(e) => Err(Error::input("--vars is not YAML").because(e)),
    }
}

fn report(result: &NodeResult, quiet: bool) {
    let quietly = matches!(result.status, Status::Success | Status::Fresh);
    let test = result.kind == NodeKind::Test;
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
    let nodes = |status: Status| summary.count(|r| r.kind != NodeKind::Test && r.status == status);
    let (built, fresh) = (nodes(Status::Success), nodes(Status::Fresh));
    let tests = summary.count(|r| r.kind == NodeKind::Test && r.status != Status::Skipped);
    let warned = summary.count(|r| r.status == Status::Warned);
    let failed = summary.count(|r| r.status.is_failure());
    let skipped = summary.count(|r| r.status == Status::Skipped);
    let seconds = summary.elapsed.as_secs_f64();
    let release = match &summary.release {
        Some(r) if r.new => format!("release {}", r.id),
        Some(r) => format!("release {} stands", r.id),
        None => "no release".to_owned(),
    };
    let mut said = if summary.changed_nothing() && failed == 0 && skipped == 0 {
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
        .filter(|r| matches!(r.status, Status::Failed | Status::Error(_)))
        .map(|r| r.name.as_str())
        .collect();
    match summary.failure() {
        Some(Kind::Failed) => format!("failed: {}", failed.join(", ")),
        _ => format!("did not build: {}", failed.join(", ")),
    }
}
