//! Unit tests: what a model makes of rows that are made up for it, found out in a lake of its own that is gone after.
//!
//! The rows become tables in memory, with the columns and types that the inputs really have; a column that is not given
//! is NULL. `expect` is compared with what the model's query gives. `expect_after` is compared with what its table holds
//! once a build has put those rows into it, by the same code that builds the real one: given the table before as
//! `this`, the other inputs are what changed since.

mod difference;
mod made_up;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use tokio::sync::RwLock;
use uuid::Uuid;

use self::difference::difference;
use self::made_up::{completed, made_up};
use super::inputs::{Input, code_mark};
use super::publish::key_of;
use super::report::{NodeResult, Status};
use super::turn::Turn;
use super::{Build, Options, at_source, name_of, seed};
use crate::engine::catalog::Catalog;
use crate::engine::sql::{self, Text};
use crate::engine::{self, Engine};
use crate::error::{Error, Kind, Result};
use crate::lake::commit::Commit;
use crate::lake::log::Txn;
use crate::lake::schema::stored_schema;
use crate::lake::write::TableWriter;
use crate::lake::{Lake, Snapshot, TableName};
use crate::models::{Compiled, Materialized, Node, NodeKind, UnitTest};

impl Turn {
    /// Runs unit tests, each on rows of its own.
    pub(super) async fn run_unit_tests(&self, tests: &[&Node]) -> Result<Vec<NodeResult>> {
        let mut results = Vec::with_capacity(tests.len());
        for test in tests {
            let began = Instant::now();
            let (status, message) = match self.judge_unit(test).await {
                Ok(None) => (Status::Success, String::new()),
                Ok(Some(difference)) => (Status::Failed, difference),
                Err(e) if matches!(e.kind(), Kind::Input | Kind::Failed) => (Status::Error(e.kind()), e.to_string()),
                Err(e) => return Err(e.context(format!("unit test {}", test.name))),
            };
            let mut result = NodeResult::of(test, status, &message);
            result.failures = Some(i64::from(status.is_failure()));
            result.elapsed = began.elapsed();
            results.push(result);
        }
        Ok(results)
    }

    /// What is not as expected, if anything.
    async fn judge_unit(&self, test: &Node) -> Result<Option<String>> {
        let Some((unit, model)) = test.unit.as_ref().and_then(|u| Some((u, self.build.project.nodes.get(&u.model)?)))
        else {
            return Err(Error::bug(format!("{} is no unit test", test.name)));
        };
        let mut differences = Vec::new();
        let expectations = [(&unit.expect, false, "its query gives"), (&unit.expect_after, true, "its table has then")];
        for (expected, after, what) in expectations {
            let Some(expected) = expected else { continue };
            let lake = Lake::in_memory()?;
            let engine = self.build.engine.over(&lake)?;
            let mut trial = self.trial(engine, unit);
            let found = trial.outcome(self, unit, model, after).await.map_err(|e| at_test(e, test))?;
            let expected = made_up(expected, &found.0, &trial.empty(), &format!("what {} expects", test.name))
                .await
                .map_err(|e| at_test(e, test))?;
            if let Some(difference) = difference(&expected, &found.1)? {
                differences.push(format!("expected (-) and what {what} (+) differ:\n{difference}"));
            }
        }
        Ok((!differences.is_empty()).then(|| differences.join("\n")))
    }

    /// A turn of the same project in another lake, which has nothing yet.
    fn trial(&self, engine: Engine, unit: &UnitTest) -> Turn {
        let catalog = Catalog::only(&engine.lake, []);
        let build = Build {
            engine: Arc::new(engine),
            project: self.build.project.clone(),
            options: Options::default(),
            id: Uuid::new_v4(),
            started_at: self.build.started_at,
            lease: None,
            memory: RwLock::default(),
            selected: self.build.selected.clone(),
        };
        Turn {
            build: Arc::new(build),
            catalog,
            inputs: HashMap::new(),
            gate: Arc::default(),
            need: self.need,
            overrides: Some(Arc::new(unit.overrides.clone())),
        }
    }

    fn empty(&self) -> SessionContext {
        self.build.engine.session(Arc::new(Catalog::only(self.lake(), [])))
    }

