use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value};

use super::*;
use crate::error::Kind;

fn clean() -> Settings {
    Settings { dirty: 0.0, duplicates: 0.0, late: 0.0, ..Settings::default() }
}

fn events(settings: &Settings, total: u64) -> Vec<Event> {
    Events::new(settings, total).unwrap().collect()
}

fn object(event: &Event) -> Map<String, Value> {
    serde_json::from_slice(&event.value).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&event.value)))
}

fn ms(value: &Value) -> i64 {
    DateTime::parse_from_rfc3339(value.as_str().unwrap()).unwrap().timestamp_millis()
}

/// When the event of a record was over.
fn happened(topic: &str, record: &Map<String, Value>) -> i64 {
    match topic {
        "call_events" => ms(&record["call_start_timestamp"]) + record["duration_seconds"].as_i64().unwrap() * 1_000,
        "data_session_events" => {
            ms(&record["session_start_timestamp"]) + record["session_duration_seconds"].as_i64().unwrap() * 1_000
        }
        "sms_events" => ms(&record["timestamp"]),
        _ => ms(&record["measurement_timestamp"]),
    }
}

#[test]
fn the_same_settings_give_the_same_events_and_another_seed_gives_others() {
    let settings = Settings { dirty: 0.1, duplicates: 0.1, late: 0.1, ..Settings::default() };
    assert_eq!(events(&settings, 2_000), events(&settings, 2_000));
    let other = Settings { seed: 43, ..settings.clone() };
    let ids = |settings| events(settings, 500).iter().map(|event| event.value.clone()).collect::<BTreeSet<_>>();
    assert!(ids(&settings).intersection(&ids(&other)).all(|value| value.is_empty()));
}

#[test]
fn a_stream_has_exactly_as_many_events_as_asked_for() {
    let settings = Settings { dirty: 0.3, duplicates: 0.3, late: 0.3, ..Settings::default() };
    for total in [0, 1, 2, 9, 10, 11, 1_234] {
        assert_eq!(events(&settings, total).len() as u64, total);
        for topic in Topic::ALL {
            let only: Vec<Event> = Events::only(&settings, topic.name(), total).unwrap().collect();
            assert_eq!(only.len() as u64, total);
            assert!(only.iter().all(|event| event.topic == topic.name()));
        }
    }
}

#[test]
fn a_tenth_is_probes_and_the_rest_is_30_to_60_to_10() {
    let mut counts = BTreeMap::new();
    for event in events(&clean(), 50_000) {
        *counts.entry(event.topic).or_insert(0_i32) += 1;
    }
    assert_eq!(counts["network_probe_events"], 5_000);
    for (topic, expected) in [("call_events", 13_500), ("data_session_events", 27_000), ("sms_events", 4_500)] {
        assert!((counts[topic] - expected).abs() < 500, "{counts:?}");
    }
}

/// What a field may hold: the kinds that the description of the streams names.
fn is_valid(kind: &str, value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match kind {
        "uuid" => uuid::Uuid::parse_str(text).is_ok_and(|id| id.get_version_num() == 4),
        "msisdn" => {
            let number = text.strip_prefix("+1").unwrap_or_default();
            let first = |at: usize| number.as_bytes().get(at).is_some_and(|digit| (b'2'..=b'9').contains(digit));
            number.len() == 10 && digits(number) && first(0) && first(3) && &number[4..6] != "11"
        }
        "customer" => text.strip_prefix("CUST-").is_some_and(|id| id.len() == 8 && digits(id)),
        "time" => {
            let zoned = text.strip_suffix('Z').or_else(|| text.strip_suffix("+00:00"));
            zoned.is_some_and(|local| local.len() == 23) && DateTime::parse_from_rfc3339(text).is_ok()
        }
        "time?" => value.is_null() || is_valid("time", value),
        "int" => value.is_i64(),
        "count" => value.is_u64(),
        "float" => value.is_f64(),
        "percent" => value.as_f64().is_some_and(|share| value.is_f64() && (0.0..=100.0).contains(&share)),
        "bool" => value.is_boolean(),
        "text" => !text.is_empty(),
        "tower" => towers().iter().any(|tower| tower.tower_id == text),
        "plan" => is_valid("Basic|Standard|Premium|Unlimited|Business", value),
        set => set.split('|').any(|choice| choice == text),
    }
}

