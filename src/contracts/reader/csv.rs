//! The fields of a CSV record by their file's header. Columns of nested types are JSON in a field.

use super::left::Rest;
use super::{Reader, Taken, not_utf8};
use crate::contracts::CsvHeader;
use crate::contracts::cells::Cell;
use crate::contracts::field::Shape;
use crate::contracts::json::{Fault, Scanner, Span};
use crate::contracts::rejection::{Class, Rejection, excerpt};

impl Reader<'_> {
    /// Reads the record whose fields stand side by side in the reader's text.
    pub fn csv(&mut self, header: &CsvHeader, fields: &csv::ByteRecord) -> Result<(), Rejection> {
        for (index, column) in header.columns().enumerate() {
            let range = fields.range(index).unwrap_or_default();
            // Two fields that are not UTF-8 can be UTF-8 when written side by side.
            if self.text.get(range.clone()).is_none() {
                return Err(not_utf8(fields.get(index).unwrap_or_default()));
            }
            let written = Span { start: range.start, end: range.end };
            match column {
                Ok((column, name)) => self.field(column, name, written),
                // An empty field is null, and left out.
                Err(name) if written.start < written.end => {
                    let value = serde_json::Value::from(written.of(self.text)).to_string();
                    add(&mut self.scratch.extra, name, &value);
                }
                Err(_) => {}
            }
        }
        if !self.scratch.extra.is_empty() {
            self.scratch.extra.push('}');
        }
        Ok(())
    }

    /// `name` is the field's name as a JSON string.
    fn field(&mut self, column: usize, name: &str, written: Span) {
        let Some(field) = self.plan.fields.get(column) else { return };
        let cell = match &field.shape {
            Shape::Leaf(leaf) => leaf.decode_csv(written, self.text, &mut self.scratch.strings),
            _ if written.start == written.end => Ok(Cell::Null),
            shape => match self.json_in(written, shape) {
                Ok(judged) => judged.map(|Taken { cell, rest }| {
                    self.keep(name, rest);
                    cell
                }),
                Err(_) => {
                    let message = format!("expected JSON, found {}", excerpt(written.of(self.text)));
                    Err(Rejection::new(Class::WrongType, message))
                }
            },
        };
        let cell = cell.map_err(|rejection| rejection.of(&field.name));
        self.scratch.set(column, cell);
    }

    /// Reads the JSON value that is the text at `written`.
    fn json_in(&mut self, written: Span, shape: &Shape) -> Result<Result<Taken, Rejection>, Fault> {
        self.scanner = Scanner::within(self.text, written);
        self.scanner.space();
        let judged = self.judged(shape)?;
        self.scanner.end()?;
        Ok(judged)
    }

    fn keep(&mut self, name: &str, rest: Option<Rest>) {
        if let Some(rest) = rest {
            add(&mut self.scratch.extra, name, self.scratch.left.text(rest, self.text));
        }
    }
}

/// Adds a member to an object that is still open.
fn add(object: &mut String, name: &str, value: &str) {
    object.push(if object.is_empty() { '{' } else { ',' });
    object.push_str(name);
    object.push(':');
    object.push_str(value);
}
