//! Rows as somebody wrote them, with the types that columns really have.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::json::ReaderBuilder;
use datafusion::prelude::SessionContext;
use serde_json::{Map, Value};

use crate::engine::sql::{self, Text};
use crate::engine::{self};
use crate::error::{Error, Result, nearest};
use crate::lake::schema::stored_schema;
use crate::models::Rows;

/// The rows in the columns that they name, or in all of `shape` where they name none. `what` they are is for errors.
pub async fn made_up(rows: &Rows, shape: &SchemaRef, context: &SessionContext, what: &str) -> Result<Vec<RecordBatch>> {
    match rows {
        Rows::Dict(rows) => {
            let mut names: Vec<&String> = Vec::new();
            for name in rows.iter().flat_map(Map::keys) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            let columns = names.iter().map(|name| {
                let values = rows.iter().map(|row| row.get(*name).cloned().unwrap_or(Value::Null)).collect();
                ((*name).clone(), values)
            });
            typed(columns.collect(), rows.len(), shape, what)
        }
        Rows::Csv(text) => {
            let wrong = |e: csv::Error| Error::input(format!("{what} is no CSV")).because(e);
            let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.trim().as_bytes());
            let names: Vec<String> = reader.headers().map_err(wrong)?.iter().map(str::to_owned).collect();
            let records = reader.records().collect::<Result<Vec<_>, _>>().map_err(wrong)?;
            let value = |text: Option<&str>| text.filter(|t| !t.is_empty()).map_or(Value::Null, Value::from);
            let columns = names.into_iter().enumerate();
            let columns = columns.map(|(i, name)| (name, records.iter().map(|r| value(r.get(i))).collect()));
            typed(columns.collect(), records.len(), shape, what)
        }
        Rows::Sql(text) => {
            let frame = sql::query(context, Text { file: what, text: text.trim().trim_end_matches(';') }).await?;
            let given = stored_schema(frame.schema().as_arrow());
            let given = given.map_or_else(|_| frame.schema().as_arrow().clone(), |schema| schema.as_ref().clone());
            let batches = frame.collect().await.map_err(|e| engine::error(what, e))?;
            let fields = fields(given.fields().iter().map(|f| f.name().as_str()), shape, what)?;
            let shape = Arc::new(Schema::new(fields));
            batches.iter().map(|batch| engine::stage::conform(batch, &shape)).collect()
        }
    }
}

/// The fields with these names.
fn fields<'a>(names: impl Iterator<Item = &'a str>, shape: &Schema, what: &str) -> Result<Vec<Field>> {
    let known = || shape.fields().iter().map(|f| f.name().as_str());
    let field = |name: &str| {
        shape.field_with_name(name).cloned().map_err(|_| {
            let error = Error::input(format!("{what} has a column `{name}`, which is not there"));
            match nearest(name, known()) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("there are {}", known().collect::<Vec<_>>().join(", "))),
            }
        })
    };
    names.map(field).collect()
}

fn typed(columns: Vec<(String, Vec<Value>)>, rows: usize, shape: &SchemaRef, what: &str) -> Result<Vec<RecordBatch>> {
    if rows == 0 {
        return Ok(vec![RecordBatch::new_empty(shape.clone())]);
    }
    let fields = fields(columns.iter().map(|(name, _)| name.as_str()), shape, what)?;
    let arrays = columns.iter().zip(&fields).map(|((_, values), field)| array(values, field, what));
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields.clone())), arrays.collect::<Result<_>>()?);
    batch.map(|batch| vec![batch]).map_err(|e| Error::input(what).because(e))
}

fn array(values: &[Value], field: &Field, what: &str) -> Result<ArrayRef> {
    let wrong = |e| Error::input(format!("{what}: `{}` is {}", field.name(), field.data_type())).because(e);
    if field.data_type().is_nested() {
        // A nested value in CSV is JSON.
        let parsed = |value: &Value| match value {
            Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| value.clone()),
            other => other.clone(),
        };
        let rows: Vec<Value> = values.iter().map(|v| serde_json::json!({ field.name(): parsed(v) })).collect();
        let schema = Arc::new(Schema::new(vec![field.clone()]));
        let mut decoder = ReaderBuilder::new(schema).with_coerce_primitive(true).build_decoder().map_err(wrong)?;
        decoder.serialize(&rows).map_err(wrong)?;
        let batch = decoder.flush().map_err(wrong)?;
        return Ok(batch.map_or_else(|| new_null_array(field.data_type(), values.len()), |b| b.column(0).clone()));
    }
    let texts: StringArray = values
        .iter()
        .map(|value| match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        })
        .collect();
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(&texts, field.data_type(), &options).map_err(wrong)
}

/// The same rows with all columns of `shape`; those that nobody gave are NULL.
pub fn completed(batch: &RecordBatch, shape: &SchemaRef) -> Result<RecordBatch> {
    let columns = shape.fields().iter().map(|field| match batch.column_by_name(field.name()) {
        Some(column) => column.clone(),
        None => new_null_array(field.data_type(), batch.num_rows()),
    });
    RecordBatch::try_new(shape.clone(), columns.collect()).map_err(|e| Error::bug("made-up rows").because(e))
}
