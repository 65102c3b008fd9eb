//! Just the rows that the inputs' changes touch.
//!
//! The touched values of `recompute_by` are collected from the before- and after-images of what changed. The model's
//! plain SQL runs with each mapped input reduced to those values, and its result takes the place of the target's rows
//! with them. A row that comes out as it was, lineage aside, is not rewritten, so that nothing downstream wakes for it;
//! files without a row to replace are not touched. The result equals a full build.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch, StringArray};
use arrow::compute::cast as cast_array;
use arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::datasource::{MemTable, ViewTable, provider_as_source};
use datafusion::functions_aggregate::expr_fn::{max, sum};
use datafusion::logical_expr::{
    Expr, ExprFunctionExt, JoinType, LogicalPlan, LogicalPlanBuilder, cast, ident, lit, when,
};
use datafusion::prelude::{DataFrame, SessionContext};

use super::plan::{Mapping, Touch};
use super::publish::Candidate;
use super::{Build, at_source};
use crate::engine::catalog::Catalog;
use crate::engine::changes::{is_lineage, restrict, touched_keys};
use crate::engine::sql::{self, Text};
use crate::engine::stage::{as_data_file, same_columns, stage};
use crate::engine::table::{FILE_COLUMN, FilesTable};
use crate::engine::{self};
use crate::error::{Error, Result};
use crate::lake::{DataFile, Snapshot, Table};
use crate::models::{Compiled, Node};

/// Rows that come and go are counted in here.
const COUNT: &str = "_medallion_count";
const CAME: &str = "_medallion_came";
const LEFT: &str = "_medallion_left";

