//! The four streams, merged as they arrive: exactly so many events, each made from its number alone.
//!
//! The numbers of a stream are its arrivals, in order. An arrival is mostly an event of a moment ago; some are late,
//! some are an earlier event once more, and some arrive spoiled. Nothing is kept for later, whatever the shares.

use super::Settings;
use super::clock::Clock;
use super::dirt::Dirt;
use super::random::{Concern, Random, Scatter};
use super::records::{Moment, Record, Topic};
use super::subscribers::Subscribers;
use super::{calls, data, probes, sms};
use crate::error::{Error, Result};

/// A message as a producer sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub topic: &'static str,
    pub key: String,
    pub value: Vec<u8>,
    /// The arrival, which is the time of the Kafka record.
    pub timestamp_ms: i64,
    /// Came hours after it happened.
    pub late: bool,
    /// An event that has been delivered before: byte by byte, or with its length and price put right.
    pub duplicate: bool,
    /// What went wrong with this delivery. It strikes the delivery, not the event: a duplicate of it may be clean.
    pub dirt: Option<Dirt>,
}

const SECOND_MS: i64 = 1_000;
const HOUR_MS: i64 = 3_600 * SECOND_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// From an event to its arrival, unless it is late.
const ON_TIME_MS: i64 = 2 * SECOND_MS;
/// The first arrival comes so long after the start that what it tells of began after the start.
const LEAD_MS: i64 = ON_TIME_MS + SECOND_MS;
/// Duplicates come within this time of the event...
const RESENT_WITHIN_MS: u64 = 5 * DAY_MS as u64;
/// ... or, every second one, within so many arrivals.
const RESENT_SOON: u64 = 64;
/// Keeps the products of the clock within their range.
const MOST_EVENTS: u64 = 1_000_000_000_000;

/// Whose records a stream carries.
#[derive(Clone, Copy)]
enum Source {
    Only(Topic),
    /// Calls, data sessions and text messages.
    Subscribers,
}

static MIX: [(u32, Topic); 3] = [(30, Topic::Calls), (60, Topic::Data), (10, Topic::Sms)];

struct Stream {
    /// That of the settings decides who the subscribers are and how the towers fare; each stream draws one of its own.
    seed: u64,
    network_seed: u64,
    start_ms: i64,
    subscribers: Subscribers,
    source: Source,
    clock: Clock,
    total: u64,
    dirty: Scatter,
    /// Counts from the second arrival: the first has nothing before it.
    duplicates: Scatter,
    late: Scatter,
    reach: u64,
}

/// An arrival: its number, its time, and the chance that its event is made of.
struct Arrival {
    number: u64,
    at_ms: i64,
    random: Random,
}

impl Stream {
    fn new(settings: &Settings, source: Source, total: u64) -> Self {
        let probes = matches!(source, Source::Only(Topic::Probes));
        let seed = u64::from_le_bytes(Random::at(settings.seed, Concern::Stream, u64::from(probes)).bytes());
        let start_ms = settings.start.timestamp_millis();
        let span_ms = settings.span.num_milliseconds();
        let (from_ms, to_ms) = (start_ms + LEAD_MS, start_ms + span_ms);
        let scatter = |concern, share: f64, of| Scatter::new(seed, concern, (total as f64 * share).round() as u64, of);
        Stream {
            seed,
            network_seed: settings.seed,
            start_ms,
            subscribers: Subscribers::new(settings),
            source,
            clock: if probes { Clock::even(from_ms, to_ms, total) } else { Clock::daily(from_ms, to_ms, total) },
            total,
            dirty: scatter(Concern::Dirty, settings.dirty, total),
            duplicates: scatter(Concern::Duplicate, settings.duplicates, total.saturating_sub(1)),
            late: scatter(Concern::Late, settings.late, total),
            reach: (u128::from(total) * u128::from(RESENT_WITHIN_MS) / u128::from(span_ms.unsigned_abs())) as u64,
        }
    }

    fn arrival(&self, number: u64) -> Arrival {
        let mut random = Random::at(self.seed, Concern::Event, number);
        let at_ms = self.clock.moment(number, random.bits());
        Arrival { number, at_ms, random }
    }

    fn is_duplicate(&self, number: u64) -> bool {
        number > 0 && self.duplicates.hits(number - 1)
    }

    /// The number of the arrival that brought the event of a duplicate for the first time.
    fn original(&self, duplicate: u64, random: &mut Random) -> u64 {
        let mut number = duplicate;
        while self.is_duplicate(number) {
            let reach = if random.one_in(2) { RESENT_SOON } else { self.reach.max(1) };
            number -= 1 + random.below_long(reach.min(number));
        }
        number
    }

