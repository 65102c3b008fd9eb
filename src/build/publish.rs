//! One node from stale to published: stage, test, commit.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use chrono::Utc;

use super::inputs::{code_mark, tests_mark};
use super::plan::Plan;
use super::progress::Made;
use super::report::Status;
use super::turn::{Built, Turn};
use super::{PATIENCE, inputs, name_of};
use crate::engine::stage::as_data_file;
use crate::engine::table::FilesTable;
use crate::error::{Error, Kind, Result};
use crate::lake::commit::{Commit, Outcome, commit};
use crate::lake::log::{Add, Remove, Txn};
use crate::lake::schema::COMMENT;
use crate::lake::{DataFile, Snapshot, Table};
use crate::models::{Compiled, Node};

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

impl Turn {
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
        let tests_code = self.tests_code(node, &[units, tests].concat())?;
        // Unit tests are of the code alone: once they are passed, only other code or other tests ask for them again.
        let marks = [code_mark(&compiled.code_hash), tests_mark(&tests_code)];
        let proved = marks.iter().all(|mark| log.get(&mark.app_id) == Some(&mark.version));
        let proofs = if proved { Vec::new() } else { self.run_unit_tests(units).await? };
        if let Some(skipped) = Built::disproved(&proofs) {
            return Ok(skipped.after(proofs));
        }
        let (candidate, reason) = match plan {
            Plan::Fresh => {
                let Some(published) = published else { return Err(Error::bug("fresh without a table")) };
                let built = self.fresh(node, &table, published, &log, tests, &tests_code).await?;
                return Ok(built.after(proofs));
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
            if !self.may_be_committed(&outcome)
                && let Err(e) = table.delete_files(staged).await
            {
                // Why the node failed matters more than what it left behind, which vacuum takes away.
                if outcome.is_ok() {
                    return Err(e);
                }
            }
        }
        let built = outcome?.after(proofs);
        Ok(Built { message: if built.message.is_empty() { reason } else { built.message }, ..built })
    }

    /// An error of the store leaves open whether the commit happened; files that it may name must stay.
    fn may_be_committed(&self, outcome: &Result<Built>) -> bool {
        self.gate.is_publishing() && matches!(outcome, Err(e) if e.kind() == Kind::Outside)
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
        // Later turns see the table once it is published; until then the candidate is this turn's own.
        self.catalog.replace(&name, Arc::new(provider));
        self.ensure_constraints(node).await?;
        let built = Built::default().tested(self.run_tests(tests).await?);
        if built.status.is_failure() {
            return Ok(built);
        }
        let changes_rows = ["increment", "snapshot"].contains(&candidate.how);
        let mut change = Commit::new(if changes_rows { "MERGE" } else { "WRITE" })
            .parameter("model", node.unique_id.as_str())
            .parameter("build", self.build.id.to_string());
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
        let how = if nothing { "no row changed" } else { candidate.how };
        let made = Some(made(table, version).await?);
        Ok(Built { rows: Some(rows), version: Some(version), how, made, ..built })
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
        self.catalog.pin(&table.name, version);
        let built = Built { version: Some(version), made: Some(Made::table(&published)), ..Built::default() };
        let mark = tests_mark(tests_code);
        if log.get(inputs::TESTS) == Some(&mark.version) {
            return Ok(Built { status: Status::Fresh, how: "up to date", ..built });
        }
        self.ensure_constraints(node).await?;
        let built = built.tested(self.run_tests(tests).await?);
        if built.status.is_failure() {
            return Ok(built);
        }
        let mut change = Commit::new("TEST").parameter("build", self.build.id.to_string());
        change.marks = vec![mark];
        let version = self.commit(table, Some(version), &change).await?;
        let made = Some(made(table, version).await?);
        Ok(Built { version: Some(version), how: "tested", made, ..built })
    }

    fn marks(&self, node: &Node, compiled: &Compiled, tests_code: &str) -> Vec<Txn> {
        let mut marks: Vec<Txn> = self.inputs_of(node).tables.iter().flat_map(|(t, cursor)| cursor.marks(t)).collect();
        marks.push(code_mark(&compiled.code_hash));
        marks.push(tests_mark(tests_code));
        marks
    }

    pub(super) async fn commit(&self, table: &Table, read: Option<u64>, change: &Commit) -> Result<u64> {
        if !self.gate.publish() {
            // Whoever gave this turn up is about to end its task.
            std::future::pending::<()>().await;
        }
        self.build.ensure_alone().await?;
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
}

/// The table as later nodes read it: at the version that this turn has made.
async fn made(table: &Table, version: u64) -> Result<Made> {
    Ok(Made::table(&table.at_version(version).await?))
}

/// The columns that tell the rows of the node's table apart.
pub(super) fn key_of(node: &Node) -> Vec<String> {
    match &node.config.snapshot {
        Some(snapshot) => vec![snapshot.columns.scd_id.clone()],
        None => node.config.unique_key.clone(),
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
