//! `modules.re`: regular expressions, without look-around and back-references in patterns, which are told as errors.

use std::sync::Arc;

use minijinja::value::{Kwargs, Object, ObjectRepr, Rest, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use regex::{Captures, Regex};

use crate::models::problem::Problem;
use crate::models::values::{List, Tuple};

const FLAGS: [(&str, i64, char); 4] =
    [("IGNORECASE", 2, 'i'), ("MULTILINE", 8, 'm'), ("DOTALL", 16, 's'), ("VERBOSE", 64, 'x')];

#[derive(Debug)]
pub struct Module;

#[derive(Debug)]
struct Pattern {
    text: String,
    flags: i64,
}

/// What a pattern found.
#[derive(Debug)]
struct Match {
    groups: Vec<Option<(usize, usize, String)>>,
    names: Vec<Option<String>>,
}

impl Object for Module {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let key = key.as_str()?;
        let flag = FLAGS.iter().find(|(name, _, _)| *name == key || (key.len() == 1 && name.starts_with(key)));
        flag.map(|(_, bit, _)| Value::from(*bit))
    }

    fn call_method(self: &Arc<Self>, _: &State<'_, '_>, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        let (pattern, rest): (&str, Rest<Value>) = from_args(arguments)?;
        match method {
            "escape" => return Ok(Value::from(regex::escape(pattern))),
            "compile" => {
                let (flags,): (Option<i64>,) = from_args(&rest)?;
                let pattern = Pattern { text: pattern.to_owned(), flags: flags.unwrap_or(0) };
                pattern.compiled("")?;
                return Ok(Value::from_object(pattern));
            }
            _ => {}
        }
        // The number of positional arguments that a method takes; the flags stand behind them.
        let taken = if method == "sub" { 2 } else { 1 };
        let mut own = rest.0;
        let mut flags = 0;
        if let Some(keywords) = own.last().filter(|last| last.is_kwargs()).cloned() {
            let keywords = Kwargs::try_from(keywords)?;
            flags = keywords.get::<Option<i64>>("flags")?.unwrap_or(0);
            let count = keywords.get::<Option<Value>>("count")?;
            keywords.assert_all_used()?;
            own.pop();
            own.extend(count);
        } else if method != "sub" && own.len() > taken {
            flags = own.pop().and_then(|flags| flags.as_i64()).unwrap_or(0);
        }
        Pattern { text: pattern.to_owned(), flags }.run(method, &own)
    }
}

impl Pattern {
    fn compiled(&self, around: &str) -> Result<Regex, Error> {
        let letters: String = FLAGS.iter().filter(|f| self.flags & f.1 != 0).map(|f| f.2).collect();
        let flags = if letters.is_empty() { String::new() } else { format!("(?{letters})") };
        let whole = match around {
            "match" => format!("{flags}\\A(?:{})", self.text),
            "fullmatch" => format!("{flags}\\A(?:{})\\z", self.text),
            _ => format!("{flags}{}", self.text),
        };
        Regex::new(&whole).map_err(|e| {
            let why = e.to_string();
            let why = why.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned();
            Problem::new(format!("{:?} is not a regular expression here: {why}", self.text)).into()
        })
    }

    fn run(&self, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        let regex = self.compiled(method)?;
        match method {
            "match" | "fullmatch" | "search" => {
                let (text,): (&str,) = from_args(arguments)?;
                Ok(regex.captures(text).map_or(Value::from(()), |found| Match::value(&regex, &found)))
            }
            "findall" => {
                let (text,): (&str,) = from_args(arguments)?;
                Ok(Value::from_object(List::new(regex.captures_iter(text).map(|found| groups(&found)).collect())))
            }
            "finditer" => {
                let (text,): (&str,) = from_args(arguments)?;
                let found = regex.captures_iter(text).map(|found| Match::value(&regex, &found));
                Ok(Value::from_object(List::new(found.collect())))
            }
            "split" => {
                let (text,): (&str,) = from_args(arguments)?;
                Ok(Value::from_object(List::new(regex.split(text).map(Value::from).collect())))
            }
            "sub" => {
                let (by, text, count): (&str, &str, Option<usize>) = from_args(arguments)?;
                let by = replacement(by);
                Ok(Value::from(regex.replacen(text, count.unwrap_or(0), by.as_str()).into_owned()))
            }
            _ => Err(Problem::unsupported(format!("`modules.re.{method}`")).into()),
        }
    }
}

