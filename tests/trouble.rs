//! Trouble with the real servers while ingest runs: it goes on by itself, and each record lands once.

use std::time::Duration;

use crate::world::World;
use crate::world::http::{get, port_of};
use crate::world::proxy::Proxy;
use crate::world::real::{Broker, Record, readings, variable, wait_until};

fn numbered(numbers: std::ops::Range<usize>) -> Vec<Record> {
    numbers.map(|n| Record::new(format!("{{\"n\": {n}}}"))).collect()
}

fn count(world: &World) -> i64 {
    world.count("select count(*) from bronze.readings")
}

fn assert_each_once(world: &World, records: i64) {
    let places =
        "select count(*), count(distinct _partition || ':' || _offset), count(distinct n) from bronze.readings";
    assert_eq!(world.sql(places), [[records.to_string(), records.to_string(), records.to_string()]]);
    assert!(world.ok(&["verify"]).out.contains("nothing is missing, nothing is double"));
}

/// A real store behind a wire of the test's own, and the same store reached directly.
fn behind_a_wire(name: &str) -> (World, World, Proxy, String) {
    let direct = World::real(name);
    let proxy = Proxy::to(variable("MEDALLION_TEST_S3_ENDPOINT").strip_prefix("http://").unwrap());
    let (wired, topic) = readings(World::real(name).on(direct.lake()), 2);
    let wired = wired
        .with("MEDALLION_LAKE__ENDPOINT", &format!("http://{}", proxy.address()))
        .with("MEDALLION_INGEST__FLUSH_INTERVAL", "200ms");
    (wired, direct, proxy, topic)
}

#[test]
fn a_store_that_is_away_for_a_while_is_waited_for() {
    let (wired, direct, proxy, topic) = behind_a_wire("away");
    wired.produce(&topic, &numbered(0..500));
    let daemon = wired.daemon(&["ingest"]);
    wait_until("the first records land", || commits(&direct) > 1 && count(&direct) == 500);
    proxy.cut(true);
    wired.produce(&topic, &numbered(500..1000));
    // Longer than the store's client tries by itself.
    std::thread::sleep(Duration::from_secs(25));
    proxy.cut(false);
    wait_until("the rest lands", || count(&direct) == 1000);
    daemon.signal("-TERM");
    daemon.succeeds();
    assert_each_once(&direct, 1000);
}

#[test]
fn a_commit_whose_answer_is_lost_happens_once() {
    let (wired, direct, proxy, topic) = behind_a_wire("unanswered");
    wired.produce(&topic, &numbered(0..100));
    let daemon = wired.daemon(&["ingest"]);
    wait_until("the first records land", || commits(&direct) > 1 && count(&direct) == 100);
    for n in 1..=5 {
        let lost = proxy.swallowed();
        proxy.swallow_answers("_delta_log/0", 1);
        wired.produce(&topic, &numbered(n * 100..(n + 1) * 100));
        wait_until("an answer is lost", || proxy.swallowed() > lost);
        wait_until("the records land", || count(&direct) == i64::try_from((n + 1) * 100).unwrap());
    }
    daemon.signal("-TERM");
    daemon.succeeds();
    assert_each_once(&direct, 600);
}

fn commits(world: &World) -> usize {
    let log = format!("{}/bronze/readings/_delta_log/", world.lake().replacen("s3://", "lake/", 1));
    world.mc(&["ls", &log]).lines().filter(|l| l.ends_with(".json")).count()
}

#[test]
fn a_broker_that_is_killed_and_started_again_is_waited_for() {
    let mut broker = Broker::start();
    let world = World::real("restart").with_brokers(broker.address());
    let (world, topic) = readings(world, 2);
    world.produce(&topic, &numbered(0..500));
    let daemon = world.daemon(&["ingest"]);
    wait_until("the first records land", || commits(&world) > 1 && count(&world) == 500);
    broker.kill();
    std::thread::sleep(Duration::from_secs(3));
    broker.start_again();
    world.produce(&topic, &numbered(500..1000));
    wait_until("the rest lands", || count(&world) == 1000);
    daemon.signal("-TERM");
    daemon.succeeds();
    assert_each_once(&world, 1000);
}

