//! One node from stale to published: stage, test, commit.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use arrow::datatypes::{Field, Schema, SchemaRef};
use chrono::Utc;

use super::inputs::{Input, code_mark, tests_mark};
use super::plan::Plan;
use super::report::{NodeResult, Status};
use super::{Build, PATIENCE, inputs, name_of};
use crate::engine::stage::as_data_file;
use crate::engine::table::FilesTable;
use crate::error::{Error, Kind, Result};
use crate::lake::commit::{Commit, Outcome, commit};
use crate::lake::log::{Add, Remove, Txn};
use crate::lake::schema::COMMENT;
use crate::lake::{DataFile, Snapshot, Table};
use crate::models::{Compiled, Materialized, Node, NodeKind};

/// What a table would be: the files it would have, and the files that have to come and go for that.
pub struct Candidate {
    pub schema: SchemaRef,
    pub adds: Vec<Add>,
    pub removes: Vec<Arc<DataFile>>,
    pub rows: u64,
    pub how: &'static str,
}

impl Candidate {
    pub fn changes_nothing(&self) -> bool {
        self.adds.is_empty() && self.removes.is_empty()
    }

    /// All files of the table once this is published.
    fn files(&self, published: Option<&Snapshot>) -> Vec<Arc<DataFile>> {
        let leaving: std::collections::HashSet<&str> = self.removes.iter().map(|f| f.path.as_str()).collect();
        let staying = published.into_iter().flat_map(|p| &p.files).filter(|f| !leaving.contains(f.path.as_str()));
        staying.cloned().chain(self.adds.iter().map(as_data_file)).collect()
    }
}

