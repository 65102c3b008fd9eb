//! Times and days, by the calendar and by the clocks of a zone, and the ISO-8601 texts of them: what the calendar or the
//! zone does not have is refused, and nothing is guessed.

use std::fmt;

use chrono::{DateTime, TimeZone};
use chrono_tz::Tz;

pub(super) const MICROS_OF_SECOND: i64 = 1_000_000;
const SECONDS_OF_DAY: i64 = 86_400;
/// The microseconds of the years 1 to 9999 in UTC: what SQL has, and what other readers of a table can show. One value
/// beyond them, and they refuse the whole table.
pub(super) const YEARS: std::ops::Range<i64> = -62_135_596_800_000_000..253_402_300_800_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Layout,
    Day,
    Time,
    Offset,
    /// The clocks of this zone jumped over this local time.
    Skipped(Tz),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Layout => f.write_str("not in the layout that was expected"),
            Fault::Day => f.write_str("no such day"),
            Fault::Time => f.write_str("no such time of day"),
            Fault::Offset => f.write_str("no such offset from UTC"),
            Fault::Skipped(zone) => write!(f, "this local time does not exist in {zone}"),
        }
    }
}

/// Microseconds since 1970 in UTC of `YYYY-MM-DD[T ]HH:MM[:SS[.f+]][Z|±HH:MM|±HHMM|±HH]`.
///
/// Without `Z` or an offset the time is local to `zone`, and of an hour that comes twice the earlier one is meant. Digits
/// below the microsecond are cut.
pub fn micros(text: &str, zone: Tz) -> Result<i64, Fault> {
    let (date, rest) = text.as_bytes().split_first_chunk().ok_or(Fault::Layout)?;
    let (&[separator, h1, h2, colon, m1, m2], rest) = rest.split_first_chunk().ok_or(Fault::Layout)?;
    if !matches!(separator, b'T' | b' ') || colon != b':' {
        return Err(Fault::Layout);
    }
    let (hour, minute) = (two_digits(h1, h2)?, two_digits(m1, m2)?);
    let (second, micros, rest) = match rest {
        [b':', s1, s2, b'.', rest @ ..] => {
            let (micros, rest) = fraction(rest)?;
            (two_digits(*s1, *s2)?, micros, rest)
        }
        [b':', s1, s2, rest @ ..] => (two_digits(*s1, *s2)?, 0, rest),
        rest => (0, 0, rest),
    };
    let offset = match rest {
        [b'Z'] => Some(0),
        [] => None,
        rest => Some(offset(rest)?),
    };
    moment(day_number(date)?, [hour, minute, second], micros, offset, zone)
}

/// Microseconds since 1970 in UTC of a day, an hour, minute and second of it, and an offset from UTC in seconds. Without
/// an offset the time is local to `zone`.
#[inline]
pub(super) fn moment(
    day: i64,
    [hour, minute, second]: [i64; 3],
    micros: i64,
    offset: Option<i64>,
    zone: Tz,
) -> Result<i64, Fault> {
    // Seconds end at 59: a leap second has no number of its own in UTC microseconds.
    if hour > 23 || minute > 59 || second > 59 {
        return Err(Fault::Time);
    }
    let local = day * SECONDS_OF_DAY + hour * 3600 + minute * 60 + second;
    let seconds = match offset {
        Some(offset) => local - offset,
        None if zone == Tz::UTC => local,
        None => in_zone(local, zone)?,
    };
    // An offset can lead out of the years that readers know.
    match YEARS.contains(&(seconds * MICROS_OF_SECOND)) {
        true => Ok(seconds * MICROS_OF_SECOND + micros),
        false => Err(Fault::Day),
    }
}

/// Days since 1970-01-01 of `YYYY-MM-DD`.
pub fn days(text: &str) -> Result<i32, Fault> {
    let date = text.as_bytes().try_into().map_err(|_| Fault::Layout)?;
    i32::try_from(day_number(date)?).map_err(|_| Fault::Day)
}

fn in_zone(local: i64, zone: Tz) -> Result<i64, Fault> {
    let naive = DateTime::from_timestamp(local, 0).ok_or(Fault::Day)?.naive_utc();
    let moment = zone.from_local_datetime(&naive).earliest().ok_or(Fault::Skipped(zone))?;
    Ok(moment.timestamp())
}

#[inline]
fn digit(byte: u8) -> Result<i64, Fault> {
    let value = byte.wrapping_sub(b'0');
    if value < 10 { Ok(i64::from(value)) } else { Err(Fault::Layout) }
}

#[inline]
fn two_digits(tens: u8, ones: u8) -> Result<i64, Fault> {
    Ok(digit(tens)? * 10 + digit(ones)?)
}

/// Microseconds of the digits behind the point, and what stands behind them.
#[inline]
fn fraction(bytes: &[u8]) -> Result<(i64, &[u8]), Fault> {
    let mut micros = 0;
    let mut unit = MICROS_OF_SECOND;
    let mut rest = bytes;
    while let [byte @ b'0'..=b'9', behind @ ..] = rest {
        unit /= 10;
        micros += i64::from(byte - b'0') * unit;
        rest = behind;
    }
    if rest.len() == bytes.len() { Err(Fault::Layout) } else { Ok((micros, rest)) }
}

#[inline]
pub(super) fn offset(text: &[u8]) -> Result<i64, Fault> {
    let (sign, hours, minutes) = match *text {
        [sign, h1, h2, b':', m1, m2] | [sign, h1, h2, m1, m2] => (sign, two_digits(h1, h2)?, two_digits(m1, m2)?),
        [sign, h1, h2] => (sign, two_digits(h1, h2)?, 0),
        _ => return Err(Fault::Layout),
    };
    let seconds = hours * 3600 + minutes * 60;
    match sign {
        _ if hours > 23 || minutes > 59 => Err(Fault::Offset),
        b'+' => Ok(seconds),
        b'-' => Ok(-seconds),
        _ => Err(Fault::Layout),
    }
}

/// Days since 1970-01-01 of `YYYY-MM-DD` in the Gregorian calendar.
#[inline]
fn day_number(date: &[u8; 10]) -> Result<i64, Fault> {
    let &[y1, y2, y3, y4, dash1, m1, m2, dash2, d1, d2] = date;
    let year = two_digits(y1, y2)? * 100 + two_digits(y3, y4)?;
    let (month, day) = (two_digits(m1, m2)?, two_digits(d1, d2)?);
    if dash1 != b'-' || dash2 != b'-' {
        return Err(Fault::Layout);
    }
    day_of(year, month, day)
}

/// Days since 1970-01-01 in the Gregorian calendar.
#[inline]
pub(super) fn day_of(year: i64, month: i64, day: i64) -> Result<i64, Fault> {
    // Many readers know no year 0.
    if year < 1 || day < 1 || day > days_in_month(year, month) {
        return Err(Fault::Day);
    }
    // Years that begin in March put the leap day at their end, so the days before a month need no exception. The
    // added 400 years, which have 146,097 days, keep all divisions on the positive side.
    let (year, month) = if month > 2 { (year + 400, month - 3) } else { (year + 399, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    Ok(days - 146_097 - 719_468)
}

#[inline]
fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
