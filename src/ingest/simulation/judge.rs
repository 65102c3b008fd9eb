//! What must be true of the tables at the end of every history, judged from the log and the files alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::kafka::Entry;
use crate::contracts::Contract;
use crate::ingest::feed::Partition;
use crate::lake::log::Action;
use crate::lake::offsets::Marks;
use crate::lake::{Lake, Table, TableName};

/// A row: the number it carries, or the bytes that were rejected.
#[derive(Debug, PartialEq)]
enum Row {
    Good(i64),
    Rejected(Vec<u8>),
}

/// Says what is wrong, if anything: a record without its row, with two, or with another's; marks that do not add up.
pub async fn judge(lake: &Lake, contracts: &[Contract], truth: &BTreeMap<Partition, Vec<Entry>>) -> Result<(), String> {
    for contract in contracts {
        let table = lake.table(&TableName::new("bronze", contract.name.as_str())).map_err(|e| e.to_string())?;
        let (files, marks) = replay(&table).await?;
        let mut rows = Rows::new();
        for file in files {
            read(&table, &file, &mut rows).await?;
        }
        let lands_there = |p: &Partition| contract.topics().is_some_and(|topics| topics.contains(&p.topic));
        for (partition, log) in truth.iter().filter(|(p, _)| lands_there(p)) {
            judge_partition(partition, log, &mut rows, &marks)?;
        }
        if let Some((place, row)) = rows.first_key_value() {
            return Err(format!("{}: {row:?} at {place:?} is nobody's", contract.name));
        }
    }
    Ok(())
}

/// By topic, partition and offset.
type Rows = BTreeMap<(String, i32, i64), Row>;

fn judge_partition(
    partition: &Partition,
    log: &[Entry],
    rows: &mut Rows,
    marks: &HashMap<String, i64>,
) -> Result<(), String> {
    let (mut records, mut tombstones, mut hidden) = (0, 0, 0);
    for (offset, entry) in (0..).zip(log) {
        let landed = rows.remove(&(partition.topic.clone(), partition.partition, offset));
        let expected = match entry {
            Entry::Tombstone => {
                tombstones += 1;
                None
            }
            Entry::Hidden => {
                hidden += 1;
                None
            }
            Entry::Record(bytes) => {
                records += 1;
                let text = String::from_utf8_lossy(bytes);
                let number = text.trim_start_matches("{\"n\": ").trim_end_matches('}').parse();
                Some(number.map_or_else(|_| Row::Rejected(bytes.clone()), Row::Good))
            }
        };
        if landed != expected {
            return Err(format!("{partition:?} offset {offset}: {landed:?} instead of {expected:?}"));
        }
    }
    let end = i64::try_from(log.len()).map_err(|e| e.to_string())?;
    let found = Marks::from_log(marks, &partition.topic, partition.partition);
    if end == 0 {
        return Ok(());
    }
    let expected = Marks { first: Some(0), next: Some(end), tombstones, gaps: hidden, ..Marks::default() };
    match found == expected && found.rows_owed() == records {
        true => Ok(()),
        false => Err(format!("{partition:?}: {found:?} instead of {expected:?}")),
    }
}

/// The files and marks of a table, from every entry of its log.
async fn replay(table: &Table) -> Result<(BTreeSet<String>, HashMap<String, i64>), String> {
    let (mut files, mut marks) = (BTreeSet::new(), HashMap::new());
    let mut version = 0;
    while let Some(entry) = table.commit_entry(version).await.map_err(|e| e.to_string())? {
        for action in entry.actions {
            match action {
                Action::Add(add) if !files.insert(add.path.clone()) => {
                    return Err(format!("{} is added twice", add.path));
                }
                Action::Remove(remove) => {
                    files.remove(&remove.path);
                }
                Action::Txn(txn) => {
                    let moves = |before: &i64| txn.app_id.starts_with("medallion:next:") && txn.version < *before;
                    if marks.get(&txn.app_id).is_some_and(moves) {
                        return Err(format!("version {version} sets {} back to {}", txn.app_id, txn.version));
                    }
                    marks.insert(txn.app_id, txn.version);
                }
                _ => {}
            }
        }
        version += 1;
    }
    Ok((files, marks))
}

async fn read(table: &Table, file: &str, rows: &mut Rows) -> Result<(), String> {
    let wrong = |e: &dyn std::fmt::Display| format!("{file}: {e}");
    let got = table.store().get(&table.path_of(file)).await.map_err(|e| wrong(&e))?;
    let bytes = got.bytes().await.map_err(|e| wrong(&e))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(|b| b.build()).map_err(|e| wrong(&e))?;
    for batch in reader {
        let batch = batch.map_err(|e| wrong(&e))?;
        let column = |name: &str| batch.column_by_name(name).cloned().ok_or_else(|| wrong(&format!("no {name}")));
        let topic = column("_topic")?;
        let topic = topic.as_string::<i32>();
        let (partition, offset) = (column("_partition")?, column("_offset")?);
        let (partition, offset) = (partition.as_primitive::<Int32Type>(), offset.as_primitive::<Int64Type>());
        let (n, raw) = (column("n")?, column("_raw")?);
        let (n, raw) = (n.as_primitive::<Int64Type>(), binary(&raw, &batch));
        for (row, raw) in raw.into_iter().enumerate() {
            let place = (topic.value(row).to_owned(), partition.value(row), offset.value(row));
            let value = raw.map_or_else(|| Row::Good(n.value(row)), Row::Rejected);
            if rows.insert(place.clone(), value).is_some() {
                return Err(format!("{place:?} is there twice"));
            }
        }
    }
    Ok(())
}

fn binary(column: &Arc<dyn Array>, batch: &RecordBatch) -> Vec<Option<Vec<u8>>> {
    let values = column.as_binary::<i32>();
    (0..batch.num_rows()).map(|row| values.is_valid(row).then(|| values.value(row).to_vec())).collect()
}
