//! `medallion ls` and `medallion parse`: what there is in a project, without a lake.

use clap::{Args, ValueEnum};
use serde_json::json;

use super::{Chosen, ProjectArguments};
use crate::cli::World;
use crate::error::Result;
use crate::models::{Node, NodeKind, Project, Source};

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    chosen: Chosen,
    /// What is printed of each node
    #[arg(long, value_enum, default_value = "selector")]
    output: Output,
    /// Only nodes of these kinds
    #[arg(long, num_args = 1.., value_enum, value_name = "KIND")]
    resource_type: Vec<ResourceType>,
    #[command(flatten)]
    at: ProjectArguments,
}

#[derive(Args)]
pub struct ParseArguments {
    #[command(flatten)]
    at: ProjectArguments,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Output {
    Selector,
    Name,
    Path,
    Json,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum ResourceType {
    Model,
    Seed,
    Snapshot,
    Source,
    Test,
    #[value(name = "unit_test")]
    UnitTest,
    All,
}

impl ResourceType {
    fn is_of(self, node: &Node) -> bool {
        match self {
            ResourceType::Model => node.kind == NodeKind::Model,
            ResourceType::Seed => node.kind == NodeKind::Seed,
            ResourceType::Snapshot => node.kind == NodeKind::Snapshot,
            ResourceType::Test => node.kind == NodeKind::Test,
            ResourceType::UnitTest => node.kind == NodeKind::UnitTest,
            ResourceType::Source => false,
            ResourceType::All => true,
        }
    }
}

pub fn run(world: &World, arguments: &Arguments) -> Result<()> {
    let project = arguments.at.load(world, false)?;
    let selected = project.select(&arguments.chosen.select, &arguments.chosen.exclude)?;
    let wanted = &arguments.resource_type;
    let sources = wanted.is_empty() || wanted.iter().any(|t| matches!(t, ResourceType::Source | ResourceType::All));
    for node in project.order().into_iter().filter(|n| selected.contains(&n.unique_id)) {
        if wanted.is_empty() || wanted.iter().any(|t| t.is_of(node)) {
            println!("{}", of_node(node, arguments.output));
        }
    }
    for source in project.sources.values().filter(|s| sources && selected.contains(&s.unique_id)) {
        println!("{}", of_source(source, arguments.output));
    }
    Ok(())
}

fn of_node(node: &Node, output: Output) -> String {
    match output {
        Output::Selector => node.fqn.join("."),
        Output::Name => node.name.clone(),
        Output::Path => node.path.clone(),
        Output::Json => json!({
            "name": node.name,
            "resource_type": node.kind.as_str(),
            "unique_id": node.unique_id,
            "package_name": node.fqn.first(),
            "original_file_path": node.path,
            "alias": node.config.alias,
            "tags": node.config.tags,
            "config": node.config.given,
            "depends_on": { "nodes": node.depends_on, "macros": node.macros },
        })
        .to_string(),
    }
}

fn of_source(source: &Source, output: Output) -> String {
    match output {
        Output::Selector => format!("source:{}", source.fqn.join(".")),
        Output::Name => format!("{}.{}", source.source_name, source.name),
        Output::Path => source.path.clone(),
        Output::Json => json!({
            "name": source.name,
            "resource_type": "source",
            "unique_id": source.unique_id,
            "package_name": source.fqn.first(),
            "original_file_path": source.path,
            "source_name": source.source_name,
            "tags": source.tags,
        })
        .to_string(),
    }
}

/// Loading a project is what tells whether it is right.
pub fn parse(world: &World, arguments: &ParseArguments) -> Result<()> {
    let project = arguments.at.load(world, false)?;
    println!("{}: {}", project.name, counted(&project));
    Ok(())
}

fn counted(project: &Project) -> String {
    let of = |kind: NodeKind| project.nodes.values().filter(|n| n.kind == kind).count();
    format!(
        "{} models, {} seeds, {} snapshots, {} tests, {} unit tests, {} sources",
        of(NodeKind::Model),
        of(NodeKind::Seed),
        of(NodeKind::Snapshot),
        of(NodeKind::Test),
        of(NodeKind::UnitTest),
        project.sources.len()
    )
}
