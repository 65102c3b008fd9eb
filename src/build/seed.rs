//! A CSV file of the project as a table.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::logical_expr::{cast, ident};
use datafusion::prelude::{DataFrame, SessionContext};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use crate::engine;
use crate::error::{Error, Place, Result};
use crate::models::Node;

/// The seed's rows. A column has the type that `column_types` gives it; else whole numbers, numbers, booleans, dates and
/// text are told apart by their values, as dbt does. An empty field is NULL.
pub fn frame(context: &SessionContext, root: &Path, node: &Node) -> Result<DataFrame> {
    let path = root.join(&node.path);
    let delimiter = node.config.delimiter.bytes().next().unwrap_or(b',');
    let bad = |e: csv::Error| {
        let error = Error::input(format!("the seed {} cannot be read: {e}", node.path));
        match e.position() {
            Some(at) => {
                let line = usize::try_from(at.line()).unwrap_or(1);
                error.at(Place { file: node.path.clone(), line, column: 1, text: None })
            }
            None => error,
        }
    };
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_path(&path).map_err(bad)?;
    let names: Vec<String> = reader.headers().map_err(bad)?.iter().map(|h| h.trim().to_owned()).collect();
    if let Some(unknown) = node.config.column_types.keys().find(|c| !names.contains(c)) {
        return Err(Error::input(format!(
            "column_types of the seed {} names `{unknown}`, which the file does not have",
            node.name
        ))
        .hint(format!("its columns are {}", names.join(", "))));
    }
    let mut columns: Vec<StringBuilder> = names.iter().map(|_| StringBuilder::new()).collect();
    for record in reader.records() {
        for (value, column) in record.map_err(bad)?.iter().zip(&mut columns) {
            column.append_option(Some(value).filter(|v| !v.is_empty()));
        }
    }
    let texts: Vec<_> = columns.iter_mut().map(StringBuilder::finish).collect();
    let types = names
        .iter()
        .zip(&texts)
        .map(|(name, values)| match node.config.column_types.get(name) {
            Some(written) => declared(written, name, node),
            None => Ok(inferred(values.iter().flatten())),
        })
        .collect::<Result<Vec<_>>>()?;
    let schema = Schema::new(names.iter().map(|n| Field::new(n, DataType::Utf8, true)).collect::<Vec<_>>());
    let arrays = texts.into_iter().map(|t| Arc::new(t) as ArrayRef).collect();
    let batch = RecordBatch::try_new(Arc::new(schema), arrays).map_err(|e| Error::bug("seed rows").because(e))?;
    let doing = format!("reading the seed {}", node.path);
    let typed = names.iter().zip(types).map(|(name, data_type)| cast(ident(name), data_type).alias(name));
    context.read_batch(batch).and_then(|f| f.select(typed.collect::<Vec<_>>())).map_err(|e| engine::error(&doing, e))
}

fn declared(written: &str, column: &str, node: &Node) -> Result<DataType> {
    use datafusion::sql::sqlparser::ast::{DataType as Sql, ExactNumberInfo};
    let unknown = || {
        Error::input(format!("column_types of the seed {}: `{written}` is no type for `{column}`", node.name))
            .hint("use text, integer, bigint, double, decimal(p, s), boolean, date or timestamp")
    };
    let parsed = Parser::new(&GenericDialect {})
        .try_with_sql(written)
        .and_then(|mut p| p.parse_data_type())
        .map_err(|_| unknown())?;
    Ok(match parsed {
        Sql::Text | Sql::String(_) | Sql::Varchar(_) | Sql::Char(_) | Sql::CharacterVarying(_) => DataType::Utf8,
        Sql::Int(_) | Sql::Integer(_) | Sql::SmallInt(_) => DataType::Int32,
        Sql::BigInt(_) => DataType::Int64,
        Sql::Double(_) | Sql::DoublePrecision | Sql::Float(_) | Sql::Real => DataType::Float64,
        Sql::Boolean | Sql::Bool => DataType::Boolean,
        Sql::Date => DataType::Date32,
        Sql::Timestamp(..) => crate::lake::schema::timestamp(),
        Sql::Decimal(info) | Sql::Numeric(info) => match info {
            ExactNumberInfo::PrecisionAndScale(p, s) => match (u8::try_from(p), i8::try_from(s)) {
                (Ok(p), Ok(s)) if (1..=38).contains(&p) && (0..=p as i8).contains(&s) => DataType::Decimal128(p, s),
                _ => return Err(unknown()),
            },
            _ => return Err(unknown()),
        },
        _ => return Err(unknown()),
    })
}

fn inferred<'a>(values: impl Iterator<Item = &'a str> + Clone) -> DataType {
    let all = |fits: fn(&str) -> bool| values.clone().all(fits);
    if values.clone().next().is_none() {
        DataType::Utf8
    } else if all(|v| v.parse::<i64>().is_ok()) {
        DataType::Int64
    } else if all(|v| v.parse::<f64>().is_ok_and(f64::is_finite)) {
        DataType::Float64
    } else if all(|v| v.eq_ignore_ascii_case("true") || v.eq_ignore_ascii_case("false")) {
        DataType::Boolean
    } else if all(|v| chrono::NaiveDate::parse_from_str(v, "%Y-%m-%d").is_ok()) {
        DataType::Date32
    } else {
        DataType::Utf8
    }
}
