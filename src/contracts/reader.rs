//! One record's JSON to cells, in one pass: each value is read by what its column wants of it, and whatever no column
//! takes is kept for `_extra`, in the place that it has in the record.
//!
//! The reader goes into itself as deep as the contract's types and paths are, never as deep as a record is.

mod csv;
mod left;

use self::left::{Leftovers, Name, Rest, Texts, last_of_each};
use super::cells::{Cell, Strings};
use super::field::{Field, Leaf, Shape, describe};
use super::json::{Fault, Scanner, Span, Text, Value};
use super::members::{Member, Members, Wanted};
use super::rejection::{Class, Rejection, excerpt};

/// All that a record is read by.
pub struct Plan {
    pub fields: Vec<Field>,
    pub root: Members<Wanted>,
}

/// What is known of the record in hand.
#[derive(Default)]
pub struct Scratch {
    /// One a column.
    pub cells: Vec<Cell>,
    /// At most one a column: of a key that comes twice the last value counts, also when the first one was bad.
    pub faults: Vec<(usize, Rejection)>,
    pub strings: Strings,
    /// The fields of structs, the elements of lists and the entries of maps, each side by side.
    pub inner: Vec<Cell>,
    /// Elements and entries of the lists and maps that are still open.
    open: Vec<Cell>,
    left: Leftovers,
    order: Vec<usize>,
    /// The JSON text for `_extra`, empty if there is nothing to keep.
    pub extra: String,
}

/// A value that fits, and what is left of it.
struct Taken {
    cell: Cell,
    rest: Option<Rest>,
}

/// Why a value cannot be read on: the record is no JSON, or the value is not what its column wants.
enum Stop {
    Syntax(Fault),
    Value(Rejection),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Stop::Syntax(fault)
    }
}

impl From<Rejection> for Stop {
    fn from(rejection: Rejection) -> Self {
        Stop::Value(rejection)
    }
}

impl Stop {
    fn inside(self, step: impl std::fmt::Display) -> Self {
        match self {
            Stop::Syntax(fault) => Stop::Syntax(fault),
            Stop::Value(rejection) => Stop::Value(rejection.inside(step)),
        }
    }
}

pub struct Reader<'r> {
    text: &'r str,
    scanner: Scanner<'r>,
    plan: &'r Plan,
    scratch: &'r mut Scratch,
}

impl<'r> Reader<'r> {
    pub fn new(text: &'r str, plan: &'r Plan, scratch: &'r mut Scratch) -> Self {
        Reader { text, scanner: Scanner::new(text), plan, scratch }
    }

    /// Reads the object that is the whole record.
    pub fn record(&mut self) -> Result<(), Rejection> {
        let more = self.scanner.open_object()?;
        let plan = self.plan;
        self.members(&plan.root, 0, more)?;
        self.scanner.end()?;
        if !self.scratch.left.is_empty() {
            let Scratch { left, strings, extra, .. } = &mut *self.scratch;
            left.write_object(0, Texts { record: self.text, unescaped: &strings.unescaped }, extra);
        }
        Ok(())
    }

    /// Reads the members of an object that is entered, up to its end. What is left of them is noted from `first` on.
    ///
    /// The members of most records are all of one kind: the one that is expected, and the value of a column that is not
    /// nested. These are read here, with a scanner of the loop's own, which the compiler keeps in registers.
    fn members(&mut self, members: &'r Members<Wanted>, first: usize, mut more: bool) -> Result<(), Fault> {
        let mut scanner = self.scanner;
        let mut expected = 0;
        while more {
            if let Some(Member { token: Some(token), wanted: Wanted::Column(column), .. }) = members.get(expected)
                && let Some(Field { name, shape: Shape::Leaf(leaf), .. }) = self.plan.fields.get(*column)
                && scanner.accept_token(token)
            {
                scanner.colon()?;
                let start = scanner.position();
                let value = scanner.value(&mut self.scratch.strings.unescaped)?;
                let written = Span { start, end: scanner.position() };
                let cell = leaf.decode_json(value, written, self.text, &mut self.scratch.strings);
                match (cell, self.scratch.cells.get_mut(*column)) {
                    (Ok(cell), Some(slot)) if self.scratch.faults.is_empty() => *slot = cell,
                    (cell, _) => self.scratch.set(*column, cell.map_err(|rejection| rejection.of(name))),
                }
                expected += 1;
            } else {
                self.scanner = scanner;
                expected = self.member(members, expected, first)?;
                scanner = self.scanner;
            }
            more = scanner.next(b'}')?;
        }
        self.scanner = scanner;
        Ok(())
    }

