//! What the engine says of a query, told to whoever wrote it: what is wrong, where in the text, and what to do.
//!
//! The engine's words name its own types and plans. Those that people meet most are told in theirs here; any other
//! keeps its wording.

use std::collections::BTreeSet;

use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};
use regex::Regex;

use crate::error::nearest;

/// Names listed in a hint; more would hide what it says.
const LISTED: usize = 12;

/// The words that begin a part of a query, for who misspells one.
const CLAUSES: &[&str] = &[
    "select", "from", "where", "group", "having", "order", "limit", "union", "join", "left", "inner", "on", "using",
    "as",
];

/// One error in a text.
#[derive(Debug, Default, PartialEq)]
pub struct Diagnosis {
    pub what: String,
    pub hint: Option<String>,
    pub location: Option<Location>,
}

impl Diagnosis {
    fn new(what: impl Into<String>) -> Self {
        Diagnosis { what: what.into(), ..Diagnosis::default() }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn at(mut self, location: Option<Location>) -> Self {
        self.location = location;
        self
    }
}

/// An error of parsing or planning `text`. A session knows its functions.
pub fn of(error: &DataFusionError, text: &str, session: Option<&SessionState>) -> Diagnosis {
    let words = Words::of(text);
    let span = error.diagnostic().and_then(|d| d.span);
    let spanned = span.map(|s| Location { line: s.start.line, column: s.start.column });
    let told = match error.find_root() {
        DataFusionError::SQL(parser, _) => return syntax(&parser.to_string(), &words),
        DataFusionError::SchemaError(schema, _) => column(schema, error, &words),
        root => planning(root, error, &words, session),
    };
    Diagnosis { location: told.location.or(spanned), ..told }
}

/// Where the table that an error says is not there stands in a text.
pub fn named_table(what: &str, text: &str) -> Option<Location> {
    let [table] = captured(what, r"there is no table \S+\.(\S+)$")?;
    Words::of(text).named(table).next().map(|t| t.span.start)
}

/// A syntax error; sqlparser tells its place in words only, and none for the end of the text.
fn syntax(told: &str, words: &Words) -> Diagnosis {
    let text = told.trim_start_matches("sql parser error: ");
    let text = text.split(" at Line:").next().unwrap_or(text);
    let location = location_in(told).or(Some(words.end));
    let Some((expected, found)) = text.strip_prefix("Expected: ").and_then(|t| t.split_once(", found: ")) else {
        return Diagnosis::new(text).at(location);
    };
    let expected = if expected == "end of statement" { "the end of the statement" } else { expected };
    let shown = if found == "EOF" { "the end of the text".to_owned() } else { format!("`{found}`") };
    let told = Diagnosis::new(format!("expected {expected}, but found {shown}")).at(location);
    let at = location.and_then(|l| words.index_at(l));
    let before = |i: usize| i.checked_sub(1).and_then(|i| words.tokens.get(i));
    if let Some(near) = nearest(&found.to_lowercase(), CLAUSES.iter().copied())
        && !CLAUSES.contains(&found.to_lowercase().as_str())
        && found.len() > 3
    {
        return told.hint(format!("did you mean `{near}`?"));
    }
    if expected == ")" {
        return match at.and_then(|i| words.opened_before(i)).and_then(before) {
            Some(TokenWithSpan { token: Token::Word(word), .. }) => {
                told.hint(format!("close the parenthesis of `{}(`", word.value))
            }
            _ => told.hint("a parenthesis is not closed"),
        };
    }
    if let Some(i) = at
        && before(i).is_some_and(|t| t.token == Token::Comma)
    {
        return told.hint("a comma separates columns, so that none stands behind the last one");
    }
    if expected == "the end of the statement"
        && let Some(i) = at
        && let Some(next) = if found == "(" { i.checked_sub(1) } else { Some(i) }
        && before(next).is_some_and(|t| ends_expression(&t.token))
        && let Some(TokenWithSpan { token: Token::Word(word), span }) = words.tokens.get(next)
    {
        let told = Diagnosis { location: Some(span.start), ..told };
        return told.hint(format!("is a comma missing before `{}`?", word.value));
    }
    told
}

fn ends_expression(token: &Token) -> bool {
    match token {
        Token::Word(_) | Token::Number(..) | Token::SingleQuotedString(_) => true,
        other => *other == Token::RParen,
    }
}

/// A name of a column that means nothing, or too much.
fn column(schema: &SchemaError, error: &DataFusionError, words: &Words) -> Diagnosis {
    match schema {
        SchemaError::FieldNotFound { field, valid_fields } => not_found(field, valid_fields, words),
        SchemaError::AmbiguousReference { field } => {
            let notes = error.diagnostic().map(|d| d.notes.as_slice()).unwrap_or_default();
            let candidates = notes.iter().filter_map(|n| n.message.strip_prefix("possible column "));
            let candidates = candidates.collect::<Vec<_>>().join(" or ");
            let told = Diagnosis::new(format!("`{}` stands in more than one of these tables", field.name));
            if candidates.is_empty() {
                told.hint("write the table's name before it")
            } else {
                told.hint(format!("write {candidates}"))
            }
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            twice(name, words)
        }
    }
}

fn not_found(field: &Column, valid: &[Column], words: &Words) -> Diagnosis {
    let named = |column: &Column| match &column.relation {
        Some(table) if field.relation.is_some() => format!("{}.{}", table.table(), column.name),
        _ => column.name.clone(),
    };
    let typed = named(field);
    let tables: BTreeSet<&str> = valid.iter().filter_map(|c| c.relation.as_ref()).map(|t| t.table()).collect();
    if let Some(table) = field.relation.as_ref().map(|t| t.table())
        && !tables.contains(table)
    {
        let told = Diagnosis::new(format!("there is no table `{table}` in this query, as in `{typed}`"));
        return match nearest(table, tables.iter().copied()) {
            Some(near) => told.hint(format!("did you mean `{near}`?")),
            None => told.hint(format!("there are {}", listed(tables.iter().map(|t| (*t).to_owned())))),
        };
    }
    let told = Diagnosis::new(format!("there is no column `{typed}`"));
    if let Some(other) = valid.iter().find(|c| c.name != field.name && c.name.eq_ignore_ascii_case(&field.name)) {
        return told.hint(format!("names without quotes are read in lower case: write \"{}\"", other.name));
    }
    if words.is_alias(&field.name) {
        return told.hint(format!(
            "`{}` is made by a select, whose names WHERE and GROUP BY do not see yet: repeat its expression, or make it in a CTE",
            field.name
        ));
    }
    let of_table = |c: &&Column| match &field.relation {
        Some(table) => c.relation.as_ref().is_some_and(|t| t.table() == table.table()),
        None => true,
    };
    let candidates: Vec<String> = valid.iter().filter(of_table).map(named).collect();
    match nearest(&typed, candidates.iter().map(String::as_str)) {
        Some(near) => told.hint(format!("did you mean `{near}`?")),
        None if candidates.is_empty() => told.hint("there are no columns here"),
        None => told.hint(format!("there are {}", listed(candidates))),
    }
}

fn listed(names: impl IntoIterator<Item = String>) -> String {
    let names: Vec<String> = names.into_iter().collect();
    match names.get(..LISTED) {
        Some(first) if names.len() > LISTED => format!("{} and {} more", first.join(", "), names.len() - LISTED),
        _ => names.join(", "),
    }
}

fn twice(name: &str, words: &Words) -> Diagnosis {
    Diagnosis::new(format!("two columns are called `{name}`"))
        .hint("give one of them another name, as in `x as y`")
        .at(words.named(name).last().map(|t| t.span.start))
}

/// What the engine only tells in a sentence.
fn planning(
    root: &DataFusionError,
    error: &DataFusionError,
    words: &Words,
    session: Option<&SessionState>,
) -> Diagnosis {
    let text = root.strip_backtrace();
    let text = text.trim_start_matches("Error during planning: ");
    let notes = error.diagnostic().map(|d| d.notes.as_slice()).unwrap_or_default();
    if let Some([name]) = captured(text, r"^Invalid function '([^']+)'") {
        let known = session.map(functions).unwrap_or_default();
        let told = Diagnosis::new(format!("there is no function `{name}`"));
        return match nearest(name, known.iter().map(String::as_str)) {
            Some(near) => told.hint(format!("did you mean `{near}`?")),
            None => told,
        };
    }
    if let Some([name, types]) = captured(text, r"argument types '([^('\s]+)\((.*?)\)'\.") {
        return wrong_arguments(name, types, text, words);
    }
    if let Some([column]) = captured(text, r#"column "(.+?)" must appear in the GROUP BY"#) {
        return Diagnosis::new(format!("`{column}` is neither grouped nor inside of an aggregate function"))
            .hint(format!("add it to GROUP BY, or take one value of it: max({column})"));
    }
    if let Some([name]) = captured(text, r#"require unique expression names but the expression ".*? AS ([^"]+)" at"#) {
        return twice(name, words);
    }
    if text.contains("not allowed in the WHERE clause") {
        let aggregates = session.map(|s| s.aggregate_functions().keys().cloned().collect()).unwrap_or_default();
        return Diagnosis::new("an aggregate function cannot stand in WHERE")
            .hint("WHERE takes rows before they are grouped; HAVING, behind GROUP BY, takes groups")
            .at(words.call_behind_where(&aggregates));
    }
    if text.contains("have different number of columns") {
        let counts: Vec<&str> = notes.iter().filter_map(|n| n.message.split(' ').nth(3)).collect();
        let told = Diagnosis::new("the parts of this UNION, INTERSECT or EXCEPT have different numbers of columns");
        return match counts.as_slice() {
            [first, second] => told.hint(format!("one has {first}, the other {second}")),
            _ => told,
        };
    }
    let coerced = error.diagnostic().is_some_and(|d| d.message.contains("incompatible types"));
    let told = Diagnosis::new(plain_types(text));
    if coerced { told.hint("convert one side: cast(… as …)") } else { told }
}

fn wrong_arguments(name: &str, types: &str, text: &str, words: &Words) -> Diagnosis {
    let given = plain_types(types);
    let candidates = text.split("Candidate functions:").nth(1).unwrap_or("");
    let mut taken: Vec<String> = Vec::new();
    for candidate in candidates.lines().map(str::trim).filter(|line| !line.is_empty()).map(plain_types) {
        if !taken.contains(&candidate) {
            taken.push(candidate);
        }
    }
    let told = Diagnosis::new(format!("`{name}` does not take ({given})")).at(words.only_call(name));
    if taken.is_empty() { told } else { told.hint(format!("there are {}", listed(taken))) }
}

/// A value that an expression could not take, found while the query ran; what, and what to do.
pub fn of_value(error: &DataFusionError) -> Option<(String, &'static str)> {
    let text = error.find_root().strip_backtrace();
    if text.contains("Divide by zero") {
        return Some(("a division by zero".to_owned(), "x / nullif(y, 0) is NULL where y is zero"));
    }
    let [value, kind] = captured(&text, r"Cannot cast (?:string|value) '(.*)' to value of (\S+?(?:\(.*\))?) type")?;
    let what = format!("the text '{value}' cannot be read as {}", plain_types(kind));
    Some((
        what,
        "try_cast(… as …) is NULL where a text does not fit; else correct the text, or what it is compared with",
    ))
}

/// The engine's names of types as SQL has them.
pub fn plain_types(text: &str) -> String {
    let mut plain = text.to_owned();
    let names = [
        (r"\b(Utf8View|LargeUtf8|Utf8|String)\b", "text"),
        (r"\bInt64\b", "bigint"),
        (r"\bInt32\b", "int"),
        (r"\bFloat64\b", "double"),
        (r"\bFloat32\b", "float"),
        (r"\bBoolean\b", "boolean"),
        (r"\bDate(32|64)\b", "date"),
        (r"\bDecimal\d*\b", "decimal"),
        (r#"\bTimestamp(\([^()]*\))?"#, "timestamp"),
        (r"\bInterval(\([^()]*\))?", "interval"),
    ];
    for (pattern, name) in names {
        if let Ok(pattern) = Regex::new(pattern) {
            plain = pattern.replace_all(&plain, name).into_owned();
        }
    }
    plain
}

fn functions(session: &SessionState) -> Vec<String> {
    let scalar = session.scalar_functions().keys();
    scalar.chain(session.aggregate_functions().keys()).chain(session.window_functions().keys()).cloned().collect()
}

fn captured<'t, const N: usize>(text: &'t str, pattern: &str) -> Option<[&'t str; N]> {
    let captures = Regex::new(pattern).ok()?.captures(text)?;
    let groups: Vec<&str> = captures.iter().skip(1).flatten().map(|group| group.as_str()).collect();
    groups.try_into().ok()
}

fn location_in(text: &str) -> Option<Location> {
    let [line, column] = captured(text, r"Line: (\d+), Column: (\d+)")?;
    Some(Location { line: line.parse().ok()?, column: column.parse().ok()? })
}

/// The tokens of a text, without blanks and comments.
struct Words {
    tokens: Vec<TokenWithSpan>,
    end: Location,
}

impl Words {
    fn of(text: &str) -> Words {
        let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location().unwrap_or_default();
        let tokens = tokens.into_iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).collect();
        let text = text.trim_end();
        let last = text.rsplit('\n').next().unwrap_or("");
        let end = Location { line: text.matches('\n').count() as u64 + 1, column: last.chars().count() as u64 + 1 };
        Words { tokens, end }
    }

