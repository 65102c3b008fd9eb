//! What a value must be to become a cell of its column: the contract's types, applied without loss.

use chrono_tz::Tz;

use super::cells::{Cell, Strings};
use super::json::{Span, Text, Value};
use super::members::Members;
use super::number::{Misfit, Number};
use super::reader::not_utf8;
use super::rejection::{Class, Rejection, excerpt};
use super::time::{TimeFormat, Unit};
use super::timestamp::{self, Fault};
use super::{Coerce, Column, Contract, Type};

/// A contract's column as the decoder uses it.
pub struct Field {
    pub name: String,
    /// Where its value is, for messages.
    pub path: String,
    pub shape: Shape,
    pub nullable: bool,
}

/// A column's type, with all that a value of it is read by.
pub enum Shape {
    Leaf(Leaf),
    Struct(Members<Shape>),
    List(Box<Shape>),
    Map(Box<Shape>),
}

/// A type that is not made of others.
pub struct Leaf {
    data_type: Type,
    /// Whether a value of another JSON type may be converted, if nothing is lost.
    coerce: bool,
    /// Of a time or day: what is tried, in this order. None for ISO-8601 alone.
    formats: Box<[TimeFormat]>,
    zone: Tz,
}

impl Field {
    pub fn new(column: &Column, contract: &Contract) -> Self {
        Field {
            name: column.name.clone(),
            path: column.locator.to_string(),
            shape: Shape::new(&column.data_type, column, contract),
            nullable: column.nullable,
        }
    }

    pub fn missing(&self) -> Rejection {
        Rejection::new(Class::MissingValue, "null or absent, and the contract says NOT NULL").of(&self.name)
    }
}

impl Shape {
    fn new(data_type: &Type, column: &Column, contract: &Contract) -> Self {
        match data_type {
            Type::Struct(fields) => {
                let fields = fields.iter().map(|(name, inner)| (name.clone(), Shape::new(inner, column, contract)));
                Shape::Struct(Members::of_struct(fields))
            }
            Type::Array(element) => Shape::List(Box::new(Shape::new(element, column, contract))),
            Type::Map(value) => Shape::Map(Box::new(Shape::new(value, column, contract))),
            leaf => Shape::Leaf(Leaf {
                data_type: leaf.clone(),
                coerce: contract.coerce == Coerce::Lossless,
                formats: column.formats.clone().into(),
                zone: contract.zone,
            }),
        }
    }
}

impl Leaf {
    /// The cell of a JSON value, which stands in `record` at `written`.
    #[inline]
    pub fn decode_json(
        &self,
        value: Value<'_>,
        written: Span,
        record: &str,
        strings: &mut Strings,
    ) -> Result<Cell, Rejection> {
        match (&self.data_type, value) {
            (_, Value::Null) => Ok(Cell::Null),
            (Type::String, Value::Text(text)) => Ok(Cell::Text(text)),
            (Type::Boolean, Value::Boolean(value)) => Ok(Cell::Boolean(value)),
            (Type::Timestamp, Value::Text(text)) => self.timestamp(text.of(record, &strings.unescaped), self.coerce),
            (Type::Date, Value::Text(text)) => self.date(text.of(record, &strings.unescaped)),
            (Type::Int | Type::BigInt | Type::Double | Type::Decimal(..), Value::Number(number)) => self.number(number),
            (_, value) => self.decode_other(value, written, record, strings),
        }
    }

    /// What is neither of the column's own JSON type nor plain. Apart, so that the rest stays small.
    #[inline(never)]
    fn decode_other(
        &self,
        value: Value<'_>,
        written: Span,
        record: &str,
        strings: &mut Strings,
    ) -> Result<Cell, Rejection> {
        match (&self.data_type, value) {
            (Type::Timestamp, Value::Number(number)) => self.epoch(number),
            (Type::Binary, Value::Text(text)) => {
                let Strings { unescaped, bytes } = strings;
                self.binary(text.of(record, unescaped), bytes)
            }
            (_, value) if self.coerce => self.coerced(value, written, record, strings),
            (_, value) => Err(self.wrong_type(&describe(value, written.of(record)))),
        }
    }

