//! `sms_events`: one record a text message.

use super::json::Json;
use super::random::Random;
use super::records::{Moment, Record};
use super::subscribers::Subscribers;

static STATUS: [(u32, &str); 3] = [(92, "DELIVERED"), (5, "FAILED"), (3, "PENDING")];

pub fn write(random: &mut Random, subscribers: &Subscribers, moment: &Moment) -> Record {
    let id = random.bytes();
    let sender = subscribers.someone(random, moment.happened_ms);
    let receiver = subscribers.someone(random, moment.happened_ms);
    let receiver = if receiver == sender || random.one_in(4) { random.bits() } else { receiver };
    let (tower, _) = subscribers.place(random, sender);

    let msisdn = subscribers.phone(sender);
    let mut json = Json::new(moment.zone);
    json.uuid("event_id", id);
    json.text("event_type", "SMS");
    json.text("sender_msisdn", &msisdn);
    json.text("receiver_msisdn", &subscribers.phone(receiver));
    json.text("sender_customer_id", &Subscribers::customer_id(sender));
    json.text("tower_id", tower.tower_id);
    json.text("sms_type", if random.percent(80) { "P2P" } else { "A2P" });
    json.text("delivery_status", random.weighted(&STATUS));
    json.whole("message_size_bytes", u64::from(random.between(12, 160)));
    json.time("timestamp", moment.happened_ms);
    json.time("ingested_at", moment.ingested_ms);
    Record { key: msisdn, value: json.finish() }
}
