//! The queries of templates, answered by the engine from the tables that a build stands on.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Float64Type, Int64Type, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, Duration, NaiveDate};
use datafusion::common::TableReference;
use datafusion::datasource::TableType;
use datafusion::prelude::SessionContext;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::OnceCell;

use crate::engine::release;
use crate::engine::sql::{self, Text};
use crate::engine::{self, Engine};
use crate::error::{Error, Result};
use crate::models::{Answer, Cell, ColumnType, Database, Described, Relation};

/// What a template asks for is held in memory, and written into SQL. Beyond this it is taken for a mistake.
const MOST_ROWS: usize = 100_000;
/// What the text of a query is called in errors.
const QUERY: &str = "a query of a template";

pub struct Tables {
    context: SessionContext,
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the tables of a build")
    }
}

impl Tables {
    pub fn new(context: SessionContext) -> Self {
        Tables { context }
    }

    async fn rows(&self, text: &str) -> Result<Answer> {
        let frame = sql::query(&self.context, Text { file: QUERY, text }).await.map_err(|error| {
            // The place is in a text that nobody has seen.
            let told = Error::new(error.kind(), error.what().to_owned());
            match error.advice() {
                Some(advice) => told.hint(advice),
                None => told,
            }
        })?;
        let schema: SchemaRef = frame.schema().inner().clone();
        let limited = frame.limit(0, Some(MOST_ROWS + 1)).map_err(|e| engine::error(QUERY, e))?;
        let batches = limited.collect().await.map_err(|e| engine::error(QUERY, e))?;
        let mut rows = Vec::new();
        for batch in &batches {
            rows.extend(cells(batch)?);
        }
        if rows.len() > MOST_ROWS {
            return Err(Error::input(format!("a query of a template gives more than {MOST_ROWS} rows"))
                .hint("ask for less, or do in the model's own SQL what the rows are for"));
        }
        Ok(Answer { columns: columns(&schema), rows })
    }

    async fn described(&self, relation: &Relation) -> Result<Option<Described>> {
        let name = TableReference::partial(relation.schema.as_str(), relation.name.as_str());
        if !self.context.table_exist(name.clone()).map_err(|e| engine::error(QUERY, e))? {
            return Ok(None);
        }
        let provider = self.context.table_provider(name).await.map_err(|e| engine::error(QUERY, e))?;
        Ok(Some(Described { is_view: provider.table_type() == TableType::View, columns: columns(&provider.schema()) }))
    }
}

/// The tables as readers see them, by the newest release; looked for when a template first asks.
pub struct ReleasedTables {
    engine: Engine,
    tables: OnceCell<Tables>,
}

impl fmt::Debug for ReleasedTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the tables of a release")
    }
}

impl ReleasedTables {
    pub fn new(engine: Engine) -> Self {
        ReleasedTables { engine, tables: OnceCell::new() }
    }

    async fn tables(&self) -> Result<&Tables> {
        let open = async || {
            self.engine.lake.ensure_reachable().await?;
            let release = release::current(&self.engine).await?;
            let catalog = release::catalog(&self.engine, &self.engine.lake, release.as_ref(), false).await?;
            Ok::<_, Error>(Tables::new(self.engine.session(Arc::new(catalog))))
        };
        self.tables.get_or_try_init(open).await
    }
}

impl Database for ReleasedTables {
    fn query(&self, sql: &str) -> Result<Answer> {
        waited(async { self.tables().await?.rows(sql).await })
    }

    fn describe(&self, relation: &Relation) -> Result<Option<Described>> {
        waited(async { self.tables().await?.described(relation).await })
    }
}

impl Database for Tables {
    fn query(&self, sql: &str) -> Result<Answer> {
        waited(self.rows(sql))
    }

    fn describe(&self, relation: &Relation) -> Result<Option<Described>> {
        waited(self.described(relation))
    }
}

/// A template cannot be left half rendered, so its thread waits, and lends its other tasks to the runtime's other
/// threads meanwhile.
fn waited<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    match Handle::try_current() {
        Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread => {
            tokio::task::block_in_place(|| handle.block_on(work))
        }
        _ => Err(Error::bug("a template asked for rows where nothing can wait for them")),
    }
}

