//! What comes with a record beside its value, a key and headers, and the columns that are read from there.

use std::fmt;

use super::path::Path;

/// Where a column's value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Locator {
    /// In the value of the record.
    Path(Path),
    /// The key of the record, as a whole.
    Key,
    /// The last header of this name, as a whole.
    Header(String),
}

impl Locator {
    pub fn path(&self) -> Option<&Path> {
        match self {
            Locator::Path(path) => Some(path),
            Locator::Key | Locator::Header(_) => None,
        }
    }

    /// What a record has there, if that is beside its value.
    pub fn find<'e>(&self, envelope: &'e impl Envelope) -> Option<&'e [u8]> {
        match self {
            Locator::Path(_) => None,
            Locator::Key => envelope.key(),
            Locator::Header(name) => envelope.header(name),
        }
    }
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Locator::Path(path) => path.fmt(f),
            Locator::Key => f.write_str("the key"),
            Locator::Header(name) => write!(f, "the header {name}"),
        }
    }
}

pub trait Envelope {
    fn key(&self) -> Option<&[u8]>;

    /// The value of the last header of this name.
    fn header(&self, name: &str) -> Option<&[u8]>;
}

/// Of a record that comes alone.
impl Envelope for () {
    fn key(&self) -> Option<&[u8]> {
        None
    }

