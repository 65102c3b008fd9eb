//! What the tab key offers: keywords, schemas, tables and columns that start with what is typed.

use std::collections::{BTreeMap, BTreeSet};

use rustyline::completion::{Completer, Pair};
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};

const KEYWORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "LIMIT",
    "HAVING",
    "QUALIFY",
    "JOIN",
    "LEFT JOIN",
    "INNER JOIN",
    "ON",
    "USING",
    "WITH",
    "AS",
    "UNION ALL",
    "DISTINCT",
    "COUNT",
    "SUM",
    "AVG",
    "MIN",
    "MAX",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "AND",
    "OR",
    "NOT",
    "NULL",
    "IS",
    "IN",
    "BETWEEN",
    "LIKE",
    "EXPLAIN",
    "EXPLAIN ANALYZE",
    "DESCRIBE",
    "SHOW TABLES",
    "VERSION AS OF",
    "TIMESTAMP AS OF",
    "DATE_TRUNC",
    "COALESCE",
    "CAST",
    "OVER",
    "PARTITION BY",
];

/// Names by table, as the lake had them when the shell looked last.
#[derive(Debug, Default)]
pub struct Names {
    pub tables: BTreeMap<String, BTreeSet<String>>,
    pub columns: BTreeSet<String>,
}

pub struct Assistant {
    pub names: Names,
}

impl Assistant {
    fn offers(&self, word: &str) -> Vec<String> {
        if let Some((schema, start)) = word.rsplit_once('.') {
            let tables = self.names.tables.get(schema).into_iter().flatten();
            return tables.filter(|t| starts(t, start)).map(|t| format!("{schema}.{t}")).collect();
        }
        let schemas = self.names.tables.keys().filter(|s| starts(s, word)).map(|s| format!("{s}."));
        let tables = self.names.tables.values().flatten().filter(|t| starts(t, word)).cloned();
        let columns = self.names.columns.iter().filter(|c| starts(c, word)).cloned();
        // A keyword in the case that the person types in.
        let upper = word.chars().next().is_some_and(|c| c.is_ascii_uppercase());
        let keywords =
            KEYWORDS.iter().filter(|k| starts(k, word)).map(|k| if upper { k.to_string() } else { k.to_lowercase() });
        let mut all: Vec<String> = schemas.chain(tables).chain(columns).chain(keywords).collect();
        all.dedup();
        all
    }
}

fn starts(name: &str, start: &str) -> bool {
    name.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(&self, line: &str, position: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = &line[..position];
        let start = before
            .rfind(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'))
            .map_or(0, |i| i + before[i..].chars().next().map_or(1, char::len_utf8));
        let word = &before[start..];
        if word.is_empty() {
            return Ok((position, Vec::new()));
        }
        let pairs = self.offers(word).into_iter().map(|name| Pair { display: name.clone(), replacement: name });
        Ok((start, pairs.collect()))
    }
}

impl Validator for Assistant {
    /// A statement goes on over lines until its semicolon; a backslash command is one line.
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let text = context.input().trim();
        let done = text.is_empty() || text.starts_with('\\') || is_complete(text);
        Ok(if done { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

/// Whether the text ends in a semicolon that is not inside quotes or a comment.
pub fn is_complete(text: &str) -> bool {
    let mut quote: Option<char> = None;
    let mut chars = text.chars().peekable();
    let mut ended = false;
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), _) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '-') if chars.peek() == Some(&'-') => while chars.next_if(|c| *c != '\n').is_some() {},
            (None, c) if c.is_whitespace() => continue,
            (None, c) => {
                ended = c == ';';
                continue;
            }
        }
        if !matches!(c, '-') {
            ended = false;
        }
    }
    ended && quote.is_none()
}

impl Hinter for Assistant {
    type Hint = String;
}

impl Highlighter for Assistant {
    fn highlight_char(&self, _: &str, _: usize, _: CmdKind) -> bool {
        false
    }
}

impl Helper for Assistant {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_ends_at_a_semicolon_outside_of_quotes_and_comments() {
        for complete in ["select 1;", "select ';' ; ", "select 1; -- done", "select \"a;b\";"] {
            assert!(is_complete(complete), "{complete}");
        }
        for open in ["select 1", "select ';", "select 1 -- ;", "select 1; select 2", "select \"a;"] {
            assert!(!is_complete(open), "{open}");
        }
    }

    #[test]
    fn the_tab_key_offers_schemas_tables_columns_and_keywords() {
        let names = Names {
            tables: [("gold".to_owned(), ["fact_calls".to_owned()].into())].into(),
            columns: ["call_id".to_owned()].into(),
        };
        let assistant = Assistant { names };
        assert_eq!(assistant.offers("go"), ["gold."]);
        assert_eq!(assistant.offers("gold.fa"), ["gold.fact_calls"]);
        assert_eq!(assistant.offers("fact"), ["fact_calls"]);
        assert_eq!(assistant.offers("call_"), ["call_id"]);
        assert_eq!(assistant.offers("SEL"), ["SELECT"]);
        assert_eq!(assistant.offers("sel"), ["select"]);
    }
}
