//! The grammar of contracts: that of Hive and Spark, with everybody's identifiers, and behind a column's type what no
//! other grammar has: where its value is, and how its times are written.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::{ColumnOption, Expr, Ident, SqlOption, Value, ValueWithSpan};
use datafusion::sql::sqlparser::dialect::{Dialect, HiveDialect};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

pub const PATH: &str = "path";
pub const FORMAT: &str = "format";
pub const KEY: &str = "key";
pub const HEADER: &str = "header";
/// All of them.
pub const WORDS: [&str; 4] = [PATH, FORMAT, KEY, HEADER];

#[derive(Debug)]
pub struct ContractDialect;

impl Dialect for ContractDialect {
    fn dialect(&self) -> TypeId {
        TypeId::of::<HiveDialect>()
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_'
    }

    /// `STRUCT<name: TYPE>`.
    fn supports_struct_literal(&self) -> bool {
        true
    }

    /// `MAP<STRING, TYPE>`.
    fn supports_map_literal_with_angle_brackets(&self) -> bool {
        true
    }

    /// A word and its texts, as options, since those keep their places.
    fn parse_column_option(
        &self,
        parser: &mut Parser<'_>,
    ) -> Result<Option<Result<Option<ColumnOption>, ParserError>>, ParserError> {
        let Token::Word(word) = &parser.peek_token_ref().token else { return Ok(None) };
        let word = word.value.to_lowercase();
        if !WORDS.contains(&word.as_str()) {
            return Ok(None);
        }
        let key = parser.parse_identifier()?;
        if word == KEY {
            return Ok(Some(Ok(Some(ColumnOption::Options(vec![SqlOption::Ident(key)])))));
        }
        let mut options = vec![text(parser, &key)?];
        while word == FORMAT
            && parser.peek_token_ref().token == Token::Comma
            && matches!(parser.peek_nth_token(1).token, Token::SingleQuotedString(_))
        {
            parser.next_token();
            options.push(text(parser, &key)?);
        }
        Ok(Some(Ok(Some(ColumnOption::Options(options)))))
    }
}

fn text(parser: &mut Parser<'_>, key: &Ident) -> Result<SqlOption, ParserError> {
    let token = parser.next_token();
    let Token::SingleQuotedString(text) = token.token else {
        return parser.expected("a text in single quotes", token);
    };
    let value = ValueWithSpan { value: Value::SingleQuotedString(text), span: token.span };
    Ok(SqlOption::KeyValue { key: key.clone(), value: Expr::Value(value) })
}
