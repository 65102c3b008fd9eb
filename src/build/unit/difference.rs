//! Expected rows against those that came, as a table that people read.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow::util::pretty::pretty_format_batches;

use crate::error::{Error, Result};

type Row = Vec<String>;

/// The rows that differ in the columns that are expected, in whatever order they came: those that are missing (-), those
/// that nobody expected (+), and those of which some cells are others (~).
pub fn difference(expected: &[RecordBatch], found: &[RecordBatch]) -> Result<Option<String>> {
    let Some(first) = expected.first() else { return Ok(None) };
    let names: Vec<&str> = first.schema_ref().fields().iter().map(|f| f.name().as_str()).collect();
    let (mut missing, mut unexpected) = (texts(expected, &names)?, Vec::new());
    for row in texts(found, &names)? {
        match missing.iter().position(|other| *other == row) {
            Some(place) => drop(missing.swap_remove(place)),
            None => unexpected.push(row),
        }
    }
    if missing.is_empty() && unexpected.is_empty() {
        return Ok(None);
    }
    missing.sort();
    unexpected.sort();
    let mut lines: Vec<(&str, Row)> = Vec::new();
    for row in missing {
        let alike = |other: &Row| row.iter().zip(other).filter(|(a, b)| a == b).count();
        let nearest = unexpected.iter().enumerate().max_by_key(|(_, other)| alike(other)).map(|(i, _)| i);
        match nearest.filter(|i| unexpected.get(*i).is_some_and(|other| 2 * alike(other) >= row.len())) {
            Some(i) => {
                let other = unexpected.remove(i);
                let cells = row.into_iter().zip(other);
                let cell = |(was, is)| if was == is { was } else { format!("{was} -> {is}") };
                lines.push(("~", cells.map(cell).collect()));
            }
            None => lines.push(("-", row)),
        }
    }
    lines.extend(unexpected.into_iter().map(|row| ("+", row)));
    table(&names, &lines).map(Some)
}

fn texts(batches: &[RecordBatch], names: &[&str]) -> Result<Vec<Row>> {
    let wrong = |e| Error::bug("rows as text").because(e);
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns = names.iter().map(|name| {
            let column = batch.column_by_name(name).ok_or_else(|| Error::bug(format!("`{name}` is gone")))?;
            ArrayFormatter::try_new(column.as_ref(), &options).map_err(wrong)
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        for row in 0..batch.num_rows() {
            let texts = columns.iter().map(|column| column.value(row).try_to_string().map_err(wrong));
            rows.push(texts.collect::<Result<_>>()?);
        }
    }
    Ok(rows)
}

fn table(names: &[&str], lines: &[(&str, Row)]) -> Result<String> {
    let mut fields = vec![Field::new("", DataType::Utf8, false)];
    let mut columns: Vec<ArrayRef> = vec![Arc::new(lines.iter().map(|(mark, _)| Some(*mark)).collect::<StringArray>())];
    for (i, name) in names.iter().enumerate() {
        fields.push(Field::new(*name, DataType::Utf8, true));
        columns.push(Arc::new(lines.iter().map(|(_, row)| row.get(i).map(String::as_str)).collect::<StringArray>()));
    }
    let wrong = |e| Error::bug("a table of differences").because(e);
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(wrong)?;
    Ok(pretty_format_batches(&[batch]).map_err(wrong)?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[(&str, Option<i64>)]) -> Vec<RecordBatch> {
        let (names, numbers): (Vec<_>, Vec<_>) = rows.iter().copied().unzip();
        let columns: [(&str, ArrayRef); 2] =
            [("name", Arc::new(StringArray::from(names))), ("n", Arc::new(arrow::array::Int64Array::from(numbers)))];
        vec![RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()]
    }

    #[test]
    fn the_same_rows_in_another_order_do_not_differ() {
        let (one, other) = (rows(&[("a", Some(1)), ("b", None)]), rows(&[("b", None), ("a", Some(1))]));
        assert_eq!(difference(&one, &other).unwrap(), None);
        assert!(difference(&one, &rows(&[("a", Some(1)), ("a", Some(1)), ("b", None)])).unwrap().is_some());
    }

    #[test]
    fn rows_are_missing_unexpected_or_changed_in_some_cells() {
        let expected = rows(&[("a", Some(1)), ("b", Some(2)), ("c", None)]);
        let found = rows(&[("a", Some(1)), ("b", Some(3)), ("d", Some(4))]);
        let told = difference(&expected, &found).unwrap().unwrap();
        let lines: Vec<&str> = told.lines().filter(|l| !l.starts_with('+')).collect();
        assert_eq!(
            lines,
            ["|   | name | n      |", "| ~ | b    | 2 -> 3 |", "| - | c    | NULL   |", "| + | d    | 4      |"]
        );
    }
}