const FIELDS: [(&str, &str); 4] = [
    (
        "call_events",
        "event_id uuid, event_type CALL, caller_msisdn msisdn, called_msisdn msisdn, caller_customer_id customer, \
         tower_id tower, tower_city text, tower_state text, tower_lat float, tower_lon float, \
         call_start_timestamp time, call_end_timestamp time?, duration_seconds count, \
         call_result_code 0|17|21|31|38|41, call_result_desc \
         SUCCESS|BUSY|CALL_REJECTED|NETWORK_FAILURE|NETWORK_OUT_OF_ORDER|TEMPORARY_FAILURE, \
         plan_type plan, roaming bool, revenue_usd float, ingested_at time",
    ),
    (
        "data_session_events",
        "event_id uuid, event_type DATA_SESSION, subscriber_msisdn msisdn, customer_id customer, tower_id tower, \
         tower_city text, tower_state text, session_start_timestamp time, session_duration_seconds count, \
         bytes_downloaded count, bytes_uploaded count, total_bytes count, \
         content_type streaming_video|social_media|web_browsing|voip|gaming|file_download, \
         radio_technology 4G_LTE|5G_NR|5G_MMWAVE, signal_strength_dbm int, packet_loss_pct percent, \
         latency_ms float, plan_type plan, roaming bool, revenue_usd float, ingested_at time",
    ),
    (
        "sms_events",
        "event_id uuid, event_type SMS, sender_msisdn msisdn, receiver_msisdn msisdn, sender_customer_id customer, \
         tower_id tower, sms_type P2P|A2P, delivery_status DELIVERED|FAILED|PENDING, message_size_bytes count, \
         timestamp time, ingested_at time",
    ),
    (
        "network_probe_events",
        "probe_id uuid, tower_id tower, region text, measurement_timestamp time, load_pct percent, \
         active_connections count, capacity_erlangs count, avg_signal_strength_dbm float, avg_sinr_db float, \
         call_setup_success_rate_pct percent, call_drop_rate_pct percent, handoff_success_rate_pct percent, \
         avg_throughput_mbps float, packet_loss_pct percent, avg_latency_ms float, power_output_watts float, \
         temperature_celsius float, software_version text, alert_threshold_breached bool, ingested_at time",
    ),
];

