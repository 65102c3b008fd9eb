//! Layouts of dates and times for sources that do not write ISO-8601, in the letters of Java and Spark. A letter that is
//! not understood is refused when the layout is read, not when a record comes.
//!
//! One letter reads a number of one or two digits, two letters exactly two: `d/M/yyyy` and `dd/MM/yyyy`. Years have four
//! digits, since two would be a guess.

use chrono_tz::Tz;

use super::timestamp::{self, Fault, MICROS_OF_SECOND};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
/// Of a month's or a weekday's name.
const SHORT: usize = 3;
const LETTERS: &str = "the letters are yyyy, M, MM, MMM, MMMM, d, dd, EEE, EEEE, H, HH, h, hh, a, m, mm, s, ss, S to \
                       SSSSSSSSS, X, XX and XXX; text goes into single quotes";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    text: String,
    items: Vec<Item>,
}

/// What is wrong with a layout, and how many characters stand before it.
#[derive(Debug, PartialEq, Eq)]
pub struct Unusable {
    pub at: usize,
    pub problem: String,
    pub hint: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Literal(char),
    /// A number of `least` to `most` digits.
    Number {
        part: Part,
        least: usize,
        most: usize,
    },
    Month {
        short: bool,
    },
    Weekday {
        short: bool,
    },
    /// AM or PM.
    Half,
    /// Digits behind the point of a second.
    Fraction {
        most: usize,
    },
    /// `Z`, or a sign and so many characters.
    Offset {
        length: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Year,
    Month,
    Day,
    Hour,
    /// Of twelve.
    HalfHour,
    Minute,
    Second,
}

/// What a text says. What its layout does not have is the start of the day.
#[derive(Default)]
struct Found {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
    afternoon: Option<bool>,
    weekday: Option<i64>,
    offset: Option<i64>,
}

impl Layout {
    pub fn parse(text: &str) -> Result<Self, Unusable> {
        let mut items = Vec::new();
        let mut rest = text;
        let mut letters = String::new();
        while let Some(first) = rest.chars().next() {
            let at = text.chars().count() - rest.chars().count();
            let unusable = |problem: String| Unusable { at, problem, hint: LETTERS };
            if first == '\'' {
                let quoted = rest.strip_prefix('\'').unwrap_or_default();
                let Some((literal, behind)) = quoted.split_once('\'') else {
                    return Err(unusable("text in quotes that does not end".to_owned()));
                };
                // Two quotes are one that is meant.
                items.extend((if literal.is_empty() { "'" } else { literal }).chars().map(Item::Literal));
                rest = behind;
            } else if first.is_ascii_alphabetic() {
                let count = rest.chars().take_while(|ch| *ch == first).count();
                let Some(item) = item(first, count) else {
                    let run: String = rest.chars().take(count).collect();
                    return Err(unusable(format!("`{run}` means nothing in a layout")));
                };
                // Month names and numbers are the same part, and so are both kinds of hours.
                let part = if first == 'h' { 'H' } else { first };
                if letters.contains(part) {
                    return Err(unusable(format!("`{first}` is there twice")));
                }
                letters.push(part);
                items.push(item);
                rest = rest.get(count..).unwrap_or_default();
            } else if "[]{}#".contains(first) {
                return Err(unusable(format!("`{first}` is reserved; put it into single quotes if it is meant")));
            } else {
                items.push(Item::Literal(first));
                rest = rest.get(first.len_utf8()..).unwrap_or_default();
            }
        }
        let layout = Layout { text: text.to_owned(), items };
        match layout.lacking(&letters) {
            Some(problem) => Err(Unusable { at: 0, problem: problem.to_owned(), hint: LETTERS }),
            None => Ok(layout),
        }
    }

    /// Why no moment could be read by this layout.
    fn lacking(&self, letters: &str) -> Option<&'static str> {
        let has = |letter: char| letters.contains(letter);
        let half_hour = self.has(Part::HalfHour);
        match () {
            () if !(has('y') && has('M') && has('d')) => Some("a layout has a year, a month and a day"),
            () if half_hour != has('a') => Some("`h` and `a` go together; the hour of a whole day is `H`"),
            () if has('m') && !has('H') || has('s') && !has('m') || has('S') && !has('s') => {
                Some("hour, minute, second and fraction need the ones before them")
            }
            () if has('X') && !has('H') => Some("an offset needs a time"),
            () => None,
        }
    }

