//! Small projects in a folder of their own, and what loading and compiling makes of them.

mod artifacts;
mod asking;
mod compiling;
mod configuring;
mod loading;
mod templates;
mod testing;
mod values;

use std::path::Path;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::{Options, Project, RunContext, load};
use crate::error::Error;

/// A project under construction. It is called `shop`; a file of the same path replaces an earlier one.
pub struct Files(TempDir);

impl Files {
    pub fn new() -> Self {
        Files(tempfile::tempdir().unwrap()).with("dbt_project.yml", "name: shop\n")
    }

    pub fn with(self, path: &str, text: &str) -> Self {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub fn model(self, name: &str, sql: &str) -> Self {
        self.with(&format!("models/{name}.sql"), sql)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn load(&self) -> Project {
        self.load_with(json!({})).unwrap()
    }

    pub fn load_with(&self, vars: Value) -> Result<Project, Error> {
        let vars: Map<String, Value> = vars.as_object().unwrap().clone();
        load(self.path(), &Options { vars, ..Options::default() })
    }

    pub fn error(&self) -> String {
        match self.load_with(json!({})) {
            Ok(_) => panic!("this project should not load"),
            Err(e) => e.to_string(),
        }
    }

    /// The compiled model `m`, its blank ends cut off.
    pub fn compiled(&self) -> String {
        compiled(&self.load(), "model.shop.m")
    }
}

pub fn compiled(project: &Project, unique_id: &str) -> String {
    project.compile(unique_id, &RunContext::default()).unwrap().sql.trim().to_owned()
}

/// A project whose one model `m` is this.
pub fn model(sql: &str) -> Files {
    Files::new().model("m", sql)
}

#[track_caller]
pub fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}
