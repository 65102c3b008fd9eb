//! The daemon's HTTP port: `/metrics` for Prometheus, `/health` while the process lives, `/ready` while Kafka and the
//! store answer.
//!
//! It only reads what the session counts, so that a scrape never waits for ingest, nor ingest for a scrape.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use chrono::Utc;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

use super::blocking;
use super::metrics::{Metrics, TopicMetrics};
use super::source::Broker;
use crate::error::{Error, Result};
use crate::lake::Table;

/// Whether Kafka and the store answer is asked at most this often, however often somebody else asks us.
const ASK_EVERY: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

pub struct Port {
    listener: TcpListener,
}

/// What the port tells of.
pub struct Watched {
    pub metrics: Arc<Metrics>,
    pub broker: Broker,
    /// A table to ask the store about.
    pub table: Table,
    pub memory: u64,
}

struct Shared {
    watched: Watched,
    /// What is wrong, as of when it was last asked.
    troubles: Mutex<Option<(Instant, Vec<String>)>>,
}

impl Port {
    pub async fn bind(address: &str) -> Result<Port> {
        let listener = TcpListener::bind(address).await.map_err(|e| {
            Error::outside(format!("cannot listen on ingest.metrics_address = {address}"))
                .because(e)
                .hint("is another daemon running here? Give each its own port, or port 0 for any that is free")
        })?;
        if let Ok(address) = listener.local_addr() {
            tracing::info!("metrics on http://{address}/metrics");
        }
        Ok(Port { listener })
    }

    /// Answers until it is dropped.
    pub async fn serve(self, watched: Watched) {
        let shared = Arc::new(Shared { watched, troubles: Mutex::new(None) });
        let routes = Router::new()
            .route("/health", get(|| async { "alive\n" }))
            .route("/ready", get(ready))
            .route("/metrics", get(exposition))
            .with_state(shared);
        if let Err(e) = axum::serve(self.listener, routes).await {
            tracing::warn!(error = %e, "the metrics port is closed");
        }
    }
}

async fn ready(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let troubles = shared.troubles().await;
    match troubles.is_empty() {
        true => (StatusCode::OK, "ready\n".to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, troubles.join("\n") + "\n"),
    }
}

async fn exposition(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let text = render(&shared.watched.metrics, shared.watched.memory, Utc::now().timestamp_millis());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

impl Shared {
    async fn troubles(&self) -> Vec<String> {
        let mut known = self.troubles.lock().await;
        if let Some((at, troubles)) = &*known
            && at.elapsed() < ASK_EVERY
        {
            return troubles.clone();
        }
        let broker = self.watched.broker.clone();
        let kafka = blocking(move || broker.ensure_answers(ANSWER_WITHIN));
        let store = tokio::time::timeout(ANSWER_WITHIN, self.watched.table.exists());
        let (kafka, store) = tokio::join!(kafka, store);
        let store = match store {
            Ok(answer) => answer.map(|_| ()).map_err(|e| e.to_string()),
            Err(_) => Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs())),
        };
        let mut troubles = Vec::new();
        troubles.extend(kafka.err().map(|e| format!("kafka: {e}")));
        troubles.extend(store.err().map(|e| format!("store: {e}")));
        *known = Some((Instant::now(), troubles.clone()));
        troubles
    }
}

/// One metric after another in Prometheus' text format.
struct Exposition(String);

impl Exposition {
    fn metric(&mut self, name: &str, kind: &str, help: &str, values: impl IntoIterator<Item = (String, f64)>) {
        self.family(&format!("medallion_ingest_{name}"), kind, help, values);
    }

    fn family(&mut self, name: &str, kind: &str, help: &str, values: impl IntoIterator<Item = (String, f64)>) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (labels, value) in values {
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }
}

fn labels(pairs: &[(&str, &str)]) -> String {
    let escaped = |v: &str| v.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}=\"{}\"", escaped(v))).collect();
    format!("{{{}}}", pairs.join(","))
}

