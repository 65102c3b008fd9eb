//! The table of dbt's surface: every key, verb, selector and name of the context that the code knows has a row in
//! `tests/surface.txt` with the test that shows it, or is refused by name with its reason in `docs/dbt.md`.
//!
//! What the code knows is read off its own lists, and its verbs off the binary: a name that one side lacks fails.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regex::Regex;
use walkdir::WalkDir;

use crate::world::World;

const TABLE: &str = include_str!("surface.txt");
const GUIDE: &str = include_str!("../docs/dbt.md");

/// Commands that dbt does not have.
const OURS: &[&str] = &[
    "compact", "demo", "diff", "forget", "generate", "ingest", "load", "monitor", "replay", "report", "restore",
    "retain", "serve", "sql", "status", "vacuum", "validate", "verify", "help",
];

/// The lists of the code by area: the file or folder of src/models they stand in, those of what is supported, and those
/// of what is refused.
const LISTS: &[(&str, &str, &[&str], &[&str])] = &[
    ("project", "project", &["KNOWN"], &["UNSUPPORTED"]),
    ("config", "config", &["MODEL", "SEED", "SNAPSHOT", "SOURCE", "TEST", "UNIT_TEST"], &["UNSUPPORTED"]),
    (
        "property",
        "properties",
        &["TOP", "NODE", "COLUMN", "SOURCE", "TABLE", "SNAPSHOT", "UNIT_TEST", "EXPOSURE", "GROUP"],
        &["TOP_UNSUPPORTED", "NODE_UNSUPPORTED", "COLUMN_UNSUPPORTED", "SOURCE_UNSUPPORTED", "TABLE_UNSUPPORTED"],
    ),
    ("selector", "select", &["METHODS"], &["UNSUPPORTED_METHODS"]),
    ("context", "", &["FUNCTIONS", "VARIABLES"], &[]),
    ("context", "context", &[], &["UNSUPPORTED"]),
];

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    area: String,
    name: String,
}

fn row(area: &str, name: &str) -> Row {
    Row { area: area.to_owned(), name: name.to_owned() }
}

/// The rows of the table, each with its test, or with none if it is refused.
fn table() -> BTreeMap<Row, Option<String>> {
    let mut rows = BTreeMap::new();
    let mut area = "";
    for line in TABLE.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            area = name;
            continue;
        }
        let (name, test) = line.rsplit_once(' ').unwrap_or_else(|| panic!("`{line}` is no row"));
        let test = (test != "refused").then(|| test.to_owned());
        let before = rows.insert(row(area, name.trim()), test);
        assert!(before.is_none(), "{area}: `{}` stands in the table twice", name.trim());
    }
    rows
}

fn sources(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = WalkDir::new(root.join(folder)).into_iter().map(Result::unwrap);
    let files = files.filter(|e| e.path().extension().is_some_and(|x| x == "rs"));
    files
        .map(|e| {
            let path = e.path().strip_prefix(root).unwrap().display().to_string();
            (path, std::fs::read_to_string(e.path()).unwrap())
        })
        .collect()
}

