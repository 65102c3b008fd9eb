//! The options that say how records are written.

use std::path::Path;

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::tokenizer::Location;

use super::{Setting, Source as Text, get};
use crate::contracts::{Column, Encoding, Format, Framing, Origin, Source};
use crate::error::Result;

/// A format as the contract names it.
#[derive(Clone, Copy)]
enum Named {
    Json,
    Csv,
    Raw,
    Datum(Encoding),
}

const FORMATS: [(&str, Named); 6] = [
    ("json", Named::Json),
    ("csv", Named::Csv),
    ("raw", Named::Raw),
    ("avro", Named::Datum(Encoding::Avro)),
    ("protobuf", Named::Datum(Encoding::Protobuf)),
    ("json_schema", Named::Datum(Encoding::Json)),
];

const FRAMINGS: [(&str, Framing); 3] = [
    ("confluent", Framing::Confluent),
    ("apicurio", Framing::Apicurio),
    ("apicurio_content", Framing::ApicurioContent),
];

/// The options that say where schemas come from.
const OF_SCHEMAS: [&str; 3] = ["framing", "schema_file", "message"];

impl Text<'_> {
    pub fn format(&self, options: &[Setting], origin: &Origin, columns: &[Column]) -> Result<Format> {
        let named = match (get(options, "format"), origin) {
            (Some(setting), _) => self.choose(setting, &FORMATS)?,
            (None, Origin::Topics(_)) => Named::Json,
            (None, Origin::Files { .. }) => Named::Csv,
        };
        let at = get(options, "format").map_or_else(Location::empty, |setting| setting.value_at);
        let format = match (named, origin) {
            (Named::Json, _) => Format::Json,
            (Named::Csv, Origin::Files { .. }) => Format::Csv,
            (Named::Csv, Origin::Topics(_)) => {
                return Err(self
                    .error(at, "the records of a topic cannot be CSV, since they have no header")
                    .hint("a topic's format is 'json', 'avro', 'protobuf', 'json_schema' or 'raw'"));
            }
            (Named::Raw | Named::Datum(_), Origin::Files { .. }) => {
                return Err(self
                    .error(at, "files have no such records")
                    .hint("the format of files is 'json' or 'csv'; the others are for topics"));
            }
            (Named::Raw, _) => match columns.iter().filter(|c| c.locator.path().is_some()).collect::<Vec<_>>()[..] {
                [column] if is_raw(column) => Format::Raw,
                _ => {
                    return Err(self
                        .error(at, "the format 'raw' needs one column, STRING or BINARY, that takes the whole record")
                        .hint("for example: CREATE TABLE lines (line STRING) WITH (topic = 'lines', format = 'raw')"));
                }
            },
            (Named::Datum(encoding), _) => return self.datum(encoding, options),
        };
        match OF_SCHEMAS.into_iter().find_map(|option| get(options, option)) {
            None => Ok(format),
            Some(setting) => Err(self
                .error(setting.key_at, format!("`{}` has no meaning for records without a schema", setting.key))
                .hint("it goes with the formats 'avro' and 'protobuf'")),
        }
    }

    fn datum(&self, encoding: Encoding, options: &[Setting]) -> Result<Format> {
        let framing = match get(options, "framing") {
            Some(setting) => Some((setting, self.choose(setting, &FRAMINGS)?)),
            None => None,
        };
        if let (Encoding::Protobuf, Some((setting, Framing::Apicurio | Framing::ApicurioContent))) = (encoding, framing)
        {
            return Err(self
                .error(setting.value_at, "Apicurio's own framing is not understood for Protobuf")
                .hint("let the serializer write the framing of Confluent, and leave out `framing`"));
        }
        let message = get(options, "message");
        let Some(file) = get(options, "schema_file") else {
            return match message {
                Some(setting) => Err(self
                    .error(setting.key_at, "`message` has no meaning here: each record names its message")
                    .hint("it goes with `schema_file`")),
                None => Ok(Format::Datum(encoding, Source::Registry(framing.map_or(Framing::Confluent, |(_, f)| f)))),
            };
        };
        if let Some((setting, _)) = framing {
            return Err(self
                .error(setting.key_at, "`framing` and `schema_file` do not go together")
                .hint("with a file there is nothing before the first byte of a record"));
        }
        if let (Encoding::Avro | Encoding::Json, Some(setting)) = (encoding, message) {
            return Err(self.error(setting.key_at, "`message` is for Protobuf"));
        }
        let path = Path::new(self.file).parent().unwrap_or(Path::new("")).join(&file.value);
        let source = Source::from_file(encoding, &path, message.map(|setting| setting.value.as_str()));
        let source = source.map_err(|problem| {
            self.error(file.value_at, format!("{}: {problem}", file.value))
                .hint("the file is looked for beside the contract, and its imports beside the file")
        })?;
        Ok(Format::Datum(encoding, source))
    }
}

fn is_raw(column: &Column) -> bool {
    matches!(column.data_type.to_arrow(), DataType::Utf8 | DataType::Binary)
}
