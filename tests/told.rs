//! Builds tell others how they ended and what they made of what.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::world::{World, project};

/// An address that takes what is posted, and answers with this status.
fn listener(status: &'static str) -> (String, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/secret-canary", listener.local_addr().unwrap());
    let posted = Arc::new(Mutex::new(Vec::new()));
    let taken = posted.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut length, mut line) = (0, String::new());
            while reader.read_line(&mut line).unwrap() > 2 {
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            taken.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        }
    });
    (address, posted)
}

fn world() -> World {
    let world = project(&[
        ("models/m.sql", "select id, n from {{ ref('rows') }}"),
        ("models/wrong.sql", "select no_such_column from {{ ref('m') }}"),
    ]);
    world.write("project/seeds/rows.csv", "id,n\na,1\n");
    world
}

#[test]
fn a_webhook_gets_the_results_and_its_address_is_shown_nowhere() {
    let (address, posted) = listener("204 No Content");
    let world = world().with("MEDALLION_BUILD__WEBHOOK", &address);
    world.fails(&["build", "-q"], 2, &["wrong"]);
    world.ok(&["build", "-q", "--exclude", "wrong"]);
    let posted = posted.lock().unwrap().clone();
    assert_eq!(posted.len(), 2);
    assert_eq!((&posted[0]["outcome"], &posted[1]["outcome"]), (&"failed".into(), &"success".into()));
    let of = |id: &str| posted[0]["results"].as_array().unwrap().iter().find(|r| r["unique_id"] == id).unwrap().clone();
    assert_eq!(of("model.tiny.m")["status"], "success");
    assert_eq!(of("model.tiny.wrong")["status"], "error");
    assert_eq!(posted[0]["release"]["id"], 1);

    let (refusing, _) = listener("500 Internal Server Error");
    let world = world.with("MEDALLION_BUILD__WEBHOOK", &refusing);
    let warned = world.ok(&["build", "-v", "--exclude", "wrong"]);
    assert!(warned.err.contains("build.webhook was not told"), "{}", warned.err);
    assert!(!warned.err.contains("canary") && !warned.out.contains("canary"), "{}", warned.err);
}

#[test]
fn openlineage_gets_the_build_and_its_nodes_with_what_they_read_and_made() {
    let file = "events.ndjson";
    let world = world();
    let path = world.path(file);
    let world = world.with("MEDALLION_BUILD__OPENLINEAGE", &path.display().to_string());
    world.fails(&["build", "-q"], 2, &["wrong"]);
    let text = std::fs::read_to_string(&path).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |job: &str| -> Vec<&Value> { events.iter().filter(|e| e["job"]["name"] == job).collect() };
    let kinds = |job: &str| of(job).iter().map(|e| e["eventType"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(kinds("tiny"), ["START", "FAIL"]);
    assert_eq!(kinds("tiny.m"), ["START", "COMPLETE"]);
    assert_eq!(kinds("tiny.wrong"), ["START", "FAIL"]);
    let made = of("tiny.m")[1];
    assert_eq!(made["inputs"][0]["name"], "gold.rows");
    assert_eq!(made["outputs"][0]["name"], "gold.m");
    let fields = made["outputs"][0]["facets"]["schema"]["fields"].as_array().unwrap();
    assert_eq!(fields.iter().map(|f| f["name"].as_str().unwrap()).collect::<Vec<_>>(), ["id", "n"]);
    assert_eq!(made["run"]["facets"]["parent"]["run"]["runId"], events[0]["run"]["runId"]);
    assert!(
        of("tiny.wrong")[1]["run"]["facets"]["errorMessage"]["message"].as_str().unwrap().contains("no_such_column")
    );
}
