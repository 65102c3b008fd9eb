//! One primitive: what changed in a table between two versions.
//!
//! It needs no change-data feed and does not ask who wrote the table. The log tells which files came and which left;
//! rows that stand in both cancel out, and what remains is inserts and deletes, paired into updates where the table has
//! a key. Compaction moves rows without changing them (`dataChange = false`): what it wrote from new files alone is read in
//! their place, and everything else that it did is passed over, for the arithmetic of rows that came and rows that left
//! is the same without it. For an append-only table the answer is just the new files.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::{Column, NullEquality, Result as DfResult};
use datafusion::datasource::provider_as_source;
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::functions_nested::range::range;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{
    AggregateUDF, Expr, ExprFunctionExt, JoinType, LogicalPlan, LogicalPlanBuilder, cast, ident, lit, when,
};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;

use super::table::FilesTable;
use crate::error::{Error, Result};
use crate::lake::log::Action;
use crate::lake::{DataFile, Lake, Snapshot, Table, store};

/// Tells what became of a row: insert, delete, update_before or update_after.
pub const CHANGE_TYPE: &str = "_change_type";
/// Files that left a table are looked for so many at a time.
const LOOKS_AT_ONCE: usize = 16;
/// How often a row came, less how often it left.
pub const COUNT: &str = "_medallion_count";

/// Columns that say how a row got here rather than what it says; they take no part in telling whether a row changed.
pub fn is_lineage(column: &str, key: &[String]) -> bool {
    column.starts_with('_') && !key.iter().any(|k| k == column)
}

/// The files between two versions.
#[derive(Debug, Clone)]
pub enum Difference {
    /// No row can have changed.
    Nothing,
    Files {
        added: Vec<Arc<DataFile>>,
        removed: Vec<Arc<DataFile>>,
    },
    /// It cannot be told any more; the reason is for people.
    Unknown(String),
}

/// The files that came and left after version `from`, up to the snapshot.
pub async fn difference(lake: &Lake, from: u64, to: &Snapshot) -> Result<Difference> {
    let table = lake.table(&to.name)?;
    if from > to.version {
        return Ok(Difference::Unknown(format!("{} went back from version {from} to {}", to.name, to.version)));
    }
    let (mut added, mut removed) = (BTreeMap::new(), BTreeMap::new());
    for version in from + 1..=to.version {
        let Some(commit) = table.commit_entry(version).await? else {
            return Ok(Difference::Unknown(format!("the log of {} no longer tells of version {version}", to.name)));
        };
        let (mut moved_from, mut moved_to) = (Vec::new(), Vec::new());
        for action in commit.actions {
            match action {
                Action::MetaData(_) | Action::Protocol(_) => {
                    return Ok(Difference::Unknown(format!("the columns of {} changed in version {version}", to.name)));
                }
                Action::Add(add) => {
                    let file = super::stage::as_data_file(&add);
                    if add.data_change { drop(added.insert(add.path, file)) } else { moved_to.push(file) }
                }
                Action::Remove(remove) if remove.data_change => {
                    let file = DataFile {
                        path: remove.path.clone(),
                        size: remove.size.unsigned_abs(),
                        modified_ms: remove.deletion_timestamp,
                        partition_values: remove.partition_values,
                        stats: None,
                    };
                    if added.remove(&remove.path).is_none() {
                        removed.insert(remove.path, Arc::new(file));
                    }
                }
                Action::Remove(remove) => moved_from.push(remove.path),
                _ => {}
            }
        }
        // Rows that came and were then moved are read from where they are now.
        if !moved_from.is_empty() && moved_from.iter().all(|path| added.contains_key(path)) {
            moved_from.iter().for_each(|path| drop(added.remove(path)));
            added.extend(moved_to.into_iter().map(|file| (file.path.clone(), file)));
        }
    }
    if added.is_empty() && removed.is_empty() {
        return Ok(Difference::Nothing);
    }
    let live: HashSet<&str> = to.files.iter().map(|f| f.path.as_str()).collect();
    let left = added.keys().chain(removed.keys()).filter(|path| !live.contains(path.as_str())).cloned();
    if let Some(gone) = first_missing(&table, left.collect()).await? {
        return Ok(Difference::Unknown(format!("the file {gone} of {} was vacuumed since version {from}", to.name)));
    }
    Ok(Difference::Files { added: added.into_values().collect(), removed: removed.into_values().collect() })
}

/// One of these files that is no longer in the store, if there is any. Only files that left the table can be gone.
async fn first_missing(table: &Table, files: Vec<String>) -> Result<Option<String>> {
    let looks = files.into_iter().map(|file| async move {
        let path = table.path_of(&file);
        match table.store().head(&path).await {
            Ok(_) => Ok(None),
            Err(object_store::Error::NotFound { .. }) => Ok(Some(file)),
            Err(e) => Err(store::error("look at", &path, e)),
        }
    });
    let mut found = stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE);
    while let Some(missing) = found.try_next().await? {
        if missing.is_some() {
            return Ok(missing);
        }
    }
    Ok(None)
}

type Rows = Arc<dyn TableProvider>;

/// Scans of the two sides of a difference.
fn sides(
    lake: &Lake,
    to: &Snapshot,
    added: &[Arc<DataFile>],
    removed: &[Arc<DataFile>],
) -> Result<(Rows, Option<Rows>)> {
    let table = lake.table(&to.name)?;
    let provider = |files: &[Arc<DataFile>]| -> Result<Rows> {
        Ok(Arc::new(FilesTable::new(lake, &table, &to.schema, &to.partition_columns, files, false)?))
    };
    Ok((provider(added)?, if removed.is_empty() { None } else { Some(provider(removed)?) }))
}

