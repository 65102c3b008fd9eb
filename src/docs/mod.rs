//! What a project and its tables are, for people: catalog.json, the lineage of columns, and a site of one file.
//!
//! The site needs no server and nothing from the network: all that it shows stands in it.

mod catalog;
mod columns;
mod serve;
mod site;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

pub use self::serve::serve;
use crate::engine::catalog::Catalog;
use crate::engine::{Engine, release};
use crate::error::Result;
use crate::lake::TableName;
use crate::models::artifact::{self, Invocation};
use crate::models::{self, Materialized, Project};

pub const CATALOG: &str = "catalog.json";
pub const COLUMN_LINEAGE: &str = "column_lineage.json";
pub const SITE: &str = "index.html";

/// How much of the lake the documentation shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generated {
    /// Tables and views that are there.
    pub described: usize,
    /// Of so many that the project knows.
    pub of: usize,
}

/// Writes manifest, catalogue, lineage and site into the target folder; `compiled` is the SQL of the nodes by unique id.
pub async fn generate(
    engine: &Engine,
    project: &Project,
    invocation: &Invocation,
    compiled: &BTreeMap<String, String>,
) -> Result<Generated> {
    // Readers see the newest release, so that is what is described.
    let release = release::current(engine).await?;
    let shown = Arc::new(release::catalog(engine, &engine.lake, release.as_ref(), false).await?);
    let relations = relations(project);
    let manifest = project.manifest(invocation, compiled);
    let catalog = catalog::catalog(engine, &shown, project, &relations, invocation).await?;
    let described = catalog.described;
    let columns = columns::lineage(engine, &shown, project, &relations, compiled, invocation).await;
    let folder = &project.target_path;
    artifact::write(folder, models::MANIFEST, &manifest.to_string())?;
    artifact::write(folder, CATALOG, &catalog.artifact.to_string())?;
    artifact::write(folder, COLUMN_LINEAGE, &columns.to_string())?;
    artifact::write(folder, SITE, &site::page(&project.name, &manifest, &catalog.artifact, &columns))?;
    Ok(Generated { described, of: relations.len() })
}

/// By table or view, the unique id of the node or source that it belongs to.
fn relations(project: &Project) -> BTreeMap<TableName, &str> {
    let nodes = project.nodes.values();
    let nodes = nodes.filter(|n| !n.kind.is_test() && n.config.materialized != Materialized::Ephemeral);
    let nodes = nodes.map(|n| (TableName::new(&*n.config.schema, &*n.config.alias), n.unique_id.as_str()));
    let sources = project.sources.values();
    let sources = sources.map(|s| (TableName::new(&*s.schema, &*s.identifier), s.unique_id.as_str()));
    sources.chain(nodes).collect()
}

/// A catalogue of tables as the project's artifact has it.
struct Described {
    artifact: Value,
    described: usize,
}

/// What a session reads, shared by those who ask about its tables.
type Shown = Arc<Catalog>;
