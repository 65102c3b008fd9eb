//! SQL for people: one statement from the command line, a file of them, or a conversation.
//!
//! What is read is a release: tables at versions that belong together, so that nobody sees a new fact beside an old
//! dimension. Bronze is read as it is now. Nothing here writes.

mod complete;
mod interactive;
mod output;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::prelude::{DataFrame, SessionContext};
use datafusion::sql::parser::Statement;

pub use self::output::Format;
use crate::engine::catalog::Catalog;
use crate::engine::release::{self, Release};
use crate::engine::sql::{self, Text};
use crate::engine::{self, Engine};
use crate::error::{Error, Result};

pub struct Shell {
    engine: Engine,
    format: Format,
    /// The release that was asked for; else each statement reads the newest.
    pinned: Option<Release>,
}

/// What a statement answered, besides its rows.
pub struct Answer {
    pub rows: u64,
    pub elapsed: Duration,
}

/// Writes the rows of a query to standard output, and tells how many they are.
pub async fn print(format: Format, frame: DataFrame) -> Result<u64> {
    let schema = Arc::new(frame.schema().as_arrow().clone());
    let stream = frame.execute_stream().await.map_err(|e| engine::error("the query failed", e))?;
    output::write(format, schema, stream).await
}

impl Shell {
    pub async fn open(engine: Engine, format: Format, release: Option<u64>) -> Result<Shell> {
        let pinned = match release {
            Some(id) => Some(release::by_id(&engine, id).await?),
            None => None,
        };
        Ok(Shell { engine, format, pinned })
    }

    /// The tables as the next statement will see them.
    pub async fn catalog(&self) -> Result<Catalog> {
        let current = match &self.pinned {
            Some(release) => Some(release.clone()),
            None => release::current(&self.engine).await?,
        };
        release::catalog(&self.engine, &self.engine.lake, current.as_ref(), self.pinned.is_some()).await
    }

    async fn session(&self) -> Result<SessionContext> {
        Ok(self.engine.session(Arc::new(self.catalog().await?)))
    }

    /// Runs all statements of a text, one after the other, writing rows to standard output.
    pub async fn run(&self, file: &str, text: &str) -> Result<Vec<Answer>> {
        let source = Text { file, text };
        let mut answers = Vec::new();
        let statements = sql::parse(source)?;
        if statements.is_empty() {
            return Err(Error::input(format!("{file}: there is no SQL in it")));
        }
        for statement in statements {
            answers.push(self.statement(source, statement).await?);
        }
        Ok(answers)
    }

    async fn statement(&self, source: Text<'_>, statement: Statement) -> Result<Answer> {
        let began = Instant::now();
        let context = self.session().await?;
        let frame = sql::run(&context, source, statement).await?;
        let rows = print(self.format, frame).await?;
        Ok(Answer { rows, elapsed: began.elapsed() })
    }

    /// The one number that a query answers.
    pub async fn count(&self, query: &str) -> Result<u64> {
        let context = self.session().await?;
        let frame = sql::query(&context, Text { file: "query", text: query }).await?;
        let batches = frame.collect().await.map_err(|e| engine::error("the query failed", e))?;
        let numbers = batches.iter().filter(|b| b.num_rows() > 0).filter_map(|b| {
            cast(b.column(0), &DataType::Int64).ok().map(|n| n.as_primitive::<Int64Type>().value(0).unsigned_abs())
        });
        Ok(numbers.sum())
    }

    /// A conversation until the end of the input or `\q`.
    pub async fn converse(self) -> Result<()> {
        interactive::run(self).await
    }
}
