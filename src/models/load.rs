//! From a folder to a [`Project`]: read, parse, link, check.
//!
//! Every template is rendered once with no name known, which gives its refs, sources and configuration. Linking then
//! finds what the names mean; a template with a name that means nothing is rendered again, to say where it stands.

mod exposures;
mod generic_tests;
mod link;
mod snapshots;
mod templates;
mod unit_tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) use self::generic_tests::at_entry;
use super::checks;
use super::config;
use super::exposure::Exposure;
use super::files;
use super::graph::{Dependency, Index};
use super::jinja::Jinja;
use super::macros::Macros;
use super::node::{Node, NodeKind, Source};
use super::problem::Problem;
use super::profile::{self, Target};
use super::project::{self, ProjectFile};
use super::properties::{self, DocBlock, Properties, SourceTable, TestEntry};
use super::relation::Relation;
use super::scope::{Scope, Shared};
use super::yaml::Document;
use super::{Options, Project};
use crate::error::{Error, Place, Result};

/// Reads, renders and links the project that `root` lies in.
pub fn load(root: &Path, options: &Options) -> Result<Project> {
    let mut loader = Loader::open(root, options)?;
    loader.refuse_unsupported_files()?;
    loader.read_properties()?;
    loader.read_sources();
    loader.read_models()?;
    loader.read_seeds()?;
    loader.read_snapshots()?;
    loader.read_singular_tests()?;
    loader.read_generic_tests()?;
    loader.read_unit_tests()?;
    loader.read_exposures()?;
    loader.warn_of_leftovers();
    loader.link()
}

/// A node whose names are not linked yet.
struct Draft {
    node: Node,
    names: Vec<Dependency>,
}

struct Loader {
    root: PathBuf,
    file: ProjectFile,
    jinja: Jinja,
    macros: Macros,
    shared: Arc<Shared>,
    properties: Properties,
    drafts: Vec<Draft>,
    units: Vec<unit_tests::UnitDraft>,
    sources: BTreeMap<String, Source>,
    exposures: Vec<Exposure>,
    disabled: Vec<Node>,
    docs: Vec<DocBlock>,
    index: Index,
    /// The generic tests that properties ask for.
    tests: Vec<(TestEntry, Tested)>,
    fqns: BTreeMap<&'static str, Vec<Vec<String>>>,
    /// Which file has a name or a table.
    names: BTreeMap<(bool, String), String>,
    tables: BTreeMap<Relation, String>,
    warnings: Vec<String>,
}

/// What a generic test stands at.
#[derive(Clone)]
struct Tested {
    unique_id: String,
    /// As test names have it.
    name: String,
    dependency: Dependency,
}

impl Loader {
    fn open(start: &Path, options: &Options) -> Result<Self> {
        let root = project::find_root(start)?;
        let mut document = project::read_document(&root)?;
        let mut jinja = Jinja::new();
        let mut warnings = Vec::new();
        let name = project::name(&document.top())?;
        let mut shared = Shared {
            project: name.clone(),
            vars: options.vars.clone(),
            target: Target::standard(""),
            docs: BTreeMap::new(),
            run_started_at: options.run_started_at,
            full_refresh: options.full_refresh,
        };
        // The file's own variables are not known to it, as in dbt; its profile is, so that is read first.
        let early = Scope::text(&Arc::new(shared.clone()));
        let render = |text: &str| checks::rendered_json(&jinja, &early, text);
        let profile = match (&options.profile, document.top().get("profile")) {
            (Some(given), _) => given.clone(),
            (None, Some(at)) => match render(at.text()?).map_err(|problem| at.problem(problem))? {
                serde_json::Value::String(profile) => profile,
                other => other.to_string(),
            },
            (None, None) => name.clone(),
        };
        let places = (root.as_path(), options.profiles_dir.as_deref());
        shared.target = profile::read(places, &profile, options.target.as_deref(), &mut warnings, render)?;
        let scope = Scope::text(&Arc::new(shared.clone()));
        document.render(project::rendered_later, |text| checks::rendered_json(&jinja, &scope, text))?;
        let mut file = ProjectFile::read(&document)?;
        if let Some(given) = &options.target_path {
            file.target_path = absolute(given)?;
        }
        warnings.extend(file.warnings.iter().cloned());
        shared.vars = project::vars(&document.top(), &name)?;
        shared.vars.extend(options.vars.clone());
        let docs = docs(&root, &file)?;
        shared.docs = docs.iter().map(|block| (block.name.clone(), block.text.clone())).collect();
        let generic = |path: &String| format!("{path}/generic");
        let generic_tests = files::list(&root, &file.test_paths.iter().map(generic).collect::<Vec<_>>(), &["sql"])?;
        let macro_files = files::list(&root, &file.macro_paths, &["sql"])?;
        let macros = Macros::load(&mut jinja, &root, &macro_files, &generic_tests, &name)?;
        if macros.has("generate_database_name") {
            warnings
                .push("the macro `generate_database_name` has no effect: a table has a schema and a name".to_owned());
        }
        Ok(Loader {
            root,
            file,
            jinja,
            macros,
            shared: Arc::new(shared),
            properties: Properties::default(),
            drafts: Vec::new(),
            units: Vec::new(),
            sources: BTreeMap::new(),
            exposures: Vec::new(),
            disabled: Vec::new(),
            docs,
            index: Index::default(),
            tests: Vec::new(),
            fqns: BTreeMap::new(),
            names: BTreeMap::new(),
            tables: BTreeMap::new(),
            warnings,
        })
    }