    /// Reads any member, and tells which one is expected behind it.
    #[inline(never)]
    fn member(&mut self, members: &'r Members<Wanted>, expected: usize, first: usize) -> Result<usize, Fault> {
        let (found, name) = self.key(members, expected)?;
        match found.and_then(|index| Some((index, members.get(index)?))) {
            Some((index, member)) => {
                self.wanted(&member.wanted, first, name)?;
                Ok(index + 1)
            }
            None => {
                let rest = Rest::Whole(self.skip()?);
                self.scratch.left.note(first, name, Some(rest));
                Ok(expected)
            }
        }
    }

    /// Reads a key, its colon and the space around, and tells which of the members wanted it is, if any. The one that is
    /// expected is tried first.
    #[inline]
    fn key<T>(&mut self, members: &Members<T>, expected: usize) -> Result<(Option<usize>, Name), Fault> {
        let start = self.scanner.position();
        let token = members.get(expected).and_then(|member| member.token.as_deref());
        let as_expected = token.is_some_and(|token| self.scanner.accept_token(token));
        let (found, text) = if as_expected {
            (Some(expected), Text::Plain(Span { start: start + 1, end: self.scanner.position() - 1 }))
        } else {
            let text = self.scanner.key(&mut self.scratch.strings.unescaped)?;
            (members.find(text.of(self.text, &self.scratch.strings.unescaped)), text)
        };
        let written = Span { start, end: self.scanner.position() };
        self.scanner.colon()?;
        Ok((found, Name::Key { text, written }))
    }

    fn skip(&mut self) -> Result<Span, Fault> {
        let start = self.scanner.position();
        self.scanner.value(&mut self.scratch.strings.unescaped)?;
        Ok(Span { start, end: self.scanner.position() })
    }

    /// Reads a value that columns are made of, and notes what is left of it.
    fn wanted(&mut self, wanted: &'r Wanted, first: usize, name: Name) -> Result<(), Fault> {
        match wanted {
            Wanted::Column(column) => match self.plan.fields.get(*column) {
                Some(Field { name: own, shape: Shape::Leaf(leaf), .. }) => {
                    let cell = self.leaf(leaf)?.map_err(|rejection| rejection.of(own));
                    self.scratch.set(*column, cell);
                }
                Some(field) => {
                    let judged = self.judged(&field.shape)?.map_err(|rejection| rejection.of(&field.name));
                    let (cell, rest) = apart(judged);
                    self.scratch.set(*column, cell);
                    self.scratch.left.note(first, name, rest);
                }
                None => {}
            },
            Wanted::Members { members, columns } => {
                let rest = if self.on_the_way(b'{', columns)? {
                    let inner = self.scratch.left.first();
                    let more = self.scanner.enter(b'}')?;
                    self.members(members, inner, more)?;
                    self.rest_of_object(inner)
                } else {
                    None
                };
                self.scratch.left.note(first, name, rest);
            }
            Wanted::Elements { elements, columns } => {
                let rest = if self.on_the_way(b'[', columns)? { self.elements(elements)? } else { None };
                self.scratch.left.note(first, name, rest);
            }
        }
        Ok(())
    }

    /// Whether a value that paths lead through is of the kind that begins with `open`. If it is not, it is read to its
    /// end; only null and absence leave the columns null. What an earlier value of the same key had does not count.
    fn on_the_way(&mut self, open: u8, columns: &[usize]) -> Result<bool, Fault> {
        self.scratch.faults.retain(|(faulty, _)| !columns.contains(faulty));
        for column in columns {
            if let Some(cell) = self.scratch.cells.get_mut(*column) {
                *cell = Cell::Null;
            }
        }
        if self.scanner.peek() == Some(open) {
            return Ok(true);
        }
        let start = self.scanner.position();
        let value = self.scanner.value(&mut self.scratch.strings.unescaped)?;
        let written = Span { start, end: self.scanner.position() };
        let first = columns.first().and_then(|column| Some((*column, self.plan.fields.get(*column)?)));
        if let (false, Some((column, field))) = (matches!(value, Value::Null), first) {
            let rejection = not_of_kind(open, value, written.of(self.text)).on_the_way_to(&field.path).of(&field.name);
            self.scratch.faults.push((column, rejection));
        }
        Ok(false)
    }

    fn rest_of_object(&mut self, first: usize) -> Option<Rest> {
        let Scratch { left, strings, .. } = &mut *self.scratch;
        left.of_object(first, Texts { record: self.text, unescaped: &strings.unescaped })
    }