#[test]
fn a_gap_that_somebody_accepts_is_passed_once_and_verify_tells() {
    let (world, topic) = readings(World::real("accepted"), 1);
    world.produce(&topic, &numbered(0..50));
    world.catches_up();
    world.produce(&topic, &numbered(50..100));
    world.kafka(&["delete-records", &topic, "0", "80"]);
    let refused = world.catch_up();
    assert_eq!(refused.code, 3, "{}", refused.err);
    assert!(refused.err.contains(&format!("--accept-gap {topic}:0")), "{}", refused.err);
    world.ok(&["ingest", "--until-caught-up", "--accept-gap", &format!("{topic}:0")]);
    assert_eq!(world.sql("select count(*), min(n), max(n) from bronze.readings"), [["70", "0", "99"]]);
    let said = world.ok(&["verify"]).out;
    assert!(said.contains("offsets 0 to 100: 70 rows, 0 rejected, 0 tombstones, 0 gaps, 30 lost (accepted)"), "{said}");
    // From then on nothing has to be accepted.
    world.produce(&topic, &numbered(100..110));
    world.catches_up();
    assert_eq!(count(&world), 80);
    world.fails(&["ingest", "--accept-gap", "nothing:7"], 2, &["--accept-gap", "nothing:7"]);
}

#[test]
fn the_port_tells_how_ingest_is_doing_and_whether_it_is_ready() {
    let (wired, direct, proxy, topic) = behind_a_wire("port");
    let mut records = numbered(0..300);
    records.push(Record::new("no JSON"));
    records.push(Record::new("{\"n\": \"many\"}"));
    wired.produce(&topic, &records);
    let daemon = wired.daemon(&["ingest"]);
    let address = port_of(&daemon);
    wait_until("the records land", || commits(&direct) > 1 && count(&direct) == 302);
    let value = |name: &str| {
        let (code, text) = get(&address, "/metrics");
        assert_eq!(code, 200);
        let lines = text.lines().filter(|l| l.split(['{', ' ']).next() == Some(name) && l.contains(&topic));
        lines.map(|l| l.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum::<f64>()
    };
    wait_until("it has caught up", || value("medallion_ingest_rows_total") == 300.0);
    assert_eq!(value("medallion_ingest_rejected_total"), 2.0);
    let metrics = get(&address, "/metrics").1;
    for class in ["not_json", "wrong_type"] {
        let start = format!("medallion_ingest_rejected_total{{topic=\"{topic}\",table=\"bronze.readings\"");
        let line = format!("{start},class=\"{class}\"}} 1");
        assert!(metrics.lines().any(|l| l == line), "`{line}` is not in:\n{metrics}");
    }
    assert!(value("medallion_ingest_commits_total") >= 1.0);
    assert!(value("medallion_ingest_last_commit_age_seconds") < 300.0);
    wait_until("no lag is left", || {
        get(&address, "/metrics").1.contains("lag_records{") && value("medallion_ingest_lag_records") == 0.0
    });
    assert_eq!(get(&address, "/health").0, 200);
    wait_until("it is ready", || get(&address, "/ready").0 == 200);
    proxy.cut(true);
    wait_until("it is not ready", || get(&address, "/ready").0 == 503);
    assert!(get(&address, "/ready").1.starts_with("store: "), "{:?}", get(&address, "/ready"));
    assert_eq!(get(&address, "/health").0, 200);
    proxy.cut(false);
    wait_until("it is ready again", || get(&address, "/ready").0 == 200);
    // Two daemons cannot have one port, and the second says so.
    let second = wired.with("MEDALLION_INGEST__METRICS_ADDRESS", &address);
    second.fails(&["ingest"], 3, &["ingest.metrics_address", &address]);
    daemon.signal("-TERM");
    daemon.succeeds();
}
