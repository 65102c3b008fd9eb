//! What was made from what, as OpenLineage events: for the build and for each of its nodes a START and a COMPLETE or a
//! FAIL, to an HTTP address or a file, a line an event.
//!
//! Events leave on a task of their own, in their order, while the build goes on. One that cannot be told is a warning; so
//! is what is still waiting a while after the build has ended.

use std::path::PathBuf;
use std::time::Duration;

use arrow::datatypes::Schema;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::name_of;
use super::report::{NodeResult, Status};
use super::webhook::{client, post};
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::models::{Node, Project};

const PRODUCER: &str = concat!("https://github.com/medallion/", env!("CARGO_PKG_VERSION"));
const RUN_EVENT: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent";
const SCHEMA_FACET: &str = "https://openlineage.io/spec/facets/1-1-1/SchemaDatasetFacet.json";
const PARENT_FACET: &str = "https://openlineage.io/spec/facets/1-0-1/ParentRunFacet.json";
const SQL_FACET: &str = "https://openlineage.io/spec/facets/1-0-1/SQLJobFacet.json";
const ERROR_FACET: &str = "https://openlineage.io/spec/facets/1-0-1/ErrorMessageRunFacet.json";
/// How long the end of a build waits for events that were not told yet.
const PATIENCE: Duration = Duration::from_secs(15);

/// Where events go.
#[derive(Debug, Clone)]
pub enum Target {
    Http(Secret),
    File(PathBuf),
}

impl Target {
    pub fn of(text: &str) -> Target {
        match text.starts_with("http://") || text.starts_with("https://") {
            true => Target::Http(Secret::new(text)),
            false => Target::File(PathBuf::from(text.strip_prefix("file://").unwrap_or(text))),
        }
    }
}

/// Tells of one build.
pub struct Lineage {
    events: mpsc::UnboundedSender<Value>,
    sending: JoinHandle<()>,
    run: Uuid,
    job: String,
    /// Where the datasets are: the lake.
    namespace: String,
}

impl Lineage {
    pub fn begin(target: Target, run: Uuid, project: &Project, namespace: String, now: DateTime<Utc>) -> Lineage {
        let (events, waiting) = mpsc::unbounded_channel();
        let sending = tokio::spawn(send(target, waiting));
        let lineage = Lineage { events, sending, run, job: project.name.clone(), namespace };
        lineage.tell(lineage.of_build("START", now, Value::Null));
        lineage
    }

    /// A node has ended. Tests and what was skipped make nothing.
    pub fn node(&self, project: &Project, result: &NodeResult, schema: Option<&Schema>) {
        let Some(node) = project.nodes.get(&result.unique_id).filter(|n| !n.kind.is_test()) else { return };
        if result.status == Status::Skipped {
            return;
        }
        let (ended, run) = (Utc::now(), Uuid::new_v4());
        let began = ended - chrono::TimeDelta::from_std(result.elapsed).unwrap_or_default();
        let (kind, failure) = match result.status.is_failure() {
            true => ("FAIL", error_facet(&result.message)),
            false => ("COMPLETE", Value::Null),
        };
        let event = |kind: &str, time: DateTime<Utc>, failure: Value, schema: Option<&Schema>| {
            let mut facets = json!({"parent": {
                "_producer": PRODUCER, "_schemaURL": PARENT_FACET,
                "run": {"runId": self.run}, "job": {"namespace": self.namespace, "name": self.job},
            }});
            if !failure.is_null() {
                facets["errorMessage"] = failure;
            }
            let job_facets = match &result.compiled {
                Some(sql) => json!({"sql": {"_producer": PRODUCER, "_schemaURL": SQL_FACET, "query": sql}}),
                None => json!({}),
            };
            let outputs = [self.dataset(&result.relation, schema)];
            json!({
                "eventType": kind, "eventTime": time_text(time), "producer": PRODUCER, "schemaURL": RUN_EVENT,
                "run": {"runId": run, "facets": facets},
                "job": {"namespace": self.namespace, "name": format!("{}.{}", self.job, node.name), "facets": job_facets},
                "inputs": inputs(project, node).iter().map(|name| self.dataset(name, None)).collect::<Vec<_>>(),
                "outputs": outputs,
            })
        };
        self.tell(event("START", began, Value::Null, None));
        self.tell(event(kind, ended, failure, schema));
    }

