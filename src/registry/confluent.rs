//! Confluent's REST API, which Redpanda, Karapace and Apicurio (under `/apis/ccompat/v7`) speak too.

use serde::Deserialize;

use super::http::{Answer, Http};
use super::{Language, Pointer, SchemaId, Unresolved};
use crate::error::{Error, Result};

/// The codes by which the registry itself says that a thing is not there. A bare 404 is the web server's word for a
/// wrong path.
const SUBJECT_NOT_FOUND: i64 = 40_401;
const VERSION_NOT_FOUND: i64 = 40_402;
const SCHEMA_NOT_FOUND: i64 = 40_403;

#[derive(Deserialize)]
struct Registered {
    schema: String,
    /// Absent for Avro, which was there first.
    #[serde(rename = "schemaType")]
    schema_type: Option<String>,
    #[serde(default)]
    references: Option<Vec<ReferenceTo>>,
}

#[derive(Deserialize)]
struct ReferenceTo {
    name: String,
    subject: String,
    version: i64,
}

#[derive(Deserialize)]
struct Version {
    id: u32,
}

#[derive(Deserialize)]
struct Refusal {
    error_code: i64,
}

pub async fn check(http: &Http) -> Result<()> {
    http.get(&["schemas", "types"]).await?.ok()?.json::<Vec<String>>().map(drop)
}

pub async fn schema(http: &Http, id: SchemaId) -> Result<Option<Unresolved>> {
    let SchemaId::Confluent(id) = id else {
        return Err(Error::bug(format!("{id} is not an id of Confluent's")));
    };
    read(http.get(&["schemas", "ids", &id.to_string()]).await?)
}

pub async fn referred(http: &Http, pointer: &Pointer) -> Result<Option<Unresolved>> {
    read(http.get(&["subjects", &pointer.subject, "versions", &pointer.version]).await?)
}

pub async fn newest(http: &Http, subject: &str) -> Result<Vec<SchemaId>> {
    let answer = http.get(&["subjects", subject, "versions", "latest"]).await?;
    match found(answer)? {
        Some(answer) => answer.json::<Version>().map(|version| vec![SchemaId::Confluent(version.id)]),
        None => Ok(Vec::new()),
    }
}

fn found(answer: Answer) -> Result<Option<Answer>> {
    let code = serde_json::from_slice::<Refusal>(&answer.body).ok().map(|refusal| refusal.error_code);
    match code {
        Some(SUBJECT_NOT_FOUND | VERSION_NOT_FOUND | SCHEMA_NOT_FOUND) if !answer.status.is_success() => Ok(None),
        _ => answer.ok().map(Some),
    }
}

fn read(answer: Answer) -> Result<Option<Unresolved>> {
    let Some(answer) = found(answer)? else { return Ok(None) };
    let registered: Registered = answer.json()?;
    let language = match registered.schema_type.as_deref() {
        None | Some("AVRO") => Language::Avro,
        Some("PROTOBUF") => Language::Protobuf,
        Some("JSON") => Language::Json,
        Some(other) => return Err(Error::outside(format!("its schema is of the unknown type `{other}`"))),
    };
    let pointer =
        |r: ReferenceTo| Pointer { name: r.name, group: None, subject: r.subject, version: r.version.to_string() };
    let references = registered.references.unwrap_or_default().into_iter().map(pointer).collect();
    Ok(Some(Unresolved { language: Some(language), text: registered.schema, references }))
}
