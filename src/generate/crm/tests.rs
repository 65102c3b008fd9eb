use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::*;
use crate::error::Kind;
use crate::generate::Events;
use crate::generate::subscribers::PLANS;

const LOADS: u32 = 5;

fn settings() -> Settings {
    Settings { dirty: 0.0, duplicates: 0.0, late: 0.05, ..Settings::default() }
}

fn loads() -> Vec<Vec<Customer>> {
    let crm = Crm::new(&settings()).unwrap();
    (1..=LOADS).map(|number| crm.batch(number, LOADS)).collect()
}

/// All versions of each customer, oldest first.
fn histories() -> BTreeMap<String, Vec<Customer>> {
    let mut histories: BTreeMap<String, Vec<Customer>> = BTreeMap::new();
    for row in Crm::new(&settings()).unwrap().batch(1, 1) {
        histories.entry(row.customer_id.clone()).or_default().push(row);
    }
    for history in histories.values_mut() {
        history.sort_by_key(|version| version.updated_at);
        history.dedup();
    }
    histories
}

struct Seen {
    customer_id: String,
    phone: String,
    plan: Option<String>,
    at: DateTime<Utc>,
}

/// Whom the events tell of, and when.
fn seen() -> Vec<Seen> {
    let parties = [
        ("caller_customer_id", "caller_msisdn", "call_start_timestamp"),
        ("customer_id", "subscriber_msisdn", "session_start_timestamp"),
        ("sender_customer_id", "sender_msisdn", "timestamp"),
    ];
    let events = Events::new(&settings(), 12_000).unwrap();
    let records = events.map(|event| serde_json::from_slice::<serde_json::Value>(&event.value).unwrap());
    records
        .filter_map(|record| {
            let (id, phone, at) = parties.into_iter().find(|(id, _, _)| record.get(id).is_some())?;
            Some(Seen {
                customer_id: record[id].as_str()?.to_owned(),
                phone: record[phone].as_str()?.to_owned(),
                plan: record.get("plan_type").and_then(|plan| plan.as_str()).map(str::to_owned),
                at: record[at].as_str()?.parse().ok()?,
            })
        })
        .collect()
}

#[test]
fn events_carry_the_phone_and_the_plan_that_the_crm_has_for_their_time() {
    let histories = histories();
    let (mut known, mut changed) = (0, HashSet::new());
    for seen in seen() {
        let Some(history) = histories.get(&seen.customer_id) else { continue };
        let version = history.iter().rfind(|version| version.updated_at <= seen.at).unwrap_or(&history[0]);
        known += 1;
        assert_eq!(seen.phone, version.phone_number);
        let Some(plan) = seen.plan else { continue };
        assert_eq!(Some(version.plan_code), PLANS.iter().find(|p| p.name == plan).map(|p| p.code));
        if plan != PLANS.iter().find(|p| p.code == history[0].plan_code).unwrap().name {
            changed.insert(seen.customer_id);
        }
        assert!(version.is_active, "{} has left", version.customer_id);
        assert!(seen.at.date_naive() >= version.contract_start_date);
    }
    assert!(known > 8_000 && changed.len() > 20, "{known} {}", changed.len());
}

#[test]
fn a_few_who_call_are_never_in_the_crm_and_a_few_come_there_later() {
    let histories = histories();
    let first_calls: HashMap<String, DateTime<Utc>> =
        seen().into_iter().rev().map(|seen| (seen.customer_id, seen.at)).collect();
    let never = first_calls.keys().filter(|id| !histories.contains_key(*id)).count();
    let crm = Crm::new(&settings()).unwrap();
    let in_load = |at: DateTime<Utc>| {
        let passed = (at.timestamp_millis() - crm.start_ms).max(0);
        passed * i64::from(LOADS) / crm.span_ms
    };
    let later = first_calls
        .iter()
        .filter(|(id, called)| histories.get(*id).is_some_and(|h| in_load(h[0].updated_at) > in_load(**called)))
        .count();
    let share = first_calls.len() / 100;
    assert!((share..6 * share).contains(&never), "{never} of {}", first_calls.len());
    assert!((share..6 * share).contains(&later), "{later} of {}", first_calls.len());
}

