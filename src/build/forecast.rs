//! What a build would do, and why, before anything runs.
//!
//! It asks the same question of each node as the build does ([`super::plan`]), of the logs alone. What a node would do to
//! those after it is known only once it has run; until then they are told by the most that can become of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::RwLock;
use uuid::Uuid;

use super::inputs::Input;
use super::plan::Plan;
use super::progress::{Made, Outcome, Progress};
use super::turn::Turn;
use super::{Build, Options, name_of, selection};
use crate::contracts::Contract;
use crate::engine::Engine;
use crate::error::{Kind, Result};
use crate::lake::{DataFile, Snapshot, TableName};
use crate::models::{Materialized, Node, NodeKind, Project, Strategy};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Fresh,
    Increment,
    Full,
    View,
    Ephemeral,
    /// It cannot be built as it is written.
    Error,
}

impl Action {
    pub fn word(self) -> &'static str {
        match self {
            Action::Fresh => "fresh",
            Action::Increment => "increment",
            Action::Full => "full",
            Action::View => "view",
            Action::Ephemeral => "ephemeral",
            Action::Error => "error",
        }
    }

    /// Whether those that read it will find other rows.
    fn changes_rows(self) -> bool {
        matches!(self, Action::Increment | Action::Full | Action::Error)
    }
}

/// Files as their log tells of them. Rows are unknown where a log does not count them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    pub files: usize,
    pub rows: Option<u64>,
    pub bytes: u64,
}

impl Size {
    fn of<'a>(files: impl IntoIterator<Item = &'a Arc<DataFile>>) -> Size {
        let start = Size { files: 0, rows: Some(0), bytes: 0 };
        files.into_iter().fold(start, |size, file| Size {
            files: size.files + 1,
            rows: size.rows.zip(file.rows()).map(|(a, b)| a + b),
            bytes: size.bytes + file.size,
        })
    }

    fn and(self, other: Size) -> Size {
        let rows = self.rows.zip(other.rows).map(|(a, b)| a + b);
        Size { files: self.files + other.files, rows, bytes: self.bytes + other.bytes }
    }
}

/// What would become of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    pub unique_id: String,
    pub relation: String,
    pub action: Action,
    pub reason: String,
    /// For an increment the files that changed; else all of its inputs, as they are now.
    pub reads: Size,
    /// What is there and could be replaced.
    pub replaces: Size,
}

/// Of each selected node, in the order of the project, what a build would do. Nothing is written.
pub async fn forecast(
    engine: &Arc<Engine>,
    project: &Arc<Project>,
    contracts: &[Contract],
    options: Options,
    started_at: DateTime<Utc>,
) -> Result<Vec<Forecast>> {
    let selected = selection(project, &options)?;
    let mut progress = Progress::begin(&engine.lake, project, contracts).await?;
    let build = Arc::new(Build {
        engine: engine.clone(),
        project: project.clone(),
        options,
        id: Uuid::new_v4(),
        started_at,
        lease: None,
        memory: RwLock::default(),
        selected: Arc::default(),
    });
    let mut ahead = Ahead { turning: BTreeSet::new(), sizes: BTreeMap::new() };
    let mut forecasts = Vec::new();
    for (place, node) in project.order().into_iter().enumerate().filter(|(_, n)| !n.kind.is_test()) {
        let mut turn = progress.turn(&build);
        if selected.contains(&node.unique_id) {
            let forecast = match ahead.of(&mut turn, node).await {
                Ok(forecast) => forecast,
                Err(e) if matches!(e.kind(), Kind::Input | Kind::Failed) => blank(node, Action::Error, e.to_string()),
                Err(e) => return Err(e.context(format!("planning {}", node.name))),
            };
            if forecast.action.changes_rows() {
                ahead.turning.insert(node.unique_id.clone());
            }
            forecasts.push(forecast);
        }
        let inherits = matches!(node.config.materialized, Materialized::View | Materialized::Ephemeral);
        let made = match turn.catalog.snapshot(&name_of(node)).await? {
            _ if inherits && node.kind == NodeKind::Model => {
                if node.depends_on.iter().any(|d| ahead.turning.contains(d)) {
                    ahead.turning.insert(node.unique_id.clone());
                }
                Made::Ephemeral(turn.inputs_of(node))
            }
            Some(snapshot) => Made::table(&snapshot),
            None => Made::Ephemeral(Input::absent(&name_of(node))),
        };
        progress.take(place, node, false, Outcome { made: Some(made), ..Outcome::default() });
    }
    Ok(forecasts)
}

/// What is known of the nodes that come first.
struct Ahead {
    /// Nodes whose rows will be others by the time that later nodes are built.
    turning: BTreeSet<String>,
    sizes: BTreeMap<TableName, Size>,
}

