//! When things arrive: a fixed number of moments over a span, in order, any of them computed at once from its number.
//!
//! The moments follow the pace of the network: a quiet night, a busy evening, calmer weekends; or no pace at all.

use chrono::{DateTime, Datelike, Timelike};

const HOUR_MS: i64 = 3_600_000;

/// How busy each hour is, in UTC, as a share of the busiest: the subscribers live five to eight hours behind.
const BUSY: [u32; 24] =
    [92, 95, 88, 76, 60, 44, 30, 20, 13, 10, 11, 17, 29, 45, 58, 68, 76, 80, 82, 83, 85, 90, 97, 100];

/// How busy each day is, Monday first, in percent of a plain day.
const DAYS: [u32; 7] = [100, 102, 103, 102, 106, 92, 86];

/// How finely the moment within a number's share of the clock is drawn.
const FRACTION_BITS: u32 = 20;

/// How busy the network is at a moment, 0 to 10,000, without steps at the full hours.
pub fn busy(ms: i64) -> u32 {
    let hour = ms.div_euclid(HOUR_MS).rem_euclid(24) as usize;
    let into = ms.rem_euclid(HOUR_MS) as u32 / 36_000;
    BUSY[hour] * (100 - into) + BUSY[(hour + 1) % 24] * into
}

struct Stretch {
    from_ms: i64,
    /// Arrivals per millisecond, on a scale of the clock's own.
    weight: u64,
    /// The weight of all milliseconds before this stretch.
    before: u64,
}

pub struct Clock {
    stretches: Vec<Stretch>,
    weight: u64,
    moments: u64,
}

impl Clock {
    /// Moments at an even pace.
    pub fn even(from_ms: i64, to_ms: i64, moments: u64) -> Self {
        let stretches = vec![Stretch { from_ms, weight: 1, before: 0 }];
        Clock { stretches, weight: (to_ms - from_ms).max(1) as u64, moments }
    }

    /// Moments at the pace of people.
    pub fn daily(from_ms: i64, to_ms: i64, moments: u64) -> Self {
        let mut stretches = Vec::new();
        let (mut at, mut before) = (from_ms, 0);
        while at < to_ms {
            let time = DateTime::from_timestamp_millis(at).unwrap_or_default();
            let day = time.weekday().num_days_from_monday() as usize;
            let weight = u64::from(BUSY[time.hour() as usize] * DAYS[day]);
            let next = ((at.div_euclid(HOUR_MS) + 1) * HOUR_MS).min(to_ms);
            stretches.push(Stretch { from_ms: at, weight, before });
            before += weight * (next - at) as u64;
            at = next;
        }
        Clock { stretches, weight: before, moments }
    }

    /// The moment of a number; `jitter` (any 32 bits) places it within its share. A higher number is never earlier.
    pub fn moment(&self, number: u64, jitter: u32) -> i64 {
        let place = (u128::from(number) << FRACTION_BITS) + u128::from(jitter >> (32 - FRACTION_BITS));
        let all = u128::from(self.moments.max(1)) << FRACTION_BITS;
        let passed = (place * u128::from(self.weight) / all) as u64;
        let after = self.stretches.partition_point(|stretch| stretch.before <= passed);
        match self.stretches.get(after.saturating_sub(1)) {
            Some(stretch) => stretch.from_ms + ((passed - stretch.before) / stretch.weight) as i64,
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 24 * HOUR_MS;
    /// A Monday.
    const START: i64 = 1_740_960_000_000;

    #[test]
    fn moments_are_in_order_and_within_the_span() {
        let clock = Clock::daily(START + 1_234, START + 3 * DAY_MS, 1_000);
        let moments: Vec<i64> = (0..1_000).map(|n| clock.moment(n, if n % 2 == 0 { u32::MAX } else { 0 })).collect();
        assert!(moments.is_sorted());
        assert!(moments.first().is_some_and(|first| *first >= START + 1_234));
        assert!(moments.last().is_some_and(|last| *last < START + 3 * DAY_MS));
    }

    #[test]
    fn the_night_is_quiet_and_the_evening_busy() {
        let clock = Clock::daily(START, START + DAY_MS, 10_000);
        let within = |hour: i64| {
            let from = START + hour * HOUR_MS;
            (0..10_000).filter(|n| (from..from + HOUR_MS).contains(&clock.moment(*n, 0))).count()
        };
        assert!(within(23) > 8 * within(9), "{} against {}", within(23), within(9));
        assert!(within(9) > 0);
    }

    #[test]
    fn an_even_clock_keeps_one_distance() {
        let clock = Clock::even(START, START + 10_000, 10);
        assert!((0..10).all(|n| clock.moment(n, 0) == START + 1_000 * n as i64));
    }

    #[test]
    fn busyness_has_no_steps() {
        let minutes = (0..7 * 24 * 60).map(|minute| busy(START + minute * 60_000));
        let steps = minutes.clone().zip(minutes.skip(1)).map(|(a, b)| a.abs_diff(b));
        assert!(steps.max().is_some_and(|step| step <= 40));
    }
}
