//! However long ingest runs, its memory, its log and its checkpoints stay as they are.
//!
//! The writer of ingest commits tiny batches of 200 partitions while its table is looked after, with retentions of
//! seconds in place of days. That runs in a process of its own, whose memory is nobody else's. By hand and for longer:
//!
//! ```text
//! MEDALLION_TEST_COMMITS=10000 cargo test --test main endurance -- --nocapture
//! ```

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use chrono::Utc;
use futures::TryStreamExt;
use medallion::care::verify;
use medallion::config::{CareConfig, LakeConfig};
use medallion::engine::Engine;
use medallion::ingest::{Flow, Flush, Metrics, Settled, Work};
use medallion::lake::commit::Outcome;
use medallion::lake::offsets::Marks;
use medallion::lake::{Lake, Table, TableName, schema};
use medallion::maintenance::keeper::{Keeper, Tended};
use object_store::ObjectStoreExt;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;

use crate::world::PATIENCE;
use crate::world::inside::{batch, runtime};

const TOPIC: &str = "t";
const PARTITIONS: i64 = 200;
/// Partitions that one commit has a record of.
const TOUCHED: i64 = 20;
/// Commits unless MEDALLION_TEST_COMMITS says otherwise, and how many samples are taken of them.
const COMMITS: u64 = 1200;
const SAMPLES: u64 = 20;
/// Commits come at most so often, which is forty times as often as of a daemon that flushes every second.
const PACE: Duration = Duration::from_millis(25);
const MOST_SINCE_CHECKPOINT: u64 = 200;
const MOST_OBJECTS: u64 = 500;
/// Set in the process that does the work.
const WORKER: &str = "MEDALLION_TEST_ENDURANCE_WORKER";

const HEADER: [&str; 12] = [
    "commits",
    "memory_kb",
    "commit_p50_us",
    "commit_p99_us",
    "checkpoint_ms",
    "log_objects",
    "log_bytes",
    "data_objects",
    "checkpoints",
    "compactions",
    "log_files_deleted",
    "data_files_deleted",
];

fn commits() -> u64 {
    std::env::var("MEDALLION_TEST_COMMITS").map_or(COMMITS, |n| n.parse().unwrap())
}

fn columns(names: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(names.iter().map(|(n, t)| Field::new(*n, t.clone(), true)).collect::<Vec<_>>()))
}

fn file_columns() -> SchemaRef {
    columns(&[
        ("_topic", DataType::Utf8),
        ("_partition", DataType::Int32),
        ("_offset", DataType::Int64),
        ("_error", DataType::Utf8),
        ("text", DataType::Utf8),
    ])
}

/// Makes the table, which forgets after seconds.
async fn create(table: &Table) {
    let mut fields: Vec<Field> = file_columns().fields().iter().map(|f| f.as_ref().clone()).collect();
    fields.push(Field::new("_ingest_date", DataType::Date32, true));
    let metadata = json!({
        "id": "endurance",
        "format": { "provider": "parquet", "options": {} },
        "schemaString": schema::delta_schema(&Schema::new(fields)).unwrap(),
        "partitionColumns": ["_ingest_date"],
        "configuration": {
            "delta.logRetentionDuration": "interval 4 seconds",
            "delta.deletedFileRetentionDuration": "interval 4 seconds",
        },
        "createdTime": 0,
    });
    let protocol = json!({ "minReaderVersion": 1, "minWriterVersion": 2 });
    let entry = format!("{}\n{}\n", json!({ "protocol": protocol }), json!({ "metaData": metadata }));
    table.store().put(&table.path_of("_delta_log/00000000000000000000.json"), entry.into()).await.unwrap();
}

/// Kafka's part: which records come, and how far each partition has come.
struct Source {
    next: Vec<i64>,
    turn: i64,
}

