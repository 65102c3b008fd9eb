//! The history of a query's rows: every version of a row, each with the time from which and until which it held.
//!
//! dbt's snapshots, with four differences. A table whose inputs are as they were is left alone. Keys that are NULL are equal
//! to each other. With the strategy `timestamp` all versions that come are kept, several of one key in one run and
//! late ones too, each in its place. And two rows that would be the same version are refused, rather than one of them
//! taken by chance.
//!
//! The history itself is told in `history`; only keys that change are computed, and only files that hold one of their
//! rows are written anew.

mod history;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::pretty::pretty_format_batches;
use datafusion::catalog::TableProvider;
use datafusion::datasource::{MemTable, ViewTable, provider_as_source};
use datafusion::logical_expr::LogicalPlanBuilder;
use datafusion::prelude::{DataFrame, SessionContext};

use self::history::{GIVEN, History, KEPT};
use super::at_source;
use super::publish::Candidate;
use super::replace::{Keys, Replaced};
use super::strategy::{columns_that_fit, shaped};
use super::turn::Turn;
use crate::engine::sql::{self, Text};
use crate::engine::stage::{as_data_file, same_columns, stage};
use crate::engine::table::FilesTable;
use crate::engine::{self};
use crate::error::{Error, Result, nearest};
use crate::lake::schema::{stored_schema, timestamp};
use crate::lake::{DataFile, OWN_SCHEMA, Snapshot, Table, TableName};
use crate::models::{Compiled, Deletions, Node, SnapshotConfig, VersionedBy};

/// Keys are held in memory. Beyond this many that change, the table is written anew, which spills.
const MOST_KEYS: usize = 5_000_000;

impl Turn {
    pub(super) async fn stage_snapshot(
        &self,
        node: &Node,
        compiled: &Compiled,
        table: &Table,
        published: Option<&Snapshot>,
    ) -> Result<Candidate> {
        let Some(config) = &node.config.snapshot else {
            return Err(Error::bug(format!("{} is no snapshot", node.name)));
        };
        let context = self.session();
        let query = Text { file: &node.path, text: &compiled.sql };
        let frame = sql::query(&context, query).await.map_err(|e| at_source(e, node, compiled))?;
        let given = stored_schema(frame.schema().as_arrow()).map_err(|e| e.context(&node.path))?;
        ensure_columns(node, config, &given)?;
        let columns = Columns::new(node, config, &given, published)?;
        let frame =
            shaped(frame, &columns.content).map_err(|e| engine::error(&format!("building {}", node.name), e))?;
        let staged = stage(frame, table).await.map_err(|e| at_source(e, node, compiled))?;
        let files: Vec<Arc<DataFile>> = staged.files.iter().map(as_data_file).collect();
        let taking = Taking {
            turn: self,
            node,
            table,
            history: History {
                config,
                key: &node.config.unique_key,
                content: &names(&columns.content),
                given: &names(&given),
                tells_deletions: columns.table.field_with_name(&config.columns.is_deleted).is_ok(),
                told_deletions: published.is_some_and(|p| p.schema.field_with_name(&config.columns.is_deleted).is_ok()),
                now: self.build.started_at,
            },
            columns: &columns,
            given: &files,
            published: published.map(|p| Snapshot { schema: columns.table.clone(), ..p.clone() }),
        };
        let outcome = taking.candidate().await;
        // The rows of the query were only on the way.
        table.delete_files(files.iter().map(|f| f.path.clone()).collect()).await?;
        outcome
    }
}

/// One run of a snapshot.
struct Taking<'a> {
    turn: &'a Turn,
    node: &'a Node,
    table: &'a Table,
    history: History<'a>,
    columns: &'a Columns,
    given: &'a [Arc<DataFile>],
    /// The table as it is, with the columns that it will have.
    published: Option<Snapshot>,
}

