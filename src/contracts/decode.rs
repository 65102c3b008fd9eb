//! Records to Arrow columns, all or nothing: a record is read to its end before the first builder sees it, so a rejected
//! one leaves no trace, and its neighbours are what they would be without it.
//!
//! The path of a good record allocates nothing: strings are borrowed from the record until they are appended, and the
//! scratch space of one record is used again by the next. Producers send their fields in one order, so the column after
//! the last match is tried first.

mod push;

use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};

use self::push::Translator;
use super::cells::{Cell, ColumnBuilder, Source, string_memory};
use super::envelope::{Envelope, Locator};
use super::field::{Field, Shape};
use super::members::Members;
use super::reader::{Plan, Reader, Scratch, not_utf8};
use super::rejection::{Class, Rejection};
use super::{Contract, CsvHeader};

/// Decodes the records of one contract, batch after batch.
///
/// A batch ends when the caller says so. Arrow addresses the bytes of a string column with 31 bits: a record that could
/// pass them is rejected as [`Class::TooLarge`], which a caller who finishes a batch when [`Decoder::memory`] reaches
/// 1 GiB sees for records over 1 GiB only.
pub struct Decoder {
    plan: Plan,
    /// Indices of the fields that are `NOT NULL`.
    required: Vec<usize>,
    /// Columns whose values come with a record, not in it.
    beside: Vec<(usize, Locator)>,
    /// What makes JSON of the records; none if they are JSON.
    translator: Option<Box<Translator>>,
    record: Scratch,
    columns: Vec<ColumnBuilder>,
    extra: StringBuilder,
    rows: usize,
    /// An upper bound of what any one column holds of that which is addressed with 31 bits, and what it may grow to.
    longest: usize,
    limit: usize,
}

impl Decoder {
    pub fn new(contract: &Contract) -> Self {
        let fields: Vec<Field> = contract.columns.iter().map(|column| Field::new(column, contract)).collect();
        let (root, _) = Members::of_columns(&contract.columns);
        Decoder {
            required: fields.iter().enumerate().filter(|(_, field)| !field.nullable).map(|(index, _)| index).collect(),
            beside: contract
                .columns
                .iter()
                .enumerate()
                .filter(|(_, column)| column.locator.path().is_none())
                .map(|(index, column)| (index, column.locator.clone()))
                .collect(),
            translator: Translator::of(contract),
            record: Scratch::new(fields.len()),
            plan: Plan { fields, root },
            columns: contract.columns.iter().map(|column| ColumnBuilder::new(&column.data_type)).collect(),
            extra: StringBuilder::with_capacity(0, 0),
            rows: 0,
            longest: 0,
            limit: i32::MAX as usize,
        }
    }

    /// Appends the row of a JSON object that comes alone.
    pub fn push_json(&mut self, record: &[u8]) -> Result<(), Rejection> {
        self.push_json_with(record, &())
    }

    fn push_json_with(&mut self, record: &[u8], envelope: &impl Envelope) -> Result<(), Rejection> {
        if record.is_empty() {
            return Err(Rejection::new(Class::Empty, "the record has no bytes"));
        }
        let text = simdutf8::basic::from_utf8(record).map_err(|_| not_utf8(record))?;
        self.record.clear();
        Reader::new(text, &self.plan, &mut self.record).record()?;
        let beside = if self.beside.is_empty() { 0 } else { self.read_beside(envelope) };
        self.accept(text, beside)
    }

    /// Appends the row of a CSV record under its file's header. Fields that the contract does not name go to `_extra` as
    /// strings. The reader has to be `flexible`, so that a record of another length arrives here.
    pub fn push_csv(&mut self, header: &CsvHeader, fields: &csv::ByteRecord) -> Result<(), Rejection> {
        if fields.len() != header.len() {
            let message = format!("expected {} fields as in the header, found {}", header.len(), fields.len());
            return Err(Rejection::new(Class::WrongFieldCount, message));
        }
        let text = simdutf8::basic::from_utf8(fields.as_slice()).map_err(|_| not_utf8(fields.as_slice()))?;
        self.record.clear();
        Reader::new(text, &self.plan, &mut self.record).csv(header, fields)?;
        self.accept(text, 0)
    }

    /// Appends a row of nulls, for a record that the caller keeps in another way.
    pub fn push_rejected(&mut self) {
        for column in &mut self.columns {
            column.append_null();
        }
        self.extra.append_null();
        self.rows += 1;
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes held by the rows so far and by the scratch space. It looks at the columns, not at their rows.
    pub fn memory(&self) -> usize {
        let columns: usize = self.columns.iter().map(ColumnBuilder::memory).sum();
        let translator = self.translator.as_ref().map_or(0, |translator| translator.memory());
        columns + string_memory(&self.extra) + self.record.memory() + translator
    }

    /// The columns of all rows since the last call, in the order of [`Contract::schema`].
    pub fn finish(&mut self) -> Vec<ArrayRef> {
        self.rows = 0;
        self.longest = 0;
        self.record.release();
        let extra: ArrayRef = Arc::new(self.extra.finish());
        self.columns.iter_mut().map(ColumnBuilder::finish).chain([extra]).collect()
    }

    /// Reads the columns whose values come with the record in hand, and tells the length of the longest.
    fn read_beside(&mut self, envelope: &impl Envelope) -> usize {
        let mut longest = 0;
        for (column, locator) in &self.beside {
            if let Some(bytes) = locator.find(envelope)
                && let Some(Field { name, shape: Shape::Leaf(leaf), .. }) = self.plan.fields.get(*column)
            {
                longest = longest.max(bytes.len());
                let cell = leaf.decode_bytes(bytes, &mut self.record.strings);
                self.record.set(*column, cell.map_err(|rejection| rejection.of(name)));
            }
        }
        longest
    }

    /// Appends the record in hand, which was read to its end, unless one of its columns is at fault: then by the first.
    /// `beside` is the length of the longest value that came with it.
    fn accept(&mut self, text: &str, beside: usize) -> Result<(), Rejection> {
        if !self.record.faults.is_empty() {
            return Err(self.record.faults.swap_remove(0).1);
        }
        for &index in &self.required {
            if let (Some(Cell::Null), Some(field)) = (self.record.cells.get(index), self.plan.fields.get(index)) {
                return Err(field.missing());
            }
        }
        // What is put together for `_extra` can be longer than the record: by escapes, and by nulls for elements.
        let longest = text.len().max(self.record.extra.len()).max(beside);
        self.ensure_room(longest)?;
        let source = Source { record: text, strings: &self.record.strings, inner: &self.record.inner };
        for (column, cell) in self.columns.iter_mut().zip(&self.record.cells) {
            column.append(*cell, &source);
        }
        if self.record.extra.is_empty() {
            self.extra.append_null();
        } else {
            self.extra.append_value(&self.record.extra);
        }
        self.rows += 1;
        self.longest = self.longest.saturating_add(longest);
        Ok(())
    }

    /// No column may overflow with `more` bytes, or elements of which each takes a byte at least. The bound is cheap but
    /// loose, since a record is more than its longest text: only when it is reached are the columns themselves looked at.
    fn ensure_room(&mut self, more: usize) -> Result<(), Rejection> {
        if self.longest.saturating_add(more) > self.limit {
            let columns = self.columns.iter().map(ColumnBuilder::longest);
            self.longest = columns.max().unwrap_or(0).max(self.extra.values_slice().len());
            if self.longest.saturating_add(more) > self.limit {
                return Err(Rejection::new(Class::TooLarge, "the record does not fit into the 2 GiB of a batch"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
