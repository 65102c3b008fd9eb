//! SQL text to plans: time travel that works or is refused, and errors that point at the text.
//!
//! DataFusion's parser takes `VERSION AS OF` in some dialects and then reads current data. Here the clause is taken out
//! of the token stream before parsing, and the table in front of it is replaced by that version of it; what is left of
//! such clauses in the parsed statement is refused.

use std::ops::ControlFlow;

use arrow::compute::kernels::cast_utils::string_to_datetime;
use chrono::Utc;
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::prelude::{DataFrame, SQLOptions, SessionContext};
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{TableFactor, Visit, Visitor};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer, Word};

use super::catalog::{at_time, at_version, changes_between};
use super::diagnosis::{self, Diagnosis};
use crate::error::{Error, Place, Result};

/// Where a piece of SQL stands, for errors.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    pub file: &'a str,
    pub text: &'a str,
}

impl Text<'_> {
    fn at(&self, location: Location) -> Option<Place> {
        let (line, column) = (usize::try_from(location.line).ok()?, usize::try_from(location.column).ok()?);
        (line > 0).then(|| Place::in_text(self.file, self.text, line, column))
    }

    fn wrong(&self, what: impl Into<String>, location: Location) -> Error {
        let error = Error::input(what);
        match self.at(location) {
            Some(place) => error.at(place),
            None => error,
        }
    }

    /// An error that names a table, at the place where the text does.
    fn at_table(&self, error: Error) -> Error {
        match diagnosis::named_table(error.what(), self.text).and_then(|location| self.at(location)) {
            Some(place) if error.place().is_none() => error.at(place),
            _ => error,
        }
    }

    /// An error of parsing or planning, told as people wrote their query. A session knows its functions.
    fn error(&self, error: DataFusionError, session: Option<&SessionState>) -> Error {
        if let DataFusionError::External(_) = error.find_root() {
            return self.at_table(super::error("the query failed", error));
        }
        let Diagnosis { what, hint, location } = diagnosis::of(&error, self.text, session);
        let told = Error::new(super::error("", error).kind(), what);
        let told = match location.and_then(|l| self.at(l)) {
            Some(place) => told.at(place),
            None => told,
        };
        match hint {
            Some(hint) => told.hint(hint),
            None => told,
        }
    }
}

/// Parses all statements of a text.
pub fn parse(source: Text<'_>) -> Result<Vec<Statement>> {
    let tokens = Tokenizer::new(&GenericDialect {}, source.text)
        .tokenize_with_location()
        .map_err(|e| source.wrong(e.message, e.location))?;
    let tokens = travel(source, tokens)?;
    let mut parser =
        DFParserBuilder::new(tokens).with_dialect(&GenericDialect {}).build().map_err(|e| source.error(e, None))?;
    let statements = parser.parse_statements().map_err(|e| source.error(e, None))?;
    for statement in &statements {
        if let Statement::Statement(statement) = statement
            && let ControlFlow::Break(what) = statement.visit(&mut Refused)
        {
            return Err(Error::input(what));
        }
    }
    Ok(statements.into())
}

/// Plans one query and nothing else.
pub async fn query(context: &SessionContext, source: Text<'_>) -> Result<DataFrame> {
    let mut statements = parse(source)?;
    match (statements.pop(), statements.is_empty()) {
        (Some(statement), true) => run(context, source, statement).await,
        (None, _) => Err(source.wrong("there is no SQL here", Location { line: 1, column: 1 })),
        _ => Err(source
            .wrong("there is more than one statement here, where one query is expected", second_statement(source))
            .hint("a semicolon ends a statement: keep one query")),
    }
}

/// Where the statement behind the first semicolon begins.
fn second_statement(source: Text<'_>) -> Location {
    let tokens = Tokenizer::new(&GenericDialect {}, source.text).tokenize_with_location().unwrap_or_default();
    let rest = tokens.iter().skip_while(|t| t.token != Token::SemiColon).skip(1);
    let next = rest.map(|t| (&t.token, t.span.start)).find(|(token, _)| !matches!(token, Token::Whitespace(_)));
    next.map_or(Location { line: 1, column: 1 }, |(_, start)| start)
}

/// Plans a statement that reads. Whatever would write, or change the session, is refused.
pub async fn run(context: &SessionContext, source: Text<'_>, statement: Statement) -> Result<DataFrame> {
    let session = context.state();
    let told = |e| source.error(e, Some(&session));
    let plan = session.statement_to_plan(statement).await.map_err(told)?;
    let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    options.verify_plan(&plan).map_err(|_| {
        Error::input("this session only reads")
            .hint("tables are made by ingest, load and build; ask with SELECT, EXPLAIN, SHOW or DESCRIBE")
    })?;
    context.execute_logical_plan(plan).await.map_err(told)
}

