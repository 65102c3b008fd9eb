//! The table of `src/lib.rs`, who may call whom, held against the imports.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use regex::Regex;

/// The rooms from the top down. A room may call those of the lines below its own, and none beside it.
const FLOORS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["ingest", "load", "build", "shell", "generate", "docs", "care"],
    &["engine", "maintenance"],
    &["models", "contracts", "lake"],
    &["registry"],
    &["config"],
    &["error", "runtime"],
];
const LONGEST_FILE: usize = 600;

/// A source file with its path in the crate: `src/lake/log.rs` is `["lake", "log"]`.
struct Source {
    file: PathBuf,
    module: Vec<String>,
    text: String,
}

/// All of `src` but for modules of tests.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(&root).sort_by_file_name().into_iter().map(Result::unwrap) {
        let file = entry.path();
        if file.extension().is_none_or(|e| e != "rs") {
            continue;
        }
        let inside = file.strip_prefix(&root).unwrap().with_extension("");
        let mut module: Vec<String> = inside.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        if module.iter().any(|part| part == "tests") {
            continue;
        }
        if module.last().unwrap() == "mod" {
            module.pop();
        }
        let text = std::fs::read_to_string(file).unwrap();
        found.push(Source { file: file.strip_prefix(root.parent().unwrap()).unwrap().to_owned(), module, text });
    }
    assert!(found.len() > 50, "only {} files found in {}", found.len(), root.display());
    found
}

/// The code alone: no comments, and nothing of `#[cfg(test)]`, which stands at the end of a file.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or(text);
    code.lines().map(|line| line.split("//").next().unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// The rooms that a file names, by `crate::room`, `use crate::{room, ...}` or `super::` up to the root.
fn called(source: &Source) -> BTreeSet<String> {
    let code = code(&source.text);
    let mut rooms = BTreeSet::new();
    for found in Regex::new(r"\b(?:crate|medallion)::(\w+)").unwrap().captures_iter(&code) {
        rooms.insert(found[1].to_owned());
    }
    for found in Regex::new(r"\bcrate::\{([^;]*)\}").unwrap().captures_iter(&code) {
        // Names at the first depth of the braces.
        let mut depth = 0;
        let mut first = String::new();
        for c in found[1].chars() {
            depth += i32::from(c == '{') - i32::from(c == '}');
            first.extend((depth == 0).then_some(c));
        }
        rooms.extend(
            first.split(',').map(|n| n.trim().split("::").next().unwrap().to_owned()).filter(|n| !n.is_empty()),
        );
    }
    for found in Regex::new(r"\b((?:super::)+)(\w+)").unwrap().captures_iter(&code) {
        if found[1].matches("super::").count() >= source.module.len() {
            rooms.insert(found[2].to_owned());
        }
    }
    rooms
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&room))
}

#[test]
fn a_room_calls_those_below_it_and_none_beside_or_above() {
    let mut wrong = Vec::new();
    let mut calls: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources().iter().filter(|s| s.module != ["lib"]) {
        let room = &source.module[0];
        let Some(own) = floor(room) else {
            wrong.push(format!("{}: the room `{room}` is not in the table", source.file.display()));
            continue;
        };
        for other in called(source).iter().filter(|other| *other != room) {
            match floor(other) {
                Some(floor) if floor > own => drop(calls.entry(room.clone()).or_default().insert(other.clone())),
                Some(_) => wrong.push(format!("{}: `{room}` calls `{other}`", source.file.display())),
                None => wrong.push(format!("{}: `{other}` is no room", source.file.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The reading of imports is itself held: these are known to be there.
    for (room, other) in [("main", "cli"), ("cli", "build"), ("build", "engine"), ("engine", "lake"), ("lake", "error")]
    {
        assert!(calls[room].contains(other), "{room} does not call {other}: are imports still read?");
    }
}

#[test]
fn the_table_of_the_library_names_every_room_and_its_floor() {
    let lib = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let declared: BTreeSet<&str> =
        Regex::new(r"(?m)^pub mod (\w+);").unwrap().captures_iter(&lib).map(|m| m.get(1).unwrap().as_str()).collect();
    let known: BTreeSet<&str> = FLOORS.iter().flat_map(|f| f.iter().copied()).filter(|room| *room != "main").collect();
    assert_eq!(declared, known);
    let picture: Vec<&str> = lib.lines().take_while(|l| l.starts_with("//!")).collect();
    let line = |room: &str| {
        let word = Regex::new(&format!(r"(─> |[├└]─> ){room}\b|^//! +{room}\b")).unwrap();
        picture.iter().position(|l| word.is_match(l)).unwrap_or_else(|| panic!("`{room}` is not in the picture"))
    };
    for pair in FLOORS.windows(2) {
        for (upper, lower) in pair[0].iter().flat_map(|u| pair[1].iter().map(move |l| (u, l))) {
            assert!(line(upper) <= line(lower), "the picture shows {upper} below {lower}");
        }
    }
}

#[test]
fn no_room_and_no_file_is_called_utils_or_common() {
    for source in sources() {
        let vague = ["utils", "util", "common", "helpers", "helper", "misc", "shared"];
        let found = source.module.iter().find(|part| vague.contains(&part.as_str()));
        assert_eq!(found, None, "{}", source.file.display());
    }
}

#[test]
fn every_file_opens_with_its_promise_and_is_short_enough_to_read() {
    for source in sources() {
        assert!(source.text.starts_with("//! "), "{} does not open with //!", source.file.display());
        let lines = source.text.lines().count();
        assert!(lines <= LONGEST_FILE, "{} has {lines} lines", source.file.display());
    }
}

#[test]
fn only_the_lake_opens_stores_and_only_the_engine_makes_sessions() {
    let owned = [
        ("lake", r"LocalFileSystem|AmazonS3Builder|DeltaTable::|DeltaTableBuilder|open_table\("),
        ("engine", r"SessionContext::new|SessionStateBuilder|SessionConfig::"),
    ];
    for (room, what) in owned {
        let what = Regex::new(what).unwrap();
        let users: BTreeSet<String> =
            sources().iter().filter(|s| what.is_match(&code(&s.text))).map(|s| s.module[0].clone()).collect();
        assert_eq!(users, BTreeSet::from([room.to_owned()]), "{what}");
    }
}
