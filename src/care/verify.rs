//! Proof that nothing is missing and nothing is double.
//!
//! For each topic and partition, the table's own marks say from which offset to which was taken, and how many of those
//! offsets made no row; the rows themselves have to be exactly the rest, each offset once. For every table, the files
//! that the log names have to be there, be readable, and hold as many rows as the log says.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaDataReader;

use crate::engine::catalog::Catalog;
use crate::engine::statistics::FileStatistics;
use crate::engine::{self, Engine};
use crate::error::{Error, Result};
use crate::lake::offsets::Marks;
use crate::lake::{Snapshot, Table, TableName, store};

/// Most footers are smaller; the others tell how large they are.
const FOOTER_GUESS: u64 = 64 * 1024;

#[derive(Debug, Default)]
pub struct Report {
    pub partitions: Vec<PartitionReport>,
    pub tables: usize,
    pub files: usize,
    /// What is wrong, in words.
    pub problems: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionReport {
    pub table: TableName,
    pub topic: String,
    pub partition: i32,
    pub marks: Marks,
    pub rows: i64,
    pub rejected: i64,
}

pub async fn run(engine: &Engine) -> Result<Report> {
    let mut report = Report::default();
    for name in engine.lake.tables().await? {
        let table = engine.lake.table(&name)?;
        let Some(snapshot) = table.latest().await? else { continue };
        report.tables += 1;
        report.files += snapshot.files.len();
        let unreadable = files(&table, &snapshot, &mut report.problems).await?;
        let log = table.transactions(snapshot.version).await?;
        // Rows can be counted only where all of them can be read.
        if !unreadable && !Marks::partitions(&log).is_empty() {
            offsets(engine, &snapshot, &log, &mut report).await?;
        }
    }
    Ok(report)
}

/// Notes files that are not there, cannot be read, or have another number of rows. True if there are any.
async fn files(table: &Table, snapshot: &Snapshot, problems: &mut Vec<String>) -> Result<bool> {
    let before = problems.len();
    for file in &snapshot.files {
        let path = table.path_of(&file.path);
        let meta = match table.store().head(&path).await {
            Ok(meta) => meta,
            Err(object_store::Error::NotFound { .. }) => {
                problems.push(format!("{}: the file {} is missing", snapshot.name, file.path));
                continue;
            }
            Err(e) => return Err(Error::outside(format!("cannot look at {path}")).because(e)),
        };
        if meta.size != file.size {
            problems.push(format!(
                "{}: the file {} has {} bytes, the log says {}",
                snapshot.name, file.path, meta.size, file.size
            ));
            continue;
        }
        match rows_in(table, &path, meta.size).await {
            Err(e) => problems.push(format!("{}: the file {} cannot be read: {e}", snapshot.name, file.path)),
            Ok(rows) => {
                let logged = FileStatistics::of(file, &snapshot.schema).rows;
                if logged.is_some_and(|l| i64::try_from(l) != Ok(rows)) {
                    problems.push(format!(
                        "{}: the file {} has {rows} rows, the log says {}",
                        snapshot.name,
                        file.path,
                        logged.unwrap_or_default()
                    ));
                }
            }
        }
    }
    Ok(problems.len() > before)
}

/// The rows that a file's footer counts.
async fn rows_in(table: &Table, path: &Path, size: u64) -> Result<i64> {
    let damaged = |e| Error::failed("it is not a Parquet file").because(e);
    let mut wanted = FOOTER_GUESS.min(size);
    loop {
        let tail =
            table.store().get_range(path, size - wanted..size).await.map_err(|e| store::error("read", path, e))?;
        let mut reader = ParquetMetaDataReader::new();
        match reader.try_parse_sized(&tail, size) {
            Ok(()) => return Ok(reader.finish().map_err(damaged)?.file_metadata().num_rows()),
            Err(ParquetError::NeedMoreData(more)) if (more as u64) > wanted && more as u64 <= size => {
                wanted = more as u64
            }
            Err(e) => return Err(damaged(e)),
        }
    }
}

async fn offsets(engine: &Engine, snapshot: &Snapshot, log: &HashMap<String, i64>, report: &mut Report) -> Result<()> {
    let name = &snapshot.name;
    let doing = format!("verifying {name}");
    let mut catalog = Catalog::only(&engine.lake, [name.clone()]);
    catalog.pin(name, snapshot.version);
    let context = engine.session(Arc::new(catalog));
    let query = format!(
        "select _topic, cast(_partition as bigint), count(*), count(distinct _offset), count(_error), \
         min(_offset), max(_offset) from \"{}\".\"{}\" group by 1, 2",
        name.schema, name.name
    );
    let frame = context.sql(&query).await.map_err(|e| engine::error(&doing, e))?;
    let mut counted: HashMap<(String, i64), [i64; 5]> = HashMap::new();
    for batch in frame.collect().await.map_err(|e| engine::error(&doing, e))? {
        let bug = |e| Error::bug("counts").because(e);
        let topics = cast(batch.column(0), &DataType::Utf8).map_err(bug)?;
        let numbers =
            (1..7).map(|i| cast(batch.column(i), &DataType::Int64)).collect::<Result<Vec<_>, _>>().map_err(bug)?;
        for row in 0..batch.num_rows() {
            let n = |i: usize| numbers[i].as_primitive::<Int64Type>().value(row);
            counted.insert((topics.as_string::<i32>().value(row).to_owned(), n(0)), [n(1), n(2), n(3), n(4), n(5)]);
        }
    }
    for (topic, partition) in Marks::partitions(log) {
        let marks = Marks::from_log(log, &topic, partition);
        let [rows, distinct, rejected, low, high] =
            counted.remove(&(topic.clone(), i64::from(partition))).unwrap_or_default();
        let mut wrong = |what: String| report.problems.push(format!("{name}: {topic} partition {partition}: {what}"));
        if rows != distinct {
            wrong(format!("{} rows are there more than once", rows - distinct));
        }
        let owed = marks.rows_owed();
        if distinct < owed {
            wrong(format!("{} records are missing", owed - distinct));
        }
        if distinct > owed {
            wrong(format!("{} rows are there that the marks do not account for", distinct - owed));
        }
        let (first, next) = (marks.first.unwrap_or(0), marks.next.unwrap_or(0));
        if rows > 0 && (low < first || high >= next) {
            wrong(format!("rows from offset {low} to {high}, but only {first} to {} were taken", next - 1));
        }
        report.partitions.push(PartitionReport {
            table: name.clone(),
            topic,
            partition,
            marks,
            rows: rows - rejected,
            rejected,
        });
    }
    for ((topic, partition), [rows, ..]) in counted {
        report
            .problems
            .push(format!("{name}: {rows} rows of {topic} partition {partition}, of which the log knows nothing"));
    }
    Ok(())
}