impl Build<'_> {
    pub(super) async fn stage_increment(
        &self,
        node: &Node,
        compiled: &Compiled,
        table: &Table,
        published: &Snapshot,
        touches: &[Touch],
    ) -> Result<Candidate> {
        let doing = format!("building {}", node.name);
        let nothing =
            Candidate { schema: published.schema.clone(), adds: vec![], removes: vec![], rows: 0, how: "increment" };
        let context = self.engine.session(Arc::new(self.catalog.clone()));
        let Some(keys) = self.touched(node, &context, published, touches).await? else { return Ok(nothing) };

        // The model's own SQL over the reduced inputs.
        let mut reduced = self.catalog.clone();
        self.reduce_inputs(node, &mut reduced, &keys).await?;
        let context = self.engine.session(Arc::new(reduced));
        let query = Text { file: &node.path, text: &compiled.sql };
        let frame = sql::query(&context, query).await.map_err(|e| at_source(e, node, compiled))?;
        let (state, plan) = frame.into_parts();
        let kept = keys.keep(LogicalPlanBuilder::from(plan), &node.config.recompute_by).and_then(|p| p.build());
        let frame = DataFrame::new(state, kept.map_err(|e| engine::error(&doing, e))?);
        let staged = stage(frame, table).await.map_err(|e| at_source(e, node, compiled))?;
        let fresh: Vec<Arc<DataFile>> = staged.files.iter().map(as_data_file).collect();
        if !same_columns(&staged.schema, &published.schema) {
            table.delete_files(fresh.iter().map(|f| f.path.clone()).collect()).await?;
            return self.stage_full(node, compiled, table, Some(published)).await;
        }

        let replaced = Replaced { build: self, table, published, keys: &keys, key: &node.config.unique_key };
        match replaced.compare(&context, &node.config.recompute_by, &fresh).await {
            Ok(None) => Ok(Candidate { adds: staged.files, rows: staged.rows, ..nothing }),
            Ok(Some(candidate)) => {
                table.delete_files(fresh.iter().map(|f| f.path.clone()).collect()).await?;
                Ok(candidate)
            }
            Err(e) => {
                table.delete_files(fresh.iter().map(|f| f.path.clone()).collect()).await?;
                Err(e)
            }
        }
    }

    /// The values of `recompute_by` whose rows have to be computed again, or None if there are none.
    async fn touched(
        &self,
        node: &Node,
        context: &SessionContext,
        published: &Snapshot,
        touches: &[Touch],
    ) -> Result<Option<Keys>> {
        let doing = format!("collecting what changes touch in {}", node.name);
        let by = &node.config.recompute_by;
        let types: Vec<DataType> = by
            .iter()
            .map(|c| published.schema.field_with_name(c).map(|f| f.data_type().clone()))
            .collect::<Result<_, _>>()
            .map_err(|e| Error::input(format!("{}: recompute_by", node.path)).because(e))?;
        let direct = self.direct_inputs(node).await?;
        let mut all: Option<LogicalPlanBuilder> = None;
        for touch in touches {
            let changed =
                touched_keys(self.lake(), &touch.snapshot, &touch.added, &touch.removed, &touch.mapping.input)?;
            let plan = self.keys_of(touch, by, published, &direct, changed).and_then(|plan| {
                let typed = by.iter().zip(&types).map(|(c, t)| cast(ident(c), t.clone()).alias(c));
                plan.project(typed.collect::<Vec<_>>())
            });
            let plan = plan.map_err(|e| engine::error(&doing, e))?;
            all = Some(match all {
                None => plan,
                Some(all) => plan.build().and_then(|p| all.union(p)).map_err(|e| engine::error(&doing, e))?,
            });
        }
        let Some(all) = all else { return Ok(None) };
        let plan = all.distinct().and_then(|p| p.build()).map_err(|e| engine::error(&doing, e))?;
        let frame = DataFrame::new(context.state(), plan);
        let batches = frame.collect().await.map_err(|e| engine::error(&doing, e))?;
        Keys::new(batches.into_iter().filter(|b| b.num_rows() > 0).collect())
    }

    /// The inputs whose mapping names the keys themselves, each as of now.
    async fn direct_inputs(&self, node: &Node) -> Result<Vec<(Arc<Snapshot>, Mapping)>> {
        let mut direct = Vec::new();
        for name in node.depends_on.iter().filter_map(|d| self.inputs.get(d)?.own.as_ref()) {
            let Some(snapshot) = self.catalog.snapshot(name).await? else { continue };
            let mapping = self.mapping(node, name, &snapshot);
            if let Some(mapping) = mapping.filter(|m| m.is_direct(&node.config.recompute_by)) {
                direct.push((snapshot, mapping));
            }
        }
        Ok(direct)
    }

    /// Changed values of an input as values of `recompute_by`.
    fn keys_of(
        &self,
        touch: &Touch,
        by: &[String],
        published: &Snapshot,
        direct: &[(Arc<Snapshot>, Mapping)],
        changed: LogicalPlan,
    ) -> DfResult<LogicalPlanBuilder> {
        let mapping = &touch.mapping;
        let keys = |columns: &[String]| columns.iter().zip(by).map(|(c, key)| ident(c).alias(key)).collect::<Vec<_>>();
        if mapping.is_direct(by) {
            return LogicalPlanBuilder::from(changed).project(keys(&mapping.input))?.distinct();
        }
        // The input's columns are not the keys themselves. The rows that have those values tell the keys: published
        // ones, and those of inputs that have the keys and the same columns, of which an inner join may have published
        // nothing yet.
        let changed = unqualified(changed)?;
        let rows_with = |snapshot: &Snapshot, columns: &[String]| -> DfResult<LogicalPlanBuilder> {
            let provider = self.catalog.provider(snapshot, false).map_err(engine::external)?;
            let rows = LogicalPlanBuilder::scan("rows", provider_as_source(provider), None)?;
            restrict(rows, &mapping.target, changed.clone(), JoinType::LeftSemi)?.project(keys(columns))
        };
        let mut found = rows_with(published, by)?;
        for (input, own) in direct {
            if mapping.target.iter().all(|c| input.schema.field_with_name(c).is_ok()) {
                found = found.union(rows_with(input, &own.input)?.build()?)?;
            }
        }
        Ok(found)
    }

    /// Shows each input whose mapping names the keys themselves as just its rows with touched keys.
    async fn reduce_inputs(&self, node: &Node, catalog: &mut Catalog, keys: &Keys) -> Result<()> {
        for (snapshot, mapping) in self.direct_inputs(node).await? {
            let name = &snapshot.name;
            let provider = self.catalog.provider(&snapshot, false)?;
            let plan = reduced(provider, &mapping, keys).map_err(|e| engine::error(&format!("reading {name}"), e))?;
            catalog.replace(name, Arc::new(ViewTable::new(plan, None)));
        }
        Ok(())
    }
}

fn reduced(provider: Arc<dyn TableProvider>, mapping: &Mapping, keys: &Keys) -> DfResult<LogicalPlan> {
    let scan = LogicalPlanBuilder::scan("t", provider_as_source(provider), None)?;
    keys.keep(scan, &mapping.input)?.build()
}

/// A plan whose columns carry no table's name, so that it can be joined to anything.
fn unqualified(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let columns: Vec<Expr> =
        plan.schema().columns().into_iter().map(|c| Expr::Column(c.clone()).alias(c.name)).collect();
    LogicalPlanBuilder::from(plan).project(columns)?.alias("medallion_keys")?.build()
}

