//! The target of a build, from profiles.yml where there is one.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::files;
use super::problem::Problem;
use super::yaml::Document;
use crate::error::{Error, Result, nearest};

/// What `{{ target }}` is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub profile: String,
    pub name: String,
    pub kind: String,
    pub schema: String,
    pub threads: Option<usize>,
}

impl Target {
    /// The target of a project without profiles.yml.
    pub fn standard(profile: &str) -> Self {
        Target {
            profile: profile.to_owned(),
            name: "dev".to_owned(),
            kind: "medallion".to_owned(),
            schema: "main".to_owned(),
            threads: None,
        }
    }
}

/// Where profiles.yml may lie, the first place first, and whether it is one of this project alone.
fn folders(root: &Path, given: Option<&Path>) -> Vec<(PathBuf, bool)> {
    if let Some(folder) = given {
        return vec![(folder.to_path_buf(), true)];
    }
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = variable("HOME").map(|home| (home.join(".dbt"), false));
    let configured = variable("DBT_PROFILES_DIR").map(|folder| (folder, true));
    let here = (PathBuf::from("."), false);
    configured.into_iter().chain([here, (root.to_path_buf(), true)]).chain(home).collect()
}

/// Reads the target from the first profiles.yml that has the profile.
///
/// A file in the home folder, or in the working directory, may serve other projects; that it lacks this one is no mistake.
pub fn read(
    (root, given): (&Path, Option<&Path>),
    profile: &str,
    wanted: Option<&str>,
    warnings: &mut Vec<String>,
    mut render: impl FnMut(&str) -> Result<Value, Problem>,
) -> Result<Target> {
    let mut lacking = None;
    for (folder, is_own) in folders(root, given) {
        let path = folder.join("profiles.yml");
        if !path.is_file() {
            continue;
        }
        let file = path.strip_prefix(".").unwrap_or(&path).display().to_string();
        let mut document = Document::parse(&file, files::read(&folder, "profiles.yml")?)?;
        if document.root.get(profile).is_some() {
            keep_profile(&mut document, profile);
            document.render(|_, _| false, &mut render)?;
            return target(&document, profile, wanted, warnings);
        }
        if is_own && lacking.is_none() {
            let names = document.top().entries()?.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
            let error = document.top().error(format!("there is no profile `{profile}` in this file"));
            lacking = Some(match nearest(profile, names.iter().copied()) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("it has {}", names.join(", "))),
            });
        }
    }
    if let Some(folder) = given.filter(|folder| !folder.join("profiles.yml").is_file()) {
        return Err(Error::input(format!("there is no profiles.yml in {}", folder.display())));
    }
    match (lacking, wanted) {
        (Some(error), _) => Err(error),
        (None, Some(name)) if name != "dev" => Err(Error::input(format!("there is no target `{name}`"))
            .hint(format!("without a profile `{profile}` in a profiles.yml the one target is `dev`"))),
        (None, _) => Ok(Target::standard(profile)),
    }
}

/// Other profiles may name environment variables that are not set here.
fn keep_profile(document: &mut Document, profile: &str) {
    if let Value::Object(map) = &mut document.root {
        map.retain(|key, _| key == profile);
    }
}

fn target(document: &Document, profile: &str, wanted: Option<&str>, warnings: &mut Vec<String>) -> Result<Target> {
    let top = document.top();
    let missing = |what: &str| top.error(format!("the profile `{profile}` has no `{what}`"));
    let at = top.get(profile).ok_or_else(|| missing("outputs"))?;
    let outputs = at.get("outputs").ok_or_else(|| missing("outputs"))?;
    let name = match wanted {
        Some(name) => name.to_owned(),
        None => at.optional_text("target")?.unwrap_or_else(|| "default".to_owned()),
    };
    let Some(output) = outputs.get(&name) else {
        let names: Vec<&str> = outputs.entries()?.into_iter().map(|(name, _)| name).collect();
        let problem = Problem::unknown("target", &name, names.iter().copied());
        return Err(outputs.problem(problem.or_hint(format!("the profile has {}", names.join(", ")))));
    };
    let kind = output.required_text("type")?.to_owned();
    if kind != "medallion" {
        let place = output.place();
        warnings.push(format!(
            "{}:{}: the target `{name}` is of type `{kind}`; only its schema and threads are used",
            place.file, place.line
        ));
    }
    let threads = output.get("threads").map(|at| at.count()).transpose()?;
    Ok(Target {
        profile: profile.to_owned(),
        schema: output.required_text("schema")?.to_owned(),
        threads: threads.and_then(|n| usize::try_from(n).ok()),
        name,
        kind,
    })
}
