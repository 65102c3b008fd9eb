//! dbt_project.yml: the name of the project, where its files lie, its variables, and its trees of configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::{Map, Value};

use super::config::{self, Layer, Resource};
use super::files;
use super::requirement;
use super::yaml::{At, Document};
use crate::error::{Error, Place, Result, nearest};

pub const FILE: &str = "dbt_project.yml";
const NAME_IT: &str = "name the folder of a dbt project with --project-dir, or work inside of it";

const KNOWN: [&str; 27] = [
    "name",
    "version",
    "config-version",
    "profile",
    "model-paths",
    "seed-paths",
    "test-paths",
    "macro-paths",
    "snapshot-paths",
    "analysis-paths",
    "docs-paths",
    "target-path",
    "vars",
    "models",
    "seeds",
    "snapshots",
    "sources",
    "tests",
    "data_tests",
    "unit_tests",
    "require-dbt-version",
    "asset-paths",
    "log-path",
    "packages-install-path",
    "clean-targets",
    "flags",
    "dispatch",
];
const WITHOUT_EFFECT: [&str; 3] = ["asset-paths", "log-path", "flags"];
const TARGET: &str = "target";
const PATHS: [(&str, &str); 6] = [
    ("model-paths", "models"),
    ("seed-paths", "seeds"),
    ("test-paths", "tests"),
    ("macro-paths", "macros"),
    ("snapshot-paths", "snapshots"),
    ("analysis-paths", "analyses"),
];
const UNSUPPORTED: [&str; 12] = [
    "on-run-start",
    "on-run-end",
    "quoting",
    "exposures",
    "metrics",
    "semantic-models",
    "saved-queries",
    "restrict-access",
    "query-comment",
    "dbt-cloud",
    "functions",
    "function-paths",
];

/// Finds the project that `start` lies in: the nearest folder upwards that holds a dbt_project.yml.
pub fn find_root(start: &Path) -> Result<PathBuf> {
    let folder = start
        .canonicalize()
        .map_err(|_| Error::input(format!("there is no folder {}", start.display())).hint(NAME_IT))?;
    // A project in the folder that was named keeps that name, which messages show.
    if start.join(FILE).is_file() {
        return Ok(start.to_path_buf());
    }
    folder.ancestors().find(|folder| folder.join(FILE).is_file()).map(Path::to_path_buf).ok_or_else(|| {
        Error::input(format!("there is no {FILE} in {} or a folder above it", start.display())).hint(NAME_IT)
    })
}

/// The folder for artifacts of the project that `start` lies in.
pub fn target_path(start: &Path) -> Result<PathBuf> {
    let root = find_root(start)?;
    let document = read_document(&root, "")?;
    Ok(root.join(document.top().optional_text("target-path")?.unwrap_or_else(|| TARGET.to_owned())))
}

/// The folders that hold nothing but what runs have made.
pub fn clean_targets(start: &Path) -> Result<Vec<String>> {
    let document = read_document(&find_root(start)?, "")?;
    let top = document.top();
    let mut sources = Vec::new();
    for (key, default) in PATHS {
        sources.extend(top.get(key).map_or(Ok(vec![default.to_owned()]), |at| at.texts())?);
    }
    match top.get("clean-targets") {
        Some(at) => {
            let targets = at.texts()?;
            match targets.iter().find(|t| sources.iter().any(|source| Path::new(source).starts_with(t.as_str()))) {
                Some(source) => Err(at.error(format!("`{source}` holds the project itself"))),
                None => Ok(targets),
            }
        }
        None => Ok(vec![top.optional_text("target-path")?.unwrap_or_else(|| TARGET.to_owned())]),
    }
}

/// The project file in a folder, seen from the root; the root itself is the empty one.
pub fn read_document(root: &Path, folder: &str) -> Result<Document> {
    let path = below(folder, FILE);
    let document = Document::parse(&path, files::read(root, &path)?)?;
    document.top().only(&KNOWN, &UNSUPPORTED)?;
    Ok(document)
}

fn below(folder: &str, path: &str) -> String {
    if folder.is_empty() { path.to_owned() } else { format!("{folder}/{path}") }
}

