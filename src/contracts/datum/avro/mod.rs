//! Avro's binary encoding to JSON text.
//!
//! A datum is read by hand: a library's reader may take a datum that was cut off for one with nulls in it, or reserve the
//! memory that a length claims before it looks whether so many bytes are there. Here a length is compared with the bytes
//! that are left, a datum has to end where the record ends, and nothing is built up but the text.

mod schema;

pub use self::schema::Schema;
use self::schema::{Id, Node, Unit};
use super::text::JsonText;
use crate::contracts::rejection::{Class, Rejection};

/// Values within each other. A schema can refer to itself, so a record decides how deep it goes.
const DEEPEST: usize = 100;
/// The longest integer of a decimal: a hundred and fifty digits.
const LONGEST_DECIMAL: usize = 64;

/// Writes a datum as JSON.
pub fn write(schema: &Schema, datum: &[u8], text: &mut JsonText) -> Result<(), Rejection> {
    let mut walk = Walk { schema, rest: datum, length: datum.len(), text };
    walk.value(schema.root(), 0)?;
    match walk.rest.len() {
        0 => Ok(()),
        left => Err(walk.bad(format!("the datum ends {left} bytes before the record does"))),
    }
}

struct Walk<'a> {
    schema: &'a Schema,
    rest: &'a [u8],
    length: usize,
    text: &'a mut JsonText,
}

impl<'a> Walk<'a> {
    #[cold]
    fn bad(&self, problem: impl std::fmt::Display) -> Rejection {
        let at = self.length.saturating_sub(self.rest.len()).saturating_add(1);
        Rejection::new(Class::BadAvro, format!("{problem} at byte {at} of the datum"))
    }

