//! What went wrong, told to the person who reads it: what happened, where (file, line, column), and what to do next.
//!
//! Every error has a [`Kind`], and the kind alone decides the exit code of the process, so that scripts can tell a
//! mistake in their input from a broker that is away.

use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who has to act, which is also the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A test, a verification or a build result failed: the data is not what it should be.
    Failed = 1,
    /// The user's input is wrong: a flag, the configuration, a contract, SQL, a model.
    Input = 2,
    /// Something outside does not answer or refuses: the broker, the store, the disk.
    Outside = 3,
    /// A mistake of this program.
    Bug = 4,
}

impl Kind {
    pub fn exit_code(self) -> u8 {
        self as u8
    }
}

/// A position in a file that the user wrote. Lines and columns count from 1; columns count characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: String,
    pub line: usize,
    pub column: usize,
    /// The text of that line, shown with a caret under the column.
    pub text: Option<String>,
}

impl Place {
    /// The place of a line and column in `source`, which is the whole text of `file`.
    pub fn in_text(file: impl Into<String>, source: &str, line: usize, column: usize) -> Self {
        let text = source.lines().nth(line.saturating_sub(1)).map(str::to_owned);
        Place { file: file.into(), line, column, text }
    }

    /// The place of a byte offset in `source`.
    pub fn at_offset(file: impl Into<String>, source: &str, offset: usize) -> Self {
        let mut end = offset.min(source.len());
        while !source.is_char_boundary(end) {
            end -= 1;
        }
        let before = &source[..end];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        Place::in_text(file, source, line, column)
    }
}

/// The one error type of the program.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    what: String,
    place: Option<Place>,
    hint: Option<String>,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
    lasting: bool,
}

impl Error {
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Error(Box::new(Inner { kind, what: what.into(), place: None, hint: None, cause: None, lasting: false }))
    }

    pub fn failed(what: impl Into<String>) -> Self {
        Self::new(Kind::Failed, what)
    }

    pub fn input(what: impl Into<String>) -> Self {
        Self::new(Kind::Input, what)
    }

    pub fn outside(what: impl Into<String>) -> Self {
        Self::new(Kind::Outside, what)
    }

    pub fn bug(what: impl Into<String>) -> Self {
        Self::new(Kind::Bug, what)
    }

    pub fn at(mut self, place: Place) -> Self {
        self.0.place = Some(place);
        self
    }

    /// Says that trying again will not help until somebody does something.
    pub fn lasting(mut self) -> Self {
        self.0.lasting = true;
        self
    }

    pub fn is_lasting(&self) -> bool {
        self.0.lasting
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    pub fn because(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// Says what was being done when the error came up.
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.0.what = format!("{doing}: {}", self.0.what);
        self
    }

    /// Says more of what happened.
    pub fn detail(mut self, more: impl fmt::Display) -> Self {
        self.0.what = format!("{}; {more}", self.0.what);
        self
    }

    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// What to do next, if that is known.
    pub fn advice(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    pub fn place(&self) -> Option<&Place> {
        self.0.place.as_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        f.write_str(&inner.what)?;
        let mut cause = inner.cause.as_deref().map(|c| c as &dyn std::error::Error);
        let mut said = inner.what.clone();
        while let Some(e) = cause {
            let text = e.to_string();
            // Many libraries repeat their cause in their own text.
            if !said.contains(&text) {
                write!(f, ": {text}")?;
                said.push_str(&text);
            }
            cause = e.source();
        }
        if let Some(place) = &inner.place {
            write!(f, "\n  --> {}:{}:{}", place.file, place.line, place.column)?;
            if let Some(text) = &place.text {
                let margin = " ".repeat(place.line.to_string().len());
                let tabs_kept: String = text
                    .chars()
                    .take(place.column.saturating_sub(1))
                    .map(|c| if c == '\t' { '\t' } else { ' ' })
                    .collect();
                write!(f, "\n {margin} |\n {} | {text}\n {margin} | {tabs_kept}^", place.line)?;
            }
        }
        if let Some(hint) = &inner.hint {
            write!(f, "\n  help: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} error: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.cause.as_deref().map(|c| c as _)
    }
}

/// The candidate nearest to what was typed, if one is near enough to be a likely slip.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (typed.chars().count() / 3).max(2);
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(typed, k), k))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_place_caret_and_help() {
        let source = "a = 1\nfoo = \"ü\" bar\n";
        let e = Error::input("unexpected `bar`")
            .at(Place::at_offset("x.toml", source, source.find("bar").unwrap_or(0)))
            .hint("remove it");
        assert_eq!(
            e.to_string(),
            "unexpected `bar`\n  --> x.toml:2:11\n   |\n 2 | foo = \"ü\" bar\n   |           ^\n  help: remove it"
        );
    }

    #[test]
    fn a_slip_is_answered_with_the_nearest_name_and_nonsense_with_none() {
        assert_eq!(nearest("brokrs", ["brokers", "group"]), Some("brokers"));
        assert_eq!(nearest("zzzzzz", ["brokers", "group"]), None);
    }
}