/// By namespace, the packages where macros that are sent there are looked for.
pub fn dispatch(top: &At<'_>) -> Result<BTreeMap<String, Vec<String>>> {
    let mut orders = BTreeMap::new();
    for at in top.get("dispatch").map_or(Ok(Vec::new()), |at| at.items())? {
        at.only(&["macro_namespace", "search_order"], &[])?;
        let order = at.get("search_order").map_or(Ok(Vec::new()), |order| order.texts())?;
        orders.insert(at.required_text("macro_namespace")?.to_owned(), order);
    }
    Ok(orders)
}

/// Variables are data: what looks like Jinja in them is theirs.
pub fn rendered_later(depth: usize, key: &str) -> bool {
    depth == 0 && key == "vars"
}

/// What dbt_project.yml says, its Jinja already rendered.
#[derive(Debug)]
pub struct ProjectFile {
    pub model_paths: Vec<String>,
    pub seed_paths: Vec<String>,
    pub test_paths: Vec<String>,
    pub macro_paths: Vec<String>,
    pub snapshot_paths: Vec<String>,
    pub analysis_paths: Vec<String>,
    pub docs_paths: Vec<String>,
    pub target_path: PathBuf,
    pub models: Tree,
    pub seeds: Tree,
    pub snapshots: Tree,
    pub sources: Tree,
    pub tests: Tree,
    pub unit_tests: Tree,
    pub warnings: Vec<String>,
}

impl ProjectFile {
    /// What a project file in a folder says; it may configure the nodes of these projects.
    pub fn read(document: &Document, folder: &str, projects: &[String]) -> Result<Self> {
        let top = document.top();
        let from_root = |paths: Vec<String>| paths.iter().map(|path| below(folder, path)).collect::<Vec<_>>();
        let paths = |key: &str, default: &str| match top.get(key) {
            Some(at) => at.texts().map(from_root),
            None => Ok(from_root(vec![default.to_owned()])),
        };
        let tree = |key: &'static str, resource| -> Result<Tree> {
            let mut tree = Tree { key, branches: Vec::new(), over: Vec::new() };
            let older = top.get("tests").filter(|_| resource == Resource::Test);
            for at in older.into_iter().chain(top.get(key)) {
                tree.grow(&at, &mut Vec::new(), resource, projects)?;
            }
            Ok(tree)
        };
        if let Some(at) = top.get("require-dbt-version") {
            requirement::check(&at)?;
        }
        let warnings = WITHOUT_EFFECT
            .iter()
            .filter_map(|key| top.get(key).map(|at| (key, at.place().line)))
            .map(|(key, line)| format!("{FILE}:{line}: `{key}` has no effect here"))
            .collect();
        Ok(ProjectFile {
            model_paths: paths("model-paths", "models")?,
            seed_paths: paths("seed-paths", "seeds")?,
            test_paths: paths("test-paths", "tests")?,
            macro_paths: paths("macro-paths", "macros")?,
            snapshot_paths: paths("snapshot-paths", "snapshots")?,
            analysis_paths: paths("analysis-paths", "analyses")?,
            docs_paths: top.get("docs-paths").map_or(Ok(Vec::new()), |at| at.texts().map(from_root))?,
            target_path: top.optional_text("target-path")?.unwrap_or_else(|| TARGET.to_owned()).into(),
            models: tree("models", Resource::Model)?,
            seeds: tree("seeds", Resource::Seed)?,
            snapshots: tree("snapshots", Resource::Snapshot)?,
            sources: tree("sources", Resource::Source)?,
            tests: tree("data_tests", Resource::Test)?,
            unit_tests: tree("unit_tests", Resource::UnitTest)?,
            warnings,
        })
    }

    /// Lays what the project says of a package over what the package says itself.
    pub fn overlay(&mut self, project: &ProjectFile) {
        let trees = [
            (&mut self.models, &project.models),
            (&mut self.seeds, &project.seeds),
            (&mut self.snapshots, &project.snapshots),
            (&mut self.sources, &project.sources),
            (&mut self.tests, &project.tests),
            (&mut self.unit_tests, &project.unit_tests),
        ];
        for (own, over) in trees {
            own.over = over.branches.clone();
        }
    }
}