impl Ahead {
    async fn of(&mut self, turn: &mut Turn, node: &Node) -> Result<Forecast> {
        let compiled = turn.compile(node)?;
        match (node.kind, node.config.materialized) {
            (NodeKind::Model, Materialized::Ephemeral) => return Ok(blank(node, Action::Ephemeral, String::new())),
            (NodeKind::Model, Materialized::View) => return Ok(blank(node, Action::View, String::new())),
            _ => {}
        }
        let table = turn.lake().table(&name_of(node))?;
        let published = table.latest().await?;
        let log = match &published {
            Some(snapshot) => table.transactions(snapshot.version).await?,
            None => HashMap::new(),
        };
        let plan = turn.plan(node, &compiled, published.as_ref(), &log).await?;
        let (action, reason, reads) = match plan {
            Plan::Full { reason } => (Action::Full, reason, None),
            Plan::History if published.is_none() => (Action::Full, "it was never built".to_owned(), None),
            Plan::History => (Action::Increment, "its query gives versions of rows".to_owned(), None),
            Plan::Addition(_) => (Action::Increment, "its query says what there is to add".to_owned(), None),
            Plan::Fresh => match self.first_turning(turn, node) {
                None => (Action::Fresh, String::new(), Some(Size::of([]))),
                Some(parent) => self.behind(turn, node, published.as_ref(), &parent).await?,
            },
            Plan::Increment(touches) => {
                let changed: Vec<String> = touches.iter().map(|t| t.snapshot.name.to_string()).collect();
                let files = touches.iter().map(|t| Size::of(t.added.iter().chain(&t.removed)));
                let reads = files.fold(Size::of([]), Size::and);
                match self.first_turning(turn, node) {
                    None if changed.is_empty() => (Action::Fresh, "no row changed".to_owned(), Some(reads)),
                    None => (Action::Increment, format!("{} changed", changed.join(", ")), Some(reads)),
                    Some(parent) => self.behind(turn, node, published.as_ref(), &parent).await?,
                }
            }
        };
        let reads = match reads {
            Some(reads) => reads,
            None => self.all_inputs(turn, node).await?,
        };
        let replaces = published.filter(|_| action != Action::Fresh).map_or(Size::of([]), |p| Size::of(&p.files));
        Ok(Forecast { reads, replaces, ..blank(node, action, reason) })
    }

    fn first_turning(&self, turn: &Turn, node: &Node) -> Option<String> {
        let id = node.depends_on.iter().find(|d| self.turning.contains(*d))?;
        Some(turn.build.project.nodes.get(id)?.name.clone())
    }

    /// What becomes of a node whose inputs are built before it.
    async fn behind(
        &self,
        turn: &Turn,
        node: &Node,
        published: Option<&Snapshot>,
        parent: &str,
    ) -> Result<(Action, String, Option<Size>)> {
        let reason = format!("{parent} is built before it");
        if node.config.materialized != Materialized::Incremental || published.is_none() {
            return Ok((Action::Full, reason, None));
        }
        if node.config.strategy == Strategy::Changes {
            for id in node.depends_on.iter().filter(|d| self.turning.contains(*d)) {
                let name = turn.inputs.get(id).and_then(|i| i.own.clone());
                let mapped = match &name {
                    Some(name) => {
                        turn.catalog.snapshot(name).await?.is_some_and(|s| turn.mapping(node, name, &s).is_some())
                    }
                    None => false,
                };
                if !mapped {
                    return Ok((
                        Action::Full,
                        format!("{reason}, and `inputs` does not say which rows that touches"),
                        None,
                    ));
                }
            }
        }
        Ok((Action::Increment, reason, Some(Size { rows: None, ..Size::default() })))
    }

    async fn all_inputs(&mut self, turn: &Turn, node: &Node) -> Result<Size> {
        let mut all = Size::of([]);
        for name in turn.inputs_of(node).tables.keys() {
            let size = match self.sizes.get(name) {
                Some(size) => *size,
                None => {
                    let snapshot = turn.catalog.snapshot(name).await?;
                    *self.sizes.entry(name.clone()).or_insert(snapshot.map_or(Size::of([]), |s| Size::of(&s.files)))
                }
            };
            all = all.and(size);
        }
        Ok(all)
    }
}

fn blank(node: &Node, action: Action, reason: String) -> Forecast {
    let relation = name_of(node).to_string();
    let (reads, replaces) = (Size::of([]), Size::of([]));
    Forecast { unique_id: node.unique_id.clone(), relation, action, reason, reads, replaces }
}
