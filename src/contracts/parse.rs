//! One `CREATE TABLE` to one contract. Whatever has no meaning in a contract is an error at its place, never ignored.
//!
//! The DDL is that of Hive and Spark: a `COMMENT` behind a column, and one between the columns and `WITH`.

mod columns;
mod dialect;
mod format;

use std::path::Path;

use chrono_tz::{TZ_VARIANTS, Tz};
use datafusion::sql::sqlparser::ast::helpers::stmt_create_table::CreateTableBuilder;
use datafusion::sql::sqlparser::ast::{
    CommentDef, CreateTable, CreateTableOptions, Expr, Ident, ObjectNamePart, SqlOption, Statement, Value,
};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use self::dialect::ContractDialect;
use super::{Coerce, Column, Contract, Origin, Pattern, Spot, Topics, Type};
use crate::error::{Error, Place, Result, nearest};

const OPTIONS: [&str; 14] = [
    "topic",
    "topics",
    "topic_pattern",
    "source",
    "location",
    "extract",
    "key",
    "watermark",
    "format",
    "framing",
    "schema_file",
    "message",
    "timezone",
    "coerce",
];

/// Parses the contract `text` of `file`.
pub fn parse(file: &str, text: &str) -> Result<Contract> {
    parse_with_origin(file, text).map(|(contract, _)| contract)
}

/// The contract, and where it says where its records come from.
pub(super) fn parse_with_origin(file: &str, text: &str) -> Result<(Contract, Place)> {
    let tokens = Tokenizer::new(&ContractDialect, text)
        .tokenize_with_location()
        .map_err(|error| Error::input(error.message).at(place(file, text, error.location)))?;
    let source = Source { file, text, tokens: &tokens };
    source.check_depth()?;
    let table = source.create_table()?;
    let name = source.table_name(&table)?;
    let comment = table.comment.as_ref().map(|(CommentDef::WithEq(text) | CommentDef::WithoutEq(text))| text.clone());
    let options = source.options(&table)?;
    let (origin, origin_at) = source.origin(&table, &options)?;
    let columns = source.columns(&table)?;
    source.check_locators(&origin, &columns)?;
    source.check_named_columns(&options, &columns)?;
    let contract = Contract {
        format: source.format(&options, &origin, &columns)?,
        columns,
        zone: source.zone(&options)?,
        coerce: source.coerce(&options)?,
        file: file.to_owned(),
        text: text.to_owned(),
        at: spot(name_at(&table)),
        name,
        origin,
        comment,
    };
    Ok((contract, place(file, text, origin_at)))
}

struct Source<'a> {
    file: &'a str,
    text: &'a str,
    tokens: &'a [TokenWithSpan],
}

/// One `key = 'value'` of `WITH`.
struct Setting {
    key: String,
    value: String,
    key_at: Location,
    value_at: Location,
}

