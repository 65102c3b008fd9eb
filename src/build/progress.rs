//! How far a build is: what later nodes stand on, and what came of the earlier ones.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;

use super::gate::Gate;
use super::inputs::Input;
use super::report::NodeResult;
use super::turn::Turn;
use super::{Build, name_of};
use crate::contracts::Contract;
use crate::engine::catalog::Catalog;
use crate::engine::release::Member;
use crate::engine::{self, Need};
use crate::error::{Error, Place, Result};
use crate::lake::{Lake, Snapshot, TableName};
use crate::models::{Node, Project};

/// What came of a node's turn.
#[derive(Default)]
pub struct Outcome {
    /// Of its tests, and of the node itself last.
    pub results: Vec<NodeResult>,
    /// What later nodes read under its name.
    pub made: Option<Made>,
    /// Why whatever depends on it cannot be built.
    pub broken: Option<String>,
}

/// How later nodes see a node, and what they depend on when they read it.
pub enum Made {
    Table { member: Member, schema: SchemaRef, input: Input },
    View { sql: String, provider: Arc<dyn TableProvider>, input: Input },
    Ephemeral(Input),
}

impl Made {
    pub fn table(snapshot: &Snapshot) -> Made {
        let member = Member::Table { version: snapshot.version, table_id: Some(snapshot.table_id.clone()) };
        Made::Table { member, schema: snapshot.schema.clone(), input: Input::table(snapshot) }
    }

    /// The columns that readers find.
    pub fn schema(&self) -> Option<SchemaRef> {
        match self {
            Made::Table { schema, .. } => Some(schema.clone()),
            Made::View { provider, .. } => Some(provider.schema()),
            Made::Ephemeral(_) => None,
        }
    }
}

/// Owned by whoever schedules the build; a turn has a copy of what it may see.
pub struct Progress {
    /// What every table is at, for everything that this build reads.
    catalog: Catalog,
    /// By unique id, for nodes and sources: what a model that reads them depends on.
    inputs: HashMap<String, Input>,
    /// In the order of the schedule, whatever the order in which nodes ended.
    results: BTreeMap<usize, Vec<NodeResult>>,
    /// Nodes whose dependants cannot be built, with the reason.
    broken: BTreeMap<String, String>,
    /// Tables and views that this build stands on or has made.
    pub members: BTreeMap<TableName, Member>,
    /// Nodes that were to be built and were not.
    pub held_back: BTreeSet<TableName>,
    /// Nodes that were to be built and are as they should be.
    pub mended: BTreeSet<TableName>,
    /// Nodes whose turn was ended half-way.
    pub given_up: BTreeSet<TableName>,
    pub interrupted: bool,
}

impl Progress {
    /// Pins every source to the version that the whole build reads.
    pub async fn begin(lake: &Lake, project: &Project, contracts: &[Contract]) -> Result<Progress> {
        let mut catalog = Catalog::of(lake).await?;
        let mut inputs = HashMap::new();
        for source in project.sources.values() {
            let name = TableName::new(source.schema.as_str(), source.identifier.as_str());
            let input = match catalog.snapshot(&name).await? {
                Some(snapshot) => {
                    catalog.pin(&name, snapshot.version);
                    Input::table(&snapshot)
                }
                None => {
                    let contract = contracts.iter().find(|c| name.schema == "bronze" && c.name == name.name);
                    let Some(contract) = contract else {
                        let error =
                            Error::input(format!("there is no table {name} in the lake, and no contract for it"));
                        let text = std::fs::read_to_string(project.root.join(&source.path)).unwrap_or_default();
                        return Err(error
                            .at(Place::in_text(&source.path, &text, source.line, 1))
                            .hint("ingest or load it first, or correct the source's schema and identifier"));
                    };
                    // A topic that nobody has ingested yet has no rows, which is something a model can read.
                    let empty = MemTable::try_new(contract.bronze_schema(), vec![vec![]])
                        .map_err(|e| engine::error("an empty table", e))?;
                    catalog.replace(&name, Arc::new(empty));
                    Input::absent(&name)
                }
            };
            inputs.insert(source.unique_id.clone(), input);
        }
        Ok(Progress {
            catalog,
            inputs,
            results: BTreeMap::new(),
            broken: BTreeMap::new(),
            members: BTreeMap::new(),
            held_back: BTreeSet::new(),
            mended: BTreeSet::new(),
            given_up: BTreeSet::new(),
            interrupted: false,
        })
    }

    /// A turn that sees the tables as they are now.
    pub fn turn(&self, build: &Arc<Build>) -> Turn {
        let (catalog, inputs) = (self.catalog.clone(), self.inputs.clone());
        Turn {
            build: build.clone(),
            catalog,
            inputs,
            gate: Arc::new(Gate::default()),
            need: Need::Usual,
            overrides: None,
        }
    }

    pub fn broken(&self, unique_id: &str) -> Option<&String> {
        self.broken.get(unique_id)
    }

    /// These cannot be built, unless that is known of them already.
    pub fn give_up(&mut self, unique_ids: impl IntoIterator<Item = String>, reason: &str) {
        for id in unique_ids {
            self.broken.entry(id).or_insert_with(|| reason.to_owned());
        }
    }

    /// Takes up what came of a node, whose place in the schedule is `place`.
    pub fn take(&mut self, place: usize, node: &Node, was_selected: bool, outcome: Outcome) {
        let name = name_of(node);
        if was_selected {
            let what = if outcome.broken.is_some() { &mut self.held_back } else { &mut self.mended };
            what.insert(name.clone());
        }
        if let Some(reason) = outcome.broken {
            self.broken.insert(node.unique_id.clone(), reason);
        }
        let input = match outcome.made {
            Some(Made::Table { member, input, .. }) => {
                if let Member::Table { version, .. } = &member {
                    self.catalog.pin(&name, *version);
                }
                self.members.insert(name, member);
                Some(input)
            }
            Some(Made::View { sql, provider, input }) => {
                self.catalog.replace(&name, provider);
                self.members.insert(name, Member::View { sql });
                Some(input)
            }
            Some(Made::Ephemeral(input)) => Some(input),
            None => None,
        };
        self.inputs.extend(input.map(|input| (node.unique_id.clone(), input)));
        self.results.insert(place, outcome.results);
    }

    /// What came of a test that belongs to no node.
    pub fn take_results(&mut self, place: usize, results: Vec<NodeResult>) {
        self.results.insert(place, results);
    }

    pub fn results(&self) -> impl Iterator<Item = &NodeResult> {
        self.results.values().flatten()
    }

    pub fn into_results(self) -> Vec<NodeResult> {
        self.results.into_values().flatten().collect()
    }
}