impl Build<'_> {
    /// Builds one node with its tests. A mistake in it ends it, and what depends on it, but not the build.
    pub async fn node(&mut self, node: &Node, tests: &[&Node]) -> Result<()> {
        let began = Instant::now();
        let broken = node.depends_on.iter().find_map(|d| Some((d, self.broken.get(d)?)));
        let outcome = match (self.broken.get(&node.unique_id), broken) {
            (Some(reason), _) => Ok(Built::skipped(reason.clone())),
            (None, Some((parent, _))) => Ok(Built::skipped(format!("{} was not built", self.short(parent)))),
            (None, None) => {
                let (units, tests): (Vec<&Node>, Vec<&Node>) = tests.iter().partition(|t| t.kind == NodeKind::UnitTest);
                self.build_node(node, &units, &tests).await
            }
        };
        let built = match outcome {
            Ok(built) => built,
            // The user's mistake is this node's alone; a store that is away is everybody's.
            Err(e) if matches!(e.kind(), Kind::Input | Kind::Failed) => {
                Built { status: Status::Error(e.kind()), message: e.to_string(), ..Built::skipped(String::new()) }
            }
            Err(e) => return Err(e.context(format!("building {}", node.name))),
        };
        if built.status.is_failure() || built.status == Status::Skipped {
            self.broken.insert(node.unique_id.clone(), built.message.clone());
            self.held_back.insert(name_of(node));
        }
        if matches!(built.status, Status::Skipped | Status::Error(_)) {
            for test in tests {
                if !self.results.iter().any(|r| r.unique_id == test.unique_id) {
                    self.results.push(NodeResult::of(test, Status::Skipped, "what it tests was not built"));
                }
            }
        }
        let mut result = NodeResult::of(node, built.status, &built.message);
        result.rows = built.rows;
        result.version = built.version;
        result.how = built.how;
        result.compiled = built.compiled;
        result.elapsed = began.elapsed();
        self.results.push(result);
        Ok(())
    }

    fn short(&self, unique_id: &str) -> String {
        self.project.nodes.get(unique_id).map_or_else(|| unique_id.to_owned(), |n| n.name.clone())
    }

    async fn build_node(&mut self, node: &Node, units: &[&Node], tests: &[&Node]) -> Result<Built> {
        let compiled = self.compile(node)?;
        let makes_table = !matches!(node.config.materialized, Materialized::Ephemeral | Materialized::View);
        if !makes_table
            && node.kind == NodeKind::Model
            && let Some(skipped) = self.disproved(units).await?
        {
            return Ok(skipped);
        }
        let sql = Some(compiled.sql.clone()).filter(|s| !s.is_empty());
        let mut built = match (node.kind, node.config.materialized) {
            (NodeKind::Model, Materialized::Ephemeral) => {
                self.inputs.insert(node.unique_id.clone(), self.through(node));
                Built { how: "ephemeral", ..Built::skipped(String::new()) }.ok()
            }
            (NodeKind::Model, Materialized::View) => {
                self.show_view(node, &compiled).await?;
                let failures = self.run_tests(tests).await?;
                match failures {
                    0 => Built { how: "view", ..Built::skipped(String::new()) }.ok(),
                    _ => Built {
                        status: Status::Failed,
                        message: failed_tests(failures),
                        ..Built::skipped(String::new())
                    },
                }
            }
            _ => self.table(node, &compiled, units, tests).await?,
        };
        built.compiled = sql;
        Ok(built)
    }

    /// What becomes of a node whose unit tests fail: nothing.
    async fn disproved(&mut self, units: &[&Node]) -> Result<Option<Built>> {
        Ok(match self.run_unit_tests(units).await? {
            0 => None,
            1 => Some(Built::skipped("a unit test of it failed".to_owned())),
            n => Some(Built::skipped(format!("{n} unit tests of it failed"))),
        })
    }

    pub(super) async fn table(
        &mut self,
        node: &Node,
        compiled: &Compiled,
        units: &[&Node],
        tests: &[&Node],
    ) -> Result<Built> {
        let table = self.lake().table(&name_of(node))?;
        let published = table.latest().await?;
        let log = match &published {
            Some(snapshot) => table.transactions(snapshot.version).await?,
            None => {
                table.ensure_free().await?;
                HashMap::new()
            }
        };
        let plan = self.plan(node, compiled, published.as_ref(), &log).await?;
        let tests_code = self.tests_code(&[units, tests].concat())?;
        // Unit tests are of the code alone: once they are passed, only other code or other tests ask for them again.
        let marks = [code_mark(&compiled.code_hash), tests_mark(&tests_code)];
        let proved = marks.iter().all(|mark| log.get(&mark.app_id) == Some(&mark.version));
        if !proved && let Some(skipped) = self.disproved(units).await? {
            return Ok(skipped);
        }
        let (candidate, reason) = match plan {
            Plan::Fresh => {
                let Some(published) = published else { return Err(Error::bug("fresh without a table")) };
                return self.fresh(node, &table, published, &log, tests, &tests_code).await;
            }
            Plan::Full { reason } => {
                tracing::debug!(model = node.name, reason, "full build");
                (self.stage_full(node, compiled, &table, published.as_ref()).await?, reason)
            }
            Plan::History => (self.stage_snapshot(node, compiled, &table, published.as_ref()).await?, String::new()),
            Plan::Increment(touches) => {
                let Some(published) = &published else { return Err(Error::bug("an increment without a table")) };
                (self.stage_increment(node, compiled, &table, published, &touches).await?, String::new())
            }
            Plan::Addition(strategy) => {
                let Some(published) = &published else { return Err(Error::bug("an addition without a table")) };
                let compiled = self.compile_as(node, true)?;
                (self.stage_strategy(node, &compiled, &table, published, strategy).await?, String::new())
            }
        };
        let staged: Vec<String> = candidate.adds.iter().map(|a| a.path.clone()).collect();
        let marks = self.marks(node, compiled, &tests_code);
        let outcome = self.test_and_publish(node, &table, published, candidate, tests, marks).await;
        if !matches!(&outcome, Ok(built) if built.status == Status::Success) {
            // Nothing names these files: they are taken away whether a test failed or the commit did.
            if !self.may_be_committed(&outcome) {
                table.delete_files(staged).await?;
            }
        }
        outcome.map(|built| Built { message: if built.message.is_empty() { reason } else { built.message }, ..built })
    }

    /// An error of the store leaves open whether the commit happened; files that it may name must stay.
    fn may_be_committed(&self, outcome: &Result<Built>) -> bool {
        matches!(outcome, Err(e) if e.kind() == Kind::Outside)
    }

    async fn test_and_publish(
        &mut self,
        node: &Node,
        table: &Table,
        published: Option<Snapshot>,
        candidate: Candidate,
        tests: &[&Node],
        marks: Vec<Txn>,
    ) -> Result<Built> {
        let name = name_of(node);
        let files = candidate.files(published.as_ref());
        let provider = FilesTable::new(self.lake(), table, &candidate.schema, &[], &files, false)?;
        // Tests and later models see the candidate; should it fail, nobody does.
        let before = self.catalog.clone();
        self.catalog.replace(&name, Arc::new(provider));
        let failures = self.run_tests(tests).await;
        self.catalog = before;
        match failures? {
            0 => {}
            failed => {
                return Ok(Built {
                    status: Status::Failed,
                    message: failed_tests(failed),
                    ..Built::skipped(String::new())
                });
            }
        }
        let mut change =
            Commit::new(if ["increment", "snapshot"].contains(&candidate.how) { "MERGE" } else { "WRITE" })
                .parameter("model", node.unique_id.as_str())
                .parameter("build", self.id.to_string());
        let columns = described(&candidate.schema, node);
        let new_shape = match &published {
            Some(p) => {
                p.schema.fields().len() != columns.fields().len()
                    || p.schema
                        .fields()
                        .iter()
                        .zip(columns.fields())
                        .any(|(a, b)| a.name() != b.name() || a.data_type() != b.data_type())
                    || p.key != key_of(node)
            }
            None => true,
        };
        if new_shape {
            let id = published.as_ref().map_or_else(|| uuid::Uuid::new_v4().to_string(), |p| p.table_id.clone());
            let description = Some(node.description.as_str()).filter(|d| !d.is_empty());
            change = change.with_metadata(&id, &columns, &[], &key_of(node), description)?;
        }
        let now = Utc::now().timestamp_millis();
        change.removes = candidate
            .removes
            .iter()
            .map(|f| Remove {
                path: f.path.clone(),
                data_change: true,
                deletion_timestamp: now,
                extended_file_metadata: true,
                partition_values: f.partition_values.clone(),
                size: i64::try_from(f.size).unwrap_or(i64::MAX),
            })
            .collect();
        let rows = candidate.rows;
        let nothing = candidate.changes_nothing();
        change.adds = candidate.adds;
        change.marks = marks;
        let version = self.commit(table, published.as_ref().map(|p| p.version), &change).await?;
        self.take_up(node, table, version).await?;
        Ok(Built {
            status: Status::Success,
            rows: Some(rows),
            version: Some(version),
            how: if nothing { "no row changed" } else { candidate.how },
            ..Built::skipped(String::new())
        })
    }

    /// Nothing to build. Tests that were added or changed since are run on what is published.
    async fn fresh(
        &mut self,
        node: &Node,
        table: &Table,
        published: Snapshot,
        log: &HashMap<String, i64>,
        tests: &[&Node],
        tests_code: &str,
    ) -> Result<Built> {
        let version = published.version;
        self.take_up(node, table, version).await?;
        let mark = tests_mark(tests_code);
        if log.get(inputs::TESTS) == Some(&mark.version) {
            return Ok(Built {
                status: Status::Fresh,
                version: Some(version),
                how: "up to date",
                ..Built::skipped(String::new())
            });
        }
        let failures = self.run_tests(tests).await?;
        if failures > 0 {
            return Ok(Built {
                status: Status::Failed,
                message: failed_tests(failures),
                version: Some(version),
                ..Built::skipped(String::new())
            });
        }
        let mut change = Commit::new("TEST").parameter("build", self.id.to_string());
        change.marks = vec![mark];
        let version = self.commit(table, Some(version), &change).await?;
        self.take_up(node, table, version).await?;
        Ok(Built { status: Status::Success, version: Some(version), how: "tested", ..Built::skipped(String::new()) })
    }

    fn marks(&self, node: &Node, compiled: &Compiled, tests_code: &str) -> Vec<Txn> {
        let mut marks: Vec<Txn> = self.inputs_of(node).tables.iter().flat_map(|(t, cursor)| cursor.marks(t)).collect();
        marks.push(code_mark(&compiled.code_hash));
        marks.push(tests_mark(tests_code));
        marks
    }

    pub(super) async fn commit(&self, table: &Table, read: Option<u64>, change: &Commit) -> Result<u64> {
        self.publishing.store(true, Ordering::Relaxed);
        self.ensure_alone().await?;
        match commit(table, read, change, PATIENCE).await? {
            Outcome::Committed { version } => Ok(version),
            Outcome::Fenced { version, .. } => {
                Err(Error::outside(format!("{}: another build published version {version} in between", table.name)))
            }
            Outcome::Conflict { version, why } => {
                Err(Error::outside(format!("{}: version {version} came in between: {why}", table.name))
                    .hint("something besides medallion writes this table; build again"))
            }
        }
    }

    /// From here on this build reads the table at that version.
    async fn take_up(&mut self, node: &Node, table: &Table, version: u64) -> Result<()> {
        self.catalog.pin(&table.name, version);
        self.versions.insert(table.name.clone(), version);
        if let Some(snapshot) = self.catalog.snapshot(&table.name).await? {
            self.inputs.insert(node.unique_id.clone(), Input::table(&snapshot));
        }
        Ok(())
    }
}

