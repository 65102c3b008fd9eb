//! Records that only a schema can read, turned into the JSON text that the contract's decoder takes: so a contract means
//! the same for all formats.
//!
//! No network here. A record tells which schema it [needs](Datums::needs), whoever drives the decoder fetches it, in its
//! own time, and the decoder [learns](Datums::learn) it.

mod avro;
mod framing;
mod protobuf;
mod source;
mod text;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost_reflect::MessageDescriptor;

pub use self::framing::Framing;
pub use self::source::{Encoding, Source};
pub use self::text::JsonText;
use super::rejection::{Class, Rejection};
use crate::registry::{self, Language, SchemaId};

/// Compiled schemas that are kept. A topic has a few.
const MOST: usize = 256;
/// How long a registry is believed that it does not know an id. It may be told later, or have a copy that lags behind.
const UNKNOWN_FOR: Duration = Duration::from_secs(30);

/// A schema that is ready to read with.
#[derive(Debug, Clone, PartialEq)]
pub enum Compiled {
    Avro(avro::Schema),
    /// A file with messages, one of which each record names.
    Protobuf(protobuf::Schema),
    /// The message that all records are.
    Message(MessageDescriptor),
}

/// Reads the records of one contract.
pub struct Datums {
    encoding: Encoding,
    source: Source,
    schemas: HashMap<SchemaId, Known>,
    /// The ids of `schemas` as they came.
    order: VecDeque<SchemaId>,
}

/// What was learned of an id.
enum Known {
    Schema(Arc<Compiled>),
    /// There is one, and nothing can be read with it: why.
    Unusable(String),
    /// The registry said so then.
    Unknown(Instant),
}

impl Datums {
    pub fn new(encoding: Encoding, source: Source) -> Self {
        Datums { encoding, source, schemas: HashMap::new(), order: VecDeque::new() }
    }

    /// The schema that has to be learned before this record can be read.
    pub fn needs(&self, record: &[u8]) -> Option<SchemaId> {
        let (Source::Registry(framing), Encoding::Avro | Encoding::Protobuf) = (&self.source, self.encoding) else {
            return None;
        };
        let (id, _) = framing.read(record).ok()?;
        match self.schemas.get(&id) {
            None => Some(id),
            Some(Known::Unknown(since)) => (since.elapsed() > UNKNOWN_FOR).then_some(id),
            Some(Known::Schema(_) | Known::Unusable(_)) => None,
        }
    }

    /// Takes what the registry has for an id, which may be nothing.
    pub fn learn(&mut self, id: SchemaId, schema: Option<&registry::Schema>) {
        let known = match schema.map(|schema| compile(self.encoding, schema)) {
            Some(Ok(compiled)) => Known::Schema(Arc::new(compiled)),
            Some(Err(problem)) => {
                tracing::warn!(%id, problem, "records of this schema are rejected");
                Known::Unusable(problem)
            }
            None => Known::Unknown(Instant::now()),
        };
        if self.schemas.insert(id, known).is_none() {
            self.order.push_back(id);
        }
        if self.schemas.len() > MOST {
            // An id that is not there is soon asked for again; so many of them push nothing useful out.
            let unknown = |id: &SchemaId| matches!(self.schemas.get(id), Some(Known::Unknown(_)));
            let goes = self.order.iter().position(unknown).unwrap_or(0);
            if let Some(gone) = self.order.remove(goes) {
                self.schemas.remove(&gone);
            }
        }
    }

    /// Writes a record as JSON.
    pub fn write(&self, record: &[u8], text: &mut JsonText) -> Result<(), Rejection> {
        text.clear();
        if record.is_empty() {
            return Err(Rejection::new(Class::Empty, "the record has no bytes"));
        }
        let framing = match &self.source {
            Source::Fixed(schema) => return write(schema, record, text),
            Source::Registry(framing) => framing,
        };
        let (id, datum) = framing.read(record)?;
        if self.encoding == Encoding::Json {
            let json = simdutf8::basic::from_utf8(datum);
            text.token(json.map_err(|_| Rejection::new(Class::NotUtf8, "the JSON behind the schema id is not UTF-8"))?);
            return Ok(());
        }
        match self.schemas.get(&id) {
            Some(Known::Schema(schema)) => write(schema, datum, text),
            Some(Known::Unusable(problem)) => Err(Rejection::new(Class::BadSchema, format!("{id}: {problem}"))),
            Some(Known::Unknown(_)) | None => {
                Err(Rejection::new(Class::UnknownSchema, format!("the schema registry has no {id}")))
            }
        }
    }
}

fn compile(encoding: Encoding, schema: &registry::Schema) -> Result<Compiled, String> {
    let wanted = match encoding {
        Encoding::Avro => Language::Avro,
        Encoding::Protobuf => Language::Protobuf,
        Encoding::Json => Language::Json,
    };
    if let Some(language) = schema.language.filter(|language| *language != wanted) {
        return Err(format!("the schema is in {language}, and the contract says that records are in {wanted}"));
    }
    match encoding {
        Encoding::Avro => avro::Schema::parse(schema).map(Compiled::Avro),
        Encoding::Protobuf => protobuf::Schema::compile(schema).map(Compiled::Protobuf),
        Encoding::Json => Err("JSON is read without its schema".to_owned()),
    }
}

fn write(schema: &Compiled, datum: &[u8], text: &mut JsonText) -> Result<(), Rejection> {
    match schema {
        Compiled::Avro(schema) => avro::write(schema, datum, text),
        Compiled::Protobuf(file) => {
            let (message, bytes) = file.indexed(datum)?;
            protobuf::write(&message, bytes, text)
        }
        Compiled::Message(message) => protobuf::write(message, datum, text),
    }
}

#[cfg(test)]
mod tests;
