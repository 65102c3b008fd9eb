//! A project to tables: plan, stage, test, publish, release.
//!
//! What readers see has passed its tests. A model's rows are first written beside its table, where no version names
//! them; its tests read that candidate; only then one commit publishes it, with the versions of its inputs in it. A
//! failed test deletes the candidate, leaves the published version as it was and skips whatever depends on it. At the
//! end a release names the versions that belong together.
//!
//! Nodes that do not depend on each other are built at the same time ([`schedule`]). Each has a turn of its own
//! ([`turn::Turn`]) and sees the tables as they were when it began; what comes of it is told to the one place that knows
//! how far the build is ([`progress::Progress`]). So the outcome is the same in whatever order they end.

mod check;
mod contract;
mod database;
mod failures;
mod forecast;
mod freshness;
mod full;
mod gate;
mod incremental;
mod inputs;
mod lineage;
mod plan;
mod preview;
mod progress;
mod prove;
mod publish;
mod release;
mod replace;
mod report;
mod schedule;
mod seed;
mod snapshot;
mod strategy;
mod sweep;
mod turn;
mod unit;
mod webhook;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::{RwLock, watch};
use uuid::Uuid;

pub use self::database::ReleasedTables;
pub use self::forecast::{Action, Forecast, Size, forecast};
pub use self::freshness::{Judgement, SourceAge, freshness, sources_artifact};
pub use self::lineage::Target as LineageTarget;
pub use self::preview::{preview, preview_inline};
pub use self::release::Keep;
pub use self::report::{NodeResult, Released, Status, Summary, write_run_results};
use crate::config::Secret;
use crate::contracts::Contract;
use crate::engine::Engine;
use crate::engine::release::table_name;
use crate::error::{Error, Result, nearest};
use crate::lake::lease::Lease;
use crate::lake::{Lake, TableName, lease};
use crate::models::{Compiled, Node, NodeKind, Project};
use lineage::Lineage;
use progress::Progress;

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
    /// How many nodes are built at the same time.
    pub threads: usize,
    pub releases: Keep,
    /// Who is told how the build ends.
    pub webhook: Option<Secret>,
    /// Who is told what is made from what.
    pub openlineage: Option<lineage::Target>,
    /// How often a node is tried again when the store fails it.
    pub retries: u32,
    /// Afterwards each incremental model is compared with a full build of it.
    pub prove: bool,
}

impl Options {
    /// What dbt calls a run of these kinds.
    fn verb(&self) -> &'static str {
        match self.kinds {
            Some([NodeKind::Model]) => "run",
            Some([kind]) => kind.as_str(),
            _ => "build",
        }
    }

    fn tests_alone(&self) -> bool {
        self.kinds.is_some_and(|kinds| kinds.iter().all(|kind| kind.is_test()))
    }
}

/// Builds what is stale, and calls `done` for each result as its node ends.
///
/// Once `stop` turns true, nodes at hand are given up unless they are just being published, the rest is skipped, and what
/// was published so far becomes a release.
pub async fn run(
    engine: &Arc<Engine>,
    project: &Arc<Project>,
    contracts: &[Contract],
    options: Options,
    started_at: DateTime<Utc>,
    stop: watch::Receiver<bool>,
    done: &mut dyn FnMut(&NodeResult),
) -> Result<Summary> {
    let selected = selection(project, &options)?;
    let id = Uuid::new_v4();
    let webhook = options.webhook.clone();
    let lineage = options
        .openlineage
        .clone()
        .map(|target| Lineage::begin(target, id, project, engine.lake.store_url().to_string(), started_at));
    let build = Build {
        engine: engine.clone(),
        project: project.clone(),
        options,
        id,
        started_at,
        lease: None,
        memory: RwLock::default(),
        selected: Arc::new(selected.iter().cloned().collect()),
    };
    let outcome = leased(build, contracts, &selected, stop, lineage.as_ref(), done).await;
    if let Some(lineage) = lineage {
        let failure = match &outcome {
            Ok(summary) => summary.failure().map(|_| "a node failed".to_owned()),
            Err(e) => Some(e.to_string()),
        };
        lineage.end(failure).await;
    }
    if let Some(url) = &webhook {
        webhook::tell(url, &id.to_string(), &outcome).await;
    }
    outcome
}

