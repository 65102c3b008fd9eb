//! What templates may ask of the tables while a node is compiled. The room of the models has no engine: whoever runs a
//! project hands one in, and who only reads it hands in none.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};

use super::relation::Relation;
use crate::error::Result;

/// Answers with what the run stands on: tables at the versions that it has pinned.
pub trait Database: Debug + Send + Sync {
    /// The rows of one query. Whatever would write is refused.
    fn query(&self, sql: &str) -> Result<Answer>;

    /// What is known of a table or view; none if it is not there.
    fn describe(&self, relation: &Relation) -> Result<Option<Described>>;
}

#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub columns: Vec<ColumnType>,
    pub rows: Vec<Vec<Cell>>,
}

/// The name of a column, and its type as SQL has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnType {
    pub name: String,
    pub sql_type: String,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    Null,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    Date(NaiveDate),
    Time(NaiveDateTime),
    ZonedTime(DateTime<Utc>),
}

#[derive(Debug, Clone)]
pub struct Described {
    pub is_view: bool,
    pub columns: Vec<ColumnType>,
}

/// Remembers answers: a node is rendered more than once, and must see the same each time.
#[derive(Debug)]
pub struct Remembering {
    database: Arc<dyn Database>,
    answers: Mutex<HashMap<String, Answer>>,
}

impl Remembering {
    pub fn new(database: Arc<dyn Database>) -> Self {
        Remembering { database, answers: Mutex::default() }
    }
}

impl Database for Remembering {
    fn query(&self, sql: &str) -> Result<Answer> {
        let known = |answers: &Mutex<HashMap<String, Answer>>| {
            answers.lock().unwrap_or_else(PoisonError::into_inner).get(sql).cloned()
        };
        if let Some(rows) = known(&self.answers) {
            return Ok(rows);
        }
        let rows = self.database.query(sql)?;
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(sql.to_owned(), rows.clone());
        Ok(rows)
    }

    fn describe(&self, relation: &Relation) -> Result<Option<Described>> {
        self.database.describe(relation)
    }
}
