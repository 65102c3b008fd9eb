//! The header of a CSV file, matched with the contract once a file, so that its records need no names.

use std::collections::HashSet;

use super::{Column, Contract};
use crate::error::{Error, Place, Result, nearest};

/// Where the fields of a file's records go.
pub struct CsvHeader {
    targets: Vec<Target>,
}

/// The name is a JSON string.
enum Target {
    /// An index of the contract's columns.
    Column(usize, String),
    /// A field that the contract does not name.
    Extra(String),
}

/// The column whose values are in the fields of this name. A path that goes further leads into JSON, not into CSV.
fn column_of(contract: &Contract, name: &str) -> Option<usize> {
    contract.columns.iter().position(|column| as_field(column) == Some(name))
}

fn as_field(column: &Column) -> Option<&str> {
    column.locator.path()?.as_field()
}

impl CsvHeader {
    /// Matches a header by exact names. A column that the file lacks is null in all of its rows; lacking a `NOT NULL` one,
    /// none of its rows could be good, and the file is refused here.
    pub fn new(contract: &Contract, file: &str, header: &csv::ByteRecord) -> Result<Self> {
        let names = names(file, header)?;
        let mut seen = HashSet::new();
        if let Some(name) = names.iter().find(|name| !seen.insert(**name)) {
            return Err(wrong(file, &names, format!("the header names the column `{name}` twice")));
        }
        if !names.iter().any(|name| column_of(contract, name).is_some()) {
            let expected: Vec<&str> = contract.columns.iter().filter_map(as_field).collect();
            return Err(wrong(file, &names, format!("the header names no column of the contract `{}`", contract.name))
                .hint(format!("the first line has to name the columns, as in {}", expected.join(","))));
        }
        for column in contract.columns.iter().filter(|column| !column.nullable) {
            if !as_field(column).is_some_and(|name| names.contains(&name)) {
                let what = format!("the header lacks `{}`, which {} says is NOT NULL", column.locator, contract.file);
                let error = wrong(file, &names, what);
                return Err(match nearest(&column.locator.to_string(), names.iter().copied()) {
                    Some(near) => error.hint(format!("is it the column `{near}`?")),
                    None => error,
                });
            }
        }
        let targets = names.iter().map(|name| {
            let written = serde_json::Value::from(*name).to_string();
            match column_of(contract, name) {
                Some(index) => Target::Column(index, written),
                None => Target::Extra(written),
            }
        });
        Ok(CsvHeader { targets: targets.collect() })
    }

    pub(super) fn len(&self) -> usize {
        self.targets.len()
    }

    /// For each field the contract's column, if it has one, and the name for `_extra`.
    pub(super) fn columns(&self) -> impl Iterator<Item = std::result::Result<(usize, &str), &str>> {
        self.targets.iter().map(|target| match target {
            Target::Column(index, name) => Ok((*index, name.as_str())),
            Target::Extra(name) => Err(name.as_str()),
        })
    }
}

fn names<'a>(file: &str, header: &'a csv::ByteRecord) -> Result<Vec<&'a str>> {
    let names = header.iter().map(|name| {
        std::str::from_utf8(name)
            .map_err(|error| Error::input(format!("the header of {file} is not UTF-8")).because(error))
    });
    names.collect()
}

fn wrong(file: &str, names: &[&str], what: String) -> Error {
    Error::input(what).at(Place { file: file.to_owned(), line: 1, column: 1, text: Some(names.join(",")) })
}

#[cfg(test)]
mod tests;
