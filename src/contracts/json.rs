//! A strict scanner of RFC 8259 over one record. It copies nothing but strings with escapes, allocates nothing of its
//! own, and does not recurse, so no record can exhaust the stack.

use super::number::Number;
use super::rejection::{Class, Rejection};

/// Arrays and objects within each other, the outermost included. At most 128: the kinds of all open levels are the bits
/// of one `u128`.
const DEEPEST: u32 = 128;

/// A part of a text, by its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    pub fn of(self, text: &str) -> &str {
        text.get(self.start..self.end).unwrap_or_default()
    }
}

/// Where the characters of a string are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    /// In the record, as they are.
    Plain(Span),
    /// In the buffer of unescaped strings.
    Unescaped(Span),
}

impl Text {
    #[inline]
    pub fn of<'t>(self, record: &'t str, unescaped: &'t str) -> &'t str {
        match self {
            Text::Plain(span) => span.of(record),
            Text::Unescaped(span) => span.of(unescaped),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    Null,
    Boolean(bool),
    Number(Number<'a>),
    Text(Text),
    Array,
    Object,
}

/// What is wrong with the syntax, and before which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    class: Class,
    problem: &'static str,
    at: usize,
}

impl From<Fault> for Rejection {
    fn from(fault: Fault) -> Self {
        Rejection::new(fault.class, format!("{} at byte {}", fault.problem, fault.at.saturating_add(1)))
    }
}

/// A copy is a place to come back to.
#[derive(Clone, Copy)]
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// Levels that are open at the value to come.
    depth: u32,
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str) -> Self {
        Scanner { text, at: 0, depth: 0 }
    }

    /// A scanner of the value that stands at `span`.
    pub fn within(text: &'a str, span: Span) -> Self {
        Scanner { text: text.get(..span.end).unwrap_or_default(), at: span.start, depth: 0 }
    }

    pub fn position(&self) -> usize {
        self.at
    }

    #[inline]
    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[cold]
    fn fault<T>(&self, class: Class, problem: &'static str) -> Result<T, Fault> {
        Err(Fault { class, problem, at: self.at })
    }

    #[cold]
    fn not_json<T>(&self, problem: &'static str) -> Result<T, Fault> {
        self.fault(Class::NotJson, problem)
    }

    #[inline]
    pub fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    #[inline]
    fn accept(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    #[inline]
    pub fn accept_token(&mut self, token: &[u8]) -> bool {
        let found = self.rest().starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    /// Enters the record's object. False if it is empty, so that no key follows.
    pub fn open_object(&mut self) -> Result<bool, Fault> {
        self.space();
        match self.peek() {
            None => self.fault(Class::Empty, "nothing but white space, which ends"),
            Some(b'{') => self.enter(b'}'),
            Some(_) => {
                // Only a record that is JSON at all is told that it should have been an object.
                let start = self.at;
                self.value(&mut String::new())?;
                self.end()?;
                self.at = start;
                self.fault(Class::NotObject, "expected an object")
            }
        }
    }

    /// Enters the object or array that begins here and ends with `close`. False if it is empty, and left again.
    #[inline]
    pub fn enter(&mut self, close: u8) -> Result<bool, Fault> {
        if self.depth == DEEPEST {
            return self.fault(Class::TooDeep, "nested deeper than 128 levels");
        }
        self.at += 1;
        self.depth += 1;
        self.space();
        let empty = self.accept(close);
        self.depth -= u32::from(empty);
        Ok(!empty)
    }

    /// Goes behind a member or element. True if another follows, false if the object or array ended.
    #[inline]
    pub fn next(&mut self, close: u8) -> Result<bool, Fault> {
        self.space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.space();
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                self.depth -= 1;
                Ok(false)
            }
            _ => self.not_json(if close == b'}' { "expected ',' or '}'" } else { "expected ',' or ']'" }),
        }
    }

    /// Nothing but white space may follow.
    pub fn end(&mut self) -> Result<(), Fault> {
        self.space();
        match self.peek() {
            None => Ok(()),
            Some(_) => self.fault(Class::MoreThanOneValue, "expected the end of the record"),
        }
    }

    #[inline]
    pub fn key(&mut self, unescaped: &mut String) -> Result<Text, Fault> {
        if self.peek() != Some(b'"') {
            return self.not_json("expected a key in double quotes");
        }
        self.string(unescaped)
    }

    #[inline]
    pub fn colon(&mut self) -> Result<(), Fault> {
        self.space();
        if !self.accept(b':') {
            return self.not_json("expected ':'");
        }
        self.space();
        Ok(())
    }

    /// Reads one value. A string with escapes is appended to `unescaped` without them.
    #[inline]
    pub fn value(&mut self, unescaped: &mut String) -> Result<Value<'a>, Fault> {
        match self.peek() {
            Some(b'"') => Ok(Value::Text(self.string(unescaped)?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal(b"true", Value::Boolean(true)),
            Some(b'f') => self.literal(b"false", Value::Boolean(false)),
            Some(b'n') => self.literal(b"null", Value::Null),
            Some(b'[') => self.nested(unescaped).map(|()| Value::Array),
            Some(b'{') => self.nested(unescaped).map(|()| Value::Object),
            _ => self.not_json("expected a value"),
        }
    }

    #[inline]
    fn number(&mut self) -> Result<Value<'a>, Fault> {
        match self.text.get(self.at..).and_then(Number::prefix) {
            Some(number) => {
                self.at += number.text().len();
                Ok(Value::Number(number))
            }
            None => self.not_json("not a number as JSON writes it"),
        }
    }

