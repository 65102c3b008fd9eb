//! One record's values before it is accepted, and the Arrow builders that take them once it is.

mod nested;

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder, Int32Builder,
    Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
};

use self::nested::{ListBuilder, MapBuilder, StructBuilder};
use super::Type;
use super::json::{Span, Text};

/// A value of the record in hand, already of its column's type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell {
    Null,
    Text(Text),
    /// In the buffer of decoded bytes.
    Bytes(Span),
    Boolean(bool),
    Int(i32),
    BigInt(i64),
    Double(f64),
    Decimal(i128),
    Timestamp(i64),
    Date(i32),
    /// A struct, whose fields are in the record's list of inner cells from here on.
    Struct(usize),
    /// So many elements of an array from here on; for a map, so many entries of a key and a value.
    Items {
        first: usize,
        count: usize,
    },
}

/// What is decoded from a record's strings, as long as the record is in hand.
#[derive(Default)]
pub struct Strings {
    pub unescaped: String,
    pub bytes: Vec<u8>,
}

/// Where the cells of one record point into.
pub struct Source<'r> {
    pub record: &'r str,
    pub strings: &'r Strings,
    pub inner: &'r [Cell],
}

impl<'r> Source<'r> {
    fn inner(&self, first: usize, count: usize) -> &'r [Cell] {
        self.inner.get(first..first.saturating_add(count)).unwrap_or_default()
    }

    fn text(&self, text: Text) -> &'r str {
        text.of(self.record, &self.strings.unescaped)
    }
}

/// The builder of one column. A cell of another type than the column's would become a null; the conversion that makes
/// the cells goes by the same [`Type`], so there are none.
pub enum ColumnBuilder {
    String(StringBuilder),
    Binary(BinaryBuilder),
    Boolean(BooleanBuilder),
    Int(Int32Builder),
    BigInt(Int64Builder),
    Double(Float64Builder),
    Decimal(Decimal128Builder),
    Timestamp(TimestampMicrosecondBuilder),
    Date(Date32Builder),
    Struct(StructBuilder),
    List(ListBuilder),
    Map(MapBuilder),
}

impl ColumnBuilder {
    /// A builder that holds no memory until a value comes.
    pub fn new(data_type: &Type) -> Self {
        match data_type {
            Type::String => Self::String(StringBuilder::with_capacity(0, 0)),
            Type::Binary => Self::Binary(BinaryBuilder::with_capacity(0, 0)),
            Type::Boolean => Self::Boolean(BooleanBuilder::with_capacity(0)),
            Type::Int => Self::Int(Int32Builder::with_capacity(0)),
            Type::BigInt => Self::BigInt(Int64Builder::with_capacity(0)),
            Type::Double => Self::Double(Float64Builder::with_capacity(0)),
            Type::Decimal(..) => {
                Self::Decimal(Decimal128Builder::with_capacity(0).with_data_type(data_type.to_arrow()))
            }
            Type::Timestamp => {
                Self::Timestamp(TimestampMicrosecondBuilder::with_capacity(0).with_data_type(data_type.to_arrow()))
            }
            Type::Date => Self::Date(Date32Builder::with_capacity(0)),
            Type::Struct(fields) => Self::Struct(StructBuilder::new(fields)),
            Type::Array(element) => Self::List(ListBuilder::new(element)),
            Type::Map(value) => Self::Map(MapBuilder::new(value)),
        }
    }

    #[inline]
    pub fn append(&mut self, cell: Cell, source: &Source<'_>) {
        match (self, cell) {
            (Self::String(builder), Cell::Text(text)) => builder.append_value(source.text(text)),
            (Self::Boolean(builder), Cell::Boolean(value)) => builder.append_value(value),
            (Self::Int(builder), Cell::Int(value)) => builder.append_value(value),
            (Self::BigInt(builder), Cell::BigInt(value)) => builder.append_value(value),
            (Self::Double(builder), Cell::Double(value)) => builder.append_value(value),
            (Self::Decimal(builder), Cell::Decimal(value)) => builder.append_value(value),
            (Self::Timestamp(builder), Cell::Timestamp(value)) => builder.append_value(value),
            (Self::Date(builder), Cell::Date(value)) => builder.append_value(value),
            (builder, Cell::Null) => builder.append_null(),
            (builder, cell) => builder.append_part(cell, source),
        }
    }

