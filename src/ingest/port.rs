//! The daemon's HTTP port: `/metrics` for Prometheus, `/health` while the process lives, `/ready` while Kafka and the
//! store answer.
//!
//! It only reads what the session counts, so that a scrape never waits for ingest, nor ingest for a scrape. Connections
//! are bounded in number and in time: whoever opens many and says nothing costs the daemon no more than those.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use chrono::Utc;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::{AbortHandle, JoinSet};

use super::metrics::Metrics;
use super::source::Broker;
use super::{blocking, exposition};
use crate::error::{Error, Result};
use crate::lake::Table;

/// Whether Kafka and the store answer is asked at most this often, however often somebody else asks us.
const ASK_EVERY: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// A connection is for one request and has this long for all of it.
const CONNECTION: Duration = Duration::from_secs(10);
/// Of more connections than this the oldest goes: a probe is answered though others hold theirs open.
const CONNECTIONS: usize = 64;
/// After a connection could not be accepted, as when the process has no more files to open.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

pub struct Port {
    listener: TcpListener,
}

/// What the port tells of.
pub struct Watched {
    pub metrics: Arc<Metrics>,
    pub broker: Broker,
    /// A table to ask the store about.
    pub table: Table,
    pub memory: u64,
}

struct Shared {
    watched: Watched,
    /// What is wrong, as of when it was last asked.
    troubles: Mutex<Option<(Instant, Vec<String>)>>,
}

impl Port {
    pub async fn bind(address: &str) -> Result<Port> {
        let listener = TcpListener::bind(address).await.map_err(|e| {
            Error::outside(format!("cannot listen on ingest.metrics_address = {address}"))
                .because(e)
                .hint("is another daemon running here? Give each its own port, or port 0 for any that is free")
        })?;
        if let Ok(address) = listener.local_addr() {
            tracing::info!("metrics on http://{address}/metrics");
        }
        Ok(Port { listener })
    }

    /// Answers until it is dropped.
    pub async fn serve(self, watched: Watched) {
        let shared = Arc::new(Shared { watched, troubles: Mutex::new(None) });
        let routes = Router::new()
            .route("/health", get(|| async { "alive\n" }))
            .route("/ready", get(ready))
            .route("/metrics", get(metrics))
            .with_state(shared);
        let mut tasks = JoinSet::new();
        let mut open: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        open.retain(|connection| !connection.is_finished());
                        if open.len() >= CONNECTIONS && let Some(oldest) = open.pop_front() {
                            oldest.abort();
                        }
                        open.push_back(tasks.spawn(answer(stream, routes.clone())));
                    }
                    Err(e) => {
                        tracing::debug!(error = %e, "the metrics port takes no connection now");
                        tokio::time::sleep(ACCEPT_AGAIN).await;
                    }
                },
                Some(_) = tasks.join_next() => {}
            }
        }
    }
}

async fn answer(stream: TcpStream, routes: Router) {
    let connection = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    // Whoever went away or took too long is not told more.
    match tokio::time::timeout(CONNECTION, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => tracing::debug!(error = %e, "a connection to the metrics port broke"),
        Err(_) => tracing::debug!("a connection to the metrics port took too long"),
    }
}

async fn ready(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let troubles = shared.troubles().await;
    match troubles.is_empty() {
        true => (StatusCode::OK, "ready\n".to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, troubles.join("\n") + "\n"),
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let text = exposition::render(&shared.watched.metrics, shared.watched.memory, Utc::now().timestamp_millis());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

impl Shared {
    async fn troubles(&self) -> Vec<String> {
        let mut known = self.troubles.lock().await;
        if let Some((at, troubles)) = &*known
            && at.elapsed() < ASK_EVERY
        {
            return troubles.clone();
        }
        let broker = self.watched.broker.clone();
        let kafka = blocking(move || broker.ensure_answers(ANSWER_WITHIN));
        let store = tokio::time::timeout(ANSWER_WITHIN, self.watched.table.exists());
        let (kafka, store) = tokio::join!(kafka, store);
        let store = match store {
            Ok(answer) => answer.map(|_| ()).map_err(|e| e.to_string()),
            Err(_) => Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs())),
        };
        let mut troubles = Vec::new();
        troubles.extend(kafka.err().map(|e| format!("kafka: {e}")));
        troubles.extend(store.err().map(|e| format!("store: {e}")));
        *known = Some((Instant::now(), troubles.clone()));
        troubles
    }
}