impl Source<'_> {
    fn error(&self, at: Location, what: impl Into<String>) -> Error {
        Error::input(what).at(place(self.file, self.text, at))
    }

    /// Where the first token at or behind `location` starts.
    fn token_from(&self, location: Location) -> Location {
        let token = self
            .tokens
            .iter()
            .find(|token| token.span.start >= location && !matches!(token.token, Token::Whitespace(_) | Token::EOF));
        token.map_or(location, |token| token.span.start)
    }

    fn create_table(&self) -> Result<CreateTable> {
        let mut parser = Parser::new(&ContractDialect).with_tokens_with_locations(self.tokens.to_vec());
        let start = parser.peek_token();
        if start.token == Token::EOF {
            return Err(Error::input(format!("{} holds no CREATE TABLE", self.file))
                .hint("a contract is one CREATE TABLE; remove the file if it is of no use"));
        }
        let statement = parser.parse_statement().map_err(|error| self.syntax_error(error))?;
        while parser.consume_token(&Token::SemiColon) {}
        let behind = parser.peek_token();
        if behind.token != Token::EOF {
            return Err(self
                .error(behind.span.start, "expected the end of the file behind the CREATE TABLE")
                .hint("a contract is one CREATE TABLE in a file of its own"));
        }
        match statement {
            Statement::CreateTable(table) if is_plain(&table) => Ok(table),
            Statement::CreateTable(_) => Err(self
                .error(start.span.start, "this CREATE TABLE has a clause that means nothing in a contract")
                .hint("what is understood is CREATE TABLE name (columns) COMMENT '...' WITH (...)")),
            _ => Err(self.error(start.span.start, "a contract is a CREATE TABLE, and this is something else")),
        }
    }

    /// The parser gives the place of its error as the end of a sentence.
    fn syntax_error(&self, error: ParserError) -> Error {
        let message = match error {
            ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
            ParserError::RecursionLimitExceeded => "nested too deeply".to_owned(),
        };
        let at = message.rsplit_once(" at Line: ").and_then(|(what, at)| {
            let (line, column) = at.split_once(", Column: ")?;
            Some((what, Location { line: line.parse().ok()?, column: column.parse().ok()? }))
        });
        match at {
            Some((what, at)) => self.error(at, what),
            // The parser has no place for the end of the file.
            None => Error::input(message).at(Place::at_offset(self.file, self.text, self.text.trim_end().len())),
        }
    }

    fn table_name(&self, table: &CreateTable) -> Result<String> {
        let [ObjectNamePart::Identifier(ident)] = table.name.0.as_slice() else {
            return Err(self
                .error(name_at(table), format!("`{}` is not a plain table name", table.name))
                .hint("write the name without a schema: a contract's table is always in bronze"));
        };
        let name = identifier(ident);
        let at = ident.span.start;
        let is_part = |ch: char| ch.is_ascii_lowercase() || ch.is_ascii_digit() || ch == '_';
        if !name.starts_with(|ch: char| ch.is_ascii_lowercase()) || !name.chars().all(is_part) {
            return Err(self
                .error(at, format!("`{name}` cannot be a table's name"))
                .hint("use lower-case letters, digits and underscores, and a letter first"));
        }
        let stem = Path::new(self.file).file_stem().unwrap_or_default().to_string_lossy();
        if stem != name {
            return Err(self
                .error(at, format!("the table is called `{name}`, but its file `{stem}`"))
                .hint(format!("rename the file to {name}.sql, or the table to {stem}")));
        }
        Ok(name)
    }

    fn options(&self, table: &CreateTable) -> Result<Vec<Setting>> {
        let options = match &table.table_options {
            CreateTableOptions::None => return Ok(Vec::new()),
            CreateTableOptions::With(options) => options,
            _ => return Err(self.not_an_option(table)),
        };
        let mut settings: Vec<Setting> = Vec::with_capacity(options.len());
        for option in options {
            let SqlOption::KeyValue { key, value } = option else { return Err(self.not_an_option(table)) };
            let setting = self.setting(key, value)?;
            if settings.iter().any(|earlier| earlier.key == setting.key) {
                return Err(self.error(setting.key_at, format!("the option `{}` is there twice", setting.key)));
            }
            settings.push(setting);
        }
        Ok(settings)
    }

    fn not_an_option(&self, table: &CreateTable) -> Error {
        self.error(name_at(table), "the options of this table cannot be read")
            .hint("write them as WITH (topic = 'call_events')")
    }

    fn setting(&self, key: &Ident, value: &Expr) -> Result<Setting> {
        let key_at = key.span.start;
        let key = identifier(key);
        if !OPTIONS.contains(&key.as_str()) {
            let error = self.error(key_at, format!("unknown option `{key}`"));
            return Err(match nearest(&key, OPTIONS) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("the options are {}", OPTIONS.join(", "))),
            });
        }
        if let Expr::Value(literal) = value
            && let Value::SingleQuotedString(text) = &literal.value
        {
            return Ok(Setting { key, value: text.clone(), key_at, value_at: literal.span.start });
        }
        Err(self
            .error(key_at, format!("the value of `{key}` is not a string"))
            .hint(format!("write it in single quotes: {key} = '{}'", value.to_string().trim_matches('"'))))
    }

    fn origin(&self, table: &CreateTable, options: &[Setting]) -> Result<(Origin, Location)> {
        let of_files =
            ["source", "location", "extract", "key", "watermark"].into_iter().find_map(|key| get(options, key));
        let mut of_topics = ["topic", "topics", "topic_pattern"].into_iter().filter_map(|key| get(options, key));
        match (of_topics.next(), of_topics.next().or(of_files)) {
            (Some(topics), None) => Ok((Origin::Topics(self.topics(topics)?), topics.key_at)),
            (Some(one), Some(other)) => {
                let what = format!("`{}` and `{}` do not go together", one.key, other.key);
                Err(self.error(one.key_at.max(other.key_at), what).hint(
                    "records come from `topic`, from several `topics`, from those that match `topic_pattern`, or from files",
                ))
            }
            (None, Some(first)) => Ok((self.files(options)?, first.key_at)),
            (None, None) => Err(self
                .error(name_at(table), "the contract does not say where its records come from")
                .hint("add WITH (topic = '...') behind the columns, or WITH (source = 'files') for a batch source")),
        }
    }

    fn topics(&self, setting: &Setting) -> Result<Topics> {
        let text = setting.value.as_str();
        let names: Vec<&str> = match setting.key.as_str() {
            "topic" => vec![text],
            "topics" => text.split(',').map(str::trim).collect(),
            _ => {
                return Pattern::parse(text).map(Topics::Matching).map_err(|fault| {
                    self.error(setting.value_at, format!("`{text}` is not a regular expression"))
                        .because(fault)
                        .hint("it has to match the whole name of a topic, as 'calls\\..*' matches calls.east")
                });
            }
        };
        let is_part = |ch: char| ch.is_ascii_alphanumeric() || matches!(ch, '.' | '_' | '-');
        for (index, name) in names.iter().enumerate() {
            if name.is_empty() || name.len() > 249 || !name.chars().all(is_part) {
                return Err(self.error(setting.value_at, format!("`{name}` cannot be the name of a topic")).hint(
                    "a topic has 1 to 249 letters, digits, dots, underscores and hyphens; `topics` has commas between",
                ));
            }
            if names.iter().take(index).any(|earlier| earlier == name) {
                return Err(self.error(setting.value_at, format!("the topic `{name}` is there twice")));
            }
        }
        Ok(Topics::Named(names.into_iter().map(str::to_owned).collect()))
    }

    fn files(&self, options: &[Setting]) -> Result<Origin> {
        if let Some(source) = get(options, "source") {
            self.choose(source, &[("files", ())])?;
        }
        let location = get(options, "location").map(|setting| setting.value.clone());
        let full_extract = match get(options, "extract") {
            Some(extract) => self.choose(extract, &[("full", true), ("incremental", false)])?,
            None => false,
        };
        let column = |option: &str| get(options, option).map(|setting| setting.value.clone());
        Ok(Origin::Files { location, full_extract, key: column("key"), watermark: column("watermark") })
    }

    /// Only a topic's records have a key and headers.
    fn check_locators(&self, origin: &Origin, columns: &[Column]) -> Result<()> {
        let beside = columns.iter().find(|column| column.locator.path().is_none());
        match (origin, beside) {
            (Origin::Files { .. }, Some(Column { name, locator, at, .. })) => {
                Err(Error::input(format!("`{name}` is to be {locator} of a record, and files have none"))
                    .at(Place::in_text(self.file, self.text, at.line, at.column))
                    .hint("KEY and HEADER are for the records of a topic"))
            }
            _ => Ok(()),
        }
    }

    /// The options that name a column name one of the table's.
    fn check_named_columns(&self, options: &[Setting], columns: &[Column]) -> Result<()> {
        for setting in options.iter().filter(|setting| matches!(setting.key.as_str(), "key" | "watermark")) {
            let Some(column) = columns.iter().find(|column| column.name == setting.value) else {
                let what = format!("`{}` names the column `{}`, which is not there", setting.key, setting.value);
                let error = self.error(setting.value_at, what);
                return Err(match nearest(&setting.value, columns.iter().map(|column| column.name.as_str())) {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None => error,
                });
            };
            let (wanted, name) = match setting.key.as_str() {
                "watermark" => (Type::Timestamp, "TIMESTAMP"),
                _ => (Type::String, "STRING"),
            };
            if column.data_type != wanted {
                let what = format!("the {} `{}` is {}, not {name}", setting.key, column.name, column.data_type);
                return Err(self.error(setting.value_at, what));
            }
        }
        if let Some(extract) = get(options, "extract").filter(|setting| setting.value == "full") {
            for needed in ["key", "watermark"] {
                if get(options, needed).is_none() {
                    return Err(self
                        .error(extract.value_at, format!("a full extract needs the option `{needed}`"))
                        .hint(
                            "key names the column that tells rows apart, watermark the time of a row's last change",
                        ));
                }
            }
        }
        Ok(())
    }

    fn zone(&self, options: &[Setting]) -> Result<Tz> {
        let Some(setting) = get(options, "timezone") else { return Ok(Tz::UTC) };
        setting.value.parse().map_err(|_| {
            let error = self.error(setting.value_at, format!("unknown time zone `{}`", setting.value));
            match nearest(&setting.value, TZ_VARIANTS.iter().map(|zone| zone.name())) {
                Some(near) => error.hint(format!("did you mean '{near}'?")),
                None => error.hint("write it as the tz database does, such as 'America/Los_Angeles' or 'UTC'"),
            }
        })
    }

    fn coerce(&self, options: &[Setting]) -> Result<Coerce> {
        match get(options, "coerce") {
            Some(setting) => self.choose(setting, &[("none", Coerce::None), ("lossless", Coerce::Lossless)]),
            None => Ok(Coerce::None),
        }
    }

    /// The meaning of a setting that has a few known values.
    fn choose<T: Copy>(&self, setting: &Setting, choices: &[(&str, T)]) -> Result<T> {
        match choices.iter().find(|(name, _)| *name == setting.value) {
            Some((_, meaning)) => Ok(*meaning),
            None => {
                let known: Vec<String> = choices.iter().map(|(name, _)| format!("'{name}'")).collect();
                let what = format!("unknown {} `{}`", setting.key, setting.value);
                Err(self.error(setting.value_at, what).hint(format!("expected {}", known.join(" or "))))
            }
        }
    }
}

/// Whether the table has nothing but columns, a comment and options.
fn is_plain(table: &CreateTable) -> bool {
    let plain = CreateTableBuilder::new(table.name.clone())
        .columns(table.columns.clone())
        .comment_after_column_def(table.comment.clone())
        .table_options(table.table_options.clone())
        .build();
    *table == plain
}

fn name_at(table: &CreateTable) -> Location {
    let first = table.name.0.first().and_then(ObjectNamePart::as_ident);
    first.map_or_else(Location::empty, |ident| ident.span.start)
}

fn get<'s>(options: &'s [Setting], key: &str) -> Option<&'s Setting> {
    options.iter().find(|setting| setting.key == key)
}

/// An unquoted identifier is lower case, a quoted one is as it is written.
fn identifier(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

fn spot(at: Location) -> Spot {
    let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX).max(1);
    Spot { line: number(at.line), column: number(at.column) }
}

fn place(file: &str, text: &str, at: Location) -> Place {
    let Spot { line, column } = spot(at);
    Place::in_text(file, text, line, column)
}

#[cfg(test)]
mod tests;