    fn has(&self, wanted: Part) -> bool {
        self.items.iter().any(|item| matches!(item, Item::Number { part, .. } if *part == wanted))
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it has more than a day.
    pub fn has_time(&self) -> bool {
        self.has(Part::Hour) || self.has(Part::HalfHour)
    }

    /// Microseconds since 1970 in UTC; without an offset the time is local to `zone`.
    pub fn micros(&self, text: &str, zone: Tz) -> Result<i64, Fault> {
        let found = self.read(text)?;
        let hour = match found.afternoon {
            None => found.hour,
            Some(_) if !(1..=12).contains(&found.hour) => return Err(Fault::Time),
            Some(afternoon) => found.hour % 12 + if afternoon { 12 } else { 0 },
        };
        timestamp::moment(found.days()?, [hour, found.minute, found.second], found.micros, found.offset, zone)
    }

    /// Days since 1970.
    pub fn days(&self, text: &str) -> Result<i32, Fault> {
        i32::try_from(self.read(text)?.days()?).map_err(|_| Fault::Day)
    }

    fn read(&self, text: &str) -> Result<Found, Fault> {
        let mut found = Found::default();
        let mut rest = text;
        for item in &self.items {
            match item {
                Item::Literal(expected) => rest = rest.strip_prefix(*expected).ok_or(Fault::Layout)?,
                Item::Number { part, least, most } => {
                    let digits = digits(&mut rest, *least, *most)?;
                    *found.part(*part) = digits.bytes().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
                }
                Item::Month { short } => found.month = name(&mut rest, &MONTHS, *short)? + 1,
                Item::Weekday { short } => found.weekday = Some(name(&mut rest, &WEEKDAYS, *short)?),
                Item::Half => found.afternoon = Some(name(&mut rest, &["AM", "PM"], false)? == 1),
                Item::Fraction { most } => {
                    let digits = digits(&mut rest, 1, *most)?;
                    let micros = |unit: &mut i64, digit: u8| {
                        *unit /= 10;
                        Some(*unit * i64::from(digit - b'0'))
                    };
                    found.micros = digits.bytes().scan(MICROS_OF_SECOND, micros).sum();
                }
                Item::Offset { length } => {
                    found.offset = Some(match rest.strip_prefix('Z') {
                        Some(behind) => {
                            rest = behind;
                            0
                        }
                        None => timestamp::offset(take(&mut rest, *length)?.as_bytes())?,
                    });
                }
            }
        }
        if rest.is_empty() { Ok(found) } else { Err(Fault::Layout) }
    }
}

impl Found {
    fn part(&mut self, part: Part) -> &mut i64 {
        match part {
            Part::Year => &mut self.year,
            Part::Month => &mut self.month,
            Part::Day => &mut self.day,
            Part::Hour | Part::HalfHour => &mut self.hour,
            Part::Minute => &mut self.minute,
            Part::Second => &mut self.second,
        }
    }

    fn days(&self) -> Result<i64, Fault> {
        let days = timestamp::day_of(self.year, self.month, self.day)?;
        // 1970 began on a Thursday.
        match self.weekday {
            Some(weekday) if (days + 3).rem_euclid(7) != weekday => Err(Fault::Day),
            _ => Ok(days),
        }
    }
}

/// What a letter means that stands there so many times.
fn item(letter: char, count: usize) -> Option<Item> {
    let number = |part| match count {
        1 | 2 => Some(Item::Number { part, least: count, most: 2 }),
        _ => None,
    };
    match (letter, count) {
        ('y', 4) => Some(Item::Number { part: Part::Year, least: 4, most: 4 }),
        ('M', 3 | 4) => Some(Item::Month { short: count == 3 }),
        ('M', _) => number(Part::Month),
        ('d', _) => number(Part::Day),
        ('E', 1..=4) => Some(Item::Weekday { short: count < 4 }),
        ('H', _) => number(Part::Hour),
        ('h', _) => number(Part::HalfHour),
        ('a', 1) => Some(Item::Half),
        ('m', _) => number(Part::Minute),
        ('s', _) => number(Part::Second),
        ('S', 1..=9) => Some(Item::Fraction { most: count }),
        ('X', 1) => Some(Item::Offset { length: "+hh".len() }),
        ('X', 2) => Some(Item::Offset { length: "+hhmm".len() }),
        ('X', 3) => Some(Item::Offset { length: "+hh:mm".len() }),
        _ => None,
    }
}

fn take<'t>(rest: &mut &'t str, length: usize) -> Result<&'t str, Fault> {
    let (taken, behind) = rest.split_at_checked(length).ok_or(Fault::Layout)?;
    *rest = behind;
    Ok(taken)
}

fn digits<'t>(rest: &mut &'t str, least: usize, most: usize) -> Result<&'t str, Fault> {
    let count = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if count < least { Err(Fault::Layout) } else { take(rest, count) }
}

/// Which of these English names comes next, in any case.
fn name(rest: &mut &str, names: &[&str], short: bool) -> Result<i64, Fault> {
    for (index, name) in (0..).zip(names) {
        let length = if short { SHORT } else { name.len() };
        if let (Some(written), Some(expected)) = (rest.get(..length), name.get(..length))
            && written.eq_ignore_ascii_case(expected)
        {
            take(rest, length)?;
            return Ok(index);
        }
    }
    Err(Fault::Layout)
}

#[cfg(test)]
mod tests;