    fn index_at(&self, location: Location) -> Option<usize> {
        self.tokens.iter().position(|t| t.span.start == location)
    }

    fn named<'w>(&'w self, name: &'w str) -> impl Iterator<Item = &'w TokenWithSpan> {
        let is_it = move |t: &&TokenWithSpan| matches!(&t.token, Token::Word(w) if w.value.eq_ignore_ascii_case(name));
        self.tokens.iter().filter(is_it)
    }

    /// Whether something is given this name with `as`.
    fn is_alias(&self, name: &str) -> bool {
        self.tokens.windows(2).any(|pair| match pair {
            [TokenWithSpan { token: Token::Word(a), .. }, TokenWithSpan { token: Token::Word(b), .. }] => {
                a.keyword == Keyword::AS && b.value == name
            }
            _ => false,
        })
    }

    fn calls<'w>(&'w self, name: &'w str) -> impl Iterator<Item = Location> {
        self.tokens.windows(2).filter_map(move |pair| match pair {
            [TokenWithSpan { token: Token::Word(word), span }, next]
                if next.token == Token::LParen && word.value.eq_ignore_ascii_case(name) =>
            {
                Some(span.start)
            }
            _ => None,
        })
    }

    /// Where a function is called, if that is in one place alone.
    fn only_call(&self, name: &str) -> Option<Location> {
        let mut calls = self.calls(name);
        calls.next().filter(|_| calls.next().is_none())
    }

    fn call_behind_where(&self, functions: &BTreeSet<String>) -> Option<Location> {
        let is_where = |t: &TokenWithSpan| matches!(&t.token, Token::Word(w) if w.keyword == Keyword::WHERE);
        let from = self.tokens.iter().find(|t| is_where(t))?.span.start;
        functions.iter().flat_map(|f| self.calls(f)).filter(|location| *location > from).min()
    }

    /// The innermost parenthesis that is open at a token.
    fn opened_before(&self, at: usize) -> Option<usize> {
        let mut open = Vec::new();
        for (i, token) in self.tokens.iter().enumerate().take(at) {
            match token.token {
                Token::LParen => open.push(i),
                Token::RParen => drop(open.pop()),
                _ => {}
            }
        }
        open.pop()
    }
}
