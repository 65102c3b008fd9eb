//! Apicurio Registry's own REST API: version 2, which its servers of both generations have, or version 3 where the
//! address ends in `/apis/registry/v3`.

use serde::Deserialize;

use super::http::{Answer, Http};
use super::{Pointer, SchemaId, Unresolved};
use crate::error::{Error, Result};

const API: &str = "/apis/registry/";
const DEFAULT_GROUP: &str = "default";

/// The errors by which the registry itself says that a thing is not there. A wrong path is a plain `NotFoundException`.
const NOT_FOUND: [&str; 4] =
    ["ArtifactNotFoundException", "ContentNotFoundException", "GroupNotFoundException", "VersionNotFoundException"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReferenceTo {
    name: String,
    group_id: Option<String>,
    artifact_id: String,
    version: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    global_id: u64,
    content_id: u64,
}

#[derive(Deserialize)]
struct Refusal {
    name: String,
}

fn is_version_3(http: &Http) -> bool {
    http.is_below("/apis/registry/v3")
}

async fn get(http: &Http, path: &[&str]) -> Result<Option<Answer>> {
    let full: Vec<&str> = match http.is_below(API) {
        true => path.to_vec(),
        false => [&["apis", "registry", "v2"], path].concat(),
    };
    let answer = http.get(&full).await?;
    let refusal = serde_json::from_slice::<Refusal>(&answer.body).ok();
    match refusal {
        Some(refusal) if !answer.status.is_success() && NOT_FOUND.contains(&refusal.name.as_str()) => Ok(None),
        _ => answer.ok().map(Some),
    }
}

pub async fn check(http: &Http) -> Result<()> {
    get(http, &["system", "info"]).await.map(drop)
}

pub async fn schema(http: &Http, id: SchemaId) -> Result<Option<Unresolved>> {
    let (kind, number) = match id {
        SchemaId::ApicurioGlobal(number) => ("globalIds", number.to_string()),
        SchemaId::ApicurioContent(number) => ("contentIds", number.to_string()),
        SchemaId::Confluent(_) => return Err(Error::bug(format!("{id} is not an id of Apicurio's"))),
    };
    let path = ["ids", kind, &number];
    match get(http, &path).await? {
        Some(content) => unresolved(http, content, &path).await.map(Some),
        None => Ok(None),
    }
}

pub async fn referred(http: &Http, pointer: &Pointer) -> Result<Option<Unresolved>> {
    let group = pointer.group.as_deref().unwrap_or(DEFAULT_GROUP);
    let path = ["groups", group, "artifacts", &pointer.subject, "versions", &pointer.version];
    let content = match is_version_3(http) {
        true => get(http, &[&path[..], &["content"]].concat()).await?,
        false => get(http, &path).await?,
    };
    match content {
        Some(content) => unresolved(http, content, &path).await.map(Some),
        None => Ok(None),
    }
}

/// Both ids of the newest version: a topic's records may have either.
pub async fn newest(http: &Http, artifact: &str) -> Result<Vec<SchemaId>> {
    let path = ["groups", DEFAULT_GROUP, "artifacts", artifact];
    let rest: &[&str] = if is_version_3(http) { &["versions", "branch=latest"] } else { &["meta"] };
    let Some(answer) = get(http, &[&path[..], rest].concat()).await? else { return Ok(Vec::new()) };
    let Version { global_id, content_id } = answer.json()?;
    Ok(vec![SchemaId::ApicurioGlobal(global_id), SchemaId::ApicurioContent(content_id)])
}

/// A content with what it refers to, which Apicurio tells under a path of its own.
async fn unresolved(http: &Http, content: Answer, path: &[&str]) -> Result<Unresolved> {
    let answer = get(http, &[path, &["references"]].concat()).await?;
    let references: Vec<ReferenceTo> = match answer {
        Some(answer) => answer.json()?,
        None => Vec::new(),
    };
    let mut pointers = Vec::with_capacity(references.len());
    for reference in references {
        let Some(version) = reference.version else {
            return Err(Error::outside(format!("its reference `{}` names no version", reference.name)));
        };
        let (name, group, subject) = (reference.name, reference.group_id, reference.artifact_id);
        pointers.push(Pointer { name, group, subject, version });
    }
    // The registry tells the type of an artifact, but not of a content.
    Ok(Unresolved { language: None, text: content.text()?, references: pointers })
}