    /// The cell of a value that is of another JSON type than the column, where the two agree on what it means.
    fn coerced(&self, value: Value<'_>, written: Span, record: &str, strings: &mut Strings) -> Result<Cell, Rejection> {
        match (&self.data_type, value) {
            // The characters of the record themselves.
            (Type::String, _) => Ok(Cell::Text(Text::Plain(written))),
            (Type::Boolean, Value::Number(number)) if number.to_i64() == Ok(0) => Ok(Cell::Boolean(false)),
            (Type::Boolean, Value::Number(number)) if number.to_i64() == Ok(1) => Ok(Cell::Boolean(true)),
            (Type::Boolean | Type::Int | Type::BigInt | Type::Double | Type::Decimal(..), Value::Text(text)) => {
                self.of_text(text.of(record, &strings.unescaped))
            }
            (_, value) => Err(self.wrong_type(&describe(value, written.of(record)))),
        }
    }

    /// The cell of a CSV field, which stands in `record` at `written`. An empty field is null.
    pub fn decode_csv(&self, written: Span, record: &str, strings: &mut Strings) -> Result<Cell, Rejection> {
        let text = written.of(record);
        match self.data_type {
            _ if text.is_empty() => Ok(Cell::Null),
            Type::String => Ok(Cell::Text(Text::Plain(written))),
            Type::Timestamp => self.timestamp(text, true),
            Type::Date => self.date(text),
            Type::Binary => self.binary(text, &mut strings.bytes),
            _ => self.of_text(text),
        }
    }

    /// The cell of bytes that are a value as a whole: themselves for a binary column, for any other their text.
    pub fn decode_bytes(&self, bytes: &[u8], strings: &mut Strings) -> Result<Cell, Rejection> {
        if self.data_type == Type::Binary {
            let start = strings.bytes.len();
            strings.bytes.extend_from_slice(bytes);
            return Ok(Cell::Bytes(Span { start, end: strings.bytes.len() }));
        }
        let text = simdutf8::basic::from_utf8(bytes).map_err(|_| not_utf8(bytes))?;
        match self.data_type {
            Type::String => {
                let start = strings.unescaped.len();
                strings.unescaped.push_str(text);
                Ok(Cell::Text(Text::Unescaped(Span { start, end: strings.unescaped.len() })))
            }
            Type::Timestamp => self.timestamp(text, true),
            Type::Date => self.date(text),
            _ => self.of_text(text),
        }
    }

