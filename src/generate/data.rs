//! `data_session_events`: one record a data session, made when the session is over.

use super::json::Json;
use super::random::Random;
use super::records::{Moment, Record};
use super::subscribers::Subscribers;

/// What people do on line, by weight, with its usual download rate in bytes a second and how many bytes come down
/// for each that goes up.
static CONTENT: [(u32, (&str, u64, u64)); 6] = [
    (30, ("streaming_video", 350_000, 40)),
    (28, ("social_media", 60_000, 8)),
    (22, ("web_browsing", 30_000, 10)),
    (7, ("voip", 12_000, 1)),
    (8, ("gaming", 20_000, 4)),
    (5, ("file_download", 900_000, 60)),
];

/// The usual delay of a radio technology in hundredths of a millisecond.
fn usual_latency(technology: &str) -> u32 {
    match technology {
        "5G_MMWAVE" => 900,
        "5G_NR" => 1_800,
        _ => 3_600,
    }
}

pub fn write(random: &mut Random, subscribers: &Subscribers, moment: &Moment) -> Record {
    let id = random.bytes();
    let duration = moment.lasted(u64::from(10 + random.below(60) * random.below(60)));
    let start_ms = moment.happened_ms - duration as i64 * 1_000;
    let subscriber = subscribers.someone(random, start_ms);
    let (tower, roaming) = subscribers.place(random, subscriber);
    let (content, rate, down_to_up) = random.weighted(&CONTENT);
    let downloaded = rate * duration * u64::from(random.between(50, 150)) / 100 + u64::from(random.below(1_000));
    let uploaded = downloaded / down_to_up + u64::from(random.below(1_000));
    // A phone that the tower's newer radio does not reach falls back.
    let technology = if random.percent(30) { "4G_LTE" } else { tower.radio_technology };
    let signal_dbm = random.between(60, 112);
    let loss = random.below(40) + (signal_dbm - 60) * random.below(4);
    let latency = usual_latency(technology) * random.between(80, 220) / 100;
    let (duration, downloaded) = if moment.corrected {
        (duration - duration / 10, downloaded - downloaded / 10)
    } else {
        (duration, downloaded)
    };
    let total = downloaded + uploaded;

    let msisdn = subscribers.phone(subscriber);
    let mut json = Json::new(moment.zone);
    json.uuid("event_id", id);
    json.text("event_type", "DATA_SESSION");
    json.text("subscriber_msisdn", &msisdn);
    json.text("customer_id", &Subscribers::customer_id(subscriber));
    json.text("tower_id", tower.tower_id);
    json.text("tower_city", tower.city);
    json.text("tower_state", tower.state);
    json.time("session_start_timestamp", start_ms);
    json.whole("session_duration_seconds", duration);
    json.whole("bytes_downloaded", downloaded);
    json.whole("bytes_uploaded", uploaded);
    json.whole("total_bytes", total);
    json.text("content_type", content);
    json.text("radio_technology", technology);
    json.minus("signal_strength_dbm", u64::from(signal_dbm));
    json.fixed("packet_loss_pct", i64::from(loss), 2);
    json.fixed("latency_ms", i64::from(latency), 2);
    json.text("plan_type", subscribers.life(subscriber).plan_at(start_ms).name);
    json.flag("roaming", roaming);
    // 0.001 USD for a million bytes, to the millionth of a dollar.
    json.fixed("revenue_usd", ((total + 500) / 1_000) as i64, 6);
    json.time("ingested_at", moment.ingested_ms);
    Record { key: msisdn, value: json.finish() }
}
