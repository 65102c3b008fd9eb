//! Contracts: what the records of a topic or of a batch source must look like, and how they become rows of Bronze.
//!
//! A contract is one `CREATE TABLE` in a file of its own. It is the only place that says how a source's fields are named
//! and typed; [`Decoder`] holds every record to it, without loss and without guessing.

pub mod base64;
pub mod bronze;
mod cells;
mod csv;
mod datum;
mod decode;
mod envelope;
mod field;
mod json;
mod layout;
mod members;
mod number;
mod parse;
mod path;
mod reader;
mod rejection;
mod time;
mod timestamp;
mod topics;
mod types;

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use chrono_tz::Tz;

pub use self::csv::CsvHeader;
pub use self::datum::{Encoding, Framing, Source};
pub use self::decode::Decoder;
pub use self::envelope::{Envelope, Locator};
pub use self::parse::parse;
pub use self::rejection::{Class, Rejection};
pub use self::time::TimeFormat;
pub use self::topics::{Pattern, Topics};
pub use self::types::Type;
use crate::error::{Error, Place, Result};

#[derive(Debug, Clone, PartialEq)]
pub struct Contract {
    /// The table, which is also the stem of the file.
    pub name: String,
    pub origin: Origin,
    /// For files: how those are written that do not say so by their own name.
    pub format: Format,
    /// Where the clocks hang that times without an offset were read from.
    pub zone: Tz,
    pub coerce: Coerce,
    pub comment: Option<String>,
    pub columns: Vec<Column>,
    /// The contract's file, as errors show it.
    pub file: String,
    /// What the file says.
    pub text: String,
    /// Where it says the table's name.
    pub at: Spot,
}

/// A line and a column of a contract's text, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    pub line: usize,
    pub column: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Topics(Topics),
    Files {
        location: Option<String>,
        /// Every load brings all rows there are: what is absent has gone.
        full_extract: bool,
        /// The column that tells the source's rows apart.
        key: Option<String>,
        /// The column with the time of a row's last change.
        watermark: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub enum Format {
    /// One JSON object a record; in files, one a line.
    Json,
    /// With a header that names the columns.
    Csv,
    /// Bytes that are not looked into: each record is the one column of its row.
    Raw,
    /// Records that a schema tells how to read.
    Datum(Encoding, Source),
}

/// How a file of a batch source is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Csv,
    JsonLines,
}

impl Written {
    /// What the ending of a file's name says. Most endings say nothing.
    pub fn by_name(file: &Path) -> Option<Written> {
        let ending = file.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "csv" => Some(Written::Csv),
            "json" | "jsonl" | "ndjson" => Some(Written::JsonLines),
            _ => None,
        }
    }
}

/// What becomes of a JSON value that is of another type than its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coerce {
    /// Its record is rejected.
    None,
    /// It is converted if nothing is lost by that; otherwise its record is rejected.
    Lossless,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// Where the contract says it.
    pub at: Spot,
    /// Where its value is: in the record's field of its name, if nothing else is said.
    pub locator: Locator,
    pub data_type: Type,
    pub nullable: bool,
    /// How its times are written, tried in this order. None for ISO-8601.
    pub formats: Vec<TimeFormat>,
    pub comment: Option<String>,
}

impl Contract {
    /// The topics whose records it takes; none if its rows come from files.
    pub fn topics(&self) -> Option<&Topics> {
        match &self.origin {
            Origin::Topics(topics) => Some(topics),
            Origin::Files { .. } => None,
        }
    }

    /// The registry's framing of the records, if a registry is needed to read them.
    pub fn registry(&self) -> Option<Framing> {
        match &self.format {
            Format::Datum(Encoding::Avro | Encoding::Protobuf, Source::Registry(framing)) => Some(*framing),
            _ => None,
        }
    }

    /// How a file is written: as its name says, or else the contract.
    pub fn written(&self, file: &Path) -> Written {
        let otherwise = if self.format == Format::Json { Written::JsonLines } else { Written::Csv };
        Written::by_name(file).unwrap_or(otherwise)
    }

    /// The place of a column in the contract's file, or of the table's name.
    pub fn place(&self, column: Option<&str>) -> Place {
        let of_column = column.and_then(|name| self.columns.iter().find(|column| column.name == name));
        let Spot { line, column } = of_column.map_or(self.at, |column| column.at);
        Place::in_text(self.file.as_str(), &self.text, line, column)
    }

    /// The columns without which a record is rejected.
    pub fn required(&self) -> Vec<&str> {
        self.columns.iter().filter(|column| !column.nullable).map(|column| column.name.as_str()).collect()
    }

    /// The columns that [`Decoder::finish`] returns: the contract's, then `_extra`. All of them are nullable, `NOT NULL`
    /// ones too, since a rejected record has a row of nulls.
    pub fn schema(&self) -> SchemaRef {
        let columns = self.columns.iter().map(|column| Field::new(&column.name, column.data_type.to_arrow(), true));
        let extra = Field::new("_extra", DataType::Utf8, true);
        Arc::new(Schema::new(columns.chain([extra]).collect::<Vec<_>>()))
    }
}

/// The contracts that the program brings along, ordered by name.
const DEFAULTS: [(&str, &str); 5] = [
    ("sql/bronze/call_events.sql", include_str!("../../sql/bronze/call_events.sql")),
    ("sql/bronze/crm_customers.sql", include_str!("../../sql/bronze/crm_customers.sql")),
    ("sql/bronze/data_session_events.sql", include_str!("../../sql/bronze/data_session_events.sql")),
    ("sql/bronze/network_probe_events.sql", include_str!("../../sql/bronze/network_probe_events.sql")),
    ("sql/bronze/sms_events.sql", include_str!("../../sql/bronze/sms_events.sql")),
];

pub fn defaults() -> Result<Vec<Contract>> {
    DEFAULTS.iter().map(|(file, text)| parse(file, text)).collect()
}

/// The contracts of all `*.sql` files of a folder, ordered by name.
pub fn load(folder: &Path) -> Result<Vec<Contract>> {
    let unreadable = |error| Error::input(format!("cannot read the contracts in {}", folder.display())).because(error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            files.push(path);
        }
    }
    files.sort();
    let mut contracts = Vec::with_capacity(files.len());
    for path in files {
        let text = std::fs::read_to_string(&path)
            .map_err(|error| Error::input(format!("cannot read the contract {}", path.display())).because(error))?;
        let (contract, origin) = parse::parse_with_origin(&path.display().to_string(), &text)?;
        ensure_own_topics(&contract, origin, &contracts)?;
        contracts.push(contract);
    }
    Ok(contracts)
}

/// A topic lands in one table. (Two contracts of one table cannot be: each has its file's name.)
fn ensure_own_topics(contract: &Contract, origin: Place, earlier: &[Contract]) -> Result<()> {
    let Some(topics) = contract.topics() else { return Ok(()) };
    let clash = |other: &Contract| Some((topics.clash(other.topics()?)?, other.file.clone()));
    match earlier.iter().find_map(clash) {
        Some((what, file)) => Err(Error::input(format!("{what} is already taken by {file}"))
            .at(origin)
            .hint("a topic lands in one table: remove one of the two contracts, or change its topics")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
