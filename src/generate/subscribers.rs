//! Who the subscribers are and how their lives go, each a function of the seed and the subscriber's number.
//!
//! The events and the CRM both ask here, so they agree on who a number belongs to and which plan was in force when.
//! Traits that a test wants to meet even among few subscribers fall on every so-many-th of them instead of on chance.

use super::Settings;
use super::random::{Concern, Random};
use super::towers::{TOWERS, Tower};

pub struct Plan {
    pub name: &'static str,
    pub code: &'static str,
    pub fee_usd: u32,
}

pub static PLANS: [Plan; 5] = [
    Plan { name: "Basic", code: "Basic_30", fee_usd: 30 },
    Plan { name: "Standard", code: "Standard_60", fee_usd: 60 },
    Plan { name: "Premium", code: "Premium_80", fee_usd: 80 },
    Plan { name: "Unlimited", code: "Unlimited_100", fee_usd: 100 },
    Plan { name: "Business", code: "BusinessPro_150", fee_usd: 150 },
];

const DAY_MS: u64 = 86_400_000;
const MINUTE_MS: u64 = 60_000;

/// One in so many subscribers is new: the network is joined by them during the span.
const NEWCOMERS: u32 = 8;
/// Every so-many-th subscriber uses the network far more than the others.
const HEAVY: u32 = 8;
/// Of every so many subscribers one is never in the CRM, and one gets there long after the first call.
const CRM_GAPS: u32 = 40;
const NEVER_LISTED: u32 = 13;
const LISTED_LATE: u32 = 29;
/// Of every so many subscribers one leaves. The one before never does, so that there is always somebody to call.
const DEPARTURES: u32 = 50;
const DEPARTING: u32 = 7;

/// Coprime to the size of the numbering plan, so that no two subscribers share a phone number.
const PHONE_STEP: u64 = 86_028_121;
/// Exchanges are 200 to 999 without those that end in 11.
const EXCHANGES: u64 = 8 * 99;
const LINES: u64 = 10_000;
const AREAS: u64 = 2 * TOWERS.len() as u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Plan(usize),
    Address,
    ChurnRisk,
    /// The CRM touched the row and altered nothing.
    Nothing,
    Departure,
}

/// The way of one subscriber through the network and the CRM, in milliseconds since 1970.
pub struct Life {
    pub joined_ms: i64,
    /// When the first row came to be in the CRM; never for some.
    pub listed_ms: Option<i64>,
    first_plan: usize,
    changes: [(i64, Change); Life::MOST_CHANGES],
    changed: usize,
}

impl Life {
    const MOST_CHANGES: usize = 4;

    pub fn changes(&self) -> &[(i64, Change)] {
        &self.changes[..self.changed]
    }

    pub fn first_plan(&self) -> &'static Plan {
        &PLANS[self.first_plan]
    }

    pub fn plan_at(&self, ms: i64) -> &'static Plan {
        let before = self.changes().iter().rev().filter(|(at, _)| *at <= ms);
        let plan = before.clone().find_map(|(_, change)| match change {
            Change::Plan(plan) => Some(*plan),
            _ => None,
        });
        &PLANS[plan.unwrap_or(self.first_plan)]
    }

    fn has_left(&self, ms: i64) -> bool {
        self.changes().last().is_some_and(|(at, change)| *change == Change::Departure && *at <= ms)
    }

    fn live(&mut self, random: &mut Random, from_ms: i64, end_ms: i64, departs: bool) {
        let wanted = random.weighted(&[(60, 0), (24, 1), (10, 2), (4, 3), (2, 4)]);
        let wanted = if departs { wanted.max(1) } else { wanted };
        let (mut at, mut plan) = (from_ms, self.first_plan);
        for turn in 0..wanted {
            let left = (end_ms - at).unsigned_abs();
            // Some changes follow the one before at once: two versions in the same load.
            let soon = turn > 0 && random.one_in(3);
            let room = if soon { left.min(90 * MINUTE_MS) } else { left * 2 / (wanted - turn + 1) as u64 };
            at += 1 + random.below_long(room.saturating_sub(1)) as i64;
            if at >= end_ms {
                break;
            }
            let change = match random.below(100) {
                _ if departs && turn + 1 == wanted => Change::Departure,
                0..40 => {
                    plan = (plan + 1 + random.below(PLANS.len() as u32 - 1) as usize) % PLANS.len();
                    Change::Plan(plan)
                }
                40..65 => Change::Address,
                65..90 => Change::ChurnRisk,
                _ => Change::Nothing,
            };
            self.changes[turn] = (at, change);
            self.changed = turn + 1;
        }
    }
}

pub struct Subscribers {
    seed: u64,
    count: u32,
    /// Those with a lower number were there before the start.
    veterans: u32,
    start_ms: i64,
    span_ms: u64,
}

