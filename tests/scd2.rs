//! dim_customers and fact_calls against a naive model of history.
//!
//! The model below is written from the specification alone: it keeps all rows that ever landed and computes each
//! customer's history from the beginning, one row at a time. After every batch, whatever its order, the incremental
//! tables must say the same.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::world::inside::{Inside, NULL, cases, runtime, telecom};

/// A case is many histories at once: each customer's is drawn by itself.
const CASES: u32 = 6;
const CUSTOMERS: usize = 24;
const CALLS: u8 = 60;
const BATCHES: usize = 3;
const BEGINNING: &str = "1900-01-01T00:00:00Z";

/// What a row of the CRM says of a customer, as far as these histories vary it. The account is told by no column of the
/// dimension, so that its change makes a version that looks like the one before.
#[derive(Debug, Clone, PartialEq)]
struct Described {
    plan: Option<&'static str>,
    city: Option<&'static str>,
    nps: Option<i32>,
    account: Option<&'static str>,
}

#[derive(Debug, Clone)]
struct CrmRow {
    batch: usize,
    file: &'static str,
    customer: Option<String>,
    updated_at: Option<DateTime<Utc>>,
    /// None marks the customer as gone.
    described: Option<Described>,
    broken: bool,
}

#[derive(Debug, Clone)]
struct CallRow {
    batch: usize,
    id: u8,
    customer: Option<String>,
    start: DateTime<Utc>,
    /// Later wins, whatever the order of arrival.
    kafka_time: Option<i64>,
    partition: i32,
    negative: bool,
}

fn customer_id(n: usize) -> String {
    format!("CUST-{n:08}")
}

fn day(n: i64) -> DateTime<Utc> {
    "2024-02-20T06:30:00.000001Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::days(n)
}

fn described() -> impl Strategy<Value = Described> {
    let plans = [Some("Basic_30"), Some("Premium_80"), None];
    (
        select(plans.to_vec()),
        select(vec![Some("Reno"), None]),
        select(vec![Some(9), Some(3), None]),
        select(vec![Some("A"), Some("B"), None]),
    )
        .prop_map(|(plan, city, nps, account)| Described { plan, city, nps, account })
}

fn crm_row() -> impl Strategy<Value = CrmRow> {
    let customer = prop_oneof![
        60 => (0..CUSTOMERS).prop_map(|n| Some(customer_id(n))),
        1 => Just(Some("UNKNOWN".to_owned())),
        1 => Just(Some("  ".to_owned())),
        1 => Just(None),
    ];
    let time = prop_oneof![
        30 => (0i64..6).prop_map(|n| Some(day(n))),
        1 => Just(None),
        1 => Just(Some("1776-07-04T00:00:00Z".parse().unwrap())),
    ];
    let described = prop_oneof![5 => described().prop_map(Some), 1 => Just(None)];
    (0..BATCHES, select(vec!["a.csv", "b.csv"]), customer, time, described, prop::bool::weighted(0.03)).prop_map(
        |(batch, file, customer, updated_at, described, broken)| CrmRow {
            batch,
            file,
            customer,
            updated_at,
            described,
            broken,
        },
    )
}

fn call_row() -> impl Strategy<Value = CallRow> {
    let customer = prop_oneof![
        // The last ones are customers of whom the CRM never tells.
        40 => (0..CUSTOMERS + 3).prop_map(|n| Some(customer_id(n))),
        1 => Just(Some("UNKNOWN".to_owned())),
        1 => Just(Some("".to_owned())),
        1 => Just(None),
    ];
    // At the very microsecond at which versions may begin, one before it, and far from all of them.
    let start = prop_oneof![
        6 => (-1i64..7, 0i64..2).prop_map(|(n, before)| day(n) - TimeDelta::microseconds(before)),
        1 => Just("1900-01-01T00:00:00Z".parse().unwrap()),
        1 => Just("1899-12-31T23:59:59Z".parse().unwrap()),
        1 => Just("2199-12-31T23:59:59Z".parse().unwrap()),
    ];
    let kafka_time = prop_oneof![4 => (0i64..4).prop_map(Some), 1 => Just(None)];
    (0..BATCHES, 0..CALLS, customer, start, kafka_time, 0..2i32, prop::bool::weighted(0.05)).prop_map(
        |(batch, id, customer, start, kafka_time, partition, negative)| CallRow {
            batch,
            id,
            customer,
            start,
            kafka_time,
            partition,
            negative,
        },
    )
}

// The naive model.

#[derive(Debug, Clone, PartialEq)]
struct Version {
    updated_at: DateTime<Utc>,
    from: DateTime<Utc>,
    to: Option<DateTime<Utc>>,
    described: Described,
    deleted: bool,
}

