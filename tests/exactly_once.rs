//! Every offset of a real broker is one row in a lake on a real store, ever, whatever happens to the daemons.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::world::World;
use crate::world::real::{Acknowledged, Record, Running, readings, variable, wait_until};

/// The least that Kafka lets a group choose: how long a killed daemon is waited for.
const SESSION_TIMEOUT_MS: &str = "6000";

/// Records that no decoder can take, and the class of the reason that has to stand beside their bytes.
const BROKEN: &[(&[u8], &str)] = &[
    (b"", "empty"),
    (b"\x00\xff\xfe{}", "not_utf8"),
    (b"{\"event_id\": \"cut o", "not_json"),
    (b"[1, 2]", "not_object"),
    (b"{} {}", "more_than_one_value"),
    (b"{\"duration_seconds\": \"long\"}", "wrong_type"),
    (b"{\"duration_seconds\": 99999999999}", "out_of_range"),
    (b"{\"call_start_timestamp\": \"yesterday\"}", "bad_timestamp"),
];

fn numbered(numbers: std::ops::Range<usize>) -> Vec<Record> {
    numbers.map(|n| Record::new(format!("{{\"n\": {n}}}"))).collect()
}

/// The number of each row by partition and offset, which fails where two rows have one place.
fn landed(world: &World) -> Acknowledged {
    let mut rows = Acknowledged::new();
    for row in world.sql("select _partition, _offset, n from bronze.readings") {
        let place = (row[0].parse().unwrap(), row[1].parse().unwrap());
        assert!(rows.insert(place, row[2].parse().unwrap()).is_none(), "{place:?} is there twice");
    }
    rows
}

fn commits(world: &World, table: &str) -> usize {
    let log = format!("{}/bronze/{table}/_delta_log/", world.lake().replacen("s3://", "lake/", 1));
    world.mc(&["ls", &log]).lines().filter(|l| l.ends_with(".json")).count()
}

fn assert_verified(world: &World) -> String {
    let said = world.ok(&["verify"]).out;
    assert!(said.contains("nothing is missing, nothing is double"), "{said}");
    said
}

/// Sends slowly, and never all of them, until told to hurry.
fn feed(world: &World, topic: &str, records: &[Record], budget: &AtomicUsize, hurry: &AtomicBool) -> Acknowledged {
    let mut producer = world.producer(topic);
    for (number, record) in records.iter().enumerate() {
        producer.send(record);
        if !hurry.load(Ordering::Relaxed) && number >= budget.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    producer.finish()
}

/// Hurries the feeds when the test ends, however it does: they would be waited for.
struct Hurry<'a>(&'a AtomicBool);

impl Drop for Hurry<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn records_of_a_foreign_producer_are_one_row_each_though_ingest_is_killed_five_times() {
    const LIVES: usize = 5;
    let world = World::real("killed");
    let calls = world.topic("calls", 4);
    let probes = world.topic("probes", 2);
    let (sms, sessions) = (world.topic("sms", 1), world.topic("sessions", 1));
    let world = world
        .contract_of("call_events", &calls)
        .contract_of("network_probe_events", &probes)
        .contract_of("sms_events", &sms)
        .contract_of("data_session_events", &sessions)
        .contract_of("crm_customers", "")
        .with("MEDALLION_INGEST__FLUSH_INTERVAL", "100ms")
        .with("MEDALLION_KAFKA__PROPERTIES__SESSION_TIMEOUT_MS", SESSION_TIMEOUT_MS);
    let sources = world.path("sources").display().to_string();
    world.ok(&["generate", "--to", &sources, "--crm", &sources, "--events", "12000", "--dirty", "0"]);

    let mut call_records = records_of(&world, "call_events", "caller_msisdn");
    for (number, (bytes, _)) in (0..call_records.len()).step_by(40).zip(BROKEN.iter().cycle()) {
        call_records.insert(number, Record::new(*bytes));
    }
    let probe_records = records_of(&world, "network_probe_events", "tower_id");

