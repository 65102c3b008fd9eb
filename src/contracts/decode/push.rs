//! Records of any format of a topic: what is not JSON becomes JSON first, and from there on there is one way.

use super::Decoder;
use crate::contracts::datum::{Datums, JsonText};
use crate::contracts::rejection::Rejection;
use crate::contracts::{Contract, Envelope, Format, Type};
use crate::registry::{Schema, SchemaId};

/// Makes JSON text of records.
pub struct Translator {
    from: From,
    text: JsonText,
}

enum From {
    Datums(Datums),
    /// The whole record is one column: its name, and whether it is text, which has to be UTF-8.
    Raw {
        column: String,
        text: bool,
    },
}

impl Translator {
    /// None for records that are JSON. (The records of CSV files do not come this way.)
    pub fn of(contract: &Contract) -> Option<Box<Self>> {
        let from = match &contract.format {
            Format::Json | Format::Csv => return None,
            Format::Datum(encoding, source) => From::Datums(Datums::new(*encoding, source.clone())),
            Format::Raw => {
                let column = contract.columns.iter().find(|column| column.locator.path().is_some())?;
                From::Raw { column: column.name.clone(), text: column.data_type == Type::String }
            }
        };
        Some(Box::new(Translator { from, text: JsonText::default() }))
    }

    pub fn memory(&self) -> usize {
        self.text.memory()
    }

    fn read(&mut self, record: &[u8]) -> Result<(), Rejection> {
        match &self.from {
            From::Datums(datums) => datums.write(record, &mut self.text),
            From::Raw { column, text } => write_raw(column, *text, record, &mut self.text),
        }
    }
}

fn write_raw(column: &str, is_text: bool, record: &[u8], text: &mut JsonText) -> Result<(), Rejection> {
    text.clear();
    text.token("{");
    text.string(column);
    text.token(":");
    match is_text {
        true => {
            text.string(simdutf8::basic::from_utf8(record).map_err(|_| crate::contracts::reader::not_utf8(record))?)
        }
        false => text.bytes(record),
    }
    text.token("}");
    Ok(())
}

impl Decoder {
    /// The schema that has to be [learned](Decoder::learn) before this record is pushed. Without it the record would be
    /// rejected, which nobody wants of one whose schema is merely not there yet.
    #[inline]
    pub fn needs(&self, record: &[u8]) -> Option<SchemaId> {
        match &self.translator.as_ref()?.from {
            From::Datums(datums) => datums.needs(record),
            From::Raw { .. } => None,
        }
    }

    /// Takes the schema of an id, or that the registry has none: then its records are rejected.
    pub fn learn(&mut self, id: SchemaId, schema: Option<&Schema>) {
        if let Some(From::Datums(datums)) = self.translator.as_mut().map(|translator| &mut translator.from) {
            datums.learn(id, schema);
        }
    }

    /// Appends the row of a record, in the format that the contract says, with what comes beside it.
    #[inline]
    pub fn push(&mut self, record: &[u8], envelope: &impl Envelope) -> Result<(), Rejection> {
        match self.translator.take() {
            None => self.push_json_with(record, envelope),
            Some(mut translator) => {
                let read = translator.read(record);
                let pushed = read.and_then(|()| self.push_json_with(translator.text.as_str().as_bytes(), envelope));
                self.translator = Some(translator);
                pushed
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_bytes_are_base64_for_a_column_that_is_not_text() {
        let mut text = JsonText::default();
        write_raw("v", false, &[0, 255], &mut text).unwrap();
        assert_eq!(text.as_str(), r#"{"v":"AP8="}"#);
    }
}