/// Replaces `t [FOR] VERSION AS OF 12` and `t [FOR] TIMESTAMP AS OF '…'` by the name of that version of the table.
fn travel(source: Text<'_>, tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>> {
    let keyword = |token: Option<&TokenWithSpan>| match token.map(|t| &t.token) {
        Some(Token::Word(word)) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
        _ => String::new(),
    };
    let solid: Vec<usize> = (0..tokens.len()).filter(|i| !matches!(tokens[*i].token, Token::Whitespace(_))).collect();
    let at = |i: usize| solid.get(i).and_then(|t| tokens.get(*t));
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut i = 0;
    while let Some(token) = at(i) {
        let explicit = usize::from(keyword(Some(token)) == "FOR");
        let kind = keyword(at(i + explicit));
        let clause = matches!(kind.as_str(), "VERSION" | "TIMESTAMP" | "SYSTEM_TIME")
            && keyword(at(i + explicit + 1)) == "AS"
            && keyword(at(i + explicit + 2)) == "OF";
        let value = at(i + explicit + 3).map(|t| &t.token);
        let literal = matches!(value, Some(Token::Number(..) | Token::SingleQuotedString(_)));
        if keyword(Some(token)) == "CHANGES"
            && let Some(words) = changes_call(source, &at, i)?
        {
            i += words.taken;
            let named = keyword(at(i)) == "AS"
                || matches!(at(i).map(|t| &t.token), Some(Token::Word(_))) && !ends_table(&keyword(at(i)));
            out.extend(words.tokens);
            if !named {
                let quoted = Word { value: "changes".into(), quote_style: Some('"'), keyword: Keyword::NoKeyword };
                out.push(TokenWithSpan { token: Token::make_keyword("AS"), span: Span::empty() });
                out.push(TokenWithSpan { token: Token::Word(quoted), span: token.span });
            }
            continue;
        }
        // `SELECT version AS of FROM t` is no time travel; with FOR, or with a value behind it, it can be nothing else.
        if !clause || (explicit == 0 && !literal) {
            out.push(token.clone());
            i += 1;
            continue;
        }
        let place = token.span.start;
        let Some(TokenWithSpan { token: Token::Word(table), span }) = out.pop() else {
            return Err(source.wrong(format!("{kind} AS OF must follow the name of a table"), place));
        };
        let plain = if table.quote_style.is_some() { table.value.clone() } else { table.value.to_lowercase() };
        let name = match (kind.as_str(), value) {
            ("VERSION", Some(Token::Number(number, _))) => match number.parse() {
                Ok(version) => at_version(&plain, version),
                Err(_) => {
                    return Err(source.wrong(format!("`{number}` is not a version: expected a whole number"), place));
                }
            },
            ("VERSION", _) => return Err(source.wrong("VERSION AS OF takes a whole number", place)),
            (_, Some(Token::SingleQuotedString(text))) => match string_to_datetime(&Utc, text) {
                Ok(time) => at_time(&plain, time.timestamp_micros()),
                Err(_) => {
                    return Err(source.wrong(format!("`{text}` is not a time: write '2026-01-31 12:00:00'"), place));
                }
            },
            _ => {
                return Err(
                    source.wrong(format!("{kind} AS OF takes a time in quotes, such as '2026-01-31 12:00:00'"), place)
                );
            }
        };
        let word =
            |text: String| Token::Word(Word { value: text, quote_style: Some('"'), keyword: Keyword::NoKeyword });
        out.push(TokenWithSpan { token: word(name), span });
        i += explicit + 4;
        // The query goes on to call the table by its own name, unless it gives it another.
        let next = keyword(at(i));
        let has_alias = next == "AS" || (matches!(at(i).map(|t| &t.token), Some(Token::Word(_))) && !ends_table(&next));
        if !has_alias {
            out.push(TokenWithSpan { token: Token::make_keyword("AS"), span: Span::empty() });
            out.push(TokenWithSpan { token: word(plain), span });
        }
    }
    Ok(out)
}

/// A call of `changes`, as the name of the table that answers it.
struct Call {
    tokens: Vec<TokenWithSpan>,
    taken: usize,
}

