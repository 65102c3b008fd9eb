//! A table follows what is declared of it: new columns join it in a commit of their own, and what would lose or falsify
//! rows is refused.
//!
//! Delta goes by names: rows from before a column have NULL in it, wherever it stands. It has no way to take a column
//! away, or to give it another type, that every reader of plain tables understands: both rewrite what old files mean.

use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema};
use serde_json::{Value, json};

use super::commit::{Commit, Outcome, commit};
use super::{Snapshot, Table, schema};
use crate::error::{Error, Place, Result};

/// The table property that names the columns without which a record is rejected, separated by commas. The table itself
/// has to let them be NULL, for rejected rows.
pub const REQUIRED_PROPERTY: &str = "medallion.notNull";
const PATIENCE: Duration = Duration::from_secs(30);

/// What somebody declares that a table is.
pub struct Declared<'a> {
    pub schema: &'a Schema,
    /// Columns without which a record is rejected.
    pub required: Vec<&'a str>,
    /// The file that declares it.
    pub file: &'a str,
    /// Where it does so, of a column or of the whole table.
    pub place: &'a (dyn Fn(Option<&str>) -> Place + Sync),
}

impl Declared<'_> {
    /// The value of [`REQUIRED_PROPERTY`].
    pub fn required_property(&self) -> String {
        self.required.join(",")
    }

    /// The metadata that the table needs to be as declared, if it is not yet.
    fn wanted(&self, table: &Snapshot) -> Result<Option<Value>> {
        let wrong = |column: Option<&str>, what: String, hint: String| {
            Err(Error::input(format!("table {} is not the one that {} declares: {what}", table.name, self.file))
                .at((self.place)(column))
                .hint(hint))
        };
        let elsewhere = "or give the contract another name, which makes another table";
        for existing in table.schema.fields() {
            if self.schema.field_with_name(existing.name()).is_err() {
                let what = format!("it has a column `{}` besides, which would be NULL from now on", existing.name());
                let hint = format!(
                    "declare the column; if another contract is newer than this one, run with that; {elsewhere}"
                );
                return wrong(None, what, hint);
            }
        }
        let recorded = table.metadata.pointer(&format!("/configuration/{REQUIRED_PROPERTY}")).and_then(Value::as_str);
        let recorded: Option<Vec<&str>> = recorded.map(|names| names.split(',').collect());
        let mut changed = false;
        for declared in self.schema.fields() {
            let name = declared.name().as_str();
            let is_required = self.required.contains(&name);
            let Ok(existing) = table.schema.field_with_name(name) else {
                if let Some(other) = table.schema.fields().iter().find(|f| f.name().eq_ignore_ascii_case(name)) {
                    let what = format!("it has a column `{}`, which differs from `{name}` in case alone", other.name());
                    return wrong(Some(name), what, format!("write the name as the table has it, {elsewhere}"));
                }
                if is_required {
                    let what = format!("it has no column `{name}`, and its rows have no value for a NOT NULL one");
                    return wrong(Some(name), what, format!("leave NOT NULL out, {elsewhere}"));
                }
                changed = true;
                continue;
            };
            match Change::of(existing.data_type(), declared.data_type()) {
                Change::None => {}
                Change::NewFields => changed = true,
                Change::Widened => {
                    let what = is_not(name, existing, declared);
                    let hint = "a wider type needs Delta's table feature typeWidening, which many readers refuse; give the \
                                contract another name, which makes another table";
                    return wrong(Some(name), what, hint.to_owned());
                }
                Change::Other => {
                    let what = is_not(name, existing, declared);
                    return wrong(Some(name), what, format!("give it back its type, {elsewhere}"));
                }
            }
            if is_required && recorded.as_ref().is_some_and(|recorded| !recorded.contains(&name)) {
                let what = format!("rows may have NULL in `{name}`, which was not NOT NULL when they were taken in");
                return wrong(Some(name), what, format!("leave NOT NULL out, {elsewhere}"));
            }
        }
        let same_required = match &recorded {
            Some(recorded) => recorded.iter().filter(|name| !name.is_empty()).eq(self.required.iter()),
            None => self.required.is_empty(),
        };
        if !changed && same_required {
            return Ok(None);
        }
        let mut metadata = table.metadata.clone();
        if let Some(fields) = metadata.as_object_mut() {
            fields.insert("schemaString".to_owned(), schema::delta_schema(self.schema)?.into());
            let properties = fields.entry("configuration").or_insert_with(|| json!({}));
            if let Some(properties) = properties.as_object_mut() {
                properties.insert(REQUIRED_PROPERTY.to_owned(), self.required_property().into());
            }
        }
        Ok(Some(metadata))
    }
}

fn is_not(name: &str, existing: &Field, declared: &Field) -> String {
    format!("its column `{name}` is {}, not {}", existing.data_type(), declared.data_type())
}

/// From the type that a table has to the one that is declared.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    None,
    /// Structs have new fields, in the same types otherwise.
    NewFields,
    /// Each old value is a value of the new type.
    Widened,
    Other,
}

