//! YAML whose values know the file, line and column they came from, so that a mistake in a properties file is answered
//! like a mistake in a program.

use serde_json::{Map, Value};

use super::layout::{Layout, Spot};
use super::problem::Problem;
use crate::error::{Error, Place, Result, nearest};

/// One parsed YAML file.
#[derive(Debug)]
pub struct Document {
    layout: Layout,
    pub root: Value,
    /// The same before any Jinja in it was rendered.
    written: Value,
}

/// One step on the way from the root of a document to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Key(String),
    Item(usize),
}

/// A value and where it stands.
#[derive(Clone)]
pub struct At<'a> {
    layout: &'a Layout,
    spot: Spot,
    /// The nearest key above.
    key: Option<&'a str>,
    /// Whether this is an item of the list under that key.
    item: bool,
    pub value: &'a Value,
    /// The value as the user wrote it, its Jinja not rendered.
    pub written: &'a Value,
}

/// What most often makes the parser say this.
fn advice(told: &str) -> Option<&'static str> {
    const ADVICE: [(&str, &str); 4] = [
        ("tab character", "indent with spaces: YAML takes no tabs there"),
        ("mapping values are not allowed", "a text with a colon in it needs quotes around it"),
        ("block collection", "give this line the indentation of its neighbours"),
        ("block mapping", "give this line the indentation of its neighbours"),
    ];
    ADVICE.iter().find(|(words, _)| told.contains(words)).map(|(_, advice)| *advice)
}

impl Document {
    pub fn parse(file: &str, text: String) -> Result<Self> {
        let parsed = serde_yaml_ng::from_str::<serde_yaml_ng::Value>(&text).and_then(|mut value| {
            value.apply_merge()?;
            Ok(value)
        });
        let yaml = parsed.map_err(|e| {
            let (line, column) = e.location().map_or((1, 1), |l| (l.line(), l.column()));
            let place = Place::in_text(file, &text, line, column);
            // The place is shown; what is being read there may have begun elsewhere.
            let told = e.to_string().replacen(&format!(" at line {line} column {column}"), "", 1);
            let error = Error::input(format!("this is not valid YAML: {told}")).at(place);
            match advice(&told) {
                Some(advice) => error.hint(advice),
                None => error,
            }
        })?;
        let mut document = Document { layout: Layout::new(file, &text), root: Value::Null, written: Value::Null };
        document.root = document.json(yaml, &mut Vec::new())?;
        document.written = document.root.clone();
        Ok(document)
    }

    fn json(&self, yaml: serde_yaml_ng::Value, way: &mut Vec<Step>) -> Result<Value> {
        use serde_yaml_ng::Value as Yaml;
        let wrong = |what: &str, way: &[Step]| Error::input(what).at(self.place(way));
        Ok(match yaml {
            Yaml::Null => Value::Null,
            Yaml::Bool(b) => b.into(),
            Yaml::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
                (Some(i), _, _) => i.into(),
                (_, Some(u), _) => u.into(),
                (_, _, Some(f)) if f.is_finite() => f.into(),
                _ => return Err(wrong("a number must be finite", way)),
            },
            Yaml::String(s) => s.into(),
            Yaml::Sequence(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (i, item) in items.into_iter().enumerate() {
                    way.push(Step::Item(i));
                    list.push(self.json(item, way)?);
                    way.pop();
                }
                list.into()
            }
            Yaml::Mapping(entries) => {
                let mut map = Map::new();
                for (key, value) in entries {
                    let key = match key {
                        Yaml::String(s) => s,
                        Yaml::Number(n) => n.to_string(),
                        Yaml::Bool(b) => b.to_string(),
                        _ => return Err(wrong("a key must be a word, a number or a truth value", way)),
                    };
                    way.push(Step::Key(key.clone()));
                    map.insert(key, self.json(value, way)?);
                    way.pop();
                }
                map.into()
            }
            Yaml::Tagged(tagged) => return Err(wrong(&format!("the YAML tag {} is not supported", tagged.tag), way)),
        })
    }

    pub fn top(&self) -> At<'_> {
        At {
            layout: &self.layout,
            spot: self.layout.root(),
            key: None,
            item: false,
            value: &self.root,
            written: &self.written,
        }
    }

    /// Replaces every string that holds Jinja by what `render` makes of it, save below the keys for which `later` is
    /// true; it is given the depth of a key and the key.
    pub fn render(
        &mut self,
        later: impl Fn(usize, &str) -> bool,
        mut render: impl FnMut(&str) -> Result<Value, Problem>,
    ) -> Result<()> {
        let mut root = std::mem::take(&mut self.root);
        let mut way = Vec::new();
        let done = render_below(&mut root, &mut way, &later, &mut render);
        self.root = root;
        done.map_err(|problem| problem.at(self.place(&way)))
    }

    fn place(&self, way: &[Step]) -> Place {
        let spot = way.iter().fold(self.layout.root(), |spot, step| match step {
            Step::Key(key) => self.layout.key(spot, key),
            Step::Item(n) => self.layout.items(spot).get(*n).copied().unwrap_or(spot.somewhere_within()),
        });
        self.layout.place(spot)
    }
}

