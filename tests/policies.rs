//! The main job works with the four roles of minio/, and none of them may do more than its part.

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::world::World;
use crate::world::real::{Record, variable, wait_until};

/// MinIO takes 8 characters or more.
const SECRET: &str = "secret-of-a-test";

/// The policies speak of one bucket and one lake, so these tests take turns.
static LAKE: Mutex<()> = Mutex::new(());

/// The lake of the policies, empty, with its users. Setting it up twice does no harm.
fn deployed() -> (World, MutexGuard<'static, ()>) {
    static SET_UP: OnceLock<()> = OnceLock::new();
    let turn = LAKE.lock().unwrap_or_else(PoisonError::into_inner);
    SET_UP.get_or_init(|| {
        for _ in 0..2 {
            let output = Command::new("sh")
                .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("minio/setup.sh"))
                .env("MC", variable("MEDALLION_TEST_MC"))
                .env("MINIO_ENDPOINT", variable("MEDALLION_TEST_S3_ENDPOINT"))
                .env("MINIO_ROOT_USER", variable("AWS_ACCESS_KEY_ID"))
                .env("MINIO_ROOT_PASSWORD", variable("AWS_SECRET_ACCESS_KEY"))
                .envs(
                    ["INGEST_SECRET_KEY", "CARE_SECRET_KEY", "BUILD_SECRET_KEY", "SERVE_SECRET_KEY"]
                        .map(|name| (name, SECRET)),
                )
                .output()
                .unwrap();
            assert!(output.status.success(), "minio/setup.sh: {}", String::from_utf8_lossy(&output.stderr));
        }
    });
    let world = World::real("policies").on("s3://lakehouse/lake");
    world.mc(&["rm", "--recursive", "--force", "lake/lakehouse/"]);
    (world, turn)
}

fn is(world: World, role: &str) -> World {
    world.with("AWS_ACCESS_KEY_ID", role).with("AWS_SECRET_ACCESS_KEY", SECRET)
}

/// Every object of the lake with its size and its ETag.
fn objects(world: &World, folder: &str) -> String {
    world.mc(&["ls", "--recursive", "--json", &format!("lake/lakehouse/lake/{folder}")])
}

#[test]
fn ingest_build_and_sql_do_the_main_job_each_with_its_own_role() {
    let (world, _turn) = deployed();
    let world = is(world.with_carrier(1500), "ingest");
    let contract = std::fs::read_to_string(world.path("contracts/call_events.sql")).unwrap();
    let calls_topic = contract.split('\'').find(|word| word.starts_with("call_events-")).unwrap().to_owned();
    world.catches_up();
    world.ok(&["load", "crm_customers", "--from", "sources/customers-001.csv"]);
    let bronze = objects(&world, "bronze/");
    // Ingest has no part in what is built, and must not begin it.
    let ended = world.fails(&["build"], 3, &["policy of that user"]);
    assert_eq!((objects(&world, "silver/"), objects(&world, "gold/")), (String::new(), String::new()), "{}", ended.err);

    let world = is(world, "build");
    world.ok(&["build"]);
    assert_eq!(objects(&world, "bronze/"), bronze, "a build leaves Bronze as it is");
    assert!(world.ok(&["verify"]).out.contains("nothing is missing"));
    let (calls, plans) = ("select count(*) from gold.fact_calls", "select count(*) from gold.dim_customers");
    let expected = (world.count(calls), world.count(plans));
    assert!(expected.0 > 0 && expected.1 > 0);
    // It cannot take the part of ingest either.
    world.produce(&calls_topic, &[Record::new("{}")]);
    let ended = world.catch_up();
    assert_eq!(ended.code, 3, "{}", ended.err);
    world.write("more.csv", "customer_id,updated_at\nCUST-00000001,2025-03-20T00:00:00Z\n");
    world.fails(&["load", "crm_customers", "--from", "more.csv"], 3, &["policy of that user"]);
    assert_eq!(objects(&world, "bronze/"), bronze);

    let world = is(world, "serve");
    assert_eq!((world.count(calls), world.count(plans)), expected);
    for table in ["bronze.call_events", "silver.silver_calls"] {
        let ended = world.run(&["sql", "-c", &format!("select count(*) from {table}")]);
        assert_ne!(ended.code, 0, "{}", ended.out);
        assert!(!ended.err.contains("panic"), "{}", ended.err);
    }
    world.fails(&["build"], 3, &["policy of that user"]);

    // Back to the first: ingest goes on where it was.
    let world = is(world, "ingest");
    world.catches_up();
    assert_ne!(objects(&world, "bronze/"), bronze);
}

