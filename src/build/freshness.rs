//! When the newest row of each source came, held against what the project allows.
//!
//! Where a source does not say how its rows tell that, its arrival column does (`_ingested_at`, which every Bronze table
//! has), and in any other table the last commit that changed rows: compaction makes nothing fresh.

use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::engine::catalog::Catalog;
use crate::engine::sql::{self, Text};
use crate::engine::{self, Engine};
use crate::error::{Error, Kind, Result};
use crate::lake::log::Action;
use crate::lake::{Snapshot, TableName};
use crate::models::artifact::{Invocation, time};
use crate::models::{Age, Freshness, Period, Project, Relation, Source};

/// When a row arrived, in tables that say so.
const ARRIVED_AT: &str = "_ingested_at";

/// How dbt writes that a source has no row at all.
const NEVER: &str = "0001-01-01T00:00:00Z";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    Pass,
    Warn,
    Error,
}

impl Judgement {
    /// As `sources.json` spells it.
    pub fn word(self) -> &'static str {
        match self {
            Judgement::Pass => "pass",
            Judgement::Warn => "warn",
            Judgement::Error => "error",
        }
    }

    /// A source without any row is older than every limit.
    fn of(age: Option<TimeDelta>, limits: &Freshness) -> Judgement {
        let past = |limit: Option<Age>| limit.is_some_and(|limit| age.is_none_or(|age| age > length(limit)));
        match (past(limits.error_after), past(limits.warn_after)) {
            (true, _) => Judgement::Error,
            (false, true) => Judgement::Warn,
            (false, false) => Judgement::Pass,
        }
    }
}

/// What was found of one source.
pub struct SourceAge {
    pub unique_id: String,
    pub table: TableName,
    limits: Freshness,
    /// The judgement and the time of the newest row, or why there is none.
    pub found: Result<(Judgement, Option<DateTime<Utc>>), String>,
    pub looked_at: DateTime<Utc>,
    elapsed: Duration,
}

/// Looks at the sources among `chosen` that have a limit, in the order of their names.
pub async fn freshness(engine: &Engine, project: &Project, chosen: &[&Source]) -> Result<Vec<SourceAge>> {
    let catalog = Catalog::of(&engine.lake).await?;
    let mut ages = Vec::new();
    for source in chosen {
        let Some(limits) = source.freshness.as_ref().filter(|f| f.warn_after.or(f.error_after).is_some()) else {
            continue;
        };
        let table = TableName::new(source.schema.as_str(), source.identifier.as_str());
        let began = Instant::now();
        let newest = newest_row(engine, &catalog, project, source, &table, limits).await;
        let looked_at = Utc::now();
        let found = match newest {
            Ok(newest) => Ok((Judgement::of(newest.map(|at| looked_at - at), limits), newest)),
            Err(e) if matches!(e.kind(), Kind::Input | Kind::Failed) => Err(e.to_string()),
            Err(e) => return Err(e.context(format!("the freshness of {table}"))),
        };
        let (unique_id, limits) = (source.unique_id.clone(), limits.clone());
        ages.push(SourceAge { unique_id, table, limits, found, looked_at, elapsed: began.elapsed() });
    }
    Ok(ages)
}