    fn value(&mut self, id: Id, depth: usize) -> Result<(), Rejection> {
        self.text.ensure_room()?;
        if depth > DEEPEST {
            return Err(Rejection::new(Class::TooDeep, "nested deeper than 100 levels"));
        }
        let schema = self.schema;
        let Some(node) = schema.node(id) else { return Err(self.bad("a type that the schema lacks")) };
        match node {
            Node::Null => self.text.token("null"),
            Node::Boolean => match self.take(1)? {
                [0] => self.text.boolean(false),
                [1] => self.text.boolean(true),
                _ => return Err(self.bad("neither true nor false")),
            },
            Node::Int => {
                let value = self.int()?;
                self.text.signed(value.into());
            }
            Node::Long => {
                let value = self.long()?;
                self.text.signed(value);
            }
            Node::Float => {
                let bytes = self.array()?;
                self.text.float(f32::from_le_bytes(bytes));
            }
            Node::Double => {
                let bytes = self.array()?;
                self.text.double(f64::from_le_bytes(bytes));
            }
            Node::Bytes => {
                let bytes = self.bytes()?;
                self.text.bytes(bytes);
            }
            Node::String => self.string()?,
            Node::Fixed(size) => {
                let bytes = self.take(*size)?;
                self.text.bytes(bytes);
            }
            Node::Enum(symbols) => {
                let index = self.int()?;
                let symbol = usize::try_from(index).ok().and_then(|index| symbols.get(index));
                let Some(symbol) = symbol else { return Err(self.bad(format!("no symbol {index} in the enum"))) };
                self.text.token(symbol);
            }
            Node::Union(branches) => {
                let index = self.long()?;
                let branch = usize::try_from(index).ok().and_then(|index| branches.get(index));
                let Some(branch) = branch else { return Err(self.bad(format!("no branch {index} in the union"))) };
                self.value(*branch, depth + 1)?;
            }
            Node::Record(fields) => {
                self.text.token("{");
                for (index, (key, field)) in fields.iter().enumerate() {
                    if index > 0 {
                        self.text.token(",");
                    }
                    self.text.token(key);
                    self.value(*field, depth + 1)?;
                }
                self.text.token("}");
            }
            Node::Array(items) => {
                self.text.token("[");
                self.blocks(|walk| walk.value(*items, depth + 1))?;
                self.text.token("]");
            }
            Node::Map(values) => {
                self.text.token("{");
                self.blocks(|walk| {
                    walk.string()?;
                    walk.text.token(":");
                    walk.value(*values, depth + 1)
                })?;
                self.text.token("}");
            }
            Node::Decimal { size, scale } => {
                let unscaled = match size {
                    Some(size) => self.take(*size)?,
                    None => self.bytes()?,
                };
                if unscaled.len() > LONGEST_DECIMAL {
                    return Err(self.bad(format!("a decimal of {} bytes", unscaled.len())));
                }
                self.text.decimal(unscaled, *scale);
            }
            Node::Uuid => {
                let uuid = uuid::Uuid::from_bytes(self.array()?);
                self.text.string(uuid.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()));
            }
            Node::Date => {
                let days = self.int()?;
                self.text.date(days);
            }
            Node::TimeOfDay(unit) => {
                // Both units have a zigzag number; an int that is too large is no time of day either.
                let (seconds, nanos) = unit.split(self.long()?);
                self.text.time_of_day(seconds, nanos);
            }
            Node::Timestamp(unit) => {
                let (seconds, nanos) = unit.split(self.long()?);
                self.text.moment(seconds, nanos, "Z");
            }
            Node::LocalTimestamp(unit) => {
                let (seconds, nanos) = unit.split(self.long()?);
                self.text.moment(seconds, nanos, "");
            }
            Node::Duration => {
                let (months, days, millis) = (self.unsigned()?, self.unsigned()?, self.unsigned()?);
                let (seconds, millis) = (millis / 1000, millis % 1000);
                self.text.string(&format!("P{months}M{days}DT{seconds}.{millis:03}S"));
            }
        }
        Ok(())
    }

    /// The items of an array or map, which come in blocks with their count before them; an empty block is the last. A
    /// negative count is followed by the block's size in bytes, which is for readers that skip.
    fn blocks(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), Rejection>) -> Result<(), Rejection> {
        let mut first = true;
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 && self.long()? < 0 {
                return Err(self.bad("a block of a negative size"));
            }
            // Items without bytes are bounded by the room for the text.
            for _ in 0..count.unsigned_abs() {
                if !first {
                    self.text.token(",");
                }
                first = false;
                item(self)?;
            }
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Rejection> {
        match self.rest.split_at_checked(count) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.bad(format!("expected {count} bytes, and {} are left", self.rest.len()))),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Rejection> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| self.bad("too few bytes"))
    }

    fn unsigned(&mut self) -> Result<u32, Rejection> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn bytes(&mut self) -> Result<&'a [u8], Rejection> {
        let length = self.long()?;
        match usize::try_from(length) {
            Ok(length) => self.take(length),
            Err(_) => Err(self.bad(format!("a length of {length}"))),
        }
    }

    fn string(&mut self) -> Result<(), Rejection> {
        let bytes = self.bytes()?;
        match simdutf8::basic::from_utf8(bytes) {
            Ok(text) => {
                self.text.string(text);
                Ok(())
            }
            Err(_) => Err(self.bad("a string that is not UTF-8 ends")),
        }
    }

    fn int(&mut self) -> Result<i32, Rejection> {
        let value = self.long()?;
        i32::try_from(value).map_err(|_| self.bad(format!("{value} is not an int")))
    }

    /// A zigzag number of up to ten bytes, seven bits each, the lowest first.
    #[inline]
    fn long(&mut self) -> Result<i64, Rejection> {
        let mut bits = 0_u64;
        let mut shift = 0_u32;
        loop {
            let Some((byte, rest)) = self.rest.split_first() else { return Err(self.bad("the datum is cut off")) };
            let low = u64::from(byte & 0x7f);
            // Of the tenth byte one bit is left.
            if shift == 63 && *byte > 1 {
                return Err(self.bad("a number of more than 64 bits"));
            }
            self.rest = rest;
            bits |= low << shift;
            if byte & 0x80 == 0 {
                return Ok((bits >> 1) as i64 ^ -((bits & 1) as i64));
            }
            shift += 7;
        }
    }
}

impl Unit {
    /// Seconds, rounded down, and the nanoseconds above them.
    fn split(self, value: i64) -> (i64, u32) {
        let (units, nanos) = match self {
            Unit::Millis => (1_000, 1_000_000),
            Unit::Micros => (1_000_000, 1_000),
            Unit::Nanos => (1_000_000_000, 1),
        };
        let above = u32::try_from(value.rem_euclid(units)).unwrap_or(0);
        (value.div_euclid(units), above * nanos)
    }
}

#[cfg(test)]
mod tests;
