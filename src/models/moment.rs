//! Times as templates see them: Python's `datetime`, aware of its zone or not, and `date`.

use std::fmt::{self, Write};
use std::sync::Arc;

use chrono::{DateTime, Datelike, Duration, NaiveDate, NaiveDateTime, NaiveTime, Timelike, Utc};
use chrono_tz::Tz;
use minijinja::value::{Kwargs, Object, ObjectRepr, from_args};
use minijinja::{Error, State, Value};

use super::problem::Problem;

/// How much of a time Python would know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Aware,
    Naive,
    Date,
}

#[derive(Debug, Clone)]
pub struct Moment {
    at: DateTime<Tz>,
    kind: Kind,
}

impl Moment {
    pub fn aware(at: DateTime<Utc>, zone: Tz) -> Self {
        Moment { at: at.with_timezone(&zone), kind: Kind::Aware }
    }

    pub fn naive(at: NaiveDateTime) -> Self {
        Moment { at: at.and_utc().with_timezone(&Tz::UTC), kind: Kind::Naive }
    }

    pub fn date(date: NaiveDate) -> Self {
        Moment { kind: Kind::Date, ..Moment::naive(date.and_time(NaiveTime::MIN)) }
    }

    /// The same clock, read in a zone.
    pub fn localized(&self, zone: Tz) -> Option<Self> {
        let at = self.at.naive_local().and_local_timezone(zone).earliest()?;
        Some(Moment { at, kind: Kind::Aware })
    }

    fn format(&self, format: &str) -> Result<String, Error> {
        let mut text = String::new();
        // Python's fraction has six digits. An unknown directive only shows when the text is written.
        write!(text, "{}", self.at.format(&format.replace("%f", "%6f")))
            .map_err(|_| Problem::new(format!("{format:?} is not a format of times")))?;
        Ok(text)
    }

    fn iso(&self, between: char) -> String {
        if self.kind == Kind::Date {
            return self.at.format("%Y-%m-%d").to_string();
        }
        let fraction = if self.at.nanosecond() < 1_000 && self.kind == Kind::Naive { "" } else { "%.6f" };
        let zone = if self.kind == Kind::Aware { "%:z" } else { "" };
        self.at.format(&format!("%Y-%m-%d{between}%H:%M:%S{fraction}{zone}")).to_string()
    }

    fn number(&self, field: &str) -> Option<i64> {
        Some(match field {
            "year" => i64::from(self.at.year()),
            "month" => i64::from(self.at.month()),
            "day" => i64::from(self.at.day()),
            "hour" if self.kind != Kind::Date => i64::from(self.at.hour()),
            "minute" if self.kind != Kind::Date => i64::from(self.at.minute()),
            "second" if self.kind != Kind::Date => i64::from(self.at.second()),
            "microsecond" if self.kind != Kind::Date => i64::from(self.at.nanosecond() / 1_000),
            _ => return None,
        })
    }

    fn replaced(&self, options: &Kwargs) -> Result<Self, Error> {
        let mut local = self.at.naive_local();
        for field in options.args().map(str::to_owned).collect::<Vec<_>>() {
            let number: u32 = options.get(&field)?;
            let changed = match field.as_str() {
                "year" => i32::try_from(number).ok().and_then(|year| local.with_year(year)),
                "month" => local.with_month(number),
                "day" => local.with_day(number),
                "hour" => local.with_hour(number),
                "minute" => local.with_minute(number),
                "second" => local.with_second(number),
                "microsecond" => number.checked_mul(1_000).and_then(|nanos| local.with_nanosecond(nanos)),
                _ => return Err(Problem::unsupported(format!("`replace({field}=...)`")).into()),
            };
            local =
                changed.ok_or_else(|| Problem::new(format!("{number} cannot be the {field} of {}", self.iso(' '))))?;
        }
        let at = local.and_local_timezone(self.at.timezone()).earliest();
        let at = at.ok_or_else(|| Problem::new(format!("there is no such time in {}", self.at.timezone())))?;
        Ok(Moment { at, kind: self.kind })
    }
}

