//! `medallion source freshness`: whether sources still get their rows.

use std::path::{Path, PathBuf};
use std::time::Instant;

use chrono::Utc;
use clap::{Args, Subcommand};

use super::{Chosen, ProjectArguments, invocation};
use crate::build::{self, Judgement, SourceAge};
use crate::cli::World;
use crate::cli::status::age;
use crate::error::{Error, Result};
use crate::models::Source;
use crate::models::artifact;

const ARTIFACT: &str = "sources.json";

#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// How long ago the newest row of each source came, against its warn_after and error_after
    #[command(alias = "snapshot-freshness")]
    Freshness(FreshnessArguments),
}

#[derive(Args)]
struct FreshnessArguments {
    #[command(flatten)]
    chosen: Chosen,
    /// Where the results are written [default: sources.json in the target folder]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    at: ProjectArguments,
}

pub async fn run(world: &World, arguments: &Arguments) -> Result<()> {
    let Command::Freshness(arguments) = &arguments.command;
    let selection = arguments.chosen.selection()?;
    let project = arguments.at.load(world, false)?;
    let selected = project.selected(&selection)?;
    let chosen: Vec<&Source> = project.sources.values().filter(|s| selected.contains(&s.unique_id)).collect();
    let (invocation, began) = (invocation(Utc::now()), Instant::now());
    let engine = world.engine()?;
    engine.lake.ensure_reachable().await?;
    let ages = build::freshness(&engine, &project, &chosen).await?;
    let written = build::sources_artifact(&ages, &invocation, began.elapsed()).to_string();
    let path = arguments.output.clone().unwrap_or_else(|| project.target_path.join(ARTIFACT));
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| Error::input(format!("--output: {} names no file", path.display())))?;
    artifact::write(path.parent().unwrap_or(Path::new("")), name, &written)?;
    ages.iter().for_each(tell);
    if ages.is_empty() {
        println!("no source has a freshness to look at: give it warn_after or error_after");
    }
    let stale = ages.iter().filter(|a| !matches!(a.found, Ok((Judgement::Pass | Judgement::Warn, _))));
    match stale.map(|a| a.table.to_string()).collect::<Vec<_>>() {
        stale if stale.is_empty() => Ok(()),
        stale => Err(Error::failed(format!("not fresh: {}", stale.join(", ")))),
    }
}

fn tell(source: &SourceAge) {
    let (word, said) = match &source.found {
        Ok((judgement, newest)) => {
            (judgement.word(), newest.map_or_else(|| "no row yet".to_owned(), |at| age(source.looked_at, at)))
        }
        Err(why) => ("ERROR", why.clone()),
    };
    println!("{word:>5}  {:<45} {said}", source.table.to_string());
}