/// The touched keys, in memory.
struct Keys {
    table: Arc<MemTable>,
    /// The smallest and largest value of each column, and whether NULL is among them, by which files are skipped.
    ranges: Vec<Option<(ScalarValue, ScalarValue, bool)>>,
}

impl Keys {
    /// None where there are no keys.
    fn new(batches: Vec<RecordBatch>) -> Result<Option<Keys>> {
        let wrong = |e| engine::error("the touched keys", e);
        let Some(first) = batches.first() else { return Ok(None) };
        let schema = first.schema();
        let ranges =
            (0..schema.fields().len()).map(|i| range_of(&batches, i)).collect::<DfResult<_>>().map_err(wrong)?;
        let table = MemTable::try_new(schema, vec![batches]).map_err(wrong)?;
        Ok(Some(Keys { table: Arc::new(table), ranges }))
    }

    /// The rows of `plan` whose `columns` have touched values. The range comes first: it rules out whole files.
    fn keep(&self, plan: LogicalPlanBuilder, columns: &[String]) -> DfResult<LogicalPlanBuilder> {
        let mut plan = plan;
        for (column, range) in columns.iter().zip(&self.ranges) {
            if let Some((low, high, nulls)) = range {
                let inside = ident(column).between(lit(low.clone()), lit(high.clone()));
                plan = plan.filter(if *nulls { inside.or(ident(column).is_null()) } else { inside })?;
            }
        }
        let keys = LogicalPlanBuilder::scan("medallion_keys", provider_as_source(self.table.clone()), None)?.build()?;
        restrict(plan, columns, keys, JoinType::LeftSemi)
    }
}

fn range_of(batches: &[RecordBatch], column: usize) -> DfResult<Option<(ScalarValue, ScalarValue, bool)>> {
    let (mut low, mut high, mut nulls): (Option<ScalarValue>, Option<ScalarValue>, bool) = (None, None, false);
    for batch in batches {
        let values = batch.column(column);
        nulls |= values.null_count() > 0;
        for row in 0..values.len() {
            let value = ScalarValue::try_from_array(values, row)?;
            if value.is_null() {
                continue;
            }
            if low.as_ref().is_none_or(|l| value < *l) {
                low = Some(value.clone());
            }
            if high.as_ref().is_none_or(|h| value > *h) {
                high = Some(value);
            }
        }
    }
    Ok(low.zip(high).map(|(low, high)| (low, high, nulls)))
}

/// The published rows with touched keys, against the rows that were just computed.
struct Replaced<'a> {
    build: &'a Build<'a>,
    table: &'a Table,
    published: &'a Snapshot,
    keys: &'a Keys,
    key: &'a [String],
}