impl Object for Moment {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.number(key.as_str()?).map(Value::from)
    }

    fn custom_cmp(self: &Arc<Self>, other: &minijinja::value::DynObject) -> Option<std::cmp::Ordering> {
        other.downcast_ref::<Moment>().map(|other| self.at.cmp(&other.at))
    }

    fn call_method(self: &Arc<Self>, _: &State<'_, '_>, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        match method {
            "strftime" => {
                let (format,): (&str,) = from_args(arguments)?;
                Ok(Value::from(self.format(format)?))
            }
            "isoformat" => {
                let (between,): (Option<&str>,) = from_args(arguments)?;
                Ok(Value::from(self.iso(between.and_then(|text| text.chars().next()).unwrap_or('T'))))
            }
            "date" => Ok(Value::from_object(Moment::date(self.at.date_naive()))),
            "weekday" => Ok(Value::from(self.at.weekday().num_days_from_monday())),
            "isoweekday" => Ok(Value::from(self.at.weekday().number_from_monday())),
            "timestamp" => {
                let since = self.at.with_timezone(&Utc) - DateTime::UNIX_EPOCH;
                Ok(Value::from(since.as_seconds_f64()))
            }
            "astimezone" => {
                let (zone,): (Value,) = from_args(arguments)?;
                Ok(Value::from_object(Moment { at: self.at.with_timezone(&zone_of(&zone)?), kind: Kind::Aware }))
            }
            "replace" => {
                let (options,): (Kwargs,) = from_args(arguments)?;
                Ok(Value::from_object(self.replaced(&options)?))
            }
            // What Python writes with the operator `+`, which the engine of templates does not let a value answer.
            "plus" => {
                let (options,): (Kwargs,) = from_args(arguments)?;
                let span = duration(&options)?;
                let at = self.at.checked_add_signed(span);
                let at = at.ok_or_else(|| Problem::new("this time is out of range"))?;
                Ok(Value::from_object(Moment { at, kind: self.kind }))
            }
            _ => Err(Problem::unsupported(format!("the method `{method}` of a time")).into()),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iso(' '))
    }
}

/// A span of time from the arguments of `timedelta`.
fn duration(options: &Kwargs) -> Result<Duration, Error> {
    const UNITS: [(&str, f64); 6] = [
        ("weeks", 604_800.0),
        ("days", 86_400.0),
        ("hours", 3_600.0),
        ("minutes", 60.0),
        ("seconds", 1.0),
        ("microseconds", 1e-6),
    ];
    let mut seconds = 0.0;
    for (unit, length) in UNITS {
        seconds += options.get::<Option<f64>>(unit)?.unwrap_or(0.0) * length;
    }
    options.assert_all_used()?;
    Ok(Duration::microseconds((seconds * 1e6).round() as i64))
}

/// A zone of `modules.pytz`.
#[derive(Debug)]
pub struct Zone(pub Tz);

impl Object for Zone {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call_method(self: &Arc<Self>, _: &State<'_, '_>, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        if method != "localize" {
            return Err(Problem::unsupported(format!("the method `{method}` of a time zone")).into());
        }
        let (time,): (Value,) = from_args(arguments)?;
        let time = time.downcast_object_ref::<Moment>().ok_or_else(|| Problem::new("`localize` takes a datetime"))?;
        let at = time.localized(self.0);
        Ok(Value::from_object(at.ok_or_else(|| Problem::new(format!("there is no such time in {}", self.0)))?))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

pub fn zone_of(value: &Value) -> Result<Tz, Error> {
    let zone = value.downcast_object_ref::<Zone>();
    zone.map(|zone| zone.0).ok_or_else(|| Problem::new(format!("{value} is not a zone of modules.pytz")).into())
}