/// Reads `changes('schema.table', 1, 2)`. None if it is something else that is called so.
fn changes_call<'a>(
    source: Text<'_>,
    at: &dyn Fn(usize) -> Option<&'a TokenWithSpan>,
    start: usize,
) -> Result<Option<Call>> {
    let token = |i: usize| at(start + i).map(|t| &t.token);
    let (Some(Token::LParen), Some(Token::SingleQuotedString(table))) = (token(1), token(2)) else { return Ok(None) };
    let span = at(start).map_or_else(Span::empty, |t| t.span);
    let number = |i: usize| match token(i) {
        Some(Token::Number(text, _)) => text.parse::<u64>().ok(),
        _ => None,
    };
    let (Some(Token::Comma), Some(from), Some(Token::Comma), Some(to), Some(Token::RParen)) =
        (token(3), number(4), token(5), number(6), token(7))
    else {
        return Err(source.wrong("changes takes a table and two versions: changes('gold.orders', 3, 4)", span.start));
    };
    let (schema, name) = table.split_once('.').unwrap_or(("gold", table));
    let word = |text: String| Token::Word(Word { value: text, quote_style: Some('"'), keyword: Keyword::NoKeyword });
    let tokens = [word(schema.to_owned()), Token::Period, word(changes_between(name, from, to))];
    Ok(Some(Call { tokens: tokens.map(|token| TokenWithSpan { token, span }).into(), taken: 8 }))
}

/// Keywords that may follow a table without being its alias.
fn ends_table(keyword: &str) -> bool {
    const FOLLOW: &[&str] = &[
        "WHERE",
        "GROUP",
        "ORDER",
        "LIMIT",
        "OFFSET",
        "FETCH",
        "HAVING",
        "QUALIFY",
        "WINDOW",
        "JOIN",
        "INNER",
        "LEFT",
        "RIGHT",
        "FULL",
        "CROSS",
        "NATURAL",
        "ON",
        "USING",
        "UNION",
        "INTERSECT",
        "EXCEPT",
        "LATERAL",
        "SEMI",
        "ANTI",
    ];
    keyword.is_empty() || FOLLOW.contains(&keyword)
}

/// What the parser accepts and the engine would ignore.
struct Refused;

impl Visitor for Refused {
    type Break = String;

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<String> {
        match factor {
            TableFactor::Table { sample: Some(_), .. } | TableFactor::Derived { sample: Some(_), .. } => {
                ControlFlow::Break("TABLESAMPLE is not supported: use ORDER BY random() LIMIT n".into())
            }
            TableFactor::Table { version: Some(version), .. } => ControlFlow::Break(format!(
                "time travel is written VERSION AS OF n or TIMESTAMP AS OF '…', not{version}"
            )),
            _ => ControlFlow::Continue(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(sql: &str) -> Result<String> {
        parse(Text { file: "test", text: sql })
            .map(|s| s.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn time_travel_names_the_version_and_keeps_the_tables_own_name() {
        assert_eq!(
            parsed("select Calls.x from gold.Calls for version as of 12 where calls.x = 1").unwrap(),
            "SELECT Calls.x FROM gold.\"calls@v12\" AS \"calls\" WHERE calls.x = 1"
        );
        assert_eq!(
            parsed("SELECT * FROM t TIMESTAMP AS OF '1970-01-01T00:00:01Z' c JOIN u ON true").unwrap(),
            "SELECT * FROM \"t@t1000000\" c JOIN u ON true"
        );
    }

    #[test]
    fn changes_between_two_versions_are_a_table() {
        assert_eq!(
            parsed("select * from changes('silver.x', 1, 2) where a = 1").unwrap(),
            "SELECT * FROM \"silver\".\"x@c1:2\" AS \"changes\" WHERE a = 1"
        );
        assert!(parsed("select * from changes('silver.x', 1)").is_err());
        assert_eq!(parsed("select changes from changes").unwrap(), "SELECT changes FROM changes");
    }

    #[test]
    fn a_column_called_version_may_still_be_called_of() {
        assert_eq!(parsed("SELECT version AS of FROM t").unwrap(), "SELECT version AS of FROM t");
    }

    #[test]
    fn time_travel_that_cannot_work_is_refused_and_never_ignored() {
        for sql in [
            "SELECT * FROM t FOR VERSION AS OF x",
            "SELECT * FROM t VERSION AS OF 'yesterday'",
            "SELECT * FROM t TIMESTAMP AS OF 'soon'",
            "SELECT * FROM t FOR TIMESTAMP AS OF now()",
            "SELECT * FROM (SELECT 1) VERSION AS OF 1",
            "SELECT * FROM t TABLESAMPLE (10 PERCENT)",
        ] {
            assert!(parsed(sql).is_err(), "{sql} was taken as {:?}", parsed(sql));
        }
    }

    #[test]
    fn a_syntax_error_has_its_place() {
        let place = |sql: &str| parsed(sql).unwrap_err().place().map(|p| (p.line, p.column));
        assert_eq!(place("SELECT 1,\n  (2 3)"), Some((2, 6)));
        assert_eq!(place("SELECT count(\n  x\n"), Some((2, 4)), "the end of the text is a place as well");
    }
}
