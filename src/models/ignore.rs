//! `.dbtignore`: files below the project that are none of its own, by patterns as in `.gitignore`.

use std::path::Path;

use regex::Regex;

use super::files;
use crate::error::{Error, Place, Result};

const FILE: &str = ".dbtignore";

/// The patterns of a project, in their order: of those that match a path the last one decides.
#[derive(Debug, Default)]
pub struct Ignored {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    pattern: Regex,
    /// `!pattern` takes back what a pattern above it left out.
    keeps: bool,
}

impl Ignored {
    pub fn of(root: &Path) -> Result<Ignored> {
        if !root.join(FILE).is_file() {
            return Ok(Ignored::default());
        }
        Ignored::parse(&files::read(root, FILE)?)
    }

    fn parse(text: &str) -> Result<Ignored> {
        let mut rules = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let written = line.trim();
            if written.is_empty() || written.starts_with('#') {
                continue;
            }
            let (keeps, written) = written.strip_prefix('!').map_or((false, written), |rest| (true, rest));
            let pattern = Regex::new(&expression(written)).map_err(|e| {
                let place = Place::in_text(FILE, text, number + 1, 1);
                Error::input(format!("`{written}` is not a pattern of files")).because(e).at(place)
            })?;
            rules.push(Rule { pattern, keeps });
        }
        Ok(Ignored { rules })
    }

    /// Whether a file is left out; its path is from the root of the project.
    pub fn has(&self, path: &str) -> bool {
        self.rules.iter().rev().find(|rule| rule.pattern.is_match(path)).is_some_and(|rule| !rule.keeps)
    }
}

/// A pattern with a slash inside is of one place, any other of whatever is called so; what matches a folder matches all
/// that is in it.
fn expression(pattern: &str) -> String {
    let folder = pattern.strip_suffix('/');
    let body = folder.unwrap_or(pattern);
    let start = if body.contains('/') { "^" } else { "^(?:.*/)?" };
    let mut expression = start.to_owned();
    let mut rest = body.trim_start_matches('/');
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("**/") {
            expression.push_str("(?:.*/)?");
            rest = after;
            continue;
        }
        match c {
            '*' if rest.starts_with("**") => expression.push_str(".*"),
            '*' => expression.push_str("[^/]*"),
            '?' => expression.push_str("[^/]"),
            c => expression.push_str(&regex::escape(&c.to_string())),
        }
        let taken = if rest.starts_with("**") { 2 } else { c.len_utf8() };
        rest = rest.get(taken..).unwrap_or("");
    }
    expression.push_str(if folder.is_some() { "/.*$" } else { "(?:/.*)?$" });
    expression
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_out(patterns: &str) -> impl Fn(&str) -> bool {
        let ignored = Ignored::parse(patterns).unwrap();
        move |path| ignored.has(path)
    }

    #[test]
    fn a_name_is_left_out_wherever_it_stands_and_a_folder_with_all_in_it() {
        let out = left_out("*.tmp.sql\nold/\n# a comment\n\nmodels/drafts/*.sql");
        assert!(out("models/x.tmp.sql") && out("models/deep/er/x.tmp.sql") && out("models/old/a/x.sql"));
        assert!(out("models/drafts/x.sql"));
        assert!(!out("models/drafts/kept/x.sql") && !out("models/x.sql") && !out("models/old"));
    }

    #[test]
    fn the_last_pattern_that_matches_decides() {
        let out = left_out("models/*\n!models/kept.sql");
        assert!(out("models/x.sql") && out("models/folder/x.sql") && !out("models/kept.sql"));
        let out = left_out("models/**/x.sql");
        assert!(out("models/x.sql") && out("models/a/b/x.sql") && !out("models/a/y.sql"));
    }
}
