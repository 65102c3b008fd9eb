//! The nodes and sources of a project.

use serde_json::{Map, Value};

use super::config::{Layer, NodeConfig, Resource, TestConfig};
use super::contract::Constraint;
use super::graph::Dependency;
use super::jinja;
use super::properties::{ColumnDoc, Freshness};
use super::relation::Relation;
use super::scope::Subject;
use super::unit_tests::UnitTest;
use crate::error::Place;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeKind {
    Model,
    Seed,
    Snapshot,
    Test,
    UnitTest,
}

impl NodeKind {
    /// As dbt and its selectors spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            NodeKind::Model => "model",
            NodeKind::Seed => "seed",
            NodeKind::Snapshot => "snapshot",
            NodeKind::Test => "test",
            NodeKind::UnitTest => "unit_test",
        }
    }

    /// Whether it makes nothing, but says whether something else is right.
    pub fn is_test(self) -> bool {
        matches!(self, NodeKind::Test | NodeKind::UnitTest)
    }

    pub(super) fn resource(self) -> Resource {
        match self {
            NodeKind::Model => Resource::Model,
            NodeKind::Seed => Resource::Seed,
            NodeKind::Snapshot => Resource::Snapshot,
            NodeKind::Test => Resource::Test,
            NodeKind::UnitTest => Resource::UnitTest,
        }
    }
}

/// A model, a seed, a snapshot or a test.
#[derive(Debug, Clone)]
pub struct Node {
    /// As in `model.telecom.fact_calls`.
    pub unique_id: String,
    pub kind: NodeKind,
    pub name: String,
    /// The project, the folders and the name.
    pub fqn: Vec<String>,
    /// From the root of the project, with `/` between the parts.
    pub path: String,
    /// Where in that file the node begins; a generic test begins in a properties file.
    pub line: usize,
    /// The text as it was written; empty for a seed.
    pub raw: String,
    pub config: NodeConfig,
    /// Unique ids of nodes and sources, in the order of their first use.
    pub depends_on: Vec<String>,
    /// The same as the template spells them.
    pub(super) names: Vec<Dependency>,
    /// Unique ids of the macros that it names, directly or through others.
    pub macros: Vec<String>,
    pub description: String,
    pub columns: Vec<ColumnDoc>,
    /// What an enforced contract says of the table as a whole.
    pub constraints: Vec<Constraint>,
    /// The properties file that describes it.
    pub patch: Option<String>,
    /// Its configuration before any Jinja in it was rendered, so that another environment does not make it another one.
    pub(super) written: Layer,
    /// Present exactly if the node is a data test.
    pub test: Option<Test>,
    /// Present exactly if the node is a unit test.
    pub unit: Option<UnitTest>,
}

impl Node {
    /// The name of the template that its text is; a file may hold several snapshots.
    pub(super) fn template(&self) -> String {
        template(self.kind, &self.path, &self.name)
    }

    pub(super) fn subject<'a>(&'a self, relation: &'a Relation) -> Subject<'a> {
        Subject {
            unique_id: &self.unique_id,
            name: &self.name,
            kind: self.kind.as_str(),
            path: &self.path,
            fqn: &self.fqn,
            description: &self.description,
            text: &self.raw,
            relation,
            config: &self.config.given,
        }
    }
}

pub(super) fn template(kind: NodeKind, path: &str, name: &str) -> String {
    match kind {
        NodeKind::Snapshot => jinja::macro_template(path, name),
        _ => path.to_owned(),
    }
}

/// What a test node has beyond others. Its SQL selects the failing rows.
#[derive(Debug, Clone)]
pub struct Test {
    pub config: TestConfig,
    /// The node or source that a generic test stands at.
    pub attached_node: Option<String>,
    /// None for a singular test.
    pub generic: Option<GenericTest>,
}

#[derive(Debug, Clone)]
pub struct GenericTest {
    /// The name of the test, as in `not_null`.
    pub name: String,
    pub column: Option<String>,
    /// As written in YAML, not rendered.
    pub arguments: Map<String, Value>,
    pub(super) quote: bool,
    pub(super) subject: Dependency,
    pub(super) condition: Option<String>,
    /// Where the test is asked for, and where its column is named.
    pub place: Place,
    pub column_place: Option<Place>,
}

/// A table that something else fills.
#[derive(Debug, Clone)]
pub struct Source {
    /// As in `source.telecom.bronze.call_events`.
    pub unique_id: String,
    pub source_name: String,
    /// What the source that the table belongs to is.
    pub source_description: String,
    pub name: String,
    pub schema: String,
    pub identifier: String,
    pub fqn: Vec<String>,
    pub path: String,
    pub line: usize,
    pub description: String,
    pub columns: Vec<ColumnDoc>,
    pub tags: Vec<String>,
    pub meta: Map<String, Value>,
    pub freshness: Option<Freshness>,
    pub loaded_at_field: Option<String>,
    pub loaded_at_query: Option<String>,
}