/// The columns that tell the rows of the node's table apart.
pub(super) fn key_of(node: &Node) -> Vec<String> {
    match &node.config.snapshot {
        Some(snapshot) => vec![snapshot.columns.scd_id.clone()],
        None => node.config.unique_key.clone(),
    }
}

fn failed_tests(failures: usize) -> String {
    match failures {
        1 => "a test failed; what readers see is unchanged".to_owned(),
        n => format!("{n} tests failed; what readers see is unchanged"),
    }
}

/// The columns with what the project says of them, for everybody who reads the table's schema.
fn described(schema: &Schema, node: &Node) -> Schema {
    let said: BTreeMap<&str, &str> =
        node.columns.iter().map(|c| (c.name.as_str(), c.description.as_str())).filter(|(_, d)| !d.is_empty()).collect();
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|f| {
            let metadata = said.get(f.name().as_str()).map(|d| (COMMENT.to_owned(), d.trim().to_owned()));
            f.as_ref().clone().with_metadata(metadata.into_iter().collect())
        })
        .collect();
    Schema::new(fields)
}

/// What became of a node.
pub(super) struct Built {
    status: Status,
    message: String,
    rows: Option<u64>,
    version: Option<u64>,
    how: &'static str,
    compiled: Option<String>,
}

impl Built {
    fn skipped(message: String) -> Built {
        Built { status: Status::Skipped, message, rows: None, version: None, how: "", compiled: None }
    }

    fn ok(self) -> Built {
        Built { status: Status::Success, ..self }
    }
}
