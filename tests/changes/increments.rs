//! Models that are recomputed from the changes of their inputs, against the same models built in full.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use medallion::lake::Table;
use medallion::lake::log::Add;
use medallion::models::Project;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::world::inside::{Inside, NULL, cases, change, project, removal, runtime, write};

const PROJECT: &[(&str, &str)] = &[
    (
        "dbt_project.yml",
        "name: tiny\nversion: '1.0'\nconfig-version: 2\nprofile: tiny\nmodels:\n  tiny:\n    +schema: silver\n    \
         +materialized: incremental\n    +incremental_strategy: changes\n",
    ),
    (
        "macros/schema.sql",
        "{%- macro generate_schema_name(custom_schema_name, node) -%}{{ custom_schema_name }}{%- endmacro -%}",
    ),
    (
        "models/sources.yml",
        "version: 2\nsources:\n  - name: bronze\n    schema: bronze\n    tables:\n      - name: events\n      - name: labels\n",
    ),
    (
        "models/latest.sql",
        "{{ config(unique_key='id', recompute_by='id', inputs={'bronze.events': {'id': 'id'}}) }}
         select id, grp, v, seq, now() as _processed_at
         from (
             select * from {{ source('bronze', 'events') }}
             qualify row_number() over (partition by id order by seq desc) = 1
         ) newest
         where not gone",
    ),
    (
        "models/totals.sql",
        "{{ config(unique_key='grp', recompute_by='grp', inputs={'latest': {'grp': 'grp'}}) }}
         select grp, count(*) as n, sum(v) as total, max(v) as most, now() as _processed_at
         from {{ ref('latest') }} group by grp",
    ),
    (
        // Rows without a key, some of them equal.
        "models/copies.sql",
        "{{ config(recompute_by='grp', inputs={'latest': {'grp': 'grp'}}) }}
         select grp, v, now() as _processed_at from {{ ref('latest') }}",
    ),
    (
        "models/names.sql",
        "{{ config(unique_key='grp', recompute_by='grp', inputs={'bronze.labels': {'grp': 'grp'}}) }}
         select grp, label, now() as _processed_at from {{ source('bronze', 'labels') }}
         qualify row_number() over (partition by grp order by seq desc) = 1",
    ),
    (
        // Two inputs: a name touches the events of its group, also those that had no name and are not published yet.
        "models/named.sql",
        "{{ config(unique_key='id', recompute_by='id', inputs={'latest': {'id': 'id'}, 'names': {'grp': 'grp'}}) }}
         select latest.id, latest.grp, latest.v, names.label, now() as _processed_at
         from {{ ref('latest') }} latest
         inner join {{ ref('names') }} names on latest.grp is not distinct from names.grp",
    ),
];

/// What is compared in each table, and the key by which its rows are told apart where there is one.
const TABLES: &[(&str, &str, bool)] = &[
    ("silver.latest", "id, grp, v, seq", true),
    ("silver.totals", "grp, n, total, most", true),
    ("silver.copies", "grp, v", false),
    ("silver.names", "grp, label", true),
    ("silver.named", "id, grp, v, label", true),
];

fn tiny() -> (TempDir, Arc<Project>) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in PROJECT {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let project = project(dir.path());
    (dir, project)
}

#[derive(Debug, Clone)]
struct Event {
    id: Option<u8>,
    grp: Option<&'static str>,
    v: Option<i64>,
    /// Of two arrivals of one id, the higher one holds, whichever came first.
    seq: i64,
    gone: bool,
}

#[derive(Debug, Clone, Default)]
struct Arrivals {
    events: Vec<Event>,
    /// Events that come again as they are.
    again: Vec<prop::sample::Index>,
    labels: Vec<(Option<&'static str>, Option<&'static str>)>,
    /// This id is taken out of Bronze.
    forget: Option<u8>,
    compact: bool,
}

fn group() -> impl Strategy<Value = Option<&'static str>> {
    select(vec![None, Some(""), Some("a"), Some("b"), Some("c")])
}

fn arrivals() -> impl Strategy<Value = Arrivals> {
    let event = (
        prop::option::weighted(0.85, 0u8..10),
        group(),
        prop::option::of(0i64..3),
        0i64..1000,
        prop::bool::weighted(0.2),
    )
        .prop_map(|(id, grp, v, seq, gone)| Event { id, grp, v, seq, gone });
    let label = (group(), select(vec![None, Some("x"), Some("y")]));
    (
        prop::collection::vec(event, 0..12),
        prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        prop::collection::vec(label, 0..2),
        prop::option::weighted(0.3, 0u8..10),
        prop::bool::weighted(0.3),
    )
        .prop_map(|(events, again, labels, forget, compact)| Arrivals { events, again, labels, forget, compact })
}

fn event_columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int32, true),
        Field::new("grp", DataType::Utf8, true),
        Field::new("v", DataType::Int64, true),
        Field::new("seq", DataType::Int64, true),
        Field::new("gone", DataType::Boolean, true),
    ]))
}

fn label_columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("grp", DataType::Utf8, true),
        Field::new("label", DataType::Utf8, true),
        Field::new("seq", DataType::Int64, true),
    ]))
}

/// Bronze, as it lies and as the test knows it.
#[derive(Default)]
struct Bronze {
    files: Vec<(Add, Vec<Event>)>,
    labels: i64,
    seen: i64,
}