fn usable(time: DateTime<Utc>) -> bool {
    let bounds = [BEGINNING, "2200-01-01T00:00:00Z"].map(|t| t.parse::<DateTime<Utc>>().unwrap());
    time >= bounds[0] && time < bounds[1]
}

/// Each customer's versions. `rows` stand in the order in which they arrived.
fn histories(rows: &[&CrmRow]) -> BTreeMap<String, Vec<Version>> {
    let mut told: BTreeMap<String, BTreeMap<DateTime<Utc>, Option<Described>>> = BTreeMap::new();
    for row in rows {
        let (Some(customer), Some(time)) = (&row.customer, row.updated_at) else { continue };
        if !row.broken && !customer.trim().is_empty() && customer != "UNKNOWN" && usable(time) {
            told.entry(customer.clone()).or_default().insert(time, row.described.clone());
        }
    }
    let mut all = BTreeMap::new();
    for (customer, told) in told {
        let mut versions: Vec<Version> = Vec::new();
        for (time, said) in told {
            let last = versions.last();
            let (described, deleted) = match (said, last) {
                (Some(described), _) => (described, false),
                (None, Some(last)) => (last.described.clone(), true),
                (None, None) => continue,
            };
            if last.is_some_and(|l| l.described == described && l.deleted == deleted) {
                continue;
            }
            let from = if versions.is_empty() { BEGINNING.parse().unwrap() } else { time };
            if let Some(last) = versions.last_mut() {
                last.to = Some(time);
            }
            versions.push(Version { updated_at: time, from, to: None, described, deleted });
        }
        if !versions.is_empty() {
            all.insert(customer, versions);
        }
    }
    all
}

/// The latest good arrival of each call.
fn calls<'a>(rows: &[(i64, &'a CallRow)]) -> BTreeMap<u8, &'a CallRow> {
    let mut good: Vec<_> = rows.iter().filter(|(_, r)| !r.negative && usable(r.start)).collect();
    good.sort_by_key(|(offset, row)| (row.kafka_time, row.partition, *offset));
    good.into_iter().map(|(_, row)| (row.id, *row)).collect()
}

fn caller(call: &CallRow) -> Option<&str> {
    call.customer.as_deref().filter(|c| !c.is_empty())
}

fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn or_null<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| NULL.to_owned(), |v| v.to_string())
}

/// The dimension as it ought to be, without its keys.
fn dimension(versions: &BTreeMap<String, Vec<Version>>, calls: &BTreeMap<u8, &CallRow>) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let member = |customer: &str, inferred: bool| -> Vec<String> {
        let mut row = vec![customer.to_owned(), NULL.into(), text(BEGINNING.parse().unwrap()), NULL.into()];
        row.extend(["true".into(), "false".into(), inferred.to_string()]);
        row.extend([NULL, "Unknown", NULL, NULL].map(str::to_owned));
        row
    };
    for (customer, versions) in versions {
        for v in versions {
            let tier = v.described.plan.map_or("Unknown", |p| p.split('_').next().unwrap());
            rows.push(vec![
                customer.clone(),
                text(v.updated_at),
                text(v.from),
                or_null(v.to.map(text)),
                v.to.is_none().to_string(),
                v.deleted.to_string(),
                "false".into(),
                or_null(v.described.plan),
                tier.to_owned(),
                or_null(v.described.city),
                or_null(v.described.nps),
            ]);
        }
    }
    let callers: BTreeSet<&str> = calls.values().filter_map(|c| caller(c)).filter(|c| *c != "UNKNOWN").collect();
    rows.extend(callers.iter().filter(|c| !versions.contains_key(**c)).map(|c| member(c, true)));
    rows.push(member("UNKNOWN", false));
    rows.sort();
    rows
}

/// Each call with the version that was valid when it began, by that version's customer and update.
fn facts(versions: &BTreeMap<String, Vec<Version>>, calls: &BTreeMap<u8, &CallRow>) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (id, call) in calls {
        let customer = caller(call);
        let valid = customer.and_then(|c| versions.get(c)).map(|history| {
            let valid: Vec<&Version> =
                history.iter().filter(|v| call.start >= v.from && v.to.is_none_or(|to| call.start < to)).collect();
            assert_eq!(valid.len(), 1, "the naive history itself has a gap or an overlap");
            valid[0].updated_at
        });
        let found = customer.unwrap_or("UNKNOWN");
        rows.push(vec![call_id(*id), or_null(customer), found.to_owned(), or_null(valid.map(text)), text(call.start)]);
    }
    rows.sort();
    rows
}

fn call_id(id: u8) -> String {
    format!("call-{id:02}")
}

// What lands.

