//! dbt's own incremental strategies: the model's query says which rows there are to add, and the strategy which rows of
//! the table give way to them.
//!
//! They do what their users know of them, with three differences. A table whose inputs and code are as they were is left
//! alone. Keys that are NULL are equal to each other, so that such rows do not pile up. And a query that gives one key
//! twice to `merge` is refused, rather than one of its rows taken by chance.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::pretty::pretty_format_batches;
use datafusion::common::{Column, NullEquality, Result as DfResult, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Expr, JoinType, LogicalPlanBuilder, cast, ident, lit, when};
use datafusion::prelude::{DataFrame, SessionContext};

use super::at_source;
use super::publish::Candidate;
use super::replace::{Keys, Replaced};
use super::turn::Turn;
use crate::engine;
use crate::engine::changes::restrict;
use crate::engine::sql::{self, Text};
use crate::engine::stage::{Staged, as_data_file, stage};
use crate::engine::table::FilesTable;
use crate::error::{Error, Result};
use crate::lake::schema::stored_schema;
use crate::lake::{DataFile, Snapshot, Table};
use crate::models::{Compiled, Node, SchemaChange, Strategy};

/// Keys are held in memory. Beyond this many rows to add, the table is written anew, which spills.
const MOST_KEYS: u64 = 5_000_000;
/// Keys shown with an error.
const SHOWN: usize = 3;

impl Turn {
    pub(super) async fn stage_strategy(
        &self,
        node: &Node,
        compiled: &Compiled,
        table: &Table,
        published: &Snapshot,
        strategy: Strategy,
    ) -> Result<Candidate> {
        let context = self.session();
        let query = Text { file: &node.path, text: &compiled.sql };
        let frame = sql::query(&context, query).await.map_err(|e| at_source(e, node, compiled))?;
        let columns = columns_after(node, &published.schema, stored_schema(frame.schema().as_arrow())?.as_ref())?;
        let frame = shaped(frame, &columns).map_err(|e| engine::error(&format!("building {}", node.name), e))?;
        let staged = stage(frame, table).await.map_err(|e| at_source(e, node, compiled))?;
        let after = Snapshot { schema: columns, ..published.clone() };
        let addition = Addition { turn: self, context, node, table, before: published, after: &after };
        let files: Vec<String> = staged.files.iter().map(|f| f.path.clone()).collect();
        let outcome = addition.candidate(staged, strategy).await;
        // The candidate's own files are not among those that were only on the way to it.
        let kept = outcome.as_ref().map(|c| c.adds.iter().map(|a| a.path.clone()).collect()).unwrap_or(Vec::new());
        table.delete_files(files.into_iter().filter(|f| !kept.contains(f)).collect()).await?;
        outcome
    }
}

/// The rows of a query on their way into a table.
struct Addition<'a> {
    turn: &'a Turn,
    context: SessionContext,
    node: &'a Node,
    table: &'a Table,
    before: &'a Snapshot,
    /// The same files with the columns that the table will have.
    after: &'a Snapshot,
}

