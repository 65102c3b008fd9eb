//! A record before it is delivered: what the four kinds of events have in common.

use crate::error::{Error, Result, nearest};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    Calls,
    Data,
    Sms,
    Probes,
}

impl Topic {
    pub const ALL: [Topic; 4] = [Topic::Calls, Topic::Data, Topic::Sms, Topic::Probes];

    pub fn name(self) -> &'static str {
        match self {
            Topic::Calls => "call_events",
            Topic::Data => "data_session_events",
            Topic::Sms => "sms_events",
            Topic::Probes => "network_probe_events",
        }
    }

    pub fn named(name: &str) -> Result<Self> {
        Topic::ALL.into_iter().find(|topic| topic.name() == name).ok_or_else(|| {
            let names = Topic::ALL.map(Topic::name);
            let error = Error::input(format!("no generator for the topic `{name}`"));
            match nearest(name, names) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("there is one for each of {}", names.join(", "))),
            }
        })
    }
}

/// When an event happened, and how its record speaks of it.
pub struct Moment {
    /// For a call or a session, its end.
    pub happened_ms: i64,
    pub ingested_ms: i64,
    /// How UTC is written: `Z` or `+00:00`.
    pub zone: &'static str,
    /// The time since the start of the stream: nothing that it tells of began before.
    pub room_ms: i64,
    /// A second record of the same event, which puts its length and price right.
    pub corrected: bool,
}

impl Moment {
    /// How long something lasted that has just ended after so many seconds, unless it would have begun too early.
    pub fn lasted(&self, seconds: u64) -> u64 {
        seconds.min(self.room_ms.unsigned_abs() / 1_000)
    }
}

pub struct Record {
    pub key: String,
    pub value: Vec<u8>,
}
