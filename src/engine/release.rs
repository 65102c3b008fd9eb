//! Releases: the versions that belong together, which readers see as one.
//!
//! They are kept in `_medallion.releases`, a Delta table like any other: a row a table or view of each release. Only so
//! many are kept, of a certain age; the table does not grow with time. A release knows its tables by their ids as well,
//! for a table that was dropped and made again counts its versions from zero; and it knows which tables were to be built
//! and were not, for what belongs to them stays with them until they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use chrono::{DateTime, Utc};

use super::catalog::Catalog;
use super::{Engine, error};
use crate::error::{Error, Result};
use crate::lake::schema::timestamp;
use crate::lake::{Lake, OWN_SCHEMA, TableName};

#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    pub id: u64,
    pub created_at: DateTime<Utc>,
    pub build: String,
    pub members: BTreeMap<TableName, Member>,
    /// Tables that failed and were not mended since; some of them were never released.
    pub held_back: BTreeSet<TableName>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Member {
    /// The id is unknown of releases that were made before ids were kept.
    Table {
        version: u64,
        table_id: Option<String>,
    },
    View {
        sql: String,
    },
}

pub fn table_name() -> TableName {
    TableName::new(OWN_SCHEMA, "releases")
}

pub fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    Arc::new(Schema::new(vec![
        Field::new("release", DataType::Int64, true),
        Field::new("created_at", timestamp(), true),
        text("build"),
        text("schema"),
        text("name"),
        Field::new("version", DataType::Int64, true),
        text("sql"),
        text("table_id"),
        Field::new("held_back", DataType::Boolean, true),
    ]))
}

/// All releases that are kept, oldest first.
pub async fn all(engine: &Engine) -> Result<Vec<Release>> {
    let catalog = Catalog::only(&engine.lake, [table_name()]);
    if catalog.snapshot(&table_name()).await?.is_none() {
        return Ok(Vec::new());
    }
    let wrong = |e| error("reading the releases", e);
    let context = engine.session(Arc::new(catalog));
    let frame = context.table(format!("{OWN_SCHEMA}.releases")).await.map_err(wrong)?;
    let mut releases: BTreeMap<u64, Release> = BTreeMap::new();
    for batch in frame.collect().await.map_err(wrong)? {
        read(&batch, &mut releases)?;
    }
    Ok(releases.into_values().collect())
}

pub async fn current(engine: &Engine) -> Result<Option<Release>> {
    Ok(all(engine).await?.pop())
}

pub async fn by_id(engine: &Engine, id: u64) -> Result<Release> {
    let releases = all(engine).await?;
    let kept: Vec<String> = releases.iter().map(|r| r.id.to_string()).collect();
    releases.into_iter().find(|r| r.id == id).ok_or_else(|| {
        let hint = match kept.as_slice() {
            [] => "no build has made a release yet".to_owned(),
            [only] => format!("there is release {only}"),
            [first, .., last] => format!("releases {first} to {last} are kept"),
        };
        Error::input(format!("there is no release {id}")).hint(hint)
    })
}

fn read(batch: &RecordBatch, releases: &mut BTreeMap<u64, Release>) -> Result<()> {
    let damaged = || Error::outside("the table _medallion.releases is not as medallion writes it");
    let column = |name: &str, data_type: DataType| -> Result<ArrayRef> {
        cast(batch.column_by_name(name).ok_or_else(damaged)?, &data_type).map_err(|e| damaged().because(e))
    };
    let (ids, times) = (column("release", DataType::Int64)?, column("created_at", timestamp())?);
    let (ids, times) = (ids.as_primitive::<Int64Type>(), times.as_primitive::<TimestampMicrosecondType>());
    let versions = column("version", DataType::Int64)?;
    let versions = versions.as_primitive::<Int64Type>();
    let texts = ["build", "schema", "name", "sql"].map(|n| column(n, DataType::Utf8));
    let [build, schema, name, sql] = texts;
    let (build, schema, name, sql) = (build?, schema?, name?, sql?);
    let text = |array: &ArrayRef, row: usize| -> String { array.as_string::<i32>().value(row).to_owned() };
    // Columns that earlier versions of the table do not have.
    let later = |name: &str, data_type: DataType| -> Result<ArrayRef> {
        match batch.column_by_name(name) {
            Some(_) => column(name, data_type),
            None => Ok(new_null_array(&data_type, batch.num_rows())),
        }
    };
    let (table_ids, held_back) = (later("table_id", DataType::Utf8)?, later("held_back", DataType::Boolean)?);
    for row in 0..batch.num_rows() {
        let id = ids.value(row).unsigned_abs();
        let release = releases.entry(id).or_insert_with(|| Release {
            id,
            created_at: DateTime::from_timestamp_micros(times.value(row)).unwrap_or_default(),
            build: text(&build, row),
            members: BTreeMap::new(),
            held_back: BTreeSet::new(),
        });
        let name = TableName::new(text(&schema, row), text(&name, row));
        if held_back.is_valid(row) && held_back.as_boolean().value(row) {
            release.held_back.insert(name.clone());
        }
        if versions.is_valid(row) {
            let table_id = table_ids.is_valid(row).then(|| text(&table_ids, row));
            release.members.insert(name, Member::Table { version: versions.value(row).unsigned_abs(), table_id });
        } else if sql.is_valid(row) {
            release.members.insert(name, Member::View { sql: text(&sql, row) });
        }
    }
    Ok(())
}

