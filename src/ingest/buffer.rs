//! The records of one topic on their way to Bronze: rows, rejected rows, and how far each partition has come.
//!
//! Everything consumed is accounted for: a record makes a row, or a rejected row; a tombstone is counted; and so is an
//! offset that Kafka passes over (a control record, a compacted or aborted message). The offset after the last of them
//! is what a commit records.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Builder, Int64Builder, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondArray, TimestampMicrosecondBuilder,
};
use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};

use super::feed::Message;

use crate::contracts::bronze::readable;
use crate::contracts::{Class, Contract, Decoder};
use crate::error::{Error, Result};
use crate::lake::log::Txn;
use crate::lake::offsets::Marks;
use crate::registry::{Schema, SchemaId};
use crate::runtime::{self, Mistake, planted};

/// Rows of one chunk on its way to the writer: enough for the encoder to work well, few enough to hold many in flight.
const CHUNK_ROWS: usize = 16 * 1024;
const CHUNK_BYTES: usize = 8 << 20;

pub struct Buffer {
    topic: String,
    schema: SchemaRef,
    decoder: Decoder,
    lineage: Lineage,
    partitions: BTreeMap<i32, Progress>,
    pub since_flush: SinceFlush,
}

/// What has come in since the last flush, which decides when the next one is due.
#[derive(Default)]
pub struct SinceFlush {
    pub opened: Option<Instant>,
    pub rows: u64,
    /// Rejected records by what is wrong with them.
    pub rejected: BTreeMap<Class, u64>,
    pub bytes: u64,
}

/// How far each partition that moved has come.
#[derive(Default)]
pub struct Taken {
    pub marks: Vec<Txn>,
    /// The version of the table that each mark goes on from.
    pub read_at: HashMap<String, u64>,
    /// The next offsets, for whoever asks.
    pub next: Vec<(i32, i64)>,
}

struct Lineage {
    partition: Int32Builder,
    offset: Int64Builder,
    timestamp: TimestampMicrosecondBuilder,
    key: StringBuilder,
    error: StringBuilder,
    raw: BinaryBuilder,
}

struct Progress {
    marks: Marks,
    /// Kafka's time of the newest record taken.
    newest_ms: Option<i64>,
    /// The version of the table that the marks were read from.
    read_at: u64,
    dirty: bool,
}

impl Buffer {
    pub fn new(topic: &str, contract: &Contract) -> Buffer {
        Buffer {
            topic: topic.to_owned(),
            schema: contract.file_schema(),
            decoder: Decoder::new(contract),
            lineage: Lineage {
                partition: Int32Builder::new(),
                offset: Int64Builder::new(),
                timestamp: TimestampMicrosecondBuilder::new(),
                key: StringBuilder::new(),
                error: StringBuilder::new(),
                raw: BinaryBuilder::new(),
            },
            partitions: BTreeMap::new(),
            since_flush: SinceFlush::default(),
        }
    }

    /// Takes a partition over from where the table says at a version that it is. `changed` says that the marks are to
    /// be committed even if no record comes.
    pub fn take_over(&mut self, partition: i32, marks: Marks, read_at: u64, changed: bool) {
        if changed {
            self.since_flush.opened.get_or_insert_with(runtime::now);
        }
        self.partitions.insert(partition, Progress { marks, newest_ms: None, read_at, dirty: changed });
    }

    /// What is taken of a partition.
    pub fn marks(&self, partition: i32) -> Option<Marks> {
        self.partitions.get(&partition).map(|p| p.marks)
    }

    pub fn give_up(&mut self, partition: i32) {
        self.partitions.remove(&partition);
    }

    /// The schema that has to be learned before this message is pushed. For records that need none it costs nothing.
    #[inline]
    pub fn needs(&self, message: &impl Message) -> Option<SchemaId> {
        let id = self.decoder.needs(message.payload()?)?;
        let progress = self.partitions.get(&message.partition())?;
        // What is not taken needs nothing.
        progress.marks.next.is_none_or(|next| message.offset() >= next).then_some(id)
    }