    let (budget, hurry) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (call_places, probe_places) = std::thread::scope(|scope| {
        let _hurry = Hurry(&hurry);
        let call_feed = scope.spawn(|| feed(&world, &calls, &call_records, &budget, &hurry));
        let probe_feed = scope.spawn(|| feed(&world, &probes, &probe_records, &budget, &hurry));
        for life in 1..=LIVES {
            let before = commits_if_any(&world, "call_events");
            let daemon = world.daemon(&["ingest"]);
            budget.store(life * call_records.len() / (LIVES + 2), Ordering::Relaxed);
            wait_until("the daemon commits", || commits_if_any(&world, "call_events") > before + 1);
            // Somewhere between fetching, encoding, uploading and committing.
            std::thread::sleep(Duration::from_millis(rand::random_range(0..300)));
            assert!(!call_feed.is_finished(), "records are still to arrive when ingest is killed");
            daemon.kill();
        }
        hurry.store(true, Ordering::Relaxed);
        (call_feed.join().unwrap(), probe_feed.join().unwrap())
    });
    assert_eq!((call_places.len(), probe_places.len()), (call_records.len(), probe_records.len()));
    world.catches_up();

    world.ok(&["load", "crm_customers", "--from", &format!("{sources}/customers-001.csv")]);
    world.ok(&["build"]);
    assert_verified(&world);
    let query = "select _partition, _offset, event_id, _error, encode(_raw, 'hex') from bronze.call_events";
    let rows = by_place(world.sql(query));
    assert_eq!(rows.len(), call_records.len());
    for (place, number) in call_places {
        let [id, error, raw] = &rows[&place][..] else { panic!("three columns") };
        let value = call_records[number].value.as_deref().unwrap();
        match BROKEN.iter().find(|(bytes, _)| *bytes == value) {
            None => assert_eq!((id, error.as_str()), (&field(value, "event_id"), ""), "{place:?}"),
            Some((bytes, class)) => {
                let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
                assert!(error.starts_with(class), "{error} for {class}");
                assert_eq!((id.as_str(), raw), ("", &hex), "{place:?}: {class}");
            }
        }
    }
    let rows = by_place(world.sql("select _partition, _offset, probe_id from bronze.network_probe_events"));
    assert_eq!(rows.len(), probe_records.len());
    for (place, number) in probe_places {
        assert_eq!(rows[&place], [field(probe_records[number].value.as_deref().unwrap(), "probe_id")]);
    }
    let distinct = "select count(distinct event_id) from bronze.call_events where _error is null";
    assert_eq!(world.count("select count(*) from silver.silver_calls"), world.count(distinct));
}

#[test]
fn half_a_million_records_are_one_row_each_though_ingest_is_killed_twenty_times() {
    const LIVES: usize = 20;
    const RECORDS: u32 = 500_000;
    /// Every hundredth record is cut short.
    const BROKEN: u32 = 100;
    let (world, topic) = readings(World::real("half-a-million"), 4);
    // With a name of its own a daemon takes its partitions back at once, and the group does not wait for the dead one.
    let world = world
        .with("MEDALLION_INGEST__FLUSH_INTERVAL", "100ms")
        .with("MEDALLION_INGEST__FLUSH_ROWS", "2000")
        .with("MEDALLION_KAFKA__PROPERTIES__GROUP_INSTANCE_ID", "the-one");
    let records: Vec<Record> = (0..RECORDS)
        .map(|n| Record::new(if n % BROKEN == 0 { format!("{{\"n\": {n}") } else { format!("{{\"n\": {n}}}") }))
        .collect();
    let (budget, hurry) = (AtomicUsize::new(0), AtomicBool::new(false));
    let sent = std::thread::scope(|scope| {
        let _hurry = Hurry(&hurry);
        let feed = scope.spawn(|| feed(&world, &topic, &records, &budget, &hurry));
        for life in 1..=LIVES {
            let before = commits_if_any(&world, "readings");
            let daemon = world.daemon(&["ingest"]);
            budget.store(life * records.len() / (LIVES + 2), Ordering::Relaxed);
            wait_until("the daemon commits", || commits_if_any(&world, "readings") > before + 1);
            // Somewhere between fetching, encoding, uploading and committing.
            std::thread::sleep(Duration::from_millis(rand::random_range(0..100)));
            assert!(!feed.is_finished(), "records are still to arrive when ingest is killed");
            daemon.kill();
        }
        hurry.store(true, Ordering::Relaxed);
        feed.join().unwrap()
    });
    assert_eq!(sent.len(), records.len());
    world.catches_up();
    let table = format!("{}/bronze/readings", world.lake());
    let told = world.python("lake.py", &["numbers", &table], "");
    let landed: Vec<u32> = told.split_whitespace().map(|number| number.parse().unwrap()).collect();
    assert_eq!(landed, [RECORDS, RECORDS, RECORDS / BROKEN, RECORDS - RECORDS / BROKEN, 1, RECORDS - 1]);
    assert_verified(&world);
}

