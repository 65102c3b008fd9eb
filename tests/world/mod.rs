//! A small world: a lake in a folder of its own, the binary under test, and what a test wants to say to both.

pub mod broker;
pub mod faulty;
pub mod hooked;
pub mod http;
pub mod inside;
pub mod proxy;
pub mod real;
pub mod registry;
pub mod secure;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The privacy key of every test world: not a secret of anybody's.
pub const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Nothing here takes a tenth of this, save on a machine that is busy with something else.
pub const PATIENCE: Duration = Duration::from_secs(300);

pub struct World {
    dir: TempDir,
    lake: String,
    environment: BTreeMap<String, String>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// A world with a dbt project of its own, whose tables are in `gold`.
pub fn project(files: &[(&str, &str)]) -> World {
    let world = World::new();
    world.write(
        "project/dbt_project.yml",
        "name: tiny\nversion: '1.0'\nprofile: tiny\nmodels: {tiny: {+schema: gold, +materialized: table}}\n",
    );
    let names = "{% macro generate_schema_name(custom, node) %}{{ custom or 'gold' }}{% endmacro %}";
    world.write("project/macros/names.sql", names);
    for (name, text) in files {
        world.write(&format!("project/{name}"), text);
    }
    let folder = world.path("project").display().to_string();
    world.with("MEDALLION_BUILD__PROJECT", &folder)
}

/// Copies the files of a folder into another, over what is there.
pub fn lay_over(from: &Path, folder: &Path) {
    for entry in walkdir::WalkDir::new(from).into_iter().map(Result::unwrap).filter(|e| e.file_type().is_file()) {
        let path = folder.join(entry.path().strip_prefix(from).unwrap());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::copy(entry.path(), path).unwrap();
    }
}

impl World {
    /// A world whose lake is an empty folder.
    pub fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let lake = dir.path().join("lake").display().to_string();
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("dbt_like_models");
        let environment = [
            ("MEDALLION_PII_KEY", KEY.to_owned()),
            ("MEDALLION_BUILD__PROJECT", project.display().to_string()),
            ("MEDALLION_INGEST__METRICS_ADDRESS", "127.0.0.1:0".to_owned()),
            ("NO_COLOR", "1".to_owned()),
        ];
        World { lake, environment: environment.map(|(k, v)| (k.to_owned(), v)).into(), dir }
    }

    /// The same world with its lake somewhere else, such as `s3://bucket/prefix`.
    pub fn on(mut self, lake: &str) -> World {
        self.lake = lake.to_owned();
        self
    }

    pub fn with(mut self, variable: &str, value: &str) -> World {
        self.environment.insert(variable.to_owned(), value.to_owned());
        self
    }

    pub fn without(mut self, variable: &str) -> World {
        self.environment.remove(variable);
        self
    }

    /// Reads from and writes to this broker.
    pub fn with_brokers(self, brokers: &str) -> World {
        self.with("MEDALLION_KAFKA__BROKERS", brokers)
    }

    pub fn setting(&self, variable: &str) -> &str {
        &self.environment[variable]
    }

    pub fn lake(&self) -> &str {
        &self.lake
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file into the world's folder, making the folders on its way.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The binary with this world's lake and environment; its working directory is the world's folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_medallion"));
        // A setting of whoever runs the tests is none of theirs.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MEDALLION_")) {
            command.env_remove(name);
        }
        command.args(arguments).args(["--lake", &self.lake]).current_dir(self.dir.path()).envs(&self.environment);
        command
    }

    /// Runs the binary to its end, for which it has a generous time.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (read(child.stdout.take().unwrap()), read(child.stderr.take().unwrap()));
        let began = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if began.elapsed() > PATIENCE {
                child.kill().unwrap();
                panic!("{arguments:?} does not end:\n{}", err.join().unwrap());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        Ended { code: status.code().unwrap_or(-1), out: out.join().unwrap(), err: err.join().unwrap() }
    }

    /// Runs the binary, which has to succeed.
    pub fn ok(&self, arguments: &[&str]) -> Ended {
        let ended = self.run(arguments);
        assert_eq!(ended.code, 0, "{arguments:?} failed:\n{}\n{}", ended.out, ended.err);
        ended
    }

    /// Runs the binary, which has to fail with this code and these words on standard error.
    pub fn fails(&self, arguments: &[&str], code: i32, words: &[&str]) -> Ended {
        let ended = self.run(arguments);
        assert_eq!(ended.code, code, "{arguments:?}:\n{}\n{}", ended.out, ended.err);
        for word in words {
            assert!(ended.err.contains(word), "`{word}` is not in:\n{}", ended.err);
        }
        ended
    }

    /// Starts the binary and leaves it running.
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// The rows of a query, without the header, each value as CSV writes it.
    pub fn sql(&self, query: &str) -> Vec<Vec<String>> {
        let ended = self.ok(&["sql", "-q", "--format", "csv", "-c", query]);
        let mut reader = csv::Reader::from_reader(ended.out.as_bytes());
        reader.records().map(|r| r.unwrap().iter().map(str::to_owned).collect()).collect()
    }

    /// The one number that a query answers.
    pub fn count(&self, query: &str) -> i64 {
        let rows = self.sql(query);
        rows[0][0].parse().unwrap_or_else(|_| panic!("{query} answered {rows:?}"))
    }
}

fn read(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        text
    })
}