impl Taking<'_> {
    async fn candidate(&self) -> Result<Candidate> {
        let given: Arc<dyn TableProvider> =
            Arc::new(FilesTable::new(self.turn.lake(), self.table, &self.columns.content, &[], self.given, false)?);
        let context = self.session(given.clone(), self.kept()?);
        self.ensure_told_apart(&context).await?;
        let Some(published) = &self.published else {
            let staged = self.staged(&context).await?;
            return Ok(self.whole(staged, Vec::new()));
        };
        let touched = format!("{} limit {}", self.history.touched(), MOST_KEYS + 1);
        let touched = self.collected(&context, &touched).await?;
        if touched.iter().map(RecordBatch::num_rows).sum::<usize>() > MOST_KEYS {
            let staged = self.staged(&context).await?;
            return Ok(self.whole(staged, published.files.clone()));
        }
        let Some(keys) = Keys::new(touched)? else {
            return Ok(self.whole(Written { files: Vec::new(), rows: 0 }, Vec::new()));
        };
        let context = self.session(self.reduced(given, &keys)?, self.reduced(self.kept()?, &keys)?);
        let staged = self.staged(&context).await?;
        let fresh: Vec<Arc<DataFile>> = staged.files.iter().map(as_data_file).collect();
        let replaced = Replaced {
            turn: self.turn,
            table: self.table,
            published,
            keys: &keys,
            key: self.history.key,
            lineage_counts: true,
        };
        let compared = replaced.compare(&context, self.history.key, &fresh).await;
        match compared {
            Ok(None) => Ok(self.whole(staged, Vec::new())),
            compared => {
                self.table.delete_files(fresh.iter().map(|f| f.path.clone()).collect()).await?;
                match compared? {
                    Some(candidate) => Ok(Candidate { how: HOW, ..candidate }),
                    None => Err(Error::bug("a comparison came to nothing")),
                }
            }
        }
    }

    fn whole(&self, written: Written, removes: Vec<Arc<DataFile>>) -> Candidate {
        let schema = self.columns.table.clone();
        Candidate { schema, adds: written.files, removes, rows: written.rows, how: HOW }
    }

    /// The table as it is; without rows where there is none.
    fn kept(&self) -> Result<Arc<dyn TableProvider>> {
        match &self.published {
            Some(published) => self.turn.catalog.provider(published, false),
            None => Ok(Arc::new(
                MemTable::try_new(self.columns.table.clone(), vec![vec![]])
                    .map_err(|e| engine::error("an empty table", e))?,
            )),
        }
    }

    fn reduced(&self, provider: Arc<dyn TableProvider>, keys: &Keys) -> Result<Arc<dyn TableProvider>> {
        let plan = LogicalPlanBuilder::scan("t", provider_as_source(provider), None)
            .and_then(|scan| keys.keep(scan, self.history.key)?.build())
            .map_err(|e| engine::error(&self.doing(), e))?;
        Ok(Arc::new(ViewTable::new(plan, None)))
    }

    fn session(&self, given: Arc<dyn TableProvider>, kept: Arc<dyn TableProvider>) -> SessionContext {
        let mut catalog = self.turn.catalog.clone();
        catalog.replace(&TableName::new(OWN_SCHEMA, GIVEN), given);
        catalog.replace(&TableName::new(OWN_SCHEMA, KEPT), kept);
        self.turn.build.engine.session(Arc::new(catalog))
    }

    async fn query(&self, context: &SessionContext, text: &str) -> Result<DataFrame> {
        sql::query(context, Text { file: &self.node.name, text }).await.map_err(|e| e.context(&self.node.path))
    }

    async fn collected(&self, context: &SessionContext, text: &str) -> Result<Vec<RecordBatch>> {
        let frame = self.query(context, text).await?;
        let batches = frame.collect().await.map_err(|e| engine::error(&self.doing(), e))?;
        Ok(batches.into_iter().filter(|b| b.num_rows() > 0).collect())
    }

    async fn staged(&self, context: &SessionContext) -> Result<Written> {
        let frame = self.query(context, &self.history.versions(&names(&self.columns.table))).await?;
        let staged = stage(frame, self.table).await.map_err(|e| e.context(&self.node.path))?;
        if same_columns(&staged.schema, &self.columns.table) {
            return Ok(Written { files: staged.files, rows: staged.rows });
        }
        self.table.delete_files(staged.files.iter().map(|f| f.path.clone()).collect()).await?;
        Err(Error::bug(format!("{}: versions have other types than their table", self.node.path)))
    }

    async fn ensure_told_apart(&self, context: &SessionContext) -> Result<()> {
        let ambiguous = self.collected(context, &self.history.ambiguous()).await?;
        if ambiguous.is_empty() {
            return Ok(());
        }
        let shown = pretty_format_batches(&ambiguous).map(|t| t.to_string()).unwrap_or_default();
        let (what, hint) = match &self.history.config.versioned_by {
            VersionedBy::Time { updated_at } => (
                format!("rows of one key have the same time in `{updated_at}`, or none"),
                "each version of a key needs a time of its own",
            ),
            VersionedBy::Values { .. } => (
                "the query gives rows with the same `unique_key`".to_owned(),
                "which of them is current is the query's to say, as in qualify row_number() over (...) = 1",
            ),
        };
        Err(Error::failed(format!("{}: {what}:\n{shown}", self.node.path)).hint(hint))
    }

    fn doing(&self) -> String {
        format!("building {}", self.node.name)
    }
}