#[test]
fn records_that_are_broken_without_exception_all_land_as_rejected() {
    let (world, topic) = readings(World::real("all-broken"), 2);
    world.kafka(&["numbers", &topic, "1", "20001", "1"]);
    world.catches_up();
    let rejected = "select count(*), count(distinct (_partition, _offset)), count(_raw) from bronze.readings where _error is not null and n is null";
    assert_eq!(world.sql(rejected), [["20000", "20000", "20000"]]);
    assert_verified(&world);
}

/// The lines of a generated stream, with the key that the carrier gives them.
fn records_of(world: &World, stream: &str, key: &str) -> Vec<Record> {
    let text = std::fs::read_to_string(world.path(&format!("sources/{stream}.json"))).unwrap();
    text.lines().map(|line| Record { key: Some(field(line.as_bytes(), key)), ..Record::new(line) }).collect()
}

fn field(record: &[u8], name: &str) -> String {
    let value: serde_json::Value = serde_json::from_slice(record).unwrap();
    value[name].as_str().unwrap_or_default().to_owned()
}

/// Rows of partition, offset and more, which fails where two rows have one place.
fn by_place(rows: Vec<Vec<String>>) -> BTreeMap<(i32, i64), Vec<String>> {
    let mut places = BTreeMap::new();
    for row in rows {
        let place = (row[0].parse().unwrap(), row[1].parse().unwrap());
        assert!(places.insert(place, row[2..].to_vec()).is_none(), "{place:?} is there twice");
    }
    places
}

fn commits_if_any(world: &World, table: &str) -> usize {
    let folder = format!("{}/bronze/", world.lake().replacen("s3://", "lake/", 1));
    match world.mc(&["ls", &folder]).contains(table) {
        true => commits(world, table),
        false => 0,
    }
}

#[test]
fn records_of_kafkas_console_producer_land_as_they_were_sent() {
    let (world, topic) = readings(World::real("console"), 1);
    let lines: String = (0..300).map(|n| format!("key-{n}\t{{\"n\": {n}}}\n")).collect();
    let mut command = Command::new("java");
    command
        .args(["-Xmx128m", "-cp", &format!("{}/*", variable("MEDALLION_TEST_KAFKA_TOOLS"))])
        .args(["org.apache.kafka.tools.ConsoleProducer", "--topic", &topic])
        .args(["--bootstrap-server", &variable("MEDALLION_TEST_KAFKA")])
        .args(["--property", "parse.key=true"])
        .stdout(Stdio::null());
    let file = world.write("lines", &(lines + "key-of-nonsense\tno JSON\n"));
    command.stdin(std::fs::File::open(file).unwrap());
    Running::start(command, world.path("producer")).succeeds();
    world.catches_up();
    let rows =
        world.sql("select _offset, _key, n, _error is null, arrow_cast(_raw, 'Utf8') from bronze.readings order by 1");
    assert_eq!(rows.len(), 301);
    for (n, row) in rows[..300].iter().enumerate() {
        assert_eq!(row[..], [n.to_string(), format!("key-{n}"), n.to_string(), "true".into(), String::new()]);
    }
    assert_eq!(rows[300], ["300", "key-of-nonsense", "", "false", "no JSON"]);
    assert_verified(&world);
}