    /// The build has ended, and everything is told that can be told in time.
    pub async fn end(self, failure: Option<String>) {
        let (kind, facet) = match &failure {
            Some(message) => ("FAIL", error_facet(message)),
            None => ("COMPLETE", Value::Null),
        };
        self.tell(self.of_build(kind, Utc::now(), facet));
        let Lineage { events, mut sending, .. } = self;
        drop(events);
        if tokio::time::timeout(PATIENCE, &mut sending).await.is_err() {
            sending.abort();
            tracing::warn!("not all OpenLineage events were told in time");
        }
    }

    fn of_build(&self, kind: &str, time: DateTime<Utc>, failure: Value) -> Value {
        let facets = if failure.is_null() { json!({}) } else { json!({"errorMessage": failure}) };
        json!({
            "eventType": kind, "eventTime": time_text(time), "producer": PRODUCER, "schemaURL": RUN_EVENT,
            "run": {"runId": self.run, "facets": facets},
            "job": {"namespace": self.namespace, "name": self.job},
            "inputs": [], "outputs": [],
        })
    }

    fn dataset(&self, name: &str, schema: Option<&Schema>) -> Value {
        let facets = match schema {
            None => json!({}),
            Some(schema) => {
                let fields = schema.fields().iter();
                let fields: Vec<Value> =
                    fields.map(|f| json!({"name": f.name(), "type": f.data_type().to_string()})).collect();
                json!({"schema": {"_producer": PRODUCER, "_schemaURL": SCHEMA_FACET, "fields": fields}})
            }
        };
        json!({"namespace": self.namespace, "name": name, "facets": facets})
    }

    fn tell(&self, event: Value) {
        // The receiver ends only with this.
        let _ = self.events.send(event);
    }
}

/// The tables and sources that a node reads.
fn inputs(project: &Project, node: &Node) -> Vec<String> {
    let name = |id: &String| match project.sources.get(id) {
        Some(source) => Some(format!("{}.{}", source.schema, source.identifier)),
        None => project.nodes.get(id).map(|n| name_of(n).to_string()),
    };
    node.depends_on.iter().filter_map(name).collect()
}

fn error_facet(message: &str) -> Value {
    json!({"_producer": PRODUCER, "_schemaURL": ERROR_FACET, "message": message, "programmingLanguage": "SQL"})
}

fn time_text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

async fn send(target: Target, mut events: mpsc::UnboundedReceiver<Value>) {
    let mut failed = 0_u64;
    let mut last = None;
    let client = client();
    while let Some(event) = events.recv().await {
        let told = match (&target, &client) {
            (Target::File(path), _) => append(path, &event).await,
            (Target::Http(url), Ok(client)) => post(client, url, &event).await,
            (Target::Http(_), Err(e)) => Err(Error::outside(e.to_string())),
        };
        if let Err(e) = told {
            failed += 1;
            last = Some(e);
        }
    }
    if let Some(e) = last {
        tracing::warn!(events = failed, error = %e, "build.openlineage was not told");
    }
}

async fn append(path: &PathBuf, event: &Value) -> Result<()> {
    let failed = |e| Error::outside(format!("cannot write {}", path.display())).because(e);
    let mut file = tokio::fs::OpenOptions::new().create(true).append(true).open(path).await.map_err(failed)?;
    file.write_all(format!("{event}\n").as_bytes()).await.map_err(failed)?;
    file.flush().await.map_err(failed)
}
