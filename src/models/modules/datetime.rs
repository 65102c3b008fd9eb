//! `modules.datetime` and `modules.pytz`.

use std::str::FromStr;
use std::sync::Arc;

use chrono::{NaiveDate, NaiveDateTime};
use chrono_tz::Tz;
use minijinja::value::{Object, Rest, from_args};
use minijinja::{Error, State, Value};

use crate::models::moment::{Moment, Zone, zone_of};
use crate::models::problem::Problem;
use crate::models::scope::Scope;

#[derive(Debug)]
pub struct Module;

/// `datetime.datetime` or `datetime.date`: makes times.
#[derive(Debug)]
struct Class {
    is_date: bool,
}

#[derive(Debug)]
pub struct Zones;

impl Object for Module {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "datetime" => Some(Value::from_object(Class { is_date: false })),
            "date" => Some(Value::from_object(Class { is_date: true })),
            "timezone" => Some(Value::from_object(Zones)),
            _ => None,
        }
    }

    fn call_method(self: &Arc<Self>, state: &State<'_, '_>, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        match self.get_value(&Value::from(method)) {
            Some(class) => class.call(state, arguments),
            None if method == "timedelta" => Err(Problem::unsupported("`modules.datetime.timedelta`")
                .hint("a time has the method `plus`, as in run_started_at.plus(days=-3)")
                .into()),
            None => Err(Problem::unsupported(format!("`modules.datetime.{method}`")).into()),
        }
    }
}

impl Class {
    fn value(&self, at: NaiveDateTime) -> Value {
        Value::from_object(if self.is_date { Moment::date(at.date()) } else { Moment::naive(at) })
    }
}

impl Object for Class {
    fn call(self: &Arc<Self>, _: &State<'_, '_>, arguments: &[Value]) -> Result<Value, Error> {
        let (year, month, day, clock): (i32, u32, u32, Rest<u32>) = from_args(arguments)?;
        let part = |i: usize| clock.get(i).copied().unwrap_or(0);
        let at = NaiveDate::from_ymd_opt(year, month, day)
            .and_then(|date| date.and_hms_micro_opt(part(0), part(1), part(2), part(3)));
        Ok(self.value(at.ok_or_else(|| Problem::new("there is no such day or time"))?))
    }

    fn call_method(self: &Arc<Self>, state: &State<'_, '_>, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        let now = Scope::of(state)?.run_started_at;
        match method {
            "now" if !self.is_date => {
                let (zone,): (Option<Value>,) = from_args(arguments)?;
                match zone.filter(|zone| !zone.is_none()) {
                    Some(zone) => Ok(Value::from_object(Moment::aware(now, zone_of(&zone)?))),
                    None => Ok(self.value(now.naive_utc())),
                }
            }
            "utcnow" | "today" => Ok(self.value(now.naive_utc())),
            "strptime" if !self.is_date => {
                let (text, format): (&str, &str) = from_args(arguments)?;
                let native = format.replace(".%f", "%.f");
                let at = NaiveDateTime::parse_from_str(text, &native)
                    .or_else(|_| Ok(NaiveDate::parse_from_str(text, &native)?.and_time(Default::default())))
                    .map_err(|_: chrono::ParseError| Problem::new(format!("{text:?} is not written as {format:?}")))?;
                Ok(self.value(at))
            }
            "fromisoformat" => {
                let (text,): (&str,) = from_args(arguments)?;
                let at = NaiveDateTime::from_str(&text.replacen(' ', "T", 1))
                    .or_else(|_| Ok(NaiveDate::from_str(text)?.and_time(Default::default())))
                    .map_err(|_: chrono::ParseError| {
                        Problem::new(format!("{text:?} is not a time as ISO 8601 has it"))
                    })?;
                Ok(self.value(at))
            }
            _ => Err(Problem::unsupported(format!("`modules.datetime.datetime.{method}`")).into()),
        }
    }
}

impl Object for Zones {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        matches!(key.as_str()?, "utc" | "UTC").then(|| Value::from_object(Zone(Tz::UTC)))
    }

    fn call_method(self: &Arc<Self>, _: &State<'_, '_>, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        if method != "timezone" {
            return Err(Problem::unsupported(format!("`modules.pytz.{method}`")).into());
        }
        let (name,): (&str,) = from_args(arguments)?;
        let zone = name.parse().map_err(|_| Problem::new(format!("there is no time zone {name:?}")))?;
        Ok(Value::from_object(Zone(zone)))
    }
}