async fn leased(
    build: Build,
    contracts: &[Contract],
    selected: &BTreeSet<String>,
    stop: watch::Receiver<bool>,
    lineage: Option<&Lineage>,
    done: &mut dyn FnMut(&NodeResult),
) -> Result<Summary> {
    let began = Instant::now();
    let lease = Arc::new(lease::acquire(build.lake(), "build").await?);
    let build = Arc::new(Build { lease: Some(lease.clone()), ..build });
    let outcome = alone(&build, contracts, selected, stop, lineage, done).await;
    // A lease that cannot be given back runs out by itself; the build's own outcome matters more.
    if let Err(e) = lease.release().await {
        tracing::warn!(error = %e, "the build's lease was not given back; it ends within a minute");
    }
    let (progress, release, proofs) = outcome?;
    Ok(Summary {
        invocation_id: build.id.to_string(),
        started_at: build.started_at,
        interrupted: progress.interrupted,
        results: progress.into_results(),
        proofs,
        release,
        elapsed: began.elapsed(),
    })
}

/// Everything that another build must not do at the same time.
async fn alone(
    build: &Arc<Build>,
    contracts: &[Contract],
    selected: &BTreeSet<String>,
    stop: watch::Receiver<bool>,
    lineage: Option<&Lineage>,
    done: &mut dyn FnMut(&NodeResult),
) -> Result<(Progress, Option<Released>, Vec<NodeResult>)> {
    let mut progress = Progress::begin(&build.engine.lake, &build.project, contracts).await?;
    let tables = || build.project.nodes.values().filter(|n| !n.kind.is_test()).map(name_of);
    if let Some(since) = build.lease.as_ref().and_then(|lease| lease.abandoned) {
        sweep::sweep(build.lake(), tables().chain([table_name()]), since).await;
    }
    let outcome = schedule::run(build, &mut progress, selected, stop, lineage, done).await;
    if let (false, Some(lease)) = (progress.given_up.is_empty(), &build.lease) {
        sweep::sweep(build.lake(), progress.given_up.iter().cloned(), lease.taken_at).await;
    }
    outcome?;
    // What was not tested, or not built, belongs to no release.
    let release = match build.options.kinds {
        None => {
            build.ensure_alone().await?;
            release::publish(build, &progress).await?
        }
        Some(_) => None,
    };
    let proofs = match build.options.prove && !progress.interrupted {
        true => prove::prove(build, &progress).await?,
        false => Vec::new(),
    };
    Ok((progress, release, proofs))
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

/// What all nodes of a build share. Nothing of it changes while they are built.
pub(crate) struct Build {
    engine: Arc<Engine>,
    project: Arc<Project>,
    options: Options,
    id: Uuid,
    started_at: DateTime<Utc>,
    /// What keeps other builds away; a preview needs none.
    lease: Option<Arc<Lease>>,
    /// Nodes read it while they are built beside each other; one that needs all of the memory takes it for itself.
    memory: RwLock<()>,
    /// What templates see as `selected_resources`.
    selected: Arc<Vec<String>>,
}

impl Build {
    /// A build that was stopped for long may not be the only one any more; what it found is then of the past.
    async fn ensure_alone(&self) -> Result<()> {
        match &self.lease {
            Some(lease) => lease.ensure_held().await,
            None => Ok(()),
        }
    }

    fn lake(&self) -> &Lake {
        &self.engine.lake
    }
}

pub(crate) fn name_of(node: &Node) -> TableName {
    TableName::new(node.config.schema.as_str(), node.config.alias.as_str())
}

/// An error in compiled SQL, told where the user wrote it.
pub(crate) fn at_source(error: Error, node: &Node, compiled: &Compiled) -> Error {
    compiled.told_at_source(error, node)
}
