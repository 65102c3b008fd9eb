//! The columns of a contract: names, types, where their values are and how their times are written.

use std::collections::HashSet;

use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, ColumnDef, ColumnOption, CreateTable, DataType, ExactNumberInfo, Expr, Ident, SqlOption,
    StructField, TimezoneInfo, Value,
};
use datafusion::sql::sqlparser::tokenizer::{Location, Token};

use super::dialect::{FORMAT, HEADER, KEY, PATH};
use super::{Source, identifier, name_at, spot};
use crate::contracts::members::Members;
use crate::contracts::path::Path;
use crate::contracts::{Column, Locator, TimeFormat, Type};
use crate::error::{Error, Result, nearest};

const TYPES: &str = "STRING, BOOLEAN, INT, BIGINT, DOUBLE, DECIMAL(p, s), TIMESTAMP, DATE, BINARY, \
                     STRUCT<name: type, ...>, ARRAY<type> and MAP<STRING, type>";
pub const TYPE_NAMES: [&str; 12] = [
    "STRING",
    "BOOLEAN",
    "INT",
    "BIGINT",
    "DOUBLE",
    "DECIMAL",
    "TIMESTAMP",
    "DATE",
    "BINARY",
    "STRUCT",
    "ARRAY",
    "MAP",
];

/// Types within each other: also how deep the decoder goes into itself for them.
const DEEPEST: i32 = 32;