    #[inline]
    fn literal(&mut self, word: &[u8], value: Value<'a>) -> Result<Value<'a>, Fault> {
        if self.accept_token(word) { Ok(value) } else { self.not_json("expected a value") }
    }

    /// Checks an array or object with all that is in it.
    fn nested(&mut self, unescaped: &mut String) -> Result<(), Fault> {
        let outside = self.depth;
        // The lowest bit is the kind of the innermost open level: set for an object.
        let mut kinds = 0_u128;
        loop {
            if let Some(open @ (b'[' | b'{')) = self.peek() {
                if self.depth == DEEPEST {
                    return self.fault(Class::TooDeep, "nested deeper than 128 levels");
                }
                self.at += 1;
                self.space();
                let object = open == b'{';
                if !self.accept(if object { b'}' } else { b']' }) {
                    self.depth += 1;
                    kinds = kinds << 1 | u128::from(object);
                    if object {
                        self.nested_key(unescaped)?;
                    }
                    continue;
                }
            } else {
                let before = unescaped.len();
                self.value(unescaped)?;
                unescaped.truncate(before);
            }
            // A value ended here, and with it perhaps the levels around it.
            while self.depth > outside {
                let object = kinds & 1 == 1;
                self.space();
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        self.space();
                        if object {
                            self.nested_key(unescaped)?;
                        }
                        break;
                    }
                    Some(b'}') if object => self.at += 1,
                    Some(b']') if !object => self.at += 1,
                    _ if object => return self.not_json("expected ',' or '}'"),
                    _ => return self.not_json("expected ',' or ']'"),
                }
                self.depth -= 1;
                kinds >>= 1;
            }
            if self.depth == outside {
                return Ok(());
            }
        }
    }

    fn nested_key(&mut self, unescaped: &mut String) -> Result<(), Fault> {
        let before = unescaped.len();
        self.key(unescaped)?;
        unescaped.truncate(before);
        self.colon()
    }

    /// Reads a string from its opening quote on.
    #[inline]
    fn string(&mut self, unescaped: &mut String) -> Result<Text, Fault> {
        let start = self.at + 1;
        self.at = plain_end(self.text.as_bytes(), start);
        if self.peek() == Some(b'"') {
            let span = Span { start, end: self.at };
            self.at += 1;
            return Ok(Text::Plain(span));
        }
        self.escaped_string(start, unescaped)
    }

    /// The rest of a string that does not end where its first plain characters end.
    fn escaped_string(&mut self, start: usize, unescaped: &mut String) -> Result<Text, Fault> {
        let first = unescaped.len();
        let mut plain = start;
        loop {
            unescaped.push_str(Span { start: plain, end: self.at }.of(self.text));
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => unescaped.push(self.escape()?),
                Some(_) => return self.not_json("a control character that is not escaped"),
                None => return self.not_json("a string that does not end"),
            }
            plain = self.at;
            self.at = plain_end(self.text.as_bytes(), plain);
        }
        self.at += 1;
        Ok(Text::Unescaped(Span { start: first, end: unescaped.len() }))
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let escaped = match self.rest() {
            [_, b'"', ..] => '"',
            [_, b'\\', ..] => '\\',
            [_, b'/', ..] => '/',
            [_, b'b', ..] => '\u{8}',
            [_, b'f', ..] => '\u{c}',
            [_, b'n', ..] => '\n',
            [_, b'r', ..] => '\r',
            [_, b't', ..] => '\t',
            [_, b'u', ..] => return self.unicode_escape(),
            _ => return self.not_json("no such escape"),
        };
        self.at += 2;
        Ok(escaped)
    }

    /// `\uXXXX`, or two of them where they are the halves of one character.
    fn unicode_escape(&mut self) -> Result<char, Fault> {
        let Some(first) = hex(self.rest()) else {
            return self.not_json("expected four hexadecimal digits behind \\u");
        };
        if let Some(character) = char::from_u32(first) {
            self.at += 6;
            return Ok(character);
        }
        let second = self.rest().get(6..).and_then(hex);
        match (first, second) {
            (high @ 0xD800..=0xDBFF, Some(low @ 0xDC00..=0xDFFF)) => {
                self.at += 12;
                let character = char::from_u32(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00));
                Ok(character.unwrap_or(char::REPLACEMENT_CHARACTER))
            }
            _ => self.not_json("half of a surrogate pair"),
        }
    }
}

/// The value of the `\uXXXX` that `bytes` start with.
fn hex(bytes: &[u8]) -> Option<u32> {
    let [b'\\', b'u', digits @ ..] = bytes else { return None };
    let digits: &[u8; 4] = digits.first_chunk()?;
    digits.iter().try_fold(0, |value, digit| Some(value * 16 + char::from(*digit).to_digit(16)?))
}

/// Where the characters that stand for themselves end: at a quote, a backslash or a control character. Eight bytes at a
/// step; a borrow of the subtractions can mark bytes behind the first true mark only, and just the first one counts.
#[inline]
fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        let word = u64::from_le_bytes(*chunk);
        let quotes = word ^ (ONES * b'"' as u64);
        let backslashes = word ^ (ONES * b'\\' as u64);
        let marks = (quotes.wrapping_sub(ONES) & !quotes)
            | (backslashes.wrapping_sub(ONES) & !backslashes)
            | (word.wrapping_sub(ONES * b' ' as u64) & !word);
        let marks = marks & HIGHS;
        if marks != 0 {
            return at + (marks.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(byte) = bytes.get(at) {
        if matches!(byte, b'"' | b'\\' | 0..b' ') {
            break;
        }
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests;
