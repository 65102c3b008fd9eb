//! Lists, maps and tuples of templates made into values that behave as Python's: they can be changed in place, maps keep
//! the order of their entries, and a tuple prints as one.
//!
//! Jinja's own literals are constants here, so before a template is compiled each literal is put into a call that makes
//! such a value, and so is what `set` binds. No line moves, and a [`Rewritten`] text leads every byte back to where the
//! user wrote it.

use std::ops::Range;

/// The functions that make values. No macro is called like this.
pub const LIST: &str = "__list";
pub const DICT: &str = "__dict";
pub const TUPLE: &str = "__tuple";
pub const BOUND: &str = "__bound";

/// A text with some of its bytes replaced, that knows the one it was made from.
#[derive(Debug, Clone, Default)]
pub struct Rewritten {
    pub original: String,
    pub text: String,
    edits: Vec<Edit>,
}

/// At a byte of the original, so many bytes give way to a text.
#[derive(Debug, Clone)]
struct Edit {
    at: usize,
    removed: usize,
    inserted: String,
}

impl Rewritten {
    /// The literals of a template.
    pub fn template(text: &str) -> Self {
        let mut edits = Vec::new();
        let mut from = 0;
        while let Some(start) = text[from..].find('{').map(|i| from + i) {
            let rest = &text[start + 1..];
            if let Some(comment) = rest.strip_prefix('#') {
                from = comment.find("#}").map_or(text.len(), |i| start + i + 4);
            } else if rest.starts_with('{') || rest.starts_with('%') {
                let mut tag = Tag::new(text, start + 2, if rest.starts_with('%') { "%}" } else { "}}" });
                let Some(end) = tag.read() else { break };
                edits.append(&mut tag.edits);
                from = if tag.word == "raw" { end_of_raw(text, end) } else { end };
            } else {
                from = start + 1;
            }
        }
        Self::new(text, edits)
    }

    /// The literals of an expression that stands alone.
    pub fn expression(text: &str) -> Self {
        let mut tag = Tag::new(text, 0, "");
        let read = tag.read().is_some();
        Self::new(text, if read { tag.edits } else { Vec::new() })
    }

    fn new(original: &str, mut edits: Vec<Edit>) -> Self {
        // Stable: what `set` binds is pushed before the literals in it.
        edits.sort_by_key(|edit| edit.at);
        let mut text = String::with_capacity(original.len() + edits.len() * 8);
        let mut from = 0;
        for edit in &edits {
            text.push_str(&original[from..edit.at]);
            text.push_str(&edit.inserted);
            from = edit.at + edit.removed;
        }
        text.push_str(&original[from..]);
        Rewritten { original: original.to_owned(), text, edits }
    }

    /// The bytes of the original that bytes of the text come from.
    pub fn origin(&self, range: Range<usize>) -> Range<usize> {
        let start = self.offset(range.start);
        start..self.offset(range.end).max(start)
    }

    fn offset(&self, at: usize) -> usize {
        // Where the text is, seen from where the original is.
        let (mut inserted, mut removed) = (0, 0);
        for edit in &self.edits {
            let begins = edit.at + inserted - removed;
            if at <= begins {
                break;
            }
            if at < begins + edit.inserted.len() {
                return edit.at;
            }
            inserted += edit.inserted.len();
            removed += edit.removed;
        }
        at + removed - inserted
    }
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

/// What the token before says of the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// A value has ended: a bracket takes an item of it, a parenthesis calls it.
    Value,
    /// A value is to come.
    Operator,
    Dot,
}

struct Open {
    mark: char,
    at: usize,
    is_literal: bool,
    commas: usize,
    colons: Vec<usize>,
    /// Whether the entries of a map are each a key, a colon and a value so far.
    in_pairs: bool,
    wants_colon: bool,
    is_empty: bool,
}

/// One tag or expression of a template.
struct Tag<'t> {
    text: &'t str,
    at: usize,
    /// What ends it; the end of the text if empty.
    end: &'static str,
    word: &'t str,
    open: Vec<Open>,
    before: Before,
    /// Names that are bound here are no values yet: those of `for` up to `in`, of `set` up to the equals sign.
    binding: bool,
    /// The byte after the equals sign of a `set`.
    bound: Option<usize>,
    /// The end of the last token.
    last: usize,
    has_comma: bool,
    edits: Vec<Edit>,
}

const KEYWORDS: [&str; 11] = ["in", "and", "or", "not", "if", "else", "elif", "is", "for", "do", "recursive"];