pub fn to_batch(releases: &[Release]) -> Result<RecordBatch> {
    type Row<'a> = (&'a Release, &'a TableName, Option<&'a Member>);
    let names = |r: &'_ Release| -> BTreeSet<TableName> { r.members.keys().chain(&r.held_back).cloned().collect() };
    let named: Vec<(&Release, BTreeSet<TableName>)> = releases.iter().map(|r| (r, names(r))).collect();
    let rows: Vec<Row<'_>> =
        named.iter().flat_map(|(r, names)| names.iter().map(move |name| (*r, name, r.members.get(name)))).collect();
    let text = |get: &dyn Fn(&Row<'_>) -> Option<String>| -> ArrayRef {
        Arc::new(StringArray::from_iter(rows.iter().map(get)))
    };
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|(r, ..)| number(r.id)))),
        Arc::new(
            TimestampMicrosecondArray::from_iter_values(rows.iter().map(|(r, ..)| r.created_at.timestamp_micros()))
                .with_timezone("UTC"),
        ),
        text(&|(r, ..)| Some(r.build.clone())),
        text(&|(_, n, _)| Some(n.schema.clone())),
        text(&|(_, n, _)| Some(n.name.clone())),
        Arc::new(Int64Array::from_iter(rows.iter().map(|(_, _, m)| match m {
            Some(Member::Table { version, .. }) => Some(number(*version)),
            _ => None,
        }))),
        text(&|(_, _, m)| match m {
            Some(Member::View { sql }) => Some(sql.clone()),
            _ => None,
        }),
        text(&|(_, _, m)| match m {
            Some(Member::Table { table_id, .. }) => table_id.clone(),
            _ => None,
        }),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|(r, name, _)| Some(r.held_back.contains(*name))))),
    ];
    RecordBatch::try_new(schema(), columns).map_err(|e| Error::bug("the rows of a release").because(e))
}

/// A catalogue as readers see it: what is released at its released version, Bronze as of now. Tables that no release has
/// named yet are read as they are, unless just this release is asked for (`alone`): then what it does not have is not
/// there.
pub async fn catalog(engine: &Engine, lake: &Lake, release: Option<&Release>, alone: bool) -> Result<Catalog> {
    let mut catalog = Catalog::of(lake).await?;
    let Some(release) = release else { return Ok(catalog) };
    if alone {
        let everywhere = |name: &TableName| ["bronze", OWN_SCHEMA].contains(&name.schema.as_str());
        catalog.keep(|name| everywhere(name) || release.members.contains_key(name));
    }
    for (name, member) in &release.members {
        if let Member::Table { version, table_id } = member {
            catalog.pin(name, *version);
            table_id.iter().for_each(|id| catalog.expect(name, id));
        }
    }
    // A view may stand on a view: their names say nothing of the order, so each round shows what can be shown.
    let mut views: Vec<(&TableName, &String)> = release
        .members
        .iter()
        .filter_map(|(name, member)| match member {
            Member::View { sql } => Some((name, sql)),
            Member::Table { .. } => None,
        })
        .collect();
    while !views.is_empty() {
        let mut waiting = Vec::new();
        let mut failure = None;
        let before = views.len();
        for (name, text) in views {
            let context = engine.session(Arc::new(catalog.clone()));
            let file = name.to_string();
            match super::sql::query(&context, super::sql::Text { file: &file, text }).await {
                Ok(frame) => {
                    let view =
                        datafusion::datasource::ViewTable::new(frame.into_unoptimized_plan(), Some(text.clone()));
                    catalog.replace(name, Arc::new(view));
                }
                Err(e) => {
                    failure = Some(e);
                    waiting.push((name, text));
                }
            }
        }
        if waiting.len() == before {
            return Err(failure.unwrap_or_else(|| Error::bug("views that wait for nothing")));
        }
        views = waiting;
    }
    Ok(catalog)
}
