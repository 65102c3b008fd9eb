//! Packages: projects that lie below `dbt_packages/` and lend their macros, models, seeds and tests. There is no hub to
//! fetch them from: `medallion deps` links those that are declared with a path, the others are put there by hand.

use std::path::{Path, PathBuf};

use super::files;
use super::problem::Problem;
use super::project::{self, FILE};
use super::yaml::{At, Document};
use crate::error::{Error, Result};

/// Where packages are declared.
const DECLARED_IN: [&str; 2] = ["packages.yml", "dependencies.yml"];
pub const FOLDER: &str = "dbt_packages";

/// A package as the project declares it.
enum Declared {
    /// In a folder, seen from the project.
    Local(String),
    /// From somewhere else; by the name that its folder has by custom.
    Foreign { spelled: String, folder: String },
}

fn declared(root: &Path) -> Result<Vec<(Declared, Error)>> {
    let mut found = Vec::new();
    for name in DECLARED_IN.into_iter().filter(|name| root.join(name).is_file()) {
        let document = Document::parse(name, files::read(root, name)?)?;
        let top = document.top();
        if let Some(projects) = top.get("projects").filter(|at| !at.value.is_null()) {
            return Err(projects.problem(Problem::unsupported("a dependency on another project")));
        }
        let Some(packages) = top.get("packages").filter(|at| !at.value.is_null()) else { continue };
        for at in packages.items()? {
            let declared = one(&at)?;
            let error = match &declared {
                Declared::Local(path) => {
                    at.error(format!("the package in {path} is not installed")).hint("medallion deps")
                }
                Declared::Foreign { spelled, folder } => {
                    let error = at.error(format!("the package {spelled} is not in {FOLDER}"));
                    error.hint(format!(
                        "there is no hub of packages here: put a copy of it into {FOLDER}/{folder}, or declare it with local: and a path"
                    ))
                }
            };
            found.push((declared, error));
        }
    }
    Ok(found)
}

fn one(at: &At<'_>) -> Result<Declared> {
    let text = |key: &str| at.optional_text(key);
    if let Some(path) = text("local")? {
        return Ok(Declared::Local(path));
    }
    for key in ["package", "git", "tarball", "private"] {
        if let Some(spelled) = text(key)? {
            let last = spelled.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or(&spelled);
            let folder = text("name")?.unwrap_or_else(|| last.trim_end_matches(".git").replace('-', "_"));
            return Ok(Declared::Foreign { spelled, folder });
        }
    }
    Err(at.error("a package is declared by local, package, git or tarball"))
}

/// The folder of the project for packages, seen from its root.
fn folder(root: &Path) -> Result<String> {
    let document = project::read_document(root, "")?;
    Ok(document.top().optional_text("packages-install-path")?.unwrap_or_else(|| FOLDER.to_owned()))
}

/// The folders of the packages that are there, seen from the root, in the order of their names; what is declared must be
/// there.
pub fn installed(root: &Path) -> Result<Vec<String>> {
    let folder = folder(root)?;
    let below = root.join(&folder);
    let mut found = Vec::new();
    if below.is_dir() {
        let cannot = |e| Error::outside(format!("cannot list {}", below.display())).because(e);
        for entry in std::fs::read_dir(&below).map_err(cannot)? {
            let name = entry.map_err(cannot)?.file_name().to_string_lossy().into_owned();
            if below.join(&name).join(FILE).is_file() {
                found.push(format!("{folder}/{name}"));
            }
        }
    }
    found.sort();
    for (declared, error) in declared(root)? {
        let there = match &declared {
            Declared::Local(path) => below.join(name_of(&root.join(path))?).join(FILE).is_file(),
            Declared::Foreign { folder, .. } => {
                let same = |name: &str| name.replace('-', "_") == *folder;
                found.iter().any(|path| path.rsplit('/').next().is_some_and(same))
            }
        };
        if !there {
            return Err(error);
        }
    }
    Ok(found)
}

/// The name of the project in a folder.
fn name_of(folder: &Path) -> Result<String> {
    if !folder.join(FILE).is_file() {
        return Err(Error::input(format!("there is no {FILE} in {}", folder.display())));
    }
    project::name(&project::read_document(folder, "")?.top())
}

/// Links the packages that are declared with a path, those that they declare too, and tells which.
pub fn install(start: &Path) -> Result<Vec<String>> {
    let root = project::find_root(start)?;
    let below = root.join(folder(&root)?);
    let mut linked = Vec::new();
    let mut left: Vec<PathBuf> = vec![root.clone()];
    while let Some(from) = left.pop() {
        for (declared, missing) in declared(&from)? {
            match declared {
                Declared::Local(path) => {
                    let target = from.join(&path);
                    let name = name_of(&target).map_err(|e| missing.context(e.what()))?;
                    link(&target, &below, &name)?;
                    if !linked.contains(&name) {
                        linked.push(name);
                        left.push(target);
                    }
                }
                Declared::Foreign { folder, .. } if below.join(&folder).join(FILE).is_file() => {}
                Declared::Foreign { .. } => return Err(missing),
            }
        }
    }
    linked.sort();
    Ok(linked)
}

fn link(target: &Path, below: &Path, name: &str) -> Result<()> {
    let cannot = |e| Error::outside(format!("cannot link {} into {}", target.display(), below.display())).because(e);
    std::fs::create_dir_all(below).map_err(cannot)?;
    let target = target.canonicalize().map_err(cannot)?;
    let link = below.join(name);
    match std::fs::symlink_metadata(&link) {
        Ok(there) if there.is_symlink() => std::fs::remove_file(&link).map_err(cannot)?,
        Ok(_) => {
            let error = Error::input(format!("{} is there already, and is no link", link.display()));
            return Err(error.hint("move it away, and call medallion deps again"));
        }
        Err(_) => {}
    }
    std::os::unix::fs::symlink(target, link).map_err(cannot)
}