impl Subscribers {
    pub fn new(settings: &Settings) -> Self {
        Subscribers {
            seed: settings.seed,
            count: settings.customers,
            veterans: settings.customers - settings.customers / NEWCOMERS,
            start_ms: settings.start.timestamp_millis(),
            span_ms: settings.span.num_milliseconds().unsigned_abs(),
        }
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    /// A subscriber who is with the network at a moment.
    pub fn someone(&self, random: &mut Random, ms: i64) -> u32 {
        let passed = (ms - self.start_ms).max(0).unsigned_abs().min(self.span_ms);
        let joined = u64::from(self.count - self.veterans) * passed / self.span_ms;
        let mut number = random.below(self.veterans + joined as u32);
        if random.one_in(2) {
            number -= number % HEAVY;
        }
        if number % DEPARTURES == DEPARTING && self.life(number).has_left(ms) { number - 1 } else { number }
    }

    pub fn customer_id(number: u32) -> String {
        format!("CUST-{:08}", number + 1)
    }

    /// The subscriber's place in the numbering plan.
    fn line(&self, number: u32) -> u64 {
        let size = AREAS * EXCHANGES * LINES;
        (u64::from(number) * PHONE_STEP + self.seed % size) % size
    }

    pub fn phone(&self, number: u32) -> String {
        let place = self.line(number);
        let (area, exchange, line) = (place % AREAS, place / AREAS % EXCHANGES, place / AREAS / EXCHANGES);
        let (hundreds, rest) = (exchange / 99 + 2, exchange % 99);
        let rest = if rest < 11 { rest } else { rest + 1 };
        let code = TOWERS[area as usize / 2].area_codes[area as usize % 2];
        format!("+1{code}{hundreds}{rest:02}{line:04}")
    }

    /// The index of the tower near home, where the phone number's area code is from.
    pub fn home(&self, number: u32) -> usize {
        (self.line(number) % AREAS / 2) as usize
    }

    /// Where a subscriber uses the network: near home or, 8 % of the time, roaming.
    pub fn place(&self, random: &mut Random, number: u32) -> (&'static Tower, bool) {
        let home = self.home(number);
        let roaming = random.percent(8);
        let away = 1 + random.below(TOWERS.len() as u32 - 1) as usize;
        let index = if roaming { (home + away) % TOWERS.len() } else { home };
        (&TOWERS[index], roaming)
    }

    pub fn life(&self, number: u32) -> Life {
        let mut random = Random::at(self.seed, Concern::Life, u64::from(number));
        let end_ms = self.start_ms + self.span_ms as i64;
        let veteran = number < self.veterans;
        let joined_ms = if veteran {
            self.start_ms - (DAY_MS + random.below_long(8 * 365 * DAY_MS)) as i64
        } else {
            let place = u64::from(number - self.veterans);
            self.start_ms + (self.span_ms * place / u64::from(self.count - self.veterans)) as i64
        };
        let listed_ms = match number % CRM_GAPS {
            NEVER_LISTED => None,
            LISTED_LATE => {
                let left = (end_ms - joined_ms.max(self.start_ms)).unsigned_abs();
                Some(end_ms - (left / 5 + random.below_long(left * 3 / 5)) as i64)
            }
            _ if veteran => Some(self.start_ms - random.below_long((self.start_ms - joined_ms).unsigned_abs()) as i64),
            _ => Some(joined_ms),
        };
        let first_plan = random.weighted(&[(25, 0), (30, 1), (20, 2), (15, 3), (10, 4)]);
        let mut life =
            Life { joined_ms, listed_ms, first_plan, changes: [(0, Change::Nothing); Life::MOST_CHANGES], changed: 0 };
        if let Some(listed_ms) = listed_ms {
            let departs = number % DEPARTURES == DEPARTING;
            life.live(&mut random, listed_ms.max(self.start_ms), end_ms, departs);
        }
        life
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_subscribers_share_a_phone_number_and_each_is_from_home() {
        let subscribers = Subscribers::new(&Settings::default());
        let shares_a_factor =
            |factor: u64| (AREAS * EXCHANGES * LINES).is_multiple_of(factor) && PHONE_STEP.is_multiple_of(factor);
        assert!(!(2..10_000).any(shares_a_factor), "two far apart share one");
        let mut phones = HashSet::new();
        for number in 0..100_000 {
            let phone = subscribers.phone(number);
            let area: u32 = phone[2..5].parse().unwrap();
            assert!(TOWERS[subscribers.home(number)].area_codes.contains(&area));
            assert!(phone.len() == 12 && phones.insert(phone));
        }
    }

    #[test]
    fn every_life_goes_forward_and_within_the_span() {
        let settings = Settings::default();
        let (start, end) = (settings.start.timestamp_millis(), (settings.start + settings.span).timestamp_millis());
        let subscribers = Subscribers::new(&settings);
        for number in 0..settings.customers {
            let life = subscribers.life(number);
            let mut at = life.joined_ms;
            for next in life.listed_ms.into_iter().chain(life.changes().iter().map(|(at, _)| *at)) {
                assert!(at <= next && next < end, "{number}");
                at = next;
            }
            assert!(life.changes().windows(2).all(|pair| pair[0].0 < pair[1].0));
            assert!(life.changes().first().is_none_or(|(first, _)| *first >= start));
        }
    }

    #[test]
    fn whoever_uses_the_network_has_joined_and_not_left() {
        let settings = Settings::default();
        let subscribers = Subscribers::new(&settings);
        let mut random = Random::at(1, Concern::Event, 0);
        let mut met = HashSet::new();
        for hour in 0..14 * 24 {
            let at_ms = (settings.start + chrono::TimeDelta::hours(hour)).timestamp_millis();
            for _ in 0..40 {
                let number = subscribers.someone(&mut random, at_ms);
                let life = subscribers.life(number);
                assert!(life.joined_ms <= at_ms && !life.has_left(at_ms), "{number}");
                met.insert(number);
            }
        }
        let heavy = met.iter().filter(|number| **number % HEAVY == 0).count();
        assert!(met.iter().any(|number| *number >= subscribers.veterans) && heavy > 200);
    }
}
