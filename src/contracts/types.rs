//! The types that a contract's columns may have, and what Arrow and Delta call them.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    String,
    Binary,
    Boolean,
    Int,
    BigInt,
    Double,
    /// Precision, 1 to 38, and scale, 0 to the precision.
    Decimal(u8, i8),
    Timestamp,
    Date,
    Struct(Vec<(String, Type)>),
    Array(Box<Type>),
    /// From strings to values of this type.
    Map(Box<Type>),
}

impl Type {
    pub fn to_arrow(&self) -> DataType {
        match self {
            Type::String => DataType::Utf8,
            Type::Binary => DataType::Binary,
            Type::Boolean => DataType::Boolean,
            Type::Int => DataType::Int32,
            Type::BigInt => DataType::Int64,
            Type::Double => DataType::Float64,
            Type::Decimal(precision, scale) => DataType::Decimal128(*precision, *scale),
            Type::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Type::Date => DataType::Date32,
            Type::Struct(fields) => DataType::Struct(struct_fields(fields)),
            Type::Array(element) => DataType::List(element_field(element)),
            Type::Map(value) => DataType::Map(entries_field(value), false),
        }
    }

    /// Whether it is made of others.
    pub fn is_nested(&self) -> bool {
        matches!(self, Type::Struct(_) | Type::Array(_) | Type::Map(_))
    }

    /// The types that are not made of others, in this one.
    pub fn leaves(&self) -> Vec<&Type> {
        match self {
            Type::Struct(fields) => fields.iter().flat_map(|(_, inner)| inner.leaves()).collect(),
            Type::Array(inner) | Type::Map(inner) => inner.leaves(),
            leaf => vec![leaf],
        }
    }
}

pub(super) fn struct_fields(fields: &[(String, Type)]) -> Fields {
    fields.iter().map(|(name, inner)| Field::new(name, inner.to_arrow(), true)).collect()
}

/// The names of the parts of lists and maps are those of the Parquet format.
pub(super) fn element_field(element: &Type) -> FieldRef {
    Arc::new(Field::new("element", element.to_arrow(), true))
}

pub(super) fn entries_field(value: &Type) -> FieldRef {
    Arc::new(Field::new("key_value", DataType::Struct(entry_fields(value)), false))
}

pub(super) fn entry_fields(value: &Type) -> Fields {
    Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", value.to_arrow(), true)])
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::String => f.write_str("string"),
            Type::Binary => f.write_str("binary"),
            Type::Boolean => f.write_str("boolean"),
            Type::Int => f.write_str("int"),
            Type::BigInt => f.write_str("bigint"),
            Type::Double => f.write_str("double"),
            Type::Decimal(precision, scale) => write!(f, "decimal({precision},{scale})"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::Date => f.write_str("date"),
            Type::Struct(fields) => {
                f.write_str("struct<")?;
                for (index, (name, inner)) in fields.iter().enumerate() {
                    write!(f, "{}{name}: {inner}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str(">")
            }
            Type::Array(element) => write!(f, "array<{element}>"),
            Type::Map(value) => write!(f, "map<string, {value}>"),
        }
    }
}