    /// The boolean or number that a text is.
    fn of_text(&self, text: &str) -> Result<Cell, Rejection> {
        if self.data_type != Type::Boolean {
            return match Number::parse(text) {
                Some(number) => self.number(number),
                None => Err(self.wrong_type(&quoted(text))),
            };
        }
        match text {
            _ if text.eq_ignore_ascii_case("true") => Ok(Cell::Boolean(true)),
            _ if text.eq_ignore_ascii_case("false") => Ok(Cell::Boolean(false)),
            _ => Err(self.wrong_type(&quoted(text))),
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
        match (&self.data_type, misfit) {
            (Type::Decimal(_, scale), Misfit::Fraction) => {
                let message = format!("expected at most {scale} fractional digits, found {found}");
                Rejection::new(Class::OutOfRange, message)
            }
            (_, Misfit::Fraction) => self.wrong_type(&format!("number {found}")),
            (data_type, Misfit::OutOfRange) => {
                Rejection::new(Class::OutOfRange, format!("{found} does not fit into {data_type}"))
            }
        }
    }

    /// The moment that a text says. With `count`, a text may also be the number of an epoch.
    #[inline]
    fn timestamp(&self, text: &str, count: bool) -> Result<Cell, Rejection> {
        if !self.formats.is_empty() {
            return self.formatted_timestamp(text, count);
        }
        timestamp::micros(text, self.zone)
            .map(Cell::Timestamp)
            .map_err(|fault| self.bad_moment(Class::BadTimestamp, text, fault))
    }

    #[inline(never)]
    fn formatted_timestamp(&self, text: &str, count: bool) -> Result<Cell, Rejection> {
        self.first_format(Class::BadTimestamp, text, |format| match format {
            TimeFormat::Iso8601 => timestamp::micros(text, self.zone).map(Cell::Timestamp),
            TimeFormat::Layout(layout) => layout.micros(text, self.zone).map(Cell::Timestamp),
            TimeFormat::Epoch(unit) => match Number::parse(text).filter(|_| count) {
                Some(number) => unit.micros(number).map(Cell::Timestamp).map_err(|_| Fault::Day),
                None => Err(Fault::Layout),
            },
        })
    }

    fn date(&self, text: &str) -> Result<Cell, Rejection> {
        if self.formats.is_empty() {
            return timestamp::days(text).map(Cell::Date).map_err(|fault| self.bad_moment(Class::BadDate, text, fault));
        }
        self.first_format(Class::BadDate, text, |format| match format {
            TimeFormat::Iso8601 => timestamp::days(text).map(Cell::Date),
            TimeFormat::Layout(layout) => layout.days(text).map(Cell::Date),
            TimeFormat::Epoch(_) => Err(Fault::Layout),
        })
    }

    /// What the first format makes of a text that can. If none can, the fault is of the one that came furthest: a day
    /// that is not in the calendar rather than another layout.
    fn first_format(
        &self,
        class: Class,
        text: &str,
        read: impl Fn(&TimeFormat) -> Result<Cell, Fault>,
    ) -> Result<Cell, Rejection> {
        let mut worst = Fault::Layout;
        for format in &self.formats {
            match read(format) {
                Ok(cell) => return Ok(cell),
                Err(Fault::Layout) => {}
                Err(fault) => worst = fault,
            }
        }
        Err(self.bad_moment(class, text, worst))
    }

    /// The moment that a number says under the first format that counts from 1970.
    fn epoch(&self, number: Number<'_>) -> Result<Cell, Rejection> {
        let units = self.formats.iter().filter_map(|format| match format {
            TimeFormat::Epoch(unit) => Some(*unit),
            TimeFormat::Iso8601 | TimeFormat::Layout(_) => None,
        });
        let Some(unit) = units.into_iter().next() else {
            return Err(self.wrong_type(&format!("number {}", excerpt(number.text()))));
        };
        unit.micros(number).map(Cell::Timestamp).map_err(|_| self.far_away(number, unit))
    }

    #[cold]
    fn far_away(&self, number: Number<'_>, unit: Unit) -> Rejection {
        let found = excerpt(number.text());
        Rejection::new(Class::OutOfRange, format!("{found} as {unit} is not in the years 0 to 9999"))
    }

    #[cold]
    fn bad_moment(&self, class: Class, text: &str, fault: Fault) -> Rejection {
        let found = quoted(text);
        let message = match (fault, class) {
            (Fault::Layout, _) if !self.formats.is_empty() => {
                let expected: Vec<String> = self.formats.iter().map(|format| format!("'{format}'")).collect();
                format!("expected {} as {}, found {found}", self.data_type, expected.join(" or "))
            }
            (Fault::Layout, Class::BadDate) => format!("expected YYYY-MM-DD, found {found}"),
            (Fault::Layout, _) => format!("expected a time like 2024-01-31T08:30:00Z, found {found}"),
            (fault, _) => format!("{found}: {fault}"),
        };
        Rejection::new(class, message)
    }

    /// The bytes that a text is in the standard alphabet of base64, with its padding.
    fn binary(&self, text: &str, bytes: &mut Vec<u8>) -> Result<Cell, Rejection> {
        let start = bytes.len();
        match super::base64::decode(text, bytes) {
            Some(()) => Ok(Cell::Bytes(Span { start, end: bytes.len() })),
            None => Err(Rejection::new(Class::BadBase64, format!("expected base64, found {}", quoted(text)))),
        }
    }

    #[cold]
    fn wrong_type(&self, found: &str) -> Rejection {
        Rejection::new(Class::WrongType, format!("expected {}, found {found}", self.data_type))
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", excerpt(text))
}

/// A value that is not what was expected, for a message.
#[cold]
pub fn describe(value: Value<'_>, written: &str) -> String {
    let kind = match value {
        Value::Null => "null",
        Value::Boolean(_) => "boolean",
        Value::Number(_) => "number",
        Value::Text(_) => "string",
        Value::Array => "array",
        Value::Object => "object",
    };
    format!("{kind} {}", excerpt(written))
}

#[cfg(test)]
mod tests;
