//! What the daemon counts, in Prometheus' text format.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use super::metrics::{Metrics, TopicMetrics};
use crate::contracts::Class;

/// One metric after another in Prometheus' text format.
struct Exposition(String);

impl Exposition {
    fn metric(&mut self, name: &str, kind: &str, help: &str, values: impl IntoIterator<Item = (String, f64)>) {
        let _ = write!(self.0, "# HELP medallion_ingest_{name} {help}\n# TYPE medallion_ingest_{name} {kind}\n");
        for (labels, value) in values {
            let _ = writeln!(self.0, "medallion_ingest_{name}{labels} {value}");
        }
    }
}

fn labels(pairs: &[(&str, &str)]) -> String {
    let escaped = |v: &str| v.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}=\"{}\"", escaped(v))).collect();
    format!("{{{}}}", pairs.join(","))
}

/// All metrics, as of `now_ms`. `memory` is what ingest may hold as a whole.
pub fn render(metrics: &Metrics, memory: u64, now_ms: i64) -> String {
    let topics = metrics.topics();
    let named = |topic: &str, of: &TopicMetrics| {
        let table = of.table.lock().unwrap_or_else(|e| e.into_inner());
        labels(&[("topic", topic), ("table", &table)])
    };
    let each = |value: &dyn Fn(&TopicMetrics) -> u64| -> Vec<(String, f64)> {
        topics.iter().map(|(name, topic)| (named(name, topic), value(topic) as f64)).collect()
    };
    let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
    let mut out = Exposition(String::new());
    out.metric("rows_total", "counter", "Records committed as rows.", each(&|t| load(&t.rows)));
    let mut rejected = Vec::new();
    for (name, topic) in &topics {
        let table = topic.table.lock().unwrap_or_else(|e| e.into_inner()).clone();
        let of = |class: Class| labels(&[("topic", name), ("table", &table), ("class", class.name())]);
        rejected.extend(topic.rejected_by_class().into_iter().map(|(class, n)| (of(class), n as f64)));
    }
    let help = "Records committed as rejected rows, by what is wrong with them.";
    out.metric("rejected_total", "counter", help, rejected);
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
    let kafka = memory / 4;
    let limits = [("kafka", kafka), ("records", memory - kafka)];
    let limits = limits.map(|(part, bytes)| (labels(&[("part", part)]), bytes as f64));
    out.metric(
        "memory_limit_bytes",
        "gauge",
        "ingest.memory: for Kafka's queues, and for records from there on.",
        limits,
    );
    let care = &metrics.maintenance;
    for (name, help, count) in [
        ("checkpoints_total", "Checkpoints written.", &care.checkpoints),
        ("compactions_total", "Compactions committed.", &care.compactions),
        ("compacted_files_total", "Small files that compaction put together.", &care.files_compacted),
        ("compacted_bytes_total", "Bytes of those files.", &care.bytes_compacted),
        ("compaction_conflicts_total", "Compactions that another writer came before.", &care.conflicts),
        ("log_files_deleted_total", "Entries and checkpoints that log clean-up deleted.", &care.log_files_deleted),
        ("vacuumed_files_total", "Data files that vacuum deleted.", &care.data_files_deleted),
        ("deletions_refused_total", "Times that the store refused to delete.", &care.refused),
        ("maintenance_failures_total", "Rounds of maintenance that failed.", &care.failures),
    ] {
        out.metric(name, "counter", help, [(String::new(), count.load(Ordering::Relaxed) as f64)]);
    }
    let waiting = [(String::new(), load(&care.files_waiting) as f64)];
    out.metric("compaction_waiting_files", "gauge", "Small files that wait to be put together.", waiting);
    let restarts = [(String::new(), load(&metrics.restarts) as f64)];
    out.metric("session_restarts_total", "counter", "Times that the daemon started over from the tables.", restarts);
    let start = [(String::new(), metrics.started_ms as f64 / 1000.0)];
    out.metric("start_time_seconds", "gauge", "When the daemon started, in Unix time.", start);
    let build = [(labels(&[("version", env!("CARGO_PKG_VERSION"))]), 1.0)];
    out.metric("build_info", "gauge", "Always 1; the version is in the label.", build);
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
            "medallion_ingest_rejected_total{topic=\"a\\\"b\",table=\"bronze.calls\",class=\"not_json\"} 4",
            "medallion_ingest_rejected_total{topic=\"a\\\"b\",table=\"bronze.calls\",class=\"wrong_type\"} 2",
            "medallion_ingest_last_commit_age_seconds{topic=\"a\\\"b\",table=\"bronze.calls\"} 2.5",
            "medallion_ingest_lag_records{topic=\"t\",partition=\"3\"} 12",
            "medallion_ingest_lag_seconds{topic=\"t\",partition=\"3\"} 1.5",
            "medallion_ingest_memory_limit_bytes{part=\"kafka\"} 256",
            "medallion_ingest_memory_limit_bytes{part=\"records\"} 768",
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
