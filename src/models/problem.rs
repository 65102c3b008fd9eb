//! What is wrong with a value or a call, before it is known where it stands.

use std::fmt;

use crate::error::{Error, Kind, Place, nearest};

/// An error without a place. It travels through Jinja, which knows the place, and through YAML.
#[derive(Debug, Clone)]
pub struct Problem {
    kind: Kind,
    what: String,
    hint: Option<String>,
    /// The word in the text that this is about, where Jinja only knows the call around it.
    word: Option<String>,
}

impl Problem {
    pub fn new(what: impl Into<String>) -> Self {
        Problem { kind: Kind::Input, what: what.into(), hint: None, word: None }
    }

    pub fn unsupported(what: impl fmt::Display) -> Self {
        Problem::new(format!("{what} is not supported yet"))
    }

    /// A name that nobody has, with the nearest one that somebody has.
    pub fn unknown<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        Problem::new(format!("unknown {what} `{name}`")).nearest(name, known)
    }

    /// Proposes the known name that is nearest to the one typed, if one is near.
    pub fn nearest<'a>(self, typed: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        match nearest(typed, known) {
            Some(near) => self.hint(format!("did you mean `{near}`?")),
            None => self,
        }
    }

    /// Says what to do where nothing better is known.
    pub fn or_hint(self, hint: impl Into<String>) -> Self {
        if self.has_hint() { self } else { self.hint(hint) }
    }

    pub fn has_hint(&self) -> bool {
        self.hint.is_some()
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn about(mut self, word: &str) -> Self {
        self.word = Some(word.to_owned());
        self
    }

    pub fn word(&self) -> Option<&str> {
        self.word.as_deref()
    }

    pub fn error(self) -> Error {
        let error = Error::new(self.kind, self.what);
        match self.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    pub fn at(self, place: Place) -> Error {
        self.error().at(place)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Problem {}

/// What the database said, on its way through a template, whose place will be told.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let told = error.to_string();
        let what = told.split("\n  help: ").next().and_then(|text| text.split("\n  --> ").next()).unwrap_or(&told);
        let hint = error.advice().map(str::to_owned);
        Problem { kind: error.kind(), hint, ..Problem::new(what) }
    }
}

impl From<Problem> for minijinja::Error {
    fn from(problem: Problem) -> Self {
        minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, problem.what.clone()).with_source(problem)
    }
}
