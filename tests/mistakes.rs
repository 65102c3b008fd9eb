//! What people get wrong in a project, each with the words that answer it.
//!
//! `tests/mistakes/<name>/` holds the files of one mistake, laid over the project in `tests/mistakes/base`; `command`,
//! if it is there, what is typed instead of `build`; and `expected.txt` the exit code and what is said. After a change
//! for the better, `UPDATE_GOLDEN=1 tests/run mistakes` writes the answers anew: read them as somebody would at night.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use regex::Regex;

use crate::world::{World, lay_over};

/// Mistakes tried at a time; each is a process.
const WORKERS: usize = 4;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes")
}

fn names() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "base")
        .collect();
    names.sort();
    names
}

/// The exit code and what is said of the mistake; what went well, and how long it took, is left out.
fn answer(name: &str) -> String {
    let world = World::new().without("MEDALLION_BUILD__PROJECT");
    let project = world.path("project");
    lay_over(&folder().join("base"), &project);
    lay_over(&folder().join(name), &project);
    let typed = std::fs::read_to_string(project.join("command")).unwrap_or_else(|_| "build".to_owned());
    let output = world.command(&typed.split_whitespace().collect::<Vec<_>>()).current_dir(&project).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap().replace(&world.path("").display().to_string(), "…/");
    let time = Regex::new(r" +\d+\.\d\d s\b").unwrap();
    let clock = Regex::new(r"^\d{4}-\d\d-\d\dT[\d:.]+Z +").unwrap();
    let mut answer = format!("exit {}\n", output.status.code().unwrap_or(-1));
    let mut passed_over = false;
    for line in said.lines() {
        // What is said below a node's line belongs to that node.
        passed_over = ["   ok  ", "fresh  ", " skip  "].iter().any(|word| line.starts_with(word))
            || (passed_over && line.starts_with("         "));
        if passed_over {
            continue;
        }
        writeln!(answer, "{}", clock.replace(&time.replace(line, ""), "").trim_end()).unwrap();
    }
    answer
}

#[test]
fn every_mistake_is_answered_with_its_place_and_what_to_do() {
    let names = names();
    let next = Mutex::new(names.iter());
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(name) = { next.lock().unwrap().next() } {
                    let said = answer(name);
                    let path = folder().join(name).join("expected.txt");
                    let expected = std::fs::read_to_string(&path).unwrap_or_default();
                    if said == expected {
                        continue;
                    }
                    if std::env::var_os("UPDATE_GOLDEN").is_some() {
                        std::fs::write(&path, &said).unwrap();
                    } else {
                        wrong.lock().unwrap().push(format!("== {name}\n-- expected\n{expected}-- said\n{said}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_two_mistakes_are_answered_alike() {
    let mut seen = BTreeMap::new();
    for name in names() {
        let said = std::fs::read_to_string(folder().join(&name).join("expected.txt")).unwrap();
        let before = seen.insert(said, name.clone());
        assert!(before.is_none(), "{name} is answered as {before:?} is");
    }
}