impl Bronze {
    fn json(events: &[Event]) -> Vec<Value> {
        events.iter().map(|e| json!({ "id": e.id, "grp": e.grp, "v": e.v, "seq": e.seq, "gone": e.gone })).collect()
    }

    async fn land(&mut self, inside: &Inside, arrivals: &Arrivals) {
        let table = inside.table("bronze.events");
        let known: Vec<Event> = self.files.iter().flat_map(|(_, events)| events.clone()).collect();
        let mut events = arrivals.events.clone();
        for event in &mut events {
            // No two arrivals share a rank, or the newest would be a matter of chance.
            self.seen += 1;
            event.seq = event.seq * 1000 + self.seen;
        }
        if !known.is_empty() {
            events.extend(arrivals.again.iter().map(|i| i.get(&known).clone()));
        }
        self.rewrite(&table, &[], events, true).await;
        if let Some(id) = arrivals.forget {
            let held = |(_, events): &&(Add, Vec<Event>)| events.iter().any(|e| e.id == Some(id));
            let (files, events): (Vec<Add>, Vec<Vec<Event>>) = self.files.iter().filter(held).cloned().unzip();
            let stay = events.concat().into_iter().filter(|e| e.id != Some(id)).collect();
            self.rewrite(&table, &files, stay, true).await;
        }
        if arrivals.compact {
            let (files, events): (Vec<Add>, Vec<Vec<Event>>) = self.files.iter().cloned().unzip();
            self.rewrite(&table, &files, events.concat(), false).await;
        }
        let labels: Vec<Value> = (self.labels..)
            .zip(&arrivals.labels)
            .map(|(seq, (grp, label))| json!({ "grp": grp, "label": label, "seq": seq }))
            .collect();
        self.labels += labels.len() as i64;
        let table = inside.table("bronze.labels");
        let files = write(&table, &label_columns(), BTreeMap::new(), &labels).await;
        change(&table, (&label_columns(), &[]), &[], files, Vec::new()).await;
    }

    async fn rewrite(&mut self, table: &Table, gone: &[Add], events: Vec<Event>, data_change: bool) {
        let mut adds = write(table, &event_columns(), BTreeMap::new(), &Bronze::json(&events)).await;
        adds.iter_mut().for_each(|a| a.data_change = data_change);
        self.files.retain(|(add, _)| gone.iter().all(|g| g.path != add.path));
        self.files.extend(adds.iter().map(|a| (a.clone(), events.clone())));
        let removes = gone.iter().map(|g| removal(g, data_change)).collect();
        change(table, (&event_columns(), &[]), &[], adds, removes).await;
    }
}

/// The rows of a table with when they were written.
type Written = BTreeMap<Vec<String>, Vec<String>>;

async fn written(inside: &Inside) -> Vec<Written> {
    let mut tables = Vec::new();
    for (table, columns, _) in TABLES {
        let mut rows = Written::new();
        for mut row in inside.rows(&format!("SELECT {columns}, _processed_at FROM {table}")).await {
            let time = row.pop().unwrap();
            rows.entry(row).or_default().push(time);
        }
        tables.push(rows);
    }
    tables
}

#[test]
fn an_incremental_build_equals_a_full_one_and_leaves_rows_that_did_not_change_alone() {
    let runtime = runtime();
    let (_dir, project) = tiny();
    let outcome = TestRunner::new(cases(10)).run(&prop::collection::vec(arrivals(), 2..5), |batches| {
        runtime.block_on(async {
            let (inside, mut bronze) = (Inside::new(), Bronze::default());
            let mut before: Option<Vec<Written>> = None;
            for arrivals in &batches {
                bronze.land(&inside, arrivals).await;
                inside.build(&project, "*", false).await;
                let now = written(&inside).await;
                if let Some(before) = before {
                    for (((table, _, keyed), before), now) in TABLES.iter().zip(&before).zip(&now) {
                        for (row, times) in now.iter().filter(|_| *keyed) {
                            prop_assert_eq!(times.len(), 1, "{} has {:?} twice", table, row);
                            if let Some(earlier) = before.get(row) {
                                prop_assert_eq!(earlier, times, "{} rewrote {:?}", table, row);
                            }
                        }
                    }
                }
                // A second build of the same inputs, in full and elsewhere.
                let (full, mut again) = (Inside::new(), Bronze::default());
                let everything = bronze.files.iter().flat_map(|(_, events)| events.clone()).collect();
                again.rewrite(&full.table("bronze.events"), &[], everything, true).await;
                let labels = inside.rows("SELECT grp, label, seq FROM bronze.labels").await;
                let value = |text: &String| if text == NULL { Value::Null } else { json!(text) };
                let labels: Vec<Value> = labels
                    .iter()
                    .map(|l| json!({ "grp": value(&l[0]), "label": value(&l[1]), "seq": l[2].parse::<i64>().unwrap() }))
                    .collect();
                let table = full.table("bronze.labels");
                let files = write(&table, &label_columns(), BTreeMap::new(), &labels).await;
                change(&table, (&label_columns(), &[]), &[], files, Vec::new()).await;
                full.build(&project, "*", true).await;
                let count = |rows: Written| -> Vec<(Vec<String>, usize)> {
                    rows.into_iter().map(|(row, times)| (row, times.len())).collect()
                };
                for ((table, ..), (now, full)) in TABLES.iter().zip(now.iter().zip(written(&full).await)) {
                    prop_assert_eq!(count(now.clone()), count(full), "{} is not what a full build makes", table);
                }
                before = Some(now);
            }
            Ok(())
        })
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}