async fn newest_row(
    engine: &Engine,
    catalog: &Catalog,
    project: &Project,
    source: &Source,
    table: &TableName,
    limits: &Freshness,
) -> Result<Option<DateTime<Utc>>> {
    let Some(snapshot) = catalog.snapshot(table).await? else {
        return Err(Error::input(format!("there is no table {table} in the lake"))
            .hint("ingest or load it first, or correct the source's schema and identifier"));
    };
    let relation = project.relation(&source.unique_id);
    let relation = relation.ok_or_else(|| Error::bug(format!("{} has no place", source.unique_id)))?;
    let arrives = snapshot.schema.column_with_name(ARRIVED_AT).map(|_| ARRIVED_AT);
    let filter = limits.filter.as_deref();
    let query = match (&source.loaded_at_query, source.loaded_at_field.as_deref().or(arrives)) {
        (Some(_), _) if filter.is_some() => {
            return Err(Error::input(format!("the `filter` of {table} has no part in its `loaded_at_query`"))
                .hint("write the condition into the query"));
        }
        (Some(query), _) => query.trim().trim_end_matches(';').to_owned(),
        (None, Some(field)) => newest_of(field, &relation, filter),
        (None, None) if filter.is_some() => {
            return Err(Error::input(format!("{table} has a `filter`, and nothing tells when its rows came"))
                .hint("name the column as `loaded_at_field`"));
        }
        (None, None) => return last_change(engine, &snapshot).await,
    };
    let doing = format!("the freshness of {table}");
    let session = engine.session(catalog.clone().into());
    let frame = sql::query(&session, Text { file: &doing, text: &query }).await?;
    let batches = frame.collect().await.map_err(|e| engine::error(&doing, e))?;
    let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
    let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else { return Ok(None) };
    if rows != 1 || batch.num_columns() != 1 {
        return Err(Error::input(format!(
            "the `loaded_at_query` of {table} gives {rows} rows of {} columns",
            batch.num_columns()
        ))
        .hint("it is to give one time, as in select max(loaded_at) from …"));
    }
    let no_time = |e| Error::input(format!("{doing}: this is no time")).because(e);
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    let times = cast(batch.column(0), &utc).map_err(no_time)?;
    let times = times.as_primitive::<TimestampMicrosecondType>();
    Ok(times.is_valid(0).then(|| DateTime::from_timestamp_micros(times.value(0))).flatten())
}

/// The field may be an expression, and end in a comment as the filter may.
fn newest_of(field: &str, relation: &Relation, filter: Option<&str>) -> String {
    let condition = filter.map_or_else(String::new, |filter| format!(" where {filter}\n"));
    format!("select max({field}\n) from {relation}{condition}")
}

/// When the last commit that changed rows was made. Where the log does not reach back to it, what is left of it tells:
/// when the newest data file was written.
async fn last_change(engine: &Engine, snapshot: &Snapshot) -> Result<Option<DateTime<Utc>>> {
    let table = engine.lake.table(&snapshot.name)?;
    for version in (0..=snapshot.version).rev() {
        let Some(commit) = table.commit_entry(version).await? else { break };
        let changes = commit.actions.iter().any(|action| match action {
            Action::Add(add) => add.data_change,
            Action::Remove(remove) => remove.data_change,
            _ => false,
        });
        let at = || commit.info()?.get("timestamp")?.as_i64();
        if let (true, Some(at)) = (changes, at()) {
            return Ok(DateTime::from_timestamp_millis(at));
        }
    }
    Ok(snapshot.files.iter().map(|file| file.modified_ms).max().and_then(DateTime::from_timestamp_millis))
}

fn length(age: Age) -> TimeDelta {
    let seconds = match age.period {
        Period::Minute => 60,
        Period::Hour => 3600,
        Period::Day => 86_400,
    };
    let seconds = age.count.saturating_mul(seconds);
    i64::try_from(seconds).ok().and_then(TimeDelta::try_seconds).unwrap_or(TimeDelta::MAX)
}

/// The artifact `sources.json` of dbt, in its schema v3.
pub fn sources_artifact(ages: &[SourceAge], invocation: &Invocation, elapsed: Duration) -> Value {
    json!({
        "metadata": invocation.metadata("sources/v3"),
        "results": ages.iter().map(SourceAge::entry).collect::<Vec<_>>(),
        "elapsed_time": elapsed.as_secs_f64(),
    })
}

impl SourceAge {
    fn entry(&self) -> Value {
        let (judgement, newest) = match &self.found {
            Ok(found) => found,
            Err(why) => return json!({"unique_id": self.unique_id, "error": why, "status": "runtime error"}),
        };
        let since = newest.or_else(|| NEVER.parse().ok()).map(|at| self.looked_at - at);
        let limit = |age: Option<Age>| json!({"count": age.map(|a| a.count), "period": age.map(|a| a.period.as_str())});
        json!({
            "unique_id": self.unique_id,
            "max_loaded_at": newest.map_or_else(|| NEVER.to_owned(), time),
            "snapshotted_at": time(self.looked_at),
            "max_loaded_at_time_ago_in_s": since.map(|d| d.as_seconds_f64()),
            "status": judgement.word(),
            "criteria": {
                "warn_after": limit(self.limits.warn_after),
                "error_after": limit(self.limits.error_after),
                "filter": self.limits.filter,
            },
            "adapter_response": {},
            "timing": [],
            "thread_id": "main",
            "execution_time": self.elapsed.as_secs_f64(),
        })
    }
}