#[test]
fn aborted_transactions_land_nothing_and_do_not_keep_ingest_from_catching_up() {
    let (world, topic) = readings(World::real("transactions"), 3);
    let to = |partition, numbers| numbered(numbers).into_iter().map(|r| r.to(partition)).collect::<Vec<_>>();
    // Partition 0 ends with what was aborted, partition 1 holds nothing else, partition 2 holds nothing.
    world.transactions(
        &topic,
        &[
            (true, to(0, 0..10)),
            (false, to(0, 1000..1007)),
            (true, to(0, 10..15)),
            (false, [to(0, 1007..1010), to(1, 1010..1014)].concat()),
        ],
    );
    assert_eq!([0, 1, 2].map(|partition| world.end(&topic, partition)), [29, 5, 0]);
    world.catches_up();
    let rows = landed(&world);
    assert_eq!(rows.values().copied().collect::<Vec<_>>(), (0..15).collect::<Vec<_>>());
    assert!(rows.keys().all(|(partition, _)| *partition == 0));
    let said = assert_verified(&world);
    // Each transaction ends with a control record: 15 rows, 10 aborted records and 4 control records; 4 and 1.
    for (partition, line) in [
        (0, "offsets 0 to 29: 15 rows, 0 rejected, 0 tombstones, 14 gaps"),
        (1, "offsets 0 to 5: 0 rows, 0 rejected, 0 tombstones, 5 gaps"),
    ] {
        assert!(said.contains(&format!("{topic} {partition}: {line}")), "{partition}: {said}");
    }
    // The next run goes on behind the control records.
    world.transactions(&topic, &[(true, [to(0, 15..16), to(1, 16..17)].concat())]);
    world.catches_up();
    assert_eq!(landed(&world).into_values().collect::<std::collections::BTreeSet<_>>(), (0..17).collect());
    assert_verified(&world);
}