/// The distinct values that `columns` have in changed rows, before or after.
pub fn touched_keys(
    lake: &Lake,
    to: &Snapshot,
    added: &[Arc<DataFile>],
    removed: &[Arc<DataFile>],
    columns: &[String],
) -> Result<LogicalPlan> {
    let (came, left) = sides(lake, to, added, removed)?;
    let plan = || -> DfResult<LogicalPlan> {
        let keys: Vec<Expr> = columns.iter().map(ident).collect();
        match left {
            None => scan(came)?.project(keys)?.distinct()?.build(),
            Some(left) => {
                let content: Vec<Expr> = contents(to, true);
                net(came, left, content)?.project(keys)?.distinct()?.build()
            }
        }
    };
    plan().map_err(|e| super::error(&format!("reading the changes of {}", to.name), e))
}

/// All changed rows with their [`CHANGE_TYPE`]. With a key, a delete and an insert of one key are an update.
pub fn changes(
    lake: &Lake,
    to: &Snapshot,
    added: &[Arc<DataFile>],
    removed: &[Arc<DataFile>],
    key: &[String],
) -> Result<LogicalPlan> {
    let (came, left) = sides(lake, to, added, removed)?;
    let plan = || -> DfResult<LogicalPlan> {
        let columns = contents(to, false);
        let net = match left {
            Some(left) => net(came, left, columns.clone())?,
            None => signed(came, 1)?.aggregate(columns.clone(), [sum(ident(COUNT)).alias(COUNT)])?,
        };
        let (came, gone) = ("_medallion_came", "_medallion_gone");
        let net = if key.is_empty() {
            net.project(columns.iter().cloned().chain([ident(COUNT), lit(false).alias("_medallion_paired")]))?
        } else {
            let keys: Vec<Expr> = key.iter().map(ident).collect();
            let over_key = |function: Arc<AggregateUDF>| {
                Expr::from(WindowFunction::new(function, vec![ident(COUNT)])).partition_by(keys.clone()).build()
            };
            let windowed = net.window([over_key(max_udaf())?.alias(came), over_key(min_udaf())?.alias(gone)])?;
            let paired = ident(came).gt(lit(0_i64)).and(ident(gone).lt(lit(0_i64))).alias("_medallion_paired");
            windowed.project(columns.iter().cloned().chain([ident(COUNT), paired]))?
        };
        let kind = when(ident(COUNT).gt(lit(0_i64)).and(ident("_medallion_paired")), lit("update_after"))
            .when(ident(COUNT).gt(lit(0_i64)), lit("insert"))
            .when(ident("_medallion_paired"), lit("update_before"))
            .otherwise(lit("delete"))?
            .alias(CHANGE_TYPE);
        // A row that came three times is three rows.
        let copies = datafusion::functions::math::expr_fn::abs(cast(ident(COUNT), arrow::datatypes::DataType::Int64));
        net.project(
            columns.iter().cloned().chain([kind, range(lit(0_i64), copies, lit(1_i64)).alias("_medallion_copies")]),
        )?
        .unnest_column(Column::from_name("_medallion_copies"))?
        .project(columns.into_iter().chain([ident(CHANGE_TYPE)]))?
        .build()
    };
    plan().map_err(|e| super::error(&format!("reading the changes of {}", to.name), e))
}

fn contents(snapshot: &Snapshot, without_lineage: bool) -> Vec<Expr> {
    let (in_log, in_files): (Vec<_>, Vec<_>) =
        snapshot.schema.fields().iter().partition(|f| snapshot.partition_columns.contains(f.name()));
    in_files
        .iter()
        .chain(&in_log)
        .map(|f| f.name())
        .filter(|n| !(without_lineage && is_lineage(n, &snapshot.key)))
        .map(ident)
        .collect()
}

fn scan(provider: Arc<dyn TableProvider>) -> DfResult<LogicalPlanBuilder> {
    LogicalPlanBuilder::scan("t", provider_as_source(provider), None)
}

fn signed(provider: Arc<dyn TableProvider>, sign: i64) -> DfResult<LogicalPlanBuilder> {
    let columns: Vec<Expr> = provider.schema().fields().iter().map(|f| ident(f.name())).collect();
    scan(provider)?.project(columns.into_iter().chain([lit(sign).alias(COUNT)]))
}

/// Rows that came more often than they left (count above zero), or less often (below). Grouping takes NULL as a value.
pub fn net(
    came: Arc<dyn TableProvider>,
    left: Arc<dyn TableProvider>,
    content: Vec<Expr>,
) -> DfResult<LogicalPlanBuilder> {
    signed(came, 1)?
        .union(signed(left, -1)?.build()?)?
        .aggregate(content, [sum(ident(COUNT)).alias(COUNT)])?
        .filter(ident(COUNT).not_eq(lit(0_i64)))
}

/// The rows of `plan` whose `columns` are among the rows of `keys`, NULL being a value like any other.
pub fn restrict(
    plan: LogicalPlanBuilder,
    columns: &[String],
    keys: LogicalPlan,
    kind: JoinType,
) -> DfResult<LogicalPlanBuilder> {
    let left: Vec<Column> = columns.iter().map(Column::from_name).collect();
    let right: Vec<Column> = keys.schema().columns();
    plan.join_detailed(keys, kind, (left, right), None, NullEquality::NullEqualsNull)
}

/// Why a difference cannot be had, as an error for somebody who asked for it.
pub fn unknown(reason: String) -> Error {
    Error::input(format!("the changes cannot be told: {reason}"))
}