impl Source {
    /// The rows of one commit with their marks. The first is of all partitions.
    fn take(&mut self) -> (Vec<Value>, Flush) {
        let touched: Vec<i64> = match self.turn {
            0 => (0..PARTITIONS).collect(),
            turn => (0..TOUCHED).map(|i| (turn * TOUCHED + i) % PARTITIONS).collect(),
        };
        self.turn += 1;
        let mut marks = Vec::new();
        let row = |(partition, offset): (i64, i64)| json!({ "_topic": TOPIC, "_partition": partition, "_offset": offset, "text": format!("{partition}/{offset}") });
        let mut rows = Vec::new();
        for partition in touched {
            let next = &mut self.next[partition as usize];
            rows.push(row((partition, *next)));
            *next += 1;
            let mark = Marks { first: Some(0), next: Some(*next), ..Marks::default() };
            marks.extend(mark.to_log(TOPIC, partition as i32));
        }
        let count = rows.len() as u64;
        let flush = Flush {
            marks,
            read_at: Default::default(),
            next: Vec::new(),
            rows: count,
            rejected: Default::default(),
            bytes: count,
        };
        (rows, flush)
    }
}

fn commit(flow: &Flow, settled: &mut UnboundedReceiver<Settled>, source: &mut Source) -> Duration {
    let (rows, flush) = source.take();
    let work = Work::Rows { batch: batch(&file_columns(), &rows), day: Utc::now().date_naive() };
    let began = Instant::now();
    flow.work.blocking_send(work).ok().unwrap();
    flow.work.blocking_send(Work::Flush(flush)).ok().unwrap();
    let outcome = settled.blocking_recv().unwrap().outcome.unwrap();
    assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
    let took = began.elapsed();
    std::thread::sleep(PACE.saturating_sub(took));
    took
}

/// Days pass in seconds here, but maintenance takes the time that it takes: commits wait for it, rather than come in
/// greater numbers between two rounds than they ever would.
fn wait_for_maintenance(runtime: &Runtime, table: &Table, committed: &watch::Sender<u64>) {
    let began = Instant::now();
    loop {
        let last = runtime.block_on(table.checkpointed()).unwrap().map_or(0, |last| last.version);
        let behind = committed.borrow().saturating_sub(last);
        let (log, _, data) = objects(runtime, table);
        if behind <= MOST_SINCE_CHECKPOINT && log <= MOST_OBJECTS && data <= MOST_OBJECTS {
            return;
        }
        let state = format!("{behind} commits since the checkpoint, {log} objects in the log, {data} others");
        assert!(began.elapsed() < PATIENCE, "maintenance does not keep up: {state}");
        std::thread::sleep(10 * PACE);
    }
}

fn memory_kb() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4
}

/// Objects and bytes of the log, and other objects.
fn objects(runtime: &Runtime, table: &Table) -> (u64, u64, u64) {
    // A file may go while the folder is being read.
    let listed: Vec<_> = loop {
        if let Ok(listed) = runtime.block_on(table.store().list(Some(table.folder())).try_collect()) {
            break listed;
        }
    };
    let in_log = |o: &&object_store::ObjectMeta| o.location.as_ref().contains("/_delta_log/");
    let log: Vec<u64> = listed.iter().filter(in_log).map(|o| o.size).collect();
    (log.len() as u64, log.iter().sum(), (listed.len() - log.len()) as u64)
}

