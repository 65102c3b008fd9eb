//! A schema registry of a test's own, that speaks HTTP and the read side of both REST interfaces: Confluent's and
//! Apicurio's of versions 2 and 3. It can be away, or something else can answer in its place.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Answers,
    /// Connections are closed at once.
    Away,
    /// A proxy answers with this status and a page.
    Proxy(u16),
}

/// A schema as it is registered. Its version is 1.
#[derive(Clone)]
struct Registered {
    id: u32,
    subject: String,
    /// `AVRO`, `PROTOBUF` or `JSON`.
    language: &'static str,
    text: String,
    /// Name and subject.
    references: Vec<(String, String)>,
}

struct State {
    mood: Mood,
    schemas: Vec<Registered>,
    /// The authorization that is asked for.
    authorization: Option<String>,
    /// The paths that were asked for.
    asked: Vec<String>,
}

pub struct Registry {
    address: String,
    state: Arc<Mutex<State>>,
}

impl Registry {
    pub fn start() -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = State { mood: Mood::Answers, schemas: Vec::new(), authorization: None, asked: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = shared.clone();
                std::thread::spawn(move || serve(stream.unwrap(), &shared));
            }
        });
        Registry { address, state }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn mood(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    pub fn only_with(&self, authorization: &str) {
        self.state.lock().unwrap().authorization = Some(authorization.to_owned());
    }

    /// Registers a schema under an id, which is a content id too; the global id is a thousand more.
    pub fn register(&self, id: u32, subject: &str, language: &'static str, text: &str, references: &[(&str, &str)]) {
        let references = references.iter().map(|(name, subject)| ((*name).to_owned(), (*subject).to_owned())).collect();
        let registered = Registered { id, subject: subject.to_owned(), language, text: text.to_owned(), references };
        self.state.lock().unwrap().schemas.push(registered);
    }

    /// The paths asked for so far.
    pub fn asked(&self) -> Vec<String> {
        self.state.lock().unwrap().asked.clone()
    }
}

/// Answers one request and closes the connection.
fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let (status, body) = {
        let mut state = state.lock().unwrap();
        state.asked.push(path.clone());
        match state.mood {
            Mood::Away => return,
            Mood::Proxy(status) => (status, "<html>nginx</html>".to_owned()),
            Mood::Answers => {
                let sent = head.lines().find_map(|line| line.strip_prefix("authorization: ")).map(str::to_owned);
                match state.authorization == sent || state.authorization.is_none() {
                    true => answer(&state.schemas, &path),
                    false => (401, json!({"error_code": 401, "message": "Unauthorized"}).to_string()),
                }
            }
        }
    };
    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    // Whoever asked may have gone.
    let _ = stream.write_all(answer.as_bytes());
}

fn answer(schemas: &[Registered], path: &str) -> (u16, String) {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let by_id = |id: &str, above: u32| schemas.iter().find(|s| id == (s.id + above).to_string());
    let by_subject = |subject: &str| schemas.iter().find(|s| s.subject == subject);
    match parts[..] {
        ["schemas", "types"] => (200, json!(["JSON", "PROTOBUF", "AVRO"]).to_string()),
        ["schemas", "ids", id] => confluent(by_id(id, 0), 40_403),
        ["subjects", subject, "versions", "1" | "latest"] => confluent(by_subject(subject), 40_401),
        ["apis", "registry", version, ref rest @ ..] => match (version, rest) {
            (version, _) if !matches!(version, "v2" | "v3") => apicurio_error("NotFoundException"),
            (_, ["system", "info"]) => (200, json!({"name": "Apicurio Registry"}).to_string()),
            (_, ["ids", "globalIds", id]) => content(by_id(id, 1000)),
            (_, ["ids", "contentIds", id]) => content(by_id(id, 0)),
            (_, ["ids", "globalIds", id, "references"]) => references(by_id(id, 1000)),
            (_, ["ids", "contentIds", id, "references"]) => references(by_id(id, 0)),
            ("v2", ["groups", "default", "artifacts", subject, "meta"])
            | ("v3", ["groups", "default", "artifacts", subject, "versions", "branch=latest"]) => {
                match by_subject(subject) {
                    Some(s) => (200, json!({"globalId": s.id + 1000, "contentId": s.id}).to_string()),
                    None => apicurio_error("ArtifactNotFoundException"),
                }
            }
            ("v2", ["groups", "default", "artifacts", subject, "versions", "1"])
            | ("v3", ["groups", "default", "artifacts", subject, "versions", "1", "content"]) => {
                content(by_subject(subject))
            }
            (_, ["groups", "default", "artifacts", subject, "versions", "1", "references"]) => {
                references(by_subject(subject))
            }
            _ => apicurio_error("NotFoundException"),
        },
        // What a web server says of a wrong path, and Confluent's is one.
        _ => (404, json!({"error_code": 404, "message": "HTTP 404 Not Found"}).to_string()),
    }
}

fn confluent(schema: Option<&Registered>, code: u32) -> (u16, String) {
    let Some(schema) = schema else { return (404, json!({"error_code": code, "message": "not found"}).to_string()) };
    let reference = |(name, subject): &(String, String)| json!({"name": name, "subject": subject, "version": 1});
    let references: Vec<Value> = schema.references.iter().map(reference).collect();
    let mut answer = json!({"schema": schema.text, "id": schema.id, "subject": schema.subject, "version": 1});
    if schema.language != "AVRO" {
        answer["schemaType"] = schema.language.into();
    }
    if !references.is_empty() {
        answer["references"] = references.into();
    }
    (200, answer.to_string())
}

/// Of a schema that is not there it has names of its own; of a path that is not there a plain one.
fn apicurio_error(name: &str) -> (u16, String) {
    (404, json!({"error_code": 404, "name": name, "message": "not found"}).to_string())
}

fn content(schema: Option<&Registered>) -> (u16, String) {
    schema.map_or_else(|| apicurio_error("ContentNotFoundException"), |schema| (200, schema.text.clone()))
}

fn references(schema: Option<&Registered>) -> (u16, String) {
    let reference = |(name, subject): &(String, String)| json!({"groupId": null, "artifactId": subject, "version": "1", "name": name});
    // An id that is not there has no references, but that is no error.
    let all: Vec<Value> = schema.iter().flat_map(|schema| schema.references.iter().map(reference)).collect();
    (200, Value::from(all).to_string())
}
