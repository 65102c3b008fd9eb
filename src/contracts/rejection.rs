//! Why a record did not become a row: a class that machines count, and a sentence that a person can act on.

use std::fmt;

/// The kinds of rejection, which end up as labels of counters and at the head of `_error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// The record has no bytes, or nothing but white space.
    Empty,
    NotUtf8,
    NotJson,
    /// A JSON value is followed by something else.
    MoreThanOneValue,
    /// A JSON value, but not an object.
    NotObject,
    /// Arrays and objects are nested deeper than the decoder follows them.
    TooDeep,
    /// The record does not fit into the batch; see [`Decoder`](super::Decoder).
    TooLarge,
    /// A CSV record with more or fewer fields than its header.
    WrongFieldCount,
    WrongType,
    OutOfRange,
    BadTimestamp,
    BadDate,
    /// Null or absent, and the contract says `NOT NULL`.
    MissingValue,
}

impl Class {
    pub fn name(self) -> &'static str {
        match self {
            Class::Empty => "empty",
            Class::NotUtf8 => "not_utf8",
            Class::NotJson => "not_json",
            Class::MoreThanOneValue => "more_than_one_value",
            Class::NotObject => "not_object",
            Class::TooDeep => "too_deep",
            Class::TooLarge => "too_large",
            Class::WrongFieldCount => "wrong_field_count",
            Class::WrongType => "wrong_type",
            Class::OutOfRange => "out_of_range",
            Class::BadTimestamp => "bad_timestamp",
            Class::BadDate => "bad_date",
            Class::MissingValue => "missing_value",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    pub class: Class,
    /// The contract's column that the record failed at, where it is one column's fault.
    pub column: Option<String>,
    pub message: String,
}

impl Rejection {
    pub(super) fn record(class: Class, message: impl Into<String>) -> Self {
        Rejection { class, column: None, message: message.into() }
    }

    pub(super) fn column(class: Class, column: &str, message: impl Into<String>) -> Self {
        Rejection { class, column: Some(column.to_owned()), message: message.into() }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.column {
            Some(column) => write!(f, "{} in {column}: {}", self.class, self.message),
            None => write!(f, "{}: {}", self.class, self.message),
        }
    }
}

/// The start of a text, short enough for a message.
pub(super) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 40;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
