//! What a registry keeps, and the ids by which records name it. Nothing here asks a registry.

use std::fmt;

/// How a record names its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SchemaId {
    /// In Confluent's API, and whatever speaks it.
    Confluent(u32),
    /// In Apicurio's: a version of an artifact.
    ApicurioGlobal(u64),
    /// In Apicurio's: a content, which several versions may have.
    ApicurioContent(u64),
}

/// The two kinds of REST interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    Confluent,
    Apicurio,
}

impl SchemaId {
    pub fn api(self) -> Api {
        match self {
            SchemaId::Confluent(_) => Api::Confluent,
            SchemaId::ApicurioGlobal(_) | SchemaId::ApicurioContent(_) => Api::Apicurio,
        }
    }
}

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SchemaId::Confluent(id) => write!(f, "schema id {id}"),
            SchemaId::ApicurioGlobal(id) => write!(f, "global id {id}"),
            SchemaId::ApicurioContent(id) => write!(f, "content id {id}"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Avro,
    Protobuf,
    Json,
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Language::Avro => "Avro",
            Language::Protobuf => "Protobuf",
            Language::Json => "JSON",
        })
    }
}

/// A schema as it is written, with the schemas that it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// None where the registry does not tell.
    pub language: Option<Language>,
    pub text: String,
    /// All that it refers to, directly or not; what a schema refers to stands before it.
    pub references: Vec<Reference>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The name by which others refer to it: a type in Avro, an import in Protobuf.
    pub name: String,
    pub text: String,
}

impl Schema {
    /// Bytes of all its texts.
    pub(crate) fn size(&self) -> usize {
        self.text.len() + self.references.iter().map(|r| r.name.len() + r.text.len()).sum::<usize>()
    }
}