impl Change {
    fn of(old: &DataType, new: &DataType) -> Change {
        use DataType::*;
        match (old, new) {
            (Struct(old), Struct(new)) => {
                let kept = old.iter().map(|field| match new.iter().find(|f| f.name() == field.name()) {
                    Some(new) => Change::of(field.data_type(), new.data_type()),
                    None => Change::Other,
                });
                let joined = if new.len() > old.len() { Change::NewFields } else { Change::None };
                kept.fold(joined, Change::and)
            }
            (List(old), List(new)) => Change::of(old.data_type(), new.data_type()),
            // The engine does not read older files of a map whose values gained a field.
            (Map(old, _), Map(new, _)) => match Change::of(old.data_type(), new.data_type()) {
                Change::None => Change::None,
                _ => Change::Other,
            },
            (Int32, Int64 | Float64) | (Date32, Timestamp(..)) => Change::Widened,
            (Int32, Decimal128(precision, scale)) if whole(*precision, *scale) >= 10 => Change::Widened,
            (Int64, Decimal128(precision, scale)) if whole(*precision, *scale) >= 19 => Change::Widened,
            (Decimal128(p, s), Decimal128(precision, scale))
                if (p, s) != (precision, scale) && scale >= s && whole(*precision, *scale) >= whole(*p, *s) =>
            {
                Change::Widened
            }
            (old, new) if old == new => Change::None,
            _ => Change::Other,
        }
    }

    /// The graver of two.
    fn and(self, other: Change) -> Change {
        match (self, other) {
            (Change::Other, _) | (_, Change::Other) => Change::Other,
            (Change::Widened, _) | (_, Change::Widened) => Change::Widened,
            (Change::NewFields, _) | (_, Change::NewFields) => Change::NewFields,
            (Change::None, Change::None) => Change::None,
        }
    }
}

/// Digits of a decimal before its point.
fn whole(precision: u8, scale: i8) -> i16 {
    i16::from(precision) - i16::from(scale)
}

impl Table {
    /// Fails where [`Table::follow`] would for what is declared, and changes nothing. False if there is no table.
    pub async fn ensure_can_follow(&self, declared: &Declared<'_>) -> Result<bool> {
        let Some(head) = self.head().await? else { return Ok(false) };
        declared.wanted(&head).map(|_| true)
    }

    /// Makes sure that the table is as declared, in a commit of its own if it has to change, and tells a version at which
    /// it is. None if there is no table.
    pub async fn follow(&self, declared: &Declared<'_>) -> Result<Option<u64>> {
        loop {
            let Some(head) = self.head().await? else { return Ok(None) };
            let Some(metadata) = declared.wanted(&head)? else { return Ok(Some(head.version)) };
            let added = declared.schema.fields().iter().filter(|f| head.schema.field_with_name(f.name()).is_err());
            let names: Vec<&str> = added.map(|field| field.name().as_str()).collect();
            let change = Commit::new("CHANGE COLUMNS").parameter("added", names.join(",")).replacing_metadata(metadata);
            match commit(self, Some(head.version), &change, PATIENCE).await? {
                Outcome::Committed { version } => {
                    tracing::info!(table = %self.name, version, added = names.join(","), "the table follows its contract");
                    return Ok(Some(version));
                }
                // Somebody else changed the table: it may be as declared now, or farther from it.
                Outcome::Conflict { .. } | Outcome::Fenced { .. } => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn structure(fields: &[(&str, DataType)]) -> DataType {
        DataType::Struct(fields.iter().map(|(name, inner)| Field::new(*name, inner.clone(), true)).collect())
    }

    #[test]
    fn a_type_is_widened_where_each_old_value_is_one_of_the_new() {
        use DataType::{Date32, Decimal128, Float64, Int32, Int64, Utf8};
        let list = |inner| DataType::List(Arc::new(Field::new("element", inner, true)));
        let map = |value| {
            let entry = structure(&[("key", Utf8), ("value", value)]);
            DataType::Map(Arc::new(Field::new("entries", entry, false)), false)
        };
        for (old, new, change) in [
            (Int32, Int32, Change::None),
            (Int32, Int64, Change::Widened),
            (Int32, Float64, Change::Widened),
            (Int64, Float64, Change::Other),
            (Int64, Int32, Change::Other),
            (Int32, Utf8, Change::Other),
            (Int32, Decimal128(10, 0), Change::Widened),
            (Int32, Decimal128(10, 1), Change::Other),
            (Date32, schema::timestamp(), Change::Widened),
            (Decimal128(9, 2), Decimal128(12, 2), Change::Widened),
            (Decimal128(9, 2), Decimal128(11, 4), Change::Widened),
            (Decimal128(9, 2), Decimal128(10, 4), Change::Other),
            (Decimal128(9, 2), Decimal128(9, 1), Change::Other),
            (Decimal128(9, 2), Decimal128(8, 2), Change::Other),
            (Int64, Decimal128(19, 0), Change::Widened),
            (Int64, Decimal128(20, 2), Change::Other),
            (structure(&[("a", Int32)]), structure(&[("b", Utf8), ("a", Int32)]), Change::NewFields),
            (structure(&[("a", Int32)]), structure(&[("b", Utf8), ("a", Int64)]), Change::Widened),
            (structure(&[("a", Int32), ("b", Utf8)]), structure(&[("a", Int32)]), Change::Other),
            (structure(&[("a", Int32)]), structure(&[("b", Int32)]), Change::Other),
            (list(structure(&[("a", Int32)])), list(structure(&[("a", Int32), ("b", Int32)])), Change::NewFields),
            (list(Int32), list(Utf8), Change::Other),
            (map(structure(&[("a", Int32)])), map(structure(&[("a", Int32)])), Change::None),
            (map(structure(&[("a", Int32)])), map(structure(&[("a", Int32), ("b", Int32)])), Change::Other),
        ] {
            assert_eq!(Change::of(&old, &new), change, "{old} to {new}");
        }
    }
}