impl Addition<'_> {
    async fn candidate(&self, staged: Staged, strategy: Strategy) -> Result<Candidate> {
        let config = &self.node.config;
        let key = match strategy {
            Strategy::Append => return self.appended(staged).await,
            Strategy::Merge | Strategy::DeleteInsert => &config.unique_key,
            Strategy::InsertOverwrite => &config.partition_by,
            Strategy::Changes => return Err(Error::bug("`changes` has a way of its own")),
        };
        if staged.rows == 0 {
            return self.appended(staged).await;
        }
        if strategy == Strategy::Merge {
            self.ensure_unique(&staged, key).await?;
        }
        if strategy == Strategy::Merge && config.merges_in_part() {
            let merged = self.merged_in_part(&staged, key).await?;
            let on_the_way = paths(&staged);
            let candidate = self.replaced(merged, key).await;
            self.table.delete_files(on_the_way).await?;
            return candidate;
        }
        self.replaced(staged, key).await
    }

    async fn appended(&self, staged: Staged) -> Result<Candidate> {
        if self.drops_columns() {
            return self.rewritten(staged, None).await;
        }
        let schema = self.after.schema.clone();
        Ok(Candidate { schema, rows: staged.rows, adds: staged.files, removes: vec![], how: "increment" })
    }

    /// Rows of the table with one of the keys give way.
    async fn replaced(&self, staged: Staged, key: &[String]) -> Result<Candidate> {
        if key.is_empty() {
            // Nothing tells rows apart: all of them give way.
            let removes = self.before.files.clone();
            let schema = self.after.schema.clone();
            return Ok(Candidate { schema, rows: staged.rows, adds: staged.files, removes, how: "increment" });
        }
        if self.drops_columns() || staged.rows > MOST_KEYS {
            return self.rewritten(staged, Some(key)).await;
        }
        let keys = self.rows_of(&staged).and_then(|rows| rows.project(key.iter().map(ident))?.distinct());
        let keys = self.collected(keys).await?;
        let Some(keys) = Keys::new(keys)? else { return self.appended(staged).await };
        let fresh: Vec<Arc<DataFile>> = staged.files.iter().map(as_data_file).collect();
        let replaced = Replaced {
            turn: self.turn,
            table: self.table,
            published: self.after,
            keys: &keys,
            key: &self.node.config.unique_key,
            lineage_counts: true,
        };
        match replaced.compare(&self.context, key, &fresh).await? {
            Some(candidate) => Ok(candidate),
            None => self.appended(staged).await,
        }
    }

    /// The whole table, with the rows of `staged` in it and without those that give way.
    async fn rewritten(&self, staged: Staged, key: Option<&[String]>) -> Result<Candidate> {
        let staying = || -> DfResult<LogicalPlanBuilder> {
            let rows = self.published()?;
            let Some(key) = key else { return Ok(rows) };
            let keys = self.rows_of(&staged)?.project(key.iter().map(|k| ident(k).alias(format!("_medallion_{k}"))))?;
            restrict(rows, key, keys.distinct()?.build()?, JoinType::LeftAnti)
        };
        let mut written = stage(self.frame(staying())?, self.table).await?;
        let rows = staged.rows;
        written.files.extend(staged.files);
        let schema = self.after.schema.clone();
        Ok(Candidate { schema, rows, adds: written.files, removes: self.before.files.clone(), how: "increment" })
    }

    /// Delta keeps a column that left the schema in its files; only writing them anew makes it leave for good.
    fn drops_columns(&self) -> bool {
        self.before.schema.fields().iter().any(|f| self.after.schema.field_with_name(f.name()).is_err())
    }

    async fn ensure_unique(&self, staged: &Staged, key: &[String]) -> Result<()> {
        let twice = self.rows_of(staged).and_then(|rows| {
            let counted = rows.aggregate(key.iter().map(ident), [count(lit(1)).alias("rows")])?;
            counted.filter(ident("rows").gt(lit(1_i64)))?.limit(0, Some(SHOWN))
        });
        let twice = self.collected(twice).await?;
        if twice.iter().all(|batch| batch.num_rows() == 0) {
            return Ok(());
        }
        let shown = pretty_format_batches(&twice).map(|t| t.to_string()).unwrap_or_default();
        Err(Error::failed(format!("{}: the query gives rows with the same `unique_key`:\n{shown}", self.node.path))
            .hint("which of them to keep is the query's to say, as in qualify row_number() over (...) = 1"))
    }

    /// The rows to add, with what the table has in the columns that a merge leaves alone.
    async fn merged_in_part(&self, staged: &Staged, key: &[String]) -> Result<Staged> {
        const THERE: &str = "_medallion_there";
        let merged = || -> DfResult<LogicalPlanBuilder> {
            let old = |name: &str| format!("_medallion_old_{name}");
            let names = || self.after.schema.fields().iter().map(|f| f.name().as_str());
            let columns = names().map(|n| ident(n).alias(old(n))).chain([lit(true).alias(THERE)]);
            let published = self.published()?.project(columns.collect::<Vec<_>>())?.build()?;
            let on =
                (key.iter().map(Column::from_name).collect(), key.iter().map(|k| Column::from_name(old(k))).collect());
            let equal = NullEquality::NullEqualsNull;
            let joined = self.rows_of(staged)?.join_detailed(published, JoinType::Left, on, None, equal)?;
            let merged = names().map(|name| match self.node.config.updates_on_merge(name) {
                true => Ok(ident(name)),
                false => Ok(when(ident(THERE).is_not_null(), ident(old(name))).otherwise(ident(name))?.alias(name)),
            });
            joined.project(merged.collect::<DfResult<Vec<_>>>()?)
        };
        stage(self.frame(merged())?, self.table).await
    }

    fn rows_of(&self, staged: &Staged) -> DfResult<LogicalPlanBuilder> {
        let files: Vec<Arc<DataFile>> = staged.files.iter().map(as_data_file).collect();
        let provider = FilesTable::new(self.turn.lake(), self.table, &self.after.schema, &[], &files, false);
        let provider = provider.map_err(engine::external)?;
        LogicalPlanBuilder::scan("fresh", provider_as_source(Arc::new(provider)), None)
    }

    fn published(&self) -> DfResult<LogicalPlanBuilder> {
        let provider = self.turn.catalog.provider(self.after, false).map_err(engine::external)?;
        LogicalPlanBuilder::scan("published", provider_as_source(provider), None)
    }

    fn frame(&self, plan: DfResult<LogicalPlanBuilder>) -> Result<DataFrame> {
        let plan = plan.and_then(LogicalPlanBuilder::build).map_err(|e| engine::error(&self.doing(), e))?;
        Ok(DataFrame::new(self.context.state(), plan))
    }

    async fn collected(&self, plan: DfResult<LogicalPlanBuilder>) -> Result<Vec<RecordBatch>> {
        let batches = self.frame(plan)?.collect().await.map_err(|e| engine::error(&self.doing(), e))?;
        Ok(batches.into_iter().filter(|b| b.num_rows() > 0).collect())
    }

    fn doing(&self) -> String {
        format!("adding to {}", self.before.name)
    }
}

