//! The proof that increments came to what a full build comes to.
//!
//! Each incremental model that was not just built in full is computed once more from all of its inputs' rows, beside its
//! table, where no version names the files. Both are compared as multisets, lineage aside; the files are deleted. Nothing
//! is published by a proof, whatever it finds.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::compute::cast as cast_array;
use arrow::datatypes::{DataType, Int64Type};
use arrow::util::pretty::pretty_format_batches;
use datafusion::catalog::TableProvider;
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::logical_expr::{Expr, ident, lit, when};
use datafusion::prelude::DataFrame;

use super::Build;
use super::name_of;
use super::progress::Progress;
use super::publish::Candidate;
use super::report::{NodeResult, Status};
use super::turn::Turn;
use crate::engine;
use crate::engine::changes::{COUNT, is_lineage, net};
use crate::engine::stage::{as_data_file, same_columns};
use crate::engine::table::FilesTable;
use crate::error::{Error, Result};
use crate::lake::{DataFile, Snapshot, Table};
use crate::models::{Materialized, Node};

/// Keys that are shown of those that differ.
const SHOWN: usize = 10;

/// Proves what this build left as an increment, and gives a result for each model.
pub async fn prove(build: &Arc<Build>, progress: &Progress) -> Result<Vec<NodeResult>> {
    let mut proofs = Vec::new();
    for result in progress.results() {
        let Some(node) = build.project.nodes.get(&result.unique_id) else { continue };
        let is_increment = node.config.materialized == Materialized::Incremental && result.how != "full";
        if !is_increment || !matches!(result.status, Status::Success | Status::Fresh) {
            continue;
        }
        let difference = progress.turn(build).difference(node).await?;
        let (status, message) = match difference {
            None => (Status::Success, String::new()),
            Some(message) => (Status::Failed, message),
        };
        let mut proof = NodeResult::of(node, status, &message);
        proof.how = "proved";
        proof.version = result.version;
        proofs.push(proof);
    }
    Ok(proofs)
}

impl Turn {
    /// How the table differs from a full build of it, for people.
    async fn difference(&self, node: &Node) -> Result<Option<String>> {
        let table = self.lake().table(&name_of(node))?;
        let Some(published) = self.catalog.snapshot(&table.name).await? else {
            return Err(Error::bug(format!("{} was built and is not there", table.name)));
        };
        let compiled = self.compile(node)?;
        let full = self.stage_full(node, &compiled, &table, None).await?;
        let compared = self.compared(node, &table, &published, &full).await;
        table.delete_files(full.adds.iter().map(|a| a.path.clone()).collect()).await?;
        compared
    }

    async fn compared(
        &self,
        node: &Node,
        table: &Table,
        published: &Snapshot,
        full: &Candidate,
    ) -> Result<Option<String>> {
        if !same_columns(&full.schema, &published.schema) {
            return Ok(Some("a full build has other columns".to_owned()));
        }
        let doing = format!("comparing {} with a full build", table.name);
        let files: Vec<Arc<DataFile>> = full.adds.iter().map(as_data_file).collect();
        let rows = |files: &[Arc<DataFile>]| -> Result<Arc<dyn TableProvider>> {
            Ok(Arc::new(FilesTable::new(self.lake(), table, &full.schema, &[], files, false)?))
        };
        let stands = self.catalog.provider(published, false)?;
        let key = &node.config.unique_key;
        let columns = full.schema.fields().iter().map(|f| f.name());
        let content: Vec<Expr> = columns.clone().filter(|c| !is_lineage(c, key)).map(ident).collect();
        let shown: Vec<Expr> = match (key.is_empty(), node.config.recompute_by.is_empty()) {
            (false, _) => key.iter().map(ident).collect(),
            (true, false) => node.config.recompute_by.iter().map(ident).collect(),
            (true, true) => content.clone(),
        };
        // Above zero where a full build has it more often.
        let differing = || -> Result<DataFrame> {
            let plan = net(rows(&files)?, stands.clone(), content.clone()).and_then(|p| p.build());
            Ok(DataFrame::new(self.session().state(), plan.map_err(|e| engine::error(&doing, e))?))
        };
        let wrong = |e| engine::error(&doing, e);
        let positive = |count: Expr| when(count.clone().gt(lit(0_i64)), count).otherwise(lit(0_i64));
        let missing = positive(ident(COUNT)).map_err(wrong)?;
        let surplus = positive(lit(0_i64) - ident(COUNT)).map_err(wrong)?;
        let totals = [sum(missing).alias("missing"), sum(surplus).alias("surplus")];
        let counted = differing()?.aggregate(vec![], totals.to_vec()).map_err(wrong)?.collect().await.map_err(wrong)?;
        let total = |column: usize| -> i64 {
            let first = counted.iter().find(|b| b.num_rows() > 0);
            let value = first.and_then(|b| cast_array(b.column(column), &DataType::Int64).ok());
            value.map_or(0, |v| v.as_primitive::<Int64Type>().iter().next().flatten().unwrap_or(0))
        };
        let (missing, surplus) = (total(0), total(1));
        if missing == 0 && surplus == 0 {
            return Ok(None);
        }
        let side = when(ident(COUNT).gt(lit(0_i64)), lit("a full build alone")).otherwise(lit("the table alone"));
        let side = side.map_err(wrong)?.alias("in");
        let sorted = shown.iter().map(|e| e.clone().sort(true, false)).collect();
        let sample = differing()?
            .select(shown.iter().cloned().chain([side]).collect::<Vec<_>>())
            .and_then(|f| f.sort(sorted))
            .and_then(|f| f.limit(0, Some(SHOWN)))
            .map_err(wrong)?;
        let sample = sample.collect().await.map_err(wrong)?;
        let sample = pretty_format_batches(&sample).map(|t| t.to_string()).unwrap_or_default();
        Ok(Some(format!(
            "it differs from a full build: {missing} rows are missing, {surplus} are too many, of which:\n{sample}"
        )))
    }
}
