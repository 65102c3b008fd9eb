//! What no column takes of a record's objects and arrays, in the places that it has there: the text of `_extra`.

use crate::contracts::json::{Span, Text};

/// What is left of the values that are still open, the outermost first, and of those that ended.
#[derive(Default)]
pub struct Leftovers {
    open: Vec<Left>,
    /// JSON texts put together from what is left of values that ended.
    texts: String,
    /// Where such a text is put together.
    draft: String,
    order: Vec<usize>,
}

/// A member or element of which something is left; nothing, where it only takes the place of an earlier one.
struct Left {
    name: Name,
    rest: Option<Rest>,
}

#[derive(Clone, Copy)]
pub enum Name {
    /// `written` is from the opening quote of the key to the closing one.
    Key {
        text: Text,
        written: Span,
    },
    Element(usize),
}

#[derive(Clone, Copy)]
pub enum Rest {
    /// All of it, as the record has it.
    Whole(Span),
    /// Among the texts put together.
    Part(Span),
}

/// The text that spans point into.
#[derive(Clone, Copy)]
pub struct Texts<'t> {
    pub record: &'t str,
    pub unescaped: &'t str,
}

impl Leftovers {
    /// What is left of the members or elements of a value that begins now is noted from here on.
    pub fn first(&self) -> usize {
        self.open.len()
    }

    /// Notes what is left of a member, or an element, of the value that began at `first`. Where nothing is left, that
    /// takes the place of what an earlier member of the same name left.
    pub fn note(&mut self, first: usize, name: Name, rest: Option<Rest>) {
        if rest.is_some() || self.open.len() > first {
            self.open.push(Left { name, rest });
        }
    }

    /// Forgets what was noted of the value that began at `first`.
    pub fn forget(&mut self, first: usize) {
        self.open.truncate(first);
    }

    /// What is left of an object that ended.
    pub fn of_object(&mut self, first: usize, texts: Texts<'_>) -> Option<Rest> {
        if self.open.len() == first {
            return None;
        }
        let mut draft = std::mem::take(&mut self.draft);
        self.write_object(first, texts, &mut draft);
        self.keep(draft)
    }

    /// Writes what is left of an object: each member as the record has it, and of a name that comes twice the last.
    /// Nothing, if nothing is left.
    pub fn write_object(&mut self, first: usize, texts: Texts<'_>, target: &mut String) {
        target.clear();
        let Leftovers { open, order, texts: ended, .. } = self;
        last_of_each(order, first..open.len(), |index| match open.get(index).map(|left| left.name) {
            Some(Name::Key { text, .. }) => text.of(texts.record, texts.unescaped),
            _ => "",
        });
        for left in order.iter().filter_map(|index| open.get(*index)) {
            if let Left { name: Name::Key { written, .. }, rest: Some(rest) } = left {
                target.push(if target.is_empty() { '{' } else { ',' });
                target.push_str(written.of(texts.record));
                target.push(':');
                target.push_str(rest.of(texts.record, ended));
            }
        }
        if !target.is_empty() {
            target.push('}');
        }
        open.truncate(first);
    }

    /// What is left of an array that ended. Elements of which nothing is left are null, so that the others keep their
    /// places, save for those at the end.
    pub fn of_array(&mut self, first: usize, record: &str) -> Option<Rest> {
        if self.open.len() == first {
            return None;
        }
        let mut draft = std::mem::take(&mut self.draft);
        draft.clear();
        let mut next = 0;
        for left in self.open.drain(first..) {
            if let Left { name: Name::Element(index), rest: Some(rest) } = left {
                draft.push(if draft.is_empty() { '[' } else { ',' });
                (next..index).for_each(|_| draft.push_str("null,"));
                draft.push_str(rest.of(record, &self.texts));
                next = index + 1;
            }
        }
        if !draft.is_empty() {
            draft.push(']');
        }
        self.keep(draft)
    }

    fn keep(&mut self, draft: String) -> Option<Rest> {
        let start = self.texts.len();
        self.texts.push_str(&draft);
        self.draft = draft;
        let end = self.texts.len();
        (end > start).then_some(Rest::Part(Span { start, end }))
    }

    pub fn text<'t>(&'t self, rest: Rest, record: &'t str) -> &'t str {
        rest.of(record, &self.texts)
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub fn clear(&mut self) {
        self.open.clear();
        self.texts.clear();
    }

    pub fn memory(&self) -> usize {
        self.open.capacity() * size_of::<Left>()
            + self.order.capacity() * size_of::<usize>()
            + self.texts.capacity()
            + self.draft.capacity()
    }
}

impl Rest {
    fn of<'t>(self, record: &'t str, ended: &'t str) -> &'t str {
        match self {
            Rest::Whole(span) => span.of(record),
            Rest::Part(span) => span.of(ended),
        }
    }
}

/// Puts the indices into `order` that are the last of their name, in their order.
pub fn last_of_each<'t>(order: &mut Vec<usize>, indices: std::ops::Range<usize>, name: impl Fn(usize) -> &'t str) {
    order.clear();
    order.extend(indices);
    if order.len() > 1 {
        order.sort_unstable_by(|&a, &b| name(a).cmp(name(b)).then(b.cmp(&a)));
        order.dedup_by(|earlier, last| name(*earlier) == name(*last));
        order.sort_unstable();
    }
}
