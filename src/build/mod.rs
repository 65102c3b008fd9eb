//! A project to tables: plan, stage, test, publish, release.
//!
//! What readers see has passed its tests. A model's rows are first written beside its table, where no version names
//! them; its tests read that candidate; only then one commit publishes it, with the versions of its inputs in it. A
//! failed test deletes the candidate, leaves the published version as it was and skips whatever depends on it. At the
//! end a release names the versions that belong together.

mod check;
mod full;
mod incremental;
mod inputs;
mod plan;
mod preview;
mod publish;
mod release;
mod replace;
mod report;
mod seed;
mod snapshot;
mod strategy;
mod unit;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use datafusion::datasource::{MemTable, ViewTable};
use tokio::sync::watch;
use uuid::Uuid;

pub use self::preview::preview;
pub use self::report::{NodeResult, Released, Status, Summary, write_run_results};
use crate::contracts::Contract;
use crate::engine::catalog::Catalog;
use crate::engine::sql::{self, Text};
use crate::engine::{self, Engine};
use crate::error::{Error, Place, Result, nearest};
use crate::lake::lease::Lease;
use crate::lake::{Lake, TableName, lease};
use crate::models::{Compiled, Materialized, Node, NodeKind, Overrides, Project, RunContext};
use inputs::Input;

/// How long the store may stay silent about a commit.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Default)]
pub struct Options {
    pub select: Vec<String>,
    pub exclude: Vec<String>,
    /// Brings this schema up to date, with whatever above it is stale.
    pub layer: Option<String>,
    pub full_refresh: bool,
    pub fail_fast: bool,
    /// Of what is selected, only nodes of these kinds.
    pub kinds: Option<&'static [NodeKind]>,
    /// Just these, by unique id, whatever else is said of which.
    pub nodes: Option<BTreeSet<String>>,
}

impl Options {
    fn tests_alone(&self) -> bool {
        self.kinds.is_some_and(|kinds| kinds.iter().all(|kind| kind.is_test()))
    }
}

/// Builds what is stale, and calls `done` after each node.
///
/// Once `stop` turns true, the node at hand is given up unless it is just being published, the rest is skipped, and what
/// was published so far becomes a release.
pub async fn run(
    engine: &Engine,
    project: &Project,
    contracts: &[Contract],
    options: &Options,
    started_at: DateTime<Utc>,
    stop: watch::Receiver<bool>,
    done: &mut dyn FnMut(&NodeResult),
) -> Result<Summary> {
    let began = Instant::now();
    let selected = selection(project, options)?;
    let lease = lease::acquire(&engine.lake, "build").await?;
    let outcome = released(engine, project, contracts, options, started_at, &lease, &selected, stop, done).await;
    // A lease that cannot be given back runs out by itself; the build's own outcome matters more.
    if let Err(e) = lease.release().await {
        tracing::warn!(error = %e, "the build's lease was not given back; it ends within a minute");
    }
    let (build, release) = outcome?;
    Ok(Summary {
        invocation_id: build.id.to_string(),
        started_at,
        results: build.results,
        release,
        interrupted: build.interrupted,
        elapsed: began.elapsed(),
    })
}

/// Everything that another build must not do at the same time.
#[expect(clippy::too_many_arguments, reason = "a build stands on all of them")]
async fn released<'a>(
    engine: &'a Engine,
    project: &'a Project,
    contracts: &[Contract],
    options: &'a Options,
    started_at: DateTime<Utc>,
    lease: &'a Lease,
    selected: &BTreeSet<String>,
    stop: watch::Receiver<bool>,
    done: &mut dyn FnMut(&NodeResult),
) -> Result<(Build<'a>, Option<Released>)> {
    let mut build = Build::new(engine, project, contracts, options, started_at).await?;
    build.lease = Some(lease);
    build.all(selected, stop, done).await?;
    // What was not tested, or not built, belongs to no release.
    let release = match options.kinds {
        None => {
            build.ensure_alone().await?;
            release::publish(&build).await?
        }
        Some(_) => None,
    };
    Ok((build, release))
}

fn selection(project: &Project, options: &Options) -> Result<BTreeSet<String>> {
    let mut chosen = match &options.nodes {
        Some(nodes) => nodes.clone(),
        None => asked_for(project, options)?,
    };
    if let Some(kinds) = options.kinds {
        chosen.retain(|id| project.nodes.get(id).is_some_and(|n| kinds.contains(&n.kind)));
    }
    Ok(chosen)
}