    pub fn learn(&mut self, id: SchemaId, schema: Option<&Schema>) {
        self.decoder.learn(id, schema);
    }

    pub fn push(&mut self, message: &impl Message) {
        let Some(progress) = self.partitions.get_mut(&message.partition()) else { return };
        let offset = message.offset();
        // The client may hand over again what we have, after a seek; the table has it, or this buffer.
        if !progress.marks.accept(offset) {
            return;
        }
        progress.dirty = true;
        progress.newest_ms = message.timestamp_ms().or(progress.newest_ms);
        let since = &mut self.since_flush;
        since.opened.get_or_insert_with(runtime::now);
        let Some(payload) = message.payload() else {
            progress.marks.tombstones += i64::from(!planted(Mistake::TombstonesNotCounted));
            return;
        };
        match self.decoder.push(payload, message) {
            Ok(()) => {
                self.lineage.error.append_null();
                self.lineage.raw.append_null();
            }
            Err(_) if planted(Mistake::RejectedDropped) => return,
            Err(rejection) => {
                self.decoder.push_rejected();
                self.lineage.error.append_value(rejection.to_string());
                self.lineage.raw.append_value(payload);
                *since.rejected.entry(rejection.class()).or_default() += 1;
            }
        }
        self.lineage.partition.append_value(message.partition());
        self.lineage.offset.append_value(offset);
        self.lineage.timestamp.append_option(message.timestamp_ms().map(|ms| ms.saturating_mul(1000)));
        match message.key() {
            Some(key) => self.lineage.key.append_value(readable(key)),
            None => self.lineage.key.append_null(),
        }
        since.rows += 1;
        since.bytes += payload.len() as u64;
    }

    /// Nothing more to read now, and `next` is what comes next: what lies between was passed over by Kafka.
    pub fn end_of_partition(&mut self, partition: i32, next: i64) {
        if let Some(progress) = self.partitions.get_mut(&partition)
            && !planted(Mistake::EndIgnored)
            && progress.marks.skip_to(next)
        {
            progress.dirty = true;
            self.since_flush.opened.get_or_insert_with(runtime::now);
        }
    }

    pub fn chunk_is_full(&self) -> bool {
        self.decoder.rows() >= CHUNK_ROWS || self.decoder.memory() >= CHUNK_BYTES
    }

    /// Kafka's time of the newest record taken from a partition.
    pub fn newest_ms(&self, partition: i32) -> Option<i64> {
        self.partitions.get(&partition)?.newest_ms
    }

    /// Bytes that the rows not yet sent hold.
    pub fn memory(&self) -> usize {
        self.decoder.memory()
    }

    pub fn is_dirty(&self) -> bool {
        self.partitions.values().any(|p| p.dirty)
    }