    /// The rows that come of those that are given, with the columns that they have.
    async fn outcome(
        &mut self,
        real: &Turn,
        unit: &UnitTest,
        model: &Node,
        after: bool,
    ) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        // Where a build has to tell what changed, the inputs were empty before.
        let mut now = BTreeMap::new();
        for given in unit.given.iter().filter(|given| given.input != unit.model) {
            let name = self.table_of(&given.input)?;
            let shape = Box::pin(real.shape_of(&given.input)).await?;
            let rows = made_up(&given.rows, &shape, &self.empty(), &format!("what is given for {name}")).await?;
            let before = self.put(&name, &shape, &[], Vec::new(), &[]).await?;
            self.inputs.insert(given.input.clone(), Input::table(&before));
            let snapshot = self.put(&name, &shape, &rows, Vec::new(), &[]).await?;
            self.catalog.pin(&name, snapshot.version);
            now.insert(given.input.clone(), Input::table(&snapshot));
        }
        self.adopt_ephemeral(model);
        let name = name_of(model);
        if let Some(this) = unit.given.iter().find(|given| given.input == unit.model) {
            let shape = Box::pin(real.shape_of(&this.input)).await?;
            let rows = made_up(&this.rows, &shape, &self.empty(), &format!("what is given for {name}")).await?;
            let compiled = self.compile(model)?;
            let mut marks = vec![code_mark(&compiled.code_hash)];
            marks.extend(self.inputs_of(model).tables.iter().flat_map(|(table, cursor)| cursor.marks(table)));
            let snapshot = self.put(&name, &shape, &rows, marks, &key_of(model)).await?;
            self.catalog.pin(&name, snapshot.version);
        }
        self.inputs.extend(now);
        self.adopt_ephemeral(model);
        let compiled = self.compile(model)?;
        let makes_no_table = matches!(model.config.materialized, Materialized::View | Materialized::Ephemeral);
        if !after || (makes_no_table && model.kind == NodeKind::Model) {
            return self.rows_of(model, &compiled).await;
        }
        Box::pin(self.table(model, &compiled, &[], &[])).await?;
        let whole = Compiled::of_text(format!("select * from \"{}\".\"{}\"", name.schema, name.name));
        self.rows_of(model, &whole).await
    }

    /// What ephemeral models depend on, which nobody gives rows to.
    fn adopt_ephemeral(&mut self, model: &Node) {
        let given = self.overrides.as_ref().map(|o| o.given.clone()).unwrap_or_default();
        for node in self.build.project.order() {
            let stands_in_queries =
                node.config.materialized == Materialized::Ephemeral && !given.contains(&node.unique_id);
            if stands_in_queries && node.kind == NodeKind::Model && node.unique_id != model.unique_id {
                self.inputs.insert(node.unique_id.clone(), self.inputs_of(node));
            }
        }
    }

    async fn rows_of(&self, model: &Node, compiled: &Compiled) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let context = self.session();
        let query = Text { file: &model.path, text: &compiled.sql };
        let frame = sql::query(&context, query).await.map_err(|e| at_source(e, model, compiled))?;
        let shape = stored_schema(frame.schema().as_arrow())?;
        let batches = frame.collect().await.map_err(|e| engine::error(&format!("running {}", model.name), e))?;
        let conformed = batches.iter().map(|batch| engine::stage::conform(batch, &shape)).collect::<Result<_>>()?;
        Ok((shape, conformed))
    }

    fn table_of(&self, unique_id: &str) -> Result<TableName> {
        let relation = self.build.project.relation(unique_id);
        let relation = relation.ok_or_else(|| Error::bug(format!("{unique_id} has no table")))?;
        Ok(TableName::new(relation.schema, relation.name))
    }

    /// One more version of a table, which has just these rows.
    async fn put(
        &self,
        name: &TableName,
        shape: &SchemaRef,
        rows: &[RecordBatch],
        marks: Vec<Txn>,
        key: &[String],
    ) -> Result<Snapshot> {
        let table = self.lake().table(name)?;
        let before = table.latest_version().await?;
        let rows = rows.iter().map(|batch| completed(batch, shape)).collect::<Result<Vec<_>>>()?;
        let mut change = Commit::new("WRITE");
        if before.is_none() {
            change = change.with_metadata(&Uuid::new_v4().to_string(), shape, &[], key, None)?;
        }
        if rows.iter().any(|batch| batch.num_rows() > 0) {
            let mut writer = TableWriter::new(&table, shape.clone(), BTreeMap::new())?;
            for batch in &rows {
                writer.write(batch).await?;
            }
            change.adds = writer.close().await?;
        }
        change.marks = marks;
        self.commit(&table, before, &change).await?;
        table.latest().await?.ok_or_else(|| Error::bug(format!("{name} is gone")))
    }

    /// The columns of an input: those that it has in the lake, or else those that its query or its file gives.
    async fn shape_of(&self, unique_id: &str) -> Result<SchemaRef> {
        let name = self.table_of(unique_id)?;
        if self.catalog.names().any(|known| *known == name) {
            let context = self.session();
            let text = format!("select * from \"{}\".\"{}\"", name.schema, name.name);
            let frame = sql::query(&context, Text { file: unique_id, text: &text }).await?;
            return stored_schema(frame.schema().as_arrow());
        }
        let Some(node) = self.build.project.nodes.get(unique_id) else {
            return Err(Error::input(format!("nothing tells the columns of {name}")));
        };
        let mut catalog = Catalog::only(self.lake(), []);
        for parent in self.build.project.tables_read_by(unique_id) {
            let shape = Box::pin(self.shape_of(&parent)).await?;
            let empty = MemTable::try_new(shape, vec![vec![]]).map_err(|e| engine::error("an empty table", e))?;
            catalog.replace(&self.table_of(&parent)?, Arc::new(empty));
        }
        let context = self.build.engine.session(Arc::new(catalog));
        let frame = match node.kind {
            NodeKind::Seed => seed::frame(&context, &self.build.project.root, node)?,
            _ => {
                let compiled = self.compile(node)?;
                let query = Text { file: &node.path, text: &compiled.sql };
                sql::query(&context, query).await.map_err(|e| at_source(e, node, &compiled))?
            }
        };
        stored_schema(frame.schema().as_arrow())
    }
}

/// An error without a place of its own is the test's.
fn at_test(error: Error, test: &Node) -> Error {
    match error.place() {
        Some(_) => error.context(format!("{}:{}: the unit test `{}`", test.path, test.line, test.name)),
        None => error.context(format!("the unit test `{}`", test.name)).at(crate::error::Place {
            file: test.path.clone(),
            line: test.line,
            column: 1,
            text: None,
        }),
    }
}
