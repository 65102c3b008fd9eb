//! What a build did: for people as it goes, and for tools as dbt's run_results.json.

use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use crate::error::{Kind, Result};
use crate::models::artifact::{self, Invocation};
use crate::models::{Node, NodeKind};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Success,
    /// Nothing to do: inputs and code are those of the published version.
    Fresh,
    Warned,
    /// A test failed, or a model whose test failed.
    Failed,
    Error(Kind),
    Skipped,
}

impl Status {
    pub fn is_failure(self) -> bool {
        matches!(self, Status::Failed | Status::Error(_))
    }

    /// As dbt's artifacts spell it.
    pub fn word(self, kind: NodeKind) -> &'static str {
        match (self, kind) {
            (Status::Success | Status::Fresh, NodeKind::Test | NodeKind::UnitTest) => "pass",
            (Status::Success | Status::Fresh, _) => "success",
            (Status::Warned, _) => "warn",
            (Status::Failed, NodeKind::Test | NodeKind::UnitTest) => "fail",
            (Status::Failed | Status::Error(_), _) => "error",
            (Status::Skipped, _) => "skipped",
        }
    }
}

#[derive(Debug, Clone)]
pub struct NodeResult {
    pub unique_id: String,
    pub kind: NodeKind,
    pub name: String,
    /// `schema.table`; empty for a test.
    pub relation: String,
    pub status: Status,
    pub message: String,
    /// How it was built: full, increment, up to date, ...
    pub how: &'static str,
    pub rows: Option<u64>,
    pub version: Option<u64>,
    pub failures: Option<i64>,
    pub compiled: Option<String>,
    pub elapsed: Duration,
}

impl NodeResult {
    pub fn of(node: &Node, status: Status, message: &str) -> NodeResult {
        let relation = match node.kind {
            NodeKind::Test | NodeKind::UnitTest => String::new(),
            _ => super::name_of(node).to_string(),
        };
        NodeResult {
            unique_id: node.unique_id.clone(),
            kind: node.kind,
            name: node.name.clone(),
            relation,
            status,
            message: message.to_owned(),
            how: "",
            rows: None,
            version: None,
            failures: None,
            compiled: None,
            elapsed: Duration::ZERO,
        }
    }
}

pub struct Summary {
    pub invocation_id: String,
    pub started_at: DateTime<Utc>,
    pub results: Vec<NodeResult>,
    /// How incremental models compare with full builds of them, where that was asked for.
    pub proofs: Vec<NodeResult>,
    /// The release that readers see now, if there is any.
    pub release: Option<Released>,
    /// The build was told to stop and left nodes as they were.
    pub interrupted: bool,
    pub elapsed: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    pub id: u64,
    /// Whether this build made it.
    pub new: bool,
    /// Tables that stay at their version of the release before, because something that belongs to them failed.
    pub held_back: Vec<String>,
}

impl Summary {
    pub fn invocation(&self) -> Invocation {
        Invocation { id: self.invocation_id.clone(), started_at: self.started_at }
    }

    pub fn count(&self, wanted: impl Fn(&NodeResult) -> bool) -> usize {
        self.results.iter().filter(|r| wanted(r)).count()
    }

    /// The worst that happened, as the kind of error that the command ends with.
    pub fn failure(&self) -> Option<Kind> {
        let kinds = self.results.iter().chain(&self.proofs).filter_map(|r| match r.status {
            Status::Failed => Some(Kind::Failed),
            Status::Error(kind) => Some(kind),
            _ => None,
        });
        kinds.max_by_key(|k| k.exit_code())
    }

    pub fn changed_nothing(&self) -> bool {
        // Views and ephemeral models are looked at, not made.
        let made = |r: &&NodeResult| !r.kind.is_test() && !["view", "ephemeral"].contains(&r.how);
        self.results.iter().filter(made).all(|r| r.status == Status::Fresh)
    }
}

/// Writes `run_results.json` where dbt puts it, in its schema v6.
pub fn write_run_results(summary: &Summary, target: &Path, arguments: Map<String, Value>) -> Result<()> {
    let results: Vec<Value> = summary
        .results
        .iter()
        .map(|r| {
            let mut answer = Map::new();
            if let Some(rows) = r.rows {
                answer.insert("rows_affected".into(), rows.into());
            }
            if let Some(version) = r.version {
                answer.insert("version".into(), version.into());
            }
            json!({
                "status": r.status.word(r.kind),
                "timing": [],
                "thread_id": "main",
                "execution_time": r.elapsed.as_secs_f64(),
                "adapter_response": answer,
                "message": if r.message.is_empty() { r.how } else { &r.message },
                "failures": r.failures,
                "unique_id": r.unique_id,
                "compiled": r.compiled.is_some(),
                "compiled_code": r.compiled,
                "relation_name": if r.relation.is_empty() { Value::Null } else { r.relation.as_str().into() },
            })
        })
        .collect();
    let artifact = json!({
        "metadata": summary.invocation().metadata("run-results/v6"),
        "results": results,
        "elapsed_time": summary.elapsed.as_secs_f64(),
        "args": arguments,
    });
    artifact::write(target, "run_results.json", &artifact.to_string())
}