pub fn name(top: &At<'_>) -> Result<String> {
    let name = top.required_text("name")?;
    let valid = Regex::new(r"^[^\d\W]\w*$").is_ok_and(|r| r.is_match(name));
    let wrong = || top.get("name").map_or_else(|| top.place(), |at| at.place());
    if !valid {
        return Err(Error::input(format!("`{name}` cannot be the name of a project"))
            .at(wrong())
            .hint("use letters, digits and underscores, a letter or an underscore first"));
    }
    Ok(name.to_owned())
}

/// The variables of the file, those of a project over the global ones.
pub fn vars(top: &At<'_>, project: &str) -> Result<Map<String, Value>> {
    let Some(at) = top.get("vars") else { return Ok(Map::new()) };
    let mut vars = at.map()?.clone();
    if let Some(Value::Object(own)) = vars.remove(project) {
        vars.extend(own);
    }
    Ok(vars)
}

/// Configuration by folder: every branch holds for the nodes whose fully qualified name starts with its path.
#[derive(Debug)]
pub struct Tree {
    key: &'static str,
    branches: Vec<Branch>,
    /// What another project says, which wins.
    over: Vec<Branch>,
}

#[derive(Debug, Clone)]
struct Branch {
    path: Vec<String>,
    layer: Layer,
    /// The same before its Jinja was rendered.
    written: Layer,
    place: Place,
}

impl Tree {
    fn grow(&mut self, at: &At<'_>, path: &mut Vec<String>, resource: Resource, projects: &[String]) -> Result<()> {
        let (mut layer, mut written) = (Layer::new(), Layer::new());
        for (key, value) in at.entries()? {
            if key.strip_prefix('+').is_none() && value.value.is_object() {
                if path.is_empty() && !projects.iter().any(|project| project == key) {
                    let error = value.error(format!("`{key}` is not the name of this project"));
                    let project = projects.first().map_or("", String::as_str);
                    return Err(error.hint(format!(
                        "put folders below `{project}:`; a key whose value is a map needs a plus sign, as in `+meta:`"
                    )));
                }
                path.push(key.to_owned());
                self.grow(&value, path, resource, projects)?;
                path.pop();
            } else if value.value.is_null() && key.strip_prefix('+').is_none() && !config::is_known(resource, key) {
                // An empty folder entry, as `staging:` with nothing below it.
            } else {
                let name = key.strip_prefix('+').unwrap_or(key);
                config::check(resource, name, value.value).map_err(|problem| value.problem(problem))?;
                config::merge_entry(&mut layer, name, value.value.clone());
                config::merge_entry(&mut written, name, value.written.clone());
            }
        }
        if !layer.is_empty() {
            self.branches.push(Branch { path: path.clone(), layer, written, place: at.place() });
        }
        Ok(())
    }

    /// The configuration of a node: general branches first, so that nearer ones win.
    pub fn of(&self, fqn: &[String]) -> Layer {
        self.folded(fqn, |branch| &branch.layer)
    }

    /// The same before its Jinja was rendered.
    pub fn written_of(&self, fqn: &[String]) -> Layer {
        self.folded(fqn, |branch| &branch.written)
    }

    fn folded(&self, fqn: &[String], layer_of: fn(&Branch) -> &Layer) -> Layer {
        let mut layer = Layer::new();
        for branches in [&self.branches, &self.over] {
            let mut holding: Vec<&Branch> = branches.iter().filter(|b| fqn.starts_with(&b.path)).collect();
            holding.sort_by_key(|b| b.path.len());
            for branch in holding {
                config::merge(&mut layer, layer_of(branch).clone());
            }
        }
        layer
    }

    /// A warning for each branch that holds for nothing.
    pub fn unused<'a>(&self, fqns: impl Iterator<Item = &'a [String]> + Clone) -> Vec<String> {
        let unused = self.branches.iter().filter(|b| b.path.len() > 1 && !fqns.clone().any(|f| f.starts_with(&b.path)));
        unused
            .map(|branch| {
                let near = branch.path.split_last().and_then(|(last, folder)| {
                    let siblings = fqns.clone().filter(|f| f.starts_with(folder)).filter_map(|f| f.get(folder.len()));
                    nearest(last, siblings.map(String::as_str))
                });
                let hint = near.map(|n| format!("; did you mean `{n}`?")).unwrap_or_default();
                let place = &branch.place;
                format!("{}:{}: `{}.{}` matches nothing{hint}", place.file, place.line, self.key, branch.path.join("."))
            })
            .collect()
    }
}
