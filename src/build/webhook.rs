//! Somebody is told how a build ended: one POST with its results as JSON.
//!
//! A build is what it is whether or not anybody hears of it: what cannot be told is a warning, after a bounded time. The
//! address may hold a secret, so nothing shows it.

use std::time::Duration;

use chrono::SecondsFormat;
use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::report::{NodeResult, Summary};
use crate::config::Secret;
use crate::error::{Error, Result};

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

pub fn client() -> Result<Client> {
    Client::builder()
        .connect_timeout(CONNECT_WITHIN)
        .timeout(ANSWER_WITHIN)
        .user_agent("medallion")
        .build()
        .map_err(|e| Error::bug("the client of webhooks cannot be made").because(e))
}

/// Posts JSON. Any answer but one of success is an error.
pub async fn post(client: &Client, url: &Secret, body: &Value) -> Result<()> {
    let request = client.post(url.reveal()).header(CONTENT_TYPE, "application/json").body(body.to_string());
    let answer = request.send().await.map_err(|e| Error::outside("it does not answer").because(e.without_url()))?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status => Err(Error::outside(format!("it answers {status}"))),
    }
}

/// Tells of the end of a build, whichever it was.
pub async fn tell(url: &Secret, invocation_id: &str, outcome: &Result<Summary>) {
    let body = match outcome {
        Ok(summary) => of_summary(summary),
        Err(e) => json!({
            "event": "build_ended", "invocation_id": invocation_id, "outcome": "error", "error": e.to_string(),
            "results": [],
        }),
    };
    let told = match client() {
        Ok(client) => post(&client, url, &body).await,
        Err(e) => Err(e),
    };
    if let Err(e) = told {
        tracing::warn!(error = %e, "build.webhook was not told how the build ended");
    }
}

fn of_summary(summary: &Summary) -> Value {
    let outcome = match summary.failure() {
        None if summary.interrupted => "interrupted",
        None => "success",
        Some(_) => "failed",
    };
    json!({
        "event": "build_ended",
        "invocation_id": summary.invocation_id,
        "started_at": summary.started_at.to_rfc3339_opts(SecondsFormat::Micros, true),
        "elapsed_seconds": summary.elapsed.as_secs_f64(),
        "outcome": outcome,
        "release": summary.release.as_ref().map(|r| json!({"id": r.id, "new": r.new, "held_back": r.held_back})),
        "results": summary.results.iter().chain(&summary.proofs).map(of_result).collect::<Vec<_>>(),
    })
}

fn of_result(result: &NodeResult) -> Value {
    json!({
        "unique_id": result.unique_id,
        "relation": result.relation,
        "status": result.status.word(result.kind),
        "how": result.how,
        "rows": result.rows,
        "version": result.version,
        "failures": result.failures,
        "message": result.message,
        "elapsed_seconds": result.elapsed.as_secs_f64(),
    })
}