#[test]
fn no_role_may_do_more_than_its_part() {
    let (world, _turn) = deployed();
    world.write("new", "new");
    let new = world.path("new").display().to_string();
    let layers = ["bronze", "silver", "gold", "_medallion"];
    for layer in layers {
        world.mc(&["cp", &new, &format!("lake/lakehouse/lake/{layer}/canary/old")]);
    }
    world.mc(&["cp", &new, "lake/lakehouse/elsewhere/old"]);
    let read = |role, layer| world.mc_as(role, SECRET, &["cat", &format!("lake/lakehouse/lake/{layer}/canary/old")]);
    let list = |role, layer| world.mc_as(role, SECRET, &["ls", &format!("lake/lakehouse/lake/{layer}/canary/")]);
    let write =
        |role, layer| world.mc_as(role, SECRET, &["cp", &new, &format!("lake/lakehouse/lake/{layer}/canary/{role}")]);
    let delete = |role, layer| world.mc_as(role, SECRET, &["rm", &format!("lake/lakehouse/lake/{layer}/canary/old")]);
    for (role, reads, writes) in [
        ("ingest", &["bronze"][..], &["bronze"][..]),
        ("care", &["bronze"], &["bronze"]),
        ("build", &layers[..], &layers[1..]),
        ("serve", &layers[2..], &[][..]),
    ] {
        for layer in layers {
            let allowed = |ended: crate::world::Ended, is: bool, what: &str| {
                assert_eq!(ended.code == 0, is, "{role} may {what} {layer}? {}{}", ended.out, ended.err);
                let refused = ["Access Denied", "Insufficient permissions"];
                assert!(is || refused.iter().any(|r| ended.err.contains(r)), "{}", ended.err);
            };
            allowed(read(role, layer), reads.contains(&layer), "read");
            allowed(list(role, layer), reads.contains(&layer), "list");
            allowed(write(role, layer), writes.contains(&layer), "write");
            // Ingest only ever adds; what care and build may delete is tried below.
            if !matches!((role, layer), ("care", "bronze") | ("build", "silver" | "gold" | "_medallion")) {
                allowed(delete(role, layer), false, "delete from");
            }
        }
        let elsewhere = world.mc_as(role, SECRET, &["cat", "lake/lakehouse/elsewhere/old"]);
        assert_ne!(elsewhere.code, 0, "{role} reads outside the lake");
    }
    for layer in layers {
        world.mc(&["stat", &format!("lake/lakehouse/lake/{layer}/canary/old")]);
    }
    for layer in &layers[1..] {
        assert_eq!(delete("build", layer).code, 0, "build clears away what it wrote in {layer}");
    }
    assert_eq!(delete("care", "bronze").code, 0, "care clears away what no version needs");
}

#[test]
fn ingest_compacts_without_deleting_and_care_clears_away() {
    let (world, _turn) = deployed();
    let topic = world.topic("readings", 1);
    let contract =
        format!("CREATE TABLE readings (n BIGINT) WITH (topic = '{topic}', format = 'json', timezone = 'UTC');");
    let world = is(world.contract("readings", &contract), "ingest")
        .with("MEDALLION_INGEST__FLUSH_ROWS", "1")
        .with("MEDALLION_CARE__INTERVAL", "300ms")
        .with("MEDALLION_CARE__MIN_AGE", "1ms")
        .with("MEDALLION_CARE__LOG_RETENTION", "100ms");
    let entries = |world: &World| objects(world, "bronze/readings/_delta_log/").matches(".json").count();

    let daemon = world.daemon(&["ingest"]);
    let mut producer = world.producer(&topic);
    let refused = "this user may not delete";
    let mut sent = 0;
    wait_until("the daemon has a log to shorten, and may not", || {
        // Past what it takes to its first checkpoint the daemon gets time for all else.
        if sent > 120 {
            std::thread::sleep(Duration::from_millis(500));
        }
        producer.send(&Record::new(format!("{{\"n\": {sent}}}")));
        sent += 1;
        daemon.said().contains(refused)
    });
    producer.finish();
    daemon.signal("-TERM");
    assert_eq!(daemon.said().matches(refused).count(), 1, "it says so once");
    daemon.succeeds();
    world.catches_up();
    let before = entries(&world);
    assert!(before > 100, "{before} entries");
    assert!(world.ok(&["compact", "readings"]).out.contains(refused));
    let history = world.mc(&["find", "lake/lakehouse/lake/bronze/readings/_delta_log", "--name", "*.json"]);
    let compactions = history.lines().filter(|entry| world.mc(&["cat", entry]).contains("OPTIMIZE")).count();
    assert!(compactions > 0, "nothing was compacted");

    let world = is(world, "care");
    let told = world.ok(&["compact"]).out;
    assert!(told.contains("files of the log deleted"), "{told}");
    assert!(entries(&world) < before);
    assert!(world.ok(&["vacuum"]).out.contains("bronze.readings: nothing to delete"));
    // None of the two roles reads releases, without which there is no SQL; the proof of rows needs Bronze alone.
    let proven = world.ok(&["verify"]).out;
    assert!(proven.contains(&format!(": {sent} rows, 0 rejected")), "{sent} of {proven}");

    // Ingest goes on from what is left.
    world.produce(&topic, &[Record::new("{\"n\": -1}")]);
    let world = is(world, "ingest");
    world.catches_up();
    let proven = world.ok(&["verify"]).out;
    assert!(proven.contains(&format!(": {} rows, 0 rejected", sent + 1)), "{} of {proven}", sent + 1);
}
