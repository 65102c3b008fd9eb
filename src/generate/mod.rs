//! Synthetic streams of a carrier's network and the CRM beside it, for demos, tests and benchmarks.
//!
//! The same [`Settings`] give the same bytes on every machine, in bounded memory however long the stream. The CRM and
//! the events agree: a record carries the phone number, the customer and the plan that the CRM has for its time.
//!
//! ```text
//! random ─> clock        ─> events ─> calls data sms probes ─> json
//!        └> subscribers  ─────┴────── dirt
//!                 └──> crm
//! ```

mod calls;
mod clock;
mod crm;
mod data;
mod dirt;
mod events;
mod json;
mod probes;
mod produce;
mod random;
mod records;
mod sms;
mod subscribers;
#[cfg(test)]
mod tests;
mod towers;

use chrono::{DateTime, Datelike, TimeDelta, Utc};

use crate::error::{Error, Result};

pub use crm::{Crm, Customer};
pub use dirt::{Dirt, Layer};
pub use events::{Event, Events};
pub use produce::Producer;
pub use records::Topic;
pub use towers::{Tower, towers};

/// What the streams and the CRM are made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub seed: u64,
    /// Nothing in the streams began before. Customers did join before.
    pub start: DateTime<Utc>,
    /// From the start to the last arrival.
    pub span: TimeDelta,
    pub customers: u32,
    /// The share of deliveries that something is wrong with, by [`Dirt`].
    pub dirty: f64,
    /// The share of deliveries that bring an event once more.
    pub duplicates: f64,
    /// The share of deliveries that come hours after the event.
    pub late: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            seed: 42,
            // Monday, 3 March 2025: the span neither begins nor ends with a month.
            start: DateTime::UNIX_EPOCH + TimeDelta::days(20_150),
            span: TimeDelta::days(14),
            customers: 2_000,
            dirty: 0.005,
            duplicates: 0.01,
            late: 0.01,
        }
    }
}

/// Customer numbers have eight digits.
const MOST_CUSTOMERS: u32 = 99_999_999;
/// A shorter stream would have no room for a call.
const SHORTEST: TimeDelta = TimeDelta::minutes(1);
const LONGEST: TimeDelta = TimeDelta::days(3_653);
const YEARS: std::ops::RangeInclusive<i32> = 1990..=2100;

impl Settings {
    /// Refuses what no stream can be made from.
    pub fn check(&self) -> Result<()> {
        for (name, share) in [("dirty", self.dirty), ("duplicates", self.duplicates), ("late", self.late)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(Error::input(format!("the share `{name}` is {share}, and must be between 0.0 and 1.0"))
                    .hint("a share of one percent is 0.01"));
            }
        }
        if !(1..=MOST_CUSTOMERS).contains(&self.customers) {
            return Err(Error::input(format!(
                "{} customers asked for: the number must be between 1 and {MOST_CUSTOMERS}",
                self.customers
            )));
        }
        if !(SHORTEST..=LONGEST).contains(&self.span) {
            return Err(Error::input(format!(
                "the span is {} s long: it must be between one minute and ten years",
                self.span.num_seconds()
            )));
        }
        if !YEARS.contains(&self.start.year()) {
            return Err(Error::input(format!(
                "the stream starts in the year {}: it must be between {} and {}",
                self.start.year(),
                YEARS.start(),
                YEARS.end()
            )));
        }
        Ok(())
    }
}
