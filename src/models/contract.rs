//! What a model promises of its columns: their types, and what holds for every row.

use super::problem::Problem;
use super::yaml::At;
use crate::error::{Place, Result};

const KEYS: &[&str] =
    &["type", "name", "expression", "columns", "warn_unenforced", "warn_unsupported", "to", "to_columns"];
const KINDS: &[&str] = &["not_null", "unique", "primary_key", "check"];
/// dbt has them, and no engine of a lake could hold them.
const UNSUPPORTED: &[&str] = &["foreign_key", "custom"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConstraintKind {
    NotNull,
    Unique,
    PrimaryKey,
    Check,
}

/// Something that holds for every row of a model whose contract is enforced.
#[derive(Debug, Clone, PartialEq)]
pub struct Constraint {
    pub kind: ConstraintKind,
    pub name: Option<String>,
    pub columns: Vec<String>,
    /// What a `check` says.
    pub expression: Option<String>,
    pub place: Place,
}

impl ConstraintKind {
    pub fn as_str(self) -> &'static str {
        match self {
            ConstraintKind::NotNull => "not_null",
            ConstraintKind::Unique => "unique",
            ConstraintKind::PrimaryKey => "primary_key",
            ConstraintKind::Check => "check",
        }
    }
}

/// The constraints that stand at a column, or at a model as a whole, where each names its columns.
pub fn constraints(at: &At<'_>, column: Option<&str>) -> Result<Vec<Constraint>> {
    at.list("constraints")?.iter().map(|entry| constraint(entry, column)).collect()
}

fn constraint(at: &At<'_>, column: Option<&str>) -> Result<Constraint> {
    at.only(KEYS, &[])?;
    let word = at.required_text("type")?;
    let kind = match word {
        "not_null" => ConstraintKind::NotNull,
        "unique" => ConstraintKind::Unique,
        "primary_key" => ConstraintKind::PrimaryKey,
        "check" => ConstraintKind::Check,
        word if UNSUPPORTED.contains(&word) => {
            let problem = Problem::unsupported(format!("the constraint `{word}`"));
            return Err(at.problem(problem.hint("a data test says the same, as `relationships` does")));
        }
        word => return Err(at.problem(Problem::unknown("constraint", word, KINDS.iter().copied()))),
    };
    let columns = match column {
        Some(column) => vec![column.to_owned()],
        None => at.get("columns").map_or(Ok(Vec::new()), |columns| columns.texts())?,
    };
    let expression = at.optional_text("expression")?;
    if kind == ConstraintKind::Check && expression.is_none() {
        return Err(at.error("a `check` needs an `expression`"));
    }
    if kind != ConstraintKind::Check && columns.is_empty() {
        return Err(at.error(format!("`{word}` needs `columns` here")));
    }
    Ok(Constraint { kind, name: at.optional_text("name")?, columns, expression, place: at.place() })
}
