//! Records to Arrow columns, all or nothing: a record is read to its end before the first builder sees it, so a rejected
//! one leaves no trace, and its neighbours are what they would be without it.
//!
//! The path of a good record allocates nothing: strings are borrowed from the record until they are appended, and the
//! scratch space of one record is used again by the next. Producers send their fields in one order, so the column after
//! the last match is tried first.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};
use chrono_tz::Tz;

use super::cells::{Cell, ColumnBuilder, string_memory};
use super::field::Field;
use super::json::{Scanner, Span, Text};
use super::rejection::{Class, Rejection};
use super::{Contract, CsvHeader};

/// Decodes the records of one contract, batch after batch.
///
/// A batch ends when the caller says so. Arrow addresses the bytes of a string column with 31 bits: a record that could
/// pass them is rejected as [`Class::TooLarge`], which a caller who finishes a batch when [`Decoder::memory`] reaches
/// 1 GiB sees for records over 1 GiB only.
pub struct Decoder {
    fields: Vec<Field>,
    /// Indices of `fields`, ordered by name.
    by_name: Vec<usize>,
    /// Indices of the fields that are `NOT NULL`.
    required: Vec<usize>,
    zone: Tz,
    record: Scratch,
    columns: Vec<ColumnBuilder>,
    extra: StringBuilder,
    rows: usize,
    /// An upper bound of the bytes in any one string column, and what it may grow to.
    text_bytes: usize,
    text_limit: usize,
}

/// What is known of the record in hand.
#[derive(Default)]
struct Scratch {
    cells: Vec<Cell>,
    /// At most one a column: of a key that comes twice the last value counts, also when the first one was bad.
    faults: Vec<(usize, Rejection)>,
    unescaped: String,
    unknown: Vec<Unknown>,
    /// Indices of `unknown`, ordered by key.
    order: Vec<usize>,
    /// The JSON text for `_extra`, empty if there is nothing to keep.
    extra: String,
}

/// A field that the contract does not name.
struct Unknown {
    key: Text,
    /// From the opening quote of the key to the closing one.
    written_key: Span,
    written_value: Span,
    superseded: bool,
}

impl Decoder {
    pub fn new(contract: &Contract) -> Self {
        let fields: Vec<Field> = contract.columns.iter().map(Field::new).collect();
        let mut by_name: Vec<usize> = (0..fields.len()).collect();
        by_name.sort_by_key(|&index| fields.get(index).map(|field| field.name.as_str()));
        let required = fields.iter().enumerate().filter(|(_, field)| !field.nullable).map(|(index, _)| index).collect();
        Decoder {
            by_name,
            required,
            zone: contract.zone,
            record: Scratch { cells: vec![Cell::Null; fields.len()], ..Scratch::default() },
            columns: fields.iter().map(|field| ColumnBuilder::new(field.data_type)).collect(),
            extra: StringBuilder::with_capacity(0, 0),
            rows: 0,
            text_bytes: 0,
            text_limit: i32::MAX as usize,
            fields,
        }
    }

    /// Appends the row of a JSON object.
    pub fn push_json(&mut self, record: &[u8]) -> Result<(), Rejection> {
        if record.is_empty() {
            return Err(Rejection::record(Class::Empty, "the record has no bytes"));
        }
        self.ensure_room(record.len())?;
        let text = simdutf8::basic::from_utf8(record).map_err(|_| not_utf8(record))?;
        self.record.clear();
        self.scan(text)?;
        self.check()?;
        self.record.write_extra(text);
        self.append(text, record.len());
        Ok(())
    }

