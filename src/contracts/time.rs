//! How a column's times are written: `FORMAT 'iso8601', 'epoch_ms', 'dd/MM/yyyy HH:mm'`.

use std::fmt;

use super::layout::{Layout, Unusable};
use super::number::{Misfit, Number};
use super::timestamp::YEARS;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeFormat {
    Iso8601,
    /// A number that counts from 1970, UTC.
    Epoch(Unit),
    Layout(Layout),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

impl TimeFormat {
    /// The formats that have names; all others are layouts.
    pub const NAMES: [&str; 5] = ["iso8601", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns"];

    pub fn parse(text: &str) -> Result<Self, Unusable> {
        Ok(match text {
            "iso8601" => TimeFormat::Iso8601,
            "epoch_s" => TimeFormat::Epoch(Unit::Seconds),
            "epoch_ms" => TimeFormat::Epoch(Unit::Milliseconds),
            "epoch_us" => TimeFormat::Epoch(Unit::Microseconds),
            "epoch_ns" => TimeFormat::Epoch(Unit::Nanoseconds),
            layout => TimeFormat::Layout(Layout::parse(layout)?),
        })
    }
}

impl Unit {
    /// Microseconds since 1970. As in a text, what is below a microsecond is cut.
    pub fn micros(self, number: Number<'_>) -> Result<i64, Misfit> {
        let digits = match self {
            Unit::Seconds => 6,
            Unit::Milliseconds => 3,
            Unit::Microseconds => 0,
            Unit::Nanoseconds => -3,
        };
        let micros = i64::try_from(number.floor(digits)?).map_err(|_| Misfit::OutOfRange)?;
        // A number beyond them is in another unit than the contract says, rather than a time.
        if YEARS.contains(&micros) { Ok(micros) } else { Err(Misfit::OutOfRange) }
    }
}

impl fmt::Display for TimeFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TimeFormat::Iso8601 => f.write_str("iso8601"),
            TimeFormat::Epoch(unit) => unit.fmt(f),
            TimeFormat::Layout(layout) => f.write_str(layout.text()),
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unit::Seconds => "epoch_s",
            Unit::Milliseconds => "epoch_ms",
            Unit::Microseconds => "epoch_us",
            Unit::Nanoseconds => "epoch_ns",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(unit: Unit, number: &str) -> Result<i64, Misfit> {
        unit.micros(Number::parse(number).unwrap())
    }

    #[test]
    fn a_number_counts_from_1970_in_its_unit_by_its_digits() {
        for (unit, number, expected) in [
            (Unit::Seconds, "1706689800", 1_706_689_800_000_000),
            (Unit::Seconds, "1706689800.123456", 1_706_689_800_123_456),
            (Unit::Seconds, "1.7066898e9", 1_706_689_800_000_000),
            (Unit::Milliseconds, "1706689800123", 1_706_689_800_123_000),
            (Unit::Milliseconds, "0.5", 500),
            (Unit::Microseconds, "1706689800123456", 1_706_689_800_123_456),
            (Unit::Nanoseconds, "1706689800123456000", 1_706_689_800_123_456),
            (Unit::Seconds, "-1", -1_000_000),
            (Unit::Seconds, "0e99999", 0),
        ] {
            assert_eq!(micros(unit, number), Ok(expected), "{number} {unit}");
        }
    }

    #[test]
    fn what_is_below_a_microsecond_is_cut_towards_the_past() {
        assert_eq!(micros(Unit::Nanoseconds, "1999"), Ok(1));
        assert_eq!(micros(Unit::Nanoseconds, "-1"), Ok(-1));
        assert_eq!(micros(Unit::Nanoseconds, "-1000"), Ok(-1));
        assert_eq!(micros(Unit::Seconds, "0.1234569"), Ok(123_456));
        assert_eq!(micros(Unit::Seconds, "-0.0000001"), Ok(-1));
        assert_eq!(micros(Unit::Seconds, "1e-300"), Ok(0));
    }

    #[test]
    fn a_number_of_another_unit_is_not_a_time_of_the_far_future() {
        assert_eq!(micros(Unit::Seconds, "253402300799.999999"), Ok(YEARS.end - 1));
        for (unit, number) in [
            (Unit::Seconds, "253402300800"),
            (Unit::Seconds, "1706689800123"),
            (Unit::Seconds, "-62135596801"),
            (Unit::Milliseconds, "1e99"),
            (Unit::Milliseconds, "99999999999999999999999999999999999999999"),
        ] {
            assert_eq!(micros(unit, number), Err(Misfit::OutOfRange), "{number}");
        }
    }
}