fn asked_for(project: &Project, options: &Options) -> Result<BTreeSet<String>> {
    let mut select = options.select.clone();
    if let Some(layer) = &options.layer {
        let schemas: BTreeSet<&str> =
            project.nodes.values().filter(|n| !n.kind.is_test()).map(|n| n.config.schema.as_str()).collect();
        if !schemas.contains(layer.as_str()) {
            let error = Error::input(format!("--layer: no model is built into `{layer}`"));
            return Err(match nearest(layer, schemas.iter().copied()) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => {
                    error.hint(format!("the project builds: {}", schemas.into_iter().collect::<Vec<_>>().join(", ")))
                }
            });
        }
        let layer_models = project.nodes.values().filter(|n| !n.kind.is_test() && n.config.schema == *layer);
        select.extend(layer_models.map(|n| format!("+{}", n.name)));
    }
    let mut chosen = project.select(&select, &options.exclude)?;
    // A layer stands on the layers above it, so their tests are part of it as well.
    if options.layer.is_some() {
        let tests = project.nodes.values().filter(|n| n.kind.is_test());
        let covered =
            tests.filter(|t| t.depends_on.iter().all(|d| chosen.contains(d) || project.sources.contains_key(d)));
        chosen.extend(covered.map(|t| t.unique_id.clone()).collect::<Vec<_>>());
    }
    Ok(chosen)
}

/// A build under way.
pub(crate) struct Build<'a> {
    engine: &'a Engine,
    project: &'a Project,
    options: &'a Options,
    id: Uuid,
    started_at: DateTime<Utc>,
    /// What every table is at, for everything that this build reads.
    catalog: Catalog,
    /// By unique id, for nodes and sources: what a model that reads them depends on.
    inputs: HashMap<String, Input>,
    results: Vec<NodeResult>,
    /// Nodes whose dependants cannot be built, with the reason.
    broken: BTreeMap<String, String>,
    /// Tables whose published version this build stands on or has made.
    versions: BTreeMap<TableName, u64>,
    views: BTreeMap<TableName, String>,
    held_back: BTreeSet<TableName>,
    /// What a unit test puts in the place of the project's own.
    overrides: Option<Arc<Overrides>>,
    /// What keeps other builds away; a preview needs none.
    lease: Option<&'a Lease>,
    /// A commit is under way, which a stop waits for.
    publishing: Arc<AtomicBool>,
    interrupted: bool,
}