    /// Appends the row of a CSV record under its file's header. Fields that the contract does not name go to `_extra` as
    /// strings. The reader has to be `flexible`, so that a record of another length arrives here.
    pub fn push_csv(&mut self, header: &CsvHeader, fields: &csv::ByteRecord) -> Result<(), Rejection> {
        if fields.len() != header.len() {
            let message = format!("expected {} fields as in the header, found {}", header.len(), fields.len());
            return Err(Rejection::record(Class::WrongFieldCount, message));
        }
        let text = simdutf8::basic::from_utf8(fields.as_slice()).map_err(|_| not_utf8(fields.as_slice()))?;
        self.record.clear();
        self.read_csv(header, fields, text)?;
        self.check()?;
        // Escapes may have made `_extra` longer than the record.
        let longest = text.len().max(self.record.extra.len());
        self.ensure_room(longest)?;
        self.append(text, longest);
        Ok(())
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
        columns + string_memory(&self.extra) + self.record.unescaped.capacity() + self.record.extra.capacity()
    }

    /// The columns of all rows since the last call, in the order of [`Contract::schema`].
    pub fn finish(&mut self) -> Vec<ArrayRef> {
        self.rows = 0;
        self.text_bytes = 0;
        let extra: ArrayRef = Arc::new(self.extra.finish());
        self.columns.iter_mut().map(ColumnBuilder::finish).chain([extra]).collect()
    }

    /// No string column may overflow with `more` bytes. The bound is cheap but loose, since a record is more than its
    /// longest text: only when it is reached are the columns themselves looked at.
    fn ensure_room(&mut self, more: usize) -> Result<(), Rejection> {
        if self.text_bytes.saturating_add(more) > self.text_limit {
            let columns = self.columns.iter().map(ColumnBuilder::text_bytes);
            self.text_bytes = columns.max().unwrap_or(0).max(self.extra.values_slice().len());
            if self.text_bytes.saturating_add(more) > self.text_limit {
                return Err(Rejection::record(Class::TooLarge, "the record does not fit into the 2 GiB of a batch"));
            }
        }
        Ok(())
    }

    fn scan(&mut self, text: &str) -> Result<(), Rejection> {
        let mut scanner = Scanner::new(text);
        let mut more = scanner.open_object()?;
        let mut expected = 0;
        while more {
            let key_start = scanner.position();
            let as_expected = self.fields.get(expected).is_some_and(|field| scanner.accept_token(&field.token));
            let column = if as_expected {
                Ok(expected)
            } else {
                let key = scanner.key(&mut self.record.unescaped)?;
                self.find(key.of(text, &self.record.unescaped)).ok_or(key)
            };
            let written_key = Span { start: key_start, end: scanner.position() };
            scanner.colon()?;
            let start = scanner.position();
            let value = scanner.value(&mut self.record.unescaped)?;
            let written_value = Span { start, end: scanner.position() };
            match column {
                Ok(column) => {
                    if let Some(field) = self.fields.get(column) {
                        let cell = field.decode_json(value, written_value, text, &self.record.unescaped, self.zone);
                        self.record.set(column, cell);
                    }
                    expected = column + 1;
                }
                Err(key) => {
                    self.record.unknown.push(Unknown { key, written_key, written_value, superseded: false });
                }
            }
            more = scanner.next_member()?;
        }
        Ok(scanner.end()?)
    }

    fn read_csv(&mut self, header: &CsvHeader, fields: &csv::ByteRecord, text: &str) -> Result<(), Rejection> {
        for (index, column) in header.columns().enumerate() {
            let range = fields.range(index).unwrap_or_default();
            // Two fields that are not UTF-8 can be UTF-8 when written side by side.
            if text.get(range.clone()).is_none() {
                return Err(not_utf8(fields.get(index).unwrap_or_default()));
            }
            let written = Span { start: range.start, end: range.end };
            match column {
                Ok(column) => {
                    if let Some(field) = self.fields.get(column) {
                        self.record.set(column, field.decode_csv(written, text, self.zone));
                    }
                }
                Err(name) => self.record.add_extra_text(name, written.of(text)),
            }
        }
        self.record.close_extra();
        Ok(())
    }