/// Leaves in `way` where it failed.
fn render_below(
    value: &mut Value,
    way: &mut Vec<Step>,
    later: &dyn Fn(usize, &str) -> bool,
    render: &mut dyn FnMut(&str) -> Result<Value, Problem>,
) -> Result<(), Problem> {
    match value {
        Value::String(text) if has_jinja(text) => *value = render(text)?,
        Value::Array(items) => {
            for (i, item) in items.iter_mut().enumerate() {
                way.push(Step::Item(i));
                render_below(item, way, later, render)?;
                way.pop();
            }
        }
        Value::Object(map) => {
            let depth = way.len();
            for (key, item) in map.iter_mut().filter(|(key, _)| !later(depth, key)) {
                way.push(Step::Key(key.clone()));
                render_below(item, way, later, render)?;
                way.pop();
            }
        }
        _ => {}
    }
    Ok(())
}

pub fn has_jinja(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

/// The value of a key in what was written, where that is a map and no Jinja that makes one.
fn below<'a>(written: &'a Value, key: &str) -> &'a Value {
    written.get(key).unwrap_or(&Value::Null)
}

impl<'a> At<'a> {
    pub fn place(&self) -> Place {
        self.layout.place(self.spot)
    }

    pub fn error(&self, what: impl Into<String>) -> Error {
        Error::input(what).at(self.place())
    }

    pub fn problem(&self, problem: Problem) -> Error {
        problem.at(self.place())
    }

    fn expected(&self, what: &str) -> Error {
        let name = self.key.map_or_else(|| "this file".to_owned(), |key| format!("`{key}`"));
        let name = if self.item { format!("an item of {name}") } else { name };
        self.error(format!("{name} should be {what}, but it is {}", describe(self.value)))
    }