impl<'t> Tag<'t> {
    fn new(text: &'t str, at: usize, end: &'static str) -> Self {
        let mut tag = Tag {
            text,
            at,
            end,
            word: "",
            open: Vec::new(),
            before: Before::Operator,
            binding: false,
            bound: None,
            last: at,
            has_comma: false,
            edits: Vec::new(),
        };
        if end.is_empty() {
            return tag;
        }
        if text[at..].starts_with(['-', '+']) {
            tag.at += 1;
        }
        if end == "%}" {
            let rest = text[tag.at..].trim_start();
            tag.word = &rest[..word_length(rest)];
            tag.at = text.len() - rest.len() + tag.word.len();
            tag.binding = matches!(tag.word, "for" | "set");
            // What follows these is a name, or the parameters of a call block.
            if matches!(tag.word, "call" | "macro") {
                tag.before = Before::Value;
            }
        }
        tag
    }

    /// Reads up to the end mark and past it; none if the tag is broken, which Jinja will tell.
    fn read(&mut self) -> Option<usize> {
        while let Some(c) = self.text[self.at..].chars().next() {
            let rest = &self.text[self.at..];
            if self.open.is_empty() && !self.end.is_empty() {
                let bare = rest.strip_prefix(['-', '+']).unwrap_or(rest);
                if bare.starts_with(self.end) {
                    self.bind();
                    return Some(self.text.len() - bare.len() + self.end.len());
                }
            }
            let start = self.at;
            self.at += c.len_utf8();
            match c {
                _ if c.is_whitespace() => continue,
                '\'' | '"' => {
                    self.at = start + quoted_length(rest)?;
                    self.before = Before::Value;
                }
                _ if c.is_ascii_digit() => {
                    let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.');
                    self.at = start + length.unwrap_or(rest.len());
                    self.before = Before::Value;
                }
                _ if c == '_' || c.is_ascii_alphabetic() => {
                    self.at = start + word_length(rest);
                    self.name(&self.text[start..self.at]);
                }
                '(' | '[' | '{' => self.opens(c, start),
                ')' | ']' | '}' => self.closes(c, start)?,
                _ => self.sign(c, start),
            }
            self.last = self.at;
        }
        (self.end.is_empty() && self.open.is_empty()).then_some(self.text.len())
    }

    fn name(&mut self, name: &str) {
        if self.binding && self.word == "for" && name == "in" {
            self.binding = false;
        }
        let is_keyword = self.before != Before::Dot && KEYWORDS.contains(&name);
        self.before = if is_keyword { Before::Operator } else { Before::Value };
    }

    fn opens(&mut self, mark: char, at: usize) {
        let is_literal = self.before == Before::Operator && !self.binding;
        self.open.push(Open {
            mark,
            at,
            is_literal,
            commas: 0,
            colons: Vec::new(),
            in_pairs: true,
            wants_colon: true,
            is_empty: self.text[at + 1..].trim_start().starts_with(['}', ')']),
        });
        self.before = Before::Operator;
    }

    fn closes(&mut self, mark: char, at: usize) -> Option<()> {
        let open = self.open.pop()?;
        self.before = Before::Value;
        let pair = matches!((open.mark, mark), ('(', ')') | ('[', ']') | ('{', '}'));
        if !pair {
            return None;
        }
        if !open.is_literal {
            return Some(());
        }
        match mark {
            ']' => self.wrap(LIST, open.at, at + 1),
            ')' if open.commas > 0 => self.wrap(TUPLE, open.at, at + 1),
            '}' if open.in_pairs && (open.is_empty || !open.wants_colon || open.commas == open.colons.len()) => {
                self.replace(open.at, format!("{DICT}("));
                for colon in open.colons {
                    self.replace(colon, ",".to_owned());
                }
                self.replace(at, ")".to_owned());
            }
            _ => {}
        }
        Some(())
    }

    fn sign(&mut self, c: char, at: usize) {
        self.before = if c == '.' { Before::Dot } else { Before::Operator };
        let Some(top) = self.open.last_mut() else {
            let is_equals = c == '=' && !self.text[at + 1..].starts_with('=');
            if is_equals && self.binding && self.word == "set" {
                self.binding = false;
                self.bound = Some(at + 1);
            }
            self.has_comma |= c == ',' && self.bound.is_some();
            return;
        };
        match c {
            ',' => {
                top.commas += 1;
                top.in_pairs &= !top.wants_colon;
                top.wants_colon = true;
            }
            ':' => {
                top.colons.push(at);
                top.in_pairs &= top.wants_colon;
                top.wants_colon = false;
            }
            _ => {}
        }
    }

