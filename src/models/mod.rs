//! SQL, YAML and Jinja to a checked graph: a dbt project is read, rendered and linked here. No engine, no network.
//!
//! What is loaded is whole: every name that a template uses means something, every key and value of a configuration is
//! known, no node is made from itself. What dbt has and this does not is refused by its name; nothing is ignored. An
//! error names the file, the line and the column.
//!
//! [`load`] reads the project file (`project`), the profile (`profile`), the packages (`packages`), macros (`macros`,
//! `blocks`), properties (`properties`, on `yaml`), then renders every template once and links what it found (`graph`).
//! The [`Project`] then selects nodes (`select`) and compiles them (`compile`).
//!
//! Templates are rendered by `jinja`, their literals rewritten by `literals` to the values of `values`; what they may name
//! is in `scope` and `context`, and there in `functions`, `modules`, `adapter` and `queries`, which ask the [`Database`] that
//! is handed in.

mod adapter;
mod alignment;
pub mod artifact;
mod blocks;
mod checks;
mod compile;
mod config;
mod context;
mod contract;
mod database;
mod defer;
mod exposure;
mod files;
mod functions;
mod graph;
mod ignore;
mod jinja;
mod layout;
mod literals;
mod load;
mod macros;
mod manifest;
mod modules;
mod moment;
mod node;
mod operation;
mod packages;
mod problem;
mod profile;
mod project;
mod properties;
mod queries;
mod relation;
mod requirement;
mod returned;
mod scope;
mod select;
mod snapshot;
mod table;
#[cfg(test)]
mod tests;
mod unit_tests;
mod values;
mod written;
mod yaml;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

pub use compile::Compiled;
pub use config::{Access, Materialized, NodeConfig, SchemaChange, Severity, Strategy, TestConfig};
pub use contract::{Constraint, ConstraintKind};
pub use database::{Answer, Cell, ColumnType, Database, Described};
pub use exposure::{Exposure, Group, Owner};
pub use load::load;
pub use manifest::FILE as MANIFEST;
pub use node::{GenericTest, Node, NodeKind, Source, Test};
pub use packages::install as install_packages;
pub use profile::Target;
pub use project::{clean_targets, find_root, target_path};
pub use properties::{Age, ColumnDoc, DocBlock, Freshness, MacroDoc, Period};
pub use relation::Relation;
pub use select::{Indirect, RESOURCE_TYPES, Selection, State};
pub use snapshot::{Deletions, MetaColumns, SnapshotConfig, VersionedBy};
pub use unit_tests::{Overrides, Rows, UnitTest};

/// What the command line adds to a project.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// These win over the variables of dbt_project.yml.
    pub vars: Map<String, Value>,
    /// The name of a target of the profile; else the profile's own choice.
    pub target: Option<String>,
    /// The name of a profile; else the project's own choice.
    pub profile: Option<String>,
    /// The one folder in which profiles.yml is looked for.
    pub profiles_dir: Option<PathBuf>,
    /// The folder for artifacts, if not the project's own choice.
    pub target_path: Option<PathBuf>,
    pub run_started_at: DateTime<Utc>,
    pub full_refresh: bool,
}

/// What one run adds to a template.
#[derive(Debug, Clone, Default)]
pub struct RunContext {
    /// Whether the table of this very node exists and is to be added to; a full refresh overrules it.
    pub is_incremental: bool,
    pub invocation_id: String,
    pub full_refresh: bool,
    /// What a unit test puts in the place of a project's own.
    pub overrides: Option<Arc<Overrides>>,
    /// The verb of the command, as in `build`.
    pub verb: String,
    /// The unique ids of what was selected.
    pub selected: Arc<Vec<String>>,
    /// What the queries of templates are asked of; without one they are errors.
    pub database: Option<Arc<dyn Database>>,
}

/// A loaded project.
pub struct Project {
    pub name: String,
    pub root: PathBuf,
    pub target: Target,
    /// The folder for artifacts.
    pub target_path: PathBuf,
    pub nodes: BTreeMap<String, Node>,
    pub sources: BTreeMap<String, Source>,
    pub exposures: BTreeMap<String, Exposure>,
    pub groups: BTreeMap<String, Group>,
    /// What is switched off, which nothing may name.
    pub disabled: Vec<Node>,
    /// The docs blocks of Markdown files.
    pub docs: Vec<DocBlock>,
    /// What properties say about macros, by name.
    pub described_macros: BTreeMap<String, MacroDoc>,
    selectors: BTreeMap<String, select::definition::Selector>,
    /// What is odd but harms nothing, each with its place.
    pub warnings: Vec<String>,
    order: Vec<String>,
    graph: graph::Graph,
    index: Arc<graph::Index>,
    graph_shown: OnceLock<minijinja::Value>,
    jinja: jinja::Jinja,
    macros: macros::Macros,
    shared: Arc<scope::Shared>,
}

impl Project {
    /// All nodes, parents first; nodes that do not depend on each other stand by name.
    pub fn order(&self) -> Vec<&Node> {
        self.order.iter().filter_map(|id| self.nodes.get(id)).collect()
    }

    /// The tables and sources that the node's SQL reads; an ephemeral model stands for what it reads itself.
    pub fn tables_read_by(&self, unique_id: &str) -> Vec<String> {
        let parents = self.nodes.get(unique_id).map_or(&[][..], |node| &node.depends_on);
        let is_ephemeral =
            |id: &str| self.nodes.get(id).is_some_and(|n| n.config.materialized == Materialized::Ephemeral);
        let tables = parents.iter().flat_map(|parent| match is_ephemeral(parent) {
            true => self.tables_read_by(parent),
            false => vec![parent.clone()],
        });
        tables.collect()
    }

    /// Where the table of a node or a source lies.
    pub fn relation(&self, unique_id: &str) -> Option<Relation> {
        self.index.relation(unique_id).cloned()
    }

    pub fn compiled_folder(&self) -> PathBuf {
        self.target_path.join("compiled").join(&self.name)
    }

    /// Where the SQL of a node is written when it is compiled.
    pub fn compiled_path(&self, node: &Node) -> PathBuf {
        let folder = self.compiled_folder().join(&node.path);
        match node.test.as_ref().and_then(|test| test.generic.as_ref()) {
            // Several tests stand in one properties file, and several snapshots in one of SQL.
            _ if node.kind == NodeKind::Snapshot => folder.join(format!("{}.sql", node.name)),
            Some(_) => folder.join(format!("{}.sql", node.name)),
            None => folder,
        }
    }
}
