//! Rows on standard output, in the format that was asked for. All but `table` stream: a result of any size needs the
//! memory of one batch.

use std::io::{BufWriter, ErrorKind, Write, stdout};
use std::str::FromStr;

use arrow::array::RecordBatch;
use arrow::csv::WriterBuilder as CsvBuilder;
use arrow::datatypes::SchemaRef;
use arrow::json::writer::{JsonArray, LineDelimited, WriterBuilder as JsonBuilder};
use arrow::util::display::FormatOptions;
use arrow::util::pretty::pretty_format_batches_with_options;
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::TryStreamExt;
use parquet::arrow::ArrowWriter;

use crate::engine;
use crate::error::{Error, Result, nearest};

/// Rows that a table shows: it has to be whole before its columns have a width.
const TABLE_ROWS: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Table,
    Csv,
    Tsv,
    Json,
    Ndjson,
    Parquet,
}

const NAMES: [(&str, Format); 6] = [
    ("table", Format::Table),
    ("csv", Format::Csv),
    ("tsv", Format::Tsv),
    ("json", Format::Json),
    ("ndjson", Format::Ndjson),
    ("parquet", Format::Parquet),
];

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Format> {
        NAMES.iter().find(|(name, _)| *name == text).map(|(_, format)| *format).ok_or_else(|| {
            let error = Error::input(format!("`{text}` is no format"));
            match nearest(text, NAMES.iter().map(|(name, _)| *name)) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint("the formats are table, csv, tsv, json, ndjson and parquet"),
            }
        })
    }
}

/// Writes all rows and counts them.
pub async fn write(format: Format, schema: SchemaRef, stream: SendableRecordBatchStream) -> Result<u64> {
    let out = BufWriter::new(stdout());
    match format {
        Format::Table => table(schema, stream, out).await,
        Format::Csv => delimited(stream, out, b',', &schema).await,
        Format::Tsv => delimited(stream, out, b'\t', &schema).await,
        Format::Json => {
            let mut writer = JsonBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(out);
            let rows = each(stream, |batch| writer.write(batch).map_err(unwritable)).await?;
            writer.finish().map_err(unwritable)?;
            finish(writer.into_inner(), true)?;
            Ok(rows)
        }
        Format::Ndjson => {
            let mut writer = JsonBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(out);
            let rows = each(stream, |batch| writer.write(batch).map_err(unwritable)).await?;
            writer.finish().map_err(unwritable)?;
            finish(writer.into_inner(), false)?;
            Ok(rows)
        }
        Format::Parquet => {
            let mut writer = ArrowWriter::try_new(out, schema, None).map_err(unwritable)?;
            let rows = each(stream, |batch| writer.write(batch).map_err(unwritable)).await?;
            writer.close().map_err(unwritable)?;
            Ok(rows)
        }
    }
}

async fn each(mut stream: SendableRecordBatchStream, mut take: impl FnMut(&RecordBatch) -> Result<()>) -> Result<u64> {
    let mut rows = 0;
    while let Some(batch) = stream.try_next().await.map_err(|e| engine::error("the query failed", e))? {
        rows += batch.num_rows() as u64;
        take(&batch)?;
    }
    Ok(rows)
}

async fn delimited(
    stream: SendableRecordBatchStream,
    out: impl Write,
    delimiter: u8,
    schema: &SchemaRef,
) -> Result<u64> {
    let mut writer = CsvBuilder::new().with_header(true).with_delimiter(delimiter).build(out);
    // The header comes even where no row does.
    writer.write(&RecordBatch::new_empty(schema.clone())).map_err(unwritable)?;
    each(stream, |batch| writer.write(batch).map_err(unwritable)).await
}

async fn table(schema: SchemaRef, mut stream: SendableRecordBatchStream, mut out: impl Write) -> Result<u64> {
    let (mut batches, mut rows, mut cut) = (vec![RecordBatch::new_empty(schema)], 0, false);
    while let Some(batch) = stream.try_next().await.map_err(|e| engine::error("the query failed", e))? {
        let room = TABLE_ROWS - rows;
        cut = batch.num_rows() > room;
        rows += batch.num_rows().min(room);
        batches.push(batch.slice(0, batch.num_rows().min(room)));
        if cut {
            break;
        }
    }
    let options = FormatOptions::default().with_null("");
    let text = pretty_format_batches_with_options(&batches, &options).map_err(unwritable)?;
    writeln!(out, "{text}").map_err(unwritable)?;
    out.flush().map_err(unwritable)?;
    if cut {
        eprintln!("only the first {TABLE_ROWS} rows are shown; --format csv gives all of them");
    }
    Ok(rows as u64)
}

fn finish(mut out: impl Write, newline: bool) -> Result<()> {
    if newline {
        writeln!(out).map_err(unwritable)?;
    }
    out.flush().map_err(unwritable)
}

/// A reader that has seen enough (`| head`) is no failure.
fn unwritable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(e) = cause {
        if e.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == ErrorKind::BrokenPipe) {
            std::process::exit(0);
        }
        cause = e.source();
    }
    if error.to_string().contains("Broken pipe") {
        std::process::exit(0);
    }
    Error::outside("cannot write to standard output").because(error)
}