    fn find(&self, name: &str) -> Option<usize> {
        let name_of = |index: &usize| self.fields.get(*index).map_or("", |field| &field.name);
        let found = self.by_name.binary_search_by(|index| name_of(index).cmp(name)).ok()?;
        self.by_name.get(found).copied()
    }

    /// Rejects a record that was read to its end, by its first bad column.
    fn check(&mut self) -> Result<(), Rejection> {
        if !self.record.faults.is_empty() {
            return Err(self.record.faults.swap_remove(0).1);
        }
        for &index in &self.required {
            if let (Some(Cell::Null), Some(field)) = (self.record.cells.get(index), self.fields.get(index)) {
                return Err(field.missing());
            }
        }
        Ok(())
    }

    /// Appends the record in hand, no text of which is longer than `longest`.
    fn append(&mut self, text: &str, longest: usize) {
        for (column, cell) in self.columns.iter_mut().zip(&self.record.cells) {
            column.append(*cell, text, &self.record.unescaped);
        }
        if self.record.extra.is_empty() {
            self.extra.append_null();
        } else {
            self.extra.append_value(&self.record.extra);
        }
        self.rows += 1;
        self.text_bytes = self.text_bytes.saturating_add(longest);
    }
}

impl Scratch {
    fn clear(&mut self) {
        self.cells.fill(Cell::Null);
        self.faults.clear();
        self.unescaped.clear();
        self.unknown.clear();
        self.extra.clear();
    }

    #[inline]
    fn set(&mut self, column: usize, cell: Result<Cell, Rejection>) {
        if !self.faults.is_empty() {
            self.faults.retain(|(faulty, _)| *faulty != column);
        }
        match (cell, self.cells.get_mut(column)) {
            (Ok(cell), Some(slot)) => *slot = cell,
            (Err(rejection), _) => self.faults.push((column, rejection)),
            (Ok(_), None) => {}
        }
    }

    /// Puts the unknown fields into one JSON object, each as the record has it. Of a key that comes twice, the last.
    fn write_extra(&mut self, record: &str) {
        if self.unknown.is_empty() {
            return;
        }
        self.mark_superseded(record);
        for field in self.unknown.iter().filter(|field| !field.superseded) {
            self.extra.push(if self.extra.is_empty() { '{' } else { ',' });
            self.extra.push_str(field.written_key.of(record));
            self.extra.push(':');
            self.extra.push_str(field.written_value.of(record));
        }
        self.close_extra();
    }

    fn mark_superseded(&mut self, record: &str) {
        let Scratch { unknown, order, unescaped, .. } = self;
        let key = |unknown: &[Unknown], index: usize| unknown.get(index).map(|field| field.key);
        let name = |key: Option<Text>| key.map_or("", |key| key.of(record, unescaped));
        order.clear();
        order.extend(0..unknown.len());
        order.sort_unstable_by(|&a, &b| name(key(unknown, a)).cmp(name(key(unknown, b))).then(a.cmp(&b)));
        for pair in order.windows(2) {
            if let [earlier, later] = *pair
                && name(key(unknown, earlier)) == name(key(unknown, later))
                && let Some(field) = unknown.get_mut(earlier)
            {
                field.superseded = true;
            }
        }
    }

    /// Adds a CSV field. `name` is its name as a JSON string; an empty field is null and left out.
    fn add_extra_text(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        self.extra.push(if self.extra.is_empty() { '{' } else { ',' });
        self.extra.push_str(name);
        self.extra.push(':');
        self.extra.push_str(&serde_json::Value::from(value).to_string());
    }

    fn close_extra(&mut self) {
        if !self.extra.is_empty() {
            self.extra.push('}');
        }
    }
}

#[cold]
fn not_utf8(bytes: &[u8]) -> Rejection {
    let valid = std::str::from_utf8(bytes).err().map_or(0, |error| error.valid_up_to());
    Rejection::record(Class::NotUtf8, format!("not UTF-8 at byte {}", valid.saturating_add(1)))
}

#[cfg(test)]
mod tests;