#[test]
fn every_clean_event_has_every_field_with_its_type_and_value_set() {
    let fields: HashMap<&str, Vec<(&str, &str)>> = FIELDS
        .into_iter()
        .map(|(topic, list)| (topic, list.split(", ").map(|field| field.split_once(' ').unwrap()).collect()))
        .collect();
    for event in events(&Settings { late: 0.2, duplicates: 0.2, ..clean() }, 10_000) {
        let record = object(&event);
        let fields = &fields[event.topic];
        assert_eq!(record.keys().collect::<Vec<_>>(), fields.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        for (name, kind) in fields {
            assert!(is_valid(kind, &record[*name]), "{name} is no {kind}: {}", record[*name]);
        }
        let key = ["caller_msisdn", "subscriber_msisdn", "sender_msisdn"].into_iter().find_map(|name| record.get(name));
        assert_eq!(event.key, key.unwrap_or(&record["tower_id"]).as_str().unwrap());
    }
}

#[test]
fn calls_cost_two_cents_a_second_and_failed_ones_nothing() {
    let (mut lengths, mut failed, mut unended, mut roaming) = (Vec::new(), 0, 0, 0);
    for event in Events::only(&clean(), "call_events", 20_000).unwrap() {
        let record = object(&event);
        let seconds = record["duration_seconds"].as_i64().unwrap();
        let revenue = record["revenue_usd"].as_f64().unwrap();
        let end = &record["call_end_timestamp"];
        assert!((revenue - 0.02 * seconds as f64).abs() < 0.00005 && revenue <= 100.0);
        roaming += usize::from(record["roaming"].as_bool().unwrap());
        if record["call_result_code"] == "0" {
            assert!(seconds > 0);
            lengths.push(seconds);
        } else {
            assert_eq!(seconds, 0);
            failed += 1;
            unended += usize::from(end.is_null());
        }
        assert!(end.is_null() || ms(end) - ms(&record["call_start_timestamp"]) == seconds * 1_000);
        assert!(!end.is_null() || record["call_result_code"] != "0");
    }
    lengths.sort();
    assert!((60..=300).contains(&lengths[lengths.len() / 2]));
    assert!((2_700..3_300).contains(&failed) && unended > 0 && unended < failed);
    assert!((1_400..1_800).contains(&roaming));
}

#[test]
fn data_sessions_cost_a_tenth_of_a_cent_a_megabyte() {
    for event in Events::only(&clean(), "data_session_events", 5_000).unwrap() {
        let record = object(&event);
        let bytes = |name: &str| record[name].as_i64().unwrap();
        assert_eq!(bytes("bytes_downloaded") + bytes("bytes_uploaded"), bytes("total_bytes"));
        let price = bytes("total_bytes") as f64 / 1e6 * 0.001;
        assert!((record["revenue_usd"].as_f64().unwrap() - price).abs() < 0.000_000_6);
    }
}

#[test]
fn probes_read_every_tower_evenly_and_worsen_with_load() {
    let mut readings: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let (mut calm, mut strained) = (Vec::new(), Vec::new());
    for event in Events::only(&clean(), "network_probe_events", 15_000).unwrap() {
        let record = object(&event);
        readings.entry(event.key).or_default().push(ms(&record["measurement_timestamp"]));
        let load = record["load_pct"].as_f64().unwrap();
        assert_eq!(record["alert_threshold_breached"], load > 85.0);
        let drops = record["call_drop_rate_pct"].as_f64().unwrap();
        if load > 85.0 { strained.push(drops) } else { calm.push(drops) }
    }
    assert_eq!(readings.len(), 15);
    let apart = clean().span.num_milliseconds() / 1_000;
    for times in readings.values() {
        assert_eq!(times.len(), 1_000);
        // A reading falls anywhere in its fifteenth of a round.
        assert!(times.windows(2).all(|pair| (pair[1] - pair[0] - apart).abs() <= apart / 15 + 1));
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    assert!(strained.len() > 50 && mean(&strained) > 2.0 * mean(&calm));
}

#[test]
fn arrivals_are_in_order_and_so_are_the_events_that_are_on_time() {
    let settings = Settings { late: 0.1, ..clean() };
    let end = (settings.start + settings.span).timestamp_millis();
    let (mut arrived, mut over, mut hours_late) = (0, 0, 0);
    let all = events(&settings, 20_000);
    for event in &all {
        let record = object(event);
        let happened = happened(event.topic, &record);
        let ingested = ms(&record["ingested_at"]);
        assert!(arrived <= event.timestamp_ms && event.timestamp_ms < end);
        assert!((300..=1_500).contains(&(ingested - happened)) && ingested <= event.timestamp_ms);
        arrived = event.timestamp_ms;
        if event.late {
            hours_late += usize::from(event.timestamp_ms - happened >= 3_600_000);
        } else {
            assert!(over <= happened && event.timestamp_ms - happened <= 3_000);
            over = happened;
        }
        let began = ["call_start_timestamp", "session_start_timestamp"].into_iter().find_map(|name| record.get(name));
        assert!(began.map_or(happened, ms) >= settings.start.timestamp_millis());
    }
    assert_eq!(all.iter().filter(|event| event.late).count(), 2_000);
    assert!(hours_late > 1_950, "{hours_late}");
}

#[test]
fn nothing_began_before_the_start_of_even_the_shortest_stream() {
    let settings = Settings { span: SHORTEST, late: 0.5, ..clean() };
    for event in Events::only(&settings, "call_events", 1_000).unwrap() {
        let record = object(&event);
        assert!(ms(&record["call_start_timestamp"]) >= settings.start.timestamp_millis());
        assert!(
            record["call_result_code"] != "0" || record["duration_seconds"].as_u64().is_some_and(|length| length > 0)
        );
    }
}

#[test]
fn duplicates_bring_an_earlier_event_again_or_put_right_some_soon_some_days_later() {
    let settings = Settings { duplicates: 0.1, ..clean() };
    let mut first: HashMap<String, (i64, Event)> = HashMap::new();
    let (mut identical, mut corrected, mut soon, mut days_later) = (0, 0, 0, 0);
    for event in events(&settings, 20_000) {
        let record = object(&event);
        let id = record.get("event_id").or(record.get("probe_id")).unwrap().to_string();
        if !event.duplicate {
            assert!(first.insert(id, (event.timestamp_ms, event)).is_none());
            continue;
        }
        let (arrived, original) = &first[&id];
        let waited = event.timestamp_ms - arrived;
        soon += usize::from(waited < 3_600_000);
        days_later += usize::from(waited > 86_400_000);
        assert_eq!((event.topic, &event.key), (original.topic, &original.key));
        if event.value == original.value {
            identical += 1;
            continue;
        }
        corrected += 1;
        let before = object(original);
        let may_differ = [
            "duration_seconds",
            "session_duration_seconds",
            "call_end_timestamp",
            "bytes_downloaded",
            "total_bytes",
            "revenue_usd",
            "ingested_at",
        ];
        for name in ["duration_seconds", "session_duration_seconds", "bytes_downloaded"] {
            let length = |record: &Map<String, Value>| record.get(name).and_then(Value::as_u64).unwrap_or(0);
            assert!(length(&before) < 10 || length(&record) < length(&before), "{name} is as it was");
        }
        for (name, value) in &record {
            assert!(*value == before[name] || may_differ.contains(&name.as_str()), "{name} differs");
        }
    }
    assert_eq!(identical + corrected, 2_000);
    assert!(identical > 500 && corrected > 500 && soon > 500 && days_later > 500);
}

#[test]
fn dirt_strikes_its_share_and_every_kind_is_what_its_name_says() {
    let settings = Settings { dirty: 0.2, ..clean() };
    let (dirty, undisturbed) = (events(&settings, 20_000), events(&clean(), 20_000));
    let mut kinds = HashMap::new();
    for (event, original) in dirty.iter().zip(&undisturbed) {
        let Some(dirt) = event.dirt else {
            assert_eq!(event, original);
            continue;
        };
        *kinds.entry(dirt).or_insert(0) += 1;
        assert_eq!(
            (event.topic, &event.key, event.timestamp_ms),
            (original.topic, &original.key, original.timestamp_ms)
        );
        let before = object(original);
        let parsed = serde_json::from_slice::<Map<String, Value>>(&event.value);
        let Ok(after) = parsed else {
            assert!(matches!(dirt, Dirt::BrokenJson | Dirt::Truncated | Dirt::Empty), "{dirt:?}");
            assert_eq!(event.value.is_empty(), dirt == Dirt::Empty);
            continue;
        };
        let gone: Vec<&String> = before.keys().filter(|name| !after.contains_key(*name)).collect();
        let new: Vec<&String> = after.keys().filter(|name| !before.contains_key(*name)).collect();
        let changed: Vec<(&String, &Value)> =
            after.iter().filter(|(name, value)| before.get(*name).is_some_and(|old| old != *value)).collect();
        match (dirt, gone.as_slice(), new.as_slice(), changed.as_slice()) {
            (Dirt::MissingId, [name], [], []) => assert!(["event_id", "probe_id"].contains(&name.as_str())),
            (Dirt::MissingSubscriber, [name], [], []) => assert!(name.ends_with("_msisdn") && *name != "called_msisdn"),
            (Dirt::MissingTower, [name], [], []) => assert_eq!(*name, "tower_id"),
            (Dirt::UnknownField, [], [_], []) => {}
            (Dirt::WrongType, [], [], [(_, value)]) => assert_eq!(**value, "n/a"),
            (Dirt::NegativeDuration, [], [], [(_, value)]) => assert!(value.as_i64().unwrap() < 0),
            (Dirt::UnknownResultCode, [], [], [(name, _)]) => assert_eq!(*name, "call_result_code"),
            (Dirt::ImpossibleDate, [], [], [(_, value)]) => {
                assert!(DateTime::parse_from_rfc3339(value.as_str().unwrap()).is_err());
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(kinds.values().sum::<i32>(), 4_000);
    assert!(Dirt::ALL.iter().all(|dirt| kinds.get(dirt).is_some_and(|count| *count > 50)), "{kinds:?}");
}

#[test]
fn the_most_extreme_settings_still_make_a_stream() {
    for span in [SHORTEST, LONGEST] {
        for (customers, share) in [(1, 0.0), (1, 1.0), (MOST_CUSTOMERS, 1.0)] {
            for start in ["1990-01-01T00:00:00Z", "2100-12-31T23:59:59Z"] {
                let start = start.parse().unwrap();
                let settings =
                    Settings { seed: u64::MAX, start, span, customers, dirty: share, duplicates: share, late: share };
                assert_eq!(events(&settings, 200).len(), 200);
                let far = Events::new(&settings, 1_000_000_000_000).unwrap();
                assert_eq!(far.take(3).count(), 3);
            }
        }
    }
}

#[test]
fn what_no_stream_can_be_made_from_is_refused_with_the_reason() {
    let refused = |settings: Settings, said: &str| {
        let error = Events::new(&settings, 1).err().unwrap();
        assert!(error.kind() == Kind::Input && error.what().contains(said), "{error}");
        assert!(Crm::new(&settings).is_err());
    };
    for share in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        refused(Settings { dirty: share, ..clean() }, "`dirty`");
        refused(Settings { duplicates: share, ..clean() }, "`duplicates`");
        refused(Settings { late: share, ..clean() }, "`late`");
    }
    refused(Settings { customers: 0, ..clean() }, "0 customers");
    refused(Settings { customers: 100_000_000, ..clean() }, "100000000 customers");
    refused(Settings { span: TimeDelta::zero(), ..clean() }, "span");
    refused(Settings { span: TimeDelta::MAX, ..clean() }, "span");
    refused(Settings { start: DateTime::<Utc>::MAX_UTC, ..clean() }, "year");
    assert!(Events::new(&clean(), u64::MAX).is_err());
}

#[test]
fn a_mistyped_topic_is_answered_with_the_nearest_one() {
    let error = Events::only(&clean(), "call_event", 1).err().unwrap();
    assert!(error.kind() == Kind::Input && error.to_string().contains("did you mean `call_events`?"), "{error}");
}