    fn deliver(&self, arrival: Arrival) -> Event {
        let (number, timestamp_ms) = (arrival.number, arrival.at_ms);
        let duplicate = self.is_duplicate(number);
        let (first, corrected_ms) = if duplicate {
            let mut random = Random::at(self.seed, Concern::Copy, number);
            let first = self.original(number, &mut random);
            (self.arrival(first), random.one_in(2).then_some(timestamp_ms))
        } else {
            (arrival, None)
        };
        let late = self.late.hits(first.number);
        let (topic, mut record) = self.record(first, late, corrected_ms);
        let dirt = self.dirty.hits(number).then(|| {
            let mut random = Random::at(self.seed, Concern::Dirt, number);
            let dirt = Dirt::pick(&mut random, topic);
            dirt.spoil(&mut random, topic, &mut record.value);
            dirt
        });
        let Record { key, value } = record;
        Event { topic: topic.name(), key, value, timestamp_ms, late: late && !duplicate, duplicate, dirt }
    }

    /// The record of the event that arrived first with `arrival`; the corrected one, if it is to be put right later.
    fn record(&self, arrival: Arrival, late: bool, corrected_ms: Option<i64>) -> (Topic, Record) {
        let Arrival { number, at_ms, mut random } = arrival;
        let delay_ms = if late { self.delay(&mut random, at_ms) } else { ON_TIME_MS };
        let happened_ms = at_ms - delay_ms;
        let taken_in_ms = i64::from(random.between(400, 1_400));
        let moment = Moment {
            happened_ms,
            ingested_ms: corrected_ms.unwrap_or(happened_ms + ON_TIME_MS) - ON_TIME_MS + taken_in_ms,
            zone: if random.one_in(8) { "+00:00" } else { "Z" },
            room_ms: happened_ms - self.start_ms,
            corrected: corrected_ms.is_some(),
        };
        let topic = match self.source {
            Source::Only(topic) => topic,
            Source::Subscribers => random.weighted(&MIX),
        };
        let record = match topic {
            Topic::Calls => calls::write(&mut random, &self.subscribers, &moment),
            Topic::Data => data::write(&mut random, &self.subscribers, &moment),
            Topic::Sms => sms::write(&mut random, &self.subscribers, &moment),
            Topic::Probes => probes::write(&mut random, self.network_seed, number, &moment),
        };
        (topic, record)
    }

    /// From an hour to a day; less where the stream has not been running for so long.
    fn delay(&self, random: &mut Random, at_ms: i64) -> i64 {
        let most_ms = at_ms - self.start_ms - SECOND_MS;
        let delay_ms = HOUR_MS + random.below_long((DAY_MS - HOUR_MS) as u64) as i64;
        if delay_ms <= most_ms {
            return delay_ms;
        }
        ON_TIME_MS + random.below_long((most_ms - ON_TIME_MS).max(0).unsigned_abs()) as i64
    }
}

/// The events of one or more streams in the order of their arrival.
pub struct Events(Vec<(Stream, Option<Arrival>)>);

impl Events {
    /// Exactly `total` events over the four topics. Every tenth is a probe's reading; of the others 30 % are calls,
    /// 60 % data sessions and 10 % text messages.
    pub fn new(settings: &Settings, total: u64) -> Result<Self> {
        let probes = total / 10;
        let probes = (Source::Only(Topic::Probes), probes);
        Events::merged(settings, [(Source::Subscribers, total - probes.1), probes])
    }

    /// Exactly `total` events of one topic.
    pub fn only(settings: &Settings, topic: &str, total: u64) -> Result<Self> {
        Events::merged(settings, [(Source::Only(Topic::named(topic)?), total)])
    }

    fn merged<const N: usize>(settings: &Settings, sources: [(Source, u64); N]) -> Result<Self> {
        settings.check()?;
        if sources.iter().any(|(_, total)| *total > MOST_EVENTS) {
            return Err(Error::input(format!("more than {MOST_EVENTS} events asked for"))
                .hint("generate them in several spans, each with a seed of its own"));
        }
        let streams = sources.map(|(source, total)| Stream::new(settings, source, total));
        Ok(Events(
            streams
                .map(|stream| {
                    let first = (stream.total > 0).then(|| stream.arrival(0));
                    (stream, first)
                })
                .into(),
        ))
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let due = self.0.iter_mut().filter(|(_, arrival)| arrival.is_some());
        let (stream, slot) = due.min_by_key(|(_, arrival)| arrival.as_ref().map(|arrival| arrival.at_ms))?;
        let arrival = slot.take()?;
        let next = arrival.number + 1;
        if next < stream.total {
            *slot = Some(stream.arrival(next));
        }
        Some(stream.deliver(arrival))
    }
}