    /// What is not one value of a few bytes. Apart, so that the rest stays small enough to be inlined.
    #[inline(never)]
    fn append_part(&mut self, cell: Cell, source: &Source<'_>) {
        match (self, cell) {
            (Self::Binary(builder), Cell::Bytes(span)) => {
                builder.append_value(source.strings.bytes.get(span.start..span.end).unwrap_or_default());
            }
            (Self::Struct(builder), Cell::Struct(first)) => builder.append(first, source),
            (Self::List(builder), Cell::Items { first, count }) => builder.append(first, count, source),
            (Self::Map(builder), Cell::Items { first, count }) => builder.append(first, count, source),
            (builder, _) => builder.append_null(),
        }
    }

    pub fn append_null(&mut self) {
        match self {
            Self::String(builder) => builder.append_null(),
            Self::Binary(builder) => builder.append_null(),
            Self::Boolean(builder) => builder.append_null(),
            Self::Int(builder) => builder.append_null(),
            Self::BigInt(builder) => builder.append_null(),
            Self::Double(builder) => builder.append_null(),
            Self::Decimal(builder) => builder.append_null(),
            Self::Timestamp(builder) => builder.append_null(),
            Self::Date(builder) => builder.append_null(),
            Self::Struct(builder) => builder.append_null(),
            Self::List(builder) => builder.append_null(),
            Self::Map(builder) => builder.append_null(),
        }
    }

    /// Bytes held. The bits that mark nulls are left out: at most an eighth of a byte a value.
    pub fn memory(&self) -> usize {
        match self {
            Self::String(builder) => string_memory(builder),
            Self::Binary(builder) => builder.values_capacity() + builder.offsets_capacity() * size_of::<i32>(),
            Self::Boolean(builder) => builder.capacity() / 8,
            Self::Int(builder) => builder.capacity() * size_of::<i32>(),
            Self::BigInt(builder) => builder.capacity() * size_of::<i64>(),
            Self::Double(builder) => builder.capacity() * size_of::<f64>(),
            Self::Decimal(builder) => builder.capacity() * size_of::<i128>(),
            Self::Timestamp(builder) => builder.capacity() * size_of::<i64>(),
            Self::Date(builder) => builder.capacity() * size_of::<i32>(),
            Self::Struct(builder) => builder.memory(),
            Self::List(builder) => builder.memory(),
            Self::Map(builder) => builder.memory(),
        }
    }

    /// The most that any part of the column holds of what Arrow counts with 31 bits: bytes of texts, elements of lists.
    pub fn longest(&self) -> usize {
        match self {
            Self::String(builder) => builder.values_slice().len(),
            Self::Binary(builder) => builder.values_slice().len(),
            Self::Struct(builder) => builder.longest(),
            Self::List(builder) => builder.longest(),
            Self::Map(builder) => builder.longest(),
            _ => 0,
        }
    }

    pub fn finish(&mut self) -> ArrayRef {
        match self {
            Self::String(builder) => Arc::new(builder.finish()),
            Self::Binary(builder) => Arc::new(builder.finish()),
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::Int(builder) => Arc::new(builder.finish()),
            Self::BigInt(builder) => Arc::new(builder.finish()),
            Self::Double(builder) => Arc::new(builder.finish()),
            Self::Decimal(builder) => Arc::new(builder.finish()),
            Self::Timestamp(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Struct(builder) => Arc::new(builder.finish()),
            Self::List(builder) => Arc::new(builder.finish()),
            Self::Map(builder) => Arc::new(builder.finish()),
        }
    }
}

pub fn string_memory(builder: &StringBuilder) -> usize {
    builder.values_capacity() + builder.offsets_capacity() * size_of::<i32>()
}