#[test]
fn the_loads_together_bring_every_version_and_no_other() {
    let key = |row: &Customer| format!("{row:?}");
    let all: BTreeSet<String> = loads().iter().flatten().map(key).collect();
    let once: BTreeSet<String> = Crm::new(&settings()).unwrap().batch(1, 1).iter().map(key).collect();
    assert_eq!(all, once);
}

#[test]
fn the_first_load_has_most_customers_and_every_later_one_new_and_changed_ones() {
    let loads = loads();
    let customers = histories().len();
    let mut known: BTreeMap<String, Customer> = BTreeMap::new();
    for (index, load) in loads.iter().enumerate() {
        let new = load.iter().filter(|row| !known.contains_key(&row.customer_id)).count();
        let differs = |row: &&Customer| known.get(&row.customer_id).is_some_and(|old| old.updated_at < row.updated_at);
        let changed = load.iter().filter(differs).count();
        if index == 0 {
            assert!(new * 10 > customers * 8);
        } else {
            assert!(new > 10 && changed > 50, "{new} {changed}");
        }
        known.extend(load.iter().map(|row| (row.customer_id.clone(), row.clone())));
    }
}

#[test]
fn later_loads_hold_what_makes_history_hard() {
    let mut newest: HashMap<String, Customer> = HashMap::new();
    let (mut several, mut older, mut again, mut touched) = (0, 0, 0, 0);
    for (index, load) in loads().into_iter().enumerate() {
        let mut met = HashSet::new();
        for row in load {
            several += usize::from(index > 0 && !met.insert(row.customer_id.clone()));
            match newest.get(&row.customer_id) {
                Some(known) if row.updated_at < known.updated_at => {
                    older += 1;
                    continue;
                }
                Some(known) if row == *known => again += 1,
                Some(known) => {
                    let same_but_for_time = Customer { updated_at: known.updated_at, ..row.clone() } == *known;
                    touched += usize::from(same_but_for_time);
                }
                None => {}
            }
            newest.insert(row.customer_id.clone(), row);
        }
    }
    assert!(several > 10 && older > 10 && again > 10 && touched > 10, "{several} {older} {again} {touched}");
}

#[test]
fn a_load_that_does_not_exist_is_empty() {
    let crm = Crm::new(&settings()).unwrap();
    for (number, of) in [(0, 0), (0, 3), (4, 3), (1, 0)] {
        assert!(crm.batch(number, of).is_empty());
    }
    assert!(!crm.batch(1, u32::MAX).is_empty());
}

#[test]
fn both_kinds_of_file_hold_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    let (table, lines) = (folder.path().join("crm.csv"), folder.path().join("crm.jsonl"));
    let rows = Crm::new(&settings()).unwrap().batch(2, LOADS);
    Crm::write_csv(&rows, &table).unwrap();
    Crm::write_json_lines(&rows, &lines).unwrap();
    let mut reader = csv::Reader::from_path(&table).unwrap();
    let columns = reader.headers().unwrap().clone();
    let text = std::fs::read_to_string(&lines).unwrap();
    assert_eq!(text.lines().count(), rows.len());
    for (line, record) in text.lines().zip(reader.records()) {
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        assert_eq!(object.keys().collect::<Vec<_>>(), columns.iter().collect::<Vec<_>>());
        for (value, cell) in object.values().zip(&record.unwrap()) {
            let shown = match value {
                serde_json::Value::Null => String::new(),
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            assert_eq!(shown, cell);
        }
    }
}

#[test]
fn a_csv_file_without_rows_still_has_its_header() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.csv");
    Crm::write_csv(&[], &path).unwrap();
    assert_eq!(csv::Reader::from_path(&path).unwrap().headers().unwrap().len(), 24);
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let path = Path::new("/no/such/folder/crm.csv");
    for error in [Crm::write_csv(&[], path), Crm::write_json_lines(&[], path)].map(|done| done.unwrap_err()) {
        assert!(error.kind() == Kind::Outside && error.to_string().contains("/no/such/folder/crm.csv"), "{error}");
    }
}