/// A Delta table without column mapping refuses the first group; the second would need escapes in JSON.
const NOT_IN_NAMES: [char; 12] = [' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '=', '"', '\\'];

/// A text behind `PATH` or `FORMAT`, and where it stands.
struct Written {
    text: String,
    at: Location,
}

impl Written {
    /// Where a character of the text stands. A quote in it is written as two.
    fn place_of(&self, character: usize) -> Location {
        let quotes = self.text.chars().take(character).filter(|ch| *ch == '\'').count();
        let behind = u64::try_from(1 + character + quotes).unwrap_or(0);
        Location { column: self.at.column + behind, ..self.at }
    }
}

impl Source<'_> {
    /// The parser goes into itself for types within types.
    pub fn check_depth(&self) -> Result<()> {
        let mut depth = 0;
        for token in self.tokens {
            depth += match token.token {
                Token::Lt => 1,
                Token::Gt => -1,
                Token::ShiftRight => -2,
                _ => 0,
            };
            if depth > DEEPEST {
                return Err(self.error(token.span.start, format!("types are nested deeper than {DEEPEST} levels")));
            }
        }
        Ok(())
    }

    pub fn columns(&self, table: &CreateTable) -> Result<Vec<Column>> {
        let mut names = HashSet::new();
        let mut columns: Vec<Column> = Vec::with_capacity(table.columns.len());
        for definition in &table.columns {
            let column = self.column(definition)?;
            if !names.insert(column.name.to_lowercase()) {
                return Err(self
                    .error(definition.name.span.start, format!("the column `{}` is there twice", column.name))
                    .hint("upper and lower case alone do not tell two columns of a table apart"));
            }
            columns.push(column);
            if let (_, Some((earlier, _))) = Members::of_columns(&columns)
                && let (Some(earlier), Some(later)) = (columns.get(earlier), columns.last())
            {
                let what = format!(
                    "`{}` takes its value from {}, and `{}` from {}",
                    earlier.name, earlier.locator, later.name, later.locator
                );
                return Err(self.error(definition.name.span.start, what).hint(
                    "a field of a record is one column's, or it is an object, or an array, that paths lead into",
                ));
            }
        }
        if columns.is_empty() {
            return Err(self.error(name_at(table), "the contract has no columns"));
        }
        Ok(columns)
    }

    fn column(&self, definition: &ColumnDef) -> Result<Column> {
        let name = identifier(&definition.name);
        let at = definition.name.span.start;
        if name.starts_with('_') {
            return Err(self
                .error(at, format!("the column name `{name}` is reserved"))
                .hint("names that start with an underscore are for the columns that ingest adds"));
        }
        self.check_name(&name, at)?;
        let type_at = self.token_from(definition.name.span.end);
        let mut column = Column {
            data_type: self.data_type(&definition.data_type, type_at)?,
            locator: Locator::Path(Path::field(&name)),
            name,
            at: spot(at),
            nullable: true,
            formats: Vec::new(),
            comment: None,
        };
        let mut said = HashSet::new();
        let mut located = None;
        for option in &definition.options {
            match &option.option {
                ColumnOption::Null => column.nullable = true,
                ColumnOption::NotNull => column.nullable = false,
                ColumnOption::Comment(comment) => column.comment = Some(comment.clone()),
                ColumnOption::Options(options) => {
                    let (key, texts) = texts(options);
                    let own_at = texts.first().map_or(at, |text| text.at);
                    if !said.insert(key.clone()) {
                        let what = format!("{} of the column `{}` is there twice", key.to_uppercase(), column.name);
                        return Err(self.error(own_at, what));
                    }
                    if let (PATH | KEY | HEADER, Some(other)) = (key.as_str(), &located) {
                        let what = format!("`{}` has {other} and {} both", column.name, key.to_uppercase());
                        return Err(self.error(own_at, what).hint("a value comes from one place"));
                    }
                    if key != FORMAT {
                        located = Some(key.to_uppercase());
                    }
                    match (key.as_str(), texts.as_slice()) {
                        (PATH, [path]) => column.locator = Locator::Path(self.path(path)?),
                        (KEY, []) => column.locator = Locator::Key,
                        (HEADER, [name]) if !name.text.is_empty() => {
                            column.locator = Locator::Header(name.text.clone());
                        }
                        (HEADER, [name]) => return Err(self.error(name.at, "a header has a name")),
                        (FORMAT, texts) => column.formats = self.formats(&column, texts)?,
                        _ => return Err(self.error(at, format!("the options of `{}` cannot be read", column.name))),
                    }
                }
                other => {
                    return Err(self
                        .error(at, format!("`{other}` of the column `{}` means nothing in a contract", column.name))
                        .hint("a column has a type, and perhaps PATH, KEY, HEADER, FORMAT, NOT NULL and a COMMENT"));
                }
            }
        }
        if column.locator.path().is_none() && column.data_type.is_nested() {
            let what = format!("`{}` is {}, and is to be {}", column.name, column.data_type, column.locator);
            return Err(self
                .error(type_at, what)
                .hint("a key or a header is one value: make it a STRING, and read on in what is built from it"));
        }
        Ok(column)
    }

    fn check_name(&self, name: &str, at: Location) -> Result<()> {
        if name.is_empty() || name.contains(|ch: char| NOT_IN_NAMES.contains(&ch) || ch.is_control()) {
            return Err(self.error(at, format!("`{}` cannot be a column's name", name.escape_debug())).hint(
                "leave out spaces, commas, brackets, quotes and the like: a table cannot store them in a name. \
                     Where the record has them: name TYPE PATH '\"its name\"'",
            ));
        }
        Ok(())
    }

    fn path(&self, written: &Written) -> Result<Path> {
        Path::parse(&written.text).map_err(|fault| {
            self.error(written.place_of(fault.at), fault.problem)
                .hint("a path is like 'address.city' or 'items[0].sku'")
        })
    }

    fn formats(&self, column: &Column, written: &[Written]) -> Result<Vec<TimeFormat>> {
        let leaves = column.data_type.leaves();
        let (has_times, has_days) = (leaves.contains(&&Type::Timestamp), leaves.contains(&&Type::Date));
        let mut formats = Vec::with_capacity(written.len());
        for written in written {
            let format = TimeFormat::parse(&written.text).map_err(|unusable| {
                let error = self.error(written.place_of(unusable.at), unusable.problem);
                match nearest(&written.text, TimeFormat::NAMES) {
                    Some(near) => error.hint(format!("did you mean '{near}'?")),
                    None => error.hint(unusable.hint),
                }
            })?;
            let wrong = match &format {
                _ if has_times == has_days => {
                    let what = format!("FORMAT says nothing of `{}`, which is {}", column.name, column.data_type);
                    Some((what, "it is for columns with a TIMESTAMP in them, or with a DATE, but not with both"))
                }
                TimeFormat::Epoch(unit) if has_days => {
                    Some((format!("'{unit}' is a time, and `{}` a day", column.name), "make it a TIMESTAMP"))
                }
                TimeFormat::Layout(layout) if has_days && layout.has_time() => {
                    let what = format!("'{}' has a time, and `{}` is a day", layout.text(), column.name);
                    Some((what, "make it a TIMESTAMP, or leave the time out of the layout"))
                }
                _ => None,
            };
            if let Some((what, hint)) = wrong {
                return Err(self.error(written.at, what).hint(hint));
            }
            formats.push(format);
        }
        Ok(formats)
    }

    /// `at` is where the type of the whole column starts.
    fn data_type(&self, written: &DataType, at: Location) -> Result<Type> {
        match written {
            DataType::String(None) | DataType::Text | DataType::Varchar(None) => Ok(Type::String),
            DataType::Boolean | DataType::Bool => Ok(Type::Boolean),
            DataType::Int(None) | DataType::Integer(None) => Ok(Type::Int),
            DataType::BigInt(None) => Ok(Type::BigInt),
            DataType::Double(ExactNumberInfo::None) | DataType::DoublePrecision => Ok(Type::Double),
            DataType::Timestamp(None, TimezoneInfo::None) => Ok(Type::Timestamp),
            DataType::Date => Ok(Type::Date),
            DataType::Binary(None) => Ok(Type::Binary),
            DataType::Decimal(size) | DataType::Numeric(size) => decimal(*size).ok_or_else(|| {
                self.error(at, format!("`{written}` is not a decimal type"))
                    .hint("write DECIMAL(p, s) with 1 <= p <= 38 digits, s of them, 0 <= s <= p, behind the point")
            }),
            DataType::Array(ArrayElemTypeDef::AngleBracket(element)) => {
                Ok(Type::Array(Box::new(self.data_type(element, at)?)))
            }
            DataType::Map(key, value) => match self.data_type(key, at)? {
                Type::String => Ok(Type::Map(Box::new(self.data_type(value, at)?))),
                key => Err(self
                    .error(at, format!("the keys of a map are STRING, not {key}"))
                    .hint("the keys of JSON objects are strings")),
            },
            DataType::Struct(fields, _) if !fields.is_empty() => self.structure(fields, at),
            other => Err(self.unknown_type(other, at)),
        }
    }

    fn structure(&self, written: &[StructField], at: Location) -> Result<Type> {
        let mut names = HashSet::new();
        let mut fields = Vec::with_capacity(written.len());
        for field in written {
            let (Some(ident), None) = (&field.field_name, &field.options) else {
                return Err(self
                    .error(at, format!("`{field}` is not a field of a struct"))
                    .hint("write STRUCT<name: type, name: type>"));
            };
            let name = identifier(ident);
            let name_at = ident.span.start;
            self.check_name(&name, name_at)?;
            if !names.insert(name.to_lowercase()) {
                return Err(self.error(name_at, format!("the field `{name}` is there twice")));
            }
            fields.push((name, self.data_type(&field.field_type, at)?));
        }
        Ok(Type::Struct(fields))
    }

    fn unknown_type(&self, written: &DataType, at: Location) -> Error {
        let own_place = match written {
            DataType::Custom(name, _) => name.0.first().and_then(|part| part.as_ident()).map(|ident| ident.span.start),
            _ => None,
        };
        let written = written.to_string();
        let word = written.split(|ch: char| !ch.is_alphanumeric()).next().unwrap_or_default().to_uppercase();
        let error = self.error(own_place.unwrap_or(at), format!("unknown type `{written}`"));
        match nearest(&word, TYPE_NAMES) {
            Some(near) if near != word => error.hint(format!("did you mean {near}? The types are {TYPES}")),
            _ => error.hint(format!("the types are {TYPES}")),
        }
    }
}

/// What the dialect made of a word and its texts.
fn texts(options: &[SqlOption]) -> (String, Vec<Written>) {
    let mut key = String::new();
    let mut texts = Vec::with_capacity(options.len());
    for option in options {
        if let SqlOption::Ident(word) = option {
            key = word.value.to_lowercase();
        } else if let SqlOption::KeyValue { key: Ident { value: word, .. }, value: Expr::Value(literal) } = option
            && let Value::SingleQuotedString(text) = &literal.value
        {
            key = word.to_lowercase();
            texts.push(Written { text: text.clone(), at: literal.span.start });
        }
    }
    (key, texts)
}

fn decimal(size: ExactNumberInfo) -> Option<Type> {
    let (precision, scale) = match size {
        ExactNumberInfo::None => return None,
        ExactNumberInfo::Precision(precision) => (precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
    };
    let (precision, scale) = (u8::try_from(precision).ok()?, i8::try_from(scale).ok()?);
    let fits = (1..=38).contains(&precision) && scale >= 0 && scale.unsigned_abs() <= precision;
    fits.then_some(Type::Decimal(precision, scale))
}