    /// Reads an array some elements of which are wanted, and tells what is left of it.
    fn elements(&mut self, wanted: &'r [(usize, Wanted)]) -> Result<Option<Rest>, Fault> {
        let first = self.scratch.left.first();
        let mut more = self.scanner.enter(b']')?;
        let mut wanted = wanted.iter().peekable();
        let mut index = 0;
        while more {
            match wanted.next_if(|(element, _)| *element == index) {
                Some((_, wanted)) => self.wanted(wanted, first, Name::Element(index))?,
                None => {
                    let rest = Rest::Whole(self.skip()?);
                    self.scratch.left.note(first, Name::Element(index), Some(rest));
                }
            }
            index += 1;
            more = self.scanner.next(b']')?;
        }
        Ok(self.scratch.left.of_array(first, self.text))
    }

    fn leaf(&mut self, leaf: &Leaf) -> Result<Result<Cell, Rejection>, Fault> {
        let start = self.scanner.position();
        let value = self.scanner.value(&mut self.scratch.strings.unescaped)?;
        let written = Span { start, end: self.scanner.position() };
        Ok(leaf.decode_json(value, written, self.text, &mut self.scratch.strings))
    }

    /// Reads a value to its end, whether it fits or not.
    fn judged(&mut self, shape: &Shape) -> Result<Result<Taken, Rejection>, Fault> {
        let (start, left, open) = (self.scanner, self.scratch.left.first(), self.scratch.open.len());
        match self.value(shape) {
            Ok(taken) => Ok(Ok(taken)),
            Err(Stop::Syntax(fault)) => Err(fault),
            Err(Stop::Value(rejection)) => {
                self.scratch.left.forget(left);
                self.scratch.open.truncate(open);
                self.scanner = start;
                self.skip()?;
                Ok(Err(rejection))
            }
        }
    }

    fn value(&mut self, shape: &Shape) -> Result<Taken, Stop> {
        match (shape, self.scanner.peek()) {
            (Shape::Leaf(leaf), _) => Ok(Taken { cell: self.leaf(leaf)??, rest: None }),
            (Shape::Struct(members), Some(b'{')) => self.structure(members),
            (Shape::List(element), Some(b'[')) => self.list(element),
            (Shape::Map(value), Some(b'{')) => self.map(value),
            _ => {
                let start = self.scanner.position();
                let value = self.scanner.value(&mut self.scratch.strings.unescaped)?;
                let written = Span { start, end: self.scanner.position() };
                match (value, shape) {
                    (Value::Null, _) => Ok(Taken { cell: Cell::Null, rest: None }),
                    (value, Shape::List(_)) => Err(not_of_kind(b'[', value, written.of(self.text)).into()),
                    (value, _) => Err(not_of_kind(b'{', value, written.of(self.text)).into()),
                }
            }
        }
    }

    fn structure(&mut self, members: &Members<Shape>) -> Result<Taken, Stop> {
        let first_left = self.scratch.left.first();
        let first = self.scratch.inner.len();
        self.scratch.inner.resize(first + members.len(), Cell::Null);
        let mut faults = Vec::new();
        let mut expected = 0;
        let mut more = self.scanner.enter(b'}')?;
        while more {
            let (found, name) = self.key(members, expected)?;
            match found.and_then(|index| Some((index, members.get(index)?))) {
                Some((index, member)) => {
                    expected = index + 1;
                    let judged = self.judged(&member.wanted)?;
                    let (cell, rest) = apart(judged.map_err(|r| r.inside(format_args!(".{}", member.name))));
                    let cells = self.scratch.inner.get_mut(first..).unwrap_or_default();
                    set(cells, &mut faults, index, cell);
                    self.scratch.left.note(first_left, name, rest);
                }
                None => {
                    let rest = Rest::Whole(self.skip()?);
                    self.scratch.left.note(first_left, name, Some(rest));
                }
            }
            more = self.scanner.next(b'}')?;
        }
        match faults.into_iter().next() {
            Some((_, rejection)) => Err(rejection.into()),
            None => Ok(Taken { cell: Cell::Struct(first), rest: self.rest_of_object(first_left) }),
        }
    }

    fn list(&mut self, element: &Shape) -> Result<Taken, Stop> {
        let (first_left, first_open) = (self.scratch.left.first(), self.scratch.open.len());
        let mut count = 0;
        let mut more = self.scanner.enter(b']')?;
        while more {
            let Taken { cell, rest } = self.value(element).map_err(|stop| stop.inside(format_args!("[{count}]")))?;
            self.scratch.open.push(cell);
            self.scratch.left.note(first_left, Name::Element(count), rest);
            count += 1;
            more = self.scanner.next(b']')?;
        }
        let first = self.scratch.inner.len();
        self.scratch.inner.extend(self.scratch.open.drain(first_open..));
        Ok(Taken { cell: Cell::Items { first, count }, rest: self.scratch.left.of_array(first_left, self.text) })
    }

