//! Rows in the order of their keys, each with what its window asks of its neighbours.
//!
//! Partitions are numbered as they come, so that two rows are of one partition if they have its number. Held are the
//! last few rows behind, and batches until the few rows ahead of them have come.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, UInt32Array, UInt64Array, make_comparator};
use arrow::compute::{SortOptions, concat, partition, take};
use arrow::datatypes::SchemaRef;
use datafusion::common::{Result as DfResult, internal_datafusion_err};
use datafusion::physical_plan::PhysicalExpr;

use super::Function;

pub struct Rows {
    keys: Vec<Arc<dyn PhysicalExpr>>,
    functions: Vec<Function>,
    schema: SchemaRef,
    /// The keys of the last row so far.
    last: Option<Vec<ArrayRef>>,
    /// The number of its partition.
    number: u64,
    /// What each function keeps of the rows behind.
    kept: Vec<Kept>,
    waiting: VecDeque<Waiting>,
    /// How many rows ahead the functions look.
    ahead: usize,
    complete: bool,
}

#[derive(Clone)]
enum Kept {
    Nothing,
    /// The count up to the last row.
    Count(u64),
    /// The values of the last few rows, with their partitions.
    Values(ArrayRef, Vec<u64>),
}

struct Waiting {
    batch: RecordBatch,
    partitions: Vec<u64>,
    columns: Vec<Column>,
}

enum Column {
    Done(ArrayRef),
    /// The values of these rows, to be found by the rows before them.
    Lead(ArrayRef),
}

impl Rows {
    pub fn new(keys: &[Arc<dyn PhysicalExpr>], functions: &[Function], schema: SchemaRef) -> Rows {
        let ahead = functions.iter().map(|f| if let Function::Lead { by, .. } = f { *by } else { 0 });
        Rows {
            keys: keys.to_vec(),
            functions: functions.to_vec(),
            schema,
            last: None,
            number: 0,
            kept: vec![Kept::Nothing; functions.len()],
            waiting: VecDeque::new(),
            ahead: ahead.max().unwrap_or(0),
            complete: false,
        }
    }

    pub fn push(&mut self, batch: RecordBatch) -> DfResult<()> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        let keys = self.keys.iter().map(|k| evaluated(k, &batch)).collect::<DfResult<Vec<_>>>()?;
        let goes_on = self.last.as_ref().map_or(Ok(false), |last| same(last, &keys))?;
        let before = (self.last.is_some()).then_some(self.number);
        let mut partitions = Vec::with_capacity(rows);
        for (index, run) in partition(&keys)?.ranges().into_iter().enumerate() {
            if index > 0 || !goes_on {
                self.number += 1;
            }
            partitions.resize(run.end, self.number);
        }
        self.last = Some(keys.iter().map(|k| k.slice(rows - 1, 1)).collect());
        let mut columns = Vec::with_capacity(self.functions.len());
        for (function, kept) in self.functions.iter().zip(&mut self.kept) {
            columns.push(match function {
                Function::RowNumber => {
                    Column::Done(Arc::new(UInt64Array::from(count(kept, before, &partitions, |_| true))))
                }
                Function::Count { of } => {
                    let of = of.iter().map(|e| evaluated(e, &batch)).collect::<DfResult<Vec<_>>>()?;
                    let nulls: Vec<_> = of.iter().filter_map(|a| a.logical_nulls()).collect();
                    let counts = count(kept, before, &partitions, |row| nulls.iter().all(|n| n.is_valid(row)));
                    let counts = counts.into_iter().map(i64::try_from).collect::<Result<Vec<_>, _>>();
                    Column::Done(Arc::new(Int64Array::from(
                        counts.map_err(|_| internal_datafusion_err!("more rows than can be counted"))?,
                    )))
                }
                Function::Lag { value, by } => Column::Done(lag(kept, evaluated(value, &batch)?, &partitions, *by)?),
                Function::Lead { value, .. } => Column::Lead(evaluated(value, &batch)?),
            });
        }
        self.waiting.push_back(Waiting { batch, partitions, columns });
        Ok(())
    }

    /// No row comes any more.
    pub fn end(&mut self) {
        self.complete = true;
    }

    pub fn ended(&self) -> bool {
        self.complete
    }

    /// The first batch of which all is known.
    pub fn next_ready(&mut self) -> DfResult<Option<RecordBatch>> {
        let behind_it: usize = self.waiting.iter().skip(1).map(|w| w.partitions.len()).sum();
        if !self.complete && behind_it < self.ahead {
            return Ok(None);
        }
        let Some(first) = self.waiting.pop_front() else { return Ok(None) };
        let mut columns = first.batch.columns().to_vec();
        for (index, (function, column)) in self.functions.iter().zip(first.columns).enumerate() {
            columns.push(match (function, column) {
                (Function::Lead { by, .. }, Column::Lead(values)) => {
                    self.lead(index, &values, &first.partitions, *by)?
                }
                (_, Column::Done(values) | Column::Lead(values)) => values,
            });
        }
        Ok(Some(RecordBatch::try_new(self.schema.clone(), columns)?))
    }

    /// The values `by` rows ahead of the first batch's, which may lie in those that wait behind it.
    fn lead(&self, function: usize, values: &ArrayRef, partitions: &[u64], by: usize) -> DfResult<ArrayRef> {
        let mut all: Vec<ArrayRef> = vec![values.clone()];
        let mut numbers = partitions.to_vec();
        for next in &self.waiting {
            let missing = partitions.len() + by - numbers.len();
            let Some(Column::Lead(values)) = next.columns.get(function) else { break };
            let taken = missing.min(values.len());
            all.push(values.slice(0, taken));
            numbers.extend(next.partitions.iter().take(taken));
            if taken == missing {
                break;
            }
        }
        let places = (0..partitions.len()).map(|row| {
            let place = row + by;
            (numbers.get(place)? == numbers.get(row)?).then(|| u32::try_from(place).ok()).flatten()
        });
        taken(&all, places)
    }
}