/// `\1` and `\g<name>` as the engine spells them.
fn replacement(text: &str) -> String {
    let mut made = String::new();
    let mut rest = text.replace('$', "$$");
    while let Some(at) = rest.find('\\') {
        made.push_str(&rest[..at]);
        let after = rest[at + 1..].to_owned();
        let digits = after.chars().take_while(char::is_ascii_digit).count();
        let named = after.strip_prefix("g<").and_then(|name| name.split_once('>'));
        rest = match (digits, named) {
            (0, Some((name, behind))) => {
                made.push_str(&format!("${{{name}}}"));
                behind.to_owned()
            }
            (0, None) => {
                let mut characters = after.chars();
                match characters.next() {
                    Some('n') => made.push('\n'),
                    Some('t') => made.push('\t'),
                    Some('\\') | None => made.push('\\'),
                    Some(other) => made.extend(['\\', other]),
                }
                characters.as_str().to_owned()
            }
            (digits, _) => {
                made.push_str(&format!("${{{}}}", &after[..digits]));
                after[digits..].to_owned()
            }
        };
    }
    made + &rest
}

/// As `findall` has a find: all of it, its one group, or its groups.
fn groups(found: &Captures<'_>) -> Value {
    let text = |i: usize| Value::from(found.get(i).map_or("", |m| m.as_str()));
    match found.len() {
        1 => text(0),
        2 => text(1),
        many => Value::from_object(Tuple::new((1..many).map(text).collect())),
    }
}

impl Object for Pattern {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call_method(self: &Arc<Self>, _: &State<'_, '_>, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        self.run(method, arguments)
    }
}

impl Match {
    fn value(regex: &Regex, found: &Captures<'_>) -> Value {
        let groups = found.iter().map(|g| g.map(|g| (g.start(), g.end(), g.as_str().to_owned()))).collect();
        Value::from_object(Match { groups, names: regex.capture_names().map(|n| n.map(str::to_owned)).collect() })
    }

    fn group(&self, which: &Value) -> Result<Option<&(usize, usize, String)>, Error> {
        let at = match which.as_str() {
            Some(name) => self.names.iter().position(|n| n.as_deref() == Some(name)),
            None => which.as_usize(),
        };
        let group = at.and_then(|at| self.groups.get(at));
        group.map(Option::as_ref).ok_or_else(|| Problem::new(format!("the pattern has no group {which}")).into())
    }

    fn text(&self, which: &Value) -> Result<Value, Error> {
        Ok(self.group(which)?.map_or(Value::from(()), |(_, _, text)| Value::from(text.as_str())))
    }
}

impl Object for Match {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.text(key).ok()
    }

    fn call_method(self: &Arc<Self>, _: &State<'_, '_>, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        let first = arguments.first().cloned().unwrap_or_else(|| Value::from(0));
        match method {
            "group" if arguments.len() > 1 => {
                let texts = arguments.iter().map(|which| self.text(which)).collect::<Result<_, _>>()?;
                Ok(Value::from_object(Tuple::new(texts)))
            }
            "group" => self.text(&first),
            "groups" => {
                let texts = (1..self.groups.len()).map(|i| self.text(&Value::from(i))).collect::<Result<_, _>>()?;
                Ok(Value::from_object(Tuple::new(texts)))
            }
            "start" => Ok(self.group(&first)?.map_or(Value::from(-1), |(start, _, _)| Value::from(*start))),
            "end" => Ok(self.group(&first)?.map_or(Value::from(-1), |(_, end, _)| Value::from(*end))),
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}
