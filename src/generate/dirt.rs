//! What goes wrong with records on their way, on purpose: each kind is known by name, and so is the layer that has to
//! stop it.

use std::ops::Range;

use super::random::Random;
use super::records::Topic;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dirt {
    /// Looks like an object, but is no JSON.
    BrokenJson,
    Truncated,
    /// No bytes at all. Not a tombstone: the value is there.
    Empty,
    /// Text where a number belongs.
    WrongType,
    /// The 30th of February.
    ImpossibleDate,
    MissingId,
    /// The subscriber who calls, sends or surfs. The record keeps its key.
    MissingSubscriber,
    MissingTower,
    NegativeDuration,
    UnknownResultCode,
    /// A field that no contract names. Not an error.
    UnknownField,
}

/// Where a record ends up that is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    Bronze,
    Silver,
}

/// The fields of a topic that dirt can strike.
struct Fields {
    id: &'static str,
    subscriber: Option<&'static str>,
    time: &'static str,
    number: &'static str,
    duration: Option<&'static str>,
    result: Option<&'static str>,
}

fn fields(topic: Topic) -> Fields {
    match topic {
        Topic::Calls => Fields {
            id: "event_id",
            subscriber: Some("caller_msisdn"),
            time: "call_start_timestamp",
            number: "duration_seconds",
            duration: Some("duration_seconds"),
            result: Some("call_result_code"),
        },
        Topic::Data => Fields {
            id: "event_id",
            subscriber: Some("subscriber_msisdn"),
            time: "session_start_timestamp",
            number: "total_bytes",
            duration: Some("session_duration_seconds"),
            result: None,
        },
        Topic::Sms => Fields {
            id: "event_id",
            subscriber: Some("sender_msisdn"),
            time: "timestamp",
            number: "message_size_bytes",
            duration: None,
            result: None,
        },
        Topic::Probes => Fields {
            id: "probe_id",
            subscriber: None,
            time: "measurement_timestamp",
            number: "load_pct",
            duration: None,
            result: None,
        },
    }
}

impl Dirt {
    pub const ALL: [Dirt; 11] = [
        Dirt::BrokenJson,
        Dirt::Truncated,
        Dirt::Empty,
        Dirt::WrongType,
        Dirt::ImpossibleDate,
        Dirt::MissingId,
        Dirt::MissingSubscriber,
        Dirt::MissingTower,
        Dirt::NegativeDuration,
        Dirt::UnknownResultCode,
        Dirt::UnknownField,
    ];

    /// The layer that rejects such a record; none if it is good enough for both.
    pub fn stopped_at(self) -> Option<Layer> {
        match self {
            Dirt::BrokenJson | Dirt::Truncated | Dirt::Empty | Dirt::WrongType | Dirt::ImpossibleDate => {
                Some(Layer::Bronze)
            }
            Dirt::MissingId | Dirt::MissingSubscriber | Dirt::MissingTower | Dirt::NegativeDuration => {
                Some(Layer::Silver)
            }
            Dirt::UnknownResultCode | Dirt::UnknownField => None,
        }
    }

    pub fn strikes(self, topic: Topic) -> bool {
        let fields = fields(topic);
        match self {
            Dirt::MissingSubscriber => fields.subscriber.is_some(),
            Dirt::NegativeDuration => fields.duration.is_some(),
            Dirt::UnknownResultCode => fields.result.is_some(),
            _ => true,
        }
    }

    pub(super) fn pick(random: &mut Random, topic: Topic) -> Self {
        loop {
            let dirt = random.pick(&Dirt::ALL);
            if dirt.strikes(topic) {
                return dirt;
            }
        }
    }

    pub(super) fn spoil(self, random: &mut Random, topic: Topic, value: &mut Vec<u8>) {
        let fields = fields(topic);
        match self {
            Dirt::BrokenJson => value.retain(|byte| *byte != b':'),
            Dirt::Truncated => value.truncate(1 + random.below(value.len() as u32 - 1) as usize),
            Dirt::Empty => value.clear(),
            Dirt::WrongType => set(value, Some(fields.number), "\"n/a\""),
            Dirt::ImpossibleDate => set(value, Some(fields.time), "\"2025-02-30T12:00:00.000Z\""),
            Dirt::MissingId => remove(value, Some(fields.id)),
            Dirt::MissingSubscriber => remove(value, fields.subscriber),
            Dirt::MissingTower => remove(value, Some("tower_id")),
            Dirt::NegativeDuration => set(value, fields.duration, "-60"),
            Dirt::UnknownResultCode => set(value, fields.result, "\"99\""),
            Dirt::UnknownField => {
                value.pop();
                value.extend_from_slice(b",\"network_slice\":\"embb-2\"}");
            }
        }
    }
}

/// Where a member of the object stands, its name and the comma after it included, and where its value does. Enough for
/// the generator's own records: no nesting, no comma in a text, and never asked for the last member.
fn member(value: &[u8], name: &str) -> Option<(Range<usize>, Range<usize>)> {
    let quoted = format!("\"{name}\":");
    let start = value.windows(quoted.len()).position(|window| window == quoted.as_bytes())?;
    let from = start + quoted.len();
    let to = from + value[from..].iter().position(|byte| *byte == b',')?;
    Some((start..to + 1, from..to))
}

fn set(value: &mut Vec<u8>, name: Option<&str>, text: &str) {
    if let Some((_, place)) = name.and_then(|name| member(value, name)) {
        value.splice(place, text.bytes());
    }
}

fn remove(value: &mut Vec<u8>, name: Option<&str>) {
    if let Some((whole, _)) = name.and_then(|name| member(value, name)) {
        value.drain(whole);
    }
}
