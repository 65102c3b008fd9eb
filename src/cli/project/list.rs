//! `medallion ls` and `medallion parse`: what there is in a project, without a lake.

use std::collections::BTreeMap;

use chrono::Utc;
use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use super::{Chosen, ProjectArguments, invocation};
use crate::cli::World;
use crate::error::Result;
use crate::models::{NodeKind, Project};

/// What `--output json` tells of each resource, unless other keys of the manifest are asked for.
const KEYS: &[&str] = &[
    "name",
    "resource_type",
    "unique_id",
    "package_name",
    "original_file_path",
    "alias",
    "source_name",
    "tags",
    "config",
    "depends_on",
];

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    chosen: Chosen,
    /// What is printed of each resource
    #[arg(long, value_enum, default_value = "selector")]
    output: Output,
    /// Which keys of the manifest JSON tells, as in "name config.materialized"
    #[arg(long, num_args = 1.., value_name = "KEY")]
    output_keys: Vec<String>,
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

pub fn run(world: &World, arguments: &Arguments) -> Result<()> {
    let selection = arguments.chosen.selection()?;
    let project = arguments.at.load(world, false)?;
    let selected = project.selected(&selection)?;
    let nodes = project.order().into_iter().map(|node| {
        let selector = node.fqn.join(".");
        (&node.unique_id, [selector, node.name.clone(), node.path.clone()])
    });
    let sources = project.sources.values().map(|source| {
        let names = [format!("source:{}", source.fqn.join(".")), format!("{}.{}", source.source_name, source.name)];
        let [selector, name] = names;
        (&source.unique_id, [selector, name, source.path.clone()])
    });
    let exposures = project.exposures.values().map(|exposure| {
        let selector = format!("exposure:{}", exposure.fqn.join("."));
        (&exposure.unique_id, [selector, exposure.name.clone(), exposure.path.clone()])
    });
    let manifest = match arguments.output {
        Output::Json => project.manifest(&invocation(Utc::now()), &BTreeMap::new()),
        _ => Value::Null,
    };
    let keys: Vec<&str> = arguments.output_keys.iter().flat_map(|keys| keys.split([' ', ','])).collect();
    for (id, [selector, name, path]) in nodes.chain(sources).chain(exposures).filter(|(id, _)| selected.contains(*id)) {
        match arguments.output {
            Output::Selector => println!("{selector}"),
            Output::Name => println!("{name}"),
            Output::Path => println!("{path}"),
            Output::Json => println!("{}", Value::Object(told(&manifest, id, &keys))),
        }
    }
    Ok(())
}

/// Some keys of a resource's entry in the manifest. A key with dots leads into it.
fn told(manifest: &Value, id: &str, keys: &[&str]) -> Map<String, Value> {
    let sections = ["nodes", "sources", "exposures"];
    let Some(entry) = sections.iter().find_map(|section| manifest.get(section)?.get(id)) else { return Map::new() };
    let keys = if keys.is_empty() { KEYS } else { keys };
    let found = keys.iter().filter(|key| !key.is_empty()).filter_map(|key| {
        let value = key.split('.').try_fold(entry, |value, part| value.get(part))?;
        Some(((*key).to_owned(), value.clone()))
    });
    found.collect()
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
