//! One node's turn, or one test's: what it sees, and what comes of it.
//!
//! A turn runs on a task of its own beside others. It has its own picture of the tables, as of its beginning, when
//! everything that it depends on was done; so nothing that ends meanwhile can change what it reads.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::datasource::ViewTable;
use datafusion::prelude::SessionContext;

use super::database::Tables;
use super::gate::Gate;
use super::inputs::Input;
use super::progress::{Made, Outcome};
use super::report::{NodeResult, Status};
use super::{Build, at_source, name_of};
use crate::engine::catalog::Catalog;
use crate::engine::sql::{self, Text};
use crate::engine::{self, Need};
use crate::error::{Error, Kind, Result};
use crate::lake::{Lake, TableName};
use crate::models::{Compiled, Materialized, Node, NodeKind, Overrides, RunContext};

/// Before a node is tried again; each further wait is four times as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);

pub(crate) struct Turn {
    pub build: Arc<Build>,
    pub catalog: Catalog,
    /// By unique id, for nodes and sources: what a model that reads them depends on.
    pub inputs: HashMap<String, Input>,
    pub gate: Arc<Gate>,
    pub need: Need,
    /// What a unit test puts in the place of the project's own.
    pub overrides: Option<Arc<Overrides>>,
}

impl Turn {
    pub fn lake(&self) -> &Lake {
        self.build.lake()
    }

    pub fn session(&self) -> SessionContext {
        self.session_over(self.catalog.clone())
    }

    /// A session over tables other than those that this turn sees.
    pub fn session_over(&self, catalog: Catalog) -> SessionContext {
        self.build.engine.session_with(Arc::new(catalog), self.need)
    }

    pub fn compile(&self, node: &Node) -> Result<Compiled> {
        self.compile_as(node, false)
    }

    /// The SQL for a table that is there and is added to, or for all of its rows.
    pub fn compile_as(&self, node: &Node, is_incremental: bool) -> Result<Compiled> {
        let mut catalog = self.catalog.clone();
        // Of the tables, templates see those that this build has decided the version of, and the node's own.
        let own = name_of(node);
        let known: BTreeSet<TableName> = self.catalog.decided().cloned().collect();
        catalog.keep(|name| known.contains(name) || *name == own);
        let run = RunContext {
            is_incremental,
            invocation_id: self.build.id.to_string(),
            full_refresh: self.build.options.full_refresh,
            overrides: self.overrides.clone(),
            verb: self.build.options.verb().to_owned(),
            selected: self.build.selected.clone(),
            database: Some(Arc::new(Tables::new(self.session_over(catalog)))),
        };
        self.build.project.compile(&node.unique_id, &run)
    }

    /// The tables below a node, each with its version now. What a view or an ephemeral model depends on is what its
    /// readers depend on.
    pub fn inputs_of(&self, node: &Node) -> Input {
        Input::through(node.depends_on.iter().filter_map(|d| self.inputs.get(d)))
    }

    /// Builds a node with its tests. A mistake in it ends it, and what depends on it, but not the build.
    pub async fn build(mut self, node: &Node, tests: &[&Node]) -> Result<Outcome> {
        let began = Instant::now();
        let before = self.catalog.clone();
        let build = self.build.clone();
        let beside_others = build.memory.read().await;
        let mut outcome = self.build_node(node, tests).await;
        let mut tries = 0;
        while outcome.as_ref().is_err_and(|e| self.may_pass(e)) && tries < build.options.retries {
            let wait = FIRST_WAIT * 4_u32.saturating_pow(tries);
            if let Err(e) = &outcome {
                tracing::warn!(node = node.name, error = %e, "the store failed; once more in {} s", wait.as_secs_f64());
            }
            tokio::time::sleep(wait).await;
            self.catalog = before.clone();
            tries += 1;
            outcome = self.build_node(node, tests).await;
        }
        drop(beside_others);
        if outcome.as_ref().is_err_and(engine::is_out_of_memory) {
            tracing::info!(node = node.name, "out of memory beside others: once more, alone and with joins that spill");
            let _alone = build.memory.write().await;
            (self.catalog, self.need) = (before, Need::Little);
            outcome = self.build_node(node, tests).await;
        }
        let mut built = match outcome {
            Ok(built) => built,
            // The user's mistake is this node's alone, as is its hunger; a store that is away is everybody's.
            Err(e) if matches!(e.kind(), Kind::Input | Kind::Failed) || engine::is_out_of_memory(&e) => {
                Built { status: Status::Error(e.kind()), message: e.to_string(), ..Built::default() }
            }
            Err(e) => return Err(e.context(format!("building {}", node.name))),
        };
        let mut results = std::mem::take(&mut built.tests);
        if matches!(built.status, Status::Skipped | Status::Error(_)) {
            results.extend(untested(tests, &results));
        }
        let undone = built.status.is_failure() || built.status == Status::Skipped;
        let mut result = NodeResult::of(node, built.status, &built.message);
        result.rows = built.rows;
        result.version = built.version;
        result.how = built.how;
        result.compiled = built.compiled;
        result.elapsed = began.elapsed();
        results.push(result);
        Ok(Outcome { results, made: built.made, broken: undone.then_some(built.message) })
    }

    /// Whether trying again may help and can do no harm: nothing of this turn may have been published.
    fn may_pass(&self, error: &Error) -> bool {
        let outside = error.kind() == Kind::Outside && !error.is_lasting();
        outside && !engine::is_out_of_memory(error) && !self.gate.is_publishing()
    }

