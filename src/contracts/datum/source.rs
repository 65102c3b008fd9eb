//! Where a contract's records get their schema from: a registry, or one file beside the contract.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::{Compiled, Framing, avro, protobuf};
use crate::registry::{Reference, Schema};

/// How a datum is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// JSON with an id of a schema before it, which the contract does not need.
    Json,
    Avro,
    Protobuf,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// Each record names its schema.
    Registry(Framing),
    /// All records are of this one, with nothing before their first byte.
    Fixed(Arc<Compiled>),
}

impl Source {
    /// The schema of a file. Of a Protobuf file `message` is the full name of the message that the records are, which is
    /// not needed if it has a single one; what it imports is beside it.
    pub fn from_file(encoding: Encoding, file: &Path, message: Option<&str>) -> Result<Source, String> {
        let text = read(file)?;
        let compiled = match encoding {
            Encoding::Avro => {
                let schema = Schema { language: None, text, references: Vec::new() };
                Compiled::Avro(avro::Schema::parse(&schema)?)
            }
            Encoding::Protobuf => {
                let references = imports(file, &text)?;
                let schema = Schema { language: None, text, references };
                Compiled::Message(protobuf::Schema::compile(&schema)?.message(message)?)
            }
            Encoding::Json => return Err("JSON needs no schema".to_owned()),
        };
        Ok(Source::Fixed(Arc::new(compiled)))
    }
}

fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|e| format!("cannot read {}: {e}", file.display()))
}

/// All that a Protobuf file imports, directly or not, from its own folder.
fn imports(file: &Path, text: &str) -> Result<Vec<Reference>, String> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut found: Vec<Reference> = Vec::new();
    let mut seen = HashSet::new();
    let mut open = protobuf::Schema::imports(&file.display().to_string(), text)?;
    while let Some(name) = open.pop() {
        if seen.insert(name.clone()) {
            let text = read(&folder.join(&name))?;
            open.extend(protobuf::Schema::imports(&name, &text)?);
            found.push(Reference { name, text });
        }
    }
    Ok(found)
}
