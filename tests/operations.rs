//! What somebody needs who runs ingest: a port that answers whatever others do to it, and deploy/, which names nothing that
//! is not there.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use medallion::config::Config;

use crate::world::World;
use crate::world::broker::Broker;
use crate::world::http::{get, port_of};
use crate::world::real::{Record, Running, readings, wait_until};

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

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

#[test]
fn rules_panels_and_manifests_name_only_what_is_there() {
    let (world, topic) = readings(World::real("deploy"), 2);
    let mut records: Vec<Record> = (0..50).map(|n| Record::new(format!("{{\"n\": {n}}}"))).collect();
    records.push(Record::new("no JSON"));
    world.produce(&topic, &records);
    let daemon = world.daemon(&["ingest"]);
    let address = port_of(&daemon);
    wait_until("records are committed and lag is known", || {
        let text = get(&address, "/metrics").1;
        text.contains("medallion_ingest_last_commit_age_seconds{") && text.contains("medallion_ingest_lag_seconds{")
    });
    let metrics = world.write("metrics", &get(&address, "/metrics").1);
    daemon.signal("-TERM");
    daemon.succeeds();
    let deploy = deploy().display().to_string();
    let configuration = world.python("deploy.py", &[&metrics.display().to_string(), &deploy], "");
    // And the configuration of the pods is one that this binary takes.
    let config = Config::load(Some(&world.write("pods.toml", &configuration))).unwrap();
    assert!(config.ingest.metrics_address.ends_with(":9187"), "the port that probes ask");
    assert!(config.ingest.memory < 1 << 30, "the limit of a pod");
}

#[test]
fn the_services_of_systemd_are_sound() {
    let file = deploy().join("systemd/medallion-ingest.service");
    let text = std::fs::read_to_string(&file).unwrap();
    // What waits for a person is not restarted, and there is time for the last commit.
    for line in ["RestartPreventExitStatus=1 2", "Restart=on-failure", "TimeoutStopSec=15s", "KillSignal=SIGTERM"] {
        assert!(text.lines().any(|l| l == line), "{line}");
    }
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("systemd-analyze is not here: {} is not verified", file.display());
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let unit = dir.path().join("medallion-ingest.service");
    std::fs::write(&unit, text.replace("/usr/local/bin/medallion", env!("CARGO_BIN_EXE_medallion"))).unwrap();
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("medallion-ingest")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
}
