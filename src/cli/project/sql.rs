//! `medallion compile` and `medallion show`: the SQL of models, and some of the rows that it gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::Utc;
use clap::Args;

use super::{Chosen, Deferral, ProjectArguments, invocation, write_manifest};
use crate::build;
use crate::cli::World;
use crate::error::{Error, Result};
use crate::models::artifact::Invocation;
use crate::models::{Database, Node, NodeKind, Project, RunContext, Selection};
use crate::shell::Format;

#[derive(Args)]
pub struct CompileArguments {
    #[command(flatten)]
    chosen: Chosen,
    /// This text instead of the project's files
    #[arg(long, value_name = "SQL", conflicts_with_all = ["select", "exclude"])]
    inline: Option<String>,
    #[command(flatten)]
    at: ProjectArguments,
}

#[derive(Args)]
pub struct ShowArguments {
    #[command(flatten)]
    chosen: Chosen,
    /// The rows of this query instead of a model's
    #[arg(long, value_name = "SQL", conflicts_with_all = ["select", "exclude"])]
    inline: Option<String>,
    #[command(flatten)]
    deferral: Deferral,
    /// So many rows of each; -1 for all of them
    #[arg(long, default_value_t = 5, allow_negative_numbers = true)]
    limit: i64,
    /// table, csv, tsv, json, ndjson or parquet
    #[arg(long, default_value = "table")]
    format: String,
    #[command(flatten)]
    at: ProjectArguments,
}

/// The chosen nodes that have SQL.
fn with_sql<'p>(project: &'p Project, selection: &Selection, tests: bool) -> Result<Vec<&'p Node>> {
    let selected = project.selected(selection)?;
    let wanted = |n: &&Node| has_sql(n) && (tests || n.kind == NodeKind::Model);
    Ok(project.order().into_iter().filter(|n| selected.contains(&n.unique_id)).filter(wanted).collect())
}

pub fn has_sql(node: &Node) -> bool {
    matches!(node.kind, NodeKind::Model | NodeKind::Snapshot | NodeKind::Test)
}

/// Writes the SQL of each node below the target folder, and prints that of a single model.
pub fn compile(world: &World, arguments: &CompileArguments) -> Result<()> {
    let selection = arguments.chosen.selection()?;
    let project = arguments.at.load(world, false)?;
    if let Some(text) = &arguments.inline {
        let database = Some(Arc::new(build::ReleasedTables::new(world.engine()?)) as Arc<dyn Database>);
        let run = RunContext { verb: "compile".to_owned(), database, ..RunContext::default() };
        println!("{}", project.compile_inline(text, &run)?.trim());
        return Ok(());
    }
    let nodes = with_sql(&project, &selection, true)?;
    let invocation = invocation(Utc::now());
    let compiled = compile_into_target(world, &project, &nodes, &invocation)?;
    write_manifest(&project, &invocation, &compiled)?;
    let mut models = nodes.iter().filter(|n| n.kind == NodeKind::Model);
    match (models.next(), models.next()) {
        (Some(only), None) => println!("{}", compiled.get(&only.unique_id).map_or("", |sql| sql.trim())),
        _ => println!("{} files in {}", nodes.len(), project.compiled_folder().display()),
    }
    Ok(())
}

/// The SQL of the nodes by unique id, each written to its file below the target folder.
pub fn compile_into_target(
    world: &World,
    project: &Project,
    nodes: &[&Node],
    invocation: &Invocation,
) -> Result<BTreeMap<String, String>> {
    let run = RunContext {
        invocation_id: invocation.id.clone(),
        verb: "compile".to_owned(),
        selected: Arc::new(nodes.iter().map(|n| n.unique_id.clone()).collect()),
        database: Some(Arc::new(build::ReleasedTables::new(world.engine()?))),
        ..RunContext::default()
    };
    let mut compiled = BTreeMap::new();
    for node in nodes {
        let sql = project.compile(&node.unique_id, &run)?.sql;
        let path = project.compiled_path(node);
        path.parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&path, &sql))
            .map_err(|e| Error::outside(format!("cannot write {}", path.display())).because(e))?;
        compiled.insert(node.unique_id.clone(), sql);
    }
    Ok(compiled)
}

/// Runs the query of each chosen model on the tables as they are.
pub async fn show(world: &World, arguments: &ShowArguments) -> Result<()> {
    if arguments.chosen.select.is_empty() && arguments.inline.is_none() {
        return Err(Error::input("show wants a model").hint("medallion show --select MODEL"));
    }
    let selection = arguments.chosen.selection()?;
    let mut project = arguments.at.load(world, false)?;
    arguments.deferral.apply(world, &mut project, &selection).await?;
    let project = Arc::new(project);
    let format: Format = arguments.format.parse()?;
    let engine = Arc::new(world.engine()?);
    engine.lake.ensure_reachable().await?;
    let limit = usize::try_from(arguments.limit).ok();
    if let Some(text) = &arguments.inline {
        let frame = build::preview_inline(&engine, &project, &world.contracts()?, text, limit).await?;
        return crate::shell::print(format, frame).await.map(drop);
    }
    for node in with_sql(&project, &selection, false)? {
        let frame = build::preview(&engine, &project, &world.contracts()?, node, limit).await?;
        if format == Format::Table {
            println!("{}", node.name);
        }
        crate::shell::print(format, frame).await?;
    }
    Ok(())
}