    /// The value under `key`; none if the key is absent or holds nothing.
    pub fn get(&self, key: &str) -> Option<At<'a>> {
        let (key, value) = self.value.as_object()?.get_key_value(key).filter(|(_, value)| !value.is_null())?;
        let written = below(self.written, key);
        Some(At { spot: self.layout.key(self.spot, key), key: Some(key), item: false, value, written, ..self.clone() })
    }

    pub fn entries(&self) -> Result<Vec<(&'a str, At<'a>)>> {
        let entry = |key: &'a String, value| {
            let written = below(self.written, key);
            let at = At {
                spot: self.layout.key(self.spot, key),
                key: Some(key),
                item: false,
                value,
                written,
                ..self.clone()
            };
            (key.as_str(), at)
        };
        match self.value {
            Value::Null => Ok(Vec::new()),
            Value::Object(map) => Ok(map.iter().map(|(key, value)| entry(key, value)).collect()),
            _ => Err(self.expected("a map of keys and values")),
        }
    }

    pub fn items(&self) -> Result<Vec<At<'a>>> {
        let Value::Array(list) = self.value else {
            return if self.value.is_null() { Ok(Vec::new()) } else { Err(self.expected("a list")) };
        };
        let spots = self.layout.items(self.spot);
        let spots = spots.into_iter().chain(std::iter::repeat(self.spot.somewhere_within()));
        let written = self.written.as_array().into_iter().flatten().chain(std::iter::repeat(&Value::Null));
        let items = list.iter().zip(spots).zip(written);
        Ok(items.map(|((value, spot), written)| At { spot, value, written, item: true, ..self.clone() }).collect())
    }

    /// The items of the list under `key`, none if there is no such key.
    pub fn list(&self, key: &str) -> Result<Vec<At<'a>>> {
        self.get(key).map_or(Ok(Vec::new()), |at| at.items())
    }

    pub fn text(&self) -> Result<&'a str> {
        self.value.as_str().ok_or_else(|| self.expected("a text"))
    }

    pub fn optional_text(&self, key: &str) -> Result<Option<String>> {
        self.get(key).map(|at| at.text().map(str::to_owned)).transpose()
    }

    pub fn flag(&self) -> Result<bool> {
        self.value.as_bool().ok_or_else(|| self.expected("true or false"))
    }

    pub fn count(&self) -> Result<u64> {
        self.value.as_u64().ok_or_else(|| self.expected("a whole number that is not negative"))
    }

    pub fn texts(&self) -> Result<Vec<String>> {
        self.items()?.iter().map(|at| at.text().map(str::to_owned)).collect()
    }

    pub fn map(&self) -> Result<&'a Map<String, Value>> {
        self.value.as_object().ok_or_else(|| self.expected("a map of keys and values"))
    }

    pub fn required_text(&self, key: &str) -> Result<&'a str> {
        match self.get(key) {
            Some(at) => at.text(),
            None => Err(self.error(format!("`{key}` is missing here"))),
        }
    }

    /// Fails on the first key that is not in `known`: as unsupported if dbt has it, else with the nearest known name.
    pub fn only(&self, known: &[&str], unsupported: &[&str]) -> Result<()> {
        for (key, at) in self.entries()? {
            if unsupported.contains(&key) {
                return Err(at.error(format!("`{key}` is not supported yet")));
            }
            if !known.contains(&key) {
                let error = at.error(format!("unknown key `{key}`"));
                return Err(match nearest(key, known.iter().copied()) {
                    Some(name) => error.hint(format!("did you mean `{name}`?")),
                    None => error.hint(format!("known here: {}", known.join(", "))),
                });
            }
        }
        Ok(())
    }
}

/// What kind of value this is, for an error.
pub fn describe(value: &Value) -> String {
    match value {
        Value::Null => "empty".to_owned(),
        Value::Bool(b) => format!("{b}"),
        Value::Number(n) => format!("the number {n}"),
        Value::String(s) => format!("the text {s:?}"),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_key_is_an_error() {
        let e = Document::parse("f.yml", "a: 1\na: 2\n".to_owned()).unwrap_err();
        assert!(e.to_string().contains("duplicate"), "{e}");
    }

    #[test]
    fn broken_yaml_is_placed_where_it_breaks() {
        let e = Document::parse("f.yml", "a: 1\nb: [1\nc: 2\n".to_owned()).unwrap_err();
        assert_eq!(e.place().map(|p| (p.file.as_str(), p.line > 1)), Some(("f.yml", true)));
    }

    #[test]
    fn an_unknown_key_is_answered_with_the_nearest_name() {
        let document = Document::parse("f.yml", "nmae: x\n".to_owned()).unwrap();
        let e = document.top().only(&["name", "columns"], &[]).unwrap_err();
        assert!(e.to_string().contains("did you mean `name`?"), "{e}");
    }
}