    fn map(&mut self, value: &Shape) -> Result<Taken, Stop> {
        let (first_left, first_open) = (self.scratch.left.first(), self.scratch.open.len());
        // Where the values of bad entries begin: a message for each would take more than the record.
        let mut bad = Vec::new();
        let mut count = 0;
        let mut more = self.scanner.enter(b'}')?;
        while more {
            let start = self.scanner.position();
            let text = self.scanner.key(&mut self.scratch.strings.unescaped)?;
            let written = Span { start, end: self.scanner.position() };
            self.scanner.colon()?;
            let at = self.scanner;
            let (cell, rest) = apart(self.judged(value)?);
            if cell.is_err() {
                bad.push((count, at));
            }
            let cell = cell.unwrap_or(Cell::Null);
            self.scratch.open.extend([Cell::Text(text), cell]);
            self.scratch.left.note(first_left, Name::Key { text, written }, rest);
            count += 1;
            more = self.scanner.next(b'}')?;
        }
        let Scratch { open, inner, order, strings, .. } = &mut *self.scratch;
        let entry = |index: &usize| match open.get(first_open + 2 * index..first_open + 2 * index + 2) {
            Some(&[Cell::Text(key), cell]) => (key.of(self.text, &strings.unescaped), key, cell),
            _ => ("", Text::Plain(Span { start: 0, end: 0 }), Cell::Null),
        };
        last_of_each(order, 0..count, |index| entry(&index).0);
        if let Some((index, at)) = bad.into_iter().find(|(index, _)| order.binary_search(index).is_ok()) {
            let key = excerpt(entry(&index).0);
            self.scanner = at;
            return self.value(value).map_err(|stop| stop.inside(format_args!(".{key}")));
        }
        let first = inner.len();
        inner.extend(order.iter().flat_map(|index| {
            let (_, key, cell) = entry(index);
            [Cell::Text(key), cell]
        }));
        let count = order.len();
        open.truncate(first_open);
        Ok(Taken { cell: Cell::Items { first, count }, rest: self.rest_of_object(first_left) })
    }
}

impl Scratch {
    /// What is kept between batches. A record of unusual size must not make every batch after it look large.
    const KEPT: usize = 1 << 20;

    pub fn new(columns: usize) -> Self {
        Scratch { cells: vec![Cell::Null; columns], ..Scratch::default() }
    }

    pub fn clear(&mut self) {
        self.cells.fill(Cell::Null);
        self.faults.clear();
        self.strings.unescaped.clear();
        self.strings.bytes.clear();
        self.inner.clear();
        self.open.clear();
        self.left.clear();
        self.extra.clear();
    }

    pub fn set(&mut self, column: usize, cell: Result<Cell, Rejection>) {
        set(&mut self.cells, &mut self.faults, column, cell);
    }

    pub fn release(&mut self) {
        if self.memory() > Self::KEPT {
            *self = Scratch::new(self.cells.len());
        }
    }

    /// Bytes held for the next records.
    pub fn memory(&self) -> usize {
        let cells = self.inner.capacity() + self.open.capacity();
        cells * size_of::<Cell>()
            + self.order.capacity() * size_of::<usize>()
            + self.left.memory()
            + self.strings.unescaped.capacity()
            + self.strings.bytes.capacity()
            + self.extra.capacity()
    }
}

/// Sets a cell, or notes why it cannot be. What was known of it before does not count any more.
fn set(cells: &mut [Cell], faults: &mut Vec<(usize, Rejection)>, index: usize, cell: Result<Cell, Rejection>) {
    if !faults.is_empty() {
        faults.retain(|(faulty, _)| *faulty != index);
    }
    match (cell, cells.get_mut(index)) {
        (Ok(cell), Some(slot)) => *slot = cell,
        (Err(rejection), _) => faults.push((index, rejection)),
        (Ok(_), None) => {}
    }
}

fn apart(judged: Result<Taken, Rejection>) -> (Result<Cell, Rejection>, Option<Rest>) {
    match judged {
        Ok(Taken { cell, rest }) => (Ok(cell), rest),
        Err(rejection) => (Err(rejection), None),
    }
}

#[cold]
pub fn not_utf8(bytes: &[u8]) -> Rejection {
    let valid = std::str::from_utf8(bytes).err().map_or(0, |error| error.valid_up_to());
    Rejection::new(Class::NotUtf8, format!("not UTF-8 at byte {}", valid.saturating_add(1)))
}

#[cold]
fn not_of_kind(open: u8, value: Value<'_>, written: &str) -> Rejection {
    let kind = if open == b'{' { "an object" } else { "an array" };
    Rejection::new(Class::WrongType, format!("expected {kind}, found {}", describe(value, written)))
}

#[cfg(test)]
mod tests;
