//! `medallion docs`: the documentation of a project and its tables, made and shown.

use chrono::Utc;
use clap::{Args, Subcommand};

use super::sql::{compile_into_target, has_sql};
use super::{ProjectArguments, invocation};
use crate::cli::{World, stop_signal};
use crate::docs;
use crate::error::{Error, Result};
use crate::models::{self, Node};

#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes manifest.json, catalog.json, column_lineage.json and the site index.html into the target folder
    Generate(GenerateArguments),
    /// Shows the site on a port of this machine
    Serve(ServeArguments),
}

#[derive(Args)]
struct GenerateArguments {
    #[command(flatten)]
    at: ProjectArguments,
}

#[derive(Args)]
struct ServeArguments {
    /// The port; 0 for any that is free
    #[arg(long, default_value_t = 8080)]
    port: u16,
    #[command(flatten)]
    at: ProjectArguments,
}

pub async fn run(world: &World, arguments: &Arguments) -> Result<()> {
    match &arguments.command {
        Command::Generate(arguments) => generate(world, arguments).await,
        Command::Serve(arguments) => serve(world, arguments).await,
    }
}

async fn generate(world: &World, arguments: &GenerateArguments) -> Result<()> {
    let project = arguments.at.load(world, false)?;
    let invocation = invocation(Utc::now());
    let nodes: Vec<&Node> = project.order().into_iter().filter(|node| has_sql(node)).collect();
    let compiled = compile_into_target(world, &project, &nodes, &invocation)?;
    let engine = world.engine()?;
    engine.lake.ensure_reachable().await?;
    let generated = docs::generate(&engine, &project, &invocation, &compiled).await?;
    if generated.described < generated.of {
        tracing::info!("{} of {} tables are in the lake; medallion build", generated.described, generated.of);
    }
    println!("{}", project.target_path.join(docs::SITE).display());
    Ok(())
}

async fn serve(world: &World, arguments: &ServeArguments) -> Result<()> {
    let target = models::target_path(&arguments.at.folder(world))?;
    if !target.join(docs::SITE).is_file() {
        return Err(Error::input(format!("there is no site in {}", target.display())).hint("medallion docs generate"));
    }
    let stop = stop_signal("leaving")?;
    docs::serve(&target, arguments.port, stop, |address| println!("http://{address}/")).await
}