impl Replaced<'_> {
    /// What has to be written and what has to go. None: nothing published has those keys, so all of it is new.
    async fn compare(
        &self,
        context: &SessionContext,
        recompute_by: &[String],
        fresh: &[Arc<DataFile>],
    ) -> Result<Option<Candidate>> {
        let doing = format!("comparing {} with what is published", self.published.name);
        let wrong = |e| engine::error(&doing, e);
        let frame = |plan: DfResult<LogicalPlan>| -> Result<DataFrame> {
            Ok(DataFrame::new(context.state(), plan.map_err(|e| engine::error(&doing, e))?))
        };
        let names =
            |file: bool| -> Result<Arc<dyn TableProvider>> { self.build.catalog.provider(self.published, file) };
        let stands = |provider: Arc<dyn TableProvider>| -> DfResult<LogicalPlanBuilder> {
            self.keys.keep(LogicalPlanBuilder::scan("published", provider_as_source(provider), None)?, recompute_by)
        };
        let first = frame(stands(names(false)?).and_then(|p| p.limit(0, Some(1))).and_then(|p| p.build()))?;
        if first.collect().await.map_err(wrong)?.iter().all(|b| b.num_rows() == 0) {
            return Ok(None);
        }

        let (content, lineage): (Vec<String>, Vec<String>) = {
            let all = self.published.schema.fields().iter().map(|f| f.name().clone());
            all.partition(|c| !is_lineage(c, self.key))
        };
        let rows = |files: &[Arc<DataFile>]| -> Result<Arc<dyn TableProvider>> {
            let table = FilesTable::new(self.build.lake(), self.table, &self.published.schema, &[], files, false)?;
            Ok(Arc::new(table))
        };
        let new_rows = rows(fresh)?;
        let columns = |sign: i64| -> Vec<Expr> {
            content.iter().chain(&lineage).map(ident).chain([lit(sign).alias(COUNT)]).collect()
        };
        let net = || -> DfResult<LogicalPlanBuilder> {
            let came =
                LogicalPlanBuilder::scan("fresh", provider_as_source(new_rows.clone()), None)?.project(columns(1))?;
            let gone = stands(names(false).map_err(engine::external)?)?.project(columns(-1))?;
            let is_new = ident(COUNT).gt(lit(0_i64));
            let one_if = |is: Expr| when(is, lit(1_i64)).otherwise(lit(0_i64));
            let mut totals =
                vec![sum(one_if(is_new.clone())?).alias(CAME), sum(one_if(ident(COUNT).lt(lit(0_i64)))?).alias(LEFT)];
            for column in &lineage {
                totals.push(max(ident(column)).filter(is_new.clone()).build()?.alias(column));
            }
            came.union(gone.build()?)?
                .aggregate(content.iter().map(ident).collect::<Vec<_>>(), totals)?
                .filter(ident(CAME).not_eq(ident(LEFT)))
        };

        // Rows that go, by content: all copies of it. Copies that stay are among those that come.
        let going = net()
            .and_then(|p| p.filter(ident(LEFT).gt(lit(0_i64))))
            .and_then(|p| p.project(content.iter().map(ident).collect::<Vec<_>>()))
            .and_then(|p| p.build());
        let going = frame(going)?;
        let planned = Arc::new(going.schema().as_arrow().clone());
        let going = going.collect().await.map_err(wrong)?;
        // The rows come with the types that the plan ended up with, which may differ from the planned ones in detail.
        let schema = going.first().map_or(planned, RecordBatch::schema);
        let going = MemTable::try_new(schema, vec![going]).map_err(wrong)?;
        let going: Arc<dyn TableProvider> = Arc::new(going);
        let going_keys = || LogicalPlanBuilder::scan("going", provider_as_source(going.clone()), None)?.build();

        let holders = stands(names(true)?)
            .and_then(|p| restrict(p, &content, going_keys()?, JoinType::LeftSemi))
            .and_then(|p| p.project([cast(ident(FILE_COLUMN), DataType::Utf8).alias(FILE_COLUMN)]))
            .and_then(|p| p.distinct())
            .and_then(|p| p.build());
        let mut affected: Vec<Arc<DataFile>> = Vec::new();
        for batch in frame(holders)?.collect().await.map_err(wrong)? {
            let paths =
                cast_array(batch.column(0), &DataType::Utf8).map_err(|e| Error::bug("file names").because(e))?;
            let paths = paths.as_any().downcast_ref::<StringArray>();
            let named = |f: &&Arc<DataFile>| paths.is_some_and(|p| p.iter().flatten().any(|path| path == f.path));
            affected.extend(self.published.files.iter().filter(named).cloned());
        }

        let ordered: Vec<Expr> = self.published.schema.fields().iter().map(|f| ident(f.name())).collect();
        let coming = net()
            .and_then(|p| p.filter(ident(CAME).gt(lit(0_i64))))
            .and_then(|p| repeat(p, CAME))
            .and_then(|p| p.project(ordered.clone()))
            .and_then(|p| p.build());
        let mut written = stage(frame(coming)?, self.table).await?;
        let rows_changed = written.rows;
        if !affected.is_empty() {
            let staying = LogicalPlanBuilder::scan("affected", provider_as_source(rows(&affected)?), None)
                .and_then(|p| restrict(p, &content, going_keys()?, JoinType::LeftAnti))
                .and_then(|p| p.project(ordered))
                .and_then(|p| p.build());
            match stage(frame(staying)?, self.table).await {
                Ok(staying) => written.files.extend(staying.files),
                Err(e) => {
                    self.table.delete_files(written.files.iter().map(|f| f.path.clone()).collect()).await?;
                    return Err(e);
                }
            }
        }
        Ok(Some(Candidate {
            schema: self.published.schema.clone(),
            adds: written.files,
            removes: affected,
            rows: rows_changed,
            how: "increment",
        }))
    }
}

/// Each row as often as its column `times` says.
fn repeat(plan: LogicalPlanBuilder, times: &str) -> DfResult<LogicalPlanBuilder> {
    use datafusion::common::Column;
    use datafusion::functions_nested::range::range;
    const COPIES: &str = "_medallion_copies";
    let columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    let copies = range(lit(0_i64), ident(times), lit(1_i64)).alias(COPIES);
    plan.project(columns.into_iter().chain([copies]))?.unnest_column(Column::from_name(COPIES))
}
