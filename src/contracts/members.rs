//! What is wanted of a JSON object: members by name, with a short way for those that come in the expected order.

use super::Column;
use super::field::Shape;
use super::path::{Path, Step};

pub struct Member<T> {
    pub name: String,
    /// The name in its quotes, if that is how JSON writes it.
    pub token: Option<Box<[u8]>>,
    pub wanted: T,
}

pub struct Members<T> {
    members: Vec<Member<T>>,
    /// Indices of `members`, ordered by name.
    by_name: Vec<usize>,
}

impl<T> Default for Members<T> {
    fn default() -> Self {
        Members { members: Vec::new(), by_name: Vec::new() }
    }
}

impl<T> Members<T> {
    #[inline]
    pub fn get(&self, index: usize) -> Option<&Member<T>> {
        self.members.get(index)
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn find(&self, name: &str) -> Option<usize> {
        let found = self.place(name).ok()?;
        self.by_name.get(found).copied()
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.by_name.binary_search_by(|index| self.members.get(*index).map_or("", |member| &member.name).cmp(name))
    }

    /// Adds a member unless there is one of its name, whose index is told then.
    pub fn add(&mut self, name: &str, wanted: T) -> Result<(), usize> {
        match self.place(name) {
            Ok(found) => Err(self.by_name.get(found).copied().unwrap_or(0)),
            Err(place) => {
                self.by_name.insert(place, self.members.len());
                let plain = !name.contains(|ch: char| ch.is_control() || matches!(ch, '"' | '\\'));
                let token = plain.then(|| format!("\"{name}\"").into_bytes().into());
                self.members.push(Member { name: name.to_owned(), token, wanted });
                Ok(())
            }
        }
    }
}

/// What to do with a value of the record.
pub enum Wanted {
    /// It is the value of this column.
    Column(usize),
    /// It has values of columns in it, and has to be an object.
    Members { members: Members<Wanted>, columns: Vec<usize> },
    /// It has values of columns in it, and has to be an array. Elements are in their order.
    Elements { elements: Vec<(usize, Wanted)>, columns: Vec<usize> },
}

impl Wanted {
    fn new(steps: &[Step], column: usize) -> Self {
        match steps {
            [] => Wanted::Column(column),
            [Step::Field(name), rest @ ..] => {
                let mut members = Members::default();
                // The first member cannot be there already.
                let _ = members.add(name, Wanted::new(rest, column));
                Wanted::Members { members, columns: vec![column] }
            }
            [Step::Element(element), rest @ ..] => {
                Wanted::Elements { elements: vec![(*element, Wanted::new(rest, column))], columns: vec![column] }
            }
        }
    }

    /// A column that has its value here or further in.
    fn some_column(&self) -> usize {
        match self {
            Wanted::Column(column) => *column,
            Wanted::Members { columns, .. } | Wanted::Elements { columns, .. } => {
                columns.first().copied().unwrap_or_default()
            }
        }
    }

    fn add(&mut self, steps: &[Step], column: usize) -> Result<(), usize> {
        match (self, steps) {
            (Wanted::Members { members, columns }, [Step::Field(name), rest @ ..]) => {
                members.add_path(name, rest, column)?;
                columns.push(column);
                Ok(())
            }
            (Wanted::Elements { elements, columns }, [Step::Element(element), rest @ ..]) => {
                match elements.binary_search_by_key(element, |(element, _)| *element) {
                    Ok(found) => elements.get_mut(found).map_or(Ok(()), |(_, wanted)| wanted.add(rest, column))?,
                    Err(place) => elements.insert(place, (*element, Wanted::new(rest, column))),
                }
                columns.push(column);
                Ok(())
            }
            (taken, _) => Err(taken.some_column()),
        }
    }
}

impl Members<Wanted> {
    fn add_path(&mut self, name: &str, rest: &[Step], column: usize) -> Result<(), usize> {
        match self.find(name) {
            Some(found) => self.members.get_mut(found).map_or(Ok(()), |member| member.wanted.add(rest, column)),
            None => self.add(name, Wanted::new(rest, column)),
        }
    }

    /// What a record is read for, by the paths of the columns; and the indices of two columns that cannot be had both,
    /// the value of one being within the other's, which is for the parser to refuse.
    pub fn of_columns(columns: &[Column]) -> (Self, Option<(usize, usize)>) {
        let mut root = Members::default();
        let mut conflict = None;
        for (index, column) in columns.iter().enumerate() {
            if let Some([Step::Field(name), rest @ ..]) = column.locator.path().map(Path::steps)
                && let Err(earlier) = root.add_path(name, rest, index)
            {
                conflict = conflict.or(Some((earlier, index)));
            }
        }
        (root, conflict)
    }
}

impl Members<Shape> {
    pub fn of_struct(fields: impl Iterator<Item = (String, Shape)>) -> Self {
        let mut members = Members::default();
        for (name, shape) in fields {
            // A contract has no struct with two fields of one name.
            let _ = members.add(&name, shape);
        }
        members
    }
}
