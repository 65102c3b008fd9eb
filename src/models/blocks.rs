//! Finds the named top-level blocks of a file of macros, such as `{% macro %}` and `{% test %}`, and leaves what is in
//! them to Jinja.

use std::ops::Range;

use super::problem::Problem;

/// A block with its opening and closing tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub word: String,
    pub name: String,
    /// All of it, from the `{%` of the opening tag to the `%}` of the closing one.
    pub whole: Range<usize>,
    /// The first word of the opening tag.
    pub opening: Range<usize>,
    /// The first word of the closing tag.
    pub closing: Range<usize>,
}

const WORDS: [&str; 5] = ["macro", "test", "data_test", "materialization", "snapshot"];

struct Tag {
    whole: Range<usize>,
    word: Range<usize>,
}

/// The top-level blocks in order, or what is wrong and at which byte.
pub fn find(text: &str) -> Result<Vec<Block>, (usize, Problem)> {
    let mut blocks = Vec::new();
    let mut open: Option<(Tag, usize)> = None;
    let mut from = 0;
    while let Some(tag) = next_tag(text, from)? {
        from = tag.whole.end;
        let word = &text[tag.word.clone()];
        if word == "raw" {
            from = end_of_raw(text, from);
            continue;
        }
        match open.take() {
            None if WORDS.contains(&word) => open = Some((tag, 0)),
            None => {
                let problem = Problem::new(format!("a `{word}` tag cannot stand outside of a block here"))
                    .hint("files of macros hold {% macro %} and {% test %} blocks; put the tag inside one");
                return Err((tag.whole.start, problem));
            }
            Some((first, depth)) => {
                let opened = &text[first.word.clone()];
                match word.strip_prefix("end") {
                    Some(ended) if ended == opened && depth == 0 => blocks.push(block(text, first, tag)?),
                    Some(ended) if ended == opened => open = Some((first, depth - 1)),
                    _ => {
                        let deeper = usize::from(word == opened);
                        open = Some((first, depth + deeper));
                    }
                }
            }
        }
    }
    match open {
        None => Ok(blocks),
        Some((first, _)) => {
            let word = &text[first.word.clone()];
            Err((first.whole.start, never_ends(word)))
        }
    }
}

/// The innermost block of a template that is never closed, at its byte.
pub fn unclosed(text: &str) -> Option<(usize, Problem)> {
    const NESTED: [&str; 8] = ["if", "for", "macro", "call", "filter", "block", "with", "autoescape"];
    let mut open: Vec<(usize, &str)> = Vec::new();
    let mut from = 0;
    while let Some(tag) = next_tag(text, from).ok()? {
        from = tag.whole.end;
        let word = &text[tag.word.clone()];
        let captures = word == "set" && !text[tag.whole.clone()].contains('=');
        if word == "raw" {
            from = end_of_raw(text, from);
        } else if NESTED.contains(&word) || captures {
            open.push((tag.whole.start, word));
        } else if word.starts_with("end") {
            open.pop();
        }
    }
    let (offset, word) = open.pop()?;
    Some((offset, never_ends(word)))
}

fn never_ends(word: &str) -> Problem {
    Problem::new(format!("this `{word}` block never ends")).hint(format!("close it with {{% end{word} %}}"))
}

fn block(text: &str, first: Tag, last: Tag) -> Result<Block, (usize, Problem)> {
    let rest = text[first.word.end..first.whole.end].trim_start();
    let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let word = text[first.word.clone()].to_owned();
    if name.is_empty() {
        return Err((first.whole.start, Problem::new(format!("this `{word}` block has no name"))));
    }
    Ok(Block { word, name, whole: first.whole.start..last.whole.end, opening: first.word, closing: last.word })
}

/// The next `{% ... %}` from a byte on; comments and expressions are passed over.
fn next_tag(text: &str, mut from: usize) -> Result<Option<Tag>, (usize, Problem)> {
    while let Some(start) = text[from..].find('{').map(|i| from + i) {
        let unclosed = |what: &str| (start, Problem::new(format!("this {what} is never closed")));
        let body = &text[start + 1..];
        if let Some(comment) = body.strip_prefix('#') {
            from = start + 4 + comment.find("#}").ok_or_else(|| unclosed("comment"))?;
        } else if body.starts_with('{') {
            from = close(text, start + 2, "}}").ok_or_else(|| unclosed("expression"))?;
        } else if body.starts_with('%') {
            let end = close(text, start + 2, "%}").ok_or_else(|| unclosed("tag"))?;
            let inside = &text[start + 2..end];
            let before = inside.len() - inside.trim_start_matches(['-', '+']).trim_start().len();
            let word = start + 2 + before;
            let length = text[word..end].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(0);
            return Ok(Some(Tag { whole: start..end, word: word..word + length }));
        } else {
            from = start + 1;
        }
    }
    Ok(None)
}

/// The byte after the closing mark, which does not count within quotes.
fn close(text: &str, from: usize, mark: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (i, c) in text[from..].char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if text[from + i..].starts_with(mark) => return Some(from + i + mark.len()),
            None => {}
        }
    }
    None
}

fn end_of_raw(text: &str, from: usize) -> usize {
    let mut at = from;
    while let Some(start) = text[at..].find("{%").map(|i| at + i) {
        at = start + 2;
        if text[at..].trim_start_matches(['-', '+']).trim_start().starts_with("endraw") {
            return text[at..].find("%}").map_or(text.len(), |i| at + i + 2);
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        find(text).unwrap().into_iter().map(|b| format!("{} {}", b.word, b.name)).collect()
    }

    #[test]
    fn blocks_are_found_past_comments_quotes_raw_text_and_inner_tags() {
        let text = "{# {% macro no() %} #} {{ \"{% macro no() %}\" }}\n{%- macro a(x='%}') -%}{% if x %}{% raw %}{% endmacro %}{% endraw %}{% endif %}{%- endmacro -%}\n{% test b(model) %}{% endtest %}";
        assert_eq!(names(text), ["macro a", "test b"]);
    }

    #[test]
    fn a_macro_within_a_macro_belongs_to_the_outer_one() {
        assert_eq!(names("{% macro a() %}{% macro b() %}{% endmacro %}{% endmacro %}"), ["macro a"]);
    }

    #[test]
    fn a_block_without_end_is_an_error_at_its_start() {
        let (offset, problem) = find("x {% macro a() %} y").unwrap_err();
        assert_eq!((offset, problem.to_string()), (2, "this `macro` block never ends".to_owned()));
    }

    #[test]
    fn the_parts_of_a_block_are_exact() {
        let text = "é {% test t(model) %} body {% endtest %}";
        let block = find(text).unwrap().remove(0);
        let parts = [&block.whole, &block.opening, &block.closing].map(|r| &text[r.clone()]);
        assert_eq!(parts, ["{% test t(model) %} body {% endtest %}", "test", "endtest"]);
    }
}
