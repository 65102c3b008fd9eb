//! One file as batches of Bronze rows, a bounded number of rows at a time.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanArray, Int64Array, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};

use crate::contracts::{Contract, CsvHeader, Decoder, Written};
use crate::error::{Error, Result};

const CHUNK_ROWS: usize = 16 * 1024;

pub struct Rows {
    input: Input,
    decoder: Decoder,
    schema: SchemaRef,
    file: String,
    load: i64,
    now: DateTime<Utc>,
    row: i64,
}

enum Input {
    Csv { reader: Box<csv::Reader<File>>, header: CsvHeader, record: csv::ByteRecord },
    JsonLines { reader: BufReader<File>, line: Vec<u8> },
}

pub struct Chunk {
    pub batch: RecordBatch,
    pub rejected: u64,
}

impl Rows {
    pub fn open(contract: &Contract, path: &Path, load: i64, now: DateTime<Utc>) -> Result<Rows> {
        let shown = path.display().to_string();
        let file = File::open(path).map_err(|e| Error::input(format!("cannot read {shown}")).because(e))?;
        let input = match contract.written(path) {
            Written::JsonLines => Input::JsonLines { reader: BufReader::new(file), line: Vec::new() },
            Written::Csv => {
                // Rows of another length than the header's are rejected one by one, not with the whole file.
                let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
                let header = reader.byte_headers().map_err(|e| unreadable(&shown, e))?.clone();
                let header = CsvHeader::new(contract, &shown, &header)?;
                Input::Csv { reader: Box::new(reader), header, record: csv::ByteRecord::new() }
            }
        };
        let name = path.file_name().map_or_else(|| shown.clone(), |n| n.to_string_lossy().into_owned());
        Ok(Rows {
            input,
            decoder: Decoder::new(contract),
            schema: contract.file_schema(),
            file: name,
            load,
            now,
            row: 0,
        })
    }

    pub fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        let (mut error, mut raw) = (StringBuilder::new(), BinaryBuilder::new());
        let first = self.row + 1;
        let mut rejected = 0;
        while self.decoder.rows() < CHUNK_ROWS {
            let decoded = match &mut self.input {
                Input::Csv { reader, header, record } => {
                    if !reader.read_byte_record(record).map_err(|e| unreadable(&self.file, e))? {
                        break;
                    }
                    self.decoder.push_csv(header, record).map_err(|e| (e, as_line(record)))
                }
                Input::JsonLines { reader, line } => {
                    line.clear();
                    let read = reader.read_until(b'\n', line).map_err(|e| unreadable(&self.file, e))?;
                    if read == 0 {
                        break;
                    }
                    let record = line.trim_ascii();
                    if record.is_empty() {
                        continue;
                    }
                    self.decoder.push_json(record).map_err(|e| (e, record.to_vec()))
                }
            };
            self.row += 1;
            match decoded {
                Ok(()) => {
                    error.append_null();
                    raw.append_null();
                }
                Err((rejection, record)) => {
                    self.decoder.push_rejected();
                    error.append_value(rejection.to_string());
                    raw.append_value(record);
                    rejected += 1;
                }
            }
        }
        let count = self.decoder.rows();
        if count == 0 {
            return Ok(None);
        }
        let mut columns = self.decoder.finish();
        let lineage = Lineage { file: &self.file, load: self.load, now: self.now, deleted: false };
        columns.extend(lineage.columns(first, count, Arc::new(error.finish()), Arc::new(raw.finish())));
        let batch = RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|e| Error::bug("decoded rows do not fit their table").because(e))?;
        Ok(Some(Chunk { batch, rejected }))
    }
}

struct Lineage<'a> {
    file: &'a str,
    load: i64,
    now: DateTime<Utc>,
    deleted: bool,
}

impl Lineage<'_> {
    /// The columns behind the contract's, in the order of the Bronze schema.
    fn columns(&self, first: i64, count: usize, error: ArrayRef, raw: ArrayRef) -> Vec<ArrayRef> {
        let times = TimestampMicrosecondArray::from_value(self.now.timestamp_micros(), count).with_timezone("UTC");
        vec![
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(self.file, count))),
            Arc::new(Int64Array::from_iter_values((first..).take(count))),
            Arc::new(Int64Array::from_value(self.load, count)),
            Arc::new(BooleanArray::from(vec![self.deleted; count])),
            Arc::new(times),
            error,
            raw,
        ]
    }
}

