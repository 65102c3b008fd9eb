//! What Bronze adds to a contract's columns: where a row came from, when, and what was wrong with it.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::{Contract, Origin};

/// The partition column of every Bronze table: the day on which a row was taken in, UTC.
pub const INGEST_DATE: &str = "_ingest_date";

impl Contract {
    /// All columns of the Bronze table. The partition column is the last.
    pub fn bronze_schema(&self) -> SchemaRef {
        let text = || DataType::Utf8;
        let time = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let own = self.schema();
        let mut fields: Vec<Field> = own.fields().iter().map(|f| f.as_ref().clone()).collect();
        for (field, column) in fields.iter_mut().zip(&self.columns) {
            if let Some(comment) = &column.comment {
                *field = field.clone().with_metadata([("comment".to_owned(), comment.clone())].into());
            }
        }
        let mut add = |name: &str, data_type: DataType, comment: &str| {
            let metadata = [("comment".to_owned(), comment.to_owned())].into();
            fields.push(Field::new(name, data_type, true).with_metadata(metadata));
        };
        match &self.origin {
            Origin::Topics(_) => {
                add("_topic", text(), "Kafka topic");
                add("_partition", DataType::Int32, "Kafka partition");
                add("_offset", DataType::Int64, "Kafka offset; (_topic, _partition, _offset) is unique");
                add("_kafka_timestamp", time(), "timestamp of the Kafka record");
                add("_key", text(), "key of the Kafka record; bytes that are not UTF-8 are written as \\xHH");
            }
            Origin::Files { .. } => {
                add("_file", text(), "file that the row was read from");
                add("_row", DataType::Int64, "number of the row in its file, from 1");
                add("_load", DataType::Int64, "number of the load, rising with each");
                add("_deleted", DataType::Boolean, "true where a full extract no longer had the row of this key");
            }
        }
        add("_ingested_at", time(), "when the row was taken in");
        add(
            "_error",
            text(),
            "why the record was rejected: `class: message` or `class in column: message`; null for a good row",
        );
        add("_raw", DataType::Binary, "the record as it came, for rejected rows only");
        add(INGEST_DATE, DataType::Date32, "day of _ingested_at, UTC; the table is partitioned by it");
        Arc::new(Schema::new(fields))
    }

    /// The columns in the data files: all but the partition column.
    pub fn file_schema(&self) -> SchemaRef {
        let all = self.bronze_schema();
        let count = all.fields().len().saturating_sub(1);
        Arc::new(Schema::new(all.fields()[..count].to_vec()))
    }
}

/// Bytes as text that loses nothing and stays readable: UTF-8 as it is, else each odd byte as `\xHH`.
pub fn readable(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    match simdutf8::basic::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => bytes.escape_ascii().to_string().into(),
    }
}