fn names(schema: &Schema) -> Vec<String> {
    schema.fields().iter().map(|f| f.name().clone()).collect()
}

const HOW: &str = "snapshot";

struct Written {
    files: Vec<crate::lake::log::Add>,
    rows: u64,
}

/// The columns of a snapshot's table.
struct Columns {
    /// The query's.
    content: SchemaRef,
    /// All of them, in their order.
    table: SchemaRef,
}

impl Columns {
    /// Those that the table has stay, with those of the query that are new behind them.
    fn new(node: &Node, config: &SnapshotConfig, given: &Schema, published: Option<&Snapshot>) -> Result<Columns> {
        let meta = config.columns.all();
        let mut wanted: Vec<Field> = Vec::new();
        for name in meta {
            if name == config.columns.is_deleted && config.deletions != Deletions::NewRecord {
                continue;
            }
            let is_text = name == config.columns.scd_id || name == config.columns.is_deleted;
            wanted.push(Field::new(name, if is_text { DataType::Utf8 } else { timestamp() }, true));
        }
        let mut all: Vec<Field> = Vec::new();
        match published {
            None => all.extend(given.fields().iter().map(|f| f.as_ref().clone())),
            Some(published) => {
                let (name, has) = (&published.name, &published.schema);
                for field in wanted.iter().filter(|f| *f.name() != config.columns.is_deleted) {
                    match has.field_with_name(field.name()) {
                        Ok(there) if there.data_type() == field.data_type() => {}
                        Ok(there) => {
                            return Err(Error::input(format!(
                                "{}: `{}` of {name} is {}, where a snapshot has {}",
                                node.path,
                                field.name(),
                                there.data_type(),
                                field.data_type()
                            )));
                        }
                        Err(_) => {
                            return Err(Error::input(format!(
                                "{}: {name} is there and has no column `{}`, so it is no snapshot",
                                node.path,
                                field.name()
                            ))
                            .hint("give the snapshot another name, or the names that the table has under `snapshot_meta_column_names`"));
                        }
                    }
                }
                columns_that_fit(node, has, given)?;
                all.extend(has.fields().iter().map(|f| f.as_ref().clone()));
                let new = given.fields().iter().filter(|f| has.field_with_name(f.name()).is_err());
                all.extend(new.map(|f| f.as_ref().clone()));
            }
        }
        let content: Vec<Field> = all.iter().filter(|f| !meta.contains(&f.name().as_str())).cloned().collect();
        let missing: Vec<Field> = wanted.into_iter().filter(|f| all.iter().all(|a| a.name() != f.name())).collect();
        all.extend(missing);
        Ok(Columns { content: Arc::new(Schema::new(content)), table: Arc::new(Schema::new(all)) })
    }
}

/// Whether the query has the columns that the configuration names, and none that the snapshot adds.
fn ensure_columns(node: &Node, config: &SnapshotConfig, given: &Schema) -> Result<()> {
    let names = || given.fields().iter().map(|f| f.name().as_str());
    let wanted: Vec<(&str, &String)> = match &config.versioned_by {
        VersionedBy::Time { updated_at } => vec![("updated_at", updated_at)],
        VersionedBy::Values { columns, updated_at } => {
            let time = updated_at.iter().map(|column| ("updated_at", column));
            columns.iter().map(|column| ("check_cols", column)).chain(time).collect()
        }
    };
    let keys = node.config.unique_key.iter().map(|column| ("unique_key", column));
    for (key, column) in keys.chain(wanted.iter().copied()) {
        let Ok(field) = given.field_with_name(column) else {
            let error = Error::input(format!("{}: `{key}` names `{column}`, which the query does not have", node.path));
            return Err(match nearest(column, names()) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("its columns are {}", names().collect::<Vec<_>>().join(", "))),
            });
        };
        let is_time = matches!(field.data_type(), DataType::Timestamp(..) | DataType::Date32 | DataType::Utf8);
        if key == "updated_at" && !is_time {
            let has = field.data_type();
            return Err(Error::input(format!("{}: `{column}` is {has}, which is no time", node.path))
                .hint("cast it to a timestamp in the query"));
        }
    }
    match config.columns.all().into_iter().find(|name| given.field_with_name(name).is_ok()) {
        Some(taken) => Err(Error::input(format!("{}: the snapshot adds `{taken}`, which the query has", node.path))
            .hint("leave it out of the query, or give it another name under `snapshot_meta_column_names`")),
        None => Ok(()),
    }
}