    /// What `set` binds becomes a value of its own, so that nothing else changes with it.
    fn bind(&mut self) {
        let Some(start) = self.bound.filter(|start| !self.has_comma && self.last > *start) else { return };
        let mut edits = vec![
            Edit { at: start, removed: 0, inserted: format!("{BOUND}(") },
            Edit { at: self.last, removed: 0, inserted: ")".to_owned() },
        ];
        // The opening one stands before that of a literal at the same byte, the closing one behind.
        let closing = edits.pop();
        edits.append(&mut self.edits);
        edits.extend(closing);
        self.edits = edits;
    }

    fn wrap(&mut self, function: &str, start: usize, end: usize) {
        self.edits.push(Edit { at: start, removed: 0, inserted: format!("{function}(") });
        self.edits.push(Edit { at: end, removed: 0, inserted: ")".to_owned() });
    }

    fn replace(&mut self, at: usize, inserted: String) {
        self.edits.push(Edit { at, removed: 1, inserted });
    }
}

fn word_length(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// The length of the text in quotes that begins here; none if it never ends.
fn quoted_length(text: &str) -> Option<usize> {
    let mut characters = text.char_indices();
    let (_, quote) = characters.next()?;
    let mut escaped = false;
    for (at, c) in characters {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rewritten(text: &str) -> String {
        Rewritten::template(text).text
    }

    #[test]
    fn literals_become_calls_and_items_calls_and_slices_stay() {
        assert_eq!(rewritten("{{ [1, [2]] }}"), "{{ __list([1, __list([2])]) }}");
        assert_eq!(rewritten("{{ x[1] }}{{ f([1])[0] }}{{ x[:-1] }}"), "{{ x[1] }}{{ f(__list([1]))[0] }}{{ x[:-1] }}");
        assert_eq!(rewritten("{{ {'a': 1, 'b': {}} }}"), "{{ __dict('a', 1, 'b', __dict()) }}");
        assert_eq!(rewritten("{{ {'a': x[1:2],} }}"), "{{ __dict('a', x[1:2],) }}");
        assert_eq!(rewritten("{{ x in ('a', 'b') }}{{ (1 + 2) }}"), "{{ x in __tuple(('a', 'b')) }}{{ (1 + 2) }}");
        assert_eq!(rewritten("{{ y if [] else f(1, 2) }}"), "{{ y if __list([]) else f(1, 2) }}");
    }

    #[test]
    fn what_is_no_literal_stays_as_it_is() {
        for text in [
            "select a[1], {'b': 2}",
            "{# [1] #}",
            "{% raw %}{{ [1] }}{% endraw %}",
            "{{ '[1]' }}{{ \"a\\\"[1]\" }}",
            "{% for (a, b) in x %}",
            "{% call(a, b) f() %}",
            "{% macro f(a, b) %}",
            "{{ {'a', 'b'} }}",
            "{{ [1 }}",
            "{{ x.in[1] }}",
        ] {
            assert_eq!(rewritten(text), text);
        }
    }

    #[test]
    fn what_set_binds_is_put_into_a_call() {
        assert_eq!(rewritten("{%- set x = a + [1] -%}"), "{%- set x =__bound( a + __list([1])) -%}");
        assert_eq!(rewritten("{% set x=[1]%}"), "{% set x=__bound(__list([1]))%}");
        assert_eq!(rewritten("{% set x %}{% set a, b = 1, 2 %}"), "{% set x %}{% set a, b = 1, 2 %}");
        assert_eq!(rewritten("{% set n.x = a == 1 %}"), "{% set n.x =__bound( a == 1) %}");
    }

    #[test]
    fn braces_that_end_together_belong_to_the_right_ones() {
        assert_eq!(rewritten("{{ f({'a': {'b': 1}}) }}}}"), "{{ f(__dict('a', __dict('b', 1))) }}}}");
        assert_eq!(rewritten("{{{'a': 1}}}"), "{{__dict('a', 1)}}");
    }

    #[test]
    fn bytes_lead_back_to_where_they_were_written() {
        let text = "{% set x = [1, {'é': nope}] %}";
        let made = Rewritten::template(text);
        for word in ["nope", "'é'", "set", "%}"] {
            let (at, was) = (made.text.find(word).unwrap(), text.find(word).unwrap());
            assert_eq!(made.origin(at..at + word.len()), was..was + word.len(), "{word}");
        }
        let list = made.text.find("__list").unwrap();
        assert_eq!(made.origin(list..list).start, text.find('[').unwrap());
    }

    proptest! {
        #[test]
        fn any_text_is_taken_and_no_line_moves(text in "[{}%\\[\\]()'a,:=#\\-\n é1.]{0,40}") {
            let made = Rewritten::template(&text);
            prop_assert_eq!(made.text.matches('\n').count(), text.matches('\n').count());
            for at in 0..=made.text.len() {
                prop_assert!(made.origin(at..at).start <= text.len());
            }
            Rewritten::expression(&text);
        }
    }
}