    async fn build_node(&mut self, node: &Node, tests: &[&Node]) -> Result<Built> {
        let compiled = self.compile(node)?;
        self.ensure_columns(node, &compiled).await?;
        let sql = Some(compiled.sql.clone()).filter(|s| !s.is_empty());
        let (units, tests): (Vec<&Node>, Vec<&Node>) = tests.iter().partition(|t| t.kind == NodeKind::UnitTest);
        let makes_none = matches!(node.config.materialized, Materialized::Ephemeral | Materialized::View);
        let mut proofs = Vec::new();
        if makes_none && node.kind == NodeKind::Model {
            proofs = self.run_unit_tests(&units).await?;
            if let Some(skipped) = Built::disproved(&proofs) {
                return Ok(skipped.after(proofs));
            }
        }
        let built = match (node.kind, node.config.materialized) {
            (NodeKind::Model, Materialized::Ephemeral) => {
                Built { how: "ephemeral", made: Some(Made::Ephemeral(self.inputs_of(node))), ..Built::default() }
            }
            (NodeKind::Model, Materialized::View) => {
                let made = self.view(node, &compiled).await?;
                let built = Built { how: "view", made: Some(made), ..Built::default() };
                self.ensure_constraints(node).await?;
                built.tested(self.run_tests(&tests).await?)
            }
            _ => self.table(node, &compiled, &units, &tests).await?,
        };
        Ok(Built { compiled: sql, ..built.after(proofs) })
    }

    /// A node that is not to be built is read as it is. Where tests alone are asked for, they are of that.
    pub async fn adopt(mut self, node: &Node, tests: &[&Node]) -> Result<Outcome> {
        let (made, broken) = match node.config.materialized {
            Materialized::View if node.kind == NodeKind::Model => {
                let compiled = self.compile(node)?;
                (Some(self.view(node, &compiled).await?), None)
            }
            Materialized::Ephemeral => (Some(Made::Ephemeral(self.inputs_of(node))), None),
            _ => match self.catalog.snapshot(&name_of(node)).await? {
                Some(snapshot) => {
                    self.catalog.pin(&snapshot.name, snapshot.version);
                    (Some(Made::table(&snapshot)), None)
                }
                None => (None, Some(format!("{} was never built", name_of(node)))),
            },
        };
        if !self.build.options.tests_alone() {
            return Ok(Outcome { results: Vec::new(), made, broken });
        }
        // Rows that are made up need no table.
        let (units, tests): (Vec<&Node>, Vec<&Node>) = tests.iter().partition(|t| t.kind == NodeKind::UnitTest);
        let mut results = self.run_unit_tests(&units).await?;
        match &broken {
            None => results.extend(self.run_tests(&tests).await?),
            Some(reason) => {
                let failed = Status::Error(Kind::Failed);
                results.extend(tests.iter().map(|test| NodeResult::of(test, failed, reason)));
            }
        }
        Ok(Outcome { results, made, broken })
    }

    /// Shows a view to its own tests; later nodes are shown it by what is returned.
    async fn view(&mut self, node: &Node, compiled: &Compiled) -> Result<Made> {
        let text = Text { file: &node.path, text: &compiled.sql };
        let frame = sql::query(&self.session(), text).await.map_err(|e| at_source(e, node, compiled))?;
        let view = Arc::new(ViewTable::new(frame.into_unoptimized_plan(), Some(compiled.sql.clone())));
        self.catalog.replace(&name_of(node), view.clone());
        Ok(Made::View { sql: compiled.sql.clone(), provider: view, input: self.inputs_of(node) })
    }
}

/// What came of a node that is not built, with its tests.
pub fn unbuilt(node: &Node, tests: &[&Node], status: Status, reason: &str) -> Outcome {
    let mut results = untested(tests, &[]);
    results.push(NodeResult::of(node, status, reason));
    Outcome { results, made: None, broken: Some(reason.to_owned()) }
}

/// Tests that did not come to run, so that a retry runs them.
fn untested(tests: &[&Node], run: &[NodeResult]) -> Vec<NodeResult> {
    let missing = tests.iter().filter(|t| !run.iter().any(|r| r.unique_id == t.unique_id));
    missing.map(|test| NodeResult::of(test, Status::Skipped, "what it tests was not built")).collect()
}

/// What became of a node while it was built.
pub(super) struct Built {
    pub status: Status,
    pub message: String,
    pub rows: Option<u64>,
    pub version: Option<u64>,
    pub how: &'static str,
    pub compiled: Option<String>,
    pub made: Option<Made>,
    pub tests: Vec<NodeResult>,
}

impl Default for Built {
    fn default() -> Self {
        Built {
            status: Status::Success,
            message: String::new(),
            rows: None,
            version: None,
            how: "",
            compiled: None,
            made: None,
            tests: Vec::new(),
        }
    }
}

impl Built {
    /// What becomes of a node of whose unit tests one failed: nothing.
    pub fn disproved(proofs: &[NodeResult]) -> Option<Built> {
        let message = match proofs.iter().filter(|p| p.status.is_failure()).count() {
            0 => return None,
            1 => "a unit test of it failed".to_owned(),
            n => format!("{n} unit tests of it failed"),
        };
        Some(Built { status: Status::Skipped, message, ..Built::default() })
    }

    /// The same, with what was found out before.
    pub fn after(self, mut tests: Vec<NodeResult>) -> Built {
        tests.extend(self.tests);
        Built { tests, ..self }
    }

    /// The same with the results of its tests, of which none may have failed.
    pub fn tested(self, tests: Vec<NodeResult>) -> Built {
        let failed = tests.iter().filter(|t| t.status.is_failure()).count();
        let message = match failed {
            0 => return Built { tests, ..self },
            1 => "a test failed; what readers see is unchanged".to_owned(),
            n => format!("{n} tests failed; what readers see is unchanged"),
        };
        Built { status: Status::Failed, how: "", rows: None, message, tests, ..self }
    }
}
