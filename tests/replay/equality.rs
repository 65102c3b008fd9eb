//! After a replay, a row that was rejected is the one that an ingest under the present contract makes of its record.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use medallion::care::replay::{self, Options, Target};
use medallion::care::verify;
use medallion::config::Config;
use medallion::contracts::{self, Contract};
use medallion::ingest::{self, Metrics};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use tokio::sync::watch;

use crate::world::broker::Broker;
use crate::world::inside::{Inside, NULL, cases, runtime};

const ORIGIN: &str = "_topic, _partition, _offset, _kafka_timestamp, _key";

/// What a contract may say, so that a table can follow from any to any with more `columns` and fewer `required`.
#[derive(Debug, Clone, Copy)]
struct Says {
    columns: bool,
    required: bool,
    lossless: bool,
    layout: bool,
    path: bool,
    zone: bool,
}

impl Says {
    fn contract(self) -> Contract {
        let pick = |says: bool, yes: &'static str| if says { yes } else { "" };
        let text = format!(
            "CREATE TABLE t (id STRING {}, s STRUCT<{} a: INT>, n INT {}, price DECIMAL(6, 2), at TIMESTAMP {} {}) \
             WITH (topic = 't' {} {})",
            pick(self.required, "NOT NULL"),
            pick(self.columns, "b: STRING,"),
            pick(self.path, "PATH 'm'"),
            pick(self.layout, "FORMAT 'iso8601', 'dd/MM/yyyy HH:mm'"),
            pick(self.columns, ", city STRING, l ARRAY<INT>"),
            pick(self.lossless, ", coerce = 'lossless'"),
            pick(self.zone, ", timezone = 'Asia/Almaty'"),
        );
        contracts::parse("t.sql", &text).unwrap()
    }
}

fn says() -> impl Strategy<Value = (Says, Says)> {
    let flags = || (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (
        select(vec![(false, false), (false, true), (true, true)]),
        select(vec![(false, false), (true, false), (true, true)]),
        flags(),
        flags(),
    )
        .prop_map(|(columns, required, before, after)| {
            let says = |columns, required, (lossless, layout, path, zone)| Says {
                columns,
                required,
                lossless,
                layout,
                path,
                zone,
            };
            (says(columns.0, required.0, before), says(columns.1, required.1, after))
        })
}

/// A value of any field: some are right for one, some could be if a contract said so.
fn value() -> impl Strategy<Value = String> {
    select(vec![
        "null",
        "1",
        "\"2\"",
        "12.5",
        "\"12.50\"",
        "12.505",
        "3000000000",
        "true",
        "\"\"",
        "\"x\"",
        "[1,\"2\"]",
        "[3]",
        "\"2024-01-31T08:30:00\"",
        "\"2024-01-31T08:30:00Z\"",
        "\"31/01/2024 08:30\"",
        "{\"a\":1}",
        "{\"a\":\"2\",\"b\":\"y\"}",
        "{\"b\":3}",
        "{}",
    ])
    .prop_map(str::to_owned)
}

fn record() -> impl Strategy<Value = Vec<u8>> {
    let field = (select(vec!["id", "s", "n", "m", "price", "at", "city", "l", "other"]), value());
    let object = prop::collection::btree_map(field.0, field.1, 0..4).prop_map(|fields| {
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", fields.join(",")).into_bytes()
    });
    prop_oneof![
        12 => object,
        1 => prop::collection::vec(any::<u8>(), 0..12),
        1 => select(vec!["", " ", "{", "[]", "{} {}"]).prop_map(|text| text.as_bytes().to_vec()),
    ]
}

/// A lake into which one daemon ingests.
struct Ingesting {
    inside: Inside,
    config: Config,
}

impl Ingesting {
    fn new(broker: &Broker, group: &str) -> Ingesting {
        let settings = [
            ("MEDALLION_KAFKA__BROKERS", broker.address()),
            ("MEDALLION_KAFKA__GROUP", group.to_owned()),
            ("MEDALLION_CARE__ENABLED", "false".to_owned()),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value)).into();
        Ingesting { inside: Inside::new(), config: Config::resolve(None, &settings, Path::new("/")).unwrap() }
    }

    async fn catch_up(&self, contract: &Contract) {
        let options = ingest::Options { until_caught_up: true, ..ingest::Options::default() };
        let (stop, metrics) = (watch::channel(false).1, Arc::new(Metrics::default()));
        ingest::run(&self.inside.lake, &self.config, vec![contract.clone()], options, stop, metrics).await.unwrap();
    }

    /// The rows by their offsets: whether it is rejected, where it came from, and each column of a contract.
    async fn rows(&self, columns: &[String]) -> BTreeMap<i64, Vec<String>> {
        let has = self.inside.table("bronze.t").latest().await.unwrap().unwrap().schema;
        // What it has no column for is NULL.
        let column = |name: &String| match has.field_with_name(name) {
            Ok(_) => name.clone(),
            Err(_) => format!("NULL AS {name}"),
        };
        // Of a struct its fields, for it may have more by and by.
        let query: Vec<String> = columns.iter().map(column).collect();
        let query = format!("SELECT _error, _raw, {ORIGIN}, {} FROM bronze.t", query.join(", "));
        let rows = self.inside.rows(&query).await;
        rows.into_iter().map(|row| (row[4].parse().unwrap(), row)).collect()
    }
}