fn columns(schema: &SchemaRef) -> Vec<ColumnType> {
    let column = |field: &arrow::datatypes::FieldRef| ColumnType {
        name: field.name().clone(),
        sql_type: sql_type(field.data_type()),
    };
    schema.fields().iter().map(column).collect()
}

fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "varchar".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 => "tinyint".to_owned(),
        DataType::Int16 => "smallint".to_owned(),
        DataType::Int32 => "int".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::UInt8 => "tinyint unsigned".to_owned(),
        DataType::UInt16 => "smallint unsigned".to_owned(),
        DataType::UInt32 => "int unsigned".to_owned(),
        DataType::UInt64 => "bigint unsigned".to_owned(),
        DataType::Float32 => "float".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            format!("decimal({precision},{scale})")
        }
        DataType::Date32 | DataType::Date64 => "date".to_owned(),
        DataType::Timestamp(_, None) => "timestamp".to_owned(),
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "bytea".to_owned(),
        other => other.to_string(),
    }
}

fn cells(batch: &RecordBatch) -> Result<Vec<Vec<Cell>>> {
    let columns = batch.columns().iter().map(|column| of_column(column)).collect::<Result<Vec<_>>>()?;
    let mut columns: Vec<_> = columns.into_iter().map(Vec::into_iter).collect();
    Ok((0..batch.num_rows()).map(|_| columns.iter_mut().filter_map(Iterator::next).collect()).collect())
}

fn of_column(column: &dyn Array) -> Result<Vec<Cell>> {
    let failed = |e| Error::bug(format!("a column of {} cannot be read", column.data_type())).because(e);
    let as_type = |data_type: &DataType| cast(column, data_type).map_err(failed);
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    let epoch = NaiveDate::default();
    Ok(match column.data_type() {
        DataType::Boolean => column.as_boolean().iter().map(|v| v.map_or(Cell::Null, Cell::Boolean)).collect(),
        data_type if data_type.is_integer() && *data_type != DataType::UInt64 => {
            let numbers = as_type(&DataType::Int64)?;
            numbers.as_primitive::<Int64Type>().iter().map(|v| v.map_or(Cell::Null, Cell::Integer)).collect()
        }
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            let numbers = as_type(&DataType::Float64)?;
            numbers.as_primitive::<Float64Type>().iter().map(|v| v.map_or(Cell::Null, Cell::Float)).collect()
        }
        DataType::Date32 | DataType::Date64 => {
            let days = as_type(&DataType::Date32)?;
            let date = |days: i32| epoch.checked_add_signed(Duration::days(i64::from(days)));
            let days = days.as_primitive::<Date32Type>();
            days.iter().map(|v| v.and_then(date).map_or(Cell::Null, Cell::Date)).collect()
        }
        DataType::Timestamp(_, zone) => {
            let times = as_type(&micros)?;
            let time = |micros: i64| {
                let time = DateTime::from_timestamp_micros(micros)?;
                Some(if zone.is_some() { Cell::ZonedTime(time) } else { Cell::Time(time.naive_utc()) })
            };
            let times = times.as_primitive::<TimestampMicrosecondType>();
            times.iter().map(|v| v.and_then(time).unwrap_or(Cell::Null)).collect()
        }
        data_type => {
            let is_number = data_type.is_numeric();
            let options = FormatOptions::default();
            let texts = ArrayFormatter::try_new(column, &options).map_err(failed)?;
            let cell = |row: usize| match texts.value(row).to_string() {
                _ if column.is_null(row) => Cell::Null,
                text if is_number => number(text),
                text => Cell::Text(text),
            };
            (0..column.len()).map(cell).collect()
        }
    })
}

/// A decimal is a number where that says the same digits, and else stays a text.
fn number(text: String) -> Cell {
    if let Ok(whole) = text.parse() {
        return Cell::Integer(whole);
    }
    match text.parse::<f64>() {
        Ok(value) if text.bytes().filter(u8::is_ascii_digit).count() <= 15 => Cell::Float(value),
        _ => Cell::Text(text),
    }
}
