//! Where in a record a column's value stands: `city`, `address.city`, `items[0].sku`, `"odd name"."a.b"`.

use std::fmt;

/// Steps of one path: also how deep the decoder goes into itself for it.
const LONGEST: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Field(String),
    /// An element of an array, counted from 0.
    Element(usize),
}

/// One field of the record, and steps from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(Vec<Step>);

/// What cannot be read, and how many characters stand before it.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    pub at: usize,
    pub problem: &'static str,
}

impl Path {
    pub fn field(name: &str) -> Self {
        Path(vec![Step::Field(name.to_owned())])
    }

    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The name of the record's field, if the path goes no further.
    pub fn as_field(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Step::Field(name)] => Some(name),
            _ => None,
        }
    }

    pub fn parse(text: &str) -> Result<Self, Fault> {
        let mut reader = Reader { rest: text, at: 0 };
        let mut steps = vec![Step::Field(reader.name()?)];
        while let Some(next) = reader.next() {
            let start = reader.at - 1;
            steps.push(match next {
                '.' => Step::Field(reader.name()?),
                '[' => Step::Element(reader.index()?),
                _ => return Err(Fault { at: start, problem: "expected `.name` or `[number]`" }),
            });
            if steps.len() > LONGEST {
                return Err(Fault { at: start, problem: "a path has at most 32 steps" });
            }
        }
        Ok(Path(steps))
    }
}

struct Reader<'a> {
    rest: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next()?;
        (self.rest, self.at) = (chars.as_str(), self.at + 1);
        Some(next)
    }

    fn take_while(&mut self, is_part: impl Fn(char) -> bool) -> String {
        let end = self.rest.find(|ch| !is_part(ch)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or_default();
        (self.rest, self.at) = (rest, self.at + taken.chars().count());
        taken.to_owned()
    }

    fn name(&mut self) -> Result<String, Fault> {
        let start = self.at;
        if self.rest.starts_with('"') {
            self.next();
            let name = self.take_while(|ch| ch != '"');
            return match self.next() {
                Some(_) => Ok(name),
                None => Err(Fault { at: start, problem: "a quoted name that does not end" }),
            };
        }
        let name = self.take_while(|ch| !matches!(ch, '.' | '[' | ']' | '"') && !ch.is_whitespace());
        match name.as_str() {
            "" => {
                Err(Fault { at: start, problem: "expected the name of a field, in double quotes if it is not plain" })
            }
            // What users of JSONPath would write first; as a name it would be absent from every record.
            "$" => Err(Fault {
                at: start,
                problem: "a path begins at the record without `$`; a field of that name is \"$\"",
            }),
            _ => Ok(name),
        }
    }

    fn index(&mut self) -> Result<usize, Fault> {
        let start = self.at;
        let digits = self.take_while(|ch| ch.is_ascii_digit());
        match (digits.parse(), self.next()) {
            (Ok(index), Some(']')) => Ok(index),
            _ => Err(Fault { at: start, problem: "expected the number of an element, from 0, and `]`" }),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Field(name) => write!(f, "{}{name}", if index == 0 { "" } else { "." })?,
                Step::Element(element) => write!(f, "[{element}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str) -> Vec<Step> {
        Path::parse(text).unwrap().0
    }

    #[test]
    fn a_path_goes_by_names_and_numbers() {
        let field = |name: &str| Step::Field(name.to_owned());
        assert_eq!(steps("city"), [field("city")]);
        assert_eq!(steps("address.city-2"), [field("address"), field("city-2")]);
        assert_eq!(steps("items[0].sku"), [field("items"), Step::Element(0), field("sku")]);
        assert_eq!(steps("grid[1][22]"), [field("grid"), Step::Element(1), Step::Element(22)]);
        assert_eq!(steps("\"odd name\".\"a.b\"[0]"), [field("odd name"), field("a.b"), Step::Element(0)]);
        assert_eq!(Path::parse("items[0].sku").unwrap().to_string(), "items[0].sku");
    }

    #[test]
    fn what_is_no_path_is_refused_where_it_goes_wrong() {
        let fault = |text: &str| Path::parse(text).map_err(|fault| fault.at);
        for (text, at) in [
            ("", 0),
            ("[0]", 0),
            ("$.a", 0),
            ("a.", 2),
            ("a..b", 2),
            ("ü b", 1),
            ("a[b]", 2),
            ("a[1", 2),
            ("a[-1]", 2),
            ("a[1]b", 4),
            ("a.\"b", 2),
            ("a]", 1),
        ] {
            assert_eq!(fault(text), Err(at), "{text}");
        }
        assert_eq!(fault(&["a"; 33].join(".")), Err(63));
    }
}
