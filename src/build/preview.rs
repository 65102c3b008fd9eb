//! The query of a model on the tables as they are, built or not.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::Utc;
use datafusion::prelude::DataFrame;
use tokio::sync::RwLock;
use uuid::Uuid;

use super::database::Tables;
use super::progress::Progress;
use super::{Build, Options, at_source};
use crate::contracts::Contract;
use crate::engine::sql::{self, Text};
use crate::engine::{self, Engine};
use crate::error::{Error, Result};
use crate::models::{Node, Project, RunContext};

/// So many rows of a model, computed from its inputs' published tables.
pub async fn preview(
    engine: &Arc<Engine>,
    project: &Arc<Project>,
    contracts: &[Contract],
    node: &Node,
    limit: Option<usize>,
) -> Result<DataFrame> {
    let build = Arc::new(trial(engine, project));
    let mut progress = Progress::begin(&engine.lake, project, contracts).await?;
    let above = ancestors(project, node);
    for (place, parent) in project.order().into_iter().enumerate().filter(|(_, n)| above.contains(n.unique_id.as_str()))
    {
        let outcome = progress.turn(&build).adopt(parent, &[]).await?;
        progress.take(place, parent, false, outcome);
        if let Some(reason) = progress.broken(&parent.unique_id) {
            let build = format!("medallion build --select +{}", node.name);
            return Err(Error::input(format!("{}: {reason}", node.path)).hint(build));
        }
    }
    let turn = progress.turn(&build);
    let compiled = turn.compile(node)?;
    let frame = sql::query(&turn.session(), Text { file: &node.path, text: &compiled.sql })
        .await
        .map_err(|e| at_source(e, node, &compiled))?;
    frame.limit(0, limit).map_err(|e| engine::error(&format!("showing {}", node.name), e))
}

/// So many rows of a query that stands in no file.
pub async fn preview_inline(
    engine: &Arc<Engine>,
    project: &Arc<Project>,
    contracts: &[Contract],
    text: &str,
    limit: Option<usize>,
) -> Result<DataFrame> {
    let build = Arc::new(trial(engine, project));
    let mut progress = Progress::begin(&engine.lake, project, contracts).await?;
    // What was never built, or reads such a table, is missed by whoever asks for it.
    let mut missing: BTreeSet<&str> = BTreeSet::new();
    for (place, node) in project.order().into_iter().enumerate().filter(|(_, n)| !n.kind.is_test()) {
        if node.depends_on.iter().any(|parent| missing.contains(parent.as_str())) {
            missing.insert(&node.unique_id);
            continue;
        }
        let outcome = progress.turn(&build).adopt(node, &[]).await?;
        progress.take(place, node, false, outcome);
        if progress.broken(&node.unique_id).is_some() {
            missing.insert(&node.unique_id);
        }
    }
    let session = progress.turn(&build).session();
    let run = RunContext {
        verb: "show".to_owned(),
        database: Some(Arc::new(Tables::new(session.clone()))),
        ..RunContext::default()
    };
    let sql = project.compile_inline(text, &run)?;
    let frame = sql::query(&session, Text { file: "--inline", text: &sql }).await?;
    frame.limit(0, limit).map_err(|e| engine::error("showing --inline", e))
}

/// A build that publishes nothing, so that it needs no lease.
fn trial(engine: &Arc<Engine>, project: &Arc<Project>) -> Build {
    Build {
        engine: engine.clone(),
        project: project.clone(),
        options: Options::default(),
        id: Uuid::new_v4(),
        started_at: Utc::now(),
        lease: None,
        memory: RwLock::default(),
        selected: Arc::default(),
    }
}

fn ancestors<'p>(project: &'p Project, node: &'p Node) -> BTreeSet<&'p str> {
    let mut found = BTreeSet::new();
    let mut next: Vec<&str> = node.depends_on.iter().map(String::as_str).collect();
    while let Some(id) = next.pop() {
        if found.insert(id) {
            let parents = project.nodes.get(id).map_or(&[][..], |n| &n.depends_on);
            next.extend(parents.iter().map(String::as_str));
        }
    }
    found
}