fn render(metrics: &Metrics, memory: u64, now_ms: i64) -> String {
    let topics = metrics.topics();
    let named = |topic: &str, of: &TopicMetrics| {
        let table = of.table.lock().unwrap_or_else(|e| e.into_inner());
        labels(&[("topic", topic), ("table", &table)])
    };
    let each = |value: &dyn Fn(&TopicMetrics) -> u64| -> Vec<(String, f64)> {
        topics.iter().map(|(name, topic)| (named(name, topic), value(topic) as f64)).collect()
    };
    let load = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
    let mut out = Exposition(String::new());
    out.metric("rows_total", "counter", "Records committed as rows.", each(&|t| load(&t.rows)));
    out.metric("rejected_total", "counter", "Records committed as rejected rows.", each(&|t| load(&t.rejected)));
    let mut rejected = Vec::new();
    for (name, topic) in &topics {
        let classes = topic.rejected_by_class().into_iter();
        rejected.extend(classes.map(|(c, n)| (labels(&[("topic", name), ("class", c.name())]), n as f64)));
    }
    let help = "Records committed as rejected rows, by what was wrong with them.";
    out.family("medallion_rejected_records_total", "counter", help, rejected);
    out.metric("bytes_total", "counter", "Bytes of the values of committed records.", each(&|t| load(&t.bytes)));
    out.metric("commits_total", "counter", "Commits to the table.", each(&|t| load(&t.commits)));
    out.metric("files_total", "counter", "Data files committed.", each(&|t| load(&t.files)));
    out.metric("file_bytes_total", "counter", "Bytes of data files committed.", each(&|t| load(&t.file_bytes)));
    let conflicts = each(&|t| load(&t.tally.conflicts));
    out.metric("commit_conflicts_total", "counter", "Versions that another writer took first.", conflicts);
    let retries = each(&|t| load(&t.tally.retries));
    out.metric("commit_retries_total", "counter", "Tries of a commit after an error of the store.", retries);
    let fenced = each(&|t| load(&t.fenced));
    out.metric(
        "commits_fenced_total",
        "counter",
        "Commits that another daemon's progress kept from happening.",
        fenced,
    );
    let ages = topics.iter().filter_map(|(name, topic)| {
        let at = topic.last_commit_ms.load(Ordering::Relaxed);
        (at > 0).then(|| (named(name, topic), (now_ms - at).max(0) as f64 / 1000.0))
    });
    out.metric("last_commit_age_seconds", "gauge", "Time since the last commit.", ages);
    let lags = metrics.lags();
    let of = |p: &super::feed::Partition| labels(&[("topic", &p.topic), ("partition", &p.partition.to_string())]);
    let records = lags.iter().map(|(p, lag)| (of(p), lag.records as f64));
    out.metric("lag_records", "gauge", "Records in Kafka that are not committed yet.", records);
    let seconds = lags.iter().map(|(p, lag)| (of(p), lag.seconds));
    out.metric("lag_seconds", "gauge", "Age of the newest record taken, while others wait behind it.", seconds);
    let mut held = Vec::new();
    for (name, topic) in &topics {
        let parts =
            [("builders", &topic.held.builders), ("queued", &topic.held.queued), ("writer", &topic.held.writer)];
        for (part, bytes) in parts {
            held.push((labels(&[("topic", name), ("part", part)]), bytes.load(Ordering::Relaxed) as f64));
        }
    }
    out.metric("memory_bytes", "gauge", "Bytes that records hold on their way, by where they are.", held);
    let limit = [(String::new(), memory as f64)];
    out.metric("memory_limit_bytes", "gauge", "ingest.memory, of which Kafka's queues have a quarter.", limit);
    let care = &metrics.maintenance;
    for (name, help, count) in [
        ("checkpoints_total", "Checkpoints written.", &care.checkpoints),
        ("compactions_total", "Compactions committed.", &care.compactions),
        ("compacted_files_total", "Small files that compaction put together.", &care.files_compacted),
        ("compaction_conflicts_total", "Compactions that another writer came before.", &care.conflicts),
        ("log_files_deleted_total", "Entries and checkpoints that log clean-up deleted.", &care.log_files_deleted),
        ("vacuumed_files_total", "Data files that vacuum deleted.", &care.data_files_deleted),
        ("deletions_refused_total", "Times that the store refused to delete.", &care.refused),
        ("maintenance_failures_total", "Rounds of maintenance that failed.", &care.failures),
    ] {
        out.metric(name, "counter", help, [(String::new(), count.load(Ordering::Relaxed) as f64)]);
    }
    let resident = resident_bytes().map(|bytes| (String::new(), bytes as f64));
    out.metric("resident_bytes", "gauge", "Resident memory of the process.", resident);
    out.0
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::feed::Partition;
    use super::super::metrics::Lag;
    use super::*;
    use crate::contracts::Class;

    #[test]
    fn every_metric_has_its_type_and_labels_are_escaped() {
        let metrics = Metrics::default();
        let topic = metrics.topic("a\"b");
        "bronze.calls".clone_into(&mut topic.table.lock().unwrap());
        topic.rows.store(7, Ordering::Relaxed);
        for _ in 0..2 {
            topic.add_rejected(&BTreeMap::from([(Class::NotJson, 2), (Class::WrongType, 1)]));
        }
        topic.last_commit_ms.store(1_000, Ordering::Relaxed);
        let partition = Partition { topic: "t".into(), partition: 3 };
        metrics.set_lags(BTreeMap::from([(partition, Lag { records: 12, seconds: 1.5 })]));
        let text = render(&metrics, 1024, 3_500);
        for line in [
            "medallion_ingest_rows_total{topic=\"a\\\"b\",table=\"bronze.calls\"} 7",
            "medallion_ingest_rejected_total{topic=\"a\\\"b\",table=\"bronze.calls\"} 6",
            "medallion_rejected_records_total{topic=\"a\\\"b\",class=\"not_json\"} 4",
            "medallion_rejected_records_total{topic=\"a\\\"b\",class=\"wrong_type\"} 2",
            "medallion_ingest_last_commit_age_seconds{topic=\"a\\\"b\",table=\"bronze.calls\"} 2.5",
            "medallion_ingest_lag_records{topic=\"t\",partition=\"3\"} 12",
            "medallion_ingest_lag_seconds{topic=\"t\",partition=\"3\"} 1.5",
            "medallion_ingest_memory_limit_bytes 1024",
            "# TYPE medallion_ingest_lag_records gauge",
        ] {
            assert!(text.lines().any(|l| l == line), "`{line}` is not in:\n{text}");
        }
        let types = text.lines().filter(|l| l.starts_with("# TYPE")).count();
        assert_eq!(types, text.lines().filter(|l| l.starts_with("# HELP")).count());
        for value in text.lines().filter(|l| !l.starts_with('#')) {
            let name = value.split(['{', ' ']).next().unwrap();
            assert!(text.contains(&format!("# TYPE {name} ")), "{name}");
        }
    }
}
