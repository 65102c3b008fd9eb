//! Just the rows that the inputs' changes touch.
//!
//! The touched values of `recompute_by` are collected from the before- and after-images of what changed. The model's
//! plain SQL runs with each mapped input reduced to those values, and its result takes the place of the target's rows
//! with them. A row that comes out as it was, lineage aside, is not rewritten, so that nothing downstream wakes for it;
//! files without a row to replace are not touched. The result equals a full build.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::common::Result as DfResult;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, LogicalPlanBuilder, cast, ident};
use datafusion::prelude::{DataFrame, SessionContext};

use super::at_source;
use super::plan::{Mapping, Touch};
use super::publish::Candidate;
use super::replace::{Keys, Replaced};
use super::turn::Turn;
use crate::engine::catalog::Catalog;
use crate::engine::changes::{restrict, touched_keys};
use crate::engine::sql::{self, Text};
use crate::engine::stage::{as_data_file, same_columns, stage};
use crate::engine::{self};
use crate::error::{Error, Result};
use crate::lake::{DataFile, Snapshot, Table};
use crate::models::{Compiled, Node};

impl Turn {
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
        let context = self.session();
        let Some(keys) = self.touched(node, &context, published, touches).await? else { return Ok(nothing) };

        // The model's own SQL over the reduced inputs.
        let mut reduced = self.catalog.clone();
        self.reduce_inputs(node, &mut reduced, &keys).await?;
        let context = self.session_over(reduced);
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

        let replaced =
            Replaced { turn: self, table, published, keys: &keys, key: &node.config.unique_key, lineage_counts: false };
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