/// The values `by` rows behind, of which the first lie in what was kept of the rows before.
fn lag(kept: &mut Kept, values: ArrayRef, partitions: &[u64], by: usize) -> DfResult<ArrayRef> {
    let rows = values.len();
    let (mut all, mut numbers) = match std::mem::replace(kept, Kept::Nothing) {
        Kept::Values(values, numbers) => (vec![values], numbers),
        _ => (Vec::new(), Vec::new()),
    };
    let held = numbers.len();
    all.push(values);
    numbers.extend(partitions);
    let places = (held..held + rows).map(|row| {
        let place = row.checked_sub(by)?;
        (numbers.get(place)? == numbers.get(row)?).then(|| u32::try_from(place).ok()).flatten()
    });
    let found = taken(&all, places)?;
    // Few rows may come at a time, so that what is kept spans batches.
    let tail = numbers.len().min(by);
    let texts: Vec<&dyn Array> = all.iter().map(AsRef::as_ref).collect();
    let last = match all.last() {
        Some(last) if last.len() >= tail => last.slice(last.len() - tail, tail),
        _ => {
            let joined = concat(&texts)?;
            joined.slice(joined.len() - tail, tail)
        }
    };
    *kept = Kept::Values(last, numbers.split_off(numbers.len() - tail));
    Ok(found)
}

fn taken(arrays: &[ArrayRef], places: impl Iterator<Item = Option<u32>>) -> DfResult<ArrayRef> {
    let places = UInt32Array::from_iter(places);
    match arrays {
        [one] => Ok(take(one, &places, None)?),
        many => {
            let many: Vec<&dyn Array> = many.iter().map(AsRef::as_ref).collect();
            Ok(take(&concat(&many)?, &places, None)?)
        }
    }
}

/// For each row, how many rows of its partition count so far, itself included.
fn count(kept: &mut Kept, before: Option<u64>, partitions: &[u64], counts: impl Fn(usize) -> bool) -> Vec<u64> {
    let mut so_far = if let Kept::Count(n) = kept { *n } else { 0 };
    let mut last = before;
    let counted = partitions.iter().enumerate().map(|(row, number)| {
        if last != Some(*number) {
            so_far = 0;
            last = Some(*number);
        }
        so_far += u64::from(counts(row));
        so_far
    });
    let counted = counted.collect();
    *kept = Kept::Count(so_far);
    counted
}

fn evaluated(expression: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> DfResult<ArrayRef> {
    expression.evaluate(batch)?.into_array(batch.num_rows())
}

/// Whether the first rows of both have equal keys; NULL equals NULL, as in PARTITION BY.
fn same(last: &[ArrayRef], keys: &[ArrayRef]) -> DfResult<bool> {
    for (last, key) in last.iter().zip(keys) {
        if make_comparator(last, key, SortOptions::default())?(0, 0).is_ne() {
            return Ok(false);
        }
    }
    Ok(true)
}