/// Commits and prints a line a sample.
fn work() {
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(std::io::stderr).init();
    let runtime = runtime();
    let dir = tempfile::tempdir().unwrap();
    let url = dir.path().display().to_string();
    let config = LakeConfig { url, endpoint: None, region: String::new(), allow_http: false, ca_file: None };
    let lake = Lake::open(&config).unwrap();
    let table = lake.table(&TableName::new("bronze", "t")).unwrap();
    runtime.block_on(create(&table));
    let _runtime = runtime.enter();

    let care = CareConfig {
        enabled: true,
        interval: Duration::from_millis(500),
        target_file: 128 << 10,
        min_age: Duration::from_millis(200),
        log_retention: Duration::from_secs(30 * 24 * 3600),
        vacuum_interval: Duration::from_secs(1),
        vacuum_retention: Duration::from_secs(4),
    };
    let metrics = Arc::new(Metrics::default());
    let committed = watch::Sender::new(0);
    let tended = [Tended { table: table.clone(), committed: committed.clone() }];
    let (_leave, leaving) = watch::channel(false);
    let keeper = Keeper::start(&lake, &tended, &care, leaving, metrics.maintenance.clone());
    let (settle, mut settled) = unbounded_channel();
    let flow =
        Flow::start(TOPIC, table.clone(), file_columns(), 0, PATIENCE, metrics.topic(TOPIC), committed.clone(), settle);

    let mut source = Source { next: vec![0; PARTITIONS as usize], turn: 0 };
    let every = commits() / SAMPLES;
    println!("\ncsv:{}", HEADER.join(","));
    for sample in 1..=SAMPLES {
        let mut times = Vec::new();
        for n in 0..every {
            times.push(commit(&flow, &mut settled, &mut source).as_micros());
            if n % 10 == 0 {
                wait_for_maintenance(&runtime, &table, &committed);
            }
        }
        times.sort();
        let (log_objects, log_bytes, data_objects) = objects(&runtime, &table);
        let done = |n: &AtomicU64| u128::from(n.load(Ordering::Relaxed));
        let care = &metrics.maintenance;
        let values: [u128; 12] = [
            (sample * every).into(),
            memory_kb().into(),
            times[times.len() / 2],
            times[times.len() * 99 / 100],
            done(&care.checkpoint_millis),
            log_objects.into(),
            log_bytes.into(),
            data_objects.into(),
            done(&care.checkpoints),
            done(&care.compactions),
            done(&care.log_files_deleted),
            done(&care.data_files_deleted),
        ];
        println!("csv:{}", values.map(|v| v.to_string()).join(","));
    }
    runtime.block_on(async {
        flow.stop().await;
        keeper.stop().await;
        assert_eq!(metrics.maintenance.failures.load(Ordering::Relaxed), 0, "maintenance failed");
        let engine = Engine::new(&lake, 256 << 20, 2, Utc::now(), None).unwrap();
        let report = verify::run(&engine).await.unwrap();
        assert_eq!(report.problems, Vec::<String>::new());
        let rows: i64 = report.partitions.iter().map(|p| p.rows).sum();
        assert_eq!((report.partitions.len() as i64, rows), (PARTITIONS, source.next.iter().sum()));
    });
}

/// The samples of a column, without the first, in which everything is filled for the first time.
fn column(samples: &[Vec<u64>], name: &str) -> Vec<u64> {
    let index = HEADER.iter().position(|h| *h == name).unwrap();
    samples.iter().skip(1).map(|s| s[index]).collect()
}

fn median(values: &[u64]) -> u64 {
    let mut values = values.to_vec();
    values.sort();
    values[values.len() / 2]
}

/// Without the zeros of what was not measured yet.
fn least(values: &[u64]) -> u64 {
    values.iter().copied().filter(|v| *v > 0).min().unwrap()
}

#[test]
fn thousands_of_commits_leave_memory_log_and_checkpoints_as_they_were() {
    if std::env::var_os(WORKER).is_some() {
        return work();
    }
    let test = std::thread::current().name().unwrap().to_owned();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture"])
        .env(WORKER, "1")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    let lines: Vec<&str> = out.lines().filter_map(|line| line.strip_prefix("csv:")).collect();
    println!("{}", lines.join("\n"));
    let number = |text: &str| -> u64 { text.parse().unwrap() };
    let samples: Vec<Vec<u64>> = lines[1..].iter().map(|line| line.split(',').map(number).collect()).collect();
    assert_eq!(samples.len() as u64, SAMPLES);

    // The second half against the first, with room for a machine that does something else meanwhile, which makes times
    // longer and never shorter.
    let halves = |name: &str, of: fn(&[u64]) -> u64| {
        let values = column(&samples, name);
        let (first, second) = values.split_at(values.len() / 2);
        (of(first), of(second))
    };
    for (name, of, times, more) in [
        ("memory_kb", median as fn(&[u64]) -> u64, 1.3, 16_000.0),
        ("commit_p50_us", least, 2.0, 5_000.0),
        ("commit_p99_us", least, 2.0, 100_000.0),
        ("checkpoint_ms", least, 2.0, 500.0),
        ("log_objects", median, 1.5, 200.0),
        ("log_bytes", median, 1.5, 1_000_000.0),
        ("data_objects", median, 1.5, 200.0),
    ] {
        let (first, second) = halves(name, of);
        assert!(second as f64 <= first as f64 * times + more, "{name} grew from {first} to {second}");
    }
    for name in ["checkpoints", "compactions", "log_files_deleted", "data_files_deleted"] {
        assert!(column(&samples, name).last().unwrap() > &0, "there were no {name}");
    }
}