/// The names in a list: the first text of each of its items.
fn names_in(list: &str) -> Vec<String> {
    let tuple = Regex::new(r#"\(\s*"([^"]+)",\s*(?:Shape|&?\[)"#).unwrap();
    let text = Regex::new(r#""([^"]+)""#).unwrap();
    let pattern = if tuple.is_match(list) { tuple } else { text };
    pattern.captures_iter(list).map(|c| c[1].to_owned()).collect()
}

/// What the code knows: each name, and whether it is supported.
fn known() -> BTreeMap<Row, bool> {
    let models = sources("src/models");
    let mut known = BTreeMap::new();
    for (area, place, supported, refused) in LISTS {
        let mut found = 0;
        let beside = [format!("src/models/{place}.rs"), format!("src/models/{place}/")];
        let here = |path: &str| place.is_empty() || path == beside[0] || path.starts_with(&beside[1]);
        for (_, text) in models.iter().filter(|(path, _)| here(path) && !path.contains("tests")) {
            // Refused first: a name that one place takes and another does not counts as taken.
            for (lists, is_supported) in [(refused, false), (supported, true)] {
                for name in lists.iter() {
                    let list = Regex::new(&format!(r"(?s)const {name}: [^=]+=\s*&?\[(.*?)\];")).unwrap();
                    for captures in list.captures_iter(text) {
                        found += 1;
                        for name in names_in(&captures[1]) {
                            let known = known.entry(row(area, &name)).or_insert(is_supported);
                            *known |= is_supported;
                        }
                    }
                }
            }
        }
        assert!(found > 0, "no list of {area} was found; LISTS says where they stand");
    }
    known
}

fn verbs() -> BTreeSet<String> {
    let help = World::new().ok(&["--help"]).out;
    let commands = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let names = commands.lines().filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
    names.filter(|name| !name.starts_with('-') && !OURS.contains(name)).map(str::to_owned).collect()
}

#[test]
fn every_name_of_dbt_that_the_code_knows_has_its_row_and_every_row_its_name() {
    let table = table();
    let mut known = known();
    known.extend(verbs().iter().map(|verb| (row("verb", verb), true)));
    let areas: BTreeSet<String> = known.keys().map(|r| r.area.clone()).collect();
    let mut wrong = Vec::new();
    for (Row { area, name }, is_supported) in &known {
        let has = table.get(&row(area, name)).map(Option::is_some);
        if has != Some(*is_supported) {
            let word = if *is_supported { "supported" } else { "refused" };
            wrong.push(format!("[{area}] {name}: the code has it as {word}, the table says otherwise or nothing"));
        }
    }
    for Row { area, name } in table.keys().filter(|r| areas.contains(&r.area) && !known.contains_key(r)) {
        // A verb that is not there is refused by the command line itself.
        if !(area == "verb" && table[&row(area, name)].is_none()) {
            wrong.push(format!("[{area}] {name}: the table has it, the code does not"));
        }
    }
    assert!(wrong.is_empty(), "tests/surface.txt:\n{}", wrong.join("\n"));
}

#[test]
fn what_is_supported_is_shown_by_a_test_that_exists() {
    let texts: Vec<String> = sources("src").into_iter().chain(sources("tests")).map(|(_, text)| text).collect();
    let all = texts.join("\n");
    let functions = Regex::new(r"#\[(?:tokio::)?test[^\n]*\n(?:\s*#\[[^\n]*\n)*\s*(?:async )?fn (\w+)").unwrap();
    let mut tests: BTreeSet<String> = functions.captures_iter(&all).map(|c| c[1].to_owned()).collect();
    let properties = Regex::new(r"(?s)proptest! \{.*?\n    fn (\w+)").unwrap();
    tests.extend(properties.captures_iter(&all).map(|c| c[1].to_owned()));
    let table = table();
    let missing: Vec<String> = table
        .iter()
        .filter_map(|(row, test)| Some((row, test.as_ref()?)))
        .filter(|(_, test)| !tests.contains(*test))
        .map(|(row, test)| format!("[{}] {}: there is no test {test}", row.area, row.name))
        .collect();
    assert!(missing.is_empty(), "tests/surface.txt:\n{}", missing.join("\n"));
}

#[test]
fn what_is_refused_has_its_reason_in_the_guide() {
    let refused = GUIDE.split("## What is refused, and why").nth(1).expect("the guide has that chapter");
    let reasons: Vec<&str> = refused.lines().filter(|line| line.starts_with("| ")).collect();
    let has = |name: &str| {
        reasons.iter().any(|line| {
            let mut cells = line.split('|').map(str::trim).skip(1);
            let named = cells.next().is_some_and(|names| names.contains(&format!("`{name}`")));
            named && cells.next().is_some_and(|reason| reason.len() > 3)
        })
    };
    let missing: Vec<String> = table()
        .iter()
        .filter(|(row, test)| test.is_none() && !has(&row.name))
        .map(|(row, _)| format!("[{}] {}", row.area, row.name))
        .collect();
    assert!(missing.is_empty(), "docs/dbt.md says nothing of why these are refused:\n{}", missing.join("\n"));
}
