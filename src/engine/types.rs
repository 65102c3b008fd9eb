//! Types of columns as SQL spells them, for people and for artifacts.

use datafusion::arrow::datatypes::{DataType, TimeUnit};

/// The type as SQL spells it.
pub fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 => "TINYINT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INTEGER".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
            format!("{} UNSIGNED", sql_type(&signed(data_type)))
        }
        DataType::Float16 | DataType::Float32 => "REAL".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => format!("DECIMAL({p}, {s})"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "VARBINARY".to_owned()
        }
        DataType::Date32 | DataType::Date64 => "DATE".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "TIME".to_owned(),
        DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Microsecond, None) => {
            "TIMESTAMP".to_owned()
        }
        DataType::Timestamp(TimeUnit::Nanosecond, None) => "TIMESTAMP(9)".to_owned(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE".to_owned(),
        DataType::Interval(_) | DataType::Duration(_) => "INTERVAL".to_owned(),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => format!("ARRAY<{}>", sql_type(item.data_type())),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|f| format!("{} {}", f.name(), sql_type(f.data_type())));
            format!("STRUCT<{}>", fields.collect::<Vec<_>>().join(", "))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                let types: Vec<String> = fields.iter().map(|f| sql_type(f.data_type())).collect();
                format!("MAP<{}>", types.join(", "))
            }
            other => format!("MAP<{}>", sql_type(other)),
        },
        DataType::Dictionary(_, value) => sql_type(value),
        other => other.to_string().to_uppercase(),
    }
}

fn signed(unsigned: &DataType) -> DataType {
    match unsigned {
        DataType::UInt8 => DataType::Int8,
        DataType::UInt16 => DataType::Int16,
        DataType::UInt32 => DataType::Int32,
        _ => DataType::Int64,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::datatypes::Field;

    use super::*;

    #[test]
    fn types_are_spelled_as_sql_spells_them() {
        let item = Arc::new(Field::new("item", DataType::Decimal128(12, 2), true));
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let fields = vec![Field::new("at", time, true), Field::new("amounts", DataType::List(item), true)];
        let told = sql_type(&DataType::Struct(fields.into()));
        assert_eq!(told, "STRUCT<at TIMESTAMP WITH TIME ZONE, amounts ARRAY<DECIMAL(12, 2)>>");
        assert_eq!(sql_type(&DataType::UInt16), "SMALLINT UNSIGNED");
    }
}
