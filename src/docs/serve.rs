//! The site on a port of this machine, with the artifacts that it was made from.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{CATALOG, COLUMN_LINEAGE, SITE};
use crate::error::{Error, Result};
use crate::models::MANIFEST;

struct Folder(PathBuf);

/// Answers on loopback until `stop` turns true. `listening` is told the address.
pub async fn serve(
    folder: &Path,
    port: u16,
    mut stop: watch::Receiver<bool>,
    listening: impl FnOnce(SocketAddr),
) -> Result<()> {
    let asked = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let cannot = |e| {
        let error = Error::outside(format!("cannot listen on {asked}")).because(e);
        error.hint("choose another port with --port, or 0 for any that is free")
    };
    let listener = TcpListener::bind(asked).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    listening(address);
    let shared = std::sync::Arc::new((Folder(folder.to_owned()), address.port()));
    let mut routes = Router::new().route("/", get(|state, headers| answer(state, headers, SITE, "text/html")));
    for (path, name) in
        [("/manifest.json", MANIFEST), ("/catalog.json", CATALOG), ("/column_lineage.json", COLUMN_LINEAGE)]
    {
        routes = routes.route(path, get(move |state, headers| answer(state, headers, name, "application/json")));
    }
    let routes = routes.with_state(shared);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let service = TowerToHyperService::new(routes.clone());
                    connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
                }
                Err(e) => tracing::debug!(error = %e, "a connection could not be taken"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

type Shared = std::sync::Arc<(Folder, u16)>;

async fn answer(
    State(shared): State<Shared>,
    headers: HeaderMap,
    name: &'static str,
    kind: &'static str,
) -> impl IntoResponse {
    let (Folder(folder), port) = &*shared;
    // A page of somewhere else must not read these through a name of its own that leads here.
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if ![format!("localhost:{port}"), format!("127.0.0.1:{port}")].iter().any(|own| own == host) {
        return (StatusCode::FORBIDDEN, [(header::CONTENT_TYPE, "text/plain")], Vec::new());
    }
    match tokio::fs::read(folder.join(name)).await {
        Ok(bytes) => (StatusCode::OK, [(header::CONTENT_TYPE, kind)], bytes),
        Err(_) => (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/plain")], Vec::new()),
    }
}
