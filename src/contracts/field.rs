//! What a value must be to become a cell of its column: the contract's types, applied without loss.

use chrono_tz::Tz;

use super::cells::Cell;
use super::json::{Span, Text, Value};
use super::number::{Misfit, Number};
use super::rejection::{Class, Rejection, excerpt};
use super::{Column, Type, timestamp};

/// A contract's column as the decoder uses it.
pub struct Field {
    pub name: String,
    /// The name in double quotes: its key as a producer writes it.
    pub token: Box<[u8]>,
    pub data_type: Type,
    pub nullable: bool,
}

impl Field {
    pub fn new(column: &Column) -> Self {
        Field {
            name: column.name.clone(),
            token: format!("\"{}\"", column.name).into_bytes().into(),
            data_type: column.data_type,
            nullable: column.nullable,
        }
    }

    /// The cell of a JSON value, which stands in `record` at `written`.
    #[inline]
    pub fn decode_json(
        &self,
        value: Value<'_>,
        written: Span,
        record: &str,
        unescaped: &str,
        zone: Tz,
    ) -> Result<Cell, Rejection> {
        match (self.data_type, value) {
            (_, Value::Null) => Ok(Cell::Null),
            (Type::String, Value::Text(text)) => Ok(Cell::Text(text)),
            (Type::Boolean, Value::Boolean(value)) => Ok(Cell::Boolean(value)),
            (Type::Timestamp, Value::Text(text)) => self.timestamp(text.of(record, unescaped), zone),
            (Type::Date, Value::Text(text)) => self.date(text.of(record, unescaped)),
            (Type::Int | Type::BigInt | Type::Double | Type::Decimal(..), Value::Number(number)) => self.number(number),
            (_, value) => Err(self.wrong_type(&format!("{} {}", kind(value), excerpt(written.of(record))))),
        }
    }

    /// The cell of a CSV field, which stands in `record` at `written`. An empty field is null.
    pub fn decode_csv(&self, written: Span, record: &str, zone: Tz) -> Result<Cell, Rejection> {
        let text = written.of(record);
        match self.data_type {
            _ if text.is_empty() => Ok(Cell::Null),
            Type::String => Ok(Cell::Text(Text::Plain(written))),
            Type::Boolean if text.eq_ignore_ascii_case("true") => Ok(Cell::Boolean(true)),
            Type::Boolean if text.eq_ignore_ascii_case("false") => Ok(Cell::Boolean(false)),
            Type::Boolean => Err(self.wrong_type(&quoted(text))),
            Type::Timestamp => self.timestamp(text, zone),
            Type::Date => self.date(text),
            Type::Int | Type::BigInt | Type::Double | Type::Decimal(..) => match Number::parse(text) {
                Some(number) => self.number(number),
                None => Err(self.wrong_type(&quoted(text))),
            },
        }
    }

    #[inline]
    fn number(&self, number: Number<'_>) -> Result<Cell, Rejection> {
        let cell = match self.data_type {
            Type::Int => number.to_i32().map(Cell::Int),
            Type::BigInt => number.to_i64().map(Cell::BigInt),
            Type::Decimal(precision, scale) => number.to_decimal(precision, scale).map(Cell::Decimal),
            _ => number.to_f64().map(Cell::Double),
        };
        cell.map_err(|misfit| self.misfit(number, misfit))
    }

    #[cold]
    fn misfit(&self, number: Number<'_>, misfit: Misfit) -> Rejection {
        let found = excerpt(number.text());
        match (self.data_type, misfit) {
            (Type::Decimal(_, scale), Misfit::Fraction) => Rejection::column(
                Class::OutOfRange,
                &self.name,
                format!("expected at most {scale} fractional digits, found {found}"),
            ),
            (_, Misfit::Fraction) => self.wrong_type(&format!("number {found}")),
            (data_type, Misfit::OutOfRange) => {
                Rejection::column(Class::OutOfRange, &self.name, format!("{found} does not fit into {data_type}"))
            }
        }
    }

    #[inline]
    fn timestamp(&self, text: &str, zone: Tz) -> Result<Cell, Rejection> {
        timestamp::micros(text, zone)
            .map(Cell::Timestamp)
            .map_err(|fault| self.bad_moment(Class::BadTimestamp, text, fault))
    }

    #[inline]
    fn date(&self, text: &str) -> Result<Cell, Rejection> {
        timestamp::days(text).map(Cell::Date).map_err(|fault| self.bad_moment(Class::BadDate, text, fault))
    }

    #[cold]
    fn bad_moment(&self, class: Class, text: &str, fault: timestamp::Fault) -> Rejection {
        let found = quoted(text);
        let message = match (fault, class) {
            (timestamp::Fault::Layout, Class::BadDate) => format!("expected YYYY-MM-DD, found {found}"),
            (timestamp::Fault::Layout, _) => format!("expected a time like 2024-01-31T08:30:00Z, found {found}"),
            (fault, _) => format!("{found}: {fault}"),
        };
        Rejection::column(class, &self.name, message)
    }

    #[cold]
    fn wrong_type(&self, found: &str) -> Rejection {
        Rejection::column(Class::WrongType, &self.name, format!("expected {}, found {found}", self.data_type))
    }

    pub fn missing(&self) -> Rejection {
        Rejection::column(Class::MissingValue, &self.name, "null or absent, and the contract says NOT NULL")
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", excerpt(text))
}

/// The name of a value's kind, for a message that goes on with the value.
fn kind(value: Value<'_>) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Boolean(_) => "boolean",
        Value::Number(_) => "number",
        Value::Text(_) => "string",
        Value::Array => "array",
        Value::Object => "object",
    }
}
