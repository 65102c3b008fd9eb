//! One record's values before it is accepted, and the Arrow builders that take them once it is.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder, Int32Builder, Int64Builder,
    StringBuilder, TimestampMicrosecondBuilder,
};

use super::Type;
use super::json::Text;

/// A value of the record in hand, already of its column's type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell {
    Null,
    Text(Text),
    Boolean(bool),
    Int(i32),
    BigInt(i64),
    Double(f64),
    Decimal(i128),
    Timestamp(i64),
    Date(i32),
}

/// The builder of one column. A cell of another type than the column's would become a null; the conversion that makes
/// the cells goes by the same [`Type`], so there are none.
pub enum ColumnBuilder {
    String(StringBuilder),
    Boolean(BooleanBuilder),
    Int(Int32Builder),
    BigInt(Int64Builder),
    Double(Float64Builder),
    Decimal(Decimal128Builder),
    Timestamp(TimestampMicrosecondBuilder),
    Date(Date32Builder),
}

impl ColumnBuilder {
    /// A builder that holds no memory until a value comes.
    pub fn new(data_type: Type) -> Self {
        match data_type {
            Type::String => Self::String(StringBuilder::with_capacity(0, 0)),
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
        }
    }

    #[inline]
    pub fn append(&mut self, cell: Cell, record: &str, unescaped: &str) {
        match (self, cell) {
            (Self::String(builder), Cell::Text(text)) => builder.append_value(text.of(record, unescaped)),
            (Self::Boolean(builder), Cell::Boolean(value)) => builder.append_value(value),
            (Self::Int(builder), Cell::Int(value)) => builder.append_value(value),
            (Self::BigInt(builder), Cell::BigInt(value)) => builder.append_value(value),
            (Self::Double(builder), Cell::Double(value)) => builder.append_value(value),
            (Self::Decimal(builder), Cell::Decimal(value)) => builder.append_value(value),
            (Self::Timestamp(builder), Cell::Timestamp(value)) => builder.append_value(value),
            (Self::Date(builder), Cell::Date(value)) => builder.append_value(value),
            (builder, _) => builder.append_null(),
        }
    }

    pub fn append_null(&mut self) {
        match self {
            Self::String(builder) => builder.append_null(),
            Self::Boolean(builder) => builder.append_null(),
            Self::Int(builder) => builder.append_null(),
            Self::BigInt(builder) => builder.append_null(),
            Self::Double(builder) => builder.append_null(),
            Self::Decimal(builder) => builder.append_null(),
            Self::Timestamp(builder) => builder.append_null(),
            Self::Date(builder) => builder.append_null(),
        }
    }

    /// Bytes held. The bits that mark nulls are left out: at most an eighth of a byte a value.
    pub fn memory(&self) -> usize {
        match self {
            Self::String(builder) => string_memory(builder),
            Self::Boolean(builder) => builder.capacity() / 8,
            Self::Int(builder) => builder.capacity() * size_of::<i32>(),
            Self::BigInt(builder) => builder.capacity() * size_of::<i64>(),
            Self::Double(builder) => builder.capacity() * size_of::<f64>(),
            Self::Decimal(builder) => builder.capacity() * size_of::<i128>(),
            Self::Timestamp(builder) => builder.capacity() * size_of::<i64>(),
            Self::Date(builder) => builder.capacity() * size_of::<i32>(),
        }
    }

    /// Bytes of all texts of a string column.
    pub fn text_bytes(&self) -> usize {
        match self {
            Self::String(builder) => builder.values_slice().len(),
            _ => 0,
        }
    }

    pub fn finish(&mut self) -> ArrayRef {
        match self {
            Self::String(builder) => Arc::new(builder.finish()),
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::Int(builder) => Arc::new(builder.finish()),
            Self::BigInt(builder) => Arc::new(builder.finish()),
            Self::Double(builder) => Arc::new(builder.finish()),
            Self::Decimal(builder) => Arc::new(builder.finish()),
            Self::Timestamp(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
        }
    }
}

pub fn string_memory(builder: &StringBuilder) -> usize {
    builder.values_capacity() + builder.offsets_capacity() * size_of::<i32>()
}