fn paths(staged: &Staged) -> Vec<String> {
    staged.files.iter().map(|f| f.path.clone()).collect()
}

/// Refuses a column of the query whose values the table cannot hold as they are.
pub(super) fn columns_that_fit(node: &Node, table: &Schema, query: &Schema) -> Result<()> {
    for field in table.fields() {
        if let Ok(given) = query.field_with_name(field.name())
            && !fits(given.data_type(), field.data_type())
        {
            let (column, given, has) = (field.name(), given.data_type(), field.data_type());
            return Err(Error::input(format!(
                "{}: `{column}` is {given} in the query and {has} in the table",
                node.path
            ))
            .hint("cast it in the query"));
        }
    }
    Ok(())
}

/// The columns that the table has once these rows are in it, as `on_schema_change` says.
fn columns_after(node: &Node, table: &Schema, query: &Schema) -> Result<SchemaRef> {
    let names = |of: &Schema, not_in: &Schema| -> Vec<String> {
        let missing = of.fields().iter().filter(|f| not_in.field_with_name(f.name()).is_err());
        missing.map(|f| f.name().clone()).collect()
    };
    let (new, gone) = (names(query, table), names(table, query));
    let named = |names: &[String]| names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    let kept =
        |fields: &mut dyn Iterator<Item = &Arc<Field>>| Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()));
    columns_that_fit(node, table, query).map_err(|e| e.hint("cast it in the query, or build with --full-refresh"))?;
    let added = || query.fields().iter().filter(|f| new.contains(f.name()));
    match node.config.on_schema_change {
        SchemaChange::Ignore if gone.is_empty() => Ok(kept(&mut table.fields().iter())),
        SchemaChange::Ignore => {
            Err(Error::input(format!("{}: the query has no {}, which the table has", node.path, named(&gone)))
                .hint("set on_schema_change to append_new_columns or sync_all_columns, or build with --full-refresh"))
        }
        SchemaChange::Fail if new.is_empty() && gone.is_empty() => Ok(kept(&mut table.fields().iter())),
        SchemaChange::Fail => {
            let mut changes = Vec::new();
            if !new.is_empty() {
                changes.push(format!("new are {}", named(&new)));
            }
            if !gone.is_empty() {
                changes.push(format!("gone are {}", named(&gone)));
            }
            let message = format!("{}: the columns of the query changed: {}", node.path, changes.join("; "));
            Err(Error::failed(message)
                .hint("on_schema_change='fail' wants them as they were; build with --full-refresh"))
        }
        SchemaChange::AppendNewColumns => Ok(kept(&mut table.fields().iter().chain(added()))),
        SchemaChange::SyncAllColumns => {
            Ok(kept(&mut table.fields().iter().filter(|f| !gone.contains(f.name())).chain(added())))
        }
    }
}

/// Whether each value of one type is one of the other.
fn fits(given: &DataType, column: &DataType) -> bool {
    use DataType::*;
    match (given, column) {
        (Null, _) | (Int8, Int16 | Int32 | Int64) | (Int16, Int32 | Int64) | (Int32, Int64 | Float64) => true,
        (Float32, Float64) => true,
        (Decimal128(p, s), Decimal128(precision, scale)) => {
            scale >= s && i16::from(*precision) - i16::from(*scale) >= i16::from(*p) - i16::from(*s)
        }
        (given, column) => given == column,
    }
}

/// The query's rows in the columns of the table.
pub(super) fn shaped(frame: DataFrame, columns: &Schema) -> DfResult<DataFrame> {
    let given = frame.schema().as_arrow().clone();
    let column = |field: &Arc<Field>| -> DfResult<Expr> {
        Ok(match given.field_with_name(field.name()) {
            Ok(_) => cast(ident(field.name()), field.data_type().clone()).alias(field.name()),
            Err(_) => lit(ScalarValue::try_from(field.data_type())?).alias(field.name()),
        })
    };
    let columns = columns.fields().iter().map(column).collect::<DfResult<Vec<_>>>()?;
    frame.select(columns)
}
