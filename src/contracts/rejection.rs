//! Why a record did not become a row: a class that machines count, and a sentence that a person can act on.

use std::fmt;

/// The kinds of rejection: labels of counters, and the first word of `_error`. A name once given stays.
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
    /// Not what a registry's serializer puts before a datum.
    BadFraming,
    /// The registry has no schema of the record's id.
    UnknownSchema,
    /// The registry has one that nothing can be read with, such as one of another language.
    BadSchema,
    /// Not a datum of its schema.
    BadAvro,
    BadProtobuf,
    /// A CSV record with more or fewer fields than its header.
    WrongFieldCount,
    WrongType,
    OutOfRange,
    BadTimestamp,
    BadDate,
    /// A text for a binary column that is not base64.
    BadBase64,
    /// Null or absent, and the contract says `NOT NULL`.
    MissingValue,
}

impl Class {
    pub const ALL: [Class; 19] = [
        Class::Empty,
        Class::NotUtf8,
        Class::NotJson,
        Class::MoreThanOneValue,
        Class::NotObject,
        Class::TooDeep,
        Class::TooLarge,
        Class::BadFraming,
        Class::UnknownSchema,
        Class::BadSchema,
        Class::BadAvro,
        Class::BadProtobuf,
        Class::WrongFieldCount,
        Class::WrongType,
        Class::OutOfRange,
        Class::BadTimestamp,
        Class::BadDate,
        Class::BadBase64,
        Class::MissingValue,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Class::Empty => "empty",
            Class::NotUtf8 => "not_utf8",
            Class::NotJson => "not_json",
            Class::MoreThanOneValue => "more_than_one_value",
            Class::NotObject => "not_object",
            Class::TooDeep => "too_deep",
            Class::TooLarge => "too_large",
            Class::BadFraming => "bad_framing",
            Class::UnknownSchema => "unknown_schema",
            Class::BadSchema => "bad_schema",
            Class::BadAvro => "bad_avro",
            Class::BadProtobuf => "bad_protobuf",
            Class::WrongFieldCount => "wrong_field_count",
            Class::WrongType => "wrong_type",
            Class::OutOfRange => "out_of_range",
            Class::BadTimestamp => "bad_timestamp",
            Class::BadDate => "bad_date",
            Class::BadBase64 => "bad_base64",
            Class::MissingValue => "missing_value",
        }
    }
}

impl Class {
    pub fn named(name: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.name() == name)
    }

    /// The name of the class in the text of a rejection.
    pub fn in_text(error: &str) -> &str {
        error.split([' ', ':']).next().unwrap_or(error)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// As text, which is what `_error` holds: `class: message`, or `class in column: message` where it is one column's
/// fault. A class is of lower-case letters, digits and underscores, and no column has a space in its name, so the first
/// space or colon ends the class, and the first colon with a space behind it ends the column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection(Box<Reason>);

/// In a box, so that results that may be rejections stay small: nearly all of them are none.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reason {
    class: Class,
    column: Option<String>,
    /// Where in a nested column, from the column on: `.items[2].sku`.
    inside: String,
    message: String,
}

impl Rejection {
    #[cold]
    pub(super) fn new(class: Class, message: impl Into<String>) -> Self {
        Rejection(Box::new(Reason { class, column: None, inside: String::new(), message: message.into() }))
    }

    /// The same, as the fault of a column.
    #[cold]
    pub(super) fn of(mut self, column: &str) -> Self {
        self.0.column = Some(column.to_owned());
        self
    }

    /// The same, seen from one level further out.
    pub(super) fn inside(mut self, step: impl fmt::Display) -> Self {
        self.0.inside = format!("{step}{}", self.0.inside);
        self
    }

    /// The same, of a value that the path of a column goes through.
    pub(super) fn on_the_way_to(mut self, path: &str) -> Self {
        self.0.message.push_str(&format!(", on the way to {path}"));
        self
    }

    pub fn class(&self) -> Class {
        self.0.class
    }

    /// The contract's column that the record failed at, where it is one column's fault.
    pub fn column(&self) -> Option<&str> {
        self.0.column.as_deref()
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reason { class, column, inside, message } = self.0.as_ref();
        match column {
            None => write!(f, "{class}: {message}"),
            Some(column) if inside.is_empty() => write!(f, "{class} in {column}: {message}"),
            Some(column) => write!(f, "{class} in {column}: at {column}{inside}, {message}"),
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Class and column, as somebody reads them who has the text alone.
    fn read(error: &str) -> (String, Option<String>) {
        let read = regex::Regex::new(r"(?s)^([a-z0-9_]+)(?: in ([^ ]+?))?: .+$").unwrap();
        let parts = read.captures(error).unwrap_or_else(|| panic!("{error}"));
        (parts[1].to_owned(), parts.get(2).map(|column| column.as_str().to_owned()))
    }

    #[test]
    fn each_class_and_column_can_be_read_from_the_text_alone() {
        for class in Class::ALL {
            for message in ["expected int, found \"a: b in c: d\"", "12 in x: y"] {
                let rejection = Rejection::new(class, message);
                assert_eq!(read(&rejection.to_string()), (class.name().to_owned(), None));
                assert_eq!(Class::named(Class::in_text(&rejection.to_string())), Some(class));
                for column in ["id", "a:b", "größe", "in"] {
                    let of_column = rejection.clone().of(column);
                    let expected = (class.name().to_owned(), Some(column.to_owned()));
                    assert_eq!(read(&of_column.to_string()), expected);
                    assert_eq!(Class::named(Class::in_text(&of_column.to_string())), Some(class));
                    assert_eq!(read(&of_column.inside("[2]").to_string()), expected);
                }
            }
        }
    }

    #[test]
    fn no_two_classes_have_one_name() {
        let names: HashSet<&str> = Class::ALL.iter().map(|class| class.name()).collect();
        assert_eq!(names.len(), Class::ALL.len());
    }

    #[test]
    fn a_fault_in_a_nested_column_says_where_in_it() {
        let rejection = Rejection::new(Class::WrongType, "expected int").inside(".sku").inside("[2]").of("items");
        assert_eq!(rejection.to_string(), "wrong_type in items: at items[2].sku, expected int");
    }
}