impl<'a> Build<'a> {
    async fn new(
        engine: &'a Engine,
        project: &'a Project,
        contracts: &[Contract],
        options: &'a Options,
        started_at: DateTime<Utc>,
    ) -> Result<Build<'a>> {
        let mut catalog = Catalog::of(&engine.lake).await?;
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
        Ok(Build {
            engine,
            project,
            options,
            id: Uuid::new_v4(),
            started_at,
            catalog,
            inputs,
            results: Vec::new(),
            broken: BTreeMap::new(),
            versions: BTreeMap::new(),
            views: BTreeMap::new(),
            held_back: BTreeSet::new(),
            overrides: None,
            lease: None,
            publishing: Arc::default(),
            interrupted: false,
        })
    }

    /// A build that was stopped for long may not be the only one any more; what it found is then of the past.
    async fn ensure_alone(&self) -> Result<()> {
        match self.lease {
            Some(lease) => lease.ensure_held().await,
            None => Ok(()),
        }
    }

    fn lake(&self) -> &Lake {
        &self.engine.lake
    }

    async fn all(
        &mut self,
        selected: &BTreeSet<String>,
        mut stop: watch::Receiver<bool>,
        done: &mut dyn FnMut(&NodeResult),
    ) -> Result<()> {
        let order: Vec<&Node> = self.project.order();
        for test in check::of_sources(self.project, selected) {
            self.source_test(test).await?;
            self.results.last().into_iter().for_each(&mut *done);
        }
        for node in order.iter().filter(|n| !n.kind.is_test()) {
            let tests = check::last_at(self.project, &order, node, selected);
            let before = self.results.len();
            if !selected.contains(&node.unique_id) {
                self.adopt(node).await?;
                self.test_adopted(node, &tests).await?;
            } else if !self.node_unless(node, &tests, &mut stop).await? {
                self.interrupted = true;
                self.skip_rest(&order, selected, "the build was told to stop");
                self.node(node, &tests).await?;
            }
            self.results[before..].iter().for_each(&mut *done);
            let failed = self.results[before..].iter().any(|r| r.status.is_failure());
            if failed && self.options.fail_fast {
                self.skip_rest(&order, selected, "stopped at the first failure (--fail-fast)");
            }
        }
        Ok(())
    }

    /// Builds a node, or gives it up and returns false when `stop` turns true first.
    async fn node_unless(&mut self, node: &Node, tests: &[&Node], stop: &mut watch::Receiver<bool>) -> Result<bool> {
        if self.interrupted {
            return self.node(node, tests).await.map(|()| true);
        }
        let publishing = self.publishing.clone();
        publishing.store(false, Ordering::Relaxed);
        let (catalog, results) = (self.catalog.clone(), self.results.len());
        {
            let mut work = std::pin::pin!(self.node(node, tests));
            tokio::select! {
                biased;
                // Nobody can tell any more, so nothing tells us to stop.
                () = async { if stop.wait_for(|stop| *stop).await.is_err() { std::future::pending().await } } => {
                    if publishing.load(Ordering::Relaxed) {
                        return work.await.map(|()| true);
                    }
                }
                built = &mut work => return built.map(|()| true),
            }
        }
        // The candidate that was being tested is nobody's now; vacuum takes its files.
        self.catalog = catalog;
        self.results.truncate(results);
        Ok(false)
    }

    /// Nodes that were not built yet will not be.
    fn skip_rest(&mut self, order: &[&Node], selected: &BTreeSet<String>, reason: &str) {
        for rest in order.iter().filter(|n| !n.kind.is_test() && selected.contains(&n.unique_id)) {
            if !self.results.iter().any(|r| r.unique_id == rest.unique_id) {
                self.broken.insert(rest.unique_id.clone(), reason.to_owned());
            }
        }
    }

    /// A node that is not to be built is read as it is.
    async fn adopt(&mut self, node: &Node) -> Result<()> {
        let name = name_of(node);
        match node.config.materialized {
            Materialized::View if node.kind == NodeKind::Model => {
                let compiled = self.compile(node)?;
                self.show_view(node, &compiled).await
            }
            Materialized::Ephemeral => {
                self.inputs.insert(node.unique_id.clone(), self.through(node));
                Ok(())
            }
            _ => match self.catalog.snapshot(&name).await? {
                Some(snapshot) => {
                    self.catalog.pin(&name, snapshot.version);
                    self.versions.insert(name, snapshot.version);
                    self.inputs.insert(node.unique_id.clone(), Input::table(&snapshot));
                    Ok(())
                }
                None => {
                    self.broken.insert(node.unique_id.clone(), format!("{name} was never built"));
                    Ok(())
                }
            },
        }
    }

    fn compile(&self, node: &Node) -> Result<Compiled> {
        self.compile_as(node, false)
    }

    /// The SQL for a table that is there and is added to, or for all of its rows.
    fn compile_as(&self, node: &Node, is_incremental: bool) -> Result<Compiled> {
        let run = RunContext {
            is_incremental,
            invocation_id: self.id.to_string(),
            full_refresh: self.options.full_refresh,
            overrides: self.overrides.clone(),
        };
        self.project.compile(&node.unique_id, &run)
    }

    /// What a view or an ephemeral model depends on is what its readers depend on.
    fn through(&self, node: &Node) -> Input {
        Input::through(node.depends_on.iter().filter_map(|d| self.inputs.get(d)))
    }

    async fn show_view(&mut self, node: &Node, compiled: &Compiled) -> Result<()> {
        let name = name_of(node);
        let context = self.engine.session(Arc::new(self.catalog.clone()));
        let frame = sql::query(&context, Text { file: &node.path, text: &compiled.sql })
            .await
            .map_err(|e| at_source(e, node, compiled))?;
        let view = ViewTable::new(frame.into_unoptimized_plan(), Some(compiled.sql.clone()));
        self.catalog.replace(&name, Arc::new(view));
        self.views.insert(name, compiled.sql.clone());
        self.inputs.insert(node.unique_id.clone(), self.through(node));
        Ok(())
    }
}

pub(crate) fn name_of(node: &Node) -> TableName {
    TableName::new(node.config.schema.as_str(), node.config.alias.as_str())
}

/// An error in compiled SQL, told where the user wrote it.
pub(crate) fn at_source(error: Error, node: &Node, compiled: &Compiled) -> Error {
    compiled.told_at_source(error, node)
}