#[test]
fn tombstones_make_no_row_and_are_counted() {
    let (world, topic) = readings(World::real("tombstones"), 1);
    let mut records = numbered(0..10);
    for place in [0, 4, 4, 12] {
        records.insert(place, Record { key: Some("gone".into()), ..Record::default() });
    }
    world.produce(&topic, &records);
    world.catches_up();
    assert_eq!(landed(&world).into_values().collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    let said = assert_verified(&world);
    assert!(said.contains("offsets 0 to 14: 10 rows, 0 rejected, 4 tombstones, 0 gaps"), "{said}");
}

#[test]
fn two_daemons_on_one_lake_land_each_record_once_also_when_one_wakes_past_its_session() {
    const SHARE: usize = 3000;
    let (world, topic) = readings(World::real("two"), 4);
    world.write(
        "medallion.toml",
        &format!(
            "[kafka.properties]\n\"session.timeout.ms\" = {SESSION_TIMEOUT_MS}\n\"heartbeat.interval.ms\" = 500\n\
             [ingest]\nflush_interval = \"500ms\"\n"
        ),
    );
    let count = || usize::try_from(world.count("select count(*) from bronze.readings")).unwrap();
    let records = numbered(0..4 * SHARE);
    let (budget, hurry) = (AtomicUsize::new(SHARE), AtomicBool::new(false));
    let places = std::thread::scope(|scope| {
        let _hurry = Hurry(&hurry);
        let fed = scope.spawn(|| feed(&world, &topic, &records, &budget, &hurry));
        let first = world.daemon(&["ingest"]);
        wait_until("the first daemon has all partitions", || first.said().contains("partitions=4"));
        let second = world.daemon(&["ingest"]);
        wait_until("the second daemon has its share", || second.said().contains("reading"));
        budget.store(2 * SHARE, Ordering::Relaxed);
        wait_until("both land records", || count() > 2 * SHARE);
        for daemon in [&second, &first] {
            let said = daemon.said();
            assert!(!said.contains("starting over"), "a partition given up in order is taken over in order: {said}");
        }
        first.signal("-STOP");
        wait_until("the second daemon has all partitions", || second.said().contains("partitions=4"));
        budget.store(3 * SHARE, Ordering::Relaxed);
        wait_until("it lands what the first one held", || count() > 3 * SHARE);
        first.signal("-CONT");
        hurry.store(true, Ordering::Relaxed);
        let places = fed.join().unwrap();
        wait_until("all has landed", || count() >= records.len());
        for daemon in [first, second] {
            daemon.signal("-TERM");
            daemon.succeeds();
        }
        places
    });
    assert_eq!(landed(&world), places);
    assert_verified(&world);
}

#[test]
fn a_topic_that_was_made_again_stops_ingest_however_long_it_is_now() {
    let (world, topic) = readings(World::real("again"), 1);
    world.produce(&topic, &numbered(0..100));
    world.catches_up();
    let before = landed(&world);
    world.kafka(&["delete", &topic]);
    world.kafka(&["create", &topic, "1"]);
    for more in [500..510, 510..700] {
        world.produce(&topic, &numbered(more));
        let ended = world.catch_up();
        assert_eq!(ended.code, 3, "{}", ended.err);
        for words in [&topic, "made again", "ingest it into a new table"] {
            assert!(ended.err.contains(words), "`{words}` is not in: {}", ended.err);
        }
    }
    assert_eq!(landed(&world), before);
}

#[test]
fn a_topic_that_is_made_again_under_a_daemon_stops_it() {
    let (world, topic) = readings(World::real("under"), 1);
    world.catches_up();
    world.produce(&topic, &numbered(0..100));
    let mut daemon = world.daemon(&["ingest"]);
    wait_until("the first records are there", || landed(&world).len() == 100);
    let before = landed(&world);
    world.kafka(&["delete", &topic]);
    world.kafka(&["create", &topic, "1"]);
    world.produce(&topic, &numbered(500..700));
    let ended = daemon.ended();
    assert_eq!(ended.code, 3, "{}", ended.err);
    assert!(ended.err.contains("made again"), "{}", ended.err);
    assert_eq!(landed(&world), before);
}

#[test]
fn records_that_retention_took_before_ingest_came_stop_it_at_the_gap() {
    let (world, topic) = readings(World::real("retention"), 1);
    world.produce(&topic, &numbered(0..50));
    world.catches_up();
    let before = landed(&world);
    world.produce(&topic, &numbered(50..100));
    world.kafka(&["delete-records", &topic, "0", "80"]);
    let ended = world.catch_up();
    assert_eq!(ended.code, 3, "{}", ended.err);
    for words in [&topic, "30 records were deleted", "goes on at offset 50", "begins at 80", "retention"] {
        assert!(ended.err.contains(words), "`{words}` is not in: {}", ended.err);
    }
    assert_eq!(landed(&world), before);
}

#[test]
fn sigterm_ends_a_daemon_in_order_while_records_keep_coming() {
    let (world, topic) = readings(World::real("flowing"), 4);
    let world = world.with("MEDALLION_INGEST__FLUSH_ROWS", "5000");
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| world.kafka(&["numbers", &topic, "0", "2000000"]));
        for _ in 0..2 {
            let before = commits_if_any(&world, "readings");
            let daemon = world.daemon(&["ingest"]);
            wait_until("records flow", || commits_if_any(&world, "readings") > before + 1);
            daemon.signal("-TERM");
            daemon.succeeds();
        }
        assert!(!sender.is_finished(), "records had stopped to come");
    });
    world.catches_up();
    assert_eq!(world.count("select count(distinct n) from bronze.readings"), 2_000_000);
    assert_verified(&world);
}

#[test]
fn sigterm_commits_what_is_in_hand() {
    let (world, topic) = readings(World::real("sigterm"), 2);
    let world = world.with("MEDALLION_INGEST__FLUSH_INTERVAL", "1h");
    let places = world.produce(&topic, &numbered(0..500));
    // When a daemon has records in hand cannot be seen from outside; what it had not taken yet, the next one takes.
    for seconds in [2, 4, 8, 16, 32, 64] {
        let daemon = world.daemon(&["ingest"]);
        wait_until("it reads", || daemon.said().contains("reading"));
        std::thread::sleep(Duration::from_secs(seconds));
        daemon.signal("-TERM");
        daemon.succeeds();
        if landed(&world) == places {
            assert_verified(&world);
            return;
        }
    }
    panic!("nothing that was in hand is committed: {:?}", landed(&world).len());
}