/// Rows that say that these keys have gone: the key, the time of the load as the watermark, and nothing else.
pub fn deleted(
    contract: &Contract,
    (key, watermark): (&str, Option<usize>),
    gone: &[String],
    load: i64,
    now: DateTime<Utc>,
) -> Result<Option<RecordBatch>> {
    if gone.is_empty() {
        return Ok(None);
    }
    let schema = contract.file_schema();
    let count = gone.len();
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for (index, field) in contract.schema().fields().iter().enumerate() {
        let nulls = || new_null_array(field.data_type(), count);
        columns.push(if field.name() == key {
            Arc::new(StringArray::from_iter_values(gone))
        } else if Some(index) == watermark {
            Arc::new(TimestampMicrosecondArray::from_value(now.timestamp_micros(), count).with_timezone("UTC"))
        } else {
            nulls()
        });
    }
    let null = |name: &str| schema.field_with_name(name).map(|f| new_null_array(f.data_type(), count));
    let bug = |e| Error::bug("the rows of vanished keys").because(e);
    let lineage = Lineage { file: "absent from the full extract", load, now, deleted: true };
    columns.extend(lineage.columns(1, count, null("_error").map_err(bug)?, null("_raw").map_err(bug)?));
    RecordBatch::try_new(schema, columns).map(Some).map_err(bug)
}

/// A rejected record as a line of CSV again.
fn as_line(record: &csv::ByteRecord) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    // Writing to memory cannot fail.
    let _ = writer.write_byte_record(record);
    writer.into_inner().unwrap_or_default().trim_ascii_end().to_vec()
}

fn unreadable(file: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::input(format!("cannot read {file}")).because(error)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use proptest::prelude::*;

    use super::*;
    use crate::contracts::parse;

    const DDL: &str = "CREATE TABLE t (id INT, at STRUCT<x: INT>) WITH (source = 'files', format = 'json')";

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_line_is_one_row_that_is_decoded_or_has_the_very_bytes(
            line in prop_oneof![
                prop::collection::vec(any::<u8>(), 1..30),
                "\\{\"(id|at)\":([0-9]{1,12}|\\{\"x\":[0-9]\\}|\"[a-z]\")\\}?".prop_map(String::into_bytes),
            ],
        ) {
            let line: Vec<u8> = line.into_iter().filter(|byte| *byte != b'\n').collect();
            let record = line.trim_ascii();
            prop_assume!(!record.is_empty());
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("t.json");
            std::fs::write(&path, [b"{\"id\":1}\n", line.as_slice(), b"\n{\"id\":2}\n"].concat()).unwrap();
            let contract = parse("t.sql", DDL).unwrap();
            let mut rows = Rows::open(&contract, &path, 1, Utc::now()).unwrap();
            let batch = rows.next_chunk().unwrap().unwrap().batch;
            prop_assert_eq!(batch.num_rows(), 3);
            let column = |name: &str| batch.column_by_name(name).unwrap().clone();
            let (error, raw) = (column("_error"), column("_raw"));
            let ids = column("id");
            let ids = ids.as_primitive::<arrow::datatypes::Int32Type>();
            prop_assert_eq!((ids.value(0), ids.value(2)), (1, 2));
            prop_assert!(error.is_null(0) && error.is_null(2) && raw.is_null(0) && raw.is_null(2));
            prop_assert_eq!(error.is_null(1), raw.is_null(1));
            let decoded = Decoder::new(&contract).push_json(record);
            prop_assert_eq!(error.is_null(1), decoded.is_ok());
            if let Err(rejection) = decoded {
                prop_assert_eq!(error.as_string::<i32>().value(1), rejection.to_string());
                prop_assert_eq!(raw.as_binary::<i32>().value(1), record);
                prop_assert!(ids.is_null(1) && column("at").is_null(1));
            }
        }
    }
}
