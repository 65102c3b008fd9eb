//! The daemon's port, asked as a probe or Prometheus would.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::real::{Running, wait_until};

/// Where the daemon's port is, once it is open.
pub fn port_of(daemon: &Running) -> String {
    wait_until("the port is open", || daemon.said().contains("metrics on http://127.0.0.1:"));
    let said = daemon.said();
    said.split("metrics on http://").nth(1).unwrap().split("/metrics").next().unwrap().to_owned()
}

/// The status and the body of an answer.
pub fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}
