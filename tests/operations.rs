//! What somebody needs who runs ingest: a port that answers whatever others do to it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::world::World;
use crate::world::broker::Broker;
use crate::world::http::{get, port_of};
use crate::world::real::{Running, wait_until};

/// A daemon that reads from a broker of this process.
fn small_daemon(broker: &Broker) -> (World, Running, String) {
    let contract = "CREATE TABLE readings (n BIGINT) WITH (topic = 'readings', format = 'json', timezone = 'UTC');";
    let world = World::new().with_brokers(&broker.address()).contract("readings", contract);
    let daemon = world.daemon(&["ingest"]);
    let address = port_of(&daemon);
    (world, daemon, address)
}

fn open_files(daemon: &Running) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count()
}

#[test]
fn the_port_answers_while_others_open_connections_and_say_nothing() {
    let broker = Broker::with_topics(&["readings"]);
    let (_world, daemon, address) = small_daemon(&broker);
    assert_eq!(get(&address, "/health").0, 200);
    let before = open_files(&daemon);
    let began = Instant::now();
    let mut idle: Vec<TcpStream> = (0..400)
        .map(|n| {
            let mut stream = TcpStream::connect(&address).unwrap();
            // Some say nothing, some begin and do not end. Either may be cut off by now.
            let _ = if n % 2 == 0 { stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: ") } else { Ok(()) };
            stream
        })
        .collect();
    for path in ["/health", "/metrics"] {
        let asked = Instant::now();
        assert_eq!(get(&address, path).0, 200);
        assert!(asked.elapsed() < Duration::from_secs(2), "{path} took {:?}", asked.elapsed());
    }
    let opened = open_files(&daemon).saturating_sub(before);
    assert!(opened < 100, "{opened} files more are open");
    // Those that were kept are let go soon.
    for stream in &mut idle {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut rest = Vec::new();
        // An end, or a connection that is reset.
        if let Err(e) = stream.read_to_end(&mut rest) {
            assert_ne!(e.kind(), std::io::ErrorKind::WouldBlock, "a connection is still open");
        }
    }
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    wait_until("the files are closed", || open_files(&daemon) <= before + 10);
    daemon.signal("-TERM");
    daemon.succeeds();
}

#[test]
fn a_connection_that_trickles_is_let_go() {
    let broker = Broker::with_topics(&["readings"]);
    let (_world, daemon, address) = small_daemon(&broker);
    let mut stream = TcpStream::connect(&address).unwrap();
    let began = Instant::now();
    while stream.write_all(b"G").is_ok() {
        assert!(began.elapsed() < Duration::from_secs(30), "it may send a letter a second for ever");
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(get(&address, "/health").0, 200);
    daemon.signal("-TERM");
    daemon.succeeds();
}