#[test]
fn a_replayed_row_is_the_one_that_an_ingest_under_the_present_contract_makes() {
    let moved = std::cell::Cell::new(0);
    let strategy = (says(), prop::collection::vec(record(), 30..120));
    let check = |((before, after), records): ((Says, Says), Vec<Vec<u8>>)| {
        runtime().block_on(async {
            let (before, after) = (before.contract(), after.contract());
            let broker = Broker::with_topics(&["t"]);
            let (replayed, fresh) = (Ingesting::new(&broker, "a"), Ingesting::new(&broker, "b"));
            broker.send("t", &records);
            // Most of their time goes into joining a group.
            tokio::join!(replayed.catch_up(&before), fresh.catch_up(&after));
            // Both are read with the columns of the present contract.
            let columns: Vec<String> =
                after.schema().fields().iter().map(|f| f.name().clone()).filter(|n| n != "s").collect();
            let fields = if after.columns.iter().any(|c| c.name == "city") { "s['a'], s['b']" } else { "s['a']" };
            let ingested = replayed.rows(&columns).await;
            let structs = "SELECT _offset, s['a'] FROM bronze.t WHERE _error IS NULL";
            let nested = replayed.inside.rows(structs).await;

            let target = Target { contract: &after, table: replayed.inside.table("bronze.t"), topics: Vec::new() };
            let report =
                replay::run(&replayed.inside.lake, &target, None, Options::default(), &watch::channel(false).1)
                    .await
                    .unwrap();
            let made = fresh.rows(&columns).await;
            let mut expected = ingested.clone();
            for (offset, row) in &mut expected {
                if row[0] != NULL && made[offset][0] == NULL {
                    *row = made[offset].clone();
                }
            }
            prop_assert_eq!(replayed.rows(&columns).await, expected);
            let became: Vec<&i64> =
                ingested.iter().filter(|(o, row)| row[0] != NULL && made[o][0] == NULL).map(|(o, _)| o).collect();
            prop_assert_eq!(report.decoded, became.len() as u64);
            prop_assert_eq!(report.rejected, ingested.values().filter(|row| row[0] != NULL).count() as u64);
            // Fields of structs, of those that became rows and of those that were.
            if !became.is_empty() {
                let offsets: Vec<String> = became.iter().map(|o| o.to_string()).collect();
                let query = format!("SELECT _offset, {fields} FROM bronze.t WHERE _offset IN ({})", offsets.join(","));
                prop_assert_eq!(replayed.inside.rows(&query).await, fresh.inside.rows(&query).await);
                let query = format!("{structs} AND _offset NOT IN ({})", offsets.join(","));
                prop_assert_eq!(replayed.inside.rows(&query).await, nested);
            }
            let verified = verify::run(&replayed.inside.engine()).await.unwrap();
            prop_assert_eq!(verified.problems, Vec::<String>::new());
            let again = replay::run(&replayed.inside.lake, &target, None, Options::default(), &watch::channel(false).1)
                .await
                .unwrap();
            prop_assert_eq!((again.decoded, again.version), (0, None));
            moved.set(moved.get() + became.len());
            Ok(())
        })
    };
    // Until enough rows have moved: by chance few may.
    for _ in 0..10 {
        if let Err(failure) = TestRunner::new(cases(6)).run(&strategy, check) {
            panic!("{failure}");
        }
        if moved.get() > 20 {
            return;
        }
    }
    panic!("only {} rows moved", moved.get());
}