    fn header(&self, _: &str) -> Option<&[u8]> {
        None
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Int32Type;
    use arrow::util::display::array_value_to_string;
    use proptest::prelude::*;

    use super::*;
    use crate::contracts::{Class, Decoder, Rejection, parse};

    #[derive(Default)]
    struct Sent {
        key: Option<Vec<u8>>,
        headers: Vec<(&'static str, Option<&'static [u8]>)>,
    }

    impl Envelope for Sent {
        fn key(&self) -> Option<&[u8]> {
            self.key.as_deref()
        }

        fn header(&self, name: &str) -> Option<&[u8]> {
            self.headers.iter().rfind(|(own, _)| *own == name)?.1
        }
    }

    fn decoder(columns: &str, options: &str) -> Decoder {
        Decoder::new(&parse("t.sql", &format!("CREATE TABLE t ({columns}) WITH (topic = 't'{options})")).unwrap())
    }

    /// The columns of one record, as text.
    fn row(columns: &str, record: &str, sent: &Sent) -> Result<Vec<String>, Rejection> {
        let mut decoder = decoder(columns, "");
        decoder.push(record.as_bytes(), sent)?;
        Ok(decoder.finish().iter().map(|column| array_value_to_string(column, 0).unwrap()).collect())
    }

    fn keyed(key: impl Into<Vec<u8>>) -> Sent {
        Sent { key: Some(key.into()), ..Sent::default() }
    }

    #[test]
    fn the_key_and_headers_are_columns_and_a_field_of_a_columns_name_is_extra() {
        let columns = "n INT, customer STRING KEY, trace STRING HEADER 'trace-id', sent TIMESTAMP HEADER 'sent'
             FORMAT 'epoch_ms'";
        let headers = vec![("trace-id", Some(&b"a"[..])), ("sent", Some(b"1706689800250")), ("trace-id", Some(b"b"))];
        let sent = Sent { headers, ..keyed("Zoë") };
        let found = row(columns, r#"{"customer": "other", "n": 1}"#, &sent).unwrap();
        assert_eq!(found, ["1", "Zoë", "b", "2024-01-31T08:30:00.250Z", r#"{"customer":"other"}"#]);
        let found = row(columns, r#"{"trace": 5, "trace-id": 6}"#, &Sent::default()).unwrap();
        assert_eq!(found, ["", "", "", "", r#"{"trace":5,"trace-id":6}"#]);
        // Of headers of one name the last counts, also when it has no value.
        let last = Sent { headers: vec![("trace-id", Some(b"a")), ("trace-id", None)], ..Sent::default() };
        assert_eq!(row(columns, "{}", &last).unwrap()[2], "");
    }

    #[test]
    fn each_type_is_read_from_the_text_of_a_key_and_binary_from_its_bytes() {
        for (data_type, key, expected) in [
            ("STRING", "", ""),
            ("STRING", "\"q\"", "\"q\""),
            ("BOOLEAN", "true", "true"),
            ("INT", "-7", "-7"),
            ("BIGINT", "9007199254740993", "9007199254740993"),
            ("DOUBLE", "0.5", "0.5"),
            ("DECIMAL(9, 2)", "19.90", "19.90"),
            ("DATE FORMAT 'dd/MM/yyyy'", "29/02/2024", "2024-02-29"),
            ("TIMESTAMP", "2024-01-31T08:30:00Z", "2024-01-31T08:30:00Z"),
            ("BINARY", "AQI=", "4151493d"),
        ] {
            assert_eq!(row(&format!("k {data_type} KEY"), "{}", &keyed(key)).unwrap()[0], expected, "{data_type}");
        }
        assert_eq!(row("k BINARY KEY", "{}", &keyed([0, 255])).unwrap()[0], "00ff");
    }

    #[test]
    fn a_key_or_header_that_cannot_be_read_rejects_its_record_with_class_and_column() {
        let rejected = |columns: &str, sent: &Sent| {
            let rejection = row(columns, "{}", sent).unwrap_err();
            (rejection.class(), rejection.column().map(str::to_owned))
        };
        for (column, key, class) in [
            ("k STRING KEY", &b"a\xff"[..], Class::NotUtf8),
            ("k INT KEY", b"1.5", Class::WrongType),
            ("k INT KEY", b"", Class::WrongType),
            ("k INT KEY", b"3000000000", Class::OutOfRange),
            ("k DATE KEY", b"2024-02-30", Class::BadDate),
        ] {
            assert_eq!(rejected(column, &keyed(key)), (class, Some("k".to_owned())), "{column} {key:?}");
        }
        let headers = vec![("h", Some(&b"1"[..])), ("h", Some(b"x"))];
        assert_eq!(rejected("c INT HEADER 'h'", &Sent { headers, ..Sent::default() }).0, Class::WrongType);
        let missing = (Class::MissingValue, Some("c".to_owned()));
        assert_eq!(rejected("c INT NOT NULL HEADER 'h'", &keyed("1")), missing);
        assert_eq!(rejected("c INT KEY NOT NULL", &Sent::default()), missing);
    }

    #[test]
    fn a_raw_record_may_have_its_key_and_headers_beside_it() {
        let mut decoder = decoder("k INT KEY, line STRING, h BINARY HEADER 'h'", ", format = 'raw'");
        let sent = Sent { headers: vec![("h", Some(b"\x01"))], ..keyed("7") };
        decoder.push(b"{not json", &sent).unwrap();
        let row: Vec<_> = decoder.finish().iter().map(|column| array_value_to_string(column, 0).unwrap()).collect();
        assert_eq!(row, ["7", "{not json", "01", ""]);
    }

    #[test]
    fn files_have_no_keys_and_a_value_comes_from_one_place() {
        let refused = |columns: &str, origin: &str| {
            parse("t.sql", &format!("CREATE TABLE t ({columns}) WITH ({origin})")).unwrap_err().to_string()
        };
        for (columns, origin, words) in [
            ("a INT, b INT KEY", "source = 'files'", "`b` is to be the key of a record, and files have none"),
            ("a INT KEY HEADER 'h'", "topic = 't'", "`a` has KEY and HEADER both"),
            ("a INT PATH 'b' KEY", "topic = 't'", "`a` has PATH and KEY both"),
            ("a INT KEY KEY", "topic = 't'", "KEY of the column `a` is there twice"),
            ("a INT HEADER ''", "topic = 't'", "a header has a name"),
            ("a INT HEADER", "topic = 't'", "a text in single quotes"),
            ("a ARRAY<INT> KEY", "topic = 't'", "`a` is array<int>, and is to be the key"),
            ("a STRING KEY", "topic = 't', format = 'raw'", "needs one column, STRING or BINARY"),
        ] {
            let said = refused(columns, origin);
            assert!(said.contains(words), "{said}");
        }
    }

    proptest! {
        #[test]
        fn any_key_is_read_whole_or_rejected_and_its_neighbours_stay_as_they_are(
            keys in proptest::collection::vec(proptest::option::of(proptest::collection::vec(any::<u8>(), 0..6)), 1..8),
        ) {
            let mut decoder = decoder("k STRING KEY, b BINARY KEY, n INT", "");
            let mut expected = Vec::new();
            for (n, key) in keys.into_iter().enumerate() {
                let sent = Sent { key: key.clone(), ..Sent::default() };
                let pushed = decoder.push(format!("{{\"n\": {n}}}").as_bytes(), &sent);
                let text = key.clone().map(String::from_utf8).transpose();
                prop_assert_eq!(pushed.is_ok(), text.is_ok());
                if let Ok(text) = text {
                    expected.push((text, key, n));
                }
            }
            let columns = decoder.finish();
            let (texts, bytes) = (columns[0].as_string::<i32>(), columns[1].as_binary::<i32>());
            let numbers = columns[2].as_primitive::<Int32Type>();
            prop_assert_eq!(texts.len(), expected.len());
            for (row, (text, key, n)) in expected.iter().enumerate() {
                prop_assert_eq!(texts.is_valid(row).then(|| texts.value(row)), text.as_deref());
                prop_assert_eq!(bytes.is_valid(row).then(|| bytes.value(row)), key.as_deref());
                prop_assert_eq!(usize::try_from(numbers.value(row)).unwrap(), *n);
            }
        }
    }
}
