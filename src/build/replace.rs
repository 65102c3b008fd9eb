//! Rows of a table give way to others with the same keys.
//!
//! A row that comes out as it was, lineage aside where that does not count, is not rewritten, so that nothing downstream
//! wakes for it; files without a row to replace are not touched.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch, StringArray};
use arrow::compute::cast as cast_array;
use arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, LogicalPlanBuilder, cast, ident, lit, when};
use datafusion::prelude::{DataFrame, SessionContext};

use super::publish::Candidate;
use super::turn::Turn;
use crate::engine;
use crate::engine::changes::{is_lineage, restrict};
use crate::engine::stage::stage;
use crate::engine::table::{FILE_COLUMN, FilesTable};
use crate::error::{Error, Result};
use crate::lake::{DataFile, Snapshot, Table};

/// Rows that come and go are counted in here.
const COUNT: &str = "_medallion_count";
const CAME: &str = "_medallion_came";
const LEFT: &str = "_medallion_left";

/// The touched keys, in memory.
pub struct Keys {
    table: Arc<MemTable>,
    /// The smallest and largest value of each column, and whether NULL is among them, by which files are skipped.
    ranges: Vec<Option<(ScalarValue, ScalarValue, bool)>>,
}

impl Keys {
    /// None where there are no keys.
    pub fn new(batches: Vec<RecordBatch>) -> Result<Option<Keys>> {
        let wrong = |e| engine::error("the touched keys", e);
        let Some(first) = batches.first() else { return Ok(None) };
        let schema = first.schema();
        let ranges =
            (0..schema.fields().len()).map(|i| range_of(&batches, i)).collect::<DfResult<_>>().map_err(wrong)?;
        let table = MemTable::try_new(schema, vec![batches]).map_err(wrong)?;
        Ok(Some(Keys { table: Arc::new(table), ranges }))
    }

    /// The rows of `plan` whose `columns` have touched values. The range comes first: it rules out whole files.
    pub fn keep(&self, plan: LogicalPlanBuilder, columns: &[String]) -> DfResult<LogicalPlanBuilder> {
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
pub struct Replaced<'a> {
    pub turn: &'a Turn,
    pub table: &'a Table,
    pub published: &'a Snapshot,
    pub keys: &'a Keys,
    pub key: &'a [String],
    /// Whether a row whose lineage alone differs is another row.
    pub lineage_counts: bool,
}

impl Replaced<'_> {
    /// What has to be written and what has to go. None: nothing published has those keys, so all of it is new.
    pub async fn compare(
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
        let names = |file: bool| -> Result<Arc<dyn TableProvider>> { self.turn.catalog.provider(self.published, file) };
        let stands = |provider: Arc<dyn TableProvider>| -> DfResult<LogicalPlanBuilder> {
            self.keys.keep(LogicalPlanBuilder::scan("published", provider_as_source(provider), None)?, recompute_by)
        };
        let first = frame(stands(names(false)?).and_then(|p| p.limit(0, Some(1))).and_then(|p| p.build()))?;
        if first.collect().await.map_err(wrong)?.iter().all(|b| b.num_rows() == 0) {
            return Ok(None);
        }

        let all = self.published.schema.fields().iter().map(|f| f.name().clone());
        let content: Vec<String> = all.filter(|c| self.lineage_counts || !is_lineage(c, self.key)).collect();
        let rows = |files: &[Arc<DataFile>]| -> Result<Arc<dyn TableProvider>> {
            let table = FilesTable::new(self.turn.lake(), self.table, &self.published.schema, &[], files, false)?;
            Ok(Arc::new(table))
        };
        let new_rows = rows(fresh)?;
        let columns = |sign: i64| -> Vec<Expr> { content.iter().map(ident).chain([lit(sign).alias(COUNT)]).collect() };
        let net = || -> DfResult<LogicalPlanBuilder> {
            let came =
                LogicalPlanBuilder::scan("fresh", provider_as_source(new_rows.clone()), None)?.project(columns(1))?;
            let gone = stands(names(false).map_err(engine::external)?)?.project(columns(-1))?;
            let is_new = ident(COUNT).gt(lit(0_i64));
            let one_if = |is: Expr| when(is, lit(1_i64)).otherwise(lit(0_i64));
            let totals = [sum(one_if(is_new)?).alias(CAME), sum(one_if(ident(COUNT).lt(lit(0_i64)))?).alias(LEFT)];
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
        // Rows that come, each with the lineage that it has: content that came as often as it left is there already.
        let coming = net()
            .and_then(|p| p.filter(ident(CAME).gt(lit(0_i64))))
            .and_then(|p| p.project(content.iter().map(|c| ident(c).alias(c)).collect::<Vec<_>>()))
            .and_then(|p| p.alias("medallion_coming")?.build())
            .and_then(|changed| {
                let fresh = LogicalPlanBuilder::scan("fresh", provider_as_source(new_rows.clone()), None)?;
                restrict(fresh, &content, changed, JoinType::LeftSemi)
            })
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