    /// The rows so far, as they are stored.
    pub fn take_chunk(&mut self, now: DateTime<Utc>) -> Result<Option<RecordBatch>> {
        let rows = self.decoder.rows();
        if rows == 0 {
            return Ok(None);
        }
        let mut columns = self.decoder.finish();
        let lineage = &mut self.lineage;
        let topic: ArrayRef = Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&self.topic, rows)));
        let ingested = TimestampMicrosecondArray::from_value(now.timestamp_micros(), rows).with_timezone("UTC");
        columns.extend([
            topic,
            Arc::new(lineage.partition.finish()),
            Arc::new(lineage.offset.finish()),
            Arc::new(lineage.timestamp.finish().with_timezone("UTC")),
            Arc::new(lineage.key.finish()),
            Arc::new(ingested),
            Arc::new(lineage.error.finish()),
            Arc::new(lineage.raw.finish()),
        ]);
        RecordBatch::try_new(self.schema.clone(), columns)
            .map(Some)
            .map_err(|e| Error::bug("decoded rows do not fit their table").because(e))
    }

    /// The marks of all that was consumed, for the commit that carries it.
    pub fn take_marks(&mut self) -> Taken {
        let mut taken = Taken::default();
        for (partition, progress) in self.partitions.iter_mut().filter(|(_, p)| p.dirty) {
            progress.dirty = false;
            for mark in progress.marks.to_log(&self.topic, *partition) {
                let read_at = if planted(Mistake::ReadAtIsForever) { u64::MAX / 2 } else { progress.read_at };
                taken.read_at.insert(mark.app_id.clone(), read_at);
                taken.marks.push(mark);
            }
            taken.next.extend(progress.marks.next.map(|n| (*partition, n)));
        }
        self.since_flush = SinceFlush::default();
        taken
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    use super::*;
    use crate::contracts::{self, Envelope};
    use crate::ingest::feed::Kind;

    struct Sent<'a> {
        offset: i64,
        payload: Option<&'a [u8]>,
    }

    impl Message for Sent<'_> {
        fn kind(&self) -> Kind {
            Kind::Record
        }

        fn topic_handle(&self) -> usize {
            0
        }

        fn topic(&self) -> &str {
            "t"
        }

        fn partition(&self) -> i32 {
            0
        }

        fn offset(&self) -> i64 {
            self.offset
        }

        fn timestamp_ms(&self) -> Option<i64> {
            None
        }

        fn payload(&self) -> Option<&[u8]> {
            self.payload
        }
    }

    impl Envelope for Sent<'_> {
        fn key(&self) -> Option<&[u8]> {
            None
        }

        fn header(&self, _: &str) -> Option<&[u8]> {
            None
        }
    }

    fn payloads() -> impl Strategy<Value = Vec<Option<Vec<u8>>>> {
        let payload = prop_oneof![
            1 => Just(None),
            4 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Some),
            4 => "[{}\\[\\]\":,ntruefals0-9.eE ]{0,24}".prop_map(|text| Some(text.into_bytes())),
            4 => (any::<i64>(), "[a-z]{0,3}")
                .prop_map(|(n, key)| Some(format!("{{\"n\": {n}, \"{key}\": [1]}}").into_bytes())),
        ];
        prop::collection::vec(payload, 1..20)
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_row_or_a_rejected_row_with_these_very_bytes(payloads in payloads()) {
            let ddl = "CREATE TABLE t (n BIGINT NOT NULL, s STRUCT<d: DATE>) WITH (topic = 't', format = 'json');";
            let contract = contracts::parse("t.sql", ddl).unwrap();
            let mut buffer = Buffer::new("t", &contract);
            buffer.take_over(0, Marks::default(), 0, false);
            for (offset, payload) in (0..).zip(&payloads) {
                buffer.push(&Sent { offset, payload: payload.as_deref() });
            }
            let records: Vec<(i64, &Vec<u8>)> =
                (0..).zip(&payloads).filter_map(|(offset, payload)| Some((offset, payload.as_ref()?))).collect();
            let taken = buffer.take_chunk(runtime::utc_now()).unwrap();
            prop_assert_eq!(taken.as_ref().map_or(0, RecordBatch::num_rows), records.len());
            let tombstones = (payloads.len() - records.len()) as i64;
            let progress = &buffer.partitions[&0].marks;
            prop_assert_eq!((progress.next, progress.tombstones), (Some(payloads.len() as i64), tombstones));
            let Some(batch) = taken else { return Ok(()) };
            let column = |name: &str| batch.column_by_name(name).unwrap();
            let (errors, raw) = (column("_error").as_string::<i32>(), column("_raw").as_binary::<i32>());
            for (row, (offset, payload)) in records.into_iter().enumerate() {
                prop_assert_eq!(column("_offset").as_primitive::<Int64Type>().value(row), offset);
                prop_assert_eq!(errors.is_null(row), raw.is_null(row));
                // A row has the column that may not be null, and a rejected one has none of the contract's.
                prop_assert_eq!(errors.is_null(row), column("n").is_valid(row));
                if errors.is_valid(row) {
                    prop_assert_eq!(raw.value(row), &payload[..]);
                    prop_assert!(column("s").is_null(row) && column("_extra").is_null(row));
                }
            }
        }
    }
}
