//! Builders of structs, lists and maps, made of the builders of what is in them.

use std::sync::Arc;

use arrow::array::{ListArray, MapArray, NullBufferBuilder, StringBuilder, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{FieldRef, Fields};

use super::{Cell, ColumnBuilder, Source, string_memory};
use crate::contracts::types::{self, Type};

pub struct StructBuilder {
    fields: Fields,
    columns: Vec<ColumnBuilder>,
    nulls: NullBufferBuilder,
}

impl StructBuilder {
    pub fn new(fields: &[(String, Type)]) -> Self {
        StructBuilder {
            fields: types::struct_fields(fields),
            columns: fields.iter().map(|(_, inner)| ColumnBuilder::new(inner)).collect(),
            nulls: NullBufferBuilder::new(0),
        }
    }

    pub fn append(&mut self, first: usize, source: &Source<'_>) {
        let cells = source.inner(first, self.columns.len());
        for (index, column) in self.columns.iter_mut().enumerate() {
            column.append(cells.get(index).copied().unwrap_or(Cell::Null), source);
        }
        self.nulls.append_non_null();
    }

    pub fn append_null(&mut self) {
        self.columns.iter_mut().for_each(ColumnBuilder::append_null);
        self.nulls.append_null();
    }

    pub fn memory(&self) -> usize {
        self.columns.iter().map(ColumnBuilder::memory).sum()
    }

    pub fn longest(&self) -> usize {
        self.columns.iter().map(ColumnBuilder::longest).max().unwrap_or(0)
    }

    /// Each append gave each column one value, so all are of one length, which is what Arrow asks for here.
    pub fn finish(&mut self) -> StructArray {
        let columns = self.columns.iter_mut().map(ColumnBuilder::finish).collect();
        StructArray::new(self.fields.clone(), columns, self.nulls.finish())
    }
}

/// Where each list ends, and which are null.
struct Ends {
    ends: Vec<i32>,
    count: usize,
    nulls: NullBufferBuilder,
}

impl Ends {
    fn new() -> Self {
        Ends { ends: Vec::new(), count: 0, nulls: NullBufferBuilder::new(0) }
    }

    /// The decoder rejects a record before the lists of a batch have more elements than 31 bits count.
    fn append(&mut self, count: Option<usize>) {
        self.count = self.count.saturating_add(count.unwrap_or(0));
        self.ends.push(i32::try_from(self.count).unwrap_or(i32::MAX));
        self.nulls.append(count.is_some());
    }

    fn memory(&self) -> usize {
        self.ends.capacity() * size_of::<i32>()
    }

    fn finish(&mut self) -> (OffsetBuffer<i32>, Option<NullBuffer>) {
        let offsets: Vec<i32> = std::iter::once(0).chain(std::mem::take(&mut self.ends)).collect();
        self.count = 0;
        (OffsetBuffer::new(ScalarBuffer::from(offsets)), self.nulls.finish())
    }
}

pub struct ListBuilder {
    element: FieldRef,
    values: Box<ColumnBuilder>,
    ends: Ends,
}

impl ListBuilder {
    pub fn new(element: &Type) -> Self {
        ListBuilder {
            element: types::element_field(element),
            values: Box::new(ColumnBuilder::new(element)),
            ends: Ends::new(),
        }
    }

    pub fn append(&mut self, first: usize, count: usize, source: &Source<'_>) {
        source.inner(first, count).iter().for_each(|cell| self.values.append(*cell, source));
        self.ends.append(Some(count));
    }

    pub fn append_null(&mut self) {
        self.ends.append(None);
    }

    pub fn memory(&self) -> usize {
        self.values.memory() + self.ends.memory()
    }

    pub fn longest(&self) -> usize {
        self.values.longest().max(self.ends.count)
    }

    pub fn finish(&mut self) -> ListArray {
        let (offsets, nulls) = self.ends.finish();
        ListArray::new(self.element.clone(), offsets, self.values.finish(), nulls)
    }
}

pub struct MapBuilder {
    entries: FieldRef,
    fields: Fields,
    keys: StringBuilder,
    values: Box<ColumnBuilder>,
    ends: Ends,
}

impl MapBuilder {
    pub fn new(value: &Type) -> Self {
        MapBuilder {
            entries: types::entries_field(value),
            fields: types::entry_fields(value),
            keys: StringBuilder::with_capacity(0, 0),
            values: Box::new(ColumnBuilder::new(value)),
            ends: Ends::new(),
        }
    }

    pub fn append(&mut self, first: usize, count: usize, source: &Source<'_>) {
        for entry in source.inner(first, count.saturating_mul(2)).chunks_exact(2) {
            if let [Cell::Text(key), value] = *entry {
                self.keys.append_value(source.text(key));
                self.values.append(value, source);
            }
        }
        self.ends.append(Some(count));
    }

    pub fn append_null(&mut self) {
        self.ends.append(None);
    }

    pub fn memory(&self) -> usize {
        string_memory(&self.keys) + self.values.memory() + self.ends.memory()
    }

    pub fn longest(&self) -> usize {
        self.values.longest().max(self.keys.values_slice().len()).max(self.ends.count)
    }

    pub fn finish(&mut self) -> MapArray {
        let (offsets, nulls) = self.ends.finish();
        let columns = vec![Arc::new(self.keys.finish()) as _, self.values.finish()];
        let entries = StructArray::new(self.fields.clone(), columns, None);
        MapArray::new(self.entries.clone(), offsets, entries, nulls, false)
    }
}