fn crm_json(row: &CrmRow, number: usize) -> Value {
    let mut json = json!({
        "customer_id": &row.customer,
        "updated_at": row.updated_at.map(text),
        "_file": row.file, "_row": number + 1, "_load": row.batch + 1, "_deleted": row.described.is_none(),
        "_ingested_at": text(day(400)),
    });
    if let Some(d) = &row.described {
        json["plan_code"] = json!(d.plan);
        json["billing_address_city"] = json!(d.city);
        json["nps_score"] = json!(d.nps);
        json["account_number"] = json!(d.account);
        json["first_name"] = json!("Ada");
        json["phone_number"] = json!("+12065550100");
    }
    if row.broken {
        json["_error"] = json!("not a row");
    }
    json
}

fn call_json(row: &CallRow, offset: i64) -> Value {
    json!({
        "event_id": call_id(row.id), "event_type": "CALL",
        "caller_msisdn": "+12065550100", "called_msisdn": "+12065550101",
        "caller_customer_id": &row.customer, "tower_id": "SEA-001",
        "call_start_timestamp": text(row.start), "duration_seconds": if row.negative { -1 } else { 60 },
        "call_result_code": "0", "plan_type": "Basic", "roaming": false, "revenue_usd": 1.2,
        "_topic": "call_events", "_partition": row.partition, "_offset": offset,
        "_kafka_timestamp": row.kafka_time.map(|n| text(day(n))), "_ingested_at": text(day(400)),
    })
}

const DIMENSION: &str = "SELECT customer_id, updated_at, effective_from, effective_to, is_current, is_deleted, \
    is_inferred, plan_code, plan_tier, city, nps_score FROM gold.dim_customers";
const FACTS: &str = "SELECT f.call_id, f.customer_id, d.customer_id, d.updated_at, f.call_start_ts \
    FROM gold.fact_calls f LEFT JOIN gold.dim_customers d ON f.customer_key = d.customer_key";
const KEYS: &str = "SELECT customer_id, updated_at, customer_key FROM gold.dim_customers";

/// Timestamps as the model writes them, whatever precision the engine prints.
fn same_times(rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let same = |value: String| match value.parse::<DateTime<Utc>>() {
        Ok(time) => text(time),
        Err(_) => value,
    };
    let mut rows: Vec<Vec<String>> = rows.into_iter().map(|row| row.into_iter().map(same).collect()).collect();
    rows.sort();
    rows
}

#[test]
fn history_in_any_order_and_batching_equals_the_naive_history_and_each_call_finds_its_version() {
    let runtime = runtime();
    let project = telecom();
    let arrivals = (prop::collection::vec(crm_row(), 0..200), prop::collection::vec(call_row(), 0..100));
    let mut runner = TestRunner::new(cases(CASES));
    let outcome = runner.run(&arrivals, |(crm, calls_made)| {
        runtime.block_on(async {
            let inside = Inside::new();
            let mut keys: BTreeMap<(String, String), String> = BTreeMap::new();
            let mut landed: Vec<(usize, &CrmRow)> = Vec::new();
            let mut taken: Vec<(i64, &CallRow)> = Vec::new();
            for batch in 0..BATCHES {
                let rows: Vec<(usize, &CrmRow)> = crm.iter().filter(|r| r.batch == batch).enumerate().collect();
                if !rows.is_empty() {
                    let json: Vec<Value> = rows.iter().map(|(number, row)| crm_json(row, *number)).collect();
                    inside.land("crm_customers", &json).await;
                }
                landed.extend(rows);
                let first = taken.len() as i64;
                let rows: Vec<(i64, &CallRow)> =
                    (first..).zip(calls_made.iter().filter(|r| r.batch == batch)).collect();
                if !rows.is_empty() {
                    let json: Vec<Value> = rows.iter().map(|(offset, row)| call_json(row, *offset)).collect();
                    inside.land("call_events", &json).await;
                }
                taken.extend(rows);
                inside.build(&project, "+fact_calls", false).await;

                // Later arrival: a later load, in it a later file, in it a later row.
                let mut arrived = landed.clone();
                arrived.sort_by_key(|(number, row)| (row.batch, row.file, *number));
                let versions = histories(&arrived.iter().map(|(_, row)| *row).collect::<Vec<_>>());
                let calls = calls(&taken);
                prop_assert_eq!(
                    same_times(inside.rows(DIMENSION).await),
                    dimension(&versions, &calls),
                    "after batch {}",
                    batch
                );
                prop_assert_eq!(
                    same_times(inside.rows(FACTS).await),
                    facts(&versions, &calls),
                    "after batch {}",
                    batch
                );

                let now = inside.rows(KEYS).await;
                let distinct: BTreeSet<&String> = now.iter().map(|row| &row[2]).collect();
                prop_assert_eq!(distinct.len(), now.len(), "two versions share a key");
                for row in now {
                    let before = keys.insert((row[0].clone(), row[1].clone()), row[2].clone());
                    prop_assert!(before.is_none_or(|key| key == row[2]), "a version got another key: {:?}", row);
                }
            }
            Ok(())
        })
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}
