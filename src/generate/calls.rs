//! `call_events`: one record a call attempt, made when the call is over.

use super::json::Json;
use super::random::Random;
use super::records::{Moment, Record};
use super::subscribers::Subscribers;

/// The result codes of the network, by their weights.
pub static RESULTS: [(u32, (&str, &str)); 6] = [
    (85, ("0", "SUCCESS")),
    (5, ("17", "BUSY")),
    (3, ("21", "CALL_REJECTED")),
    (3, ("31", "NETWORK_FAILURE")),
    (2, ("38", "NETWORK_OUT_OF_ORDER")),
    (2, ("41", "TEMPORARY_FAILURE")),
];

/// Most calls are a few minutes long. The longest stay under 3,700 s: at 0.02 USD a second, under 100 USD.
fn talk_seconds(random: &mut Random) -> u64 {
    let seconds = 20 + random.below(900) * random.below(900) / 900;
    u64::from(if random.one_in(50) { seconds * 4 } else { seconds })
}

pub fn write(random: &mut Random, subscribers: &Subscribers, moment: &Moment) -> Record {
    let id = random.bytes();
    let (code, description) = random.weighted(&RESULTS);
    let answered = code == "0";
    let duration = if answered { moment.lasted(talk_seconds(random)) } else { 0 };
    let start_ms = moment.happened_ms - duration as i64 * 1_000;
    let caller = subscribers.someone(random, start_ms);
    let called = subscribers.someone(random, start_ms);
    let called = if called == caller || random.one_in(4) { random.bits() } else { called };
    let (tower, roaming) = subscribers.place(random, caller);
    let unended = !answered && random.one_in(2);
    let duration = if moment.corrected { duration - duration / 10 } else { duration };

    let caller_msisdn = subscribers.phone(caller);
    let mut json = Json::new(moment.zone);
    json.uuid("event_id", id);
    json.text("event_type", "CALL");
    json.text("caller_msisdn", &caller_msisdn);
    json.text("called_msisdn", &subscribers.phone(called));
    json.text("caller_customer_id", &Subscribers::customer_id(caller));
    json.text("tower_id", tower.tower_id);
    json.text("tower_city", tower.city);
    json.text("tower_state", tower.state);
    json.fixed("tower_lat", tower.latitude, 4);
    json.fixed("tower_lon", tower.longitude, 4);
    json.time("call_start_timestamp", start_ms);
    if unended {
        json.null("call_end_timestamp");
    } else {
        json.time("call_end_timestamp", start_ms + duration as i64 * 1_000);
    }
    json.whole("duration_seconds", duration);
    json.text("call_result_code", code);
    json.text("call_result_desc", description);
    json.text("plan_type", subscribers.life(caller).plan_at(start_ms).name);
    json.flag("roaming", roaming);
    json.fixed("revenue_usd", 200 * duration as i64, 4);
    json.time("ingested_at", moment.ingested_ms);
    Record { key: caller_msisdn, value: json.finish() }
}