    fn refuse_unsupported_files(&self) -> Result<()> {
        let unsupported =
            [(&self.file.analysis_paths, "sql", "an analysis"), (&self.file.model_paths, "py", "a model in Python")];
        for (paths, extension, what) in unsupported {
            if let Some(found) = files::list(&self.root, paths, &[extension])?.first() {
                let text = files::read(&self.root, &found.path)?;
                return Err(Problem::unsupported(what).at(Place::in_text(&found.path, &text, 1, 1)));
            }
        }
        for name in ["packages.yml", "dependencies.yml"] {
            if !self.root.join(name).is_file() {
                continue;
            }
            let document = Document::parse(name, files::read(&self.root, name)?)?;
            let top = document.top();
            for at in ["packages", "projects"].into_iter().filter_map(|key| top.get(key)) {
                if !at.items()?.is_empty() {
                    return Err(at.problem(Problem::unsupported("a package")));
                }
            }
        }
        Ok(())
    }

    fn read_properties(&mut self) -> Result<()> {
        let file = &self.file;
        let folders = [&file.model_paths, &file.seed_paths, &file.snapshot_paths, &file.macro_paths, &file.test_paths];
        let mut seen = BTreeSet::new();
        let scope = Scope::text(&self.shared);
        for folder in folders {
            for found in files::list(&self.root, folder, &["yml", "yaml"])? {
                if !seen.insert(found.path.clone()) {
                    continue;
                }
                let mut document = Document::parse(&found.path, files::read(&self.root, &found.path)?)?;
                document.render(properties::rendered_later, |t| checks::rendered_json(&self.jinja, &scope, t))?;
                self.properties.read(&document, &found)?;
            }
        }
        Ok(())
    }

    fn fqn(&self, folders: &[String], names: &[&str]) -> Vec<String> {
        let project = std::iter::once(self.shared.project.clone());
        project.chain(folders.iter().cloned()).chain(names.iter().map(|n| n.to_string())).collect()
    }

    fn read_sources(&mut self) {
        for table in std::mem::take(&mut self.properties.sources) {
            let SourceTable { source, name, described, .. } = table;
            let fqn = self.fqn(&table.folders, &[&source, &name]);
            let mut layer = self.file.sources.of(&fqn);
            config::merge(&mut layer, described.layer);
            self.fqns.entry("source").or_default().push(fqn.clone());
            if !config::is_enabled(&layer) {
                self.index.disable(format!("{source}.{name}"));
                continue;
            }
            let unique_id = format!("source.{}.{source}.{name}", self.shared.project);
            let tested = Tested {
                unique_id: unique_id.clone(),
                name: format!("{source}_{name}"),
                dependency: Dependency::Source(source.clone(), name.clone()),
            };
            self.tests.extend(described.tests.into_iter().map(|test| (test, tested.clone())));
            let relation = Relation { schema: table.schema.clone(), name: table.identifier.clone() };
            self.index.add_source(&source, &name, &unique_id, relation);
            let source = Source {
                unique_id: unique_id.clone(),
                source_name: source,
                source_description: table.source_description,
                name,
                schema: table.schema,
                identifier: table.identifier,
                fqn,
                path: described.place.file,
                line: described.place.line,
                description: described.description,
                columns: described.columns,
                tags: layer.get("tags").map(config::texts).unwrap_or_default(),
                meta: layer.get("meta").and_then(|m| m.as_object()).cloned().unwrap_or_default(),
                freshness: table.freshness,
                loaded_at_field: table.loaded_at_field,
                loaded_at_query: table.loaded_at_query,
            };
            self.sources.insert(unique_id, source);
        }
    }

    fn unique_id(&self, kind: NodeKind, name: &str) -> String {
        format!("{}.{}.{name}", kind.as_str(), self.shared.project)
    }
}

/// A folder that the command line names is of the working directory, and not of the project.
fn absolute(folder: &Path) -> Result<PathBuf> {
    std::path::absolute(folder)
        .map_err(|e| Error::input(format!("{} is no folder for artifacts", folder.display())).because(e))
}

/// Where a file configures itself, else its beginning.
fn config_place(path: &str, text: &str) -> Place {
    let beginning = text.len() - text.trim_start().len();
    Place::at_offset(path, text, text.find("config(").unwrap_or(beginning))
}

fn docs(root: &Path, file: &ProjectFile) -> Result<Vec<DocBlock>> {
    let mut docs = BTreeMap::new();
    for folders in [&file.model_paths, &file.seed_paths, &file.snapshot_paths, &file.macro_paths, &file.docs_paths] {
        for found in files::list(root, folders, &["md"])? {
            let text = files::read(root, &found.path)?;
            let blocks = properties::docs(&text)
                .into_iter()
                .map(|(name, text)| (name.clone(), DocBlock { name, path: found.path.clone(), text }));
            docs.extend(blocks);
        }
    }
    Ok(docs.into_values().collect())
}
