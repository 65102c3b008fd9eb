//! Data tests: queries whose rows are failures, run on what is about to be published.

use std::time::Instant;

use arrow::array::{AsArray, BooleanArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use arrow::util::pretty::pretty_format_batches;
use sha2::{Digest, Sha256};

use super::at_source;
use super::report::{NodeResult, Status};
use super::turn::Turn;
use crate::engine;
use crate::engine::sql::{self, Text};
use crate::error::{Error, Kind, Result};
use crate::models::{Node, Severity};

/// Failing rows shown with a failed test.
const SHOWN: usize = 5;

struct Verdict {
    status: Status,
    message: String,
    failures: Option<i64>,
    sql: String,
}

impl Turn {
    /// Runs tests on what the catalogue shows now.
    pub(super) async fn run_tests(&self, tests: &[&Node]) -> Result<Vec<NodeResult>> {
        let mut results = Vec::with_capacity(tests.len());
        for test in tests {
            let began = Instant::now();
            let verdict = match self.judge(test).await {
                Ok(verdict) => verdict,
                Err(e) if matches!(e.kind(), Kind::Input | Kind::Failed) => Verdict {
                    status: Status::Error(e.kind()),
                    message: e.to_string(),
                    failures: None,
                    sql: String::new(),
                },
                Err(e) => return Err(e.context(format!("test {}", test.name))),
            };
            let mut result = NodeResult::of(test, verdict.status, &verdict.message);
            result.failures = verdict.failures;
            result.compiled = Some(verdict.sql);
            result.elapsed = began.elapsed();
            results.push(result);
        }
        Ok(results)
    }

    async fn judge(&self, node: &Node) -> Result<Verdict> {
        let compiled = self.compile(node)?;
        let Some(test) = &node.test else { return Err(Error::bug(format!("{} is no test", node.name))) };
        let config = &test.config;
        let rows = compiled.sql.trim().trim_end_matches(';');
        let failing = match config.limit {
            None => rows.to_owned(),
            Some(limit) => format!("select * from ({rows}\n) as failing_rows limit {limit}"),
        };
        // The test's own text first and alone, so that its lines keep their numbers in errors.
        let context = self.session();
        let at_test = |e| at_source(e, node, &compiled);
        sql::query(&context, Text { file: &node.path, text: rows }).await.map_err(at_test)?;
        let (calc, warn, error) = (&config.fail_calc, &config.warn_if, &config.error_if);
        let counting = format!(
            "select failures, cast(failures {warn} as boolean) as warns, cast(failures {error} as boolean) as fails \
             from (select cast({calc} as bigint) as failures from ({failing}\n) as failing_rows) as counted"
        );
        let text = Text { file: &node.name, text: &counting };
        let doing = format!("test {}", node.name);
        let batches = sql::query(&context, text).await?.collect().await.map_err(|e| engine::error(&doing, e))?;
        let (failures, warns, fails) = batches
            .iter()
            .find(|b| b.num_rows() > 0)
            .and_then(|batch| {
                let failures = cast(batch.column(0), &DataType::Int64).ok()?;
                let flag = |i: usize| batch.column(i).as_boolean_opt().map(|b: &BooleanArray| b.value(0));
                Some((failures.as_primitive::<Int64Type>().value(0), flag(1)?, flag(2)?))
            })
            .ok_or_else(|| Error::input(format!("{doing}: fail_calc gives no number")))?;
        let status = match config.severity {
            Severity::Error if fails => Status::Failed,
            _ if warns || (config.severity == Severity::Warn && fails) => Status::Warned,
            _ => Status::Success,
        };
        let kept = match config.stores_failures {
            true => Some(self.keep_failures(node, &failing).await?),
            false => None,
        };
        let mut message = String::new();
        if status != Status::Success {
            let sample = format!("select * from ({failing}\n) as failing_rows limit {SHOWN}");
            let frame = sql::query(&context, Text { file: &node.name, text: &sample }).await?;
            let shown = frame.collect().await.map_err(|e| engine::error(&doing, e))?;
            let table = pretty_format_batches(&shown).map(|t| t.to_string()).unwrap_or_default();
            let place = kept.map_or_else(String::new, |kept| format!(", kept in {kept}"));
            message = format!("{failures} failing rows{place}, of which:\n{table}");
        }
        Ok(Verdict { status, message, failures: Some(failures), sql: compiled.sql })
    }

    /// Changes exactly when the tests of a node change, or what its contract says of every row, so that new ones are held
    /// against tables that are up to date.
    pub(super) fn tests_code(&self, node: &Node, tests: &[&Node]) -> Result<String> {
        let mut hasher = Sha256::new();
        for constraint in super::contract::constraints(node) {
            let kind = constraint.kind.as_str();
            hasher.update(format!("{kind} {:?} {:?}", constraint.columns, constraint.expression).as_bytes());
        }
        for test in tests {
            hasher.update(test.unique_id.as_bytes());
            hasher.update(self.compile(test)?.code_hash.as_bytes());
            if let Some(test) = &test.test {
                hasher.update(format!("{:?}", test.config).as_bytes());
            }
        }
        Ok(format!("{:x}", hasher.finalize()))
    }
}
